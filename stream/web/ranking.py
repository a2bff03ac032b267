"""The first streams of a table by one of its columns, without sorting all of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from stream.web.snapshot import Streams

SORTS = ("score", "weight", "age", "name")  # numbers from the largest, names from A
Slots = npt.NDArray[np.intp]


def matching(streams: Streams, group: str | None = None, q: str | None = None, stream: str | None = None) -> Slots:
    """Slots in use: of ``group`` alone, with ``q`` in their name (upper and lower case are the same), of ``stream``."""
    found: Iterable[int] = range(len(streams))
    if stream:
        found = [slot for slot in found if streams.names[slot] == stream]
    if "" in streams.names:
        found = [slot for slot in found if streams.names[slot]]
    if group is not None:
        found = [slot for slot in found if streams.groups[slot] == group]
    if q:
        wanted = q.casefold()
        found = [slot for slot in found if wanted in streams.names[slot].casefold()]
    return np.array(found, np.intp)


def first(streams: Streams, slots: Slots, sort: str, limit: int) -> Slots:
    """The first ``limit`` of ``slots`` by ``sort``; those of which the number isn't known come last."""
    if sort == "name":
        names = streams.names
        return np.array(heapq.nsmallest(limit, slots.tolist(), key=lambda slot: names[slot]), np.intp)
    rank = -getattr(streams, sort)[slots]
    rank[np.isnan(rank)] = np.inf
    if limit < slots.size:
        chosen = np.argpartition(rank, limit - 1)[:limit]
        slots, rank = slots[chosen], rank[chosen]
    return slots[np.lexsort((slots, rank))]
