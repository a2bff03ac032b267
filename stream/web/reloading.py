"""`/-/reload`: asks the loop to take in a changed configuration, and says what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from stream.config_text import ConfigError

PATIENCE_S = 30.0
Reload = Callable[[], "Future[str]"]


def refusal(request: Request, allowed: bool) -> Response | None:
    """What is said where nobody may reload over HTTP, or a page of another site asks for it; None = go on."""
    if not allowed:
        return PlainTextResponse("reloading over HTTP is off: heed run --enable-reload allows it\n", 403)
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return PlainTextResponse("another site may not ask for this\n", 403)
    return None


def reloading(reload: Reload | None) -> Route:
    """The route; it refuses where ``reload`` is None, and what comes from pages of other sites."""

    async def answer(request: Request) -> Response:
        refused = refusal(request, reload is not None)
        if refused is not None or reload is None:
            return refused or PlainTextResponse(status_code=403)
        try:
            said = await asyncio.wait_for(asyncio.wrap_future(reload()), PATIENCE_S)
        except ConfigError as error:
            return PlainTextResponse(f"{error}\nwhat was in force before goes on\n", 500)
        except TimeoutError:
            return PlainTextResponse(f"not within {PATIENCE_S:.0f} s; the log will tell\n", 503)
        return PlainTextResponse(f"{said}\n")

    return Route("/-/reload", answer, methods=["POST", "PUT"])
