"""An alert as the stages between firing and telling see it: labels, texts, where it stands, who still needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NEVER = "0001-01-01T00:00:00Z"  # how Alertmanager writes that an alert has no end yet
Message = Mapping[str, object]


@dataclass(slots=True)
class Alert:
    """The newest state of one alert. Times of the alert are RFC 3339 text in event time, ``changed_at`` is ns."""

    fingerprint: str
    labels: dict[str, str]
    annotations: dict[str, str]
    firing: bool
    starts_at: str
    ends_at: str | None
    changed_at: int  # on the loop's clock
    silenced_by: tuple[str, ...] = ()  # ids of silences that hold now
    relayed: set[str] = field(default_factory=set)  # relays that passed it on
    held_by: int = 0  # gatherings and relays that know it

    @classmethod
    def of(cls, message: Message, now: int) -> Alert:
        """Of an alert message (docs/alerts.md)."""
        told: Mapping[str, Any] = message
        ends_at = told["ends_at"]
        return cls(
            told["fingerprint"], told["labels"], told["annotations"], told["status"] == "firing",
            told["starts_at"], ends_at, now,
        )  # fmt: skip

    def take(self, newer: Alert) -> None:
        """What a later message says of the same alert."""
        self.labels, self.annotations, self.firing = newer.labels, newer.annotations, newer.firing
        self.starts_at, self.ends_at, self.changed_at = newer.starts_at, newer.ends_at, newer.changed_at

    def resolve(self, ends_at: str, now: int) -> None:
        """It is over."""
        self.firing, self.ends_at, self.changed_at = False, ends_at, now

    def row(self) -> dict[str, Any]:
        """What the state keeps of it."""
        return {
            "labels": self.labels,
            "annotations": self.annotations,
            "firing": self.firing,
            "starts_at": self.starts_at,
            "ends_at": self.ends_at,
            "changed_at": self.changed_at,
            "silenced_by": list(self.silenced_by),
            "relayed": sorted(self.relayed),
        }

    @classmethod
    def restored(cls, fingerprint: str, row: Mapping[str, Any]) -> Alert:
        """The inverse of ``row``."""
        return cls(
            fingerprint, row["labels"], row["annotations"], row["firing"], row["starts_at"], row["ends_at"],
            row["changed_at"], tuple(row["silenced_by"]), set(row["relayed"]),
        )  # fmt: skip

    def told(self, url: str) -> dict[str, Any]:
        """As a notification lists it. Who fires has no end, whenever the notification is read."""
        return {
            "status": "firing" if self.firing else "resolved",
            "labels": self.labels,
            "annotations": self.annotations,
            "startsAt": self.starts_at,
            "endsAt": NEVER if self.firing or self.ends_at is None else self.ends_at,
            "generatorURL": f"{url}#alert-{self.fingerprint}" if url else "",
            "fingerprint": self.fingerprint,
        }
