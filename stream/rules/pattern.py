"""Regular expressions that users may write: compiled once, refused where matching could take for ever.

The check is coarse on purpose: Python's engine backtracks, so it bounds in how many ways the parts of a pattern can
share a text of ordinary length. It refuses a few harmless patterns, such as ``(a|b)+``, and says why. Longer texts are
not looked at (``longest_text``).
"""

from __future__ import annotations

import re
import warnings
from math import factorial, prod

LONGEST = 200  # characters
REPEAT = 60  # ways that a part such as .* or {2,5} adds
MAYBE = 4  # ways that a ? adds
MOST_WAYS = REPEAT**4
MOST_TRIES = 10_000_000  # places at which the repeats of a pattern may share a text
UNBOUNDED = 100_000  # characters
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # "[[a]" may mean something else one day
            pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError(f"the pattern is not a regular expression: {error}") from None
    _refuse_explosive(text)
    return pattern


def longest_text(text: str) -> int:
    """How many characters a text may have for the pattern ``text`` to answer within a fraction of a second."""
    repeats = sum(token != "?" for token in _varying(text))
    if not repeats:
        return UNBOUNDED
    other = _ways(text) / REPEAT**repeats
    return min(UNBOUNDED, int((MOST_TRIES * factorial(repeats) / other) ** (1 / repeats)))


def _ways(text: str) -> int:
    ways = [MAYBE if token == "?" else REPEAT for token in _varying(text)]
    return prod([*ways, *(2 * alternatives for alternatives in _alternatives(text))])


def _refuse_explosive(text: str) -> None:
    if _ways(text) > MOST_WAYS:
        raise PatternError("the pattern has too many parts that repeat, may be left out, or have alternatives")


def _repeats(token: str) -> bool:
    return token in "*+" or (token[0] == "{" and len(token) > 2)


def _varying(text: str) -> list[str]:
    """The signs that let a part repeat or be left out; PatternError where one repeats a group that varies itself."""
    found: list[str] = []
    open_at = [0]  # for each open bracket: how much was found before it
    closed = False  # a bracket has just closed that held something that varies
    for token in _TOKEN.findall(text):
        if closed and _repeats(token):
            raise PatternError("a repeated group must not hold repeats or alternatives: that can take for ever")
        closed = False
        if token == "?" or token == "|" or _repeats(token):
            found.append(token)
        elif token[0] == "(":
            open_at.append(len(found))
        elif token == ")" and len(open_at) > 1:
            closed = len(found) > open_at.pop()
    return [token for token in found if token != "|"]


def _alternatives(text: str) -> list[int]:
    """How many alternatives each group has that has several; the whole pattern is a group too."""
    open_bars, done = [0], []
    for token in _TOKEN.findall(text):
        if token[0] == "(":
            open_bars.append(0)
        elif token == "|":
            open_bars[-1] += 1
        elif token == ")" and len(open_bars) > 1:
            done.append(open_bars.pop())
    return [bars + 1 for bars in [*open_bars, *done] if bars]
