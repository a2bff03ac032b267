"""Asks a running heed over its HTTP interface: what the commands that talk to a daemon have in common."""

from __future__ import annotations

import json
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

PATIENCE_S = 15.0
MOST_BYTES = 64 << 20  # of an answer


class UnreachableError(Exception):
    """Nobody answers at the address, or not as heed does."""


class DeclinedError(Exception):
    """heed answered that it won't; the message is its own."""


class DaemonClient:
    """One daemon at ``url``; no proxy is asked."""

    def __init__(self, url: str, patience_s: float = PATIENCE_S) -> None:
        self._url, self._patience_s = url.rstrip("/"), patience_s
        self._opener = build_opener(ProxyHandler({}))

    def ask(self, method: Literal["GET", "POST", "DELETE"], *path: str, body: object = None) -> Any:
        """The data of the answer of ``/api/v1/`` and ``path``. Raises UnreachableError, DeclinedError."""
        where = f"{self._url}/api/v1/{'/'.join(quote(part, safe='') for part in path)}"
        data = None if body is None else json.dumps(body).encode()
        request = Request(where, data, {"content-type": "application/json"}, method=method)
        try:
            with self._opener.open(request, timeout=self._patience_s) as answer:
                return json.loads(answer.read(MOST_BYTES))["data"]
        except HTTPError as error:
            raise DeclinedError(_said(error)) from error
        except (URLError, OSError, ValueError, LookupError, TypeError) as error:
            why = error.reason if isinstance(error, URLError) else error
            raise UnreachableError(f"{self._url}: no heed answers: {why}") from error


def _said(error: HTTPError) -> str:
    """heed's own words, where the answer holds them."""
    try:
        return str(json.loads(error.read(MOST_BYTES))["error"])
    except (OSError, ValueError, LookupError, TypeError):
        return f"{error.url}: {error.code} {error.reason}"
