"""What every sink promises: it takes plain messages and sends each at least once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Message = Mapping[str, object]  # JSON-like; an alert message as docs/alerts.md tells, with `fingerprint` and `status`
Why = Literal["unreachable", "timeout", "server_error", "rate_limited", "auth", "refused", "failed"]


class SinkError(Exception):
    """Messages could not be sent; they stay in the outbox and are tried again.

    ``reason``: in a word, for the metric. ``sent``: how many of the messages, from the first on, got through for
    sure and need no second try. ``wait_s``: the other side asked not to be tried again sooner. ``tries``: after so
    many, the first message that did not get through is given up; None = never.
    """

    def __init__(
        self, said: str = "", reason: Why = "failed", *, sent: int = 0, wait_s: float = 0.0, tries: int | None = None
    ) -> None:
        super().__init__(said)
        self.reason, self.sent, self.wait_s, self.tries = reason, sent, wait_s, tries


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of the messages for one sink since the start. ``oldest``: since when one waits, ns, 0 = none."""

    delivered: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)  # tries, by reason
    waiting: int = 0
    dead: int = 0  # given up
    merged: int = 0  # for which others stand
    oldest: int = 0


class Sink(Protocol):
    """Where messages go. The contract suite in tests/contract runs against every implementation."""

    name: str

    def send(self, messages: Sequence[Mapping[str, object]]) -> None:
        """Deliver all, in order, before returning; raise SinkError where that fails (some may have been sent)."""
        ...

    def close(self) -> None:
        """Flush and let go; safe to call twice."""
        ...
