"""The judge of every request and response: Stripe's contract for the installed SDK, built once and kept on disk."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import tempfile
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Any

import stripe

from stripe_sandbox import errors, sdk_schemas

Schema = dict[str, Any]
MISSING = object()


class Contract:
    """Routes, request schemas and resource schemas of one API version.

    `coerce_request` turns the strings of a form into typed values and raises Stripe's errors; `check_response` and
    `check_object` return the departures from the contract as a list of sentences, empty when there are none.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.defs: dict[str, Schema] = document["defs"]
        self.routes: dict[str, Schema] = document["routes"]
        self.objects: dict[str, str] = document["objects"]
        self._patterns = [
            (key.split(" ", 1)[0], _pattern(key.split(" ", 1)[1]), key)
            for key in sorted(self.routes, key=lambda key: (key.count("{}"), key))
        ]

    def find_route(self, method: str, path: str) -> str | None:
        """Return the key ("POST /v1/customers/{}") of the route that serves a path, or None."""
        return next((key for verb, pattern, key in self._patterns if verb == method and pattern.match(path)), None)

    def event_types(self) -> list[str]:
        """Return every snapshot event type of this version."""
        return list(self.properties("event")["type"]["enum"])

    def properties(self, object_name: str) -> dict[str, Schema]:
        """Return the properties of a resource by name."""
        properties: dict[str, Schema] = self.defs[self.objects[object_name]]["properties"]
        return properties

    def nullable(self, object_name: str) -> list[str]:
        """Return the fields of a resource that may be null or absent."""
        schema = self.defs[self.objects[object_name]]
        return [name for name in schema["properties"] if name not in schema["required"] and name != "deleted"]

    def of(self, value: dict[str, Any]) -> Schema:
        """Return the schema of an object by the name that it bears; an unknown one has no properties."""
        name = self.objects.get(str(value.get("object")))
        return {"$ref": name} if name else {}

    def part(self, schema: Schema, name: str) -> Schema | None:
        """Return the schema of a property without what says that it may be null or a list; None when there is none."""
        found = self._deref(schema).get("properties", {}).get(name)
        return None if found is None else self._unwrapped(found)

    def _unwrapped(self, schema: Schema) -> Schema:
        schema = self._deref(schema)
        if "anyOf" in schema and not schema.get("expandable"):
            return self._unwrapped(next(branch for branch in schema["anyOf"] if branch != {"type": "null"}))
        return self._unwrapped(schema["items"]) if schema.get("type") == "array" else schema

    # Requests -----------------------------------------------------------------------------------------------------

    def coerce_request(self, route: str, form: dict[str, Any]) -> dict[str, Any]:
        """Return the typed parameters of a request; raises `errors.StripeError` in Stripe's words."""
        typed: dict[str, Any] = self._coerce(form, self._deref(self.routes[route]["params"]), "")
        return typed

    def _coerce(self, value: Any, schema: Schema, param: str) -> Any:
        schema = self._deref(schema)
        if "anyOf" in schema:
            return self._coerce_any(value, schema["anyOf"], param)
        if "enum" in schema:
            return _coerce_enum(value, schema["enum"], param)
        kind = schema.get("type")
        if kind == "object":
            return self._coerce_object(value, schema, param)
        if kind == "array":
            return self._coerce_array(value, schema, param)
        if kind is None:
            return value
        if not isinstance(value, str):
            raise errors.invalid(f"Invalid {kind}", param)
        return _COERCIONS[kind](value, param)

    def _coerce_any(self, value: Any, branches: list[Schema], param: str) -> Any:
        problem: errors.StripeError | None = None
        for branch in branches:
            try:
                return self._coerce(value, branch, param)
            except errors.StripeError as error:
                if problem is None or self._suits(value, branch):
                    problem = error
        raise problem or errors.invalid("Invalid value", param)

    def _suits(self, value: Any, branch: Schema) -> bool:
        branch = self._deref(branch)
        if isinstance(value, dict):
            return branch.get("type") in ("object", "array")
        return branch.get("type") not in ("object", "array") and branch.get("enum") != [""]

    def _coerce_object(self, value: Any, schema: Schema, param: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise errors.invalid("Invalid object" if value != "" else "Invalid object: must not be empty", param)
        if "values" in schema:
            # In a map such as metadata an empty value means "remove this key".
            return {
                key: "" if item == "" else self._coerce(item, schema["values"], _join(param, key))
                for key, item in value.items()
            }
        if "properties" not in schema:
            return value
        known = schema["properties"]
        unknown = [key for key in value if key not in known]
        if unknown and not schema.get("open"):
            raise errors.parameter_unknown([_join(param, key) for key in unknown], _nearest(unknown[0], known))
        result = {
            key: self._coerce(item, known[key], _join(param, key)) if key in known else item
            for key, item in value.items()
        }
        for name in schema["required"]:
            if name not in result:
                raise errors.parameter_missing(_join(param, name))
        return result

    def _coerce_array(self, value: Any, schema: Schema, param: str) -> list[Any]:
        if not isinstance(value, dict) or not all(key.isdigit() for key in value):
            raise errors.invalid("Invalid array", param)
        keys = sorted(value, key=int)
        return [self._coerce(value[key], schema["items"], _join(param, key)) for key in keys]

    # Responses ----------------------------------------------------------------------------------------------------

    def check_response(self, route: str, value: dict[str, Any]) -> list[str]:
        """Return how a response departs from what the SDK says that its route returns."""
        returns = self.routes[route]["returns"]
        if value.get("deleted") is True or not returns:
            return self.check_object(value)
        return list(self._problems(value, returns, ""))

    def check_object(self, value: dict[str, Any]) -> list[str]:
        """Return how an object departs from its resource class."""
        name = value.get("object")
        if value.get("deleted") is True and set(value) <= {"id", "object", "deleted"}:
            return [] if isinstance(value.get("id"), str) else ["/id: is missing"]
        if name == "list":
            return [problem for item in value["data"] for problem in self.check_object(item)]
        if name not in self.objects:
            return [f"no resource class for object {name!r}"]
        return list(self._problems(value, {"$ref": self.objects[name]}, ""))

    def _problems(self, value: Any, schema: Schema, path: str) -> list[str]:
        schema = self._deref(schema)
        if "anyOf" in schema:
            return self._problems_of_any(value, schema["anyOf"], path)
        if "enum" in schema:
            return [] if value in schema["enum"] else [f"{path}: {value!r} is not one of the known values"]
        kind = schema.get("type")
        if kind == "object":
            return self._problems_of_object(value, schema, path)
        if kind == "array":
            if not isinstance(value, list):
                return [f"{path}: {value!r} is not a list"]
            return [p for i, item in enumerate(value) for p in self._problems(item, schema["items"], f"{path}/{i}")]
        if kind is None or _IS_KIND[kind](value):
            return []
        return [f"{path}: {value!r} is not of type {kind}"]

    def _problems_of_any(self, value: Any, branches: list[Schema], path: str) -> list[str]:
        best: tuple[bool, int, list[str]] | None = None
        for branch in branches:
            problems = self._problems(value, branch, path)
            if not problems:
                return []
            rank = (not self._names(branch, value), len(problems), problems)
            if best is None or rank[:2] < best[:2]:
                best = rank
        return best[2] if best else []

    def _names(self, branch: Schema, value: Any) -> bool:
        """Tell whether a branch is the one that a value claims to be, so that its problems are the ones to report."""
        branch = self._deref(branch)
        if not isinstance(value, dict) or branch.get("type") != "object":
            return False
        declared = branch.get("properties", {}).get("object", {}).get("enum")
        return not declared or value.get("object") in declared

    def _problems_of_object(self, value: Any, schema: Schema, path: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{path}: {value!r} is not an object"]
        if "values" in schema:
            return [p for key, item in value.items() for p in self._problems(item, schema["values"], f"{path}/{key}")]
        if "properties" not in schema:
            return []
        known = schema["properties"]
        problems = [f"{path}/{name}: is missing" for name in schema["required"] if name not in value]
        for key, item in value.items():
            if key in known:
                problems += self._problems(item, known[key], f"{path}/{key}")
            elif not schema.get("open"):
                problems.append(f"{path}/{key}: is not in the contract")
        return problems

    def shaped(self, object_name: str, field: str, value: Any) -> Any:
        """Return a hash that a request gave in part as the resource shows it.

        What the resource does not know is dropped; what may be null and is not given, or was cleared with an empty
        string, is null.
        """
        return self._shape(value, self.properties(object_name)[field])

    def _shape(self, value: Any, schema: Schema) -> Any:
        schema = self._deref(schema)
        if "anyOf" in schema:
            if value == "" and {"type": "null"} in schema["anyOf"]:
                return None
            fitting = [branch for branch in schema["anyOf"] if self._suits(value, branch)]
            return self._shape(value, fitting[0]) if fitting else value
        if isinstance(value, dict) and "properties" in schema:
            known = schema["properties"]
            shape = {name: None for name in known if name not in schema["required"]}
            given = {name: self._shape(item, known[name]) for name, item in value.items() if name in known}
            return {**shape, **given}
        if isinstance(value, list) and schema.get("type") == "array":
            return [self._shape(item, schema["items"]) for item in value]
        return value

    def _deref(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self.defs[schema["$ref"]]
        return schema


@lru_cache(maxsize=1)
def load() -> Contract:
    """Return the contract of the installed SDK, from the cache on disk when it has been built before."""
    path = cache_path()
    try:
        return Contract(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError):
        document = sdk_schemas.build()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written beside and renamed, so that two processes that start together never read half a file.
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump(document, file)
        Path(file.name).replace(path)
    except OSError:
        pass  # A read-only home costs the few seconds at each start, and nothing else.
    return Contract(document)


def cache_path() -> Path:
    """Return where the contract is kept: by SDK version, and by the code that read it."""
    reader = hashlib.sha256(Path(str(sdk_schemas.__file__)).read_bytes()).hexdigest()[:12]
    base = os.environ.get("XDG_CACHE_HOME")
    folder = Path(base) if base else Path.home() / ".cache"
    return folder / "stripe-sandbox" / f"contract-{stripe.VERSION}-{reader}.json"


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("^" + re.escape(path).replace(r"\{\}", "[^/]+") + "$")


def _join(param: str, key: str) -> str:
    return f"{param}[{key}]" if param else key


def _nearest(word: str, known: dict[str, Any]) -> str | None:
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.75)), None)


