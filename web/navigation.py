"""The site's main navigation; an entry whose page was removed leaves the menu by itself."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app, request, url_for
from werkzeug.exceptions import HTTPException

MAIN = (
    ("Dashboard", "dashboard.index"),
    ("Check a CV", "reports.new"),
    ("Projects", "projects.index"),
    ("Pricing", "pricing.index"),
    ("Billing", "billing.index"),
)
# Pages that are no entry of the menu, as "Continue to ..." names them.
OTHERS = {
    "reports.index": "your reports",
    "api_keys.index": "your API keys",
    "billing.change": "your change of plan",
    "team.index": "your team",
    "team.accounts": "your accounts",
    "settings.index": "your settings",
    "settings.change_email": "your change of address",
    "settings.download": "your data",
    "settings.delete_account": "the end of your account",
    "settings.confirm_email": "your change of address",
}
ELSEWHERE = "where you were"


@dataclass(frozen=True)
class Entry:
    """One link of a menu."""

    label: str
    url: str
    is_current: bool


def main(*, pays: bool = True) -> list[Entry]:
    """Return the signed-in visitor's menu: only pages that exist; billing only for whoever takes care of it."""
    area = (request.blueprint or "").partition(".")[0]
    return [
        Entry(label, url_for(endpoint), is_current=endpoint.partition(".")[0] == area)
        for label, endpoint in MAIN
        if has_page(endpoint) and (pays or endpoint != "billing.index")
    ]


def has_page(endpoint: str) -> bool:
    """Return whether the site has this page."""
    return endpoint in current_app.view_functions


def label_of(path: str) -> str:
    """Name a page of this site by its path, for "Continue to ..."; in general words when it has no name."""
    try:
        endpoint, _ = current_app.url_map.bind("").match(path.partition("?")[0])
    except HTTPException:
        return ELSEWHERE
    named = OTHERS | {name: label for label, name in MAIN}
    return named.get(endpoint, ELSEWHERE)
