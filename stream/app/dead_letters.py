"""`heed dlq`: dead letters as people read them, and sent back to the topics they came from."""

from __future__ import annotations

import json
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from connectors.kafka_dead_letters import letter_topic
from connectors.kafka_letters import Dead, LetterBox, Returns
from connectors.timestamp import TimeReader
from stream.config_text import ConfigError, Problem
from stream.settings import KafkaSource, load

_EXCERPT = 100  # characters of a value
_MS = 1_000_000  # ns


@dataclass(frozen=True, slots=True)
class Which:
    """The letters that are meant: of these reasons (none = all), and by the messages' time (ns)."""

    reasons: Sequence[str] = ()
    start: int | None = None
    end: int | None = None

    def __contains__(self, dead: Dead) -> bool:
        time = dead.letter.timestamp_ms * _MS
        early = self.start is not None and time < self.start
        late = self.end is not None and time >= self.end
        return not early and not late and (not self.reasons or dead.letter.reason in self.reasons)


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
    for box in _boxes(config, overrides):
        with closing(box):
            found = deque((dead for dead in box.read() if dead in which), maxlen=limit)
            _print(box, found, output)
            if follow:
                newest = {dead.partition: dead.offset for dead in found}
                later = (dead for dead in box.read(follow=True) if dead.offset > newest.get(dead.partition, -1))
                for dead in later:
                    if dead in which:
                        _print(box, [dead], output)


def replay(
    config: str | None, overrides: Sequence[str], which: Which, dry: bool, output: Literal["table", "json"]
) -> None:
    """Send letters back that were not sent back before, and tell how many; with ``dry`` only tell."""
    for topic, client in _topics(config, overrides):
        with closing(LetterBox(topic, client)) as box:
            for _ in box.read():
                pass  # now every receipt is known
            meant = (dead for dead in box.read() if dead in which and dead not in box.sent_back)
            cut: Counter[tuple[str, str]] = Counter()
            whole = _without_cut(meant, cut)
            sent = Counter(map(_kind, whole)) if dry else _sent(whole, Returns(box, client))
        _tell(topic, sent, cut, dry, output)


def _sent(letters: Iterable[Dead], returns: Returns) -> Counter[tuple[str, str]]:
    with closing(returns):
        for dead in letters:
            returns.send(dead)
        returns.flush()
        return returns.sent


def _without_cut(letters: Iterable[Dead], cut: Counter[tuple[str, str]]) -> Iterator[Dead]:
    """The letters that hold their whole message; the others are counted."""
    for dead in letters:
        if dead.cut:
            cut[_kind(dead)] += 1
        else:
            yield dead


def _kind(dead: Dead) -> tuple[str, str]:
    return dead.letter.topic, dead.letter.reason


def _boxes(config: str | None, overrides: Sequence[str]) -> Iterator[LetterBox]:
    for topic, client in _topics(config, overrides):
        yield LetterBox(topic, client)


def _topics(config: str | None, overrides: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Each dead-letter topic once, with the settings of a client; raises ConfigError."""
    sources = [each for each in load(config, overrides).sources if isinstance(each, KafkaSource)]
    if not sources:
        raise ConfigError([Problem("no source is of type kafka, so there are no dead letters", ("sources",))])
    found: dict[tuple[str, str], dict[str, str]] = {}
    for each in sources:
        client = each.client_config()
        found.setdefault(
            (letter_topic(each.dead_letter_topic, client["group.id"]), client["bootstrap.servers"]), client
        )
    return [(topic, client) for (topic, _), client in found.items()]


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
            _line(json.dumps(row))
        return
    for row in rows:
        _line(_for_people(row))
    if not rows:
        sys.stderr.write(f"{box.topic}: no dead letters\n")


def _for_people(row: dict[str, Any]) -> str:
    key = "" if row["key"] is None else f"  key {row['key']}"
    back = "  (sent back)" if row["sent_back"] else ""
    value = "no payload" if row["value"] is None else row["value"]
    where = f"{row['topic'] or '?'}/{row['partition']} @ {row['offset']}"
    return f"{row['time'] or '-'}  {row['reason']}  {where}{key}{back}\n    {row['message']}\n    {value}"


def _line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _tell(
    topic: str,
    sent: Counter[tuple[str, str]],
    cut: Counter[tuple[str, str]],
    dry: bool,
    output: Literal["table", "json"],
) -> None:
    if output == "json":
        rows = [(*kind, n, "would_send" if dry else "sent") for kind, n in sent.items()]
        rows += [(*kind, n, "cut") for kind, n in cut.items()]
        for to, reason, n, outcome in rows:
            _line(json.dumps({"letters": topic, "topic": to, "reason": reason, "outcome": outcome, "count": n}))
        return
    table = Table("topic", "reason", "to be sent" if dry else "sent back", "cut short, left", title=topic)
    for kind in sorted({*sent, *cut}):
        table.add_row(*kind, str(sent[kind]), str(cut[kind]))
    if sent or cut:
        Console(highlight=False).print(table)
    else:
        sys.stderr.write(f"{topic}: nothing to send back\n")
