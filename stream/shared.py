"""State that travels with its partition: in a topic that every process of the group reads, written with its position.

One transaction holds the state of partitions, the group's offsets and the alert messages for topics of the same
brokers. Whoever gets a partition goes on from there; whoever has lost it is refused (docs/decisions/023).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from connectors.keeping.store import Commit, StoreError, packed, unpacked
from connectors.source import RefusedTopicError, Source, SourceError, UndecidedError
from stream import parcel
from stream.loop import Message, Progress
from stream.noted import NOTE, Noted
from stream.notify.notifier import Addressed
from stream.rules.message import message
from stream.rules.recall import Piece
from stream.state import Durable, lost

LARGE, SMALL = "large", "small"
MOST_ALONG = 20_000  # messages that one transaction has time for; more of them wait in the outbox
Pieces = dict[tuple[str, str], bytes]
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Tried:
    """A transaction that may or may not have come through."""

    partitions: set[str]  # that are still here
    messages: list[tuple[str, Message]]


class Topic(Protocol):
    """Where state is kept by partition; connectors.kafka.state.StateTopic is one."""

    def read(self, partitions: Sequence[str]) -> dict[str, dict[str, bytes]]:
        """Pieces by partition and kind. Raises SourceError."""
        ...

    def write(
        self,
        pieces: Mapping[tuple[str, str], bytes],
        offsets: Mapping[str, int],
        member: Any,
        messages: Sequence[tuple[str, Message]] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """All of it or nothing. Raises SourceError; an UndecidedError where it may have been all."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Shared(Durable):
    """State in a topic; the store keeps what concerns this process alone: the outbox, silences, who was told what.

    ``topics``: by name, the alert sinks that are topics of the same brokers, which get their messages with the state.
    Is also the source's Custody.
    """

    def __init__(self, topic: Topic, topics: Mapping[str, str], instance: str, *rest: Any) -> None:
        super().__init__(*rest)
        self._topic, self._topics, self._instance = topic, topics, instance
        self._sinks = {name: sink for sink, name in topics.items()}
        self._member: Callable[[], tuple[Any, dict[str, str]] | None] = lambda: None
        self._outgoing: list[tuple[str, Message]] = []  # for topics of the same brokers
        self._aside: tuple[list[tuple[str, Message]], list[Addressed]] = [], []  # of both, what must not leave now
        self._drop: Callable[[Callable[[Labels], bool]], None] = lambda theirs: None
        self._batch = 0  # number of the last transaction, in the store once what went with it is there
        self._began: dict[str, int] = {}  # where the reading of each partition began
        self._large: dict[str, int] = {}  # when the large piece of each partition was last written, ns
        self._progress = Progress()
        self._said: list[str] = []  # what is wrong with the topic
        self._refused = ""  # why the last transaction did not come through
        self._doubt: _Tried | None = None  # that transaction, until it is known whether the brokers took it

    def _recalling(self) -> None:
        """Nothing for the disk: notes travel with their partition."""
        parts = self._monitor.parts
        parts.alerts.recall = self._noted = Noted(
            parts.table, lambda slots: parts.windows.partition[slots], lost(self._monitor)
        )

    # -- partitions come and go

    def adopt(self, partitions: Sequence[str]) -> Mapping[str, int]:
        """Go on with the state of partitions where another process was, or this one before."""
        kept = self._topic.read(partitions)
        self._complain()
        found: dict[str, int] = {}
        for name in partitions:
            self._forget([name])
            pieces = kept.get(name, {})
            number = self._partitions.number(name)
            try:
                if SMALL in pieces:
                    found[name] = self._take_up(name, pieces)
                else:
                    parcel.begin(self._monitor, number, self._now())
            except StoreError as error:
                self._log.error("state.failed", error=str(error))
                self._forget([name])
                parcel.begin(self._monitor, number, self._now())
        self._log.info("state.adopted", positions=found, new=sorted(set(partitions) - found.keys()))
        self._progress.positions.update(found)
        return found

    def _complain(self) -> None:
        """What is there of some pieces can't be used, or the topic may lose them: said once."""
        said = [why for name in ("problem", "remark") if (why := getattr(self._topic, name, None))]
        for why in said:
            if why not in self._said:
                self._log.error("state.failed", error=why)
        self._said = said

    def _now(self) -> int:
        return self._monitor.parts.clock.now()

    def _take_up(self, name: str, pieces: Mapping[str, bytes]) -> int:
        small = unpacked(pieces[SMALL], name)
        large = unpacked(pieces[LARGE], name) if LARGE in pieces else None
        self._noted.take_up(self._partitions.number(name), self._notes(name, small[1].get("notes", 0), pieces))
        position = parcel.put(self._monitor, self._partitions, name, (large, small), self._now())
        about = small[1]
        self._began[name] = about["start"]
        self._large[name] = 0 if large is None else self._now()
        ours = _of(about["names"], [group for group in about["groups"] if group])
        if self._notifier is not None:
            firing = [said for change in self._monitor.firing() if ours((said := message(change))["labels"])]
            self._notifier.adopt(about["told"], firing, self._now())
        instance, batch = about["batch"]
        if instance != self._instance or batch > (self._store.part("batch") or 0):  # else they are on this disk
            self._unsent += [(sink, said) for sink, said in about["letters"] if sink in self._outbox.sinks]
        if instance == self._instance:
            self._batch = max(self._batch, batch)
        return position

    def _notes(self, name: str, count: int, pieces: Mapping[str, bytes]) -> list[Piece]:
        """Up to the first one that can't be read: from there on windows have a gap, and nothing else is wrong."""
        found: list[Piece] = []
        try:
            for at in range(count):
                found.append(unpacked(pieces[f"{NOTE}{at}"], name))  # noqa: PERF401 - those before a damaged one count
        except (StoreError, KeyError) as error:
            self._log.error("state.failed", error=f"{name}: note {len(found)} of {count}: {error}")
        return found

    def leave(self, partitions: Sequence[str]) -> None:
        """Somebody else goes on with these: nothing is told or kept of them here any more."""
        streams = self._forget(partitions)
        self._log.info("state.left", partitions=sorted(partitions), streams=streams)

    def _forget(self, partitions: Sequence[str]) -> int:
        streams: set[str] = set()
        groups: set[str] = set()
        for name in partitions:
            gone = parcel.leave_partition(self._monitor, self._partitions.number(name))
            self._noted.leave(self._partitions.number(name))
            streams |= set(gone.streams)
            groups |= set(gone.groups)
            for known in (self._progress.positions, self._progress.starts):
                known.pop(name, None)
            self._began.pop(name, None)
            self._large.pop(name, None)
            if self._doubt is not None:
                self._doubt.partitions.discard(name)
        if streams:
            self._untell(_of(streams, groups))
        return len(streams)

    def _untell(self, theirs: Callable[[Labels], bool]) -> None:
        """Drop what was to be told of somebody else's alerts, and is not told yet."""
        self._unstage()
        self._take_back()
        self._outgoing = [each for each in self._outgoing if not _about(theirs, each[1])]
        left = [(sink, _without(theirs, said)) for sink, said in self._unsent]
        self._unsent = [(sink, said) for sink, said in left if said is not None]
        self._monitor.owed.drop(theirs)
        self._drop(theirs)
        if self._notifier is not None:
            self._notifier.leave(theirs)

    def _unstage(self) -> None:
        if self._staged:
            self._store.drop()
            self._staged, self._fresh = 0, dict(self._rows)

    def _set_aside(self, partitions: Sequence[str]) -> None:
        """Nothing is sent of partitions that may be somebody else's by now, until they have left or are ours again."""
        self._take_back()
        if not partitions or not (self._outgoing or self._unsent):
            return
        held = [parcel.of_partition(self._monitor, self._partitions.number(name)) for name in partitions]
        theirs = _of([name for each in held for name in each.streams], [name for each in held for name in each.groups])
        outgoing, unsent = (
            [each for each in waits if _about(theirs, each[1])] for waits in (self._outgoing, self._unsent)
        )
        if outgoing or unsent:
            self._unstage()
            self._aside = outgoing, unsent
            self._outgoing = [each for each in self._outgoing if not _about(theirs, each[1])]
            self._unsent = [each for each in self._unsent if not _about(theirs, each[1])]

    def _take_back(self) -> None:
        (outgoing, unsent), self._aside = self._aside, ([], [])
        if outgoing or unsent:
            self._unstage()
            self._outgoing, self._unsent = outgoing + self._outgoing, unsent + self._unsent

    @property
    def problem(self) -> str | None:
        """Why state can't be kept where others can read it, for people; None = it can."""
        return self._refused or None

    # -- commits

    def dropping(self, drop: Callable[[Callable[[Labels], bool]], None]) -> None:
        """``drop`` is called where somebody else goes on: of a storm that is told in portions, theirs is not told."""
        self._drop = drop

    def attach(self, source: Source) -> None:
        """The source, which tells who this process is in its group; its offsets are committed with the state."""
        self._member = getattr(source, "standing", self._member)

    def _addressed(self, messages: Sequence[Message], notices: Sequence[Addressed]) -> list[Addressed]:
        found = super()._addressed(messages, notices)
        if not any(sink in self._topics for sink, _ in found):
            return found
        direct = self._direct()
        self._outgoing += [(self._topics[sink], said) for sink, said in found if sink in direct]
        return [(sink, said) for sink, said in found if sink not in direct]

    def _direct(self) -> set[str]:
        """Sinks whose messages go with the state: not those for which older ones wait in the outbox."""
        unsent = {sink for sink, _ in self._unsent}
        free = {sink for sink, each in self._outbox.counts().items() if not each.waiting}
        return (free & self._topics.keys()) - unsent

    def _detour(self, topic: str) -> None:
        """Messages for a topic that takes none wait in the outbox, so that the state and the others don't."""
        self._unsent += [(self._sinks[to], said) for to, said in self._outgoing if to == topic]
        self._outgoing = [each for each in self._outgoing if each[0] != topic]

    def _shared(self, now: int, progress: Progress) -> bool:
        if self._progress is not progress:  # the first time
            progress.positions.update(self._progress.positions | progress.positions)
            self._progress = progress
        member, held = self._member() or (None, {})
        if not self._decided(held):
            return False
        if len(self._outgoing) > MOST_ALONG:
            self._detour_all()
        self._set_aside([name for name in progress.positions if name not in held])
        offsets = {name: progress.positions[name] for name in held if name in progress.positions}
        if not offsets:
            if not progress.positions:  # nobody's state is at stake: these are alerts of heed's own
                self._detour_all()
            return not self._outgoing
        return self._transact(now, member, offsets, {name: held[name] for name in offsets})

    def _transact(self, now: int, member: Any, offsets: Mapping[str, int], metadata: Mapping[str, str]) -> bool:
        self._take_rows()
        pieces = self._pieces(now, offsets)
        try:
            self._topic.write(pieces, offsets, member, self._outgoing, metadata)
        except RefusedTopicError as error:
            self._detour(error.topic)  # whose own tries tell what is wrong with it
            return False
        except SourceError as error:
            if isinstance(error, UndecidedError):
                self._doubt = _Tried(set(offsets), list(self._outgoing))
            self._failed_to_share(str(error))
            return False
        if self._refused:
            self._log.info("state.recovered", waited=len(self._outgoing) + len(self._unsent))
        self._refused = ""
        self._taken(self._outgoing)
        whole = {name for name, kind in pieces if kind == LARGE}
        self._large |= dict.fromkeys(whole, now)
        self._noted.kept(map(self._partitions.number, offsets), set(map(self._partitions.number, whole)))
        return True

    def _taken(self, messages: Sequence[tuple[str, Message]]) -> None:
        """A transaction with these is through."""
        for topic, count in Counter(topic for topic, _ in messages).items():
            self._outbox.note_sent(self._sinks[topic], count)
        told = set(map(id, messages))
        self._outgoing = [each for each in self._outgoing if id(each) not in told]
        self._batch += 1

    def _decided(self, held: Collection[str]) -> bool:
        """Whether it is known how the last transaction ended. If nobody said so, what stands in the topic tells.

        That is asked for the messages' sake, which must not be told twice; pieces are just written again.
        """
        if self._doubt is None or not self._doubt.partitions:
            self._doubt = None
            return True
        name = next((name for name in self._doubt.partitions if name in held), None)
        if name is None:
            return False  # somebody else may write over it just now
        try:
            pieces = self._topic.read([name]).get(name, {})
        except SourceError as error:
            self._failed_to_share(str(error))
            return False
        tried, self._doubt = self._doubt, None
        with suppress(KeyError, StoreError):  # there is none yet that could be read: it was not taken
            if unpacked(pieces[SMALL], name)[1]["batch"] == [self._instance, self._batch + 1]:
                self._taken(tried.messages)
        return True

    def _detour_all(self) -> None:
        for topic in dict(self._outgoing):
            self._detour(topic)

    def _failed_to_share(self, why: str) -> None:
        """The same or newer state is written a commit later; nothing is sent before."""
        if not self._refused:
            self._log.error("state.failed", error=why)
        self._refused = why

    def _pieces(self, now: int, offsets: Mapping[str, int]) -> Pieces:
        """The small piece of each partition, and the large one of that which waits for it longest."""
        letters = self._letters(list(offsets))
        found: Pieces = {}
        for name, position in offsets.items():
            number = self._partitions.number(name)
            start = self._began.setdefault(name, self._progress.starts.get(name, position))
            columns, about = parcel.small(self._monitor, self._partitions, number, start, position)
            ours = _of(about["names"], about["groups"])
            told = {"alerts": {}, "gatherings": {}} if self._notifier is None else self._notifier.of(ours)
            notes, new = self._noted.piece(number)
            found |= {(name, kind): packed(*piece) for kind, piece in new.items()}
            extra = {
                "notes": notes,
                "told": told,
                "letters": letters.get(name, []),
                "batch": [self._instance, self._batch + 1],
            }
            found[name, SMALL] = packed(columns, about | extra)
        oldest = min(offsets, key=lambda name: self._large.get(name, 0))
        if now - self._large.get(oldest, 0) >= self._checkpoint_every:
            number = self._partitions.number(oldest)
            found[oldest, LARGE] = packed(*parcel.large(self._monitor, number, offsets[oldest]))
        return found

    def _letters(self, partitions: Sequence[str]) -> dict[str, list[Addressed]]:
        """What goes to other sinks with this commit, by partition: it could be lost with this process's disk."""
        found: dict[str, list[Addressed]] = {}
        for sink, said in self._unsent:
            slot = self._monitor.parts.table.slot_of.get(_labels(said).get("stream", ""))
            at = -1 if slot is None else int(self._monitor.parts.windows.partition[slot])
            name = self._partitions.names[at] if at >= 0 else partitions[0]
            found.setdefault(name if name in partitions else partitions[0], []).append((sink, dict(said)))
        return found

    def _small(self, now: int, positions: Mapping[str, int], new: Mapping[str, int]) -> Commit:
        what = super()._small(now, positions, new)
        own = {name: what.parts[name] for name in ("counters", "budget")} | {"batch": self._batch}
        own["limited"] = [row for row in self._monitor.parts.alerts.snapshot() if "limited" in row]
        return replace(what, positions={}, start_positions={}, parts=own, columns={})

    # -- beginning and end

    def restore(self) -> dict[str, int]:
        """What concerns this process alone; the rest comes with the partitions."""
        self._restore_own()
        self._batch = self._store.part("batch") or 0
        self._monitor.parts.alerts.restore(self._store.part("limited") or [])  # heed's own, of no partition
        return {}

    def checkpoint(self, now: int, positions: Mapping[str, int]) -> None:
        """Nothing: the large pieces go with the others, one at a time."""
        self._checkpointed = now

    def close(self, now: int, progress: Progress, whole: bool = True) -> None:
        """The state as it is now, all large pieces included, so that nothing has to be read twice."""
        if whole:
            for _ in range(len(progress.positions)):
                self._large = {name: at for name, at in self._large.items() if at == now}
                self.commit(now, [], progress, urgent=True)
                if self._refused:  # each try may take long; whoever comes next begins from what is there
                    whole = False
                    break
        super().close(now, progress, whole)
        self._topic.close()


