"""The kinds of values settings hold (durations, sizes, globs, templates, ...) and how each is read and shown."""

from __future__ import annotations

import re
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from connectors.formats.fieldpath import path, template
from stream.durations import LONGEST, format_duration, parse_duration

_BARE = re.compile(r"\s*[0-9.]*\s*")
_SIZE = re.compile(r"\s*([0-9]{1,19}(?:\.[0-9]{1,6})?)\s*(B|[kMGT]B|[KMGT]iB)?\s*", re.ASCII)
_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/]*):([0-9]{1,5})")
_URL = re.compile(r"https?://[^\s/?#]+[^\s]*")


class Section(BaseModel):
    """A mapping of the configuration: frozen, and a key it doesn't know is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )


def by_default(text: str) -> Any:
    """A default as people write it, for a field that is a number of nanoseconds or bytes."""
    return Field(text)


def expected(what: str) -> PydanticCustomError:
    """A value of the wrong kind; the message goes on with what was found instead."""
    return PydanticCustomError("expected", "{what}", {"what": what})


def refused(why: str, *place: str | int) -> PydanticCustomError:
    """Values that are right each and wrong together, or for a reason to be told; ``place`` is inside the section."""
    return PydanticCustomError("refused", "{why}", {"why": why, "place": place})


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise expected(what)
    return value


def _duration(least: int) -> Any:
    what = "a duration like 250ms, 30s, 5m or 1h30m"

    def read(value: object, info: ValidationInfo) -> int:
        if type(value) is int and info.context is None:  # made in Python, in nanoseconds
            return value
        text = _text(value, what)
        if _BARE.fullmatch(text):
            raise expected(what)
        return _checked(text, least, what)

    return read


def _checked(text: str, least: int, what: str) -> int:
    try:
        ns = parse_duration(text)
    except ValueError:
        raise expected(what) from None
    if not least <= ns <= LONGEST // 16:  # room for sums and multiples in an int64
        raise expected("a duration longer than 0s and shorter than 18 years")
    return ns


def _written(pattern: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)})


_DURATION_PATTERN = r"^\s*([0-9]+(\.[0-9]+)?\s*(ns|us|µs|ms|s|m|h|d|w)\s*)+$"
_as_duration = PlainSerializer(format_duration, return_type=str, when_used="json")
_duration_schema = _written(_DURATION_PATTERN, "250ms", "30s", "5m", "1h30m", "2d")

Duration = Annotated[int, BeforeValidator(_duration(1)), _as_duration, _duration_schema]  # ns, above 0
DurationOrZero = Annotated[int, BeforeValidator(_duration(0)), _as_duration, _duration_schema]  # ns


def _size(value: object) -> int:
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    size = value if type(value) is int else _bytes(*found.groups()) if found else 0
    if not 0 < size <= LONGEST:
        raise expected("a size like 1MiB, 4GiB or 500kB")
    return size


def _bytes(number: str, unit: str | None) -> int:
    scale = _UNITS[unit or "B"]
    return int(number) * scale if number.isdigit() else round(float(number) * scale)


def parse_size(text: str) -> int:
    """Bytes in ``text``, like 100MB; raises ValueError."""
    return _size(text)


def format_size(size: int) -> str:
    """The text that reads back as ``size`` bytes: ``1MiB``, ``500kB``, ``1234B``."""
    unit = max((u for u in _UNITS if size % _UNITS[u] == 0), key=lambda u: _UNITS[u])
    return f"{size // _UNITS[unit]}{unit}"


Size = Annotated[
    int,
    BeforeValidator(_size),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["1MiB", "4GiB", "500kB"]}),
]  # bytes


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise expected("a number")
    return value


Whole = Annotated[int, BeforeValidator(_not_bool)]
Number = Annotated[float, BeforeValidator(_not_bool)]
Share = Annotated[Number, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


_one_or_many = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})

TextOrList = Annotated[tuple[Text, ...], BeforeValidator(_listed), Field(min_length=1), _one_or_many]


def _template(text: str) -> str:
    try:
        template(text, {})
    except ValueError:
        raise expected('a field like machine.id, or a template like "{machine}/{sensor}"') from None
    return text


Template = Annotated[Text, AfterValidator(_template)]


def _field_path(text: str) -> str:
    try:
        path(text)
    except ValueError:
        raise expected("the path of a field, like ts or payload.time") from None
    return text


FieldPath = Annotated[Text, AfterValidator(_field_path)]
FieldPaths = Annotated[tuple[FieldPath, ...], BeforeValidator(_listed), Field(min_length=1), _one_or_many]


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise refused(f"is not a regular expression: {error}") from None
    return text


Regex = Annotated[Text, AfterValidator(_regex)]


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise expected("a time zone like Europe/Berlin or UTC") from None
    return text


Zone = Annotated[Text, AfterValidator(_zone)]


def _address(text: str) -> str:
    found = _ADDRESS.fullmatch(text)
    if text != "none" and not (found and int(found[2]) < 65536):
        raise expected("an address like 127.0.0.1:8321, or none")
    return text


Address = Annotated[Text, AfterValidator(_address)]


def split_address(address: str) -> tuple[str, int]:
    """Host (empty = every interface) and port of an ``Address`` that is not ``none``."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _url(text: str) -> str:
    if not _URL.fullmatch(text):
        raise expected("a URL like http://127.0.0.1:9093")
    return text


Url = Annotated[Text, AfterValidator(_url)]
UrlOrList = Annotated[tuple[Url, ...], BeforeValidator(_listed), Field(min_length=1), _one_or_many]
