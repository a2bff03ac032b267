"""What the loop publishes: the state heed is in, why it is not ready, and figures that follow the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from monitor_feed import START, Plain, Run, noise

from connectors.batch import SECOND
from stream.app.publish import Publisher, publisher
from stream.rules.message import message


class Unreachable:
    problem = "the broker is away"

    def lag(self) -> dict[str, int]:
        return {"plant.readings/3": 17}


def published(values: Any, until: int, sources: dict[str, Any] | None = None, **how: Any) -> tuple[Run, Publisher]:
    run = Run(values, ["g"] * values.shape[1], Plain(), **how)
    board = Publisher(run.monitor, run.settings, run.outbox, Plain(), sources or {})
    while run.clock.now() < START + until * SECOND and not run.source.done:
        turn = run.loop.turn()
        run.turns.append(turn)
        for told in turn.told:
            board.tell(message(told.change))
        board.publish(run.clock.now())
    return run, board


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_before_the_first_turn_the_answer_is_whole_and_says_starting(stack: ExitStack) -> None:
    run = Run(noise(10, 2), ["g"] * 2, Plain())
    board = stack.enter_context(publisher(run.monitor, run.settings, run.outbox, None, None, {}))
    first = board.board.latest()
    assert first.state == "starting"
    assert first.summary["readings"] == 0
    assert not first.ready
    assert first.reasons == ("no source has been read yet",)


def test_it_warms_up_then_is_ready_then_drains() -> None:
    run, board = published(noise(130, 4), 90)
    assert board.board.latest().state == "warming"
    assert board.board.latest().ready
    run, board = published(noise(130, 4), 120)
    latest = board.board.latest()
    assert latest.state == "ready"
    assert latest.figures.windows == {name: n for name, n in run.windows.items() if name != "due"}
    assert latest.figures.streams == {"active": 4, "warmup": 0, "gap": 0}
    board.draining()
    assert board.board.latest().state == "draining"
    assert board.board.latest().reasons == ("heed is stopping",)


def test_a_source_that_can_not_be_reached_is_the_reason_not_to_be_ready() -> None:
    _, board = published(noise(20, 2), 10, {"kafka": Unreachable()})
    latest = board.board.latest()
    assert not latest.ready
    assert latest.reasons == ("source kafka: the broker is away",)
    assert latest.figures.kafka_lag == {("plant.readings", 3): 17}


def test_coverage_is_that_of_the_last_minute() -> None:
    values = noise(330, 10)
    values[180:, 3:] = np.nan  # from then on all that is left fits
    _, board = published(values, 170, price=(0.0, 0.2), more={"budget": {"latency": "900ms"}})
    assert board.board.latest().figures.coverage == pytest.approx(0.4, abs=0.01)
    _, board = published(values, 320, price=(0.0, 0.2), more={"budget": {"latency": "900ms"}})
    latest = board.board.latest()
    assert latest.figures.coverage == pytest.approx(1, abs=0.01)
    assert latest.summary["coverage"] < 0.5


def test_alerts_are_among_those_that_fire_until_they_are_resolved() -> None:
    values = noise(320, 3)
    values[150:158, 0] += 60
    run, board = published(values, 156)
    assert [m["status"] for m in board.board.latest().alerts] == ["firing"]
    run, board = published(values, 310)
    assert board.board.latest().alerts == ()
    assert [m["status"] for m in board.board.latest().recent[:2]] == ["resolved", "firing"]
    restarted = Publisher(run.monitor, run.settings, run.outbox, None, {})
    restarted.restore()
    restarted.publish(run.clock.now())
    assert restarted.board.latest().alerts == ()


def test_a_restarted_heed_shows_what_fires_since_before() -> None:
    values = noise(170, 3)
    values[150:, 0] += 60
    run, _ = published(values, 155)
    board = Publisher(run.monitor, run.settings, run.outbox, None, {})
    board.restore()
    board.publish(run.clock.now())
    assert [m["labels"]["stream"] for m in board.board.latest().alerts] == ["g/s00"]


def test_streams_that_left_are_not_counted_any_more() -> None:
    values = noise(300, 3)
    values[150:, 2] = np.nan
    _, board = published(values, 290, more={"windows": {"ttl": "60s"}})
    latest = board.board.latest()
    assert latest.figures.streams == {"active": 2, "warmup": 0, "gap": 0}
    assert [name for name in latest.streams.names if name] == ["g/s00", "g/s01"]


def test_undecodable_messages_are_counted_by_reason_and_those_without_one_too() -> None:
    run, board = published(noise(20, 2), 10)
    run.monitor.source_counts = {"records": 9, "undecodable": 5, "undecodable.malformed": 3}
    board.publish(run.clock.now() + SECOND)
    assert board.board.latest().figures.dead_letters == {"malformed": 3, "undecodable": 2}
