"""`heed dlq replay`: dead letters sent back to the topics they came from, and what became of them, told."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Literal

from rich.console import Console
from rich.table import Table

from connectors.kafka.letters import Dead, LetterBox
from connectors.kafka.returns import Returns
from connectors.sink import SinkError
from stream.app.dead_letters import Which, letter_topics, line

_TOLD = 20  # letters told one by one that can't go back to one topic for one reason

Kind = tuple[str, str]  # source topic, and why it is a dead letter


@dataclass
class Tally:
    """What became of the letters of one dead-letter topic."""

    topic: str
    sent: Counter[Kind] = field(default_factory=Counter)  # or would be
    cut: Counter[Kind] = field(default_factory=Counter)  # don't hold their whole message
    failed: Counter[Kind] = field(default_factory=Counter)
    why: Counter[tuple[str, str]] = field(default_factory=Counter)  # source topic, and why nothing can go back to it

    def refuse(self, dead: Dead, why: str) -> None:
        """Count a letter that can't be sent back, and say so; of many that are alike the first."""
        letter = dead.letter
        self.failed[_kind(dead)] += 1
        self.why[letter.topic, why] += 1
        if self.why[letter.topic, why] <= _TOLD:
            where = f"{self.topic}/{dead.partition} @ {dead.offset}"
            said = f"{where}: not sent back to {letter.topic}/{letter.partition} (@ {letter.offset}): {why}"
            sys.stderr.write(f"{said}\n")

    def summary(self) -> str:
        """In one line."""
        reasons = "; ".join(f"{n} to {topic}: {why}" for (topic, why), n in sorted(self.why.items()))
        return f"{self.topic}: {self.sent.total()} letters sent back, {self.failed.total()} not ({reasons})"


def replay(
    config: str | None, overrides: Sequence[str], which: Which, dry: bool, output: Literal["table", "json"]
) -> None:
    """Send letters back that were not sent back before, and tell how many; with ``dry`` only tell.

    Raises SinkError at the end where some can't be.
    """
    troubles = []
    for topic, client in letter_topics(config, overrides):
        try:
            _replayed(topic, client, which, dry, output)
        except SinkError as error:
            troubles.append(str(error))
    if troubles:
        raise SinkError("\n".join(troubles))


def _replayed(
    topic: str, client: Mapping[str, object], which: Which, dry: bool, output: Literal["table", "json"]
) -> None:
    tally = Tally(topic)
    with closing(LetterBox(topic, client)) as box:
        for _ in box.read():
            pass  # now every receipt is known
        meant = (dead for dead in box.read() if dead in which and dead not in box.sent_back)
        whole = _without_cut(meant, tally.cut)
        try:
            if dry:
                tally.sent.update(map(_kind, whole))
            else:
                _send(whole, Returns(box, client, tally.refuse), tally)
        finally:
            _tell(tally, dry, output)
    if tally.failed:
        raise SinkError(tally.summary())


def _send(letters: Iterable[Dead], returns: Returns, tally: Tally) -> None:
    with closing(returns):
        tally.sent = returns.sent
        for dead in letters:
            returns.send(dead)
        returns.flush()


def _without_cut(letters: Iterable[Dead], cut: Counter[Kind]) -> Iterator[Dead]:
    """The letters that hold their whole message; the others are counted."""
    for dead in letters:
        if dead.cut:
            cut[_kind(dead)] += 1
        else:
            yield dead


def _kind(dead: Dead) -> Kind:
    return dead.letter.topic, dead.letter.reason


def _tell(tally: Tally, dry: bool, output: Literal["table", "json"]) -> None:
    found = {"would_send" if dry else "sent": tally.sent, "failed": tally.failed, "cut": tally.cut}
    if output == "json":
        for outcome, counts in found.items():
            for (to, reason), n in counts.items():
                told = {"letters": tally.topic, "topic": to, "reason": reason, "outcome": outcome, "count": n}
                line(json.dumps(told))
        return
    kinds = sorted(set().union(*found.values()))
    if not kinds:
        sys.stderr.write(f"{tally.topic}: nothing to send back\n")
        return
    table = Table("topic", "reason", "to be sent" if dry else "sent back", "refused", "cut short, left")
    table.title = tally.topic
    for kind in kinds:
        table.add_row(*kind, *(str(counts[kind]) for counts in found.values()))
    Console(highlight=False).print(table)
