"""Numbers and texts as Go's fmt writes them: ``%v`` and ``printf``, as templates in Prometheus' files expect."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

ABSENT = "unknown"  # how a value that is not there is shown, whatever the verb
MOST_LETTERS = 65_536  # of one printed text
_FLOAT = struct.Struct("f")
_WIDEST = 1_000  # letters that a width or a precision may ask for
_VERB = re.compile(r"%([-+# 0]*)(\d*)(?:(\.)(\d*))?(.)?", re.DOTALL)
_ESCAPES = {
    '"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f",
    "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
}  # fmt: skip
_WHOLE, _FLOATING = "bcdoOqxXU", "eEfFgGxX"


class FormatError(ValueError):
    """Something can't be printed as asked."""


def cleaned(value: float | str | None) -> float | str | None:
    """Readings are kept in 32 bits: the shortest number that means the same there, so that 91.1 stays 91.1."""
    if not isinstance(value, float) or _in_32_bits(value) != value:
        return value
    tries = (float(f"{value:.{digits}g}") for digits in (6, 7, 8, 9))
    return next((number for number in tries if _in_32_bits(number) == value), value)


def _in_32_bits(number: float) -> float | None:
    try:
        found: float = _FLOAT.unpack(_FLOAT.pack(number))[0]
    except OverflowError:
        return None
    return found


def plain(value: Any) -> str:
    """A value as ``%v`` shows it."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return shortest(value)
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{plain(value[key])}" for key in sorted(value)) + "]"
    return str(value)


def four(number: float) -> str:
    """``%.4g``, in which all of Prometheus' humanize functions speak."""
    return f"{number:.4g}" if math.isfinite(number) else _special(number)


def shortest(number: float) -> str:
    """The fewest digits that mean this number, with an exponent below 1e-4 and from a million on: Go's ``%g``."""
    if not math.isfinite(number):
        return _special(number)
    mantissa, _, power = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    exponent = len(whole) - 1 - (len(whole + fraction) - len(digits)) + int(power or 0)
    digits = digits.rstrip("0") or "0"
    sign = "-" if math.copysign(1, number) < 0 else ""
    return sign + _placed(digits, exponent if number else 0)


def _placed(digits: str, exponent: int) -> str:
    """Digits whose first stands for a power of ten, as ``%g`` sets the point."""
    if not -4 <= exponent < 6:
        return f"{digits[0]}{'.' if len(digits) > 1 else ''}{digits[1:]}e{exponent:+03d}"
    if exponent < 0:
        return f"0.{'0' * (-exponent - 1)}{digits}"
    whole, rest = digits[: exponent + 1].ljust(exponent + 1, "0"), digits[exponent + 1 :]
    return whole + (f".{rest}" if rest else "")


def _special(number: float) -> str:
    return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"


def printf(form: str, *values: Any) -> str:
    """Go's ``fmt.Sprintf``; what does not fit shows as it does there: ``%!d(string=abc)``. FormatError if too long."""
    left = list(values)
    text = _VERB.sub(lambda found: _verb(found, left), form)
    if left:
        text += "%!(EXTRA " + ", ".join(f"{_type(value)}={plain(value)}" for value in left) + ")"
    if len(text) > MOST_LETTERS:
        raise FormatError(f"a text of {len(text):,} characters is too long")
    return text


def _verb(found: re.Match[str], left: list[Any]) -> str:
    flags, width, dot, digits, verb = found.groups(default="")
    if verb == "%":
        return "%"
    if not verb:
        return "%!(NOVERB)"
    if not left:
        return f"%!{verb}(MISSING)"
    wide, precision = int(width or 0), int(digits or 0) if dot else None
    if max(wide, precision or 0) > _WIDEST:
        raise FormatError(f"a width of more than {_WIDEST:,} is too wide")
    return _padded(_shown(verb, flags, precision, left.pop(0)), flags, wide)


def _padded(text: str, flags: str, width: int) -> str:
    if "-" in flags:
        return text.ljust(width)
    number = text[:1].isdigit() or text[1:2].isdigit()
    return text.zfill(width) if "0" in flags and number else text.rjust(width)


def _type(value: Any) -> str:
    names = {bool: "bool", int: "int", float: "float64", str: "string"}
    return names.get(type(value), "map[string]string")


def _shown(verb: str, flags: str, precision: int | None, value: Any) -> str:
    """One value by one verb, without its width."""
    if value is None:
        return ABSENT
    if verb == "T":
        return _type(value)
    text: str | None
    if isinstance(value, bool):
        text = plain(value) if verb in "tv" else None
    elif isinstance(value, int):
        text = _whole("d" if verb == "v" else verb, flags, value)
    elif isinstance(value, float):
        text = _floating("g" if verb == "v" else verb, flags, precision, value)
    elif isinstance(value, str):
        text = _text(verb, flags, precision, value)
    else:
        text = plain(value) if verb in "vs" else None
    return f"%!{verb}({_type(value)}={plain(value)})" if text is None else text


def _whole(verb: str, flags: str, value: int) -> str | None:
    if verb not in _WHOLE:
        return None
    if verb in "cqU":
        if not 0 <= value < 0x110000:
            return "\ufffd"
        return {"c": chr(value), "q": f"'{chr(value)}'", "U": f"U+{value:04X}"}[verb]
    prefix = {"x": "0x", "X": "0X", "O": "0o", "o": "0", "b": "0b"}.get(verb, "") if "#" in flags or verb == "O" else ""
    return _signed(flags, value < 0, prefix + format(abs(value), verb.replace("O", "o")))


def _signed(flags: str, negative: bool, text: str) -> str:
    return ("-" if negative else "+" if "+" in flags else " " if " " in flags else "") + text


def _floating(verb: str, flags: str, precision: int | None, value: float) -> str | None:
    if verb not in _FLOATING:
        return None
    if not math.isfinite(value):
        return _special(value)
    negative, size = math.copysign(1, value) < 0, abs(value)
    if verb in "xX":
        text = _hexadecimal(size)
    elif verb in "gG" and precision is None:
        text = shortest(size)
    else:
        text = format(size, f"{'#' if '#' in flags else ''}.{6 if precision is None else precision}{verb}")
    return _signed(flags, negative, text.upper() if verb in "XGE" else text)


def _hexadecimal(size: float) -> str:
    mantissa, _, power = size.hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{int(power):+03d}"


def _text(verb: str, flags: str, precision: int | None, value: str) -> str | None:
    cut = value if precision is None else value[:precision]
    if verb in "sv":
        return quoted(cut) if verb == "v" and "#" in flags else cut
    if verb == "q":
        return quoted(cut)
    if verb in "xX":
        digits = cut.encode("utf-8", "replace").hex()
        return digits.upper() if verb == "X" else digits
    return None


def quoted(text: str) -> str:
    """A text in double quotes, with Go's escapes."""
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 128 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def spaced(values: Sequence[Any], between_all: bool) -> str:
    """Go's ``print`` (spaces where neither neighbour is text) and ``println`` (between all)."""
    text = ""
    for i, value in enumerate(values):
        gap = i > 0 and (between_all or not (isinstance(value, str) or isinstance(values[i - 1], str)))
        text += (" " if gap else "") + plain(value)
    return text
