"""Silences: for a while nobody is told of alerts whose labels match; who said so, why, and until when."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from connectors.formats.timestamp import BadTime, TimeReader
from stream.durations import parse_duration
from stream.notify.matcher import Matcher, MatcherError, all_hold, from_row, read_matchers
from stream.rules.message import rfc3339

KEPT = 5 * 86_400_000_000_000  # ns for which an expired silence is still listed
MOST = 1000  # silences, expired ones included
LONGEST = 4096  # characters of a comment
LONGEST_ID = 64
FOREVER = 1 << 62  # ns
KEYS = ("matchers", "startsAt", "endsAt", "duration", "createdBy", "comment")
State = Literal["pending", "active", "expired"]
_TIMES = TimeReader("rfc3339")


class SilenceError(ValueError):
    """A silence that is asked for and can't be; the message says why."""


class UnknownSilence(SilenceError):
    """There is no silence with this id."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Holds from ``starts_at`` until ``ends_at`` (ns, the loop's clock)."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: int
    ends_at: int
    created_by: str
    comment: str
    updated_at: int

    def state(self, now: int) -> State:
        """Whether it is to come, holds, or is over."""
        return "expired" if now >= self.ends_at else "active" if now >= self.starts_at else "pending"

    def row(self) -> dict[str, Any]:
        """What the state keeps of it."""
        return {
            "matchers": [str(matcher) for matcher in self.matchers],
            "starts_at": self.starts_at,
            "ends_at": self.ends_at,
            "created_by": self.created_by,
            "comment": self.comment,
            "updated_at": self.updated_at,
        }

    @classmethod
    def restored(cls, key: str, row: Mapping[str, Any]) -> Silence:
        """The inverse of ``row``."""
        return cls(key, read_matchers(row["matchers"]), **{name: row[name] for name in row if name != "matchers"})

    def told(self, now: int) -> dict[str, Any]:
        """In the shape of Alertmanager's interface."""
        return {
            "id": self.id,
            "matchers": [matcher.row() for matcher in self.matchers],
            "startsAt": rfc3339(self.starts_at),
            "endsAt": rfc3339(self.ends_at),
            "updatedAt": rfc3339(self.updated_at),
            "createdBy": self.created_by,
            "comment": self.comment,
            "status": {"state": self.state(now)},
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """A silence as it was asked for; ``starts_at`` None = at once, ``ends_at`` None = after ``lasts`` (ns)."""

    matchers: tuple[Matcher, ...]
    created_by: str
    comment: str
    starts_at: int | None
    ends_at: int | None
    lasts: int


def wanted(body: object) -> Wanted:
    """What the body of a request asks for (docs/http.md). Raises SilenceError."""
    if not isinstance(body, Mapping):
        raise SilenceError("a silence is a JSON object")
    odd = sorted(str(key) for key in body if key not in KEYS)
    if odd:
        raise SilenceError(f"unknown key {odd[0]!r}; known here: {', '.join(KEYS)}")
    starts_at, ends_at = _time(body, "startsAt"), _time(body, "endsAt")
    if (ends_at is None) == (body.get("duration") is None):
        raise SilenceError("give endsAt or duration, and one of them only")
    return Wanted(
        _matchers(body.get("matchers")), _text(body, "createdBy"), _text(body, "comment"),
        starts_at, ends_at, _span(body.get("duration")),
    )  # fmt: skip


def given(key: str, body: object) -> Silence:
    """A silence as another heed tells it (``Silence.told``), under its id. Raises SilenceError."""
    if not isinstance(body, Mapping):
        raise SilenceError("a silence is a JSON object")
    if not (key.isascii() and key.isalnum() and len(key) <= LONGEST_ID):
        raise SilenceError(f"an id has at most {LONGEST_ID} letters and digits")
    starts_at, ends_at, updated_at = (_time(body, name) for name in ("startsAt", "endsAt", "updatedAt"))
    if starts_at is None or ends_at is None or updated_at is None or ends_at < starts_at:
        raise SilenceError("startsAt, updatedAt and an endsAt that is not before startsAt are needed")
    who, why = _text(body, "createdBy"), _text(body, "comment")
    return Silence(key, _matchers(body.get("matchers")), starts_at, ends_at, who, why, updated_at)


def _matchers(given: object) -> tuple[Matcher, ...]:
    rows = [given] if isinstance(given, str) else given
    if not isinstance(rows, Sequence) or not rows:
        raise SilenceError('matchers are needed, like ["alertname=\\"StreamAnomaly\\""]')
    try:
        found = tuple(m for row in rows for m in (read_matchers([row]) if isinstance(row, str) else [from_row(row)]))
    except MatcherError as error:
        raise SilenceError(str(error)) from None
    if all_hold(found, {}):
        raise SilenceError("one matcher at least must ask for a label that is not empty: this would silence everything")
    return found


def _text(body: Mapping[str, Any], key: str) -> str:
    text = body.get(key)
    if not isinstance(text, str) or not text.strip():
        raise SilenceError(f"{key} is required: who silences, and why, is what the others will want to know")
    if len(text) > LONGEST:
        raise SilenceError(f"{key} has {len(text)} characters, at most {LONGEST} are allowed")
    return text.strip()


def _time(body: Mapping[str, Any], key: str) -> int | None:
    if body.get(key) is None:
        return None
    try:
        return _TIMES.one(body[key])
    except BadTime as error:
        raise SilenceError(f"{key}: {error}") from None


def _span(given: object) -> int:
    if given is None:
        return 0
    try:
        span = parse_duration(given if isinstance(given, str) else "")
    except ValueError as error:
        raise SilenceError(f"duration: {error}") from None
    if not 0 < span < FOREVER // 2:
        raise SilenceError("duration: must be longer than 0s and shorter than 73 years")
    return span


class Silences:
    """All silences there are. ``changed`` holds the ids of those that the state has to write, or to drop."""

    def __init__(self) -> None:
        self._known: dict[str, Silence] = {}
        self._active: tuple[Silence, ...] = ()
        self._restored = False  # just now: what held before is not known
        self._next = 0  # when one begins, ends or can be forgotten, ns
        self.changed: set[str] = set()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> Silence | None:
        """The silence of an id."""
        return self._known.get(key)

    def add(self, asked: Wanted, now: int) -> Silence:
        """A new silence. Raises SilenceError."""
        self._make_room()
        starts_at = max(now, asked.starts_at or now)
        ends_at = starts_at + asked.lasts if asked.ends_at is None else asked.ends_at
        if ends_at <= starts_at:
            raise SilenceError("endsAt must be later than startsAt, and in the future")
        made = Silence(
            self._id(asked, now), asked.matchers, starts_at, ends_at, asked.created_by, asked.comment, now
        )  # fmt: skip
        self._put(made)
        return made

    def _make_room(self) -> None:
        if len(self._known) >= MOST:
            raise SilenceError(f"there are {MOST} silences already, expired ones of the last five days included")

    def adopt(self, silence: Silence) -> Silence:
        """One of another heed, or a newer word on it; what is known and newer stays. Raises SilenceError."""
        known = self._known.get(silence.id)
        if known is not None and known.updated_at >= silence.updated_at:
            return known
        if known is None:
            self._make_room()
        self._put(silence)
        return silence

    def _id(self, asked: Wanted, now: int) -> str:
        """12 hex digits of what it is and when it came, so that a silence given twice has two ids."""
        number = 0
        while True:
            said = f"{now}\n{number}\n{asked.matchers}\n{asked.created_by}\n{asked.comment}"
            found = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:12]
            if found not in self._known:
                return found
            number += 1

    def expire(self, key: str, now: int) -> Silence:
        """End it now. Raises SilenceError."""
        found = self._known.get(key)
        if found is None:
            raise UnknownSilence(f"there is no silence {key!r}")
        if found.state(now) == "expired":
            raise SilenceError(f"silence {key} is over already")
        over = replace(found, starts_at=min(found.starts_at, now), ends_at=now, updated_at=now)
        self._put(over)
        return over

    def _put(self, silence: Silence) -> None:
        self._known[silence.id] = silence
        self.changed.add(silence.id)
        self._next = 0

    def step(self, now: int) -> bool:
        """Whether other silences hold at ``now`` than did before; forgets what expired long ago."""
        if now < self._next:
            return False
        for key in [key for key, each in self._known.items() if now >= each.ends_at + KEPT]:
            del self._known[key]
            self.changed.add(key)
        times = [t for s in self._known.values() for t in (s.starts_at, s.ends_at, s.ends_at + KEPT) if t > now]
        self._next = min(times, default=FOREVER)
        before, restored = self._active, self._restored
        self._restored = False
        self._active = tuple(each for each in self._known.values() if each.state(now) == "active")
        return restored or before != self._active

    def of(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Ids of the silences that hold for an alert, as of the last ``step``."""
        return tuple(each.id for each in self._active if all_hold(each.matchers, labels))

    def restore(self, rows: Mapping[str, Any]) -> None:
        """Take up what the state kept, by id."""
        self._known = {key: Silence.restored(key, row) for key, row in rows.items()}
        self._next, self._restored = 0, True

    def told(self, now: int) -> tuple[dict[str, Any], ...]:
        """All of them for the interface: those that hold first, then those to come, then by their end."""
        order = {"active": 0, "pending": 1, "expired": 2}
        found = sorted(self._known.values(), key=lambda each: (order[each.state(now)], each.ends_at, each.id))
        return tuple(each.told(now) for each in found)
