"""A message as JSON, whatever text is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

from connectors.sink import SinkError


def written(message: Mapping[str, object], name: str = "") -> bytes:
    """JSON in UTF-8; half of a surrogate pair, which JSON can hold and UTF-8 can't, is escaped. What is no JSON at all
    raises SinkError and is not tried again."""
    try:
        return msgspec.json.encode(message)
    except UnicodeEncodeError:
        return json.dumps(message).encode()
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise SinkError(f"{name}: a message is no JSON: {error}".removeprefix(": "), "refused", tries=1) from error
