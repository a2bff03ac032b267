"""Regular expressions in rules: the harmless ones are taken, those that could take for ever are not."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stream.rules.pattern import PatternError, compiled


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
        (".*.*.*.*.*x", "at most 4 repeats"),
        ("a?" * 30 + "a" * 30, "varying parts"),
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
def test_whatever_is_taken_answers_at_once(text: str) -> None:
    try:
        pattern = compiled(text)
    except PatternError:
        assume(False)
    began = time.process_time()
    pattern.fullmatch("a" * 60 + "!")
    assert time.process_time() - began < 0.5
