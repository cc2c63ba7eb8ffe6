"""What the doctor asks about use and entitlements: each check yields a problem and its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy.orm import Session

import clock
from billing import entitlements, usage_reports
from billing.doctor_words import Check, Told

LATE = timedelta(minutes=15)
RECENT = timedelta(days=35)
# Asking Stripe about everybody would take minutes; those looked at are the ones who were billed last.
MOST_ASKED = 50


def reports_arrive(session: Session) -> Iterator[Told]:
    """Find use that Stripe has not been told of, and use that nothing will ever bill."""
    now = clock.now()
    for report in usage_reports.stuck(session, since=now - LATE):
        yield (
            f"{report.quantity} {report.meter} of account {report.account_id} wait for Stripe: {report.last_error}",
            "Is `flask worker` running? Later than an hour after the period they are billed with the next one.",
        )
    for report in usage_reports.lost(session, since=now - RECENT):
        yield (
            f"nothing bills {report.quantity} {report.meter} of account {report.account_id}: {report.last_error}",
            "Charge them by hand, or let them go.",
        )


def reports_add_up(session: Session) -> Iterator[Told]:
    """Find reports that are not the sum of what was recorded."""
    for problem in usage_reports.mismatches(session):
        yield problem, "Restore the usage tables from the backup that has them."


def stripe_counts_the_same(session: Session) -> Iterator[Told]:
    """Compare the running period's use with what Stripe has added up."""
    for account_id, meter in usage_reports.billed_accounts(session)[-MOST_ASKED:]:
        for found in usage_reports.differences(session, account_id, meter):
            yield (
                f"account {account_id}: {found.reported} {meter} were reported since {found.starts_at:%d %B}, "
                f"and Stripe counted {found.counted}",
                "Correct Stripe's count by a meter event of the difference before the period's invoice is closed.",
            )


def entitlements_agree(session: Session) -> Iterator[Told]:
    """Compare what the catalogue opens with what Stripe says that customers may use."""
    for found in entitlements.differences(session):
        words = [f"lacks {', '.join(sorted(found.missing))}"] if found.missing else []
        words += [f"still has {', '.join(sorted(found.unexpected))}"] if found.unexpected else []
        yield (
            f"at Stripe the customer {found.stripe_customer_id} {' and '.join(words)}",
            "Pages follow the catalogue. Run `flask catalog push`, so that Stripe's products have the same features.",
        )


CHECKS = (
    Check("use is reported", reports_arrive),
    Check("reports are the sum of their records", reports_add_up),
    Check("entitlements agree with Stripe's", entitlements_agree),
)
AT_STRIPE = (Check("Stripe counts the same use", stripe_counts_the_same, asks_stripe=True),)
