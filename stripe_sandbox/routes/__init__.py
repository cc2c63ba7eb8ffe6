"""The API's routes: one module per family of resources, each handler registered with its method and path.

    @route("POST", "/v1/customers/{customer}")
    def update(world, params, customer): ...

A handler gets the transaction's `World`, the typed parameters (without `expand`) and the parts of the path. It
returns a stored document, a list object of documents, or a deletion stub; rendering, expansion and validation are
done around it.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    handler: Callable[..., dict[str, Any]]

    @property
    def key(self) -> str:
        """The route as the contract names it: "POST /v1/customers/{}"."""
        return f"{self.method} {re.sub(r'{[^}]+}', '{}', self.path)}"


ROUTES: dict[str, Route] = {}
_BY_METHOD: dict[str, list[tuple[re.Pattern[str], Route]]] = {}


def route(method: str, path: str) -> Callable[..., Any]:
    """Register a handler for a method and a path whose parts in braces become positional arguments."""

    def register(handler: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        entry = Route(method, path, handler)
        ROUTES[entry.key] = entry
        pattern = re.compile("^" + re.sub(r"\\{[^}]+\\}", "([^/]+)", re.escape(path)) + "$")
        known = _BY_METHOD.setdefault(method, [])
        known.append((pattern, entry))
        known.sort(key=lambda pair: pair[1].path.count("{"))  # Fixed words win over ids: /search before /{id}.
        return handler

    return register


def find(method: str, path: str) -> tuple[Route, list[str]] | None:
    """Return the route that serves a path and the ids in it, or None."""
    for pattern, entry in _BY_METHOD.get(method, []):
        match = pattern.match(path)
        if match:
            return entry, list(match.groups())
    return None


def load() -> None:
    """Import every module of this package, so that all handlers are registered."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
