"""The site's main navigation; an entry whose page was removed leaves the menu by itself."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app, request, url_for

MAIN = (
    ("Dashboard", "dashboard.index"),
    ("Check a CV", "reports.new"),
    ("Pricing", "pricing.index"),
    ("Billing", "billing.index"),
)


@dataclass(frozen=True)
class Entry:
    """One link of a menu."""

    label: str
    url: str
    is_current: bool


def main() -> list[Entry]:
    """Return the signed-in visitor's menu: only pages that exist."""
    area = (request.blueprint or "").partition(".")[0]
    return [
        Entry(label, url_for(endpoint), is_current=endpoint.partition(".")[0] == area)
        for label, endpoint in MAIN
        if has_page(endpoint)
    ]


def has_page(endpoint: str) -> bool:
    """Return whether the site has this page."""
    return endpoint in current_app.view_functions
