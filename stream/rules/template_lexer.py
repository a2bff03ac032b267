"""A template cut into text and the signs inside its actions, with places for errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stream.rules.source import ExpressionError

MOST_LETTERS = 10_000
_SPACE = " \t\r\n"
_SIGN = re.compile(
    r"""(?P<space>[ \t\r\n]+)|(?P<text>"(?:[^"\\\n]|\\.)*"|`[^`]*`)|(?P<char>'(?:[^'\\\n]|\\.[^'\n]*)')"""
    r"""|(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))"""
    r"""|(?P<field>\.[A-Za-z_]\w*)|(?P<dot>\.)|(?P<variable>\$\w*)|(?P<word>[A-Za-z_]\w*)|(?P<mark>:=|[=|(),])"""
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_SAME = "\\\"'"


class TemplateError(ExpressionError):
    """A template can't be used, or not be filled in: what is wrong and where."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A piece of an action. ``glued``: it follows the one before without a space."""

    kind: str
    text: str
    at: int
    glued: bool


@dataclass(frozen=True, slots=True)
class Action:
    """What stands between ``{{`` and ``}}``, or text between two actions (``signs`` is None then)."""

    at: int
    text: str = ""
    signs: tuple[Sign, ...] | None = None


def error_at(text: str, at: int, message: str, hint: str = "", width: int = 1) -> TemplateError:
    """An error that points at a place of the template."""
    before = text[:at]
    return TemplateError(message, before.count("\n") + 1, at - before.rfind("\n"), text, width, hint)


def cut(text: str) -> Iterator[Action]:
    """Text and actions in their order; raises TemplateError. ``{{-`` and ``-}}`` have trimmed the text already."""
    if len(text) > MOST_LETTERS:
        raise error_at(text, 0, f"a template of {len(text):,} characters is too long, at most {MOST_LETTERS:,}")
    at, trim = 0, False
    while True:
        start = text.find("{{", at)
        piece = text[at:] if start < 0 else text[at:start]
        inside = start + 2
        trims = start >= 0 and text[inside : inside + 1] == "-" and text[inside + 1 : inside + 2] in (*_SPACE,)
        piece = piece.lstrip(_SPACE) if trim else piece
        piece = piece.rstrip(_SPACE) if trims else piece
        if piece:
            yield Action(at, piece)
        if start < 0:
            return
        inside += 2 if trims else 0
        signs, at, trim = _comment(text, start, inside) or _action(text, start, inside)
        if signs is not None:
            yield Action(start, text[start:at], signs)


def _comment(text: str, start: int, at: int) -> tuple[None, int, bool] | None:
    if not text.startswith("/*", at):
        return None
    end = text.find("*/", at)
    if end < 0:
        raise error_at(text, start, "this comment is never closed", "it ends with */}}")
    found = re.compile(r"\}\}|\s-\}\}").match(text, end + 2)
    if found is None:
        raise error_at(text, end, "a comment has an action of its own", "write {{/* like this */}}", 2)
    return None, found.end(), len(found[0]) > 2


def _action(text: str, start: int, at: int) -> tuple[tuple[Sign, ...], int, bool]:
    signs: list[Sign] = []
    glued = False
    while True:
        if text.startswith("}}", at):
            return tuple(signs), at + 2, False
        if text.startswith("-}}", at) and text[at - 1] in _SPACE:
            return tuple(signs), at + 3, True
        found = _SIGN.match(text, at)
        if found is None:
            raise _unreadable(text, start, at)
        if found.lastgroup != "space":
            signs.append(Sign(str(found.lastgroup), found[0], at, glued))
        glued = found.lastgroup != "space"
        at = found.end()


def _unreadable(text: str, start: int, at: int) -> TemplateError:
    if at >= len(text):
        return error_at(text, start, "this action is never closed", "it ends with }}", 2)
    if text[at] in "\"'`":
        return error_at(text, at, "this text is never closed")
    if text[at] in "{}":
        return error_at(text, at, f"`{text[at]}` has no meaning inside an action", "an action ends with }}")
    return error_at(text, at, f"`{text[at]}` has no meaning inside an action")


def unquoted(sign: Sign, text: str) -> str:
    """What a text in quotes says."""
    if sign.text[0] == "`":
        return sign.text[1:-1]
    return _ESCAPE.sub(lambda found: _unescaped(found, sign, text), sign.text[1:-1])


def _unescaped(found: re.Match[str], sign: Sign, text: str) -> str:
    code = found[1]
    if code in _LETTERS:
        return _LETTERS[code]
    if code in _SAME and not (code == "'" and sign.text[0] == '"'):
        return code
    if len(code) > 1:
        value = int(code, 8) if code[0] in "01234567" else int(code[1:], 16)
        if value < 0x110000 and not 0xD800 <= value < 0xE000:
            return chr(value)
    raise error_at(text, sign.at + 1 + found.start(), f"`{found[0]}` is not an escape", "write \\\\ for a backslash")
