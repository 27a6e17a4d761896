"""A validator for as much of JSON Schema (2020-12) as the published schema uses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
SAID_ONLY = {"$schema", "$defs", "title", "description"}
KNOWN = SAID_ONLY | {
    "$ref", "anyOf", "const", "enum", "type", "required", "properties", "additionalProperties",
    "items", "minimum", "minLength", "pattern",
}  # fmt: skip


def faults(
    value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "$"
) -> Iterator[str]:
    """Everything in which `value` is not as `schema` says; one sentence each, with its place."""
    unknown = schema.keys() - KNOWN
    if unknown:
        raise NotImplementedError(f"keywords {unknown} at {at}")
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        yield from faults(value, root["$defs"][name], root, at)
    if "anyOf" in schema and all(any(faults(value, s, root, at)) for s in schema["anyOf"]):
        yield f"{at}: {value!r} fits none of the alternatives"
    if "const" in schema and value != schema["const"]:
        yield f"{at}: {value!r} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    if "type" in schema:
        kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        if not any(TYPES[kind](value) for kind in kinds):
            yield f"{at}: {value!r} is no {' or '.join(kinds)}"
    yield from _inside(value, schema, root, at)


def _inside(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str) -> Iterator[str]:
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        yield from (f"{at}: lacks {key}" for key in schema.get("required", []) if key not in value)
        for key, item in value.items():
            if key in properties:
                yield from faults(item, properties[key], root, f"{at}.{key}")
            elif schema.get("additionalProperties", True) is False:
                yield f"{at}: {key} is not in the schema"
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from faults(item, schema["items"], root, f"{at}[{index}]")
    elif isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            yield f"{at}: is too short"
        if not re.search(schema.get("pattern", ""), value):
            yield f"{at}: {value!r} does not match {schema['pattern']}"
    elif TYPES["number"](value) and value < schema.get("minimum", value):
        yield f"{at}: {value} is below {schema['minimum']}"
