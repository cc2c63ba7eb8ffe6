"""Read Stripe's contract - routes, parameters, resources - out of the installed SDK's own sources.

stripe-python is generated from Stripe's OpenAPI specification for exactly the API version that it pins, so its type
annotations are that version's contract. Nothing is downloaded, and nothing can drift from the SDK in use. Building
takes a few seconds; `contract.py` keeps the result on disk.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import stripe

ROOT = Path(str(stripe.__file__)).parent
PRIMITIVES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "Any": {},
    "object": {},
    "Decimal": {"type": "decimal"},
    "StripeObject": {"type": "object"},
    "UntypedStripeObject": {"type": "object"},
}

Schema = dict[str, Any]


def build() -> dict[str, Any]:
    """Return `{"defs", "routes", "objects"}`: schemas by class, routes by "METHOD /path/{}", classes by object name."""
    reader = _Reader()
    reader.read_sources()
    return {"defs": reader.defs, "routes": reader.find_routes(), "objects": reader.find_objects()}


class _Reader:
    def __init__(self) -> None:
        self.defs: dict[str, Schema | None] = {}
        self._classes: dict[str, tuple[ast.ClassDef, str, dict[str, tuple[str, str]], tuple[str, ...]]] = {}
        self._services: list[tuple[ast.ClassDef, str, dict[str, tuple[str, str]]]] = []

    def read_sources(self) -> None:
        for path in sorted(ROOT.rglob("*.py")):
            where = path.relative_to(ROOT).with_suffix("").parts
            if where[-1] != "__init__" and where[0] != "v2" and where[:2] != ("params", "v2"):
                self._read_module(ast.parse(path.read_text(encoding="utf-8")), ".".join(where))

    def _read_module(self, tree: ast.Module, module: str) -> None:
        imports = {
            alias.asname or alias.name: (node.module[len("stripe.") :], alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("stripe.")
            for alias in node.names
        }
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                if node.name.endswith("Service"):
                    self._services.append((node, module, imports))
                self._register(node, module, imports, ())

    def _register(self, node: ast.ClassDef, module: str, imports: Any, outer: tuple[str, ...]) -> None:
        self._classes[f"{module}:{'.'.join((*outer, node.name))}"] = (node, module, imports, outer)
        for child in node.body:
            if isinstance(child, ast.ClassDef):
                self._register(child, module, imports, (*outer, node.name))

    def _resolve(self, name: str, module: str, imports: Any, scope: tuple[str, ...]) -> str | None:
        for depth in range(len(scope), -1, -1):
            key = f"{module}:{'.'.join((*scope[:depth], *name.split('.')))}"
            if key in self._classes:
                return key
        head, *rest = name.split(".")
        if head in imports:
            where, original = imports[head]
            key = f"{where}:{'.'.join([original, *rest])}"
            if key in self._classes:
                return key
        return None

    def _ref(self, key: str) -> Schema:
        if key not in self.defs:
            self.defs[key] = None  # A class may refer to itself.
            self.defs[key] = self._class_schema(key)
        return {"$ref": key}

    def _class_schema(self, key: str) -> Schema:
        node, module, imports, outer = self._classes[key]
        scope, is_params = (*outer, node.name), module.startswith("params")
        properties: dict[str, Schema] = {}
        required: list[str] = []
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                name, text = statement.target.id, ast.unparse(statement.annotation)
                if name == "OBJECT_NAME":
                    match = re.search(r"Literal\['([^']+)'\]", text)
                    if match:
                        properties["object"] = {"enum": [match.group(1)]}
                elif not name.startswith("_") and "ClassVar" not in text:
                    properties[name] = self._annotation(statement.annotation, module, imports, scope)
                    if not text.startswith("NotRequired[" if is_params else "Optional["):
                        required.append(name)
            elif isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "_field_remappings":
                required = self._rename(statement, properties, required)
        bases = [ast.unparse(base) for base in node.bases]
        return {
            "type": "object",
            "properties": properties,
            "required": sorted(set(required)),
            "open": any("TypedDict(" in base or base.endswith("Base") for base in bases),
        }

    @staticmethod
    def _rename(statement: ast.Assign, properties: dict[str, Schema], required: list[str]) -> list[str]:
        for old, new in ast.literal_eval(statement.value).items():
            if old in properties:
                properties[new] = properties.pop(old)
                required = [new if name == old else name for name in required]
        return required

    def _annotation(self, node: ast.expr, module: str, imports: Any, scope: tuple[str, ...]) -> Schema:
        def again(part: ast.expr) -> Schema:
            return self._annotation(part, module, imports, scope)

        if isinstance(node, ast.Constant):
            if node.value is None:
                return {"type": "null"}
            return again(ast.parse(str(node.value).replace("\n", " ").strip(), mode="eval").body)
        if isinstance(node, ast.BinOp):
            return self._union(_operands(node), again)
        if isinstance(node, (ast.Name, ast.Attribute)):
            name = ast.unparse(node)
            if name in PRIMITIVES:
                return PRIMITIVES[name]
            key = self._resolve(name, module, imports, scope)
            return self._ref(key) if key else {}
        if isinstance(node, ast.Subscript):
            return self._subscript(node, again)
        return {}

    def _subscript(self, node: ast.Subscript, again: Any) -> Schema:
        head = ast.unparse(node.value).split(".")[-1]
        arguments = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if head == "Optional":
            return {"anyOf": [again(arguments[0]), {"type": "null"}]}
        if head in ("NotRequired", "Unpack", "Required"):
            return dict(again(arguments[0]))
        if head == "Union":
            return self._union(arguments, again)
        if head == "Literal":
            return {"enum": [ast.literal_eval(value) for value in arguments]}
        if head in ("List", "Sequence", "list"):
            return {"type": "array", "items": again(arguments[0])}
        if head in ("Dict", "Mapping", "dict"):
            return {"type": "object", "values": again(arguments[1])}
        if head == "UntypedStripeObject":
            return {"type": "object", "values": again(arguments[0])}
        if head == "ExpandableField":
            return {"anyOf": [{"type": "string"}, again(arguments[0])], "expandable": True}
        if head in ("ListObject", "SearchResultObject"):
            return _list_of(again(arguments[0]), "list" if head == "ListObject" else "search_result")
        return {}

    @staticmethod
    def _union(parts: list[ast.expr], again: Any) -> Schema:
        literals = [part for part in parts if ast.unparse(part).startswith("Literal[")]
        if any(value != "" for part in literals for value in again(part)["enum"]):
            # The SDK writes every enum as Literal[...] | str, so that new values do not break old programs.
            parts = [part for part in parts if ast.unparse(part) != "str"]
        return dict(again(parts[0])) if len(parts) == 1 else {"anyOf": [again(part) for part in parts]}

    def find_routes(self) -> dict[str, Schema]:
        routes: dict[str, Schema] = {}
        for node, module, imports in self._services:
            for function in node.body:
                if isinstance(function, ast.FunctionDef):
                    found = self._route(node, function, module, imports)
                    routes.update([found] if found else [])
        return routes

    def _route(self, node: ast.ClassDef, function: ast.FunctionDef, module: str, imports: Any) -> Any:
        call = next((part for part in ast.walk(function) if _is_request(part)), None)
        if not isinstance(call, ast.Call):
            return None
        target = call.args[1]
        path = target.func.value if isinstance(target, ast.Call) and isinstance(target.func, ast.Attribute) else target
        if not isinstance(path, ast.Constant):
            return None
        declared = next((argument for argument in function.args.args if argument.arg == "params"), None)
        params: Schema = {"type": "object", "properties": {}, "required": []}
        if declared is not None and declared.annotation is not None:
            params = self._annotation(declared.annotation, module, imports, ())
            params = params["anyOf"][0] if "anyOf" in params else params
        returns = self._annotation(function.returns, module, imports, ()) if function.returns else {}
        method = call.args[0].value.upper()  # type: ignore[attr-defined]
        key = f"{method} {re.sub(r'{[^}]+}', '{}', str(path.value))}"
        prefix = "" if "." not in module else module.rsplit(".", 1)[0] + "."
        return key, {"params": params, "returns": returns, "sdk": f"{prefix}{node.name}.{function.name}"}

    def find_objects(self) -> dict[str, str]:
        for key, (node, _, _, outer) in list(self._classes.items()):
            names = {getattr(part.target, "id", "") for part in node.body if isinstance(part, ast.AnnAssign)}
            if not outer and "OBJECT_NAME" in names:
                self._ref(key)
        found: dict[str, str] = {}
        for key, schema in self.defs.items():
            name = ((schema or {}).get("properties", {}).get("object", {}).get("enum") or [None])[0]
            if name and not key.startswith("params") and "." not in key.split(":")[1]:
                found.setdefault(name, key)
        return found


def _operands(node: ast.BinOp) -> list[ast.expr]:
    parts: list[ast.expr] = []
    waiting: list[ast.expr] = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.BinOp):
            waiting.extend([part.right, part.left])
        else:
            parts.append(part)
    return parts


def _is_request(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") == "_request"
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
    )


def _list_of(items: Schema, name: str) -> Schema:
    return {
        "type": "object",
        "required": ["object", "data", "has_more", "url"],
        "properties": {
            "object": {"enum": [name]},
            "data": {"type": "array", "items": items},
            "has_more": {"type": "boolean"},
            "url": {"type": "string"},
            "total_count": {"type": "integer"},
            "next_page": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
    }
