"""Kinds of JSON values: each says what is wrong with a value, all of it, and what its JSON schema is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bisimgym.benchmarks.names import NAME_LENGTH, NAME_PATTERN, TEXT_LENGTH, check_name, check_text, shortened
from bisimgym.benchmarks.running import schema
from bisimgym.benchmarks.suites.base import Bounds


class Kind(Protocol):
    """What a value can be."""

    def problems(self, where: str, value: Any) -> Iterator[str]:
        """Yield what is wrong with a value, as texts that begin with ``where``; nothing if it is fine."""
        ...

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON schema (draft 2020-12), which takes every value that has no problems."""
        ...


@dataclass(frozen=True)
class Leaf:
    """A value that ``check(where, value)`` takes or raises ``ValueError`` for."""

    check: Callable[[str, Any], object]
    schema: Mapping[str, Any]

    def problems(self, where: str, value: Any) -> Iterator[str]:
        try:
            self.check(where, value)
        except ValueError as error:
            yield str(error)

    def json_schema(self) -> dict[str, Any]:
        return dict(self.schema)


@dataclass(frozen=True)
class Record:
    """An object with just these keys; those in ``optional`` may be missing."""

    fields: Mapping[str, Kind]
    optional: Mapping[str, Kind] = field(default_factory=dict)

    def problems(self, where: str, value: Any) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{where} must be an object, got {shortened(value)}"
            return
        known = {**self.fields, **self.optional}
        for name in value:
            if name not in known:
                yield f"{where} has the unknown key {shortened(name)}: it has {', '.join(known)}"
        for name in self.fields:
            if name not in value:
                yield f"{where} lacks {name!r}"
        for name, kind in known.items():
            if name in value:
                yield from kind.problems(f"{name} of {where}", value[name])

    def json_schema(self) -> dict[str, Any]:
        known = {**self.fields, **self.optional}
        return {
            "type": "object",
            "properties": {name: kind.json_schema() for name, kind in known.items()},
            "required": list(self.fields),
            "additionalProperties": False,
        }


@dataclass(frozen=True)
class ListOf:
    """A list of ``least`` to ``most`` values, no two of them equal."""

    kind: Kind
    least: int
    most: int

    def problems(self, where: str, value: Any) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{where} must be a list, got {shortened(value)}"
            return
        if not self.least <= len(value) <= self.most:
            yield f"{where} must have {self.least} to {self.most} entries, got {len(value)}"
        seen = set()
        for number, item in enumerate(value, start=1):
            found = list(self.kind.problems(f"entry {number} of {where}", item))
            yield from found
            if not found and schema.digest(item) in seen:
                yield f"entry {number} of {where} is there twice"
            elif not found:
                seen.add(schema.digest(item))

    def json_schema(self) -> dict[str, Any]:
        items = self.kind.json_schema()
        return {"type": "array", "items": items, "minItems": self.least, "maxItems": self.most, "uniqueItems": True}


def integer(least: int, most: int) -> Leaf:
    """Return the kind of integers within bounds."""
    return Leaf(
        lambda where, value: schema.check_integer(where, value, least, most),
        {"type": "integer", "minimum": least, "maximum": most},
    )


def number(least: float, most: float) -> Leaf:
    """Return the kind of finite numbers within bounds; the check leaves some room for rounding."""
    return Leaf(
        lambda where, value: schema.check_number(where, value, least, most),
        {"type": "number", "minimum": least, "maximum": most},
    )


def constant(expected: Any) -> Leaf:
    """Return the kind of one value."""

    def check(where: str, value: Any) -> None:
        if type(value) is not type(expected) or value != expected:
            raise ValueError(f"{where} must be {expected!r} in this version of bisimgym, got {shortened(value)}")

    return Leaf(check, {"const": expected})


def choice(names: Sequence[str]) -> Leaf:
    """Return the kind of one of these names."""

    def check(where: str, value: Any) -> None:
        if not isinstance(value, str) or value not in names:
            raise ValueError(f"{where} must be one of {', '.join(names)}, got {shortened(value)}")

    return Leaf(check, {"enum": list(names)})


def entry(kind: type | range | Bounds) -> Leaf:
    """Return the kind of an entry of a column of outcomes: see ``Suite.columns``."""
    if isinstance(kind, tuple):
        return number(*kind)
    if isinstance(kind, range):
        return integer(kind[0], kind[-1])
    if kind is str:
        return NAME
    assert kind is bool
    return Leaf(lambda where, value: schema.check_entry(where, value, bool), {"type": "boolean"})


def _check_facts(where: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object, got {shortened(value)}")
    schema.check_facts(where, value)


NAME = Leaf(check_name, {"type": "string", "maxLength": NAME_LENGTH, "pattern": f"^{NAME_PATTERN}$"})
TEXT = Leaf(check_text, {"type": "string", "maxLength": TEXT_LENGTH})
#: Texts and numbers that are shown and never computed with.
FACTS = Leaf(_check_facts, {"type": "object", "maxProperties": schema.FACTS})
