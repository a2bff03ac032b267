"""What a template is made of once it is read: closures over the labels, values and variables that it sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stream.rules.template_format import plain
from stream.rules.template_functions import truth


@dataclass(slots=True)
class Scope:
    """What a template sees while it is filled in: ``dot``, variables (the newest last), and what is written so far."""

    dot: Any
    variables: list[tuple[str, Any]]
    out: list[str] = field(default_factory=list)

    def variable(self, name: str) -> Any:
        for known, value in reversed(self.variables):
            if known == name:
                return value
        raise KeyError(name)  # never: the parser knows them all

    def assign(self, name: str, value: Any) -> None:
        i = next(i for i in reversed(range(len(self.variables))) if self.variables[i][0] == name)
        self.variables[i] = (name, value)


Run = Callable[[Scope], Any]


class Values(dict[str, Any]):
    """heed's own numbers and strings; what is absent is None."""


class Root(dict[str, Any]):
    """What ``.`` is outside of ``with``."""


def in_turn(steps: Sequence[Run]) -> Run:
    """One after the other."""

    def run(scope: Scope) -> None:
        for step in steps:
            step(scope)

    return run


def writer(text: str) -> Run:
    """Text as it stands."""
    return lambda scope: scope.out.append(text)


def shown(value: Run) -> Run:
    """What an action gives, printed."""
    return lambda scope: scope.out.append(plain(value(scope)))


def quiet(value: Run) -> Run:
    """An action that prints nothing."""

    def run(scope: Scope) -> None:
        value(scope)

    return run


def declare(name: str, value: Run) -> Run:
    """``$x := ...``: known to the end of its block."""

    def run(scope: Scope) -> Any:
        scope.variables.append((name, found := value(scope)))
        return found

    return run


def assign(name: str, value: Run) -> Run:
    """``$x = ...``."""

    def run(scope: Scope) -> Any:
        scope.assign(name, found := value(scope))
        return found

    return run


def lazy(runs: Sequence[Run], go_on: bool) -> Run:
    """``and`` and ``or``: arguments are looked at until one decides; that one is the result."""

    def run(scope: Scope) -> Any:
        value = None
        for each in runs:
            value = each(scope)
            if truth(value) != go_on:
                break
        return value

    return run


def choice(test: Run, yes: Run, no: Run, sets_dot: bool) -> Run:
    """``if`` and ``with``; the latter makes the value the dot."""

    def run(scope: Scope) -> None:
        known, dot = len(scope.variables), scope.dot
        value = test(scope)
        if truth(value) and sets_dot:
            scope.dot = value
        (yes if truth(value) else no)(scope)
        scope.dot = dot
        del scope.variables[known:]

    return run
