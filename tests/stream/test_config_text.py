"""YAML with places: what plain words mean, where things stand, and that no text at all brings it down."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.config_merge import fill, merge, override
from stream.config_text import ConfigError, Document, Mark, Tree, parse, place_text
from stream.settings import load_text


def read(text: str) -> Tree:
    return parse(text, "a.yaml").tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("128", 128), ("-7", -7), ("0", 0), ("007", "007"), ("22:00", "22:00"), ("1_000", "1_000"), ("0x1f", "0x1f"),
        ("0.25", 0.25), (".5", 0.5), ("1e3", 1000.0), ("1.", 1.0), ("012.5", "012.5"), ("-.inf", float("-inf")),
        ("true", True), ("False", False), ("no", "no"), ("on", "on"), ("~", None), ("null", None), ("", None),
        ("2026-01-31", "2026-01-31"), ('"5"', "5"), ("'true'", "true"), ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_an_unquoted_word_means_what_yaml_1_2_says(text: str, value: object) -> None:
    found = read(f"a: {text}\n")
    assert found == {"a": value}
    assert isinstance(found, dict) and type(found["a"]) is type(value)


def test_every_key_and_value_knows_where_it_stands() -> None:
    document = parse("a:\n  - b: 1\n    c.d: [x, y]\n", "a.yaml")
    place = ("a", 0, "c.d", 1)
    assert document.mark(place) == Mark("a.yaml", 3, 14)
    assert document.mark(("a", 0, "c.d"), key=True) == Mark("a.yaml", 3, 5)
    assert document.mark(("a", 0, "missing")) == Mark("a.yaml", 2, 5)
    assert place_text(place) == 'a[0]["c.d"][1]'


def test_a_merge_fills_in_what_the_mapping_does_not_say_itself() -> None:
    text = "base: &b {x: 1, y: {z: 2}}\nmore: &m {w: 3, x: 9}\none: {<<: *b, x: 5}\ntwo: {<<: [*b, *m]}\n"
    found = read(text)
    assert isinstance(found, dict)
    assert (found["one"], found["two"]) == ({"x": 5, "y": {"z": 2}}, {"x": 1, "y": {"z": 2}, "w": 3})
    document = parse(text, "a.yaml")
    override(document, "one.y.z=7")
    assert isinstance(document.tree, dict) and document.tree["base"] == {"x": 1, "y": {"z": 2}}
    assert [str(p) for p in parse("a: {<<: 5}", "a.yaml").problems] == [
        "a.yaml:1:4: a: << takes a mapping or a list of mappings, like <<: *defaults"
    ]


def filled(text: str, **env: str) -> Document:
    document = parse(text, "a.yaml")
    fill(document, env)
    return document


def test_variables_fill_values_and_nothing_else() -> None:
    text = "${A}: '${A}'\nb: pre-${A}-${B:-x:y}-$${A}-$A\nc: [5, '${C:-}']\n"
    document = filled(text, A="1", C="")
    assert document.problems == []
    assert document.tree == {"${A}": "1", "b": "pre-1-x:y-${A}-$A", "c": [5, ""]}


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_a_variable_never_changes_the_shape_whatever_it_holds(value: str) -> None:
    assert filled("a: ${X}\nb: '${X}'\nc: ${X:-d}\n", X=value).tree == {"a": value, "b": value, "c": value or "d"}


def test_an_empty_variable_is_set_and_an_unset_one_is_not() -> None:
    assert filled("a: '${X}'", X="").problems == []
    assert len(filled("a: '${X}${Y}'", X="").problems) == 1


@pytest.mark.parametrize(
    ("setting", "tree"),
    [
        ("a.b=2", {"a": {"b": 2, "c": [1, {"d": 3}]}}),
        ("a.c[1].d=x: y", {"a": {"b": 1, "c": [1, {"d": {"x": "y"}}]}}),
        ("a.c.0=7", {"a": {"b": 1, "c": [7, {"d": 3}]}}),
        ("a.c[2]=[4]", {"a": {"b": 1, "c": [1, {"d": 3}, [4]]}}),
        ('a["x.y"]=1', {"a": {"b": 1, "c": [1, {"d": 3}], "x.y": 1}}),
        ('a."x.y".z=*', {"a": {"b": 1, "c": [1, {"d": 3}], "x.y": {"z": "*"}}}),
        ("n.m=", {"a": {"b": 1, "c": [1, {"d": 3}]}, "n": {"m": None}}),
    ],
)
def test_an_override_lays_one_value_over_the_rest(setting: str, tree: Tree) -> None:
    document = parse("a: {b: 1, c: [1, {d: 3}]}", "a.yaml")
    override(document, setting)
    assert (document.tree, document.problems) == (tree, [])


@pytest.mark.parametrize("setting", ["a", "=1", "a..b=1", "a.b.c=1", "a.c[5]=1", "a.c.x=1", "a[0]=1", "a[x]=1", ".=1"])
def test_an_override_that_leads_nowhere_is_a_problem(setting: str) -> None:
    document = parse("a: {b: 1, c: [1]}", "a.yaml")
    override(document, setting)
    assert document.tree == {"a": {"b": 1, "c": [1]}}
    assert [problem.mark for problem in document.problems] == [Mark(f"--set {setting}")]


def test_a_later_document_wins_key_by_key_and_replaces_lists() -> None:
    base = parse("a: {b: 1, c: 2}\nd: [1, 2]\ne: 5\n", "base.yaml")
    over = parse("a: {c: 3}\nd: [9]\ne:\n", "over.yaml")
    merged = merge(over, base)
    assert merged.tree == {"a": {"b": 1, "c": 3}, "d": [9], "e": None}
    assert str(merged.mark(("a", "b"))) == "base.yaml:1:8"
    assert str(merged.mark(("a", "c"))) == "over.yaml:1:8"


@pytest.mark.parametrize("text", ["[" * 5000, "{a: " * 5000, "- " * 5000, "a: " + "[" * 60 + "]" * 60])
def test_what_is_nested_too_deep_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is nested deeper than 50 levels"):
        parse(text, "a.yaml")


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet=st.characters() | st.sampled_from("{}[]:,-&*!|>'\"%@`#?\n \t${}<"), max_size=60))
@example('"\\U99999999"')
@example('"\\ud800": 1')
@example("a: !!binary x")
@example("\x00")
@example("? a\n: b")
@example("&a : *a")
@example("a: &b\n<<: *b")
@example("%YAML 9.9\n---\na: 1")
@example("sources: [{type: [stdin]}]")
@example("sources: {0: {type: stdin}}")
def test_any_text_gives_settings_or_an_error_that_can_be_read(text: str) -> None:
    try:
        load_text(text, env={})
    except ConfigError as error:
        lines = str(error).splitlines()
        assert lines and all(line.startswith("heed.yaml") for line in lines if not line.startswith("and "))


def test_hundreds_of_problems_are_cut_short() -> None:
    with pytest.raises(ConfigError) as caught:
        load_text("".join(f"x{i}: 1\n" for i in range(300)), env={})
    assert len(caught.value.problems) == 301
    assert str(caught.value).splitlines()[-1] == "and 251 more problems"
