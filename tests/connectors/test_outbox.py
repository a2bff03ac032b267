"""Messages on their way: at least once, in order, and no sink waits for another."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import pytest
from listening import eventually, notification
from tenacity import RetryCallState, Retrying

from connectors.keeping import outbox as outbox_module
from connectors.keeping.outbox import Outbox
from connectors.keeping.shelf import Letter
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
    assert eventually(lambda: counted(box)[2] == 27)
    assert sink.got == list(range(13))
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
    assert not box.close(1.0)
    assert time.monotonic() - began < 5
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


# --- what an error says of another try


def raising(*errors: SinkError | None) -> Callable[[list[int]], None]:
    left = iter(errors)

    def trouble(numbers: list[int]) -> None:
        error = next(left, None)
        if error is not None:
            raise error

    return trouble


def test_what_got_through_before_a_failure_is_not_sent_again() -> None:
    sink = Listening(trouble=raising(SinkError("half way", sent=3)))
    box = Outbox({"sink": sink})
    box.put(messages("sink", range(5)))
    assert box.close()
    assert sink.got == [3, 4]
    assert sorted(box.take_sent()) == list(range(5))


def test_a_message_that_is_not_wanted_is_given_up_and_holds_back_none() -> None:
    def trouble(numbers: list[int]) -> None:
        if bad := [n for n in numbers if n in (7, 13)]:
            raise SinkError(f"{bad[0]} is odd", "refused", tries=1)

    sink = Listening(trouble=trouble)
    box = Outbox({"sink": sink})
    box.put(messages("sink", range(20)))
    assert box.close()
    assert sorted(sink.got) == [n for n in range(20) if n not in (7, 13)]
    assert sink.got == sorted(sink.got)
    assert box.take_dead() == [(7, "sink", "7 is odd"), (13, "sink", "13 is odd")]
    assert box.take_dead() == []
    found = box.counts()["sink"]
    assert (found.delivered, found.dead, found.waiting) == (18, 2, 0)
    assert found.failed["refused"] >= 2


def test_a_failure_that_may_pass_gets_so_many_tries_and_no_more() -> None:
    sink = Listening(trouble=raising(*[SinkError("who are you", "auth", tries=4)] * 4))
    box = Outbox({"sink": sink})
    box.put(messages("sink", [1]))
    assert eventually(lambda: box.counts()["sink"].dead == 1)
    box.put(messages("sink", [2]))
    assert box.close()
    assert sink.got == [2]
    assert box.counts()["sink"].failed == {"auth": 4}


def test_who_asks_for_time_gets_it() -> None:
    sink = Listening(trouble=raising(SinkError("later", "rate_limited", wait_s=0.4)))
    box = Outbox({"sink": sink})
    began = time.monotonic()
    box.put(messages("sink", [1]))
    assert eventually(lambda: sink.got == [1])
    assert time.monotonic() - began >= 0.4
    assert box.close()


def test_pauses_grow_to_a_bound_and_are_the_same_for_the_same_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_module, "FIRST_PAUSE_S", 0.25)
    monkeypatch.setattr(outbox_module, "LONGEST_PAUSE_S", 30.0)

    def pauses(seed: int) -> list[float]:
        pause, state = outbox_module._Pause(seed), RetryCallState(Retrying(), None, (), {})
        found = []
        for number in range(1, 13):
            state.attempt_number = number
            found.append(pause(state))
        return found

    first = pauses(1)
    assert first == pauses(1) != pauses(2)
    bounds = [min(0.25 * 2**n, 30.0) for n in range(12)]
    assert all(bound / 2 <= each <= bound for each, bound in zip(first, bounds, strict=True))


def test_closing_does_not_wait_for_who_asked_for_an_hour() -> None:
    sink = Listening(trouble=raising(*[SinkError("later", wait_s=3600)] * 9))
    box = Outbox({"sink": sink})
    box.put(messages("sink", [1]))
    assert eventually(lambda: sink.tries == 1)
    began = time.monotonic()
    assert not box.close(0.05)
    assert time.monotonic() - began < 30
    time.sleep(0.1)
    assert sink.tries == 1, "nothing is tried after the end"


def test_it_is_known_since_when_the_oldest_waits() -> None:
    stuck = threading.Event()
    box = Outbox({"sink": Listening(trouble=lambda numbers: stuck.wait(20) and None)})
    box.put([Letter(1, "sink", {"n": 1}, 111), Letter(2, "sink", {"n": 2}, 222)])
    assert eventually(lambda: box.counts()["sink"].oldest == 111)
    stuck.set()
    assert eventually(lambda: box.counts()["sink"].waiting == 0)
    assert eventually(lambda: box.counts()["sink"].oldest == 0)
    assert box.close()


def test_of_what_waits_for_people_the_newest_of_each_incident_is_sent_and_all_counts_as_sent() -> None:
    class Keeping(Listening):
        def send(self, found: Sequence[Mapping[str, object]]) -> None:
            self._trouble([])
            self.kept = [*getattr(self, "kept", []), *found]

    gate, under_way = threading.Event(), threading.Event()

    def slow(numbers: list[int]) -> None:
        under_way.set()
        gate.wait(20)

    sink = Keeping(trouble=slow)
    box = Outbox({"sink": sink}, merging=["sink"])
    box.put([Letter(0, "sink", notification(0))])
    assert under_way.wait(20)
    for n in range(1, 31):
        box.put([Letter(n, "sink", {**notification(n % 3, "resolved" if n > 27 else "firing"), "n": n})])
    gate.set()
    assert box.close()
    assert [each.get("n") for each in sink.kept] == [None, 1, 2, 3, 28, 29, 30]
    assert sorted(box.take_sent()) == list(range(31))
    found = box.counts()["sink"]
    assert (found.delivered, found.merged, found.waiting) == (7, 24, 0)


def test_a_sink_that_is_exchanged_gets_what_waits_at_once() -> None:
    def asks_for_an_hour(numbers: list[int]) -> None:
        raise SinkError("later", "rate_limited", wait_s=3600.0)

    old, new = Listening(trouble=asks_for_an_hour), Listening()
    box = Outbox({"sink": old})
    box.put(messages("sink", range(10)))
    assert eventually(lambda: old.tries == 1 and box.problems() == {"sink": "later"})
    box.exchange({"sink": new})
    assert eventually(lambda: len(new.got) == 10 and old.closed == 1)
    assert (new.got, old.got, box.problems()) == (list(range(10)), [], {})
    box.put(messages("sink", [10]))
    assert box.close() and new.got[-1] == 10
    assert sorted(box.take_sent()) == list(range(11)) and new.closed >= 1


def test_a_try_under_way_ends_with_the_sink_it_began_with() -> None:
    gate, under_way = threading.Event(), threading.Event()

    def slow(numbers: list[int]) -> None:
        under_way.set()
        gate.wait(20)

    old, new = Listening(trouble=slow), Listening()
    box = Outbox({"sink": old})
    box.put(messages("sink", [0]))
    assert under_way.wait(20)
    box.put(messages("sink", [1]))
    box.exchange({"sink": new})
    gate.set()
    assert eventually(lambda: new.got == [1] and old.closed == 1)
    assert old.got == [0]
    box.close()


def test_a_sink_that_nothing_waits_for_is_closed_when_it_is_exchanged() -> None:
    first, second, third = Listening(), Listening(), Listening()
    box = Outbox({"sink": first})
    box.exchange({"sink": second})
    box.exchange({"sink": third})
    assert eventually(lambda: first.closed and second.closed)
    assert box.close() and third.closed >= 1


def test_a_sink_that_is_gone_ends_with_its_try_and_what_it_took_counts() -> None:
    gate, under_way = threading.Event(), threading.Event()

    def slow(numbers: list[int]) -> None:
        under_way.set()
        gate.wait(20)

    old, other = Listening("old", slow), Listening("other")
    box = Outbox({"old": old, "other": other})
    box.put(messages("old", [0]))
    assert under_way.wait(20)
    box.put(messages("old", [1, 2]))
    box.exchange({"new": (new := Listening("new"))}, ["old"])
    assert box.parting and set(box.sinks) == set(box.counts()) == {"other", "new"}
    box.put([*messages("new", [3]), *messages("other", [4])])
    assert eventually(lambda: new.got == [3] and other.got == [4]), "nobody waits for the one that leaves"
    gate.set()
    sent: list[int] = []
    assert eventually(lambda: sent.extend(box.take_sent()) or not box.parting)  # type: ignore[func-returns-value]
    assert (sorted(sent), old.got, old.closed) == ([0, 3, 4], [0], 1)
    assert box.close()
