"""Messages on their way: at least once, in order, and no sink waits for another."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import pytest

from connectors import outbox as outbox_module
from connectors.outbox import Outbox
from connectors.shelf import Letter
from connectors.sink import SinkError


class Listening:
    """A sink that remembers; ``trouble`` may raise or wait, and sees what is being sent."""

    def __init__(self, name: str = "sink", trouble: Callable[[list[int]], None] = lambda numbers: None) -> None:
        self.name, self._trouble = name, trouble
        self.got: list[int] = []
        self.tries = 0
        self.closed = 0

    def send(self, messages: Sequence[Mapping[str, object]]) -> None:
        self.tries += 1
        numbers = [int(str(message["n"])) for message in messages]
        self._trouble(numbers)
        self.got += numbers

    def close(self) -> None:
        self.closed += 1


def messages(sink: str, numbers: Sequence[int]) -> list[Letter]:
    return [Letter(n, sink, {"n": n}) for n in numbers]


def counted(box: Outbox, name: str = "sink") -> tuple[int, int, int]:
    """Delivered, failed tries, waiting."""
    found = box.counts()[name]
    return found.delivered, sum(found.failed.values()), found.waiting


def eventually(holds: Callable[[], bool]) -> bool:
    for _ in range(500):
        if holds():
            return True
        time.sleep(0.01)
    return False


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "FIRST_PAUSE_S", 0.005)
    monkeypatch.setattr(outbox_module, "LONGEST_PAUSE_S", 0.02)


def failing(times: int) -> Callable[[list[int]], None]:
    left = iter(range(times))

    def trouble(numbers: list[int]) -> None:
        if next(left, None) is not None:
            raise SinkError("nobody answers")

    return trouble


def test_all_is_delivered_in_order_and_told_once() -> None:
    sink = Listening()
    box = Outbox({"sink": sink})
    for start in range(0, 2000, 100):
        box.put(messages("sink", range(start, start + 100)))
    assert box.close()
    assert sink.got == list(range(2000))
    assert box.take_sent() == list(range(2000))
    assert box.take_sent() == []
    assert counted(box) == (2000, 0, 0)


@pytest.mark.parametrize("times", [1, 3, 7])
def test_a_sink_that_fails_is_tried_again_and_nothing_is_lost(times: int) -> None:
    sink = Listening(trouble=failing(times))
    box = Outbox({"sink": sink})
    box.put(messages("sink", range(20)))
    assert eventually(lambda: len(sink.got) == 20)
    assert sink.got == list(range(20))
    assert eventually(lambda: box.problems() == {})
    assert counted(box) == (20, times, 0)
    assert box.close()


def test_a_sink_in_trouble_says_why() -> None:
    box = Outbox({"sink": Listening(trouble=failing(10**9))})
    box.put(messages("sink", [1]))
    assert eventually(lambda: box.problems() == {"sink": "nobody answers"})
    assert not box.close(0.05)
    assert box.take_sent() == []
    assert counted(box)[2] == 1


def test_an_error_without_words_is_told_by_its_kind() -> None:
    def trouble(numbers: list[int]) -> None:
        raise KeyError

    box = Outbox({"sink": Listening(trouble=trouble)})
    box.put(messages("sink", [1]))
    assert eventually(lambda: box.problems() == {"sink": "KeyError"})
    box.close(0.01)


def test_a_slow_sink_delays_nobody_else() -> None:
    gate = threading.Event()
    slow, quick = Listening("slow", lambda numbers: gate.wait(20) and None), Listening("quick")
    box = Outbox({"slow": slow, "quick": quick})
    for n in range(50):
        box.put([*messages("slow", [2 * n]), *messages("quick", [2 * n + 1])])
    assert eventually(lambda: len(quick.got) == 50)
    assert slow.got == []
    gate.set()
    assert box.close()
    assert slow.got == list(range(0, 100, 2))


def test_a_message_that_never_gets_through_holds_back_none_before_it() -> None:
    #  0 1 2 ... 12 | 13 never | 14 ...        in order: what is behind it waits
    def trouble(numbers: list[int]) -> None:
        if 13 in numbers:
            raise SinkError("13 is refused")

    sink = Listening(trouble=trouble)
    box = Outbox({"sink": sink})
    box.put(messages("sink", range(40)))
    assert eventually(lambda: sink.got == list(range(13)))
    assert not box.close(0.05)
    assert sorted(box.take_sent()) == list(range(13))
    assert counted(box)[2] == 27


def test_messages_of_a_sink_that_is_no_longer_configured_need_not_be_kept() -> None:
    sink = Listening()
    box = Outbox({"sink": sink})
    box.put([*messages("gone", [1, 2]), *messages("sink", [3])])
    assert box.close()
    assert sorted(box.take_sent()) == [1, 2, 3]
    assert sink.got == [3]


def test_closing_waits_for_what_is_under_way_and_closes_every_sink() -> None:
    sinks = {name: Listening(name, lambda numbers: time.sleep(0.1)) for name in "abc"}
    box = Outbox(sinks)
    for name in sinks:
        box.put(messages(name, [1]))
    assert box.close()
    assert [sink.got for sink in sinks.values()] == [[1]] * 3
    assert all(sink.closed for sink in sinks.values())


def test_the_patience_of_closing_is_shared_by_all_sinks() -> None:
    never = threading.Event()
    sinks = {str(n): Listening(str(n), lambda numbers: never.wait(20) and None) for n in range(6)}
    box = Outbox(sinks)
    for name in sinks:
        box.put(messages(name, [1]))
    began = time.monotonic()
    assert not box.close(0.3)
    assert time.monotonic() - began < 1.5
    never.set()


def test_a_sink_that_cannot_be_closed_does_not_keep_others_open() -> None:
    class Stuck(Listening):
        def close(self) -> None:
            raise SinkError("stuck")

    other = Listening("other")
    box = Outbox({"stuck": Stuck(), "other": other})
    assert box.close()
    assert other.closed
    assert box.problems() == {"stuck": "stuck"}


def test_closing_twice_is_harmless_and_says_the_same() -> None:
    box = Outbox({"sink": Listening(trouble=failing(10**9))})
    box.put(messages("sink", [1]))
    assert not box.close(0.02)
    assert not box.close(0.02)
    assert Outbox({}).close()
