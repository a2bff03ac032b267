"""Asks a running heed over its HTTP interface."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

PATIENCE_S = 10.0
MOST_BYTES = 256 << 20  # of an answer


class AskError(Exception):
    """A running heed can't be asked; the message names the address and says why."""


def ask(url: str, name: str, about: Mapping[str, str] | None = None) -> Any:
    """The data of ``/api/v1/{name}`` at ``url``; raises AskError."""
    query = f"?{urllib.parse.urlencode(about)}" if about else ""
    address = f"{url.rstrip('/')}/api/v1/{name}{query}"
    if not address.startswith(("http://", "https://")):
        raise AskError(f"{url}: write an address like http://127.0.0.1:8321")
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read(MOST_BYTES))["data"]
    except urllib.error.HTTPError as error:
        raise AskError(f"{address}: answers {error.code}: {_said(error)}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = getattr(error, "reason", None) or error
        raise AskError(f"{address}: {why if isinstance(error, OSError) else 'this is not what heed answers'}") from None


def _said(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read(4096))["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(error.reason)
