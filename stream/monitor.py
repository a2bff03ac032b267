"""One step of everything that happens to a reading: windows, evidence, gate, model, rules, ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import Batch, Ints, Times
from connectors.clock import Laps
from models.contract import F32, ModelError
from stream.awaited import Awaited
from stream.budget import Budget
from stream.gate import Gate
from stream.judged import Judged
from stream.lag import Lags
from stream.lane import Tick
from stream.latest import Latest
from stream.ledger import FULL, GAP, SENTINEL, SHED, WARMUP
from stream.looks import Looked
from stream.observed import of_readings, of_verdicts, say
from stream.owed import Owed
from stream.parts import Parts
from stream.rules.change import Change
from stream.rules.columns import Observed
from stream.selection import Admission, Reason, everyone, frames_left, looks_per_frame
from stream.selfalert import SelfAlert
from stream.sentinel import Evidence
from stream.summaries import Summaries
from stream.turn import Told, Turn
from stream.verdict import BY_FULL, BY_SENTINEL, Verdicts, nothing_said

WARM = 100  # steps with a reading before a stream is judged
MINUTE = 60_000_000_000  # ns
SUSPECT = 1.0  # sentinel scores from here on make a stream suspect
_COUNTERS = ("violations", "longest_unseen", "accepted", "model_errors", "judge_from")
Bools = npt.NDArray[np.bool_]


class Monitor:
    """Owns the order in which things happen; everything else is told what to do and when.

    ``latency`` (ns) is the lag allowed, ``every`` how many steps lie between two judgements.
    """

    def __init__(self, parts: Parts, latency: int, every: int = 1) -> None:
        self.parts, self.latency, self._every = parts, latency, every
        self.owed = Owed(parts.alerts, parts.incidents)
        self.laps, self.lags, self.catching_up = Laps(), Lags(), Lags()
        self.judged = Judged()
        self.since = np.zeros(0, np.int64)  # event time from which a stream counts as unseen, 0 = never due
        self.violations = 0
        self.longest_unseen = 0  # ns
        self.accepted = 0
        self.model_errors = 0
        self.first_tick = self.last_tick = 0  # event time, ns
        self.judge_from = 0  # event time before which the monitor learns and judges nothing, ns
        self.streams_seen = 0
        self.groups_seen: set[str] = set()
        self.heard = False  # a source has said something of a partition
        self.source_counts: dict[str, int] = {}  # what sources counted: records, undecodable, ...
        self._to_come = 0  # ticks after this one in the same turn, while behind
        self._overhead = 0  # ns: what a tick costs besides its looks, while behind
        self._looked_at = 0  # when the last look of this turn ended, 0 = none yet
        self.unseen = 0  # ns: the longest time without a full look among the streams judged last
        self._up = 0  # when this process first took in a poll, ns: what was due before could not be on time
        self._summaries, self._self = Summaries(), SelfAlert()
        self._breached = 0  # streams of this tick that were unseen for too long
        self._notes: list[tuple[str, dict[str, Any]]] = []
        self._complained = 0  # when a model that breaks was last said, ns
        self._warned = 0  # when a breach of blind was last said, ns
        self.behind = False  # the last tick held readings that had waited before heed could read
        self.observers: list[Callable[[Verdicts], None]] = []
        self.latest = Latest()
        self.awaited = Awaited()

    def step(self, batch: Batch, now: int) -> Turn:
        """Take in one poll at ``now`` (ns) and judge the frames that event time has closed."""
        turn = Turn()
        self.owed.settle(turn)
        self.laps.start()
        self._up = self._up or now
        self._hear(batch)
        self._begin_streams(turn)
        self.parts.windows.add(batch, now)
        self.laps.lap("windows")
        self._to_come, self._looked_at = self.parts.windows.pending(now) if self.behind else 0, 0
        for tick in chain(self.parts.windows.ticks(now), self.parts.windows.end(batch.ended)):
            self._tick(tick if tick.due >= self._up else replace(tick, backlog=True), now, turn)
            self._let_go(tick.end, turn)
        self._let_go(self.last_tick, turn)
        if self._summaries.due(now):
            shed = {"shed": int(self.parts.ledger.total[SHED])}
            turn.notes += self._summaries.notes(now, self.parts.windows.counts | shed)
        turn.notes += self._notes
        self._notes = []
        self.laps.lap("windows")
        return turn

    def _hear(self, batch: Batch) -> None:
        self.heard = self.heard or bool(batch.positions or batch.at_end or len(batch))
        for reason, n in batch.counts.items():
            self.source_counts[reason] = self.source_counts.get(reason, 0) + n

    # -- streams come and go

    def _begin_streams(self, turn: Turn) -> None:
        new = self.parts.table.take_new()
        if new:
            turn.notes += self.parts.registry.place(new)
            self.streams_seen += len(new)
            self.groups_seen |= {self.parts.table.groups[slot] for slot in new}
            self.grow()
            self.since[new] = 0
            for slot in new if self.awaited else ():
                self.meet(slot)

    def resume(self) -> None:
        """The table and the parts were restored: their streams count as seen."""
        self.grow()
        table = self.parts.table
        self.streams_seen = len(table.slot_of)
        self.groups_seen = {table.groups[slot] for slot in table.slot_of.values()}

    def learn_until(self, time: int) -> None:
        """What comes before ``time`` (event time, ns) is history and not judged; of several times the earliest."""
        self.judge_from = min(time, self.judge_from or time)

    def grow(self) -> None:
        """Columns for all slots that windows have."""
        size = self.parts.windows.lane.size
        self.since = np.append(self.since, np.zeros(max(0, size - self.since.size), np.int64))
        self.latest.grow(size)

    def adopt(self, slots: Ints, now: int) -> None:
        """Streams that come from another process at ``now`` (ns): what was due before could not be on time here."""
        self.grow()
        table = self.parts.table
        self.streams_seen += slots.size
        self.groups_seen |= {table.groups[slot] for slot in slots.tolist()}
        self._up = now

    def meet(self, slot: int) -> None:
        """A stream of before the restart is there again."""
        known = self.awaited.take(self.parts.table.names[slot])
        if known is not None:
            self.since[slot] = known[0]
            if self.parts.gate is not None:
                self.parts.gate.recall(slot, known[1], known[2])

    def _let_go(self, time: int, turn: Turn) -> None:
        leave, anew = self.parts.windows.gone()
        if leave.size == 0 and anew.size == 0:
            return
        gone = np.concatenate([leave, anew])
        changes = self.parts.alerts.forget(gone, time, "the stream ended")
        turn.told += [Told.alone(change) for change in changes]
        turn.incidents += self.parts.incidents.gather(changes, time)
        turn.notes.append(("stream.expired", {"streams": int(gone.size)}))
        self.parts.registry.release(leave)
        self.latest.forget(leave)
        if anew.size:
            self.parts.registry.restart(anew)
            self.since[anew] = 0

    # -- one tick

    def _tick(self, tick: Tick, now: int, turn: Turn) -> None:
        turn.ticks += 1
        self.first_tick = self.first_tick or tick.start
        self.last_tick = max(self.last_tick, tick.end)
        self.laps.lap("windows")
        muted = self._muted(tick)
        tick, muted = self._open(tick, muted)
        if tick.slots.size == 0:
            return
        evidence = self._sense(tick, turn, muted)
        if tick.k % self._every:
            return
        if muted.any():
            self._remember(tick.only(muted), evidence and evidence.only(muted[tick.present]))
            if muted.all():
                return
            evidence = evidence and evidence.only(~muted[tick.present])
            tick = tick.only(~muted)
        self.behind = tick.backlog
        verdicts = nothing_said(tick)
        ready = self._sort_out(verdicts, evidence)
        self._breached = 0
        self._look(verdicts, ready, now)
        self._evaluate(verdicts, turn)
        self.parts.ledger.count(tick.at, verdicts.outcome)
        self.laps.lap("ledger")
        for observer in self.observers:
            observer(verdicts)
        self.latest.keep(verdicts)
        self.laps.lap("outputs")

    def _muted(self, tick: Tick) -> Bools:
        """Which streams [m] are only learned from: they were judged at this step before, or it is history."""
        if tick.start < self.judge_from:
            return np.ones(tick.slots.size, bool)
        partition = self.parts.windows.partition[tick.slots]
        again = self.judged.again(tick.lane, tick.k, partition)
        if tick.k % self._every == 0:
            self.judged.note(tick.lane, tick.k, partition)
        return again

    def _remember(self, tick: Tick, evidence: Evidence | None) -> None:
        """For windows of rules: without a model, all that was said is found out again; else what readings tell."""
        parts = self.parts
        if not parts.alerts.looks_back:
            return
        if parts.looks is not None:
            parts.alerts.remember(of_readings(tick, parts.windows, parts.sentinel, self._every))
            return
        verdicts = nothing_said(tick)
        say(verdicts, evidence, self._ready(verdicts), True)
        parts.alerts.remember(self._observed(verdicts))

    def _open(self, tick: Tick, muted: Bools) -> tuple[Tick, Bools]:
        """Without the streams that are closed at this time: they are neither learned from nor judged.

        That time does not count towards how long they go unseen.
        """
        closed = self.parts.registry.closed(tick.slots, tick.start)
        if not closed.any():
            return tick, muted
        if tick.k % self._every == 0:
            slots = tick.slots[closed & ~muted]
            since = self.since[slots]
            self.since[slots] = np.where(since > 0, np.minimum(since + tick.step * self._every, tick.start), 0)
        return tick.only(~closed), muted[~closed]

    def _sense(self, tick: Tick, turn: Turn, muted: Bools) -> Evidence | None:
        """The sentinel and the gate look at every stream, every step; never shed. None: no stream has a reading.

        Without a model there is nobody to admit, and no gate.
        """
        parts = self.parts
        every = bool(tick.present.all())
        here = tick.slots if every else tick.slots[tick.present]
        value = tick.value if every else tick.value[tick.present]
        evidence = parts.sentinel.look(here, value, tick.start, tick.step) if here.size else None
        if here.size < tick.slots.size:
            parts.sentinel.absent(tick.slots[~tick.present])
        self.laps.lap("sentinel")
        if parts.gate is not None:
            parts.gate.look(here, value, parts.groups.of[here], len(parts.groups))
            self.laps.lap("gate")
        accepted = here[:0] if evidence is None else here[evidence.accepted & ~muted[tick.present]]
        if accepted.size:
            self.accepted += accepted.size
            names = [parts.table.names[slot] for slot in accepted[:10].tolist()]
            turn.notes.append(("baseline.accepted", {"streams": names, "ts": tick.start}))
        return evidence

    def _sort_out(self, verdicts: Verdicts, evidence: Evidence | None) -> npt.NDArray[np.intp]:
        """Gaps and streams in warm-up are told apart from the windows that are due a look: their rows [n]."""
        tick, ready = verdicts.tick, self._ready(verdicts)
        since = self._unseen_since(tick, ready)
        verdicts.age[:] = (tick.start - since) / 1e9
        verdicts.age[since == 0] = np.nan
        say(verdicts, evidence, ready, self.parts.looks is None)
        return np.flatnonzero(ready)

    def _ready(self, verdicts: Verdicts) -> Bools:
        """Whose window is due a look [m], and the outcomes of all as long as nobody got one."""
        tick, windows = verdicts.tick, self.parts.windows
        at = tick.at
        ready = tick.present & (windows.steps[at] >= WARM) & (windows.valid[at] >= windows.size // 2)
        verdicts.outcome[:] = np.where(ready, np.int8(SENTINEL), np.where(tick.present, np.int8(WARMUP), np.int8(GAP)))
        return ready

    def _unseen_since(self, tick: Tick, ready: Bools) -> Times:
        """Event time from which each stream counts as unseen [m], 0 = never due; it waits where no window is due."""
        slots, since = tick.slots, self.since[tick.at].copy()
        never = since == 0
        if not ready.all() or never.any():
            since[~ready & ~never] += tick.step * self._every
            since[ready & never] = tick.start
            self.since[slots] = since
            if self.parts.gate is not None:
                self.parts.gate.greet(slots[ready & never], tick.k // self._every)
        return since

    def _look(self, verdicts: Verdicts, ready: npt.NDArray[np.intp], now: int) -> None:
        """Decide who gets a full look, look, and note the lag of every verdict."""
        tick = verdicts.tick
        anchor = now if tick.backlog else max(tick.due, tick.arrived)
        self._to_come = max(0, self._to_come - 1)
        if self.parts.looks is not None and ready.size:
            self._admit_and_look(verdicts, ready, anchor)
        lag = max(0, self.parts.clock.now() - anchor)
        if self.parts.looks is not None and not tick.backlog:
            self._end_frame(self.parts.looks.budget, lag)
        (self.catching_up if tick.backlog else self.lags).add(now, lag / 1e9, tick.slots.size)
        self.laps.lap("model")

    def _end_frame(self, budget: Budget, lag: int) -> None:
        was = budget.load.overloaded
        budget.frame_done(lag)
        if budget.load.overloaded != was:
            name = "budget.recovered" if was else "budget.overloaded"
            self._notes.append((name, {"demand_over_capacity": round(budget.load.ratio, 2)}))

    def _admit_and_look(self, verdicts: Verdicts, ready: npt.NDArray[np.intp], anchor: int) -> None:
        gate, looks, tick = self.parts.gate, self.parts.looks, verdicts.tick
        assert gate is not None
        assert looks is not None
        slots = tick.slots[ready]
        deadline = anchor + self.latency
        k = self._afford(looks.budget, tick, deadline, slots.size)
        count = tick.k // self._every
        weight = verdicts.weight[ready] = self._weights(gate, tick, slots, count)
        admission = self._admit(gate, verdicts, ready, weight, k)
        order = ready[admission.rows]
        self.laps.lap("gate")
        found = looks.look(tick, tick.slots[order], deadline)
        self._enter(verdicts, ready, order, admission, found.slots.size, found.failed is not None)
        self._say_found(verdicts, found)
        gate.learn(found.slots, found.score, count)
        self.since[found.slots] = tick.start
        self._looked_at = self.parts.clock.now() if tick.backlog else 0

    def _weights(self, gate: Gate, tick: Tick, slots: Ints, count: int) -> F32:
        """The attention each stream deserves [n]; should the weight's net break, the gate's own from then on."""
        groups = self.parts.groups
        try:
            return gate.weights(slots, groups.of[slots], len(groups), count)
        except ModelError as error:
            gate.weigher = None
            self._model_failed(tick.end, f"{error}; the group-relative gate ranks from here on")
            return gate.weights(slots, groups.of[slots], len(groups), count)

    def _say_found(self, verdicts: Verdicts, found: Looked) -> None:
        """What full looks found; the sentinel's verdict stands for streams of which the model says nothing."""
        said = np.isfinite(found.score)
        rows = np.searchsorted(verdicts.tick.slots, found.slots)
        verdicts.outcome[rows[~said]], verdicts.fidelity[rows[~said]] = SENTINEL, BY_SENTINEL
        rows, expected = rows[said], found.expected[said]
        verdicts.score[rows] = found.score[said]
        verdicts.low[rows], verdicts.expected[rows], verdicts.high[rows] = expected.T
        verdicts.explained = found.explained
        if found.failed is not None:
            self._model_failed(verdicts.tick.end, found.failed)
        elif not said.all():
            self._model_failed(verdicts.tick.end, f"no finite score for {np.count_nonzero(~said)} streams")

    def _model_failed(self, time: int, problem: str) -> None:
        """Count it, and say it at most once a minute of event time."""
        self.model_errors += 1
        if time - self._complained >= MINUTE:
            self._complained = time
            self._notes.append(("model.failed", {"problem": problem, "in_all": self.model_errors}))

    def _afford(self, budget: Budget, tick: Tick, deadline: int, demand: int) -> int:
        """How many windows of this tick fit. While behind, the newest tick of the turn comes first: what it and those
        before it will want is set aside, as far as the last tick tells."""
        now = self.parts.clock.now()
        if not tick.backlog:
            return budget.afford(deadline, now, demand)
        self._overhead += (now - self._looked_at - self._overhead) // 8 if self._looked_at else 0
        left = deadline - now - self._to_come * self._overhead
        return min(demand, max(0, budget.capacity(left / 1e9) - self._to_come * demand))

    def _admit(self, gate: Gate, verdicts: Verdicts, ready: npt.NDArray[np.intp], weight: F32, k: int) -> Admission:
        tick = verdicts.tick
        slots = tick.slots[ready]
        frame, blind = tick.step * self._every, self.parts.registry.blind[slots]
        left = frames_left(tick.start - self.since[slots], blind, frame)
        if k >= slots.size:
            return everyone(slots, self.parts.groups.of[slots], left)
        suspect = (verdicts.score[ready] >= SUSPECT) | self.parts.alerts.suspect(slots)
        plan = looks_per_frame(blind // frame)
        return gate.admit(slots, weight, k, left, suspect, plan)

    def _enter(
        self,
        verdicts: Verdicts,
        ready: npt.NDArray[np.intp],
        order: npt.NDArray[np.intp],
        admission: Admission,
        done: int,
        failed: bool,
    ) -> None:
        """Outcomes and reasons of all windows due; what was ranked but cut by the clock counts as shed."""
        verdicts.reason[ready] = admission.reason
        verdicts.reason[order[done:]] = Reason.CUT_BY_CLOCK
        verdicts.rank[order] = np.arange(order.size)
        verdicts.outcome[ready] = SENTINEL if failed else SHED
        verdicts.outcome[order[:done]] = FULL
        verdicts.fidelity[order[:done]] = BY_FULL
        missed = admission.breaching & (verdicts.outcome[ready] != FULL)
        self.violations += int(np.count_nonzero(missed))
        unseen = verdicts.tick.start - self.since[verdicts.tick.slots[ready]]
        self.unseen = int(unseen.max())
        self.longest_unseen = max(self.longest_unseen, self.unseen)
        self._breached = int(np.count_nonzero(missed))
        if self._breached:
            self._warn(verdicts.tick.end, self._breached)

    def _warn(self, time: int, streams: int) -> None:
        """Say that blind is not kept, at most once a minute of event time."""
        if time - self._warned >= MINUTE:
            self._warned = time
            told = {"streams": streams, "in_all": self.violations, "unseen_s": self.unseen / 1e9}
            self._notes.append(("guarantee.violated", told))

    # -- rules

    def _evaluate(self, verdicts: Verdicts, turn: Turn) -> None:
        tick, parts = verdicts.tick, self.parts
        observed = self._observed(verdicts)
        coverage = observed.numbers["coverage"]
        changes = parts.alerts.update(observed)
        of_streams = [change for change in changes if change.slot >= 0]
        turn.told += self._tell(of_streams, verdicts, coverage)
        turn.incidents += parts.incidents.gather(of_streams, tick.end)
        own = [change for change in changes if change.slot < 0]
        own += self._self.look(tick.start, self._breached, self.unseen)
        turn.told += [Told.alone(change) for change in own]
        self.laps.lap("rules")

    def _observed(self, verdicts: Verdicts) -> Observed:
        parts = self.parts
        coverage = verdicts.coverage(parts.groups.of[verdicts.tick.slots], len(parts.groups))
        return of_verdicts(verdicts, coverage, parts.windows, parts.sentinel, self._every)

    def _tell(self, changes: list[Change], verdicts: Verdicts, coverage: F32) -> list[Told]:
        """Each change with what is known now; it may be told some turns later."""
        if not changes:
            return []
        slots, groups = verdicts.tick.slots, self.parts.groups
        rows = np.searchsorted(slots, [change.slot for change in changes])
        panel = groups.of[slots]
        shed = np.bincount(panel[verdicts.outcome == SHED], minlength=len(groups))[panel[rows]]
        names = list(self.parts.table.names) if verdicts.explained else ()
        known = zip(changes, rows.tolist(), coverage[rows].tolist(), shed.tolist(), strict=True)
        return [Told(change, verdicts, row, share, n, names) for change, row, share, n in known]

    # -- what it says of itself

    def firing(self) -> list[Change]:
        """All alerts that fire now, heed's own among them."""
        return self.parts.alerts.firing() + self._self.firing()

    def counters(self) -> dict[str, int]:
        """Counts that outlive a restart, beside the ledger's; those of readings come with the windows."""
        return {name: getattr(self, name) for name in _COUNTERS} | {"self_alert": self._self.starts_at}

    def restore_counters(self, counters: dict[str, int]) -> None:
        """The inverse of ``counters``."""
        for name in _COUNTERS:
            setattr(self, name, counters.get(name, 0))
        self._self.restore(counters["self_alert"])

    def summary(self) -> dict[str, Any]:
        """Counts so far, in the words of the summary JSON."""
        parts = self.parts
        return {
            "readings": parts.windows.counts["readings"],
            "streams": self.streams_seen,
            "groups": len(self.groups_seen),
            "windows": parts.ledger.windows(),
            "late": parts.windows.counts["late"],
            "coverage": round(parts.ledger.coverage(), 6),
            "lag": self.lags.summary(),
            "catching_up": {"windows": self.catching_up.windows, **self.catching_up.summary()},
            "budget": self.latency / 1e9,
            "guarantee_violations": self.violations,
            "longest_unseen": self.longest_unseen / 1e9,
        }
