"""Regular expressions in rules: the harmless ones are taken, those that could take for ever are not."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.batch import StreamTable
from stream.rules.columns import Observed
from stream.rules.expression import compile_expression
from stream.rules.pattern import PatternError, compiled, longest_text


@pytest.mark.parametrize(
    "text",
    [
        "press.*",
        "press[0-9]+/(temp|load)",
        r"line\d{1,3}/.*",
        "(?:press|mill)[1-4]?/.*",
        "[*+?|()]+",
        r"\(a\)+",
        "(?P<site>berlin)/.+",
        "(abc){3}",
        "[]a]+",
        ".*temp.*load.*",
        "(press|mill|lathe|drill|saw|robot)[0-9]+/(temp|load|vibration|current)",
        "|".join(f"machine{i:02d}" for i in range(18)),
        "(?i:press)1?[0-9]?/.*",
    ],
)
def test_patterns_as_people_write_them_are_taken(text: str) -> None:
    assert compiled(text).pattern == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(a+)+", "for ever"),
        ("(a|a)*b", "for ever"),
        ("((a*)b)*", "for ever"),
        ("(a?){30}", "for ever"),
        ("(?:x+y){2,}", "for ever"),
        (".*.*.*.*.*x", "too many parts"),
        ("a?" * 30 + "a" * 30, "too many parts"),
        ("(a|aa)" * 30 + "b", "too many parts"),
        ("(a|a|a|a|a|a|a|a|a)" * 10 + "b", "too many parts"),
        ("(a", "not a regular expression"),
        ("a" * 201, "at most 200"),
        ("a{99999999999}", "not a regular expression"),
        ("\b", "control character"),
    ],
)
def test_patterns_that_are_wrong_or_dangerous_are_refused(text: str, said: str) -> None:
    with pytest.raises(PatternError, match=said):
        compiled(text)


parts = st.sampled_from(["a", ".", "[ab]", "(", ")", "|", "*", "+", "?", "{2,}", "{1,9}", "{3}", "(?:", "\\w", "b"])


@settings(max_examples=400, deadline=None)
@given(st.lists(parts, max_size=20).map("".join))
@example(".*a.*a.*a.*b")
@example("a?" * 11 + "a" * 60)
@example("(a|aa)" * 11 + "(b|c)")
def test_whatever_is_taken_answers_at_once(text: str) -> None:
    try:
        pattern = compiled(text)
    except PatternError:
        return
    for characters in (60, min(longest_text(text), 5_000)):
        began = time.process_time()
        pattern.fullmatch("a" * characters + "!")
        assert time.process_time() - began < 1.5


def test_a_name_too_long_for_its_pattern_is_neither_matched_nor_not() -> None:
    assert longest_text("press[0-9]") == 100_000
    assert longest_text(".*a.*b") > 4_000
    assert 100 < longest_text(".*a.*b.*c.*d") < 200
    table = StreamTable()
    table.slot("a" * 90 + "d", "g")
    table.slot("a" * 900 + "d", "g")
    slots = np.arange(2, dtype=np.int32)
    truth = compile_expression('matches(stream, ".*a.*a.*a.*d")').evaluate(
        Observed(0, 1, slots, {}, np.zeros(2, np.int8)), table
    )
    assert (truth.true.tolist(), truth.false.tolist()) == ([True, False], [False, False])
