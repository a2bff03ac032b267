"""Wrong expressions: each is refused when loaded, with a place and a hint, and none crashes the parser."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.rules.expression import ExpressionError, compile_expression


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("scroe > 1", 1, 1, "unknown name `scroe`; did you mean `score`?"),
        ("score > 1 and valeu < 2", 1, 15, "did you mean `value`?"),
        ("score > 1\nand\n  scroe < 2", 3, 3, "did you mean `score`?"),
        ("'é' == stream and scroe > 1", 1, 19, "did you mean `score`?"),
        ("true", 1, 1, "did you mean `True`?"),
        ("score", 1, 1, "a rule needs a condition, and `score` is a number; compare it, like `score > 1`"),
        ("stream", 1, 1, "`stream` is a string"),
        ("score > 'a'", 1, 9, "`score` is a number and `'a'` is a string: they can't be compared"),
        ("stream == 1", 1, 11, "they can't be compared"),
        ("score and p < 1", 1, 1, "`and` takes a condition, and `score` is a number; compare it first"),
        ("not score", 1, 5, "`not` takes a condition"),
        ("-stream == 'a'", 1, 2, "`-` takes a number"),
        ("stream + 'a' == 'b'", 1, 1, "arithmetic takes a number, and `stream` is a string"),
        ("(score > 1) + 1 > 0", 1, 2, "is a condition"),
        ("stream < 'm'", 1, 10, "a string can't be larger or smaller; use `==` or `!=`"),
        ("(score > 1) < (p > 1)", 1, 16, "a condition can't be larger or smaller"),
        ("score > 1 if p > 1 else 2", 1, 1, "one branch is a condition, the other a number"),
        ("1 if score else 2", 1, 6, "`if` takes a condition"),
        ("score > 1 && p < 1", 1, 12, "write `and`"),
        ("score > 1 || p < 1", 1, 12, "write `or`"),
        ("score > 1 AND p < 1", 1, 1, "write `and`"),
        ("score = 1", 1, 1, "write `==` to compare"),
        ("score := 1", 1, 1, "is not allowed"),
        ("score & 1", 1, 1, "write `and`"),
        ("~score", 1, 1, "write `not`"),
        ("score is 1", 1, 1, "write `==`"),
        ("stream in 'abc'", 1, 11, "a list of constants"),
        ("score in []", 1, 10, "the list is empty"),
        ("score in [value]", 1, 11, "a list holds numbers or strings that are constants"),
        ("score in ['a', 'b']", 1, 10, "`score` is a number, and the list holds strings"),
        ("stream in ['a', 1]", 1, 11, "the list holds numbers and strings"),
        ("labels.site == 'a'", 1, 1, 'write `labels["site"]`'),
        ("labels == 'a'", 1, 1, "needs the name of a label"),
        ("labels[stream] == 'a'", 1, 8, "a constant string"),
        ("score[0] > 1", 1, 1, "only `labels` has parts"),
        ("score.real > 1", 1, 1, "a dot has no meaning here"),
        ("rounds(score) > 1", 1, 1, "unknown function `rounds`; did you mean `round`?"),
        ('avgover("value", "5m") > 1', 1, 1, "unknown function `avgover`; did you mean `avg_over`?"),
        ('avg_over("valeu", "5m") > 1', 1, 10, "`'valeu'` is not the name of a number; did you mean `value`?"),
        ('avg_over("score > 1", "5m") > 1', 1, 10, "is not the name of a number; write an expression without quotes"),
        ('avg_over(valeu, "5m") > 1', 1, 10, "unknown name `valeu`; did you mean `value`?"),
        ('avg_over(score > 1, "5m") > 1', 1, 10, "`avg_over` takes a number, and `score > 1` is a condition"),
        ("avg_over(value) > 1", 1, 1, 'wrong number of arguments; write `avg_over("value", "5m")`'),
        ('avg_over(value, "5q") > 1', 1, 17, "'5q' is not a duration: write it like 250ms, 30s, 5m, 1h30m or 2d"),
        ('avg_over(value, "") > 1', 1, 17, "is not a duration"),
        ('avg_over(value, "0s") > 1', 1, 17, "a span must be longer than 0"),
        ('avg_over(value, "0 steps") > 1', 1, 17, "a span must be longer than 0"),
        ('avg_over(value, "2000d") > 1', 1, 17, "'2000d' is too long: at most 366d"),
        ('avg_over(value, "99999999 steps") > 1', 1, 17, "too long: at most 366d"),
        ("avg_over(value, 300) > 1", 1, 17, 'a span is a text, and `300` is none; write `avg_over("value", "5m")`'),
        ("avg_over(value, stream) > 1", 1, 17, "a span is a text"),
        ('avg_over("value", "5m")', 1, 1, "is a number; compare it"),
        ('count_over(score, "5m") > 1', 1, 12, "`count_over` takes a condition, and `score` is a number; compare it"),
        ('count_over("score > 1", "5m") > 1', 1, 12, "is not the name of a number; write an expression without quotes"),
        ('absent_for("value", "5m") > 1', 1, 29, "is a condition and `1` is a number: they can't be compared"),
        ("avg_over > 1", 1, 1, '`avg_over` is a function; write `avg_over("value", "5m")`'),
        ("offset(value, span='1d') > 1", 1, 1, "arguments are given by position"),
        ("group_max(score > 1) > 1", 1, 11, "`group_max` takes a number, and `score > 1` is a condition"),
        ("group_share(score) > 1", 1, 13, "`group_share` takes a condition, and `score` is a number; compare it"),
        ("group_rank(score, 3) > 1", 1, 1, "wrong number of arguments; write `group_rank(score)`"),
        ("group_mean(score) > 1", 1, 1, "unknown function `group_mean`; did you mean `group_"),
        ("group(score) > 1", 1, 1, "`group` is not a function"),
        ("score(1) > 1", 1, 1, "`score` is not a function"),
        ("abs > 1", 1, 1, "`abs` is a function; write `abs(x)`"),
        ("abs(score, 1) > 1", 1, 1, "wrong number of arguments; write `abs(x)`"),
        ("min(score) > 1", 1, 1, "write `min(x, y, ...)`"),
        ("abs(x=1) > 1", 1, 1, "by position"),
        ("abs(*[1]) > 1", 1, 1, "by position"),
        ("abs(stream) > 1", 1, 5, "`abs` takes a number, and `stream` is a string"),
        ("matches(stream, group)", 1, 17, "must be a constant string"),
        ("matches(stream, '(a+)+b')", 1, 17, "can take for ever"),
        ("matches(stream, '[a')", 1, 17, "not a regular expression"),
        (r"matches(stream, '\bpress')", 1, 17, "control character"),
        ("None == score", 1, 1, "what is absent makes a comparison unknown"),
        ("1j > 0", 1, 1, "is not a number"),
        ("b'a' == stream", 1, 1, "is not a number"),
        ("score > 1e999", 1, 9, "too large"),
        ("score > 1, p < 1", 1, 1, "is not allowed"),
        ("lambda: True", 1, 1, "is not allowed"),
        ("[x for x in score]", 1, 1, "is not allowed"),
        ("f'{score}' == 'a'", 1, 1, "is not allowed"),
        ("__import__('os').system('true')", 1, 1, "is not a function"),
        ("", 1, 1, "the expression is empty"),
        ("  # nothing but a comment", 1, 1, "the expression is empty"),
        ("(score > 1", 1, 1, "`(` is never closed"),
        ("score > 1)", 1, 10, "`)` has no opening bracket"),
        ("score > 1) or (p < 1", 1, 10, "`)` has no opening bracket"),
        ("score > 'abc", 1, 9, "unterminated string"),
        ("score >", 1, 7, "not an expression"),
        ("score > 1; p < 1", 1, 10, "not an expression"),
        ("score > \0", 1, 1, "null bytes"),
    ],
)
def test_a_wrong_expression_is_refused_with_its_place_and_a_hint(text: str, line: int, column: int, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text)
    assert said in caught.value.said
    assert caught.value.line == line
    assert abs(caught.value.column - column) <= (1 if "not an expression" in caught.value.said else 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("score > 1" + " " * 1_000_000, "too long"),
        ("(" * 4_900 + "score" + ")" * 4_900, "deeper than 50"),
        ("[" * 60 + "]" * 60, "deeper than 50"),
        ("not " * 2_000 + "True", "deeper than 50"),
        ("-" * 9_000 + "score > 1", "read|deeper"),
        (" + ".join(["1"] * 60) + " > 1", "deeper than 50"),
        ("score in [" + ", ".join(["1"] * 600) + "]", "more than 500 parts"),
        (" or ".join(["p < 1"] * 200), "more than 500 parts"),
        (" or ".join(['stddev_over(p, "1h") > 1'] * 49), "would cost 9,\\d\\d\\d operations .* at most 5,000"),
        ("9" * 5_000 + " > 1", "digits"),
        ("score > 1 if p > 1 else " * 300 + "True", "deeper than 50|more than 500"),
    ],
)
def test_an_expression_beyond_the_limits_is_refused(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        compile_expression(text)


def test_the_error_shows_the_line_and_marks_the_place() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression("score > 1 and\n  valeu < 2")
    assert str(caught.value).split("\n") == [
        "line 2, column 3: unknown name `valeu`; did you mean `value`?",
        "    valeu < 2",
        "    ^^^^^",
    ]


def test_a_long_line_is_cut_around_the_place() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression("score > 1 and " * 20 + "scroe > 1")
    shown, mark = caught.value.caret.split("\n")
    assert len(shown) <= 122
    assert shown[mark.index("^") : mark.index("^") + mark.count("^")] == "scroe"


PIECES = """score value stream group labels fidelity and or not in if else < > == != ( ) [ ] , . + - * / ** % 1 0.5
'a' " abs min matches True None lambda x for : = { } # \\ \0 é is await yield := @ ~""".split()  # noqa: SIM905 - a list would take a page
pieces = st.sampled_from([*PIECES, "\n"])


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(max_size=80), st.lists(pieces, max_size=25).map(" ".join), st.lists(pieces).map("".join)))
@example("score > 1 \\")
@example("\ud800")
@example("'\ud800' == stream and x")
def test_any_text_is_an_expression_or_a_clean_error(text: str) -> None:
    try:
        compile_expression(text)
    except ExpressionError as error:
        assert 1 <= error.line <= text.count("\n") + 1
        assert error.column >= 1
        assert str(error)
