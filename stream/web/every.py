"""What holds for every answer: its headers, and that a failure is logged and stays with the one who asked."""

from __future__ import annotations

import logging

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": _POLICY,
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def guarded(app: ASGIApp) -> ASGIApp:
    """``app``, whose every answer has ``HEADERS``, those to mistakes and failures too.

    ``app`` answers a failure before it raises it; here it is logged, and the connection may stay.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            await app(scope, receive, say)
        except Exception:
            logging.getLogger(__name__).exception("%s %s failed", scope["method"], scope["path"])

    return answer
