"""Identifiers that look like Stripe's: a prefix that tells the kind, then random letters and digits."""

from __future__ import annotations

import os
import string

PREFIXES = {
    "account": "acct_1",
    "balance_transaction": "txn_3",
    "billing.alert": "alrt_",
    "billing.credit_balance_transaction": "cbtxn_",
    "billing.credit_grant": "credgr_",
    "billing.meter": "mtr_test_",
    "billing.meter_event": "mtr_event_",
    "billing.meter_event_adjustment": "mtr_event_adj_",
    "billing.meter_event_summary": "mtrusg_test_",
    "billing_portal.configuration": "bpc_1",
    "billing_portal.session": "bps_1",
    "charge": "ch_3",
    "checkout.session": "cs_test_",
    "coupon": "",
    "credit_note": "cn_1",
    "credit_note_line_item": "cnli_1",
    "customer": "cus_",
    "customer_balance_transaction": "cbtxn_1",
    "delivery": "dlv_",
    "discount": "di_1",
    "dispute": "du_1",
    "entitlements.active_entitlement": "ent_test_",
    "entitlements.feature": "feat_test_",
    "event": "evt_1",
    "file": "file_1",
    "invoice": "in_1",
    "invoice_payment": "inpay_1",
    "invoiceitem": "ii_1",
    "item": "li_1",
    "line_item": "il_1",
    "mandate": "mandate_1",
    "payment_intent": "pi_3",
    "payment_link": "plink_1",
    "payment_method": "pm_1",
    "payout": "po_1",
    "price": "price_1",
    "product": "prod_",
    "product_feature": "prodft_test_",
    "promotion_code": "promo_1",
    "radar.early_fraud_warning": "issfr_1",
    "refund": "re_3",
    "request": "req_",
    "setup_attempt": "setatt_1",
    "setup_intent": "seti_1",
    "shipping_rate": "shr_1",
    "subscription": "sub_1",
    "subscription_item": "si_",
    "subscription_schedule": "sub_sched_1",
    "tax_id": "txi_1",
    "tax_rate": "txr_1",
    "test_helpers.test_clock": "clock_1",
    "webhook_endpoint": "we_1",
}
LENGTHS = {"request": 14, "customer": 14, "product": 14, "coupon": 8, "subscription_item": 14, "checkout.session": 58}
_ALPHABET = string.ascii_letters + string.digits


def new(kind: str) -> str:
    """Return a fresh identifier for a kind of object ("customer" -> "cus_...")."""
    return PREFIXES[kind] + token(LENGTHS.get(kind, 23))


def token(length: int) -> str:
    """Return random letters and digits, from the system: tests seed `random`, and forked processes share its state."""
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in os.urandom(length))
