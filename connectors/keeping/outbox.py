"""Messages on their way to sinks: a thread for each sink, so that a slow one delays nobody else."""

from __future__ import annotations

import queue
import threading
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from zlib import crc32

import numpy as np
from tenacity import (
    RetryCallState,
    RetryError,
    Retrying,
    retry_if_exception_type,
    stop_when_event_set,
    wait_exponential,
)
from tenacity.wait import wait_base

from connectors.clock import Stopwatch
from connectors.keeping.compact import compacted
from connectors.keeping.shelf import Behind, Letter
from connectors.sink import Delivery, Message, Sink, SinkError

T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0  # between two tries; half of it to all of it, so that not all come at once
MOST_AT_ONCE = 500  # messages
MOST_WAITING, MOST_BYTES = 1000, 8 << 20  # that a sink has room for, where more can wait on disk
_NUDGE = Letter(-1, "", {})  # nothing to send: a courier that waits is to look up


class Outbox:
    """Delivers at least once, in order per sink; a message that fails is tried again until the outbox is closed.

    Messages have ids given by whoever keeps them durable; ``take_sent`` and ``take_dead`` tell which need no longer
    be kept. To the sinks of ``merging``, of messages that wait for the same incident or alert only those are sent
    that it takes to know how it stands (connectors/keeping/compact.py). ``seed`` spreads tries over time.
    """

    def __init__(self, sinks: Mapping[str, Sink], merging: Collection[str] = (), seed: int = 0) -> None:
        self._seed = seed
        self._couriers = {name: self._courier(name, sink, name in merging) for name, sink in sinks.items()}
        self._leaving: list[tuple[str, _Courier]] = []
        self._behind: dict[str, tuple[Behind, int]] = {}
        self._for_nobody: list[int] = []
        self._beside: Counter[str] = Counter()  # what sinks got by another way

    @property
    def sinks(self) -> list[str]:
        """Names of the sinks."""
        return list(self._couriers)

    def _courier(self, name: str, sink: Sink, merging: bool) -> _Courier:
        return _Courier(sink, merging, self._seed ^ crc32(name.encode()))

    def exchange(self, others: Mapping[str, Sink], gone: Collection[str] = (), merging: Collection[str] = ()) -> None:
        """Other sinks, for names that are new or known; what waits for a known one is tried with the new one at once.

        Sinks that are ``gone`` end with the try under way: what they leave is not told, and stays durable.
        """
        for name in gone:
            courier = self._couriers.pop(name)
            courier.leave()
            self._leaving.append((name, courier))
            self._behind.pop(name, None)
        for name, sink in others.items():
            if name in self._couriers:
                self._couriers[name].exchange(sink)
            else:
                self._couriers[name] = self._courier(name, sink, name in merging)

    @property
    def parting(self) -> bool:
        """Whether a sink that is gone still has a try under way, or delivered what is not taken yet."""
        self._leaving = [(name, courier) for name, courier in self._leaving if not courier.settled]
        return bool(self._leaving)

    def put(self, letters: Sequence[Letter]) -> None:
        """Messages to send. Those for a sink that is gone count as sent."""
        for letter in letters:
            if letter.sink in self._couriers:
                self._couriers[letter.sink].put(letter)
            else:
                self._for_nobody.append(letter.id)

    def room(self, name: str) -> tuple[int, int]:
        """How many messages and bytes a sink's thread should be given now at most, for memory's sake."""
        courier = self._couriers[name]
        return max(0, MOST_WAITING - courier.left), max(0, MOST_BYTES - courier.bytes_left)

    def note_behind(self, name: str, behind: Behind, merged: int) -> None:
        """What waits for a sink elsewhere, and how many messages were merged there; for the figures."""
        self._behind[name] = (behind, merged)

    def note_sent(self, name: str, messages: int) -> None:
        """So many messages have reached a sink by another way; for the figures."""
        self._beside[name] += messages

    def take_sent(self) -> list[int]:
        """Ids delivered since the last call."""
        nobody, self._for_nobody = self._for_nobody, []
        return nobody + [number for _, courier in self._all() for number in _taken(courier.sent)]

    def take_dead(self) -> list[tuple[int, str, str]]:
        """What was given up since the last call: id, name of the sink, why."""
        return [(i, name, why) for name, courier in self._all() for i, why in _taken(courier.dead)]

    def _all(self) -> list[tuple[str, _Courier]]:
        return [*self._couriers.items(), *self._leaving]

    def problems(self) -> dict[str, str]:
        """Sinks that can't be reached now, and why."""
        return {name: courier.problem for name, courier in self._couriers.items() if courier.problem}

    def counts(self) -> dict[str, Delivery]:
        """By sink what became of its messages."""
        return {name: self._counted(name, courier) for name, courier in self._couriers.items()}

    def _counted(self, name: str, courier: _Courier) -> Delivery:
        behind, merged = self._behind.get(name, (Behind(), 0))
        return Delivery(
            courier.delivered + self._beside[name],
            dict(courier.failed),
            courier.left + behind.messages,
            courier.given_up,
            courier.merged + merged,
            courier.oldest or behind.oldest,
        )

    def close(self, patience_s: float = 10.0) -> bool:
        """Wait for what is under way, ``patience_s`` for all sinks together, then stop.

        False where something is left; it stays durable.
        """
        watch = Stopwatch()
        for courier in self._couriers.values():
            courier.finish()
        for _, courier in self._all():
            courier.close(max(0.0, patience_s - watch.seconds()))
        return all(each.waiting == 0 for each in self.counts().values())


