"""Alert messages tell who else was off and what was looked at; a member that is not judged now has no numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from monitor_feed import START, Plain, Run, noise

from connectors.batch import SECOND
from models.contract import Look, Verdict

STEPS = 200
FAULT = 150


class Pointing(Plain):
    """Finds the first member off from some step on, and points at its mates: a third of the attention each."""

    def score(self, look: Look) -> Verdict:
        score = super().score(look).score
        shares = np.zeros((*look.member.shape, look.present.shape[1]), np.float32)
        shares[..., : look.present.shape[1]] = look.present[:, None, :] / 3
        expected = np.repeat(np.zeros(score.shape, np.float32)[..., None], 3, axis=-1)
        return Verdict(score, expected, None, shares)


def told(more: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    values = noise(STEPS, 3)
    values[FAULT:, 0] += 50
    run = Run(values, ["g"] * 3, Pointing(), more=more).all()
    return [message for message in run.sink.messages if message["labels"]["stream"] == "g/s00"]


def test_an_alert_names_the_streams_the_model_attended_to_with_their_numbers() -> None:
    message = told()[0]
    assert message["status"] == "firing"
    assert [row["stream"] for row in message["streams"]] == ["g/s00", "g/s01", "g/s02"]
    own, *others = message["streams"]
    assert own["direction"] == "above"
    for other in others:
        assert other["share"] == pytest.approx(1 / 3, abs=1e-3)
        assert abs(other["value"] - 100) < 6
        assert other["direction"] in ("above", "below")
    assert message["model"] == {"name": "plain", "digest": "0" * 64}
    assert message["evidence"]["fidelity"] == "full"
    assert message["evidence"]["coverage"] == 1
    assert message["evidence"]["shed"] == 0


@pytest.mark.parametrize("shut", ["s01", "s02"])
def test_a_member_that_is_closed_now_is_named_without_numbers(shut: str) -> None:
    minutes = (FAULT // 60 * 60 + 60) // 60
    night = {"times": [{"start_time": f"00:0{minutes - 1}", "end_time": f"00:0{minutes + 1}"}]}
    more = {
        "time_intervals": [{"name": "night", "time_intervals": [night]}],
        "streams": [{"match": f"*/{shut}", "closed": "night"}],
    }
    message = told(more)[0]
    rows = {row["stream"]: row for row in message["streams"]}
    assert set(rows) == {"g/s00", "g/s01", "g/s02"}
    for name in ("value", "expected", "low", "high", "score", "direction"):
        assert rows[f"g/{shut}"][name] is None
    assert rows["g/s00"]["value"] > 140


def test_messages_are_plain_json_in_event_time() -> None:
    for message in told():
        assert json.loads(json.dumps(message, allow_nan=False)) == message
    first = told()[0]
    assert first["starts_at"] == "2026-01-01T00:02:30Z"
    assert FAULT * SECOND + START == 1_767_225_750 * SECOND


def test_a_stream_that_ends_resolves_its_alert_in_event_time_and_says_why() -> None:
    *_, last = told({"windows": {"size": 16}})
    assert last["status"] == "resolved"
    assert last["reason"] in ("the stream ended", "expr_false")
    assert last["starts_at"] <= last["ends_at"] <= "2026-01-01T00:03:20Z"


def test_without_a_model_the_message_names_the_sentinel() -> None:
    values = noise(STEPS, 2)
    values[FAULT:, 0] += 50
    run = Run(values, ["g"] * 2, None, more={"model": {"name": "none"}}).all()
    message = run.sink.messages[0]
    assert message["model"] == {"name": "sentinel", "digest": None}
    assert message["streams"][0]["direction"] == "above"
    assert abs(message["streams"][0]["expected"] - 100) < 5
