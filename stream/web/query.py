"""What a request asks for: known parameters, read strictly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

MOST = 10_000  # rows that one answer may hold
Read = Callable[[str], Any]


class QueryError(ValueError):
    """A parameter that is unknown, given twice, or holds what can't be read; the message says which."""


def asked(given: Iterable[tuple[str, str]], known: Mapping[str, Read]) -> dict[str, Any]:
    """The parameters of a request, each read by its own function of ``known``. Raises QueryError."""
    found: dict[str, Any] = {}
    for name, text in given:
        if name not in known:
            raise QueryError(f"unknown parameter {_shown(name)}; {_offer(list(known))}")
        if name in found:
            raise QueryError(f"parameter {name} is given more than once")
        found[name] = _value(name, text, known[name])
    return found


def _value(name: str, text: str, read: Read) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise QueryError(f"parameter {name}: expected {error}, found {_shown(text)}") from error


def _offer(known: Sequence[str]) -> str:
    return f"known here: {', '.join(known)}" if known else "none is known here"


def _shown(text: str) -> str:
    return f'"{text if len(text) <= 80 else text[:77] + "..."}"'


def rows(text: str) -> int:
    """A number of rows."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MOST):
        raise ValueError(f"a whole number from 1 to {MOST}")
    return int(text)


def one_of(*choices: str) -> Read:
    """One of a few words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text

    return read


def yes_or_no(text: str) -> bool:
    """``true`` or ``false``."""
    return bool(one_of("true", "false")(text) == "true")
