"""Reading the sandbox for the dashboard: objects by kind, what refers to what, deliveries and requests.

Nothing here changes anything.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from stripe_sandbox.pages import card_offers, order, words

if TYPE_CHECKING:
    from stripe_sandbox.store import Store
    from stripe_sandbox.world import World

Document = dict[str, Any]
PAGE = 50
HIDDEN_KINDS = ("event",)  # Events have a page of their own.
NAMES = ("name", "email", "number", "description", "code", "lookup_key", "event_name", "value", "reason", "key")


def kinds(store: Store) -> list[tuple[str, int]]:
    """Return the kinds of objects that exist, with how many there are of each, by name."""
    rows = store.rows("SELECT kind, count(*) AS n FROM objects GROUP BY kind")
    found = [(row["kind"], int(row["n"])) for row in rows if row["kind"] not in HIDDEN_KINDS]
    return sorted(found, key=lambda pair: words.kind_name(pair[0]))


def find(world: World, *, kind: str, text: str, before: int | None) -> tuple[list[Document], int | None]:
    """Return a page of objects, newest first, whose JSON contains a text; and where the next page begins."""
    sql = "SELECT seq, body FROM objects WHERE seq < ?"
    values: list[Any] = [before or 2**62]
    if kind:
        sql, values = sql + " AND kind = ?", [*values, kind]
    else:
        sql += " AND kind != 'event'"
    if text:
        sql, values = sql + r" AND body LIKE ? ESCAPE '\'", [*values, _pattern(text)]
    rows = world.store.rows(sql + f" ORDER BY seq DESC LIMIT {PAGE + 1}", *values)
    more = rows[PAGE - 1]["seq"] if len(rows) > PAGE else None
    return [row_of(world, json.loads(row["body"])) for row in rows[:PAGE]], more


def _pattern(text: str) -> str:
    """Return what LIKE is to look for, so that `%` and `_` in a text mean themselves."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", text) + "%"


def row_of(world: World, document: Document) -> Document:
    """Return what a line of a list says about an object."""
    names = ("amount", "total", "unit_amount", "amount_total")
    amount = next((document[name] for name in names if name in document), None)
    return {
        "id": document["id"],
        "kind": document["object"],
        "name": _shortened(name_of(world, document)),
        "status": status_of(document),
        "amount": words.amount(amount, document.get("currency")) if isinstance(amount, int) else "",
        "created": document.get("created"),
    }


def _shortened(text: str) -> str:
    return text if len(text) <= 90 else text[:87] + "..."


def name_of(world: World, document: Document) -> str:
    """Return what tells an object apart for people: a card's last four, a plan, whose it is, a number, an address."""
    card = document.get("card")
    if isinstance(card, dict) and card.get("last4"):
        expiry = f"{card['exp_month']:02d} / {card['exp_year'] % 100:02d}"
        return f"{card_offers.brand(card['brand'])} ending {card['last4']}, {expiry}"
    if document["object"] == "price":
        return f"{_product(world, document)} {order.every(document['recurring'])}".strip()
    known = next((document[name] for name in NAMES if isinstance(document.get(name), str)), "")
    if document["object"] == "webhook_endpoint":
        return str(document["url"])
    customer = world.find("customer", document.get("customer")) or {}
    whose = customer.get("email") or customer.get("name") or ""
    return ", ".join(part for part in (known or _sold(world, document), whose) if part)


def _product(world: World, price: Document) -> str:
    return str((world.find("product", price["product"]) or {}).get("name", ""))


def _sold(world: World, document: Document) -> str:
    """Return what a subscription or a checkout session is for."""
    items = document.get("_line_items") or []
    if document["object"] == "subscription":
        items = document["items"]["data"]
    prices = [world.find("price", item["price"]) for item in items]
    return ", ".join(_product(world, price) for price in prices if price)


def status_of(document: Document) -> str:
    status = document.get("status")
    if isinstance(status, str):
        return status
    if isinstance(document.get("active"), bool):
        return "active" if document["active"] else "inactive"
    return ""


def known_ids(store: Store, values: set[str]) -> set[str]:
    """Return which of some texts are ids of objects."""
    found: set[str] = set()
    wanted = sorted(values)
    for start in range(0, len(wanted), 400):
        part = wanted[start : start + 400]
        marks = ",".join("?" * len(part))
        found |= {row["id"] for row in store.rows(f"SELECT id FROM objects WHERE id IN ({marks})", *part)}  # noqa: S608
    return found


TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?')


def linked(store: Store, value: Any) -> Markup:
    """Write JSON as HTML in which the ids of objects and requests lead to their pages."""
    text = words.pretty(value)
    ids = {match.group(1) for match in TOKEN.finditer(text) if not match.group(2) and 5 < len(match.group(1)) < 100}
    known = known_ids(store, ids)
    parts, end = [], 0
    for match in TOKEN.finditer(text):
        parts.append(escape(text[end : match.start()]))
        parts.append(_token(match.group(1), bool(match.group(2)), known))
        parts.append(escape(match.group(2) or ""))
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


def _token(inner: str, is_key: bool, known: set[str]) -> Markup:
    if is_key:
        return Markup('<span class="json-key">"{}"</span>').format(inner)
    if inner in known:
        return Markup('"<a href="/dashboard/objects/{0}">{0}</a>"').format(inner)
    if re.fullmatch(r"req_[A-Za-z0-9]+", inner):
        return Markup('"<a href="/dashboard/requests/{0}">{0}</a>"').format(inner)
    return Markup('<span class="json-text">"{}"</span>').format(inner)


