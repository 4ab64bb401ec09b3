"""JSON files of ours, read field by field: each has the type and range that is expected, or a `BrokenFile` says which has not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from .errors import BrokenFile, shown

MAX_JSON_BYTES = 256 * 2**20
MAX_SIDE = 2**31  # numbers in our files count pixels, tokens or units
MISSING: Any = object()

Value = TypeVar("Value")


class JSONObject:
    """An object of a JSON file. `place` says where in the file it is; `advice` what to do if it is broken."""

    def __init__(self, values: Any, path: Path, advice: str, place: str = "") -> None:
        self.path, self.advice, self.place = path, advice, place
        if not isinstance(values, dict):
            raise self._broken(place or "the file", "an object", values)
        self.values: Mapping[str, Any] = values

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def broken(self, name: str, expected: str) -> BrokenFile:
        """The error that `name` is not `expected`."""
        return self._broken(self._where(name), expected, self.values.get(name, MISSING))

    def text(self, name: str) -> str:
        return str(self._checked(name, "a text", lambda value: isinstance(value, str)))

    def texts(self, name: str, default: Any = MISSING) -> tuple[str, ...]:
        return tuple(self._checked(name, "a list of texts", _is_texts, default))

    def text_or_none(self, name: str) -> str | None:
        value = self._checked(name, "a text or null", lambda value: value is None or isinstance(value, str), None)
        return None if value is None else str(value)

    def text_table(self, name: str, default: Any = MISSING) -> dict[str, str]:
        """An object whose values are texts."""
        return dict(
            self._checked(name, "an object of texts", lambda v: isinstance(v, dict) and _is_texts([*v.values()]), default)
        )

    def flag(self, name: str, default: Any = MISSING) -> bool:
        return bool(self._checked(name, "true or false", lambda value: isinstance(value, bool), default))

    def integer(self, name: str, low: int = 0, high: int = MAX_SIDE) -> int:
        return int(self._checked(name, f"an integer from {low} to {high}", lambda v: _is_integer(v) and low <= v <= high))

    def number(self, name: str, low: float = -math.inf, high: float = math.inf) -> float:
        return float(self._checked(name, f"a number from {low} to {high}", lambda v: _is_number(v) and low <= v <= high))

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        return tuple(map(float, self._checked(name, f"{count} numbers", lambda v: _is_list(v, _is_number) and len(v) == count)))

    def object(self, name: str) -> JSONObject:
        return JSONObject(self._value(name, MISSING), self.path, self.advice, self._where(name))

    def objects(self, name: str, default: Any = MISSING) -> list[JSONObject]:
        found = self._checked(name, "a list", lambda value: isinstance(value, list), default)
        return [JSONObject(value, self.path, self.advice, f"{self._where(name)}[{i}]") for i, value in enumerate(found)]

    def items(self, name: str, expected: str, is_right: Callable[[Any], bool], default: Any = MISSING) -> list[Any]:
        """A list, each of whose items `is_right`."""
        return list(self._checked(name, expected, lambda value: _is_list(value, is_right), default))

    def _checked(self, name: str, expected: str, is_right: Callable[[Any], bool], default: Any = MISSING) -> Any:
        value = self._value(name, default)
        if value is not default and not is_right(value):
            raise self._broken(self._where(name), expected, value)
        return value

    def _value(self, name: str, default: Any) -> Any:
        value = self.values.get(name, default)
        if value is MISSING:
            raise self._broken(self._where(name), "a value", MISSING)
        return value

    def _where(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name

    def _broken(self, where: str, expected: str, value: Any) -> BrokenFile:
        return BrokenFile(self.path, f"{where} as {expected}", "nothing" if value is MISSING else shown(value), self.advice)


def read_json(path: Path, advice: str) -> Any:
    """The JSON value in a file. Raises BrokenFile for what is no JSON, no UTF-8, or no file of a sensible size."""
    if not path.is_file():
        raise BrokenFile(path, "a file", "none of that kind" if path.exists() else "nothing", advice)
    if path.stat().st_size > MAX_JSON_BYTES:
        raise BrokenFile(path, f"at most {MAX_JSON_BYTES:,} bytes", f"{path.stat().st_size:,}", advice)
    try:
        return json.loads(path.read_bytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BrokenFile(path, "JSON", f"something else ({error})", advice) from error


def read_utf8(path: Path) -> str:
    """The text in a file. Raises BrokenFile for bytes that are no UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BrokenFile(path, "UTF-8", f"other bytes in line {line}", "save the file as UTF-8") from None


def read_object(path: Path, advice: str) -> JSONObject:
    """The JSON object in a file. Raises BrokenFile as `read_json` does."""
    return JSONObject(read_json(path, advice), path, advice)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30 and math.isfinite(value)


def _is_texts(value: Any) -> bool:
    return _is_list(value, lambda item: isinstance(item, str))


def _is_list(value: Any, is_right: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(is_right, value))
