"""How updates change documents: plain fields, and metadata that is merged key by key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stripe_sandbox import errors

Document = dict[str, Any]


def set_fields(document: Document, params: Document, names: Iterable[str]) -> None:
    """Copy parameters onto fields of the same name; an empty string means null."""
    for name in names:
        if name in params:
            document[name] = None if params[name] == "" else params[name]


def merge_metadata(document: Document, params: Document, name: str = "metadata") -> None:
    """Merge metadata: given keys are set, keys given as an empty string are removed, "" removes all."""
    if name not in params:
        return
    given = params[name]
    if given == "":
        document[name] = {}
        return
    check_metadata(given)
    merged = {**(document[name] or {}), **given}
    document[name] = {key: value for key, value in merged.items() if value != ""}
    check_metadata(document[name])


def check_metadata(given: Any) -> dict[str, str]:
    """Return metadata for a new object; raises when it breaks Stripe's limits of 50 keys, 40 and 500 characters."""
    metadata = {key: value for key, value in (given or {}).items() if value != ""} if given else {}
    if len(metadata) > 50:
        raise errors.invalid("Metadata can have at most 50 keys.", "metadata")
    for key, value in metadata.items():
        if len(key) > 40:
            raise errors.invalid(
                f"Metadata keys can have up to 40 characters, but you passed in a key that is {len(key)} characters.",
                "metadata",
            )
        if len(value) > 500:
            raise errors.invalid(
                "Metadata values can have up to 500 characters, but you passed in a value that is "
                f"{len(value)} characters. Invalid value: {value[:20]}...",
                f"metadata[{key}]",
            )
    return metadata


def require_one(params: Document, *names: str) -> str:
    """Return which of some parameters was given; raises when none or several were."""
    given = [name for name in names if params.get(name) not in (None, "")]
    if not given:
        raise errors.invalid(f"You must pass one of {', '.join(names)}.", names[0], code="parameter_missing")
    if len(given) > 1:
        raise errors.parameters_exclusive(given[0], given[1])
    return given[0]
