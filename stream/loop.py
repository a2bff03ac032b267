"""The loop: poll, step, tell, commit. The same code live and in replay; one `now` per turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from connectors.batch import Batch, PartitionTable
from connectors.clock import Clock
from connectors.source import Source
from stream.log import about, get
from stream.monitor import Monitor
from stream.notify.notifier import Addressed, Noticed
from stream.turn import Told, Turn

LOUD = ("guarantee.violated", "budget.overloaded", "model.failed")  # notes that are warnings
MOST_SAID = 100  # alerts and incidents of one turn that get a log line each
FOREVER = 1 << 62  # ns: further than any clock goes
LONGEST = 2_000_000_000  # ns for which a storm may be told in portions, as no state is kept meanwhile
Message = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far each partition has been read: by name, the first offset and the one to read next."""

    starts: dict[str, int] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)

    def note(self, batch: Batch, names: Sequence[str]) -> None:
        """Take in what a poll moved."""
        for partition, offset in batch.positions.items():
            name = names[partition]
            if name not in self.starts:
                own = batch.offset[batch.partition == partition]
                self.starts[name] = int(own[0]) if own.size else offset
            self.positions[name] = offset


class Keeper(Protocol):
    """Who makes state durable (state.py), or nobody."""

    def commit(
        self, now: int, messages: list[Message], progress: Progress, urgent: bool, notices: Sequence[Addressed] = ()
    ) -> None:
        """Keep what changed if it is time to, at once if ``urgent``; after that messages go to the sinks.

        ``messages`` go to every sink for data, ``notices`` each to the receiver's sink that it names.
        """
        ...

    def stage(self, now: int, messages: list[Message], notices: Sequence[Addressed] = ()) -> None:
        """More is to be told before the state may be kept: these go into the commit that follows in a later turn."""
        ...


class Notifies(Protocol):
    """Who decides what people are told (stream/notify), or nobody."""

    def step(self, messages: Sequence[Message], now: int, more: bool = False) -> Noticed:
        """Take in the alert messages of a turn; what is to be told now. ``more`` of what changed at once follow."""
        ...


class Recorder(Protocol):
    """Who writes down what a run depended on (connectors/recordings/recording.py), or nobody."""

    def turn(self, now: int, batch: Batch) -> None:
        """One turn begins: its time and what its poll brought."""
        ...


