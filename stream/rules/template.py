"""Texts of annotations and labels, in the language of Prometheus' templates: ``{{ $labels.site | toUpper }}``.

What can't be filled in is said in the text, as Prometheus says it, so that a slip in a template never loses an alert.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from stream.rules.template_format import MOST_LETTERS, cleaned
from stream.rules.template_lexer import TemplateError
from stream.rules.template_parser import VARIABLES, Parser
from stream.rules.template_scope import Root, Run, Scope, Values

__all__ = ["TemplateError", "check_template", "render"]


def check_template(text: str) -> None:
    """Raises TemplateError, with line, column and a caret, where the text is no template."""
    if "{{" in text:
        _compiled(text)


@lru_cache(maxsize=4096)
def _compiled(text: str) -> Run:
    return Parser(text).template()


def render(text: str, labels: Mapping[str, str], values: Mapping[str, float | str | None]) -> str:
    """The text filled in; ``<error expanding template: ...>`` where that fails."""
    if "{{" not in text:
        return text
    try:
        return _filled(_compiled(text), labels, values)
    except TemplateError as error:
        return f"<error expanding template: line {error.line}, column {error.column}: {error.said}>"


def _filled(template: Run, labels: Mapping[str, str], values: Mapping[str, float | str | None]) -> str:
    value = cleaned(values.get("value"))
    root = Root(Labels=labels, Values=Values(values), Value=value, ExternalLabels={}, ExternalURL="")
    known: tuple[Any, ...] = (root, labels, root["Values"], value, {}, "")
    scope = Scope(root, list(zip(VARIABLES, known, strict=True)))
    template(scope)
    return "".join(scope.out)[:MOST_LETTERS]
