"""The mails about usage: at 80 % and at all of what a plan includes, once per period."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

import clock
import failpoints
from accounts import people
from billing import catalog, usage_standing
from billing.subscriptions import instant
from mail import links, outbox
from mail.preparing import NotNeeded, Prepared, prepares

# Of what is included, in percent.
THRESHOLDS = (100, 80)


def after_use(
    session: Session,
    account_id: int,
    meter: str,
    *,
    starts_at: datetime,
    ends_at: datetime,
    before: int,
    after: int,
    included: int,
) -> None:
    """Promise the mail of the highest threshold that this use has crossed, once per period."""
    crossed = next((p for p in THRESHOLDS if included > 0 and before * 100 < p * included <= after * 100), None)
    if crossed is None:
        return
    outbox.queue(
        session,
        "usage_warning",
        to=people.owner_email(session, account_id),
        context={
            "account_id": account_id,
            "meter": meter,
            "percent": crossed,
            "starts_at": int(starts_at.timestamp()),
            "ends_at": int(ends_at.timestamp()),
        },
        dedupe_key=f"usage:{account_id}:{meter}:{int(starts_at.timestamp())}:{crossed}",
        account_id=account_id,
        not_after=ends_at,
    )
    failpoints.hit("usage.warned")


@prepares("usage_warning")
def prepare_usage_warning(session: Session, mail: Prepared) -> Prepared:
    """Say how much is used and what comes next; raise NotNeeded when the period is over or more is included now."""
    account_id, meter = mail.context["account_id"], mail.context["meter"]
    if not any(known.key == meter for known in catalog.current().meters):
        raise NotNeeded("the meter is not counted any more")
    now = usage_standing.standing(session, account_id, meter)
    is_same = int(now.starts_at.timestamp()) == mail.context["starts_at"] and now.ends_at > clock.now()
    if not is_same or now.used * 100 < mail.context["percent"] * now.included:
        raise NotNeeded("the period is over, or the plan includes more now")
    name = next(known.name for known in catalog.current().meters if known.key == meter)
    facts = {
        "what": name,
        "plan": now.plan.name,
        "used": now.used,
        "included": now.included,
        "has_overage": now.has_overage,
        "cap_cents": now.cap_cents,
        "allowed": now.allowed,
        "cents_per_1000": None if now.cents_per_unit is None else usage_standing.cost(1000, now.cents_per_unit),
        "currency": now.currency,
        "ends_at": instant(mail.context["ends_at"]),
        "usage_url": links.to("billing.usage_page"),
    }
    return Prepared(mail.template, mail.to, {**mail.context, **facts})
