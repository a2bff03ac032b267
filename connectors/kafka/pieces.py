"""Pieces of state as records of a compacted topic: cut into chunks, and put together again whole or not at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

PIECE = "heed.piece"  # header: the digest of the piece that a chunk is of
CHUNKS = "heed.chunks"  # header: of how many
_DIGEST_BYTES = 16

Headers = list[tuple[str, bytes]]
Record = tuple[bytes, bytes | None, Headers]  # key, value, headers
Of = tuple[str, str]  # which partition's (``topic/3``), and of which kind


def cut(of: Of, piece: bytes, most: int, before: int = 0) -> list[Record]:
    """The chunks of a piece, of ``most`` bytes at most each; at least one.

    ``before``: how many its predecessor had; those that are too many are taken off the topic. Raises ValueError for a
    kind that would make keys ambiguous.
    """
    if "|" in of[1]:
        raise ValueError(f"{of[1]!r} is no kind of state: it has a |")
    n = count(piece, most)
    headers = [(PIECE, digest(piece)), (CHUNKS, str(n).encode())]
    chunks: list[Record] = [(_key(of, at), piece[at * most : (at + 1) * most], headers) for at in range(n)]
    return chunks + [(_key(of, at), None, []) for at in range(n, before)]


def count(piece: bytes, most: int) -> int:
    """Into how many chunks a piece is cut: one, where it is empty."""
    return max(1, -(-len(piece) // most))


def digest(piece: bytes) -> bytes:
    """What tells a piece from all others; chunks of two pieces with the same content may be mixed."""
    return blake2b(piece, digest_size=_DIGEST_BYTES).hexdigest().encode()


def _key(of: Of, at: int) -> bytes:
    return f"{of[0]}|{of[1]}|{at}".encode()


@dataclass(slots=True)
class _Piece:
    """What was found of one: for each number of a chunk the newest, with the digest and the count that it told."""

    chunks: dict[int, tuple[bytes, bytes, bytes]] = field(default_factory=dict)

    @property
    def seen(self) -> int:
        return max(self.chunks, default=-1) + 1

    def whole(self) -> bytes | None:
        """All chunks of the piece whose first chunk is the newest; None where one is not there."""
        if 0 not in self.chunks:
            return None
        _, named, count = self.chunks[0]
        parts = [self.chunks.get(at, (b"", b"", b"")) for at in range(int(count))]
        joined = b"".join(value for value, of, _ in parts if of == named)
        return joined if digest(joined) == named else None


class Pieces:
    """Takes records in the order of the topic; those of partitions other than ``names`` are passed over."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._found: dict[Of, _Piece] = {}

    def add(self, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> None:
        """Take one record; what heed did not write is passed over."""
        parts = (key or b"").decode("utf-8", "replace").split("|")
        if len(parts) != 3 or parts[0] not in self._names or not parts[2].isdecimal():
            return
        chunks, at, told = self._found.setdefault((parts[0], parts[1]), _Piece()).chunks, int(parts[2]), dict(headers)
        named, count = told.get(PIECE), told.get(CHUNKS)
        if value is None:
            chunks.pop(at, None)
        elif named and count and count.isdigit():
            chunks[at] = (value, named, count)

    def whole(self) -> dict[str, dict[str, bytes]]:
        """For each partition its pieces by kind, those that are whole."""
        found: dict[str, dict[str, bytes]] = {}
        for (name, kind), piece in self._found.items():
            if (joined := piece.whole()) is not None:
                found.setdefault(name, {})[kind] = joined
        return found

    def broken(self) -> list[str]:
        """Of which there are chunks, but not all."""
        return [
            f"{kind} of {name}" for (name, kind), piece in self._found.items() if piece.seen and piece.whole() is None
        ]

    def counts(self) -> Mapping[Of, int]:
        """How many chunks the topic has of each, leftovers of longer ones too."""
        return {of: piece.seen for of, piece in self._found.items()}
