"""What every sink promises: it takes plain messages and sends each at least once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

Message = Mapping[str, object]  # JSON-like; an alert message as docs/alerts.md tells, with `fingerprint` and `status`


class SinkError(Exception):
    """Messages could not be sent; they stay in the outbox and are tried again."""


class Sink(Protocol):
    """Where alert changes go. The contract suite in tests/contract runs against every implementation."""

    name: str

    def send(self, messages: Sequence[Mapping[str, object]]) -> None:
        """Deliver all, in order, before returning; raise SinkError where that fails (some may have been sent)."""
        ...

    def close(self) -> None:
        """Flush and let go; safe to call twice."""
        ...