def events_of(world: World, object_id: str, *, limit: int = 50) -> list[Document]:
    """Return the latest events about an object, each with the states of its deliveries."""
    found = []
    for event in world.select("event", {"object": object_id}):
        found.append({**event, "deliveries": deliveries_of(world.store, event["id"])})
        if len(found) == limit:
            break
    return found


def events(world: World, *, type: str, limit: int = 100) -> list[Document]:  # noqa: A002 - Stripe's word
    """Return the latest events, of a type or all, each with the states of its deliveries."""
    found = []
    for event in world.select("event", {"type": type} if type else None):
        found.append({**event, "deliveries": deliveries_of(world.store, event["id"])})
        if len(found) == limit:
            break
    return found


def event_types(store: Store) -> list[str]:
    rows = store.rows("SELECT DISTINCT value FROM refs WHERE kind = 'event' AND field = 'type' ORDER BY value")
    return [row["value"] for row in rows]


def deliveries_of(store: Store, event_id: str) -> list[Document]:
    return _deliveries(store, "WHERE d.event_id = ? ORDER BY d.seq", event_id)


def deliveries(store: Store, *, state: str = "", endpoint: str = "", limit: int = 100) -> list[Document]:
    """Return the latest deliveries, in a state or to an endpoint."""
    return _deliveries(
        store,
        "WHERE (? = '' OR d.state = ?) AND (? = '' OR d.endpoint_id = ?) ORDER BY d.seq DESC LIMIT ?",
        *(state, state, endpoint, endpoint, limit),
    )


def delivery(store: Store, delivery_id: str) -> Document | None:
    """Return a delivery with its attempts, oldest first, or None."""
    found = _deliveries(store, "WHERE d.id = ?", delivery_id)
    if not found:
        return None
    rows = store.rows("SELECT * FROM attempts WHERE delivery_id = ? ORDER BY seq", delivery_id)
    tries = [{**dict(row), "headers": json.loads(row["headers"])} for row in rows]
    return {**found[0], "tries": tries}


DELIVERIES = """
SELECT d.*, json_extract(o.body, '$.type') AS type, json_extract(e.body, '$.url') AS url,
    (SELECT a.status FROM attempts a WHERE a.delivery_id = d.id ORDER BY a.seq DESC LIMIT 1) AS last_status,
    (SELECT a.error FROM attempts a WHERE a.delivery_id = d.id ORDER BY a.seq DESC LIMIT 1) AS last_error
FROM deliveries d LEFT JOIN objects o ON o.id = d.event_id LEFT JOIN objects e ON e.id = d.endpoint_id
"""


def _deliveries(store: Store, where: str, *values: Any) -> list[Document]:
    return [dict(row) for row in store.rows(DELIVERIES + where, *values)]


def health(world: World) -> list[Document]:
    """Return the webhook endpoints, each with how its deliveries fare."""
    shown = []
    for endpoint in world.select("webhook_endpoint", ascending=True):
        rows = world.store.rows(
            "SELECT state, count(*) AS n FROM deliveries WHERE endpoint_id = ? GROUP BY state", endpoint["id"]
        )
        counts = {row["state"]: int(row["n"]) for row in rows}
        latest = deliveries(world.store, endpoint=endpoint["id"], limit=1)
        tried = world.store.row(
            "SELECT a.* FROM attempts a JOIN deliveries d ON d.id = a.delivery_id WHERE d.endpoint_id = ? "
            "ORDER BY a.seq DESC LIMIT 1",
            endpoint["id"],
        )
        shown.append(
            {
                **endpoint,
                "counts": counts,
                "latest": latest[0] if latest else None,
                "tried": dict(tried) if tried else None,
                "verdict": _verdict(endpoint, counts, dict(tried) if tried else None),
            }
        )
    return shown


def _verdict(endpoint: Document, counts: dict[str, int], tried: Document | None) -> tuple[str, str]:
    """Return how an endpoint fares, in words, and their tone."""
    if endpoint["status"] != "enabled":
        return "Disabled", "danger"
    if tried is None:
        return "Nothing sent yet", "neutral"
    if tried["error"]:
        return "Does not answer", "danger"
    if not 200 <= tried["status"] < 300:
        return f"Answers {tried['status']}", "danger"
    waiting = counts.get("pending", 0)
    return (f"Healthy, {waiting} waiting", "warning") if waiting else ("Healthy", "positive")


def requests(store: Store, *, text: str = "", failed: bool = False, limit: int = 100) -> list[Document]:
    """Return the latest API requests, whose path contains a text, or that failed."""
    rows = store.rows(
        "SELECT * FROM requests WHERE path LIKE ? ESCAPE '\\' AND (? = 0 OR status >= 400) ORDER BY seq DESC LIMIT ?",
        *(_pattern(text), int(failed), limit),
    )
    return [dict(row) for row in rows]


def request(store: Store, request_id: str) -> Document | None:
    row = store.row("SELECT * FROM requests WHERE id = ?", request_id)
    return None if row is None else dict(row)


def appointments(store: Store, *, limit: int = 25) -> list[Document]:
    """Return what will happen by itself, soonest first."""
    rows = store.rows("SELECT * FROM tasks ORDER BY due_at, seq LIMIT ?", limit)
    return [dict(row) for row in rows]


def next_renewal(store: Store, *, subscription: str = "") -> float | None:
    """Return when the next subscription on the sandbox's clock renews, or a given one; None when none does."""
    row = store.row(
        "SELECT min(due_at) AS at FROM tasks "
        "WHERE name = 'subscription.cycle' AND clock = '' AND (? = '' OR object_id = ?)",
        *(subscription, subscription),
    )
    return row["at"] if row else None
