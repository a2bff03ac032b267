"""What holds for a stream: the first entry of ``streams`` whose glob matches its name."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from stream.settings.quantities import Duration, Number, Section, Text

MOST_KNOWN = 4096  # different settings kept for sharing
DEFAULT_STEP = 1_000_000_000  # ns, of a stream whose step is neither given nor inferred

Aggregate = Literal["mean", "sum", "min", "max", "last", "count"]
Transform = Literal["none", "delta", "rate", "log_return"]
Priority = Literal["critical", "normal", "low"]


class StreamEntry(Section):
    """What holds for the streams whose name a glob matches; the first entry that matches holds alone."""

    match: Text
    """Glob on the stream's name, case-sensitive; `*` also matches `/`."""
    labels: dict[Text, str] = Field(default_factory=dict)
    """Labels added to the stream's own."""
    step: Duration | None = None
    """Bin width; by default inferred where a file allows it, otherwise 1s."""
    aggregate: Aggregate = "mean"
    """How several readings of one step become one value."""
    missing: tuple[Number, ...] = ()
    """Values that mean: no value."""
    transform: Transform = "none"
    """What is judged instead of the value itself; `rate` is per second and knows counter resets."""
    blind: Duration | None = None
    """Longest time without a full look; by default `budget.blind`."""
    priority: Priority = "normal"
    """Class when not all can be looked at."""
    closed: Text | None = None
    """Time interval in which silence is expected and nothing is judged."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What holds for one stream; None where the stream itself or the budget decides."""

    labels: Mapping[str, str] = field(default_factory=dict)
    step: int | None = None  # ns
    aggregate: Aggregate = "mean"
    missing: tuple[float, ...] = ()
    transform: Transform = "none"
    blind: int | None = None  # ns
    priority: Priority = "normal"
    closed: str | None = None
    entry: int = -1  # which entry of ``streams`` matched; -1 = none


class StreamRules:
    """Resolves stream names; whoever calls it keeps the answer with the stream's slot."""

    def __init__(self, entries: Sequence[StreamEntry]) -> None:
        self._entries = [(re.compile(fnmatch.translate(e.match)), e) for e in entries]
        self._known: dict[tuple[object, ...], StreamSettings] = {}  # streams of the same settings and labels share them

    def resolve(self, name: str, labels: Mapping[str, str] | None = None) -> StreamSettings:
        """The settings of the stream ``name``; ``labels`` are its own, those of the entry win over them."""
        labels = labels or {}
        matched = next((i for i, (glob, _) in enumerate(self._entries) if glob.match(name)), -1)
        key = (matched, *sorted(labels.items()))
        if key not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            alone = StreamSettings(dict(labels))
            self._known[key] = alone if matched < 0 else _settings(self._entries[matched][1], matched, labels)
        return self._known[key]


def _settings(entry: StreamEntry, index: int, labels: Mapping[str, str]) -> StreamSettings:
    return StreamSettings(
        {**labels, **entry.labels},
        entry.step,
        entry.aggregate,
        entry.missing,
        entry.transform,
        entry.blind,
        entry.priority,
        entry.closed,
        index,
    )


def blind_kept(blind: int, every: int, step: int) -> int:
    """The blindness (ns) that can be kept: at least two of the times (``every`` x ``step``) a stream is judged."""
    return max(blind, 2 * every * step)
