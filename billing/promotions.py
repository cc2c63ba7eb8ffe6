"""Promotion codes of the catalogue: what somebody types at the checkout, and what it takes off."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from billing.catalog_file import Table

CODE = re.compile(r"[A-Z0-9]{3,40}")
MAX_CENTS = 99_999_999
MAX_MONTHS = 120
MAX_USES = 1_000_000_000


@dataclass(frozen=True)
class Promotion:
    """So many percent or cents off, once, for some months, or for as long as a subscription lasts."""

    key: str
    code: str
    name: str
    percent_off: int | None = None
    amount_off_cents: int | None = None
    # How many months of a subscription it lasts: 1 is the first payment alone, 0 all of them.
    months: int = 1
    max_uses: int | None = None
    expires_on: date | None = None
    is_for_first_purchase: bool = False


def read(key: str, table: Table) -> Promotion:
    """Read one promotion; problems are remembered by the table."""
    table.expect(
        "code", "name", "percent_off", "amount_off_cents", "months", "max_uses", "expires_on", "first_purchase"
    )
    expires_on = table.content.get("expires_on")
    if expires_on is not None and type(expires_on) is not date:
        table.report("expires_on", f"must be a date without quotes, such as 2027-05-31; it is {expires_on!r}")
        expires_on = None
    promotion = Promotion(
        key=key,
        code=table.word("code", key.upper().replace("_", ""), pattern=CODE, wanted="3 to 40 capitals and digits"),
        name=table.required_text("name"),
        percent_off=table.optional_number("percent_off", at_most=100),
        amount_off_cents=table.optional_number("amount_off_cents", at_most=MAX_CENTS),
        months=table.number("months", 1, at_most=MAX_MONTHS),
        max_uses=table.optional_number("max_uses", at_most=MAX_USES),
        expires_on=expires_on,
        is_for_first_purchase=table.flag("first_purchase"),
    )
    if (promotion.percent_off is None) == (promotion.amount_off_cents is None):
        table.report("percent_off", "is missing, or amount_off_cents is there too: give exactly one of the two")
    return promotion
