"""structlog, set up once: every line to standard error with a name, a UTC time, and what it is about."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from io import RawIOBase
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from connectors.clock import Clock, WallClock

Format = Literal["auto", "console", "json"]
Level = Literal["debug", "info", "warning", "error"]

WORKER = "HEED_WORKER"  # in the environment of a worker: its number
REPEAT_S = 60.0  # between two lines from the same place of a library
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def setup(
    format: Format = "auto", level: Level = "info", stream: TextIO | None = None, clock: Clock | None = None
) -> None:
    """Send all log lines, other libraries' too, to ``stream`` (standard error); again = in the new way.

    ``auto`` is for people where the stream is a terminal, and JSON lines elsewhere. A line that can't be written is
    counted (``lines_lost``) and stops nothing.
    """
    out = stream or sys.stderr
    for_people = format == "console" or (format == "auto" and out.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _numbered(os.environ.get(WORKER)),
            structlog.processors.add_log_level,
            _stamper(clock or WallClock()),
            *_last(for_people, out.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Out(out))),
        cache_logger_on_first_use=False,  # a reload may change format and level
    )
    _take_over_libraries(level)


def lines_lost() -> int:
    """How many lines could not be written since the start: to a full disk, to a collector that is gone."""
    return _Out.lost


def get(**bound: object) -> FilteringBoundLogger:
    """A logger whose lines all hold ``bound``."""
    logger: FilteringBoundLogger = structlog.get_logger(**bound)
    return logger


@contextmanager
def about(source: str | None = None, group: str | None = None, frame: int | None = None) -> Iterator[None]:
    """Every line inside says which source, group and frame (its time, ns) it is about."""
    said = {"source": source, "group": group, "frame": None if frame is None else time_text(frame)}
    with structlog.contextvars.bound_contextvars(**{key: value for key, value in said.items() if value is not None}):
        yield


def time_text(ns: int) -> str:
    """A time (ns since the epoch) as ``2026-01-31T12:00:00.000000Z``."""
    return (_EPOCH + timedelta(microseconds=ns // 1000)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _numbered(worker: str | None) -> Processor:
    """Lines of one of several workers say which."""

    def number(_logger: object, _method: str, line: EventDict) -> EventDict:
        return line if worker is None else {**line, "worker": worker}

    return number


def _stamper(clock: Clock) -> Processor:
    def stamp(_logger: object, _method: str, line: EventDict) -> EventDict:
        line["timestamp"] = time_text(clock.now())
        return line

    return stamp


def _last(for_people: bool, colours: bool) -> list[Processor]:
    if for_people:
        plain = structlog.dev.plain_traceback
        return [_simple, structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain)]
    return [structlog.processors.format_exc_info, _simple, structlog.processors.JSONRenderer(_json)]


def _simple(_logger: object, _method: str, line: EventDict) -> EventDict:
    """NumPy's numbers as numbers, its arrays as lists; when, how grave and what come first."""
    head = {key: line.pop(key) for key in ("timestamp", "level", "event")}
    return {**head, **{key: value.tolist() if hasattr(value, "tolist") else value for key, value in line.items()}}


def _json(line: EventDict, **_: Any) -> str:
    """Strict JSON: what is not a finite number, and any odd object, becomes text."""
    try:
        return json.dumps(line, default=str, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps({key: str(value) for key, value in line.items()}, ensure_ascii=False)


class _Out:
    """Where lines go: each in one write with its end, so that whoever else writes there comes between lines.

    Past Python's own buffer, which would keep what could not be written and fail with it again at the end.
    """

    lost = 0

    def __init__(self, out: TextIO) -> None:
        binary = getattr(out, "buffer", None)
        raw = getattr(binary, "raw", binary)
        self._put: Callable[[str], object] = out.write if raw is None else partial(_write, raw)

    def write(self, line: str) -> None:
        try:
            self._put(line)
        except (OSError, ValueError):
            _Out.lost += 1

    def flush(self) -> None:
        """Nothing waits."""


def _write(raw: RawIOBase, line: str) -> None:
    rest = line.encode("utf-8", "backslashreplace")
    while rest:
        written = raw.write(rest)
        if written is None:
            raise BlockingIOError("a full pipe that nobody is to wait for")
        rest = rest[written:]


class _Lines(logging.Handler):
    """Brings the standard library's log records into the same lines.

    What a library says again and again from the same place (a client without its broker, some times a second) comes
    once a minute, with ``repeated`` for those left out; where ``every`` is true, all comes.
    """

    def __init__(self, every: bool) -> None:
        super().__init__()
        self._every = every
        self._said: dict[tuple[str, str, int], tuple[float, int]] = {}  # by place: when last (s), left out since

    def emit(self, record: logging.LogRecord) -> None:
        place = record.name, record.pathname, record.lineno
        when, repeated = self._said.get(place, (0.0, 0))
        if not self._every and record.created - when < REPEAT_S:
            self._said[place] = when, repeated + 1
            return
        self._said[place] = record.created, 0
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # a library that doesn't fill in its own text right
            message = str(record.msg)
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        more = {"repeated": repeated} if repeated else {}
        get().log(level, "library.logged", logger=record.name, message=message, exc_info=record.exc_info, **more)


def _take_over_libraries(level: Level) -> None:
    """Libraries speak of connections at every level; their warnings are enough unless all is asked for."""
    root = logging.getLogger()
    root.handlers = [*(h for h in root.handlers if not isinstance(h, _Lines)), _Lines(level == "debug")]
    root.setLevel(level.upper() if level in ("debug", "error") else logging.WARNING)
