"""`heed demo`: synthetic streams with known faults, first fast until nothing is in warm-up, then live."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from connectors.batch import SECOND
from connectors.clock import ReplayClock, ShiftedClock, SwitchedClock, WallClock
from connectors.console import ConsoleSink
from connectors.jsonl import JsonlSink
from connectors.keeping.outbox import Outbox
from connectors.sink import Sink
from connectors.synthetic import DEMO_FAULTS, Fault, SyntheticSource
from connectors.synthetic import World as Synthetic
from connectors.synthetic.faults import SORTS
from models.contract import Scorer
from stream.app.outputs import Tally, complain, deliver, lines_of, seconds, write_summary
from stream.app.parts import Cost, monitor_of, rules_of, scorer_of, world_of
from stream.app.publish import publisher
from stream.app.record import Recorder, recorder_to
from stream.app.status import Status
from stream.faults import Known, account
from stream.loop import FOREVER, Loop, Message
from stream.monitor import Monitor
from stream.price import burning
from stream.settings import load
from stream.state import Passing
from stream.telling import teller
from stream.turn import Told

STEP = SECOND // 4
WARM_STEPS = 1200
FIRST_FAULT, LAST_FAULT = 2 * SECOND, 8 * SECOND  # after the live part begins, before it ends
SLICE = 600 * SECOND  # faults of an endless demo are planned for so long at a time
FALSE_ALARMS = "model.false_alarms=1"  # nominal, per stream and day: of 300 streams, one in five minutes at most
POLL = SECOND // 10


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What `heed demo` was asked for; durations in ns, None = until Ctrl-C, port None = without the page."""

    duration: int | None = None
    load: float = 1.0
    seed: int = 0
    streams: int = 300
    port: int | None = 8321
    record: str | None = None
    summary: str | None = None
    output: str = "table"
    overrides: Sequence[str] = ()


