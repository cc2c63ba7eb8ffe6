"""How stored documents become what the API shows: private fields dropped, live parts filled in, `expand` obeyed.

Documents keep ids where Stripe embeds whole objects that live on their own (the price of a subscription item, the
coupon behind a discount), so that nothing shows a stale copy. `EMBEDDED` names such places; `ON_DEMAND` names the
fields that Stripe gives only to those who ask with `expand`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
Tree = dict[str, Any]
MAX_DEPTH = 4

EMBEDDED: dict[str, Callable[[World, Document, Document], None]] = {}
ON_DEMAND: dict[str, dict[str, Callable[[World, Document], Any]]] = {}


def embeds(kind: str) -> Callable[..., Any]:
    """Register the function that fills in, in the shown copy, what a kind always shows."""

    def register(
        function: Callable[[World, Document, Document], None],
    ) -> Callable[[World, Document, Document], None]:
        EMBEDDED[kind] = function
        return function

    return register


def on_demand(kind: str, field: str) -> Callable[..., Any]:
    """Register the function that returns a field which only `expand` brings."""

    def register(function: Callable[[World, Document], Any]) -> Callable[[World, Document], Any]:
        ON_DEMAND.setdefault(kind, {})[field] = function
        return function

    return register


def tree(paths: list[str]) -> Tree:
    """Turn `["data.customer", "data.items"]` into nested dicts; raises when a path is deeper than Stripe allows."""
    root: Tree = {}
    for path in paths:
        parts = path.split(".")
        if len(parts) > MAX_DEPTH:
            raise errors.invalid(
                f"You cannot expand more than {MAX_DEPTH} levels of a property. Property: {path}", "expand"
            )
        here = root
        for part in parts:
            here = here.setdefault(part, {})
    return root


def render(world: World, document: Document, wanted: Tree | None = None) -> Document:
    """Return the public form of a document; the document itself is not touched."""
    shown: Document = public(document)
    embed = EMBEDDED.get(str(shown.get("object")))
    if embed is not None:
        embed(world, shown, document)
    for name, deeper in (wanted or {}).items():
        _expand(world, shown, document, name, deeper, name)
    return shown


def public(value: Any) -> Any:
    """Return a deep copy without the private fields, whose names start with an underscore."""
    if isinstance(value, dict):
        return {key: public(item) for key, item in value.items() if not key.startswith("_")}
    if isinstance(value, list):
        return [public(item) for item in value]
    return value


def _expand(world: World, shown: Any, stored: Document, name: str, deeper: Tree, path: str, schema: Any = None) -> None:
    """Fill in one field; `schema` is what the contract says of a hash that is no object of its own."""
    contract = world.sandbox.contract
    part = contract.part(schema or contract.of(shown), name)
    if part is None:
        raise _not_expandable(path)
    if shown.get(name) is None:
        bring = ON_DEMAND.get(str(shown.get("object")), {}).get(name)
        if bring is not None:
            shown[name] = bring(world, stored)
            if not deeper:
                return
    if name in shown:
        shown[name] = _expanded(world, shown[name], deeper, path, part)


def _expanded(world: World, value: Any, deeper: Tree, path: str, part: Document) -> Any:
    if isinstance(value, list):
        return [_expanded(world, item, deeper, path, part) for item in value]
    if isinstance(value, str) or value is None:
        if not part.get("expandable") and (isinstance(value, str) or part.get("type") != "object"):
            raise _not_expandable(path)
        found = world.find_any(value) if value else None
        return value if found is None else render(world, found, deeper)
    if not isinstance(value, dict) or (not deeper and "object" not in value):
        raise _not_expandable(path)
    stored = (world.find_any(value["id"]) if isinstance(value.get("id"), str) else None) or value
    for name, further in deeper.items():
        _expand(world, value, stored, name, further, f"{path}.{name}", None if "id" in value else part)
    return value


def _not_expandable(path: str) -> errors.StripeError:
    return errors.invalid(f"This property cannot be expanded ({path}).", "expand")


def listing(url: str, data: list[Any], *, has_more: bool = False, total_count: int | None = None) -> Document:
    """Return a list object as Stripe shapes it."""
    page = {"object": "list", "data": data, "has_more": has_more, "url": url}
    return page if total_count is None else {**page, "total_count": total_count}


def previous_attributes(world: World, before: Document, after: Document) -> Document:
    """Return what changed between two states of a document: the former values, as events carry them."""
    changed: Document = _changes(render(world, before), render(world, after))
    return changed


def _changes(before: Document, after: Document) -> Document:
    changed: Document = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and key != "data":
            changed[key] = _changes(old, new)
        else:
            changed[key] = old
    return json.loads(json.dumps(dict(sorted(changed.items()))))  # type: ignore[no-any-return]
