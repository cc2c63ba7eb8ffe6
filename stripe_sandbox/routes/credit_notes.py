"""Credit notes: issuing, previewing and voiding them."""

from __future__ import annotations

from typing import Any

from stripe_sandbox.engine import credit_notes
from stripe_sandbox.pagination import page, page_of
from stripe_sandbox.routes import route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]


@route("POST", "/v1/credit_notes")
def create(world: World, params: Document) -> Document:
    return credit_notes.issue(world, _worked_out(world, params), params)


@route("GET", "/v1/credit_notes/preview")
def preview(world: World, params: Document) -> Document:
    return _worked_out(world, params)


@route("GET", "/v1/credit_notes/preview/lines")
def preview_lines(world: World, params: Document) -> Document:
    return page_of(_worked_out(world, params)["_lines"], params, "/v1/credit_notes/preview/lines")


def _worked_out(world: World, params: Document) -> Document:
    invoice = world.get("invoice", params["invoice"], param="invoice")
    world.follow_clock_of(world.find("customer", invoice["customer"]))
    metadata = check_metadata(params.get("metadata"))
    return credit_notes.work_out(world, invoice, {**params, "metadata": metadata})


@route("GET", "/v1/credit_notes/{note}")
def retrieve(world: World, params: Document, note: str) -> Document:
    return world.get("credit_note", note)


@route("POST", "/v1/credit_notes/{note}")
def update(world: World, params: Document, note: str) -> Document:
    document = world.get("credit_note", note)
    set_fields(document, params, ("memo",))
    merge_metadata(document, params)
    return world.save(document, "credit_note.updated")


@route("POST", "/v1/credit_notes/{note}/void")
def void(world: World, params: Document, note: str) -> Document:
    return credit_notes.void(world, world.get("credit_note", note))


@route("GET", "/v1/credit_notes/{note}/lines")
def lines(world: World, params: Document, note: str) -> Document:
    return page_of(world.get("credit_note", note)["_lines"], params, f"/v1/credit_notes/{note}/lines")


@route("GET", "/v1/credit_notes")
def list_all(world: World, params: Document) -> Document:
    names = ("customer", "invoice")
    return page(world, "credit_note", params, "/v1/credit_notes", {name: params.get(name) for name in names})
