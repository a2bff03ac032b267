"""The fast way for JSON and MessagePack: structs typed after the field paths, then whole columns out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np

from connectors.formats.block import Block, Column, Rows, chained, spread_lists
from connectors.formats.decoded import UNREADABLE
from connectors.formats.fieldpath import Many, Step
from connectors.formats.shape import FIELD, Shape
from connectors.formats.words import Word, Words


class _Place(NamedTuple):
    """Something to be taken out of a message: its steps, its type, and the text it is known by."""

    steps: tuple[Step, ...]
    kind: Any
    text: str


@dataclass(frozen=True, slots=True)
class Typed:
    """Takes blocks out of messages of the usual kind, and leaves the others to ``shape.exact``."""

    shape: Shape
    decoder: Any  # msgspec.json.Decoder or msgspec.msgpack.Decoder
    outer: Mapping[str, str]  # attributes (`f0.f1`) by the text of the path: once a message
    inner: Mapping[str, str]  # the same, in each element
    each: str  # the attribute that holds the list; empty = the message itself
    words: Mapping[str, Words]  # by the text of the path, where names come in arrays

    def read(self, payloads: Sequence[bytes | None], limit: int) -> tuple[Block, Rows, int]:
        """Rows of the messages up to ``limit`` bytes that could be read; the messages that are left.

        Also how many rows there were before those that hold arrays were spread.
        """
        documents, rows = self._documents(payloads, limit)
        left = np.ones(len(payloads), bool)
        left[rows] = False
        block = self._block(documents, rows)
        before = len(block)
        if self.shape.arrays:
            block, unfit = spread_lists(block)
            left[unfit] = True
        return block, np.flatnonzero(left), before

    def _documents(self, payloads: Sequence[bytes | None], limit: int) -> tuple[list[Any], Rows]:
        try:
            if max(map(len, payloads)) <= limit:  # type: ignore[arg-type]  # TypeError for a tombstone
                return list(map(self.decoder.decode, payloads)), np.arange(len(payloads))
        except (*UNREADABLE, TypeError):
            pass
        documents, rows, decode = [], [], self.decoder.decode
        for row, payload in enumerate(payloads):
            if payload and len(payload) <= limit:
                try:
                    documents.append(decode(payload))
                    rows.append(row)
                except UNREADABLE:
                    pass
        return documents, np.array(rows, np.intp)

    def _block(self, documents: list[Any], rows: Rows) -> Block:
        if self.shape.each is None:
            if list in set(map(type, documents)):
                documents, counts = chained([each if type(each) is list else [each] for each in documents])
                rows = np.repeat(rows, counts)
            elements, block = documents, Block(rows, self._columns(self.outer, documents))
        else:
            lists = list(map(attrgetter(self.each), documents)) if self.each else documents
            elements, counts = chained(lists)
            block = Block(rows, self._columns(self.outer, documents))
            block = block.spread(counts, self._columns(self.inner, elements))
        return self._members(block, elements) if self.shape.members else block

    def _columns(self, attributes: Mapping[str, str], structs: list[Any]) -> dict[str, Column]:
        found = {text: list(map(attrgetter(attribute), structs)) for text, attribute in attributes.items()}
        known = {text: words.column(found[text]) for text, words in self.words.items() if text in found}
        return {text: Column(values, None, True) for text, values in found.items()} | known

    def _members(self, block: Block, elements: list[Any]) -> Block:
        text = self.shape.member_path.text
        names, counts = chained(list(map(list, block.columns[text].values)))
        values, _ = chained([each.values() for each in block.columns[text].values])
        return block.spread(counts, {FIELD: Column(names, None, True), text: Column(values, None, True)})


def typed(shape: Shape, kinds: Mapping[str, Any], protocol: Any, wordy: bool = False) -> Typed | None:
    """The fast way for these paths; ``kinds`` are types of single values; ``protocol`` is msgspec's json or msgpack.

    ``wordy``: names are known by their bytes, which is quicker where they come in long arrays, and slower elsewhere.
    None where there is none: for places in lists (`a[0]`), every member of the whole message (`*`), a field with two
    uses.
    """
    words = {text: Words(protocol) for text, kind in kinds.items() if wordy and kind == Word}
    kinds = {text: msgspec.Raw if text in words else _kind(shape, text, kind) for text, kind in kinds.items()}
    places = [_Place(where.inner, kinds[where.text], where.text) for where in shape.paths if where.text != FIELD]
    apart = {where.text for where in shape.paths if shape.each is not None and Many.EACH in where.steps}
    outer, inner = [at for at in places if at.text not in apart], [at for at in places if at.text in apart]
    try:
        if shape.each is None:
            struct, attributes = _struct(outer)
            return Typed(shape, protocol.Decoder(struct | _list(struct)), attributes, {}, "", words)
        element, own = _struct(inner)
        if not shape.each:
            return None if outer else Typed(shape, protocol.Decoder(_list(element)), {}, own, "", words)
        root, attributes = _struct([*outer, _Place(shape.each, _list(element), "[]")])
        each = attributes.pop("[]")
        return Typed(shape, protocol.Decoder(root), attributes, own, each, words)
    except _NoWay:
        return None


class _NoWay(Exception):
    """There is no type for these paths."""


def _kind(shape: Shape, text: str, kind: Any) -> Any:
    if shape.arrays:
        kind = _list(_without_unset(kind)) | kind
    if shape.members and text == shape.member_path.text:
        number = float | None
        kind = dict[str, list[float | str | None] | float | None] if shape.arrays else dict[str, number]
    return kind


def _list(of: Any) -> Any:
    return list[of]


def _without_unset(kind: Any) -> Any:
    rest = [each for each in getattr(kind, "__args__", (kind,)) if each is not msgspec.UnsetType]
    joined = rest[0]
    for each in rest[1:]:
        joined = joined | each
    return joined


def _struct(places: Sequence[_Place]) -> tuple[Any, dict[str, str]]:
    """A struct that holds these, and the attribute that leads to each; raises _NoWay."""
    grouped: dict[str, list[_Place]] = {}
    for place in places:
        if not place.steps or not isinstance(place.steps[0], str):
            raise _NoWay
        grouped.setdefault(place.steps[0], []).append(place)
    members: list[Any] = []
    attributes: dict[str, str] = {}
    for n, (name, own) in enumerate(grouped.items()):
        if len(own) > 1 and any(len(place.steps) == 1 for place in own):
            raise _NoWay  # a field with two uses, or one that is both a value and an object
        attribute, kind = f"f{n}", own[0].kind
        attributes |= {own[0].text: attribute}
        if len(own[0].steps) > 1:
            kind, inside = _struct([place._replace(steps=place.steps[1:]) for place in own])
            attributes |= {text: f"{attribute}.{below}" for text, below in inside.items()}
        members.append((attribute, kind, _field(name, kind)))
    return msgspec.defstruct("Message", members, kw_only=True, gc=False), attributes


def _field(name: str, kind: Any) -> Any:
    """Not required where its type allows that it is absent, or where nothing in it is required."""
    if msgspec.UnsetType in getattr(kind, "__args__", ()):
        return msgspec.field(name=name, default=msgspec.UNSET)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and _all_optional(kind):
        return msgspec.field(name=name, default_factory=kind)
    return msgspec.field(name=name)


def _all_optional(kind: Any) -> bool:
    return all(not field.required for field in msgspec.structs.fields(kind))
