"""However webhooks arrive - doubled, reversed, shuffled, at once, or never - the end is the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import delete, func, select

from billing import access, poller
from billing.models import Payment, PlanGrant, StripeEvent, SyncTask
from extensions import db
from ledger.models import Bucket
from tests.persons import Person, sign_up
from tests.worlds import Stripe


def buy_everything(app: Flask, stripe: Stripe) -> Person:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_30"))
    stripe.pay(ann.checkout("pro_monthly"))
    return ann


def end_state(ann: Person) -> dict[str, object]:
    with ann.app.app_context():
        subscription = access.subscription_of(db.session(), ann.account_id)
        assert subscription is not None
        count = {
            m.__name__: db.session.scalar(select(func.count()).select_from(m)) for m in (Payment, PlanGrant, Bucket)
        }
        return {
            "plan": access.plan_of(db.session(), ann.account_id).key,
            "status": subscription.stripe_status,
            "purchase": ann.balance_of("purchase"),
            "plan credits": ann.balance_of("plan"),
            **count,
        }


EXPECTED = {
    "plan": "pro",
    "status": "active",
    "purchase": 30,
    "plan credits": 3 + 50,
    "Payment": 2,
    "PlanGrant": 2,  # the free plan's at sign-up, Pro's by its invoice
    "Bucket": 3,
}


@pytest.mark.parametrize("order", ["as_is", "reversed", "shuffled"])
@pytest.mark.parametrize("times", [1, 3])
def test_order_and_repetition_do_not_matter(app: Flask, stripe: Stripe, order: str, times: int) -> None:
    ann = buy_everything(app, stripe)
    stripe.settle(order=order, times=times, seed=7)
    assert end_state(ann) == EXPECTED


def test_working_between_any_two_deliveries_does_not_matter(app: Flask, stripe: Stripe) -> None:
    ann = buy_everything(app, stripe)
    while stripe.sandbox.deliver(stripe._post, order="reversed", limit=1):
        stripe.settle(order="reversed", times=1)
    stripe.settle()
    assert end_state(ann) == EXPECTED


def test_one_event_delivered_ten_times_at_once_grants_once(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_30"))
    posts: list[tuple[dict[str, str], bytes]] = []

    def remember(_url: str, headers: dict[str, str], body: bytes) -> int:
        posts.append((headers, body))
        return 200

    while stripe.sandbox.deliver(remember):
        pass
    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(lambda post: stripe._post("", *post), posts * 10))
    assert set(statuses) == {200}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: stripe.settle(), range(4)))
    assert ann.balance_of("purchase") == 30
    with app.app_context():
        assert db.session.scalar(select(func.max(StripeEvent.deliveries))) == 10


def test_twin_events_and_the_return_page_ten_times_at_once_grant_once(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    back = stripe.pay(ann.checkout("pro_monthly")).removeprefix("http://127.0.0.1:5000")

    def visit(_: int) -> int:
        browser = app.test_client()
        with ann.client.session_transaction() as mine, browser.session_transaction() as theirs:
            theirs.update(mine)
        return browser.get(back).status_code

    with ThreadPoolExecutor(10) as pool:
        pages = [pool.submit(visit, n) for n in range(10)]
        work = [pool.submit(stripe.settle, order="shuffled", seed=n) for n in range(3)]
        assert {page.result() for page in pages} == {200}
        for each in work:
            each.result()
    stripe.settle()
    assert ann.balance_of("plan") == 3 + 50
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(Payment)) == 1


def test_when_every_webhook_is_lost_the_poller_brings_everything(app: Flask, stripe: Stripe) -> None:
    with app.app_context():
        poller.poll()
    ann = buy_everything(app, stripe)
    stripe.discard_deliveries()
    with app.app_context():
        assert poller.poll() > 0
        assert poller.poll() == 0
    stripe.settle()
    assert end_state(ann) == EXPECTED


@pytest.mark.parametrize("is_queue_lost", [False, True], ids=["as it is", "after the queue was lost"])
def test_a_slow_answer_cannot_overwrite_a_newer_one(app: Flask, stripe: Stripe, *, is_queue_lost: bool) -> None:
    import database
    from billing import gateway, sync, sync_queue

    ann = sign_up(app)
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.settle()
    with app.app_context():
        subscription = access.subscription_of(db.session(), ann.account_id)
        assert subscription is not None
        stripe_id = subscription.stripe_id
        slow = database.write(sync_queue.claim, "subscription", stripe_id)
        fetched_early = gateway.retrieve_subscription(stripe_id)
        if is_queue_lost:
            database.write(lambda session: session.execute(delete(SyncTask)))
        stripe.api.v1.subscriptions.cancel(stripe_id)
        database.write(sync_queue.mark_dirty, "subscription", stripe_id)
        sync.run_now("subscription", stripe_id)
        database.write(sync._apply, slow, fetched_early)
        assert access.plan_of(db.session(), ann.account_id).key == "free"


def test_a_worker_that_dies_while_fetching_leaves_the_task_to_the_next(app: Flask, stripe: Stripe, clock) -> None:  # type: ignore[no-untyped-def]
    import database
    from billing import sync, sync_queue

    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_12"))
    stripe.deliver()
    with app.app_context():
        while database.write(sync_queue.claim_due) is not None:
            pass  # claimed, and then the process is gone
        assert not sync.run_due()
        clock.advance(seconds=21)
        sync.drain()
    assert ann.balance_of("purchase") == 12


def test_an_object_that_ends_every_worker_is_given_up_and_lets_others_pass(
    app: Flask, stripe: Stripe, clock, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    import database
    from billing import leases, sync_queue

    monkeypatch.setattr(leases, "is_here", lambda _: False)  # each was another process, and is gone
    with app.app_context():
        database.write(sync_queue.mark_dirty, "charge", "ch_poison")
        for _ in range(sync_queue.MAX_ATTEMPTS):
            claim = database.write(sync_queue.claim_due)
            assert claim is not None
            clock.advance(seconds=21)
        database.write(sync_queue.mark_dirty, "charge", "ch_next")
        claim = database.write(sync_queue.claim_due)
        assert claim is not None
        assert claim.object_id == "ch_next"
        assert database.write(sync_queue.claim_due) is None


def test_trouble_at_stripe_delays_and_loses_nothing(app: Flask, stripe: Stripe, clock) -> None:  # type: ignore[no-untyped-def]
    from billing import sync

    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_12"))
    stripe.deliver()
    client = app.extensions["stripe"]
    app.extensions["stripe"] = stripe.sandbox.client(base_addresses={"api": "http://127.0.0.1:9"})
    try:
        app.extensions["stripe"] = _unreachable()
        with app.app_context():
            sync.drain()
        assert ann.balance_of("purchase") == 0
    finally:
        app.extensions["stripe"] = client
    clock.advance(hours=1)
    stripe.settle()
    assert ann.balance_of("purchase") == 12


def _unreachable():  # type: ignore[no-untyped-def]
    import stripe as sdk

    http = sdk.RequestsClient(timeout=1)
    return sdk.StripeClient("sk_test_sandbox", base_addresses={"api": "http://127.0.0.1:9"}, http_client=http)