class Loop:
    """Turns until the source is done or someone asks it to stop.

    ``poll`` (ns) bounds how long one poll waits. ``hooks`` are called after each turn with the time (the page, the
    status line). ``tell`` makes a message of an alert change, ``notifier`` notifications of messages.

    A turn tells at most ``most`` changes; the rest follow in order with the next turns, which don't wait. Meanwhile no
    state is kept, so that it is never ahead of what was told (docs/decisions/021-a-storm-is-told-in-portions.md).
    """

    def __init__(
        self,
        monitor: Monitor,
        source: Source,
        clock: Clock,
        partitions: PartitionTable,
        keeper: Keeper,
        tell: Callable[[Told], Message],
        poll: int = FOREVER,
        recorder: Recorder | None = None,
        hooks: tuple[Callable[[int], None], ...] = (),
        notifier: Notifies | None = None,
        most: int = FOREVER,
    ) -> None:
        self._monitor, self._source, self._clock, self._partitions = monitor, source, clock, partitions
        self._keeper, self._tell, self._poll, self._recorder, self._hooks = keeper, tell, poll, recorder, hooks
        self._notifier, self._most = notifier, most
        self._untold: deque[Told] = deque()
        self._urgent = False  # something was told that is not kept yet
        self.progress = Progress()
        self._log = get()
        self.turns = 0
        self._in_turn = False
        self._held = False  # a turn has told all it may; what it told is not kept yet
        self._held_since = 0  # ns

    @property
    def midway(self) -> bool:
        """In a turn, or in the middle of telling a storm: what is known now must not be kept."""
        return self._in_turn or self._held

    def run(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Until the end or an ordered stop."""
        while not self._source.done and not stopped():
            self.turn()
        self.settle()

    def settle(self) -> None:
        """Tell all that is left to tell, before an end."""
        if self._held:
            self._hand_over((), self._clock.now(), FOREVER)

    def turn(self, until: int = FOREVER) -> Turn:
        """Poll once (waiting at most until ``until``, ns) and do all that follows from it."""
        due = self._monitor.parts.windows.next_due()
        wait = min(until, FOREVER if due is None else due)
        if self._poll < FOREVER:
            wait = min(wait, self._clock.now() + self._poll)
        if self._held:
            wait = self._clock.now()
        batch = self._source.poll(wait)
        self._in_turn = True
        now = self._clock.now()
        if self._recorder is not None:
            self._recorder.turn(now, batch)
        turn = self._monitor.step(batch, now)
        self._finish(batch, now, turn)
        return turn

    def drop(self, theirs: Callable[[Mapping[str, str]], bool]) -> None:
        """Another process goes on with alerts of such labels: what is left to tell of them is not told here."""
        self._untold = deque(told for told in self._untold if not theirs(told.change.labels))

    def take(self, turn: Turn, now: int) -> None:
        """What changed between two turns: said, told and committed at once."""
        self._say(turn)
        if turn.told:
            self._hand_over(turn.told, now, self._most)

    def _say(self, turn: Turn) -> None:
        """Into the log, each line with the time of the newest frame."""
        if not (turn.notes or turn.told or turn.incidents):
            return
        with about(frame=self._monitor.last_tick):
            for name, details in turn.notes:
                (self._log.warning if name in LOUD else self._log.info)(name, **details)
            for told in turn.told[:MOST_SAID]:
                change = told.change
                alert = {"alertname": change.rule.alert, "stream": change.stream, "group": change.group}
                self._log.info(f"alert.{change.status}", **alert, reason=change.reason)
            incidents = [incident for incident in turn.incidents if incident.status != "joined"]
            for incident in incidents[:MOST_SAID]:
                self._log.info(f"incident.{incident.status}", id=incident.id, group=incident.group)
            rest = {"alerts": len(turn.told) - MOST_SAID, "incidents": len(incidents) - MOST_SAID}
            if any(n > 0 for n in rest.values()):
                self._log.info("alert.abridged", **{name: max(0, n) for name, n in rest.items()})

    def _finish(self, batch: Batch, now: int, turn: Turn) -> None:
        self.turns += 1
        self.progress.note(batch, self._partitions.names)
        self._say(turn)
        self._hand_over(turn.told, now, FOREVER if self._source.done else self._most)
        self._in_turn = False
        self._monitor.laps.lap("commit")
        for hook in self._hooks:
            hook(now)
        self._monitor.laps.lap("outputs")

    def _hand_over(self, told: Iterable[Told], now: int, most: int) -> None:
        """Messages to whoever is told; once nothing is left to tell, with the state that they tell of."""
        if not self._held:
            self._held_since = now
        if now - self._held_since >= LONGEST:  # changes come faster than they can be told: they have to wait for it
            most = FOREVER
        self._untold.extend(told)
        messages = [self._tell(self._untold.popleft()) for _ in range(min(most, len(self._untold)))]
        self._monitor.laps.lap("tell")
        self._held = bool(self._untold) or len(messages) >= most  # a commit after so much would be a long turn
        noticed = Noticed() if self._notifier is None else self._notifier.step(messages, now, self._held)
        self._monitor.laps.lap("notify")
        urgent = self._urgent = self._urgent or bool(messages) or noticed.urgent
        if self._held:
            self._keeper.stage(now, messages, noticed.send)
            return
        self._urgent = False
        self._keeper.commit(now, messages, self.progress, urgent, noticed.send)
