"""What a restart must not lose: committed small and often, checkpointed large and seldom, restored together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from connectors.batch import PartitionTable
from connectors.keeping.handover import Handover
from connectors.keeping.outbox import Outbox
from connectors.keeping.shelf import Letter, written
from connectors.keeping.store import Array, Commit, Store, StoreError, packed, unpacked
from connectors.source import Source
from stream.gate import NEVER, Gate
from stream.log import get
from stream.loop import Message, Progress
from stream.monitor import Monitor
from stream.notify.notifier import Addressed, Notifier, Row
from stream.rules.message import message
from stream.rules.recall import SAID, Recall
from stream.settings import RECEIVER
from stream.window_state import part_of

MOST_REMOVED = 1000  # delivered messages that one commit takes out of the outbox, unless many more wait for it


def _addressed(outbox: Outbox, messages: Sequence[Message], notices: Sequence[Addressed]) -> list[Addressed]:
    """What goes where: each alert change to each sink that takes them, notifications to whom they are for."""
    plain = [sink for sink in outbox.sinks if not sink.startswith(RECEIVER)]
    return [(sink, said) for said in messages for sink in plain] + list(notices)


def lost(monitor: Monitor) -> frozenset[str]:
    """What can't be found out again of steps that were judged: without a model, how long ago a restart was."""
    return frozenset({"age"}) if monitor.parts.looks is None else SAID