def _of(streams: Collection[str], groups: Collection[str]) -> Callable[[Labels], bool]:
    return partial(_belongs, frozenset(streams), frozenset(groups))


def _belongs(streams: frozenset[str], groups: frozenset[str], labels: Labels) -> bool:
    """Whether an alert with these labels is one of these streams, or of these groups as a whole."""
    return labels["stream"] in streams if labels.get("stream") else labels.get("group", "") in groups


def _labels(said: Message) -> Labels:
    found = said.get("labels")
    return found if isinstance(found, dict) else {}


def _without(theirs: Callable[[Labels], bool], said: Message) -> Message | None:
    """A message without what it tells of their alerts; None where nothing is left of it."""
    alerts = said.get("alerts")
    if not isinstance(alerts, list):
        return None if theirs(_labels(said)) else said
    left = [alert for alert in alerts if not theirs(alert["labels"])]
    if len(left) == len(alerts) or not left:
        return said if left else None
    firing = any(alert["status"] == "firing" for alert in left)
    return {**said, "alerts": left, "status": "firing" if firing else "resolved"}


def _about(theirs: Callable[[Labels], bool], said: Message) -> bool:
    """Whether a message, or any alert of a notification, is one of theirs."""
    alerts = said.get("alerts")
    each = [alert["labels"] for alert in alerts] if isinstance(alerts, list) else [_labels(said)]
    return any(theirs(labels) for labels in each)