def _coerce_enum(value: Any, allowed: list[Any], param: str) -> Any:
    if value in allowed:
        return value
    if value == "true" and True in allowed:
        return True
    words = [str(item) for item in allowed]
    listed = words[0] if len(words) == 1 else f"{', '.join(words[:-1])}, or {words[-1]}"
    if len(words) == 2:
        listed = " or ".join(words)
    raise errors.invalid(f"Invalid {param}: must be one of {listed}", param)


def _coerce_integer(value: str, param: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise errors.invalid(f"Invalid integer: {value}", param, code="parameter_invalid_integer")
    return int(value)


def _coerce_number(value: str, param: str) -> float:
    if not re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,12})?", value):
        raise errors.invalid(f"Invalid number: {value}", param)
    return float(value)


def _coerce_boolean(value: str, param: str) -> bool:
    if value not in ("true", "false"):
        raise errors.invalid(f"Invalid boolean: {value}", param)
    return value == "true"


def _coerce_string(value: str, param: str) -> str:
    if value == "":
        raise errors.parameter_empty(param)
    if len(value) > 5000:
        raise errors.invalid(f"Invalid string: {value[:10]}...{value[-10:]}; must be at most 5000 characters", param)
    return value


def _coerce_decimal(value: str, param: str) -> str:
    if not re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,12})?", value):
        raise errors.invalid(f"Invalid decimal: {value}", param)
    return value


def _coerce_null(value: str, param: str) -> None:
    if value != "":
        raise errors.invalid("Invalid value: must be empty", param)


_COERCIONS: dict[str, Any] = {
    "string": _coerce_string,
    "integer": _coerce_integer,
    "number": _coerce_number,
    "boolean": _coerce_boolean,
    "decimal": _coerce_decimal,
    "null": _coerce_null,
}


def _is_decimal(value: Any) -> bool:
    try:
        return isinstance(value, str) and Decimal(value).is_finite()
    except InvalidOperation:
        return False


_IS_KIND: dict[str, Any] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "decimal": _is_decimal,
    "null": lambda value: value is None,
}
