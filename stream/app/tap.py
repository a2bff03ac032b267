"""`heed tap`: one stream of a running heed, a line for every step that it judges."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import typer

from connectors.clock import Clock, WallClock
from connectors.heed_answers import answer

FAILED = 1
NEAR = 5  # names that are offered instead
Row = dict[str, Any]
_COLUMNS = ("ts", "value", "score", "weight", "outcome", "age")
_WIDTHS = (24, 14, 9, 9, 9, 9)


def tap(url: str, stream: str, every: int, count: int | None, output: str) -> int:
    """Print steps as they are judged, ``count`` of them at most; asks every ``every`` ns. 1 where no such stream is.

    Raises SourceError where heed does not answer.
    """
    rows = steps(lambda: found(url, stream), WallClock(), every)
    for printed, row in enumerate(islice(rows, count)):
        if row is None:
            typer.echo(f"heed: {unknown(url, stream)}", err=True)
            return FAILED
        if output == "table" and printed == 0:
            typer.echo(_line(_COLUMNS))
        typer.echo(json.dumps(row) if output == "json" else _line([_text(row.get(name)) for name in _COLUMNS]))
    return 0


def steps(ask: Callable[[], Row | None], clock: Clock, every: int) -> Iterator[Row | None]:
    """The stream's newest step whenever it is another than before; None, and the end, where there is no such stream.

    One that was there may be away for a while, as where its partition moves to another worker.
    """
    last: object = None
    while True:
        row = ask()
        if row is None and last is None:
            yield None
            return
        if row is not None and (row.get("ts"), row.get("outcome")) != last:
            last = row.get("ts"), row.get("outcome")
            if row.get("ts") is not None:
                yield row
        clock.wait(clock.now() + every)


def found(url: str, stream: str) -> Row | None:
    """What is known of the stream now."""
    rows: list[Row] = answer(url, "streams", {"stream": stream, "limit": 1})["streams"]
    return rows[0] if rows else None


def unknown(url: str, stream: str) -> str:
    """That there is none, and which are like it."""
    last = stream.rpartition("/")[2] or stream
    near = answer(url, "streams", {"q": last, "limit": NEAR, "sort": "name"})["streams"]
    names = ", ".join(row["stream"] for row in near)
    return f"no stream {stream!r} is known there" + (f"; there are {names}" if names else "")


def _line(cells: Sequence[str]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
