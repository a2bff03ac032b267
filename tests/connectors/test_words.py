"""Names known by their bytes say what names read one by one say, whatever messages hold."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.batch import StreamTable
from connectors.formats import documents, words
from connectors.formats.codec import Codec, Format
from connectors.formats.words import Words

FIELDS = {"stream": "{machine}/{at.sensor}", "group": "{machine}", "labels": {"site": "{site}"}}
PACKED = {"machine": ["p1", "p2"] * 20, "at": {"sensor": list(range(40))}, "ts": 1, "value": [1.5] * 40}

word = st.sampled_from(["a", "b", "ü", "a/b", "", "\n", 1, 2, 2**70])
odd = st.sampled_from([None, True, 1.0, [], {}, [["a"]], ["a", None], ["a", 1.5], "\ud800"])
names = word | st.lists(word, max_size=4) | odd
numbers = st.floats(width=32) | st.integers() | st.sampled_from([None, "1.5", "x", "", True])
parts: dict[str, st.SearchStrategy[Any]] = {
    "machine": names, "at": st.fixed_dictionaries({}, optional={"sensor": names, "site": names}) | odd,
    "ts": st.integers(0, 9) | st.lists(st.integers(0, 9) | st.just(0.5), max_size=4) | odd,
    "value": numbers | st.lists(numbers, max_size=4), "site": names,
}  # fmt: skip
message = st.fixed_dictionaries({}, optional=parts) | st.fixed_dictionaries(parts)
written = (message | st.lists(message, max_size=3)).map(lambda document: json.dumps(document).encode())
twice = b'{"machine":["a","b"],"machine":["b"],"at":{"sensor":1},"ts":1,"value":1}'
payload = written | st.sampled_from([b"", b"{", b"[]", b"null", b'{"machine": "a\xff"}', twice])


def said(codec: Codec, table: StreamTable, payloads: list[bytes]) -> object:
    found = codec.decode(payloads)
    streams = [(table.names[slot], table.groups[slot], dict(table.labels[slot])) for slot in found.stream.tolist()]
    values = [str(value) for value in found.value.tolist()]
    return streams, found.ts.tolist(), values, found.row.tolist(), [bad[:2] for bad in found.bad], found.counts


def codec(format: Format) -> tuple[Codec, StreamTable]:
    table = StreamTable()
    return Codec(format, FIELDS, "ms", None, table), table


@given(st.lists(st.lists(payload, max_size=5), max_size=3))
def test_both_ways_of_reading_names_give_the_same(polls: list[list[bytes]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plain, wordy = codec("columns"), codec("columns")
        for poll in [[json.dumps(PACKED).encode()], *polls, *polls]:  # what came before is known the second time
            patch.setattr(documents, "MANY", 1 << 60)
            expected = said(*plain, poll)
            patch.setattr(documents, "MANY", -1)
            assert said(*wordy, poll) == expected


@pytest.mark.parametrize("format", ["columns", "msgpack"])
def test_packed_names_are_read_once(format: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    real = Words._read
    monkeypatch.setattr(Words, "_read", lambda self, key: read.append(key) or real(self, key))
    own, table = codec(format)
    encode = msgspec.json.encode if format == "columns" else msgspec.msgpack.encode
    for _ in range(4):
        found = own.decode([encode(PACKED)] * 3)
        assert len(found.stream) == 120 and len(table) == 40 and not found.bad
    assert len(read) == 6  # once for each message of the first poll that is known to be packed: machines and sensors


def test_lists_of_objects_are_read_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Words, "_read", lambda *args: pytest.fail("there are no arrays of names"))
    one = {"machine": "p", "at": {"sensor": 1}, "ts": 1, "value": 1.5}
    own, _ = codec("msgpack")
    for _ in range(3):
        assert len(own.decode([msgspec.msgpack.encode([one] * 100)]).stream) == 100
    fields = {"stream": "{machine}/{_field}", "value": "values.*"}
    members = Codec("columns", fields, "ms", None, StreamTable())
    message = {"machine": "p", "ts": 1, "values": {str(n): n for n in range(100)}}
    for _ in range(3):
        assert len(members.decode([msgspec.json.encode(message)]).stream) == 100


def test_an_array_beside_no_members_brings_nothing() -> None:
    own = Codec("columns", {"stream": "{machine}/{_field}", "value": "values.*"}, "ms", None, StreamTable())
    good = {"machine": "p", "ts": 1, "values": {"a": 1}}
    for _ in range(2):
        found = own.decode([msgspec.json.encode({**good, "machine": ["p"], "values": {}}), msgspec.json.encode(good)])
        assert found.row.tolist() == [1] and not found.bad


def test_too_many_words_or_bytes_are_forgotten_and_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("MOST_WORDS", 50), ("MOST_BYTES", 5_000)):
        with monkeypatch.context() as patch:
            patch.setattr(words, name, most)
            own, table = codec("columns")
            for n in range(8):
                packed = {**PACKED, "machine": [f"p{n}.{at}" for at in range(40)]}
                assert len(own.decode([json.dumps(packed).encode()]).stream) == 40
                again = own.decode([json.dumps(packed).encode()])
                assert [table.names[slot] for slot in again.stream] == [f"p{n}.{at}/{at}" for at in range(40)]


def test_a_word_keeps_its_place() -> None:
    own = Words(msgspec.json)
    raws = [msgspec.Raw(text) for text in (b'["a","b"]', b'"b"', b'[1,"1"]', b"[]", b"1.5", b'["a"]')]
    column = own.column(raws)
    assert column.words == ["a", "b", 1, "1"]
    found = [place.tolist() if isinstance(place, np.ndarray) else place for place in column.values]
    assert found == [[0, 1], 1, [2, 3], [], None, [0]]
