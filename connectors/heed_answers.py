"""What a running heed answers on its HTTP interface, for the commands that watch one or change its silences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

from connectors.source import SourceError

PATIENCE_S = 10.0
MOST_BYTES = 64 << 20  # of an answer
_OPENER = build_opener(ProxyHandler({}))  # a daemon is asked directly


class DeclinedError(Exception):
    """heed answered that it won't; the message is its own."""


def opened(asked: str | Request, patience_s: float = PATIENCE_S) -> Any:
    """What a running heed sends, to be read and closed. Raises HTTPError, OSError."""
    return _OPENER.open(asked, timeout=patience_s)


def answer(url: str, name: str, about: Mapping[str, object] | None = None) -> dict[str, Any]:
    """What ``/api/v1/{name}`` at ``url`` says, without its envelope. Raises SourceError where heed does not answer."""
    given = {key: value for key, value in (about or {}).items() if value is not None}
    where = f"{url.rstrip('/')}/api/v1/{name}" + (f"?{urlencode(given)}" if given else "")
    try:
        return _said(where, "GET")
    except HTTPError as error:
        raise SourceError(f"{where}: {_problem(error)}") from error


def change(url: str, method: Literal["POST", "DELETE"], *path: str, body: object = None) -> dict[str, Any]:
    """What heed at ``url`` says to a request that changes something. Raises DeclinedError, SourceError."""
    where = f"{url.rstrip('/')}/api/v1/{'/'.join(quote(part, safe='') for part in path)}"
    try:
        return _said(where, method, None if body is None else json.dumps(body).encode())
    except HTTPError as error:
        raise DeclinedError(_problem(error)) from error


def _said(where: str, method: str, body: bytes | None = None) -> dict[str, Any]:
    """An answer without its envelope. Raises HTTPError for a refusal, SourceError where heed does not answer."""
    if not where.startswith(("http://", "https://")):
        raise SourceError(f"{where}: write an address like http://127.0.0.1:8321")
    try:
        asked = Request(where, body, {"content-type": "application/json"}, method=method)
        with opened(asked) as said:
            found = json.loads(said.read(MOST_BYTES))
            return dict(found.get("data", found))
    except HTTPError:
        raise
    except (OSError, ValueError, AttributeError, TypeError) as error:
        why = getattr(error, "reason", error) if isinstance(error, OSError) else "this is not what heed answers"
        raise SourceError(f"{where}: {why}") from error


def _problem(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read(MOST_BYTES))["error"])
    except (OSError, ValueError, LookupError, TypeError):
        return f"{error.code} {error.reason}"
