"""Rule files as people have them load with only `expr` changed, and broken ones are refused in the words promised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from connectors.batch import StreamTable
from stream.config_text import ConfigError
from stream.rules.alert import Alerts
from stream.rules.columns import Observed
from stream.rules.expression import compile_expression
from stream.rules.message import message
from stream.rules.rule import Rule
from stream.rules.rule_file import load_rules, read_rules

TESTS = Path(__file__).parents[2]
PUBLIC = sorted((TESTS / "rules_public").glob("*.yaml"))
BROKEN = sorted((TESTS / "rule_cases").glob("*.yaml"))
LABELS = {"instance": "db1.example.com:9100", "device": "sda1", "namespace": "shop", "pod": "cart-7", "job": "Node"}


def test_there_are_ten_files_in_the_style_of_public_ones_and_thirty_broken_ones() -> None:
    assert len(PUBLIC) >= 10
    assert len(BROKEN) >= 30


def test_files_in_the_style_of_public_ones_load_together() -> None:
    rules = load_rules(PUBLIC)
    assert len(rules) > 40
    assert {rule.file for rule in rules} == {str(path) for path in PUBLIC}


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: path.stem)
def test_every_text_of_such_a_file_can_be_filled_in(path: Path) -> None:
    table = StreamTable()
    table.slot("anything", "g", LABELS)
    for rule in load_rules([path]):
        always = Alerts([_always(rule)], table)
        (change,) = always.update(_seen(rule.interval.of(1)))
        told = message(change)
        texts = [*told["annotations"].values(), *told["labels"].values()]
        assert [text for text in texts if "<error" in text or "{{" in text or "<no value>" in text] == []
        assert told["labels"]["severity"]


def _always(rule: Rule) -> Rule:
    """The same texts for a condition that holds at once."""
    return Rule(rule.alert, compile_expression("True"), labels=rule.labels, annotations=rule.annotations)


def _seen(interval: int) -> Observed:
    start = max(interval, 1_000_000_000)
    slots, fidelity = np.zeros(1, np.int32), np.full(1, 3, np.int8)
    return Observed(start, start + 1_000_000_000, slots, {"value": np.array([91.1], np.float32)}, fidelity)


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_rule_file_is_refused_in_the_words_promised(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines(keepends=True)
    wanted = [line.removeprefix("# expect: ").rstrip("\n") for line in lines if line.startswith("# expect: ")]
    with pytest.raises(ConfigError) as caught:
        read_rules(
            "".join(line for line in lines if not line.startswith("# expect: ")), "rules.yaml", intervals=["night"]
        )
    said = [line for line in str(caught.value).splitlines() if line.startswith("rules.yaml")]
    assert wanted
    assert len(said) == len(wanted), said
    assert [(one, two) for one, two in zip(said, wanted, strict=True) if not one.startswith(two)] == []
