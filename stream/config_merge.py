"""Configuration put together: variables filled in, later files over earlier ones, ``--set a.b=c`` over all."""

from __future__ import annotations

import re
from collections.abc import Mapping

from stream.config_text import ConfigError, Document, Mark, Place, Problem, Tree, parse, place_text

_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}|\$\{")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:-)(.*))?", re.DOTALL)
_PART = re.compile(r'\.?\["([^"]*)"\]|\.?"([^"]*)"|\[([0-9]{1,6})\]|\.?([^.\[\]"=]+)')


def fill(document: Document, variables: Mapping[str, str]) -> None:
    """Fill ``${NAME}`` and ``${NAME:-default}`` into text values; what isn't set is a problem. ``$${`` = ``${``.

    Only values that are text already: a variable can't add keys or lists, and stays text whatever it looks like.
    """
    for place, text in list(document.strings()):
        if "${" in text:
            document.written[place] = text
            _put(document.tree, place, _filled(document, place, text, variables))


def _filled(document: Document, place: Place, text: str, variables: Mapping[str, str]) -> str:
    def one(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        parts = _NAME.fullmatch(found[1] or "")
        if not parts:
            document.refuse(f"{found[0]} is not a variable: write ${{NAME}}, or $${{ for the text ${{", place)
            return ""
        return _value(document, place, parts, variables)

    return _VARIABLE.sub(one, text)


def _value(document: Document, place: Place, parts: re.Match[str], variables: Mapping[str, str]) -> str:
    name, has_default, default = parts.groups()
    if variables.get(name) or (name in variables and not has_default):
        return variables[name]
    if not has_default:
        said = f"the variable {name} is not set; set it, or give a default: ${{{name}:-...}}"
        document.refuse(said, place)
    return default or ""


def _put(tree: Tree, place: Place, value: Tree) -> None:
    for part in place[:-1]:
        tree = tree[part]  # type: ignore[index]  # the place comes from this very tree
    tree[place[-1]] = value  # type: ignore[index]


def merge(over: Document, base: Document) -> Document:
    """``over`` laid over ``base``: mappings key by key, anything else is replaced."""
    merged = Document(over.file, _laid(over.tree, base.tree))
    merged.values = {**base.values, **over.values}
    merged.keys = {**base.keys, **over.keys}
    merged.written = {p: t for p, t in base.written.items() if p not in over.values} | over.written
    merged.problems = [*base.problems, *over.problems]
    return merged


def _laid(over: Tree, base: Tree) -> Tree:
    if over is None and isinstance(base, dict):  # a file of comments changes nothing
        return base
    if not isinstance(over, dict) or not isinstance(base, dict):
        return over
    kept = dict(base)
    for key, value in over.items():
        kept[key] = _laid(value, base[key]) if key in base and value is not None else value
    return kept


def override(document: Document, setting: str) -> None:
    """Lay one ``a.b=c`` over a document; ``c`` is read as YAML, and as text where it isn't YAML."""
    mark = Mark(f"--set {setting}")
    path, equals, text = setting.partition("=")
    place = _parts(path)
    if not equals or not place:
        document.problems.append(Problem("expected key=value, like budget.latency=100ms", mark=mark))
        return
    override_value(document, place, _parsed(text), mark)


def _parsed(text: str) -> Tree:
    try:
        return parse(text, "--set").tree
    except ConfigError:
        return text


def _parts(path: str) -> Place:
    found: list[str | int] = []
    at = 0
    while at < len(path):
        part = _PART.match(path, at)
        if not part:
            return ()
        bracketed, quoted, index, bare = part.groups()
        found.append(int(index) if index is not None else next(t for t in (bracketed, quoted, bare) if t is not None))
        at = part.end()
    return tuple(found)


def dotted(path: str) -> Place:
    """The place a dotted path names; raises ConfigError where it names none."""
    place = _parts(path)
    if not place:
        raise ConfigError([Problem(f'"{path}" names no setting; write it like budget.latency')])
    return place


def override_value(document: Document, place: Place, value: Tree, mark: Mark) -> None:
    """Put ``value`` at ``place``, with the mappings on the way there."""
    if document.tree is None:
        document.tree = {}
    holder: Tree = document.tree
    for depth, part in enumerate(place):
        last = depth == len(place) - 1
        part = _index(holder, part)
        if not _fits(holder, part, last):
            said = f"there is no {place_text(place[: depth + 1])} to set"
            document.problems.append(Problem(said, mark=mark))
            return
        holder = _step(holder, part, value if last else None, last)
    _forget(document, place)
    document.values[place] = document.keys[place] = mark


def _index(holder: Tree, part: str | int) -> str | int:
    return int(part) if isinstance(holder, list) and isinstance(part, str) and part.isdecimal() else part


def _fits(holder: Tree, part: str | int, last: bool) -> bool:
    if isinstance(holder, list):
        return isinstance(part, int) and (part < len(holder) or (last and part == len(holder)))
    return isinstance(holder, dict) and isinstance(part, str)


def _step(holder: Tree, part: str | int, value: Tree, last: bool) -> Tree:
    if isinstance(holder, list) and isinstance(part, int):
        if last:
            holder[part : part + 1] = [value]
        elif holder[part] is None:
            holder[part] = {}
        return holder[part]
    if isinstance(holder, dict) and isinstance(part, str):
        if last:
            holder[part] = value
        elif holder.get(part) is None:
            holder[part] = {}
        return holder[part]
    raise TypeError("not a mapping or list")  # _fits has looked


def _forget(document: Document, place: Place) -> None:
    """Marks of what stood there before are no longer true."""
    for marks in (document.values, document.keys, document.written):
        for known in [p for p in marks if p[: len(place)] == place]:
            del marks[known]
