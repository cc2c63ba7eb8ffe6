"""What must be true of the ledger at every moment, as SQL: run after every step of the tests and by `flask doctor`."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from ledger import append_only
from ledger.models import entries, transactions

# Each query returns, for what is wrong only: the rule, whose it is, what is stored, and what it should be.
_BY_WALLET = """
WITH sums AS MATERIALIZED (
    SELECT t.account_id,
        SUM(CASE WHEN e.book = 'available' THEN e.amount ELSE 0 END) AS available,
        SUM(CASE WHEN e.book = 'held' THEN e.amount ELSE 0 END) AS held,
        SUM(CASE WHEN e.book = 'debt' THEN e.amount ELSE 0 END) AS debt,
        SUM(CASE WHEN e.book = 'refunded' THEN e.amount ELSE 0 END) AS refunded
    FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction_id
    GROUP BY t.account_id
), filled AS MATERIALIZED (
    SELECT account_id, SUM(remaining) AS remaining, SUM(clawed) AS clawed FROM buckets GROUP BY account_id
), aside AS MATERIALIZED (
    SELECT h.account_id, SUM(l.credits) AS credits
    FROM holds h JOIN hold_lines l ON l.hold_id = h.id WHERE h.status = 'open' GROUP BY h.account_id
), told AS MATERIALIZED (
    SELECT w.account_id, w.balance, w.held, w.debt,
        COALESCE(sums.available, 0) AS said_available, COALESCE(sums.held, 0) AS said_held,
        -COALESCE(sums.debt, 0) AS said_debt, COALESCE(sums.refunded, 0) AS said_refunded,
        COALESCE(filled.remaining, 0) AS in_buckets, COALESCE(filled.clawed, 0) AS clawed,
        COALESCE(aside.credits, 0) AS on_hold
    FROM wallets w
    LEFT JOIN sums ON sums.account_id = w.account_id
    LEFT JOIN filled ON filled.account_id = w.account_id
    LEFT JOIN aside ON aside.account_id = w.account_id
)
SELECT 'I1', account_id, balance, said_available FROM told WHERE balance <> said_available
UNION ALL SELECT 'I2', account_id, balance, in_buckets FROM told WHERE balance <> in_buckets
UNION ALL SELECT 'I3', account_id, held, on_hold FROM told WHERE held <> on_hold
UNION ALL SELECT 'I3', account_id, held, said_held FROM told WHERE held <> said_held
UNION ALL SELECT 'I4', account_id, debt, said_debt FROM told WHERE debt <> said_debt
UNION ALL SELECT 'I9', account_id, clawed, said_refunded FROM told WHERE clawed <> said_refunded
UNION ALL SELECT 'I7', account_id, balance, 0 FROM told WHERE balance < 0 OR held < 0 OR debt < 0
"""
_BY_TRANSACTION = """
WITH sums AS (
    SELECT transaction_id, SUM(amount) AS total,
        SUM(CASE WHEN book = 'available' THEN amount ELSE 0 END) AS available,
        SUM(CASE WHEN book = 'debt' THEN amount ELSE 0 END) AS debt,
        SUM(CASE WHEN book = 'consumed' THEN amount ELSE 0 END) AS consumed
    FROM ledger_entries GROUP BY transaction_id
), told AS (
    SELECT t.id, t.credits, t.debt, t.used, COALESCE(s.total, 0) AS total, COALESCE(s.available, 0) AS said_credits,
        -COALESCE(s.debt, 0) AS said_debt, COALESCE(s.consumed, 0) AS said_used
    FROM ledger_transactions t LEFT JOIN sums s ON s.transaction_id = t.id
)
SELECT CASE WHEN total <> 0 THEN 'I5' ELSE 'T1' END, id,
    CASE WHEN total <> 0 THEN total ELSE credits - debt + used END,
    CASE WHEN total <> 0 THEN 0 ELSE said_credits - said_debt + said_used END
