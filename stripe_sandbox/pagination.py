"""Stripe's lists: newest first, `limit`, `starting_after`, `ending_before`, `created`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]


def page(
    world: World,
    kind: str,
    params: Document,
    url: str,
    where: dict[str, Any] | None = None,
    *,
    match: Callable[[Document], bool] | None = None,
) -> Document:
    """Return a page of the objects of a kind that match the indexed fields in `where` and the predicate."""
    limit = check_limit(params)
    after, before = params.get("starting_after"), params.get("ending_before")
    if after and before:
        raise errors.parameters_exclusive("starting_after", "ending_before")
    bounds: Document = {"created": created_bounds(params.get("created"))}
    if after:
        bounds["before"] = _position(world, kind, after, "starting_after")
    if before:
        bounds.update(after=_position(world, kind, before, "ending_before"), ascending=True)
    found: list[Document] = []
    for document in world.select(kind, {k: v for k, v in (where or {}).items() if v is not None}, **bounds):
        if match is None or match(document):
            found.append(document)
        if len(found) > limit:
            break
    shown = found[:limit]
    return rendering.listing(url, shown[::-1] if before else shown, has_more=len(found) > limit)


def page_of(documents: list[Document], params: Document, url: str) -> Document:
    """Return a page of documents that live inside another one, in their own order."""
    limit = check_limit(params)
    known = [document["id"] for document in documents]
    if params.get("starting_after") in known:
        documents = documents[known.index(params["starting_after"]) + 1 :]
    if params.get("ending_before") in known:
        documents = documents[: known.index(params["ending_before"])][-limit:]
    return rendering.listing(url, documents[:limit], has_more=len(documents) > limit)


def check_limit(params: Document) -> int:
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        bound = "less than or equal to 100" if limit > 100 else "greater than or equal to 1"
        raise errors.invalid(f"This value must be {bound}.", "limit", code="parameter_invalid_integer")
    return int(limit)


def created_bounds(created: Any) -> dict[str, int]:
    if created is None:
        return {}
    return {"gte": created, "lte": created} if isinstance(created, int) else dict(created)


def _position(world: World, kind: str, object_id: str, param: str) -> int:
    position = world.store.position(object_id)
    if position is None:
        raise errors.no_such(kind, object_id, param=param)
    return position
