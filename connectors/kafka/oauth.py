"""Access tokens by OAuth 2.0 client credentials (RFC 6749, 4.4), kept until most of their life is over."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote_plus, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from connectors.batch import SECOND
from connectors.clock import Clock

TIMEOUT_S = 5.0
AGAIN = 5 * SECOND  # after an endpoint that gave nothing: not asked for so long
RENEW = 0.8  # of a token's life, after which a new one is asked for
UNTOLD_S = 300.0  # life of a token of which nobody says how long it lives
MOST_BYTES = 1 << 20


class TokenError(Exception):
    """No token can be had; the message names the endpoint and what it said."""


class ClientCredentials:
    """Asks ``url`` for tokens as ``identity``; safe to use from several threads.

    A token is given out again until ``RENEW`` of its life is over, and until its end where no new one can be had.
    Raises ValueError for an address that is none.
    """

    def __init__(
        self, url: str, identity: str, secret: str, scope: str, clock: Clock, context: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"a token endpoint is an http or https address, not {url!r}")
        basic = base64.b64encode(f"{quote_plus(identity)}:{quote_plus(secret)}".encode()).decode()
        form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
        headers = {"authorization": f"Basic {basic}", "accept": "application/json"}
        self._request = Request(url, urlencode(form).encode(), headers, method="POST")
        self._where = f"{parts.scheme}://{parts.hostname}{parts.path}"
        self._opener, self._clock, self._lock = _opener(context), clock, threading.Lock()
        self._token, self._renew, self._ends = "", 0, 0
        self._error, self._again = "", 0

    def token(self) -> str:
        """A token that is still good; may take up to ``TIMEOUT_S``. Raises TokenError."""
        with self._lock:
            now = self._clock.now()
            if now >= self._renew and now >= self._again:
                self._ask(now)
            if now >= self._ends:
                raise TokenError(self._error)
            return self._token

    def _ask(self, now: int) -> None:
        try:
            self._take(self._answer(), now)
        except HTTPError as error:
            self._fail(f"HTTP {error.code}: {_said(error)}", now)
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            self._fail(f"{type(error).__name__}: {getattr(error, 'reason', error)}", now)

    def _answer(self) -> dict[str, Any]:
        with self._opener.open(self._request, timeout=TIMEOUT_S) as answer:
            found = json.loads(answer.read(MOST_BYTES))
        if not isinstance(found, dict):
            raise ValueError("the answer is no JSON object")
        return found

    def _take(self, answer: dict[str, Any], now: int) -> None:
        if not answer.get("access_token"):
            raise ValueError("the answer has no access_token")
        token = str(answer["access_token"])
        life = float(answer.get("expires_in") or _left(token, now))
        self._token, self._renew = token, now + round(life * RENEW * SECOND)
        self._ends, self._error = now + round(life * SECOND), ""

    def _fail(self, why: str, now: int) -> None:
        self._again = now + AGAIN
        self._error = f"no token from {self._where}: {why}"


class _Stay(HTTPRedirectHandler):
    """Follows no redirect: it would carry the secret elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener(context: ssl.SSLContext | None) -> OpenerDirector:
    return build_opener(_Stay, HTTPSHandler(context=context))


def _said(error: HTTPError) -> str:
    """What the endpoint gives as its reason (RFC 6749, 5.2)."""
    try:
        found = json.loads(error.read(MOST_BYTES))
        told = [str(found[name]) for name in ("error", "error_description") if found.get(name)]
    except (OSError, ValueError, TypeError, AttributeError):
        told = []
    return ", ".join(told)[:300] or str(error.reason)


def _left(token: str, now: int) -> float:
    """Seconds until the ``exp`` of a JSON Web Token (RFC 7519); not verified, the broker does that."""
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims["exp"]) - now / SECOND
    except (IndexError, ValueError, KeyError, TypeError):
        return UNTOLD_S
