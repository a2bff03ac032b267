"""Configuration text: YAML read with the line and column of every key and value, and the errors that cite them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

MOST_BYTES = 1 << 20  # of one file
MOST_VALUES = 100_000  # of one file, with its anchors expanded
MOST_LEVELS = 50
MOST_PROBLEMS = 50  # told at once

Scalar = str | int | float | bool | None
Tree = Scalar | list["Tree"] | dict[str, "Tree"]
Place = tuple[str | int, ...]  # the way to a value: ("sources", 0, "topics")

_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")  # no leading zeros: 007 is a name, a code or a password
_NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Scalar] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan"),
}  # fmt: skip
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a text; lines and columns count from 1, line 0 = the text as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where, and what would be right."""

    message: str
    place: Place = ()
    mark: Mark | None = None

    def __str__(self) -> str:
        parts = [str(self.mark or ""), place_text(self.place), self.message]
        return ": ".join(part for part in parts if part)


class ConfigError(Exception):
    """A configuration can't be used: every problem that was found, one a line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.mark or Mark(""))
        super().__init__(self.problems)

    @classmethod
    def of(cls, message: str) -> ConfigError:
        """One problem that stands in no file."""
        return cls([Problem(message)])

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:MOST_PROBLEMS]]
        more = len(self.problems) - len(lines)
        return "\n".join([*lines, f"and {more} more problems"] if more else lines)


@dataclass(slots=True)
class Document:
    """A tree of plain values, and where each key and value stands."""

    file: str
    tree: Tree = None
    values: dict[Place, Mark] = field(default_factory=dict)
    keys: dict[Place, Mark] = field(default_factory=dict)
    written: dict[Place, str] = field(default_factory=dict)  # text as it stood before variables were filled in
    problems: list[Problem] = field(default_factory=list)

    def mark(self, place: Place, *, key: bool = False) -> Mark | None:
        """Where a value (or its key) stands, or the nearest thing that holds it."""
        if key and place in self.keys:
            return self.keys[place]
        while place and place not in self.values:
            place = place[:-1]
        return self.values.get(place)

    def refuse(self, message: str, place: Place, *, key: bool = False) -> None:
        """Note a problem; reading goes on, so that all problems are told at once."""
        self.problems.append(Problem(message, place, self.mark(place, key=key)))

    def strings(self) -> Iterator[tuple[Place, str]]:
        """Every text value and its place."""
        yield from _strings(self.tree, ())


def _strings(tree: Tree, place: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(tree, str):
        yield place, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _strings(value, (*place, key))
    elif isinstance(tree, list):
        for i, value in enumerate(tree):
            yield from _strings(value, (*place, i))


def place_text(place: Place) -> str:
    """``sources[0].client["group.id"]``."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


def read_file(path: Path) -> Document:
    """The document in a file; raises ConfigError where it can't be read or isn't YAML."""
    return parse(_text(path), str(path))


