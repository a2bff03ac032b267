"""What a running heed answers on its HTTP interface, for the commands that watch one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from connectors.source import SourceError

PATIENCE_S = 10.0
MOST_BYTES = 64 << 20  # of an answer
_OPENER = build_opener(ProxyHandler({}))  # a daemon is asked directly


def answer(url: str, name: str, about: Mapping[str, object] | None = None) -> dict[str, Any]:
    """What ``/api/v1/{name}`` at ``url`` says, without its envelope. Raises SourceError where heed does not answer."""
    given = {key: value for key, value in (about or {}).items() if value is not None}
    where = f"{url.rstrip('/')}/api/v1/{name}" + (f"?{urlencode(given)}" if given else "")
    if not where.startswith(("http://", "https://")):
        raise SourceError(f"{url}: write an address like http://127.0.0.1:8321")
    try:
        with _OPENER.open(where, timeout=PATIENCE_S) as said:
            found = json.loads(said.read(MOST_BYTES))
            return dict(found.get("data", found))
    except HTTPError as error:
        raise SourceError(f"{where}: {_problem(error)}") from error
    except (OSError, ValueError, AttributeError, TypeError) as error:
        why = getattr(error, "reason", error) if isinstance(error, OSError) else "this is not what heed answers"
        raise SourceError(f"{where}: {why}") from error


def _problem(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read(MOST_BYTES))["error"])
    except (OSError, ValueError, LookupError, TypeError):
        return f"{error.code} {error.reason}"
