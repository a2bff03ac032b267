"""Regular expressions that users may write: compiled once, refused where matching could take for ever.

The check is coarse on purpose: Python's engine backtracks, and names are short, so a bound on how many parts can
vary is enough. It refuses a few harmless patterns, such as ``(a|b)+``, with a message that says why.
"""

from __future__ import annotations

import re

LONGEST = 200  # characters
UNBOUNDED = 4  # parts that repeat, such as .* (each multiplies the work by the length of the name)
VARYING = 10  # parts that may repeat or be left out (each at least doubles the work)
_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?(?:P<\w+>|[a-zA-Z-]*:|[=!]|<[=!]|P=|>|#))?|\)|\||[*+?]|\{\d*,?\d*\}|.",
    re.DOTALL,
)


class PatternError(ValueError):
    """A regular expression that is wrong, or that could take for ever; the message says which."""


def compiled(text: str) -> re.Pattern[str]:
    """The pattern, or PatternError."""
    if len(text) > LONGEST:
        raise PatternError(f"the pattern has {len(text)} characters, at most {LONGEST} are allowed")
    if any(ord(char) < 32 for char in text):
        raise PatternError('the pattern holds a control character; write it as r"..." so that \\b stays \\b')
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError(f"the pattern is not a regular expression: {error}") from None
    _refuse_explosive(text)
    return pattern


def _refuse_explosive(text: str) -> None:
    varying = unbounded = 0
    groups = [False]  # for each open bracket: does it hold something that varies?
    closed = False  # what the last bracket that closed just now held
    for token in _TOKEN.findall(text):
        repeats = token in "*+" or (token[0] == "{" and len(token) > 2)
        if repeats or token == "?":
            if closed and token != "?":
                raise PatternError("a repeated group must not hold repeats or alternatives: that can take for ever")
            varying += 1
            unbounded += repeats
            groups[-1] = True
        closed = _bracket(token, groups)
    if unbounded > UNBOUNDED or varying > VARYING:
        raise PatternError(f"at most {UNBOUNDED} repeats and {VARYING} varying parts are allowed in a pattern")


def _bracket(token: str, groups: list[bool]) -> bool:
    """Follow brackets; true where one closed that held something that varies."""
    if token == "|":
        groups[-1] = True
    elif token[0] == "(":
        groups.append(False)
    elif token == ")" and len(groups) > 1:
        held = groups.pop()
        groups[-1] |= held
        return held
    return False