def _text(path: Path) -> str:
    mark = Mark(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ConfigError([Problem("is larger than 1 MiB: is this a configuration?", mark=mark)])
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError([Problem("there is no such file", mark=mark)]) from None
    except UnicodeDecodeError as error:
        at = Mark(str(path), data.count(b"\n", 0, error.start) + 1, 1)
        raise ConfigError([Problem("is not UTF-8 text", mark=at)]) from None
    except OSError as error:
        raise ConfigError([Problem(f"can't be read: {error.strerror}", mark=mark)]) from None


def parse(text: str, file: str) -> Document:
    """The document in a YAML text (YAML 1.2's plain scalars); raises ConfigError where it isn't YAML.

    Duplicate keys, tags and keys that are not text are noted in ``problems``.
    """
    document = Document(file)
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
        if node is not None:
            document.tree = _Reader(document).read(node, ())
    except RecursionError:
        raise ConfigError([_too_deep(document)]) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ConfigError([_syntax(error, text, file)]) from None
    return document


class _Reader:
    """Turns YAML nodes into plain values, and notes where they stand."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._left = MOST_VALUES

    def read(self, node: yaml.Node, place: Place) -> Tree:
        self._guard(place)
        self._document.values[place] = self._mark(node)
        if node.tag not in _TAGS:
            self._document.refuse(f"tags like {node.tag} have no meaning here", place)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(child, (*place, i)) for i, child in enumerate(node.value)]
        return self._scalar(node, place)

    def _guard(self, place: Place) -> None:
        self._left -= 1
        if self._left < 0:
            said = f"holds more than {MOST_VALUES:,} values, counting what anchors repeat"
            raise ConfigError([Problem(said, mark=Mark(self._document.file))])
        if len(place) > MOST_LEVELS:
            raise ConfigError([_too_deep(self._document)])

    def _mark(self, node: yaml.Node) -> Mark:
        return Mark(self._document.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> Tree:
        found: dict[str, Tree] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, place)
            at = (*place, key or "")
            if key is None:
                self._document.problems.append(Problem("a key must be text", place, self._mark(key_node)))
            elif key in found:
                said = f'duplicate key "{key}", first on line {self._document.keys[at].line}'
                self._document.problems.append(Problem(said, at, self._mark(key_node)))
            else:
                self._document.keys[at] = self._mark(key_node)
                found[key] = self.read(value_node, at)
        return self._merged(found, place) if "<<" in found else found

    def _key(self, node: yaml.Node, place: Place) -> str | None:
        return self._whole_text(str(node.value), place) if isinstance(node, yaml.ScalarNode) else None

    def _merged(self, found: dict[str, Tree], place: Place) -> Tree:
        """``<<: *defaults``: the keys of other mappings, where the mapping itself doesn't have them."""
        others = found.pop("<<")
        for other in others if isinstance(others, list) else [others]:
            if not isinstance(other, dict):
                self._document.refuse("<< takes a mapping or a list of mappings, like <<: *defaults", place)
                continue
            found = {**copy.deepcopy(other), **found}
        return found

    def _scalar(self, node: yaml.Node, place: Place) -> Scalar:
        text = self._whole_text(str(node.value), place)
        return text if getattr(node, "style", None) is not None else plain(text)

    def _whole_text(self, text: str, place: Place) -> str:
        if not _LONE_SURROGATE.search(text):
            return text
        self._document.refuse("holds half a character (a lone surrogate)", place)
        return _LONE_SURROGATE.sub("?", text)


def plain(text: str) -> Scalar:
    """What an unquoted scalar means: YAML 1.2's null, booleans and numbers, otherwise text (so is ``no``)."""
    if text in _WORDS:
        return _WORDS[text]
    try:
        if _WHOLE.fullmatch(text):
            return int(text)
        return float(text) if _NUMBER.fullmatch(text) else text
    except ValueError:  # thousands of digits
        return text


def _too_deep(document: Document) -> Problem:
    return Problem(f"is nested deeper than {MOST_LEVELS} levels", mark=Mark(document.file))


def _syntax(error: Exception, text: str, file: str) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        mark = Mark(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        return Problem(f"character {error.character!r} is not allowed in YAML", mark=mark)
    at = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if at is None:
        return Problem(f"is not YAML: {error}", mark=Mark(file))
    mark = Mark(file, at.line + 1, at.column + 1)
    return Problem(_syntax_said(str(getattr(error, "problem", error)), error, text, at.line), mark=mark)


def _syntax_said(problem: str, error: Exception, text: str, line: int) -> str:
    if "'\\t'" in problem:
        return "YAML is not indented by tabs: use spaces"
    if "but found another document" in problem:
        return "holds a second document: only one --- a file"
    if "${" in _line(text, line) and "expected ',' or" in problem:
        return 'is not YAML: inside { } and [ ] put quotes round a variable, "${NAME}"'
    context = getattr(error, "context", None)
    return f"is not YAML: {problem}" + (f", {context}" if context else "")


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number] if number < len(lines) else ""
