"""`heed dlq show`: dead letters as people read them, and which of them are meant."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import nlargest
from typing import Any, Literal

from connectors.formats.timestamp import TimeReader
from connectors.kafka.client import consumer_settings, known, producer_settings
from connectors.kafka.dead_letters import letter_topic
from connectors.kafka.letters import Dead, LetterBox
from stream.config_text import ConfigError, Problem
from stream.settings import KafkaSource, load

_EXCERPT = 100  # characters of a value
_MS = 1_000_000  # ns


@dataclass(frozen=True, slots=True)
class Which:
    """The letters that are meant: of these reasons and source topics (none = all), and by the messages' time (ns)."""

    reasons: Sequence[str] = ()
    topics: Sequence[str] = ()
    start: int | None = None
    end: int | None = None

    def __contains__(self, dead: Dead) -> bool:
        time = dead.letter.timestamp_ms * _MS
        early = self.start is not None and time < self.start
        late = self.end is not None and time >= self.end
        reason = not self.reasons or dead.letter.reason in self.reasons
        return reason and not early and not late and (not self.topics or dead.letter.topic in self.topics)


def parse_time(text: str) -> int:
    """A time on the command line, RFC 3339 or seconds since 1970, in ns; raises ValueError."""
    number = text.replace(".", "", 1).isdecimal()
    return TimeReader("s" if number else "rfc3339").one(text)


def show(
    config: str | None,
    overrides: Sequence[str],
    which: Which,
    limit: int,
    follow: bool,
    output: Literal["table", "json"],
) -> None:
    """Print the newest ``limit`` letters of each dead-letter topic of the configuration; then follow the first."""
    for topic, client in letter_topics(config, overrides):
        with closing(LetterBox(topic, client)) as box:
            newest = nlargest(limit, (dead for dead in box.read() if dead in which), key=_age)
            _print(box, newest[::-1], output)
            for dead in box.follow() if follow else ():
                if dead in which:
                    _print(box, [dead], output)


def _age(dead: Dead) -> tuple[int, int, int]:
    return dead.letter.timestamp_ms, dead.partition, dead.offset


def letter_topics(config: str | None, overrides: Sequence[str]) -> list[tuple[str, dict[str, object]]]:
    """Each dead-letter topic once, with the settings of a client of kafka-python; raises ConfigError."""
    found: dict[tuple[str, object], dict[str, object]] = {}
    for number, each in enumerate(load(config, overrides).sources):
        if isinstance(each, KafkaSource):
            try:
                topic, client = _letters_of(each)
            except ValueError as error:
                raise ConfigError([Problem(str(error), ("sources", number))]) from error
            found.setdefault((topic, client["bootstrap.servers"]), client)
    if not found:
        raise ConfigError([Problem("no source is of type kafka, so there are no dead letters", ("sources",))])
    return [(topic, client) for (topic, _), client in found.items()]


def _letters_of(source: KafkaSource) -> tuple[str, dict[str, object]]:
    """The dead-letter topic, and what its clients are made with; raises ValueError where they can't be."""
    own = source.client_config()
    client: dict[str, object] = known(own) if source.client_library == "confluent" else {**own}
    consumer_settings(client), producer_settings(client)
    return letter_topic(source.dead_letter_topic, own["group.id"]), client


def told(dead: Dead, sent_back: bool) -> dict[str, Any]:
    """A letter as JSON-like data."""
    letter, value = dead.letter, dead.letter.value
    return {
        "reason": letter.reason,
        "message": letter.message,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "time": _time(letter.timestamp_ms),
        "key": None if letter.key is None else readable(letter.key),
        "value": None if value is None else readable(value),
        "bytes": None if value is None else len(value),
        "headers": {name: readable(text or b"") for name, text in letter.headers},
        "letter": {"partition": dead.partition, "offset": dead.offset},
        "cut": dead.cut,
        "sent_back": sent_back,
    }


def readable(data: bytes, limit: int = _EXCERPT) -> str:
    """The beginning of some bytes on one line: whatever could move a terminal's cursor is escaped."""
    text = data[: 4 * limit].decode("utf-8", "backslashreplace")
    line = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return line if len(line) <= limit and 4 * limit >= len(data) else f"{line[:limit]}…"


def _time(ms: int) -> str | None:
    try:
        return None if ms < 0 else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"


def _print(box: LetterBox, letters: Iterable[Dead], output: Literal["table", "json"]) -> None:
    rows = [told(dead, dead in box.sent_back) for dead in letters]
    if output == "json":
        for row in rows:
            line(json.dumps(row))
        return
    for row in rows:
        line(_for_people(row))
    if not rows:
        sys.stderr.write(f"{box.topic}: no dead letters\n")


def _for_people(row: dict[str, Any]) -> str:
    key = "" if row["key"] is None else f"  key {row['key']}"
    back = "  (sent back)" if row["sent_back"] else ""
    value = "no payload" if row["value"] is None else row["value"]
    where = f"{row['topic'] or '?'}/{row['partition']} @ {row['offset']}"
    return f"{row['time'] or '-'}  {row['reason']}  {where}{key}{back}\n    {row['message']}\n    {value}"


def line(text: str) -> None:
    """Print it at once: others may wait for it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