FROM told WHERE total <> 0 OR credits <> said_credits OR debt <> said_debt OR used <> said_used
"""
_BY_BUCKET = """
WITH sums AS MATERIALIZED (
    SELECT bucket_id,
        SUM(CASE WHEN book = 'available' THEN amount ELSE 0 END) AS available,
        SUM(CASE WHEN book = 'expired' THEN amount ELSE 0 END) AS expired
    FROM ledger_entries WHERE bucket_id IS NOT NULL GROUP BY bucket_id
), aside AS MATERIALIZED (
    SELECT l.bucket_id, SUM(l.credits) AS credits
    FROM hold_lines l JOIN holds h ON h.id = l.hold_id WHERE h.status = 'open' GROUP BY l.bucket_id
), told AS MATERIALIZED (
    SELECT b.id, b.granted, b.remaining, b.expired, b.clawed, COALESCE(sums.available, 0) AS said_remaining,
        COALESCE(sums.expired, 0) AS said_expired, COALESCE(aside.credits, 0) AS on_hold
    FROM buckets b LEFT JOIN sums ON sums.bucket_id = b.id LEFT JOIN aside ON aside.bucket_id = b.id
)
SELECT 'I6', id, remaining, said_remaining FROM told WHERE remaining <> said_remaining
UNION ALL SELECT 'B1', id, expired, said_expired FROM told WHERE expired <> said_expired
UNION ALL SELECT 'B2', id, remaining + on_hold, granted FROM told WHERE remaining + on_hold > granted
UNION ALL SELECT 'B3', id, remaining, granted FROM told WHERE remaining NOT BETWEEN 0 AND granted
UNION ALL SELECT 'B4', id, clawed, granted FROM told WHERE clawed NOT BETWEEN 0 AND granted
"""
_LAST_BALANCE = """
SELECT 'T2', w.account_id, w.balance, t.balance_after
FROM wallets w JOIN ledger_transactions t ON t.id = (
    SELECT MAX(id) FROM ledger_transactions last WHERE last.account_id = w.account_id
) WHERE t.balance_after <> w.balance
"""
_NEXT_EXPIRY = """
SELECT 'W1', w.account_id, COUNT(*), 0
FROM wallets w JOIN buckets b ON b.account_id = w.account_id AND b.is_open AND b.expires_at IS NOT NULL
WHERE w.next_expiry_at IS NULL OR b.expires_at < w.next_expiry_at GROUP BY w.account_id
"""
_FROZEN = """
SELECT 'W2', w.account_id, CASE WHEN w.frozen_reason IS NULL THEN 0 ELSE 1 END, COUNT(f.cause)
FROM wallets w LEFT JOIN wallet_freezes f ON f.account_id = w.account_id
GROUP BY w.account_id, w.frozen_reason HAVING (w.frozen_reason IS NULL) <> (COUNT(f.cause) = 0)
"""
_HOLDS = """
SELECT 'H1', h.id, h.credits, SUM(l.credits) FROM holds h JOIN hold_lines l ON l.hold_id = h.id
GROUP BY h.id, h.credits HAVING h.credits <> SUM(l.credits)
"""
QUERIES = tuple(
    text(query) for query in (_BY_WALLET, _BY_TRANSACTION, _BY_BUCKET, _LAST_BALANCE, _NEXT_EXPIRY, _FROZEN, _HOLDS)
)

SENTENCES = {
    "I1": "wallet {id}: the balance is {stored}, its entries sum to {right}",
    "I2": "wallet {id}: the balance is {stored}, its buckets hold {right}",
    "I3": "wallet {id}: {stored} credits are held, its open holds or entries say {right}",
    "I4": "wallet {id}: the debt is {stored}, its entries say {right}",
    "I5": "transaction {id}: its entries sum to {stored}, not to {right}",
    "I6": "bucket {id}: {stored} credits remain, its entries say {right}",
    "I7": "wallet {id}: balance, held or debt is below {right}",
    "I9": "wallet {id}: {stored} credits are clawed back in its buckets, its entries say {right}",
    "I18": "{id} can be changed: its trigger {stored} is missing",
    "B1": "bucket {id}: {stored} credits have expired, its entries say {right}",
    "B2": "bucket {id}: it and its open holds have {stored} credits, more than the {right} granted",
    "B3": "bucket {id}: {stored} credits remain of {right} granted",
    "B4": "bucket {id}: {stored} credits are clawed back of {right} granted",
    "H1": "hold {id}: it has {stored} credits, its lines {right}",
    "T1": "transaction {id}: its change of balance, debt and use is {stored}, its entries say {right}",
    "T2": "wallet {id}: the balance is {stored}, its last transaction left {right}",
    "W1": "wallet {id}: {stored} buckets expire before it would look",
    "W2": "wallet {id}: frozen is {stored}, and {right} causes stand",
}


def violations(session: Session) -> list[str]:
    """Return a sentence, beginning with the rule's number, for everything that contradicts itself; none if all is well.

    Reads the whole ledger in a few passes: seconds for a million entries.
    """
    found = [tuple(row) for query in QUERIES for row in session.execute(query)]
    found += _missing_triggers(session)
    return [
        f"{rule} {SENTENCES[rule].format(id=id_, stored=stored, right=right)}" for rule, id_, stored, right in found
    ]


def _missing_triggers(session: Session) -> list[tuple[str, str, str, str]]:
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        if is_sqlite
        else ("SELECT tgname FROM pg_trigger WHERE tgenabled <> 'D'")
    )
    present = set(session.scalars(text(query)))
    return [
        ("I18", table.name, trigger, "")
        for table in (transactions, entries)
        for trigger in (f"{table.name}_never_{verb}" for verb in append_only.VERBS)
        if trigger not in present
    ]
