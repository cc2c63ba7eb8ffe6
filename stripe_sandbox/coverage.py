"""Which of the routes that a SaaS needs are implemented: the table in the README."""

from __future__ import annotations

import re
from pathlib import Path

from stripe_sandbox import routes
from stripe_sandbox.contract import Contract

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- coverage: begin -->", "<!-- coverage: end -->"
# Families by what their paths start with. What is left out is other business: Connect, Issuing, Terminal,
# Treasury, Tax, Identity, the rest of Radar, reporting, bank accounts as sources.
FAMILIES = {
    "Account and balance": ("account", "balance", "balance_transactions"),
    "Billing Portal": ("billing_portal",),
    "Charges, refunds, disputes": ("charges", "refunds", "disputes"),
    "Checkout and payment links": ("checkout", "payment_links"),
    "Coupons and promotion codes": ("coupons", "promotion_codes"),
    "Credit notes": ("credit_notes",),
    "Customers": ("customers", "tax_ids"),
    "Entitlements": ("entitlements",),
    "Files": ("files",),
    "Events and webhook endpoints": ("events", "webhook_endpoints"),
    "Invoices, items, payments": ("invoices", "invoiceitems", "invoice_payments"),
    "Meters and usage": ("billing/meters", "billing/meter_events", "billing/meter_event_adjustments"),
    "Payment and setup intents": ("payment_intents", "setup_intents", "setup_attempts"),
    "Payment methods": ("payment_methods",),
    "Products and prices": ("products", "prices"),
    "Radar: early fraud warnings": ("radar/early_fraud_warnings",),
    "Subscriptions, items, schedules": ("subscriptions", "subscription_items", "subscription_schedules"),
    "Test clocks": ("test_helpers/test_clocks",),
}
# Parts of these families that a SaaS on cards does not meet.
NOT_NEEDED = re.compile(
    r"/(sources|bank_accounts|cards|cash_balance|cash_balance_transactions|funding_instructions|customer_session)(/|$)"
    r"|verify_microdeposits|apply_customer_balance|increment_authorization|amount_details_line_items"
    r"|^POST /v1/charges$|/charges/\{\}/dispute|balance_settings|billing_portal/.*session_flows"
)
# Stripe answers these too, though the SDK reaches them by an object's `url` only.
UNDOCUMENTED_IN_SDK = {"GET /v1/charges/{}/refunds"}


def needed(contract: Contract) -> dict[str, list[str]]:
    """Return the routes that a SaaS needs, by family."""
    found: dict[str, list[str]] = {}
    for family, starts in FAMILIES.items():
        pattern = re.compile(rf"^[A-Z]+ /v1/({'|'.join(starts)})(/|$)")
        found[family] = sorted(key for key in contract.routes if pattern.match(key) and not NOT_NEEDED.search(key))
    return found


def table(contract: Contract) -> str:
    """Return the coverage as a Markdown table, with what is missing named."""
    lines = ["| family | routes | implemented | missing |", "|---|---|---|---|"]
    total = done = 0
    for family, keys in needed(contract).items():
        missing = [key for key in keys if key not in routes.ROUTES]
        total, done = total + len(keys), done + len(keys) - len(missing)
        named = ", ".join(f"`{key.replace('/v1', '')}`" for key in missing)
        lines.append(f"| {family} | {len(keys)} | {len(keys) - len(missing)} | {named} |")
    lines.append(f"| **all** | **{total}** | **{done}** | |")
    return "\n".join(lines)


def write(contract: Contract) -> None:
    """Put the current table into the README."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    README.write_text(f"{before}{BEGIN}\n{table(contract)}\n{END}{after}", encoding="utf-8")
