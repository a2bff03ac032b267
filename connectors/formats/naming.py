"""Which stream a message speaks of: names put together once, remembered, and turned into slots."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import cast

import numpy as np

from connectors.batch import REFUSED, Ints, StreamTable, Times
from connectors.formats.block import Column, Growing, Rows, Values
from connectors.formats.decoded import Undecodable
from connectors.formats.fieldpath import MISSING, Path, Template

NAME_LIMIT = 512  # characters in the name of a stream or a group
MEMO_LIMIT = 200_000  # names remembered; all are forgotten when there are more
_PLACES = 1 << 19  # so many combinations of parts are kept in a column, whatever the number of rows

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # surrogates can't be written as UTF-8

UNKNOWN = -2  # the slot of a stream that is not known yet

Part = str | int | bytes  # what a name is made of; bytes come from a key or a header
Look = Callable[[Path], object]  # what stands at a path in one reading


class Naming:
    """Slots of the streams that messages name by a template; group and labels are read where a stream is new."""

    def __init__(self, stream: Template, group: Template, labels: Mapping[str, Template], table: StreamTable) -> None:
        self.paths = stream.paths
        self.others = (*group.paths, *(path for label in labels.values() for path in label.paths))  # of new streams
        self._stream, self._group, self._labels, self._table = stream, group, labels, table
        self._names: dict[object, str] = {}
        self._codes: list[dict[object, int]] = [{} for _ in self.paths]  # parts of names, numbered as they come
        self._grown: list[tuple[Growing[object], Times] | None] = [None] * len(self.paths)  # lists and their numbers
        self._places = np.empty(0, np.int32)  # slots by the numbers of a name's parts, put together
        self._valid: tuple[int, ...] = ()  # for what these hold

    def known(self, parts: Iterable[object]) -> list[int | None]:
        """Slots by the parts of the names (the part itself where there is one, else tuples); None = not known yet.

        Asks the table each time: slots of released streams go to others.
        """
        slot_of = cast(Callable[[object], int | None], self._table.slot_of.get)
        parts = list(parts)
        names = list(map(self._names.get, parts))
        slots = list(map(slot_of, names))
        if None in slots and len(self._table.slot_of) >= self._table.limit:
            slots = list(self._refused(names, slots))
        return slots

    def _refused(self, names: Iterable[str | None], slots: Iterable[int | None]) -> Iterator[int | None]:
        """No stream can begin now, so a good name without a slot is one that is refused."""
        for name, slot in zip(names, slots, strict=True):
            if slot is None and name is not None:
                self._table.refused += 1
                yield REFUSED
            else:
                yield slot

    def slots(self, parts: Sequence[Column], n: int) -> Ints:
        """Slots of ``n`` rows that have these parts, ``UNKNOWN`` where a stream is not known yet.

        Parts are numbered and the numbers put together in columns, so that each stream is looked up once, and again
        only after slots were taken back.
        """
        self._bound()
        places, size = np.zeros(n, np.int64), 1
        for at, (part, codes) in enumerate(zip(parts, self._codes, strict=True)):
            found = self._coded(at, part.values)
            size *= max(1, len(codes))
            places = places * max(1, len(codes)) + (found if part.at is None else found[part.at])
        if size > 4 * n + _PLACES:
            streams, which = np.unique(places, return_inverse=True)
            return self._slots_at(streams)[which]
        return self._remembered(places, size)

    def _bound(self) -> None:
        """All numbers of a part are given anew when there are too many."""
        for at, codes in enumerate(self._codes):
            if len(codes) > MEMO_LIMIT:
                codes.clear()
                self._places, self._grown[at] = np.empty(0, np.int32), None

    def _coded(self, at: int, values: Values) -> Times:
        """The number of each value; of a list that only grows, those of before are still known."""
        codes = self._codes[at]
        if not isinstance(values, Growing):
            return _coded(codes, values)
        known = self._grown[at]
        if known is None or known[0] is not values:
            known = values, np.empty(0, np.int64)
        if len(known[1]) < len(values):
            known = values, np.append(known[1], _coded(codes, values[len(known[1]) :]))
        self._grown[at] = known
        return known[1]

    def _remembered(self, places: Rows, size: int) -> Ints:
        """The slot at each place, asked for where it is not known by now."""
        valid = (self._table.retaken, *(len(codes) for codes in self._codes[1:]))  # the first part only adds places
        if valid != self._valid:
            self._valid, self._places = valid, np.empty(0, np.int32)
        if size > len(self._places):
            self._places = np.append(self._places, np.full(2 * size - len(self._places), UNKNOWN, np.int32))
        slots = self._places[places]
        if len(slots) and slots.min() == UNKNOWN:
            asked = np.unique(places[slots == UNKNOWN])
            found = self._places[asked] = self._slots_at(asked)
            slots = self._places[places]
            self._places[asked[found < 0]] = UNKNOWN  # they may begin, and room may come for those refused
        return slots

    def _slots_at(self, places: Rows) -> Ints:
        """The slot at each place: parts are taken out of it again, the last first."""
        parts: list[list[object]] = []
        for codes in reversed(self._codes):
            places, code = np.divmod(places, max(1, len(codes)))
            values = list(codes)
            parts.insert(0, [values[at] for at in code.tolist()])
        found = self.known(parts[0] if len(parts) == 1 else zip(*parts, strict=True))
        return np.array([UNKNOWN if slot is None else slot for slot in found], np.int32)

    def name(self, at: Look) -> str:
        """The name of the stream that a reading names; raises Undecodable."""
        parts = [_part(path, at(path)) for path in self.paths]
        memo = parts[0] if len(parts) == 1 else tuple(parts)
        return self._names.get(memo) or self._remember(memo, self._fill(parts))

    def slot(self, at: Look) -> int:
        """Its slot; raises Undecodable."""
        name = self.name(at)
        known = self._table.slot_of.get(name)
        if known is not None:
            return known
        if len(self._table.slot_of) >= self._table.limit:
            return self._table.slot(name, name)  # refused, whatever its group
        return self._table.slot(name, self._group_of(name, at), self._labels_of(at))

    def _fill(self, parts: list[Part]) -> str:
        name = self._stream.fill([_text(part) for part in parts])
        if not _good(name):
            raise Undecodable("bad_stream", f"not a name for a stream: {name[:60]!r}")
        return name

    def _remember(self, memo: object, name: str) -> str:
        if len(self._names) >= MEMO_LIMIT:
            self._names.clear()
        self._names[memo] = name
        return name

    def _group_of(self, name: str, at: Look) -> str:
        group = _filled(self._group, at)
        return group if group is not None and _good(group) else name.rpartition("/")[0] or name

    def _labels_of(self, at: Look) -> dict[str, str]:
        found = {label: _filled(text, at) for label, text in self._labels.items()}
        return {label: _CONTROL.sub("\ufffd", text)[:NAME_LIMIT] for label, text in found.items() if text is not None}


def _coded(codes: dict[object, int], values: Values) -> Times:
    """The number of each value; new ones get the next."""
    try:
        return np.fromiter(map(codes.__getitem__, values), np.int64, len(values))
    except KeyError:
        for value in values:
            codes.setdefault(value, len(codes))
    return np.fromiter(map(codes.__getitem__, values), np.int64, len(values))


def _filled(text: Template, at: Look) -> str | None:
    """The template's text, None where the message lacks a part of it."""
    try:
        return text.fill([_text(_part(path, at(path))) for path in text.paths])
    except Undecodable:
        return None


def _part(path: Path, found: object) -> Part:
    if found is MISSING or found is None:
        raise Undecodable("missing_stream", f"no {path.text}, which is part of the stream's name")
    if isinstance(found, bool) or not isinstance(found, str | int | bytes):
        raise Undecodable("wrong_type", f"{path.text} names the stream and is neither text nor a whole number")
    return found


def _text(part: Part) -> str | int:
    if not isinstance(part, bytes):
        return part
    try:
        return part.decode()
    except UnicodeDecodeError as error:
        raise Undecodable("bad_stream", f"the key or header that names the stream is not UTF-8: {error}") from error


def _good(name: str) -> bool:
    return 0 < len(name) <= NAME_LIMIT and not _CONTROL.search(name)
