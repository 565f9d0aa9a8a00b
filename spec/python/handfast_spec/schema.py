"""The part of JSON Schema (draft 2020-12) that vectors/schema.json uses; an unknown word fails."""

from __future__ import annotations

import re
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,),
    "boolean": (bool,), "null": (type(None),),
}
ANNOTATIONS = {"$schema", "$id", "$comment", "title", "description", "$defs", "examples"}
RULES = {
    "$ref", "type", "const", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum",
    "items", "prefixItems", "minItems", "maxItems", "uniqueItems", "properties", "required",
    "additionalProperties", "patternProperties", "propertyNames", "minProperties",
    "unevaluatedProperties", "oneOf", "anyOf", "allOf", "not", "if", "then", "else",
}


class Mismatch(ValueError):
    """The value is not as the schema says."""


def no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For json.loads: no name twice in an object."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Mismatch("a name twice in one object")
    return result


def check_schema(schema: Any) -> None:
    """Every word of the schema must be one that `validate` knows."""
    if isinstance(schema, bool):
        return
    for word, value in schema.items():
        if word not in ANNOTATIONS | RULES:
            raise Mismatch(f"a word of JSON Schema that is not known here: {word}")
        if word in ("properties", "patternProperties", "$defs"):
            for inner in value.values():
                check_schema(inner)
        elif word in ("oneOf", "anyOf", "allOf", "prefixItems"):
            for inner in value:
                check_schema(inner)
        elif word in (
            "items", "additionalProperties", "propertyNames", "not", "if", "then", "else",
            "unevaluatedProperties",
        ):
            check_schema(value)


def validate(value: Any, root: Any) -> None:
    """Raises Mismatch with the place."""
    _Validator(root).check(value, root, "")


class _Validator:
    def __init__(self, root: Any) -> None:
        self.root = root

    def check(self, value: Any, schema: Any, at: str) -> set[str]:
        """Returns the names of properties that some rule has looked at."""
        if schema is True:
            return set()
        if schema is False:
            raise Mismatch(f"{at}: nothing may be here")
        seen: set[str] = set()
        if "$ref" in schema:
            seen |= self.check(value, self._resolve(schema["$ref"]), at)
        self._plain(value, schema, at)
        if isinstance(value, str):
            self._string(value, schema, at)
        if isinstance(value, list):
            self._array(value, schema, at)
        if isinstance(value, dict):
            seen |= self._object(value, schema, at)
        seen |= self._combined(value, schema, at)
        if isinstance(value, dict) and schema.get("unevaluatedProperties") is False:
            for name in value:
                if name not in seen:
                    raise Mismatch(f"{at}/{name}: not in the schema")
        return seen

    def _resolve(self, reference: str) -> Any:
        if not reference.startswith("#"):
            raise Mismatch(f"a reference to another file: {reference}")
        found = self.root
        for step in reference[1:].split("/")[1:]:
            found = found[step.replace("~1", "/").replace("~0", "~")]
        return found

    def _fits(self, value: Any, schema: Any, at: str) -> set[str] | None:
        try:
            return self.check(value, schema, at)
        except Mismatch:
            return None

    def _plain(self, value: Any, schema: Any, at: str) -> None:
        if "type" in schema:
            names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            if not any(self._is(value, name) for name in names):
                raise Mismatch(f"{at}: not of type {' or '.join(names)}")
        if "const" in schema and not _same(value, schema["const"]):
            raise Mismatch(f"{at}: not {schema['const']!r}")
        if "enum" in schema and not any(_same(value, item) for item in schema["enum"]):
            raise Mismatch(f"{at}: {value!r} is not listed")
        if self._is(value, "integer"):
            if "minimum" in schema and value < schema["minimum"]:
                raise Mismatch(f"{at}: below {schema['minimum']}")
            if "maximum" in schema and value > schema["maximum"]:
                raise Mismatch(f"{at}: above {schema['maximum']}")

    @staticmethod
    def _is(value: Any, name: str) -> bool:
        if isinstance(value, bool):
            return name == "boolean"
        return isinstance(value, TYPES[name])

    @staticmethod
    def _string(value: str, schema: Any, at: str) -> None:
        if "pattern" in schema and not re.search(schema["pattern"].replace("$", r"\Z"), value):
            raise Mismatch(f"{at}: does not match {schema['pattern']}")
        if len(value) < schema.get("minLength", 0):
            raise Mismatch(f"{at}: too short")
        if len(value) > schema.get("maxLength", len(value)):
            raise Mismatch(f"{at}: too long")

    def _array(self, value: list[Any], schema: Any, at: str) -> None:
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            raise Mismatch(f"{at}: {len(value)} items")
        if schema.get("uniqueItems") and any(item in value[:i] for i, item in enumerate(value)):
            raise Mismatch(f"{at}: an item twice")
        first = schema.get("prefixItems", [])
        for index, item in enumerate(value):
            rule = first[index] if index < len(first) else schema.get("items", True)
            self.check(item, rule, f"{at}/{index}")

    def _object(self, value: dict[str, Any], schema: Any, at: str) -> set[str]:
        for name in schema.get("required", []):
            if name not in value:
                raise Mismatch(f"{at}: {name} is missing")
        if len(value) < schema.get("minProperties", 0):
            raise Mismatch(f"{at}: too few members")
        seen = set()
        for name, item in value.items():
            place = f"{at}/{name}"
            self.check(name, schema.get("propertyNames", True), f"{place} (the name)")
            rules = [schema["properties"][name]] if name in schema.get("properties", {}) else []
            rules += [
                rule for pattern, rule in schema.get("patternProperties", {}).items()
                if re.search(pattern.replace("$", r"\Z"), name)
            ]
            if not rules and "additionalProperties" in schema:
                rules = [schema["additionalProperties"]]
            for rule in rules:
                self.check(item, rule, place)
            if rules:
                seen.add(name)
        return seen

    def _combined(self, value: Any, schema: Any, at: str) -> set[str]:
        seen: set[str] = set()
        for rule in schema.get("allOf", []):
            seen |= self.check(value, rule, at)
        for word in ("oneOf", "anyOf"):
            if word in schema:
                fits = [self._fits(value, rule, at) for rule in schema[word]]
                fitting = [names for names in fits if names is not None]
                if not fitting or (word == "oneOf" and len(fitting) != 1):
                    raise Mismatch(f"{at}: fits {len(fitting)} of {word}")
                seen |= set().union(*fitting)
        if "not" in schema and self._fits(value, schema["not"], at) is not None:
            raise Mismatch(f"{at}: fits what it must not")
        if "if" in schema:
            names = self._fits(value, schema["if"], at)
            seen |= names or set()
            branch = "else" if names is None else "then"
            seen |= self.check(value, schema.get(branch, True), at)
        return seen


def _same(first: Any, second: Any) -> bool:
    return type(first) is type(second) and first == second