class Demo:
    """One run of the demo: its world, its clock, its loop."""

    def __init__(self, options: DemoOptions, stack: ExitStack) -> None:
        self.options, self.tally = options, Tally()
        self.settings = load(None, [FALSE_ALARMS, *options.overrides], need_sources=False)
        wall = WallClock()
        begin = wall.now() // STEP * STEP - WARM_STEPS * STEP
        self.live = begin + WARM_STEPS * STEP  # event time at which the live part begins
        self.end = FOREVER if options.duration is None else self.live + options.duration
        self.synthetic = Synthetic(options.streams, options.seed, STEP, begin)
        self.clock = SwitchedClock(ReplayClock(begin))
        self.world = world_of(self.clock, self.settings)
        self.scorer = scorer_of(self.settings)
        self.source = SyntheticSource(self.synthetic, self.world.table, self.world.partitions, self.clock)
        self.each = self._burnt()
        self.monitor, self.recorder = self._monitor(stack)
        self.monitor.observers.append(self.tally.digest.observe)
        self.monitor.judge_from = self.live
        self.outbox = Outbox({"alerts": self._sink()})
        self.stopped = False
        self._planned = self.live + FIRST_FAULT

    def _burnt(self) -> float:
        """Seconds of CPU time that each look is made to cost, so that demand is ``load`` times what fits."""
        if self.options.load <= 1:
            return 0.0
        budget = self.settings.budget
        affordable = min(budget.latency * (1 - budget.slack), STEP) / SECOND
        return self.options.load * affordable / max(1, len(self.synthetic))

    def _monitor(self, stack: ExitStack) -> tuple[Monitor, Recorder | None]:
        scorer = None if self.scorer is None else self._burn(self.scorer)
        world, recorder = self.world, None
        if self.options.record:
            recorder, world = recorder_to(self.options.record, self.settings, scorer, world, self.live)
            stack.callback(recorder.close)
        return monitor_of(self.settings, world, rules_of(self.settings, None), scorer, Cost()), recorder

    def _burn(self, scorer: Scorer) -> Scorer:
        return burning(scorer, self.each) if self.each else scorer

    def _sink(self) -> Sink:
        return JsonlSink("-") if self.options.output == "json" else ConsoleSink(sys.stdout)

    def loop(self, hooks: tuple[Callable[[int], None], ...], also: Callable[[Message], None]) -> Loop:
        """The loop, with what is to be called after each turn."""
        tell = teller(self.world.table, self.scorer)

        def told(change: Told) -> Message:
            message = tell(change)
            self.tally.tell(message)
            also(message)
            return message

        keeper = Passing(self.outbox)
        return Loop(
            self.monitor, self.source, self.clock, self.world.partitions, keeper, told, POLL, self.recorder, hooks
        )

    def plan(self, now: int) -> None:
        """Let faults happen: all at once where the end is known, else for the next while."""
        rest = min(LAST_FAULT, (self.end - self.live) // 4)  # time to be found in; less where all is short
        end = self.end - rest if self.end < FOREVER else self._planned + SLICE
        if end - STEP <= self._planned or now < self._planned - 2 * STEP:
            return
        span = (end - self._planned) / SECOND
        count = round(span * (24 / 50 if self.end < FOREVER else 1 / 5))
        fitting = [name for name in DEMO_FAULTS if SORTS[name].steps[1] * STEP <= end - self._planned]
        self.synthetic.plan(self._planned, end, fitting, max(1, count), gap_steps=60)
        self._planned = end

    def go_live(self) -> None:
        """From the wound clock to the wall clock, shifted so that time goes on without a jump."""
        wall = WallClock()
        self.clock.inner = ShiftedClock(wall, self.clock.now() - wall.now())
        self.source.clock = self.clock

    def faults(self, now: int) -> list[Fault]:
        """Faults that have begun, look-alikes left out."""
        return [f for f in self.synthetic.faults if f.kind == "fault" and f.start <= now]


def run_demo(options: DemoOptions) -> None:
    """Run it until its end or Ctrl-C; prints alerts on standard output, everything else on standard error."""
    console = Console(stderr=True)
    with ExitStack() as stack:
        demo = Demo(options, stack)
        address = None if options.port is None else ("127.0.0.1", options.port)
        board = stack.enter_context(publisher(demo.monitor, demo.settings, demo.outbox, address, demo.scorer, {}))
        status = stack.enter_context(Status(console, demo.monitor, board.url, options.output == "table"))
        _install_stop(demo)
        demo.plan(demo._planned)
        loop = demo.loop((status.show, board.publish), board.tell)
        _warm_up(demo, loop, status)
        _say_what(console, demo, board.url)
        _live(demo, loop)
        deliver(demo.outbox)
    summary = demo.tally.summary(demo.monitor, {"faults": _account(demo)})
    for line in lines_of(summary):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if options.output == "json":
        print(json.dumps(summary), file=sys.stderr)  # noqa: T201
    if options.summary:
        write_summary(options.summary, summary)


def _install_stop(demo: Demo) -> None:
    def stop(number: int, frame: Any) -> None:
        demo.stopped = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _warm_up(demo: Demo, loop: Loop, status: Status) -> None:
    while not demo.stopped and demo.clock.now() < demo.live:
        demo.tally.turn(loop.turn(demo.live))
        status.warm(1 - (demo.live - demo.clock.now()) / (WARM_STEPS * STEP))


def _say_what(console: Console, demo: Demo, url: str | None) -> None:
    about = [
        f"{len(demo.synthetic)} streams in {len(demo.monitor.groups_seen)} groups, a step of {STEP / SECOND:g} s, live."
    ]
    if demo.each:
        burnt = seconds(demo.each) if demo.each >= 0.01 else f"{demo.each * 1000:.1f} ms"
        about.append(
            f"Demand is {demo.options.load:g} times what fits: every full look is made to burn {burnt} of CPU."
        )
    if url:
        about.append(f"Page: {url}")
    for line in about:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _live(demo: Demo, loop: Loop) -> None:
    demo.go_live()
    while not demo.stopped and demo.clock.now() < demo.end:
        demo.plan(demo.clock.now())
        demo.tally.turn(loop.turn(demo.end))
        complain(demo.outbox)


def _account(demo: Demo) -> dict[str, Any]:
    known = [
        Known(f.name, f.group, frozenset() if f.group_wide else frozenset(f.streams), f.start, f.end)
        for f in demo.faults(demo.clock.now())
    ]
    return account(known, demo.tally.fired, demo.tally.opened)
