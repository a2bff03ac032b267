"""The functions of templates, with the names and results that Prometheus' and Go's own have.

Sources: Prometheus, docs/configuration/template_reference.md; Go, text/template, "Functions".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

from stream.durations import parse_duration
from stream.rules.pattern import compiled
from stream.rules.template_format import ABSENT, four, plain, printf, quoted, spaced

MANY = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORD = re.compile(r"[^\W_]|_")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?inf|nan", re.IGNORECASE | re.ASCII)
_LARGE, _SMALL = "kMGTPEZY", "munpfazy"


@dataclass(frozen=True, slots=True)
class Function:
    """What a template calls: how many arguments it takes, and which of them is a regular expression, if any."""

    call: Callable[..., Any]
    least: int = 1
    most: int = 1
    pattern: int = -1


def number(value: Any) -> float:
    """A number, or the number that a text holds; ValueError otherwise."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    raise ValueError(f"{quoted(value) if isinstance(value, str) else plain(value)} is not a number")


def truth(value: Any) -> bool:
    """What ``if``, ``and``, ``or`` and ``not`` take for true: all but false, 0, "" and what is absent."""
    return bool(value)


def _of_number(say: Callable[[float], str]) -> Callable[[Any], str]:
    return lambda value: ABSENT if value is None else say(number(value))


def _scaled(size: float, base: int, prefixes: str) -> tuple[float, str]:
    """A size of 1 or more divided by the base until it is below it, or the prefixes end."""
    prefix = ""
    for each in prefixes:
        if abs(size) < base:
            break
        size, prefix = size / base, each
    return size, prefix


def _magnified(size: float) -> tuple[float, str]:
    """A size below 1 times a thousand until it is 1 or more."""
    prefix = ""
    for each in _SMALL:
        if abs(size) >= 1:
            break
        size, prefix = size * 1000, each
    return size, prefix


def humanize(x: float) -> str:
    """``1234567`` is ``1.235M``, ``0.12`` is ``120m``."""
    if x == 0 or not math.isfinite(x):
        return four(x)
    size, prefix = _scaled(x, 1000, _LARGE) if abs(x) >= 1 else _magnified(x)
    return four(size) + prefix


def humanize1024(x: float) -> str:
    """``1048576`` is ``1Mi``."""
    if abs(x) <= 1 or not math.isfinite(x):
        return four(x)
    size, prefix = _scaled(x, 1024, _LARGE)
    return four(size) + (f"{prefix}i" if prefix else "")