def _taken(waiting: queue.SimpleQueue[T]) -> list[T]:
    found = []
    while not waiting.empty():
        found.append(waiting.get())
    return found


@dataclass(slots=True)
class _Parcel:
    """What is sent as one message, and the letters that are told by it."""

    message: Message
    letters: list[Letter]


class _Stopped(Exception):
    """The outbox is being closed: no more tries."""


class _Pause(wait_base):
    """Exponential backoff with a seeded jitter, and never sooner than the other side asked for."""

    def __init__(self, seed: int) -> None:
        self._backoff = wait_exponential(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self._chance = np.random.default_rng(seed)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.wait_s if isinstance(error, SinkError) else 0.0
        return max(asked, self._backoff(retry_state) * float(self._chance.uniform(0.5, 1.0)))


class _Courier(threading.Thread):
    """One sink's thread."""

    def __init__(self, sink: Sink, merging: bool, seed: int) -> None:
        super().__init__(name=f"outbox-{sink.name}", daemon=True)
        self.sink, self._merging = sink, merging
        self._waiting: queue.SimpleQueue[Letter | None] = queue.SimpleQueue()
        self.problem = ""
        # each of these is written by one thread only
        self.put_in = self.done = self.bytes_in = self.bytes_done = 0
        self.delivered = self.given_up = self.merged = self.oldest = 0
        self.failed: Counter[str] = Counter()  # tries, by reason
        self._tries = 0  # in a row, at the first message left
        self._most = MOST_AT_ONCE
        self.sent: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.dead: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self._stop_now, self._woken = threading.Event(), threading.Event()
        self._others: queue.SimpleQueue[Sink] = queue.SimpleQueue()  # the last of them is the sink from now on
        self._left = False
        self._retrying = Retrying(
            sleep=self._sleep,
            wait=_Pause(seed),
            stop=stop_when_event_set(self._stop_now),
            retry=retry_if_exception_type(SinkError),
        )
        self.start()

    @property
    def left(self) -> int:
        """Messages that are neither delivered nor given up yet."""
        return self.put_in - self.done

    @property
    def bytes_left(self) -> int:
        """Their size."""
        return self.bytes_in - self.bytes_done

    def put(self, letter: Letter) -> None:
        self.put_in += 1
        self.bytes_in += letter.size
        self._waiting.put(letter)

    @property
    def settled(self) -> bool:
        """Whether it has ended, and all that it delivered or gave up was taken."""
        return not self.is_alive() and self.sent.empty() and self.dead.empty()

    def run(self) -> None:
        self._work()
        if self._left:
            self._shut(self.sink)

    def _work(self) -> None:
        while not self._stop_now.is_set():
            letters, last = self._gather()
            self._exchanged()
            try:
                self._deliver(self._packed(letters))
            except (RetryError, _Stopped):
                return
            if last:
                return

    def _gather(self) -> tuple[list[Letter], bool]:
        """What waits, at least one message; and whether the end was reached."""
        found = [self._waiting.get()]
        while found[-1] is not None and len(found) < MOST_AT_ONCE and not self._waiting.empty():
            found.append(self._waiting.get())
        return [item for item in found if item is not None and item is not _NUDGE], found[-1] is None

    def _packed(self, letters: list[Letter]) -> deque[_Parcel]:
        if not self._merging or len(letters) < 2:
            return deque(_Parcel(letter.message, [letter]) for letter in letters)
        kept = compacted([letter.message for letter in letters])
        self.merged += len(letters) - len(kept)
        return deque(_Parcel(each.message, [letters[number] for number in each.numbers]) for each in kept)

    def _deliver(self, parcels: deque[_Parcel]) -> None:
        """Send all; raises RetryError or _Stopped where the outbox is closed before that."""
        self._most = MOST_AT_ONCE
        while parcels:
            self.oldest = parcels[0].letters[0].at
            self._retrying(self._try, parcels)
        self.oldest = 0

    def _sleep(self, seconds: float) -> None:
        self._woken.wait(seconds)
        self._woken.clear()

    def _exchanged(self) -> bool:
        """Whether another sink has taken the place of this one, which begins anew."""
        others = _taken(self._others)
        for old in [self.sink, *others][: len(others)]:
            self._shut(old)
        if others:
            self.sink, self._tries, self._most = others[-1], 0, MOST_AT_ONCE
        return bool(others)

    def _try(self, parcels: deque[_Parcel]) -> None:
        """One try; raises SinkError where there is to be a pause before the next."""
        if self._stop_now.is_set():
            raise _Stopped
        if self._exchanged():
            return  # and pauses are short again
        messages = [parcel.message for _, parcel in zip(range(self._most), parcels, strict=False)]
        try:
            self.sink.send(messages)
        except SinkError as error:
            self._failed(parcels, error)
        except Exception as error:  # a sink of any kind may fail in any way; nothing is lost by trying again
            self._failed(parcels, SinkError(str(error) or type(error).__name__))
        else:
            self.problem = getattr(self.sink, "complaint", "")  # of what can be borne, like a cluster's member away
            self._took(parcels, len(messages))
            self._most = min(2 * self._most, MOST_AT_ONCE)

    def _failed(self, parcels: deque[_Parcel], error: SinkError) -> None:
        """Fewer at once from now on, so that a message that never gets through holds back none before it."""
        self.problem = str(error) or type(error).__name__
        self.failed[error.reason] += 1
        self._took(parcels, error.sent)
        self._tries += 1
        if error.tries is not None and self._tries >= error.tries:
            self._give_up(parcels)
        elif not error.sent or error.wait_s:
            self._most = max(1, self._most // 2)
            raise error

    def _took(self, parcels: deque[_Parcel], count: int) -> None:
        if count:
            self._tries = 0
        for _ in range(count):
            parcel = parcels.popleft()
            self.delivered += 1
            for letter in parcel.letters:
                self.sent.put(letter.id)
            self._finished(parcel)

    def _finished(self, parcel: _Parcel) -> None:
        self.bytes_done += sum(letter.size for letter in parcel.letters)
        self.done += len(parcel.letters)

    def _give_up(self, parcels: deque[_Parcel]) -> None:
        """The first message is at fault, which is sure once it was sent alone."""
        if self._most > 1 and len(parcels) > 1:
            self._most = 1
            return
        parcel, self._tries = parcels.popleft(), 0
        self.given_up += len(parcel.letters)
        for letter in parcel.letters:
            self.dead.put((letter.id, self.problem))
        self._finished(parcel)

    def exchange(self, sink: Sink) -> None:
        """After the try under way, ``sink`` gets what waits; at once where there is a pause."""
        self._others.put(sink)
        self._wake()

    def leave(self) -> None:
        """Stop after the try under way, whatever waits."""
        self._left = True
        self._stop_now.set()
        self._wake()

    def _wake(self) -> None:
        self._woken.set()
        self._waiting.put(_NUDGE)

    def finish(self) -> None:
        """Stop when all that waits is delivered."""
        self._waiting.put(None)

    def close(self, patience_s: float) -> None:
        """Stop when all is delivered or ``patience_s`` is over."""
        self.join(patience_s)
        self._stop_now.set()
        self._woken.set()
        for sink in (self.sink, *_taken(self._others)):
            self._shut(sink)

    def _shut(self, sink: Sink) -> None:
        try:
            sink.close()
        except Exception as error:  # the other sinks still have to be closed
            self.problem = str(error) or type(error).__name__
