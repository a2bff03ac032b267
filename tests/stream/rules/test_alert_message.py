"""Alert messages and the texts in them."""

from __future__ import annotations

import json
import math

import pytest

from stream.rules.change import Change, fingerprint
from stream.rules.expression import compile_expression
from stream.rules.message import Told, message, rfc3339
from stream.rules.rule import Rule

START = 1_772_366_400_250_000_000  # 2026-03-01T12:00:00.25Z
LABELS = {"alertname": "Hot", "stream": "press1/temp", "group": "press1", "site": "berlin"}
RULE = Rule(
    "Hot",
    compile_expression("score > 1"),
    annotations={
        "summary": "{{ $labels.stream }} in {{$labels.site}} is at {{ $value }}",
        "runbook_url": "https://x/y",
    },
)
VALUES: dict[str, float | str | None] = {
    "score": 2.5,
    "value": 91.25,
    "expected": 70.0,
    "low": 60.0,
    "high": math.nan,
    "coverage": 0.5,
    "imputed": None,
    "fidelity": "full",
}


def hot() -> Change:
    since, told = START - 1_000_000_000, fingerprint(LABELS)
    return Change(RULE, 3, "press1/temp", "press1", LABELS, "firing", since, START, None, told, VALUES, "expr_true")


def test_a_message_tells_all_there_is_in_plain_json() -> None:
    told = message(hot(), Told(model="builtin", digest="abc", shed=7, since=START))
    assert json.loads(json.dumps(told, allow_nan=False)) == {
        "id": f"{fingerprint(LABELS)}-{START}",
        "fingerprint": fingerprint(LABELS),
        "status": "firing",
        "active_at": "2026-03-01T11:59:59.25Z",
        "starts_at": "2026-03-01T12:00:00.25Z",
        "ends_at": None,
        "labels": LABELS,
        "annotations": {"summary": "press1/temp in berlin is at 91.25", "runbook_url": "https://x/y"},
        "rule": "Hot",
        "group": "press1",
        "streams": [
            {
                "stream": "press1/temp",
                "share": 1.0,
                "direction": "above",
                "value": 91.25,
                "expected": 70.0,
                "low": 60.0,
                "high": None,
                "score": 2.5,
            }
        ],
        "evidence": {
            "coverage": 0.5,
            "fidelity": "full",
            "shed": 7,
            "imputed": None,
            "since": "2026-03-01T12:00:00.25Z",
        },
        "model": {"name": "builtin", "digest": "abc"},
        "reason": "expr_true",
    }


def test_the_end_of_an_alert_has_its_identity() -> None:
    told = message(hot().resolved(START + 5_000_000_000, "expr_false"))
    assert (told["status"], told["ends_at"], told["reason"]) == ("resolved", "2026-03-01T12:00:05.25Z", "expr_false")
    assert told["id"] == message(hot())["id"]


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (START, "2026-03-01T12:00:00.25Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_times_are_told_to_the_nanosecond(ns: int, text: str) -> None:
    assert rfc3339(ns) == text
