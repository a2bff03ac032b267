"""Brokers that die in the midst of transactions: processes with shared state tell what one alone tells afterwards."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from conftest import Broker

from whole.test_takeover import begun, check_as_undisturbed, events

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]
STREAMS, SECONDS, HISTORY, FAULTS, DEATHS = 240, 45, 240, 12, 3


def test_a_broker_that_dies_again_and_again_costs_no_alert_and_doubles_none(own_kafka: Broker, tmp_path: Path) -> None:
    own_kafka.start()
    group, plant = begun(
        own_kafka.servers, tmp_path, streams=STREAMS, seed=13, history=HISTORY, seconds=SECONDS, faults=FAULTS
    )
    rng = random.Random(3)
    group.start("a")
    group.start("b")
    time.sleep(15)
    for _ in range(DEATHS):
        time.sleep(2 + 4 * rng.random())
        own_kafka.kill()
        time.sleep(2 * rng.random())
        own_kafka.start()
    check_as_undisturbed(group, plant, tmp_path, FAULTS)
    assert any(each["event"] == "state.failed" for name in "ab" for each in events(tmp_path, name))
