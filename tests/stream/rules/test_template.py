"""Templates: Prometheus' own give what they give there, and what is wrong is told with its place."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.rules.template import TemplateError, check_template, render
from stream.rules.template_format import MOST_LETTERS, cleaned, shortest

LABELS = {"stream": "press1/temp", "site": "berlin", "instance": "web1.example.com:9100"}
VALUES: dict[str, float | str | None] = {
    "value": struct.unpack("f", struct.pack("f", 91.1))[0],
    "score": 2.5,
    "expected": None,
    "fidelity": "full",
}


def shown(text: str) -> str:
    return render(text, LABELS, VALUES)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("no places", "no places"),
        ("{{ $labels.site }}/{{.Labels.site}}/{{$value}}/{{ .Value }}", "berlin/berlin/91.1/91.1"),
        ("{{ $labels.nope }}.", "."),
        ("{{ $values.score }} {{ .Values.fidelity }} {{ $.Values.score }}", "2.5 full 2.5"),
        (
            "{{ $values.expected }} {{ printf `%.2f` $values.expected }} {{ humanize $values.p }}",
            "unknown unknown unknown",
        ),
        ("a {{- /* not told */ -}} b", "ab"),
        ("a{{/* not told */}} b", "a b"),
        ("a  {{- 1 -}}\n b {{ -1 }}", "a1b -1"),
        (
            "{{ 1 }} {{ 1.5 }} {{ `a\\n` }} {{ \"a\\tb\\u00e9\\x41\" }} {{ true }} {{ 'x' }} {{ 0x1f }}",
            "1 1.5 a\\n a\tbéA true 120 31",
        ),
        ("{{ if gt $value 90.0 }}hot{{ else }}cold{{ end }}", "hot"),
        ("{{ if lt $value 90.0 }}cold{{ else if eq $labels.site `berlin` }}here{{ else }}hot{{ end }}", "here"),
        ("{{ if $labels.nope }}x{{ end }}{{ if not $labels.nope }}y{{ end }}", "y"),
        ("{{ if and $labels.site (ge $value 91.0) (ne $labels.site `paris`) }}x{{ end }}", "x"),
        ("{{ if or $labels.nope 0 `` }}x{{ else }}y{{ end }}", "y"),
        ("{{ if gt $values.expected 1.0 }}x{{ else }}y{{ end }}", "y"),
        ("{{ and 1 0 2 }} {{ or `` `x` }} {{ and 1 `z` }}", "0 x z"),
        ("{{ or 1 (humanize `no number`) }}", "1"),
        ("{{ eq 1 2 3 1 }} {{ le 1 1.0 }} {{ lt `a` `b` }}", "true true true"),
        (
            "{{ with $labels.site }}{{ . }} {{ $value }}{{ end }}{{ with $labels.nope }}x{{ else }}y{{ end }}",
            "berlin 91.1y",
        ),
        ("{{ $x := 5 }}{{ if true }}{{ $x = 6 }}{{ $y := 7 }}{{ $x }}{{ $y }}{{ end }}{{ $x }}", "676"),
        ("{{ if $x := $labels.site }}{{ $x }}{{ end }}", "berlin"),
        ("{{ $labels.site | toUpper | printf `%s-%q` `a` }}", 'a-"BERLIN"'),
        ("{{ (index $labels `site`) | title }} {{ index .Labels `nope` }}|{{ len $labels.site }}", "Berlin |6"),
        ("{{ title `aa bb CC d-e f_g` }} {{ toLower `aA bB` }}", "Aa Bb CC D-E F_g aa bb"),
        ("{{ match `a+` `xaa` }} {{ match `^a+` `b` }}", "true false"),
        (
            "{{ reReplaceAll `(a)b` `x$1` `ab` }} {{ reReplaceAll `(?P<h>[^:]+):.*` `${h}` $labels.instance }}",
            "xa web1.example.com",
        ),
        (
            "{{ `foo.example.com:12345` | stripPort }} {{ `[2001:0DB8::1]:12345` | stripPort }}",
            "foo.example.com 2001:0DB8::1",
        ),
        (
            "{{ `2001:0DB8::1` | stripPort }} {{ `[2001:0DB8::1]::12345` | stripPort }}",
            "2001:0DB8::1 [2001:0DB8::1]::12345",
        ),
        ("{{ `foo.example.com:80` | stripDomain }} {{ `192.0.2.1:80` | stripDomain }}", "foo:80 192.0.2.1:80"),
        ("{{ printf `%0.2f` (parseDuration `1h2m10ms`) }}", "3720.01"),
        ("{{ print 1 2 `a` `b` 3 }}{{ println `a` 1 }}", "1 2ab3a 1\n"),
        ("{{ urlquery `a b&c` }} {{ safeHtml `<b>` }}", "a+b%26c <b>"),
        ("{{ $labels }}", "map[instance:web1.example.com:9100 site:berlin stream:press1/temp]"),
        ("{{ $externalLabels.cluster }}{{ $externalURL }}.", "."),
    ],
)
def test_a_template_says_what_it_says_in_prometheus(text: str, wanted: str) -> None:
    check_template(text)
    assert shown(text) == wanted


HUMAN = [  # as in the tests of Prometheus itself
    ("humanize", "0.0 1.0 1234567.0 .12 -1 9223372036854775807", "0 1 1.235M 120m -1 9.223E"),
    ("humanize1024", "0.0 1.0 1048576.0 .12 -1 1234567 9223372036854775807", "0 1 1Mi 0.12 -1 1.177Mi 8Ei"),
    (
        "humanizeDuration",
        "0 1 60 3600 86400 90000 -183845 899.99",
        "0s|1s|1m 0s|1h 0m 0s|1d 0h 0m 0s|1d 1h 0m 0s|-2d 3h 4m 5s|14m 59s",
    ),
    (
        "humanizeDuration",
        ".1 .0001 .12345 60.1 60.5 1.2345 12.345 -1 1234567",
        "100ms|100us|123.5ms|1m 0s|1m 0s|1.234s|12.35s|-1s|14d 6h 56m 7s",
    ),
    ("humanizePercentage", "-0.22222 0.0 0.1234567 1.23456 1234567", "-22.22% 0% 12.35% 123.5% 1.235e+08%"),
    (
        "humanizeTimestamp",
        "0 -1 1234567 1435065584.128",
        "1970-01-01 00:00:00 +0000 UTC|1969-12-31 23:59:59 +0000 UTC|1970-01-15 06:56:07 +0000 UTC|"
        "2015-06-23 13:19:44.128 +0000 UTC",
    ),
    ("humanize", '"+Inf" "-Inf" "NaN"', "+Inf -Inf NaN"),
    ("humanize1024", '"+Inf" "-Inf" "NaN"', "+Inf -Inf NaN"),
    ("humanizeDuration", '"+Inf" "-Inf" "NaN"', "+Inf|-Inf|NaN"),
    ("humanizeTimestamp", '"+Inf" "-Inf" "NaN"', "+Inf|-Inf|NaN"),
]


@pytest.mark.parametrize(("function", "numbers", "wanted"), HUMAN)
def test_numbers_for_people_are_those_of_prometheus(function: str, numbers: str, wanted: str) -> None:
    for number, text in zip(numbers.split(), wanted.split("|" if "|" in wanted else " "), strict=True):
        quoted = number if number[0] == '"' else f'"{number}"'
        assert shown(f"{{{{ {quoted} | {function} }}}}") == text
        assert shown(f"{{{{ {function} {number} }}}}") == text


@pytest.mark.parametrize(
    ("form", "values", "wanted"),
    [
        ("%s|%5s|%-5s|%.2s|%q", '"ab" "ab" "ab" "abcd" "a\\"b\\n"', 'ab|   ab|ab   |ab|"a\\"b\\n"'),
        (
            "%d|%5d|%-5d|%05d|%+d|%x|%X|%#x|%o|%b|%c",
            "7 7 7 -7 7 255 255 255 8 5 65",
            "7|    7|7    |-0007|+7|ff|FF|0xff|10|101|A",
        ),
        (
            "%f|%.2f|%8.3f|%08.3f|%-8.1f|%+.1f",
            "1.5 1.005 3.14159 -3.14159 2.5 2.5",
            "1.500000|1.00|   3.142|-003.142|2.5     |+2.5",
        ),
        (
            "%e|%.2e|%E|%g|%.3g|%G",
            "123456.789 123456.789 1.0 123456789.0 123456.789 1e-7",
            "1.234568e+05|1.23e+05|1.000000E+00|1.23456789e+08|1.23e+05|1E-07",
        ),
        ("%v|%v|%v|%v|%v", '1 1.0 "a" true 1e6', "1|1|a|true|1e+06"),
        ("%t|%x|%x|%T|%T", 'true "hi" 1.5 1.5 "a"', "true|6869|0x1.8p+00|float64|string"),
        ("100%%", "", "100%"),
        ("%d|%s|%f|%z", '1.5 2 3 "a"', "%!d(float64=1.5)|%!s(int=2)|%!f(int=3)|%!z(string=a)"),
        ("%d %d|%", "1", "1 %!d(MISSING)|%!(NOVERB)"),
        ("%d", '1 "a" 2.5', "1%!(EXTRA string=a, float64=2.5)"),
    ],
)
def test_printf_knows_the_verbs_of_go(form: str, values: str, wanted: str) -> None:
    assert shown(f'{{{{ printf "{form}" {values} }}}}') == wanted


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1234567.0, "1.234567e+06"),
        (123456.0, "123456"),
        (100000.5, "100000.5"),
        (0.0001, "0.0001"),
        (1e-05, "1e-05"),
        (1e20, "1e+20"),
        (0.0, "0"),
        (-0.0, "-0"),
        (-2.5, "-2.5"),
        (123456789.0, "1.23456789e+08"),
        (5e-324, "5e-324"),
        (1e100, "1e+100"),
        (math.inf, "+Inf"),
        (math.nan, "NaN"),
    ],
)
def test_a_number_by_itself_is_written_as_go_writes_it(number: float, text: str) -> None:
    assert shortest(number) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_is_written_is_the_number_again(number: float) -> None:
    assert float(shortest(number)) == number


@given(st.floats(width=32))
def test_a_32_bit_number_is_shown_with_as_few_digits_as_tell_it(number: float) -> None:
    short = cleaned(number)
    assert np.float32(short) == np.float32(number) or math.isnan(number)
    assert isinstance(short, float)
    assert len(shortest(short)) <= len(shortest(number))


def test_digits_that_32_bits_do_not_hold_are_not_shown() -> None:
    assert [cleaned(float(np.float32(text))) for text in (91.1, 0.1, 16777217, 1.2345678)] == [
        91.1,
        0.1,
        16777216,
        1.2345678,
    ]
    assert [cleaned(1e300), cleaned(0.1), cleaned(None), cleaned("a")] == [1e300, 0.1, None, "a"]


BROKEN = [
    ("{{ $value", "1:1", "this action is never closed"),
    ("a\nb {{ scroe }}", "2:6", "unknown function `scroe`"),
    ("{{ humanise $value }}", "1:4", "did you mean `humanize`?"),
    ("{{ $lables.site }}", "1:4", "unknown variable `$lables`; did you mean `$labels`?"),
    ("{{ $score }}", "1:4", "write `$values.score`"),
    ("{{ $values.scroe }}", "1:11", "unknown name `scroe`; did you mean `score`?"),
    ("{{ .Lables.site }}", "1:4", "did you mean `Labels`?"),
    ("{{}}", "1:1", "a value is missing here"),
    ("{{ | humanize }}", "1:4", "a value is missing here"),
    ("{{ $value | }}", "1:1", "a value is missing here"),
    ("{{ $value | 5 }}", "1:13", "`5` is not a function"),
    ("{{ $value 5 }}", "1:4", "`$value` is not a function"),
    ("{{ if true }}", "1:1", "this `if` has no {{ end }}"),
    ("{{ end }}", "1:1", "this `end` ends nothing"),
    ("{{ if }}x{{ end }}", "1:1", "a value is missing here"),
    ("{{ if true }}{{ else }}{{ else }}{{ end }}", "1:24", "after `else` comes {{ end }}"),
    ("{{ if true }}{{ end 5 }}", "1:21", "nothing may follow `end`"),
    ("{{ range $labels }}{{ end }}", "1:1", "`range` has no meaning"),
    ('{{ query "up" | first }}', "1:4", "unknown function `query`; heed keeps no other series"),
    ('{{ template "x" }}', "1:1", "`template` has no meaning"),
    ('{{ "a }}', "1:4", "this text is never closed"),
    ('{{ "\\d" }}', "1:5", "`\\d` is not an escape"),
    ("{{ (5 }}", "1:4", "this bracket is never closed"),
    ("{{ 5) }}", "1:5", "`)` has no place here"),
    ("{{ 5m }}", "1:5", "a space is missing before this"),
    ("{{ /* a */ }}", "1:4", "`/` has no meaning inside an action"),
    ("{{/* a }}", "1:1", "this comment is never closed"),
    ("{{/* a */ 5 }}", "1:8", "a comment has an action of its own"),
    ("{{ humanize }}", "1:4", "`humanize` takes 1 argument, not 0"),
    ("{{ gt 1 }}", "1:4", "`gt` takes 2 arguments, not 1"),
    ('{{ match "(a+)+" "x" }}', "1:10", "a repeated group must not hold repeats"),
    ("{{ $x = 5 }}", "1:4", "unknown variable `$x`"),
    ("{{ if true }}{{ $x := 5 }}{{ end }}{{ $x }}", "1:39", "unknown variable `$x`"),
    ("{{ $labels.a-b }}", "1:13", "`-` has no meaning"),
    ("{{ " + "(" * 60 + "1" + ")" * 60 + " }}", "1:54", "nested deeper than 50 levels"),
    ("{{ if true }}" * 60 + "{{ end }}" * 60, "1:651", "nested deeper than 50 levels"),
    ("{{ 1 }}" + "x" * 10_000, "1:1", "is too long"),
]


@pytest.mark.parametrize(("text", "place", "said"), BROKEN)
def test_a_template_that_can_not_be_read_is_refused_with_its_place(text: str, place: str, said: str) -> None:
    with pytest.raises(TemplateError) as caught:
        check_template(text)
    assert (f"{caught.value.line}:{caught.value.column}", said in caught.value.said) == (place, True), caught.value
    assert shown(text).startswith(f"<error expanding template: line {caught.value.line}, column")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{{ humanize "one" }}', 'line 1, column 4: humanize: "one" is not a number'),
        ("{{ gt $labels.site 5 }}", "gt: berlin and 5 can't be compared"),
        ("{{ humanizeTimestamp 1e12 }}", "humanizeTimestamp: 1e+12 is no time"),
        ("{{ toUpper 5 }}", "toUpper: 5 is not a text"),
        ('{{ reReplaceAll "a" "$3" "a" }}', 'reReplaceAll: "$3" is not a replacement'),
        ("{{ with $value }}{{ .Labels.site }}{{ end }}", "91.1 has no part `Labels`"),
        ("{{ $value.x }}", "91.1 has no part `x`"),
        ('{{ printf "%99999d" 1 }}', "a width of more than 1,000 is too wide"),
        ('{{ parseDuration "soon" }}', "'soon' is not a duration"),
    ],
)
def test_what_goes_wrong_while_filling_in_is_shown_in_the_text(text: str, said: str) -> None:
    check_template(text)
    assert shown(f"before {text}").startswith("<error expanding template: line 1, column ")
    assert said in shown(text)


def test_a_text_can_not_grow_without_bound() -> None:
    doubling = '{{ $x := "0123456789" }}' + '{{ $x = printf "%s%s" $x $x }}' * 60
    assert "is too long" in shown(doubling)
    assert len(shown('{{ $x := printf "%1000d" 1 }}' + "{{ $x }}" * 200)) == MOST_LETTERS


@given(st.text(alphabet='{}-/*$. |"`()abeilnfdsv=:5,\n', max_size=40))
def test_no_text_makes_a_template_crash(text: str) -> None:
    assert isinstance(render("{{ " + text + " }}", LABELS, VALUES), str)