def humanize_duration(x: float) -> str:
    """Seconds: ``899.99`` is ``14m 59s``, ``0.12345`` is ``123.5ms``."""
    if not math.isfinite(x):
        return four(x)
    if 0 < abs(x) < 1:
        size, prefix = _magnified(x)
        return f"{four(size)}{prefix}s"
    if abs(x) < 60:
        return f"{four(x)}s"
    minutes, seconds = divmod(int(abs(x)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")]
    while parts[0][0] == 0:
        del parts[0]
    return ("-" if x < 0 else "") + " ".join(f"{count}{unit}" for count, unit in parts)


def humanize_percentage(x: float) -> str:
    """``0.1234567`` is ``12.35%``."""
    return f"{four(x * 100)}%"


def humanize_timestamp(x: float) -> str:
    """Unix seconds: ``1435065584.128`` is ``2015-06-23 13:19:44.128 +0000 UTC``."""
    if not math.isfinite(x):
        return four(x)
    if not -(2**63) <= x * 1e9 < 2**63:
        raise ValueError(f"{plain(x)} is no time that nanoseconds can tell")
    ms = math.trunc(int(x * 1e9) / 1_000_000)
    time = (_EPOCH + timedelta(milliseconds=ms)).strftime("%Y-%m-%d %H:%M:%S")
    fraction = f".{ms % 1000:03d}".rstrip("0") if ms % 1000 else ""
    return f"{time}{fraction} +0000 UTC"


def _text(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{plain(value)} is not a text")
    return ABSENT if value is None else value


def title(value: Any) -> str:
    """The first letter of each word large."""
    text, after = "", False
    for char in _text(value):
        text += char if after else char.upper()
        after = bool(_WORD.match(char)) or (ord(char) > 127 and not char.isspace())
    return text


def match(pattern: Any, text: Any) -> bool:
    """Whether a regular expression is found in a text."""
    return compiled(_text(pattern)).search(_text(text)) is not None


def replace_all(pattern: Any, new: Any, text: Any) -> str:
    """Every match replaced; ``$1`` and ``${name}`` stand for groups."""
    fixed = re.sub(r"\$(?:\{(\w+)\}|(\w+))", r"\\g<\1\2>", _text(new).replace("\\", "\\\\"))
    try:
        return compiled(_text(pattern)).sub(fixed, _text(text))
    except (re.error, IndexError) as error:
        raise ValueError(f"{quoted(_text(new))} is not a replacement: {error}") from None


def strip_port(value: Any) -> str:
    """``host:9100`` is ``host``; what has no port stays as it is."""
    found = re.fullmatch(r"\[([^\[\]]*)\]:[^\[\]:]*|([^\[\]:]*):[^\[\]:]*", _text(value))
    return _text(value) if found is None else found[1] if found[1] is not None else found[2]


def strip_domain(value: Any) -> str:
    """``web1.example.com:80`` is ``web1:80``; an address stays as it is."""
    host = strip_port(value)
    rest = _text(value).removeprefix(host)
    if re.fullmatch(r"[\d.]+|.*[:\[\]].*", host):
        return _text(value)
    return host.partition(".")[0] + rest


def _comparable(a: Any, b: Any) -> None:
    kinds = [
        "bool" if isinstance(each, bool) else "number" if isinstance(each, int | float) else "text" for each in (a, b)
    ]
    if kinds[0] != kinds[1] or isinstance(a, Mapping) or isinstance(b, Mapping):
        raise ValueError(f"{plain(a)} and {plain(b)} can't be compared")


def equal(a: Any, *others: Any) -> bool:
    """Whether the first is equal to any of the others; what is absent is equal to nothing."""
    for b in others:
        if a is not None and b is not None:
            _comparable(a, b)
            if a == b:
                return True
    return False


def _ordered(holds: Callable[[Any, Any], bool]) -> Function:
    def compare(a: Any, b: Any) -> bool:
        if a is None or b is None:
            return False
        _comparable(a, b)
        if isinstance(a, bool):
            raise ValueError("true and false have no order")
        return holds(a, b)

    return Function(compare, 2, 2)


def index(found: Any, *keys: Any) -> Any:
    """``index $labels "site"``."""
    for key in keys:
        if not isinstance(found, Mapping):
            raise ValueError(f"{plain(found)} has no parts")
        found = found.get(_text(key), "")
    return found


def length(value: Any) -> int:
    """Of a text in bytes, as Go counts; of a mapping."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return len(value)
    raise ValueError(f"{plain(value)} has no length")


FUNCTIONS: dict[str, Function] = {
    "humanize": Function(_of_number(humanize)),
    "humanize1024": Function(_of_number(humanize1024)),
    "humanizeDuration": Function(_of_number(humanize_duration)),
    "humanizePercentage": Function(_of_number(humanize_percentage)),
    "humanizeTimestamp": Function(_of_number(humanize_timestamp)),
    "title": Function(title),
    "toUpper": Function(lambda value: _text(value).upper()),
    "toLower": Function(lambda value: _text(value).lower()),
    "match": Function(match, 2, 2, pattern=0),
    "reReplaceAll": Function(replace_all, 3, 3, pattern=0),
    "stripPort": Function(strip_port),
    "stripDomain": Function(strip_domain),
    "parseDuration": Function(lambda value: parse_duration(_text(value)) / 1e9),
    "safeHtml": Function(_text),
    "urlquery": Function(lambda *values: quote_plus(spaced(values, False)), 1, MANY),
    "printf": Function(lambda form, *values: printf(_text(form), *values), 1, MANY),
    "print": Function(lambda *values: spaced(values, False), 0, MANY),
    "println": Function(lambda *values: spaced(values, True) + "\n", 0, MANY),
    "len": Function(length),
    "index": Function(index, 2, MANY),
    "not": Function(lambda value: not truth(value)),
    "eq": Function(equal, 2, MANY),
    "ne": Function(lambda a, b: not equal(a, b), 2, 2),
    "lt": _ordered(lambda a, b: a < b),
    "le": _ordered(lambda a, b: a <= b),
    "gt": _ordered(lambda a, b: a > b),
    "ge": _ordered(lambda a, b: a >= b),
}
LAZY = {"and": True, "or": False}  # go on while the argument is so; the last one looked at is the result
_NO_SERIES = ("query", "first", "value", "label", "strvalue", "sortByLabel")
_NO_PAGE = ("graphLink", "tableLink", "pathPrefix", "externalURL")
NOT_HERE = {
    **dict.fromkeys(_NO_SERIES, "heed keeps no other series that a template could ask for"),
    **dict.fromkeys(_NO_PAGE, "heed has no page of that kind"),
}