class Passing:
    """No state on disk: messages go to the sinks and are forgotten."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox, self._count = outbox, 0

    def commit(
        self, now: int, messages: list[Message], progress: Progress, urgent: bool, notices: Sequence[Addressed] = ()
    ) -> None:
        """Send at once."""
        self.stage(now, messages, notices)

    def stage(self, now: int, messages: list[Message], notices: Sequence[Addressed] = ()) -> None:
        """There is nothing to wait for."""
        for sink, said in _addressed(self._outbox, messages, notices):
            self._outbox.put([Letter(self._count, sink, said, now)])
            self._count += 1
        self._outbox.take_sent()
        _tell_dead(self._outbox.take_dead())

    def restore(self) -> dict[str, int]:
        """There is nothing to take up again."""
        return {}

    def attach(self, source: Source) -> None:
        """Nobody is told of anything."""

    def readdress(self) -> None:
        """Nothing waits for anybody."""

    def close(self, now: int, progress: Progress, whole: bool = True) -> None:
        """Deliver what is under way."""
        self._outbox.close()


class Durable:
    """State in a store. A commit that fails is tried again a turn later; nothing is sent before it is durable.

    ``commit_every`` and ``checkpoint_every`` in ns of the loop's clock. ``most_waiting``: messages and bytes that wait
    for a sink before they are compacted.
    """

    def __init__(
        self,
        store: Store,
        monitor: Monitor,
        partitions: PartitionTable,
        outbox: Outbox,
        commit_every: int,
        checkpoint_every: int,
        most_waiting: tuple[int, int] = (10_000, 64 << 20),
        notifier: Notifier | None = None,
    ) -> None:
        self._store, self._monitor, self._partitions = store, monitor, partitions
        self._source: Source | None = None
        self._outbox, self._handover = outbox, Handover(store, outbox, *most_waiting)
        self._commit_every, self._checkpoint_every = commit_every, checkpoint_every
        self._committed = self._checkpointed = 0
        self._starts: dict[str, int] = {}
        self._notifier, self._rows = notifier, dict[Row, Any]()
        self._unsent: list[Addressed] = []
        self._staged = 0  # how many of these are in the open transaction, with all rows but the fresh ones
        self._fresh = dict[Row, Any]()
        self._alerts: list[dict[str, Any]] | None = None  # as the store has them
        self._written: list[dict[str, Any]] | None = None  # as it has them once the commit under way is through
        self._sent: list[int] = []
        self._dead: list[tuple[int, str]] = []
        self._recall = self._recalling()
        self._failing = self._astray = False
        self._log = get()

    def _recalling(self) -> Recall | None:
        """What is noted of windows between checkpoints: all that can't be found out again from readings."""
        parts = self._monitor.parts
        parts.alerts.recall = recall = Recall(parts.table, lost(self._monitor))
        return recall

    def commit(
        self, now: int, messages: list[Message], progress: Progress, urgent: bool, notices: Sequence[Addressed] = ()
    ) -> None:
        """Alert state, who was told what, ledger, what the gate learned, outbox and positions, in one transaction."""
        self._unsent += self._addressed(messages, notices)
        if not self._staged:  # what is staged could be read, and is not durable
            self._reading(self._handover.look)
        new = {name: offset for name, offset in progress.starts.items() if name not in self._starts}
        if not (urgent or new or now - self._committed >= self._commit_every):
            return
        self._committed = now
        if not self._shared(now, progress):
            return  # nothing is kept here alone that others have to know
        if not self._write(self._small(now, progress.positions, new)):
            return  # nor a checkpoint: it must not be ahead of what is committed
        self._starts |= new
        if self._source is not None:
            self._source.commit(progress.positions)
        if self._recall is not None:
            self._recall.written()
        self._checkpointed = self._checkpointed or now
        if now - self._checkpointed >= self._checkpoint_every:
            self.checkpoint(now, progress.positions)

    def _addressed(self, messages: Sequence[Message], notices: Sequence[Addressed]) -> list[Addressed]:
        return _addressed(self._outbox, messages, notices)

    def _shared(self, now: int, progress: Progress) -> bool:
        """Keep it where other processes can read it, if they should; false where it has to be tried again."""
        return True

    def stage(self, now: int, messages: list[Message], notices: Sequence[Addressed] = ()) -> None:
        """Written, but not durable before the commit that follows; nothing of it is sent before that."""
        self._unsent += self._addressed(messages, notices)
        self._take_rows()
        send = self._unsent[self._staged :]
        if self._failing or not send:
            return
        try:
            self._store.stage(Commit(send=send, full=self._handover.full(send), time=now, rows=self._fresh))
            self._staged, self._fresh = len(self._unsent), {}
        except StoreError as error:
            self._failed(error)

    def _take_rows(self) -> None:
        """What the notifier keeps and has changed."""
        rows = {} if self._notifier is None else self._notifier.take_rows()
        self._rows |= rows
        self._fresh |= rows

    def _small(self, now: int, positions: Mapping[str, int], new: Mapping[str, int]) -> Commit:
        parts, ledger = self._monitor.parts, self._monitor.parts.ledger
        names, counts, total = ledger.snapshot(parts.table.names)
        self._take_done()
        alerts = parts.alerts.snapshot()
        state: dict[str, Any] = {
            "incidents": parts.incidents.snapshot(),
            "ledger": names,
            "judged": self._monitor.judged.state(self._partitions.names),
            "streams": parts.table.names,
            "counters": self._monitor.counters(),
            "budget": None if parts.looks is None else parts.looks.budget.state(),
        }
        if alerts != self._alerts:  # while a storm lasts, writing them out would be most of each commit
            state["alerts"] = written(alerts)
        self._written = alerts
        columns: dict[str, Array] = {"ledger.counts": counts, "ledger.total": total, "since": self._monitor.since}
        if parts.gate is not None:
            columns |= {f"gate.{name}": column for name, column in parts.gate.learned().items()}
        self._take_rows()
        send = self._unsent[self._staged :]
        done = self._sent[: max(MOST_REMOVED, len(self._sent) // 4)], list(self._dead)
        full = self._handover.full(send)
        note, anew = b"", False
        if self._recall is not None:
            pending, anew = self._recall.pending(), self._recall.anew
            note = b"" if pending is None else packed(*pending)
        return Commit(dict(positions), dict(new), state, columns, send, *done, full, now, dict(self._fresh), note, anew)

    def _take_done(self) -> None:
        """What the sinks took, and what was given up."""
        self._sent += self._outbox.take_sent()
        self._note_dead(self._outbox.take_dead())
        if self._astray and not self._outbox.parting:
            self._give_up_strays()

    def _give_up_strays(self) -> None:
        """What waits on disk for sinks that are gone, once their last tries have ended."""
        done = {*self._sent, *(number for number, _ in self._dead)}
        try:
            self._note_dead([each for each in self._handover.orphans() if each[0] not in done])
        except StoreError as error:
            self._log.error("state.failed", error=str(error))
            return
        known = set(self._outbox.sinks)
        self._astray = any(sink not in known for sink, _ in self._unsent)  # which will be on disk then

    def _note_dead(self, dead: Sequence[tuple[int, str, str]]) -> None:
        _tell_dead(dead)
        self._dead += [(number, why) for number, _, why in dead]

    def _write(self, what: Commit) -> bool:
        try:
            self._store.commit(what)
        except StoreError as error:
            self._failed(error)
            return False
        if self._failing:
            self._log.info("state.recovered", waited=len(self._unsent))
        self._failing = False
        sinks = [sink for sink, _ in self._unsent]
        self._sent, self._dead, self._unsent = self._sent[len(what.sent) :], [], []
        self._staged, self._rows, self._fresh = 0, {}, {}
        self._alerts = self._written
        self._reading((lambda: self._handover.after(sinks)) if sinks else self._handover.look)
        return True

    def _failed(self, error: StoreError) -> None:
        """Nothing of what was to be written is; the next commit has all of it."""
        self._store.drop()
        self._staged, self._fresh = 0, dict(self._rows)
        if not self._failing:
            self._log.error("state.failed", error=str(error))
        self._failing = True

    def _reading(self, hand_over: Callable[[], None]) -> None:
        """What is durable to the outbox; where that can't be read now, it is with the next commit."""
        try:
            hand_over()
        except StoreError as error:
            self._log.error("state.failed", error=str(error))

    def checkpoint(self, now: int, positions: Mapping[str, int]) -> None:
        """Evidence, calibration and windows, with the positions up to which they are true."""
        self._checkpointed = now
        parts = self._monitor.parts
        columns: dict[str, Array] = {}
        for name, part in (
            ("windows", parts.windows),
            ("sentinel", parts.sentinel),
            ("groups", parts.groups),
            ("rules", parts.alerts),
        ):
            columns |= {f"{name}.{key}": column for key, column in part.columns().items()}
        if parts.gate is not None:
            columns |= {f"gate.{key}": column for key, column in parts.gate.columns().items()}
        about = {
            "positions": dict(positions),
            "partitions": self._partitions.names,
            "table": parts.table.state(),
            "panels": parts.groups.names,
            "registry": parts.registry.state(),
        }
        try:
            self._store.checkpoint(columns, about)
            self._log.info("state.checkpointed", streams=len(parts.table.slot_of))
            if self._recall is not None:
                self._recall.begin_anew()
        except StoreError as error:
            self._log.error("state.failed", error=str(error))

    def close(self, now: int, progress: Progress, whole: bool = True) -> None:
        """The last commit and checkpoint of an ordered stop, then what the sinks took meanwhile.

        Broken off in the middle of a turn, the state is not ``whole``: what was committed before is what holds.
        """
        if progress.positions and whole:
            self.commit(now, [], progress, urgent=True)
            if not self._failing:
                self.checkpoint(now, progress.positions)
        else:
            self._store.drop()
            self._unsent, self._staged = [], 0
        self._outbox.close()
        self._take_done()
        self._write(Commit(sent=list(self._sent), dead=list(self._dead), time=now))
        self._store.close()

    def readdress(self) -> None:
        """The outbox has other sinks now; what waits for those that are gone is given up with the next commits."""
        self._astray = True
        try:
            self._handover.readdress()
        except StoreError as error:
            self._log.error("state.failed", error=str(error))

    def attach(self, source: Source) -> None:
        """The source that is told what has become durable."""
        self._source = source

    def restore(self) -> dict[str, int]:
        """Take back both tiers; the positions to read on from: those of the evidence, or where it all began.

        Call it before the sources are made, which may give streams their slots at once. Raises StoreError.
        """
        folder = self._store.folder
        with _readable(folder):
            starts = self._store.start_positions()
        self._starts = dict(starts)
        with _readable(folder / "checkpoint.npz"):
            positions = starts | self._restore_large()
        with _readable(folder):
            self._restore_small()
            self._restore_notifier([message(change) for change in self._monitor.firing()])
            self._restore_outbox()
        if positions:
            self._log.info("state.restored", positions=positions, streams=len(self._monitor.parts.table.slot_of))
        return positions

    def _restore_small(self) -> None:
        monitor, parts = self._monitor, self._monitor.parts
        judged = self._store.part("judged")
        if judged is None:
            return
        columns = self._store.columns("")
        parts.ledger.restore(self._store.part("ledger"), columns["ledger.counts"], columns["ledger.total"])
        last = monitor.judged.restore(judged, {name: self._partitions.number(name) for *_, name, _ in judged})
        monitor.restore_counters(self._store.part("counters"))
        monitor.awaited.expect(_by_name(self._store.part("streams"), columns))
        orphans = parts.alerts.restore(self._store.part("alerts"))
        parts.incidents.restore(self._store.part("incidents"))
        if self._recall is not None:
            self._recall.restore(unpacked(note, "a note") for note in self._store.notes())
        monitor.owed.add(parts.alerts.orphaned(orphans, last))
        for slot, name in enumerate(parts.table.names):
            if name:
                parts.ledger.start(slot, name)
                monitor.meet(slot)
        if parts.looks is not None and self._store.part("budget"):
            parts.looks.budget.restore(self._store.part("budget"))

    def _restore_notifier(self, firing: Sequence[Message]) -> None:
        if self._notifier is not None:
            self._notifier.restore(self._store.rows(), firing)

    def _restore_outbox(self) -> None:
        self._note_dead(self._handover.orphans())
        self._handover.after(self._outbox.sinks)

    def _restore_own(self) -> None:
        """What concerns this process alone, without any stream: counters, silences, the outbox."""
        with _readable(self._store.folder):
            if counters := self._store.part("counters"):
                self._monitor.restore_counters(counters)
            rows = self._store.rows()
            if self._notifier is not None:
                self._notifier.restore({row: kept for row, kept in rows.items() if row[0] == "silence"}, ())
            self._rows = self._fresh = {row: None for row in rows if row[0] != "silence"}
            self._restore_outbox()

    def _restore_large(self) -> dict[str, int]:
        found = self._store.read_checkpoint()
        if found is None:
            return {}
        columns, about = found
        parts = self._monitor.parts
        for name in about["partitions"]:
            self._partitions.number(name)
        parts.table.restore(about["table"])
        parts.windows.restore(part_of(columns, "windows"))
        parts.sentinel.restore(part_of(columns, "sentinel"))
        if parts.gate is not None:
            _restore_gate(parts.gate, part_of(columns, "gate"), len(parts.table))
        parts.groups.restore(part_of(columns, "groups"), about["panels"])
        parts.alerts.restore_columns(part_of(columns, "rules"))
        parts.registry.restore(about["registry"])
        self._monitor.resume()
        return {name: int(offset) for name, offset in about["positions"].items()}


def _tell_dead(dead: Sequence[tuple[int, str, str]]) -> None:
    """One line for each sink that something was given up for."""
    by_sink: dict[str, list[str]] = {}
    for _, sink, why in dead:
        by_sink.setdefault(sink, []).append(why)
    for sink, reasons in by_sink.items():
        get().warning("notification.abandoned", name=sink, messages=len(reasons), problem=reasons[-1])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What is read here but makes no sense was damaged, or written under other settings: that is said of ``path``."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
        raise StoreError(f"{path}: can't be taken up ({wrong}); remove it to start from the beginning") from error


def _restore_gate(gate: Gate, columns: dict[str, Array], slots: int) -> None:
    """What was written with a model; where there was none before, the gate begins with all streams."""
    if columns:
        gate.restore(columns)
    else:
        gate.start(np.arange(slots, dtype=np.int32))


def _by_name(names: list[str], columns: Mapping[str, Array]) -> dict[str, tuple[int, float, int]]:
    """What was learned of each stream by name: unseen since, last score, step of the last look.

    Slots may differ after a restart: a stream that came after the checkpoint gets one anew.
    """
    since = columns["since"]
    last = columns.get("gate.last", np.full(since.size, NEVER))
    looked = columns.get("gate.looked", np.zeros(since.size, np.int64))
    return {
        name: (int(since[slot]), float(last[slot]), int(looked[slot]))
        for slot, name in enumerate(names)
        if name and slot < min(since.size, last.size)
    }
