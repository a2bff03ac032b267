"""Matchers of labels in Alertmanager's syntax: ``severity="page"``, ``group=~"press.*"``, ``site!=berlin``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stream.rules.pattern import PatternError, compiled

Op = Literal["=", "!=", "=~", "!~"]
MOST = 50  # matchers of one route or silence
LONGEST = 1000  # characters of one value
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_NAME, _VALUE = rf'(?:{_QUOTED}|([^\s{{}}!=~,\\"\'`]+))', rf'(?:{_QUOTED}|((?![=~])[^"{{}},]*))'
_ONE = re.compile(rf"\s*{_NAME}\s*(=~|!~|!=|=)\s*{_VALUE}\s*", re.DOTALL)
_PLAIN_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ESCAPED = {"n": "\n", '"': '"', "\\": "\\"}


class MatcherError(ValueError):
    """A matcher that can't be read; the message says what is wrong with which."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """What one label has to be; a label that is not there is the empty string. Patterns fit the whole value."""

    name: str
    op: Op
    value: str
    _pattern: re.Pattern[str] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, name: str, op: Op, value: str) -> Matcher:
        """Raises MatcherError."""
        if not name or len(value) > LONGEST:
            raise MatcherError("a matcher needs a label's name, and a value of at most 1000 characters")
        if op in ("=", "!="):
            return cls(name, op, value)
        try:
            return cls(name, op, value, compiled(value))
        except PatternError as error:
            raise MatcherError(f"{name}{op}{quoted(value)}: {error}") from None

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert's labels are as asked."""
        text, op = labels.get(self.name, ""), self.op
        if self._pattern is None:
            return (text == self.value) == (op == "=")
        return (self._pattern.fullmatch(text) is not None) == (op == "=~")

    def __str__(self) -> str:
        name = self.name if _PLAIN_NAME.fullmatch(self.name) else quoted(self.name)
        return f"{name}{self.op}{quoted(self.value)}"

    def row(self) -> dict[str, Any]:
        """In the shape of Alertmanager's interface."""
        return {
            "name": self.name,
            "value": self.value,
            "isRegex": self.op in ("=~", "!~"),
            "isEqual": self.op in ("=", "=~"),
        }


def quoted(text: str) -> str:
    """In double quotes, with what would end them escaped."""
    inside = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{inside}"'


def read_matchers(texts: Iterable[str]) -> tuple[Matcher, ...]:
    """The matchers of some texts, each one matcher or several with commas between. Raises MatcherError."""
    found = tuple(matcher for text in texts for matcher in _of_text(text))
    if len(found) > MOST:
        raise MatcherError(f"{len(found)} matchers, at most {MOST} are allowed")
    return found


def _of_text(text: str) -> list[Matcher]:
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1].strip()
    found, at = [], 0
    while at < len(inner):
        part = _ONE.match(inner, at)
        if part is None or inner[part.end() : part.end() + 1] not in ("", ","):
            raise MatcherError(f'{text!r} is no matcher: write it like severity="page" or group=~"press.*"')
        found.append(_of_part(part))
        at = part.end() + 1
    if not found:
        raise MatcherError('an empty text is no matcher: write it like severity="page"')
    return found


def _of_part(part: re.Match[str]) -> Matcher:
    quoted_name, name, op, quoted_value, value = part.groups()
    name = name if quoted_name is None else _unescaped(quoted_name)
    value = value.strip() if quoted_value is None else _unescaped(quoted_value)
    return Matcher.of(name, op, value)  # type: ignore[arg-type]  # the pattern knows four


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPED.get(found[1], found[0]), text, flags=re.DOTALL)


def from_row(row: Any) -> Matcher:
    """A matcher in the shape of Alertmanager's interface. Raises MatcherError."""
    if not isinstance(row, Mapping) or not isinstance(row.get("name"), str) or not isinstance(row.get("value"), str):
        raise MatcherError('a matcher has a name and a value, like {"name": "severity", "value": "page"}')
    regex, equal = row.get("isRegex", False), row.get("isEqual", True)
    if not isinstance(regex, bool) or not isinstance(equal, bool):
        raise MatcherError("isRegex and isEqual of a matcher are true or false")
    ops: dict[tuple[bool, bool], Op] = {
        (False, True): "=",
        (False, False): "!=",
        (True, True): "=~",
        (True, False): "!~",
    }
    return Matcher.of(row["name"], ops[regex, equal], row["value"])


def all_hold(matchers: Sequence[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every matcher holds."""
    for matcher in matchers:  # noqa: SIM110 - a storm asks this of each alert, route and silence
        if not matcher.holds(labels):
            return False
    return True


def shown(matchers: Sequence[Matcher]) -> str:
    """``{severity="page",site="berlin"}``."""
    return "{" + ",".join(map(str, matchers)) + "}"
