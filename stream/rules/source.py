"""The text of an expression, parsed within limits, and errors that point into it."""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Iterable, Iterator

MOST_CHARACTERS = 10_000
MOST_DEPTH = 50
MOST_NODES = 500
_OPENING = {"(": ")", "[": "]", "{": "}"}
_HABITS = (
    ("&&", "write `and`"),
    ("||", "write `or`"),
    ("=~", 'write `matches(stream, "...")`'),
    ("!~", 'write `not matches(stream, "...")`'),
    ("<>", "write `!=`"),
    (" AND ", "write `and`"),
    (" OR ", "write `or`"),
    ("NOT ", "write `not`"),
    ("!", "write `not`"),
    (":=", "write `==` to compare"),
    ("=", "write `==` to compare"),
)


class ExpressionError(ValueError):
    """An expression can't be used: what is wrong, where (line and column count from 1), and what may be meant."""

    def __init__(self, message: str, line: int, column: int, text: str, width: int = 1, hint: str = "") -> None:
        self.message, self.hint = message, hint
        self.line, self.column = line, column
        self.caret = _caret(text, line, column, width)
        super().__init__(message)

    @property
    def said(self) -> str:
        """The message with its hint, without the caret."""
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.said}\n{self.caret}"


def _caret(text: str, line: int, column: int, width: int) -> str:
    """The line of the text, and below it a mark under what is wrong; long lines are cut around it."""
    lines = text.split("\n")
    shown = lines[line - 1] if line <= len(lines) else ""
    start = max(0, column - 61)
    width = max(1, min(width, len(shown) - column + 1, 60))
    return f"  {shown[start : start + 120]}\n  {' ' * (column - 1 - start)}{'^' * width}"


class Source:
    """The text of one expression and its syntax tree. Line breaks and comments may stand anywhere."""

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > MOST_CHARACTERS:
            said = f"an expression of {len(text):,} characters is too long, at most {MOST_CHARACTERS:,} are allowed"
            raise ExpressionError(said, 1, 1, text[:200])
        self._check_brackets()
        self._lines = ("(" + text + "\n)").split("\n")
        self.tree = self._parsed()
        self._check_size()

    def _check_brackets(self) -> None:
        """Before Python's parser sees them: it gets slow, or worse, on thousands of nested brackets."""
        open_at: list[int] = []
        for at, char in _outside_strings(self.text):
            if char in _OPENING:
                open_at.append(at)
                if len(open_at) > MOST_DEPTH:
                    raise self._at(at, f"nested deeper than {MOST_DEPTH} levels")
            elif char in _OPENING.values() and (not open_at or _OPENING[self.text[open_at.pop()]] != char):
                raise self._at(at, f"`{char}` has no opening bracket")
        if open_at:
            raise self._at(open_at[-1], f"`{self.text[open_at[-1]]}` is never closed")

    def _parsed(self) -> ast.expr:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "\d" in a pattern is meant as it stands
                tree = ast.parse("\n".join(self._lines), mode="eval").body
        except SyntaxError as error:
            raise self._syntax(error) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise self._at(0, f"this can't be read: {str(error) or 'nested too deeply'}") from None
        if isinstance(tree, ast.Tuple) and not tree.elts:
            raise self._at(0, "the expression is empty", 'write a condition, like "score > 1"')
        return tree

    def _syntax(self, error: SyntaxError) -> ExpressionError:
        line, column = error.lineno or 1, error.offset or 1
        at = self._index(line, column - 1)
        end = self._index(error.end_lineno or line, (error.end_offset or column) - 1)
        said = (error.msg or "invalid syntax").split(". ")[0].split("; use sys")[0]
        return self._at(at, f"this is not an expression: {said}", self._habit(at, end), end - at)

    def _habit(self, at: int, end: int) -> str:
        """What someone may have meant who is used to another language."""
        near = self.text[max(0, at - 1) : max(end, at + 10) + 2]
        return next((hint for sign, hint in _HABITS if sign in near), "")

    def _check_size(self) -> None:
        nodes, level = 0, [self.tree]
        for _depth in range(MOST_DEPTH + 1):
            nodes += len(level)
            if nodes > MOST_NODES:
                raise self.error(self.tree, f"an expression of more than {MOST_NODES} parts is too large")
            level = [child for node in level for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
            if not level:
                return
        raise self.error(level[0], f"nested deeper than {MOST_DEPTH} levels")

    def error(self, node: ast.expr, message: str, hint: str = "") -> ExpressionError:
        """An error that points at a part of the expression."""
        start = self._index(node.lineno, self._characters(node.lineno, node.col_offset))
        end_line, end_offset = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset + 1
        end = self._index(end_line, self._characters(end_line, end_offset))
        return self._at(start, message, hint, end - start)

    def _characters(self, line: int, offset: int) -> int:
        """The syntax tree counts in bytes of UTF-8."""
        return len(self._lines[line - 1].encode("utf-8", "surrogatepass")[:offset].decode("utf-8", "ignore"))

    def _index(self, line: int, column: int) -> int:
        """The place in ``text`` of a place in the parsed text, which has one bracket before it."""
        before = sum(len(each) + 1 for each in self._lines[: line - 1])
        return max(0, min(before + column - 1, len(self.text)))

    def _at(self, index: int, message: str, hint: str = "", width: int = 1) -> ExpressionError:
        before = self.text[:index]
        line = before.count("\n") + 1
        return ExpressionError(message, line, index - before.rfind("\n"), self.text, width, hint)

    def quoted(self, node: ast.expr) -> str:
        """The text of a part, for messages."""
        text = " ".join(ast.unparse(node).split())
        return f"`{text}`" if len(text) <= 40 else f"`{text[:37]}...`"


def _outside_strings(text: str) -> Iterator[tuple[int, str]]:
    """The characters of an expression that stand neither in a string nor in a comment."""
    at, quote = 0, ""
    while at < len(text):
        char = text[at]
        if quote:
            at += 1 if char == "\\" else 0
            quote = "" if char == quote or (char == "\n") else quote
        elif char in "'\"":
            quote = char
        elif char == "#":
            at = text.find("\n", at) if "\n" in text[at:] else len(text)
        else:
            yield at, char
        at += 1


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint where ``word`` looks like one of the known ones."""
    near = difflib.get_close_matches(word.lower(), sorted(known), 1, 0.6)
    return f"did you mean `{near[0]}`?" if near else ""
