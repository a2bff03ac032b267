"""What looks cost on the clock: a price, or real CPU time."""

from __future__ import annotations

import time

import numpy as np
import pytest
from monitor_feed import Broken, Mute, Plain

from connectors.batch import SECOND
from connectors.clock import ReplayClock
from models.contract import Look, ModelError
from models.probe import probe_look
from stream.price import burning, parse_price, priced


def look_of(rows: int) -> Look:
    look = probe_look(1, 8, 8, window=16)
    member = np.where(np.arange(8) < rows, np.arange(8), -1)[None]
    return Look(look.values, look.mask, member, look.evidence, look.present)


def test_a_price_is_charged_per_call_and_per_stream_padding_left_out() -> None:
    clock = ReplayClock(SECOND)
    scorer = priced(Plain(), clock, 0.005, 0.02)
    assert scorer.cost == (0.005, 0.02)
    scorer.score(look_of(3))
    assert clock.now() == SECOND + 65_000_000
    scorer.score(look_of(8))
    assert clock.now() == SECOND + 65_000_000 + 165_000_000


def test_a_call_that_fails_costs_nothing() -> None:
    clock = ReplayClock(SECOND)
    with pytest.raises(ModelError):
        priced(Broken(), clock, 0.005, 0.02).score(look_of(3))
    assert clock.now() == SECOND


def test_burning_takes_real_time_for_every_stream_and_says_so_in_its_cost() -> None:
    scorer = burning(Plain(), 0.003)
    assert scorer.cost == pytest.approx((0.001, 0.013))
    begun = time.perf_counter()
    scorer.score(look_of(8))
    assert time.perf_counter() - begun >= 0.024


def test_a_wrapped_scorer_keeps_name_digest_window_and_what_it_said_nothing_of() -> None:
    class Tells(Mute):
        bad = np.array([[False, True]])

    for inner in (Plain(), Tells()):
        scorer = priced(inner, ReplayClock(), 0, 0)
        assert (scorer.name, scorer.digest, scorer.window, scorer.normalised) == ("plain", "0" * 64, 16, True)
        assert scorer.bad is getattr(inner, "bad", None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("none", None), ("5ms,20us", (0.005, 2e-5)), ("0s,1s", (0.0, 1.0)), ("5ms, 20ms", (0.005, 0.02))],
)
def test_a_price_is_two_durations_or_none(text: str, seconds: tuple[float, float] | None) -> None:
    assert parse_price(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("text", ["", "5ms", "a,b", "5ms,20ms,1ms", "-5ms,1ms", "5ms,"])
def test_other_prices_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_price(text)
