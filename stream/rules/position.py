"""Where in a rule file a place of an expression stands, whatever way YAML writes the text."""

from __future__ import annotations

from stream.config_text import Mark


def in_file(text: str, mark: Mark | None, line: int, column: int) -> Mark | None:
    """The place in the file of ``line`` and ``column`` of a text whose YAML value begins at ``mark``.

    Exact for text on one line and for ``|`` blocks; where YAML folds lines, the place where the text begins.
    """
    if mark is None or not mark.line:
        return mark
    lines = text.split("\n")
    first = lines[mark.line - 1][mark.column - 1 :] if mark.line <= len(lines) else ""
    if first[:1] == "|":
        return _in_block(lines, mark, line, column)
    if line > 1 or first[:1] == ">":
        return mark
    return Mark(mark.file, mark.line, mark.column + column - 1 + (first[:1] in ("'", '"')))


def _in_block(lines: list[str], mark: Mark, line: int, column: int) -> Mark:
    """The lines of a block follow its ``|``, indented like the first one that isn't blank."""
    block = lines[mark.line :]
    indent = next((len(each) - len(each.lstrip(" ")) for each in block if each.strip()), 0)
    return Mark(mark.file, mark.line + line, indent + column)
