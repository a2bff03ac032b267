"""Matchers: Alertmanager's syntax, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.notify.matcher import Matcher, MatcherError, all_hold, from_row, read_matchers, shown


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("severity=page", 'severity="page"'),
        ('severity = "page"', 'severity="page"'),
        (' severity!="page" ', 'severity!="page"'),
        ("group=~press.*", 'group=~"press.*"'),
        ("group!~(a|b)", 'group!~"(a|b)"'),
        (r"group=~press\d", r'group=~"press\\d"'),
        ('{a="1",b=~"2, }3",}', 'a="1" b=~"2, }3"'),
        ("a=1, b=2", 'a="1" b="2"'),
        ("a=", 'a=""'),
        ('a=""', 'a=""'),
        ('a="x=y"', 'a="x=y"'),
        ('"odd name"="x"', '"odd name"="x"'),
        ("machine.id=x", '"machine.id"="x"'),
        (r'a="q\"\\\n"', r'a="q\"\\\n"'),
        ("site=berlin mitte", 'site="berlin mitte"'),
    ],
)
def test_it_is_read_as_alertmanager_reads_it(text: str, same: str) -> None:
    found = read_matchers([text])
    assert " ".join(map(str, found)) == same
    assert read_matchers([shown(found)]) == found


@pytest.mark.parametrize("text", ["", " ", "{}", "page", "=x", "a==b", 'a="x', 'a="x"y', "a=b}", "{a=b", "a=b,,c=d"])
def test_what_is_no_matcher_is_refused(text: str) -> None:
    with pytest.raises(MatcherError):
        read_matchers([text])


@pytest.mark.parametrize("text", ['a=~"("', 'a=~"(x*)*"', f'a=~"{"x?" * 100}"', f'a="{"x" * 2000}"'])
def test_a_pattern_that_is_wrong_or_takes_for_ever_is_refused(text: str) -> None:
    with pytest.raises(MatcherError):
        read_matchers([text])


def test_a_label_that_is_not_there_is_empty_and_patterns_fit_the_whole_value() -> None:
    labels = {"group": "press12", "severity": "page"}
    for text, holds in {
        "group=press12": True, "group=press1": False, "group=~press1": False, "group=~press.*": True,
        "group!~press1": True, "group!=press12": False, "site=": True, "site!=x": True, "site=~.+": False,
        "site=~.*": True,
    }.items():  # fmt: skip
        assert read_matchers([text])[0].holds(labels) == holds, text
    assert all_hold(read_matchers(["group=~press.*", "severity=page"]), labels)
    assert not all_hold(read_matchers(["group=~press.*,severity=x"]), labels)


@given(st.text(min_size=1), st.sampled_from(["=", "!="]), st.text(max_size=50))
def test_whatever_it_says_reads_back_as_itself(name: str, op: str, value: str) -> None:
    made = Matcher.of(name, op, value)  # type: ignore[arg-type]
    assert read_matchers([str(made)]) == (made,)
    assert from_row(made.row()) == made


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        read_matchers([text])
    except MatcherError as error:
        assert str(error)
