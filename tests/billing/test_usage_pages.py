"""The pages of usage, limits and the cap, as people and programs meet them."""

from __future__ import annotations

import re
from datetime import timedelta

from werkzeug.test import TestResponse

import clock as app_clock
from billing import access
from extensions import db
from tests.billing.forms import hidden_fields, send, submit
from tests.billing.test_metered_usage import standing, subscriber, use
from tests.persons import Person, csrf_token, sign_up
from tests.worlds import Clock, Stripe


def words(person: Person, path: str) -> str:
    page = person.client.get(path)
    assert page.status_code == 200, path
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.get_data(as_text=True)))


def project(person: Person, name: str = "Shop") -> str:
    answer = submit(person, "/projects", "/projects", name=name)
    assert answer.status_code == 303, answer.get_data(as_text=True)
    return str(answer.location)


def test_usage_is_shown_where_it_is_used_and_where_it_is_paid(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    use(ann, 102_500)
    for path in ("/billing", "/billing/usage", project(ann)):
        page = words(ann, path)
        assert "102,500 of 100,000" in page, path
        assert "2,500 beyond what is included" in page, path
        assert "$1.25" in page, path
    assert "$0.50 for 1,000" in words(ann, "/billing/usage")


def test_the_cap_is_set_by_a_form_and_holds_at_once(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    where = project(ann)
    send_cap(ann, "nothing")
    assert "nothing is billed beyond it" in words(ann, "/billing/usage")
    use(ann, 100_000)
    assert "Your cap is reached" in words(ann, where)
    send_cap(ann, "amount", "1.50")
    assert (standing(ann).cap_cents, standing(ann).allowed) == (150, 103_000)
    answer = submit(ann, where, f"{where}/events", count="3001")
    assert (answer.status_code, standing(ann).used) == (402, 100_000)
    assert "Raise the cap" in answer.get_data(as_text=True)
    assert submit(ann, where, f"{where}/events", count="3000").status_code == 303
    send_cap(ann, "any")
    assert standing(ann).cap_cents is None


def send_cap(person: Person, choice: str, amount: str = "", status: int = 303) -> str:
    action = "/billing/usage/events/cap"
    fields = {"eventschoice": choice, "eventsamount": amount}
    names = {name: name for name in re.findall(r'name="(events[^"]*(?:choice|amount))"', form_of(person))}
    sent = {name: fields[re.sub(r"[^a-z]", "", name)] for name in names}
    answer = send(person, action, {**hidden_fields(form_of(person), action), **sent})
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.get_data(as_text=True)


def form_of(person: Person) -> str:
    return person.client.get("/billing/usage").get_data(as_text=True)


def test_a_cap_that_is_no_amount_is_refused_with_words_and_changes_nothing(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    for amount in ("", "ten", "-1", "1.234", "1e5", "999999999", "٣"):
        page = send_cap(ann, "amount", amount, status=422)
        assert "Write an amount such as 20" in page or "Use at most" in page, amount
    assert standing(ann).cap_cents is None


def test_ending_at_once_bills_what_was_used_beyond_the_plan(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    use(ann, 103_000)
    clock.advance(seconds=5)
    assert "$1.50 for what you used beyond it is charged on a last invoice" in words(ann, "/billing/cancel/now")
    assert submit(ann, "/billing/cancel/now", "/billing/cancel/now").status_code == 303
    last = shop.api.v1.invoices.list({"limit": 1}).data[0]
    assert (last.status, last.amount_paid, [line.amount for line in last.lines.data]) == ("paid", 150, [150])
    assert standing(ann).plan.is_free


def test_a_pause_bills_what_was_used_until_then(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock, "pro_yearly")
    use(ann, 104_000)
    clock.advance(seconds=5)
    assert submit(ann, "/billing/pause", "/billing/pause").status_code == 303
    shop.settle()
    last = shop.api.v1.invoices.list({"limit": 1}).data[0]
    assert (last.status, last.amount_paid) == ("paid", 200)
    with shop.app.app_context():
        mine = access.subscription_of(db.session(), ann.account_id)
        assert mine is not None
        assert mine.open_until is not None
        assert mine.open_until - app_clock.now() > timedelta(days=300)


def test_a_form_sent_twice_counts_once(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    where = project(ann)
    fields = {**hidden_fields(ann.client.get(where).get_data(as_text=True), f"{where}/events"), "count": "10"}
    assert [send(ann, f"{where}/events", fields).status_code for _ in range(2)] == [303, 303]
    assert standing(ann).used == 10


def test_a_full_plan_says_which_one_has_room(shop: Stripe) -> None:
    ann = sign_up(shop.app)
    fields = {**hidden_fields(ann.client.get("/projects").get_data(as_text=True), "/projects"), "name": "Second"}
    project(ann)
    assert "choose Starter, which has room for 3" in words(ann, "/projects")
    answer = send(ann, "/projects", fields)
    assert answer.status_code == 402
    assert "You use 1 of 1 projects. Starter has room for more." in answer.get_data(as_text=True)


def test_more_than_is_left_is_refused_whole_with_what_would_do(shop: Stripe) -> None:
    ann = sign_up(shop.app)
    where = project(ann)
    use(ann, 400)
    answer = submit(ann, where, f"{where}/events", count="20000")
    page = answer.get_data(as_text=True)
    assert (answer.status_code, standing(ann).used) == (402, 400)
    assert "This takes 20,000 events, and 600 of 1,000 are left. Pro has room for more." in page


def test_programs_get_problem_details(shop: Stripe) -> None:
    ann = sign_up(shop.app)
    where = project(ann)
    refused = call(ann, "/api/v1/projects", {"name": "Two"}, "key-0001")
    assert (refused.status_code, refused.mimetype) == (402, "application/problem+json")
    told = refused.get_json()
    assert (told["limit"], told["used"], told["allowed"]) == ("projects", 1, 1)
    assert told["plans"] == ["starter", "pro", "enterprise"]
    address = f"/api/v1{where}/events"
    taken, again = (call(ann, address, {"count": 999}, "key-0002") for _ in range(2))
    assert (taken.status_code, again.get_json()) == (201, {**taken.get_json()})
    refused = call(ann, address, {"count": 2}, "key-0003")
    assert (refused.status_code, refused.get_json()["type"].rpartition("/")[2]) == (402, "limit-reached")


def call(person: Person, path: str, body: dict[str, object], key: str) -> TestResponse:
    headers = {"Accept": "application/json", "Idempotency-Key": key, "X-CSRFToken": csrf_token(person.client)}
    return person.client.post(path, json=body, headers=headers)


def test_projects_of_others_do_not_exist(shop: Stripe) -> None:
    where = project(sign_up(shop.app))
    bob = sign_up(shop.app, "bob@example.com")
    fields = hidden_fields(bob.client.get("/projects").get_data(as_text=True), "/projects")
    assert bob.client.get(where).status_code == 404
    assert send(bob, f"{where}/remove", fields).status_code == 404
    assert send(bob, f"{where}/events", {**fields, "count": "1"}).status_code == 404
    assert shop.app.test_client().get("/projects").status_code == 303


def test_removing_a_project_makes_room(shop: Stripe) -> None:
    ann = sign_up(shop.app)
    where = project(ann)
    assert submit(ann, "/projects", f"{where}/remove").status_code == 303
    assert "No projects yet" in words(ann, "/projects")
    project(ann, "Another")


def test_a_trial_says_that_it_stops_at_what_is_included(shop: Stripe) -> None:
    ann = sign_up(shop.app)
    shop.pay(ann.checkout("pro_monthly"))
    shop.settle()
    assert "while your plan is on trial" in words(ann, "/billing/usage")


def test_a_plan_that_counts_credits_only_says_so(stripe: Stripe) -> None:
    assert "Your plan counts credits only" in words(sign_up(stripe.app), "/billing/usage")
