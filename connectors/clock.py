"""The only place that reads the clock: a wall clock, and one that replay winds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Time as an input. All times are nanoseconds since the epoch, UTC; a clock never goes back."""

    def now(self) -> int:
        """The time."""
        ...

    def wait(self, until: int) -> None:
        """Come back when the clock shows ``until`` or later; at once if it does already."""
        ...

    def charge(self, seconds: float) -> float:
        """Account for work that was just done: what it cost, in seconds, by this clock.

        ``seconds`` is the price of the work. A wall clock has already paid and ignores it; a replay clock moves.
        """
        ...


class WallClock:
    """The machine's clock, kept from going back when it is set."""

    def __init__(self) -> None:
        self._last = 0

    def now(self) -> int:
        self._last = max(self._last, time.time_ns())
        return self._last

    def wait(self, until: int) -> None:
        left = until - self.now()
        if left > 0:
            time.sleep(left / 1e9)

    def charge(self, seconds: float) -> float:
        return 0.0


class ReplayClock:
    """A clock that stands still until something winds it; the same run always shows the same times.

    ``speed`` > 0 makes it also sleep, so that replayed time passes ``speed`` times as fast as real time.
    """

    def __init__(self, start: int = 0, speed: float = 0.0) -> None:
        self._now = start
        self._speed = speed

    def now(self) -> int:
        return self._now

    def wait(self, until: int) -> None:
        if until > self._now:
            if self._speed > 0 and self._now > 0:
                time.sleep((until - self._now) / 1e9 / self._speed)
            self._now = until

    def jump(self, to: int) -> None:
        """Move to ``to`` without sleeping: over a time in which no stream is live."""
        self._now = max(self._now, to)

    def charge(self, seconds: float) -> float:
        self._now += round(seconds * 1e9)
        return seconds


class Stopwatch:
    """Real elapsed and CPU seconds: for measuring cost and throughput, never for decisions about event time."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def seconds(self) -> float:
        """Real seconds since this stopwatch was made."""
        return time.perf_counter() - self._wall

    def cpu_seconds(self) -> float:
        """CPU seconds of this process since this stopwatch was made."""
        return time.process_time() - self._cpu


def burn(seconds: float) -> None:
    """Use real CPU time for ``seconds``: how the demo makes a full look cost more."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class Laps:
    """Where real time goes: seconds by stage, for the report only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def start(self) -> None:
        """What passed since the last lap belongs to no stage."""
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """What passed since the last lap was this stage's."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


class ShiftedClock:
    """Another clock, some time ahead or behind: a demo goes on from where its fast start ended."""

    def __init__(self, clock: Clock, shift_ns: int) -> None:
        self._clock, self._shift = clock, shift_ns

    def now(self) -> int:
        return self._clock.now() + self._shift

    def wait(self, until: int) -> None:
        self._clock.wait(until - self._shift)

    def charge(self, seconds: float) -> float:
        return self._clock.charge(seconds)


class NotedClock:
    """Another clock; whatever time it shows is also told to ``note``, for a recording."""

    def __init__(self, clock: Clock, note: Callable[[int], None]) -> None:
        self._clock, self._note = clock, note

    def now(self) -> int:
        time_ns = self._clock.now()
        self._note(time_ns)
        return time_ns

    def wait(self, until: int) -> None:
        self._clock.wait(until)

    def charge(self, seconds: float) -> float:
        return self._clock.charge(seconds)


class RecordedClock:
    """Shows the times of ``recorded`` one after the other, on a clock that they wind; after them, that clock's own.

    Work is paid for by the recorded times, and charged only where there are none left: in a run that differs.
    """

    def __init__(self, clock: ReplayClock, recorded: Callable[[], deque[int]]) -> None:
        self._clock, self._recorded = clock, recorded

    def now(self) -> int:
        left = self._recorded()
        if left:
            self._clock.jump(left.popleft())
        return self._clock.now()

    def wait(self, until: int) -> None:
        self._clock.wait(until)

    def charge(self, seconds: float) -> float:
        return 0.0 if self._recorded() else self._clock.charge(seconds)


class SwitchedClock:
    """A clock that can be exchanged between turns: first one that is wound, then a live one."""

    def __init__(self, clock: Clock) -> None:
        self.inner = clock

    def now(self) -> int:
        return self.inner.now()

    def wait(self, until: int) -> None:
        self.inner.wait(until)

    def charge(self, seconds: float) -> float:
        return self.inner.charge(seconds)
