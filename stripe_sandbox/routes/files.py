"""Files: uploaded as parts of a form, described ever after; what is in them is not kept."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import errors, objects
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.world import World

Document = dict[str, Any]
# What Stripe takes for evidence: https://docs.stripe.com/file-upload
MOST_BYTES = 5 * 1024 * 1024
TYPES = ("pdf", "jpg", "png")


@route("POST", "/v1/files")
def create(world: World, params: Document) -> Document:
    sent = params["file"]
    if not isinstance(sent, dict):
        raise errors.invalid("Invalid file: send it as a part of a multipart/form-data request.", "file")
    if params["purpose"] == "dispute_evidence" and (sent["type"] not in TYPES or sent["size"] > MOST_BYTES):
        raise errors.invalid("Invalid file: evidence is a PDF, JPEG or PNG of at most 5 MB.", "file")
    document = objects.new(
        world,
        "file",
        filename=sent["filename"],
        purpose=params["purpose"],
        size=sent["size"],
        type=sent["type"],
    )
    document["links"] = {
        "object": "list",
        "data": [],
        "has_more": False,
        "url": f"/v1/file_links?file={document['id']}",
    }
    return world.add(document)


@route("GET", "/v1/files/{file}")
def retrieve(world: World, params: Document, file: str) -> Document:
    return world.get("file", file)


@route("GET", "/v1/files")
def list_all(world: World, params: Document) -> Document:
    return page(world, "file", params, "/v1/files", {"purpose": params.get("purpose")})
