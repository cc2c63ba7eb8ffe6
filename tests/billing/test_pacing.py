"""Requests to Stripe leave at a pace that it allows, and not at all while it asks to be left alone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from billing import errors
from billing.pacing import Pace, endpoint_of

EVENTS = "GET /events"


@dataclass
class Time:
    at: float = 0.0

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.at += seconds


@pytest.fixture
def time() -> Time:
    return Time(at=100.0)


def pace_of(time: Time, per_second: int = 20) -> Pace:
    return Pace(per_second, now=time.now, sleep=time.sleep)


@pytest.mark.parametrize(
    ("method", "url", "endpoint"),
    [
        ("get", "https://api.stripe.com/v1/subscriptions/sub_1Pq", "GET /subscriptions"),
        ("get", "https://api.stripe.com/v1/subscriptions?limit=100", "GET /subscriptions"),
        ("post", "http://127.0.0.1:12111/v1/subscriptions/sub_1Pq", "POST /subscriptions"),
        ("get", "https://api.stripe.com/v1/invoices/in_9/lines", "GET /invoices/lines"),
        ("post", "https://api.stripe.com/v1/invoices/create_preview", "POST /invoices/create_preview"),
        ("post", "https://api.stripe.com/v1/checkout/sessions/cs_test_a1/expire", "POST /checkout/sessions/expire"),
    ],
)
def test_an_endpoint_is_a_method_and_a_path_without_ids(method: str, url: str, endpoint: str) -> None:
    assert endpoint_of(method, url) == endpoint


def test_no_second_sees_more_than_the_limit(time: Time) -> None:
    pace, left = pace_of(time), []
    for number in range(200):
        assert pace.take_turn(EVENTS, patience=2) == 0
        left.append(time.at)
        time.at += 0.013 * (number % 3)
    for at in left:
        assert sum(1 for other in left if at <= other < at + 0.999) <= 20
    assert time.at - 100 < 11


def test_each_endpoint_has_a_line_of_its_own(time: Time) -> None:
    pace = pace_of(time, 1)
    assert pace.take_turn(EVENTS, patience=0) == 0
    assert pace.take_turn("GET /charges", patience=0) == 0
    assert pace.take_turn(EVENTS, patience=0) == pytest.approx(1)


def test_who_cannot_wait_is_told_how_long_and_not_counted(time: Time) -> None:
    pace = pace_of(time, 1)
    pace.take_turn(EVENTS, patience=0)
    for _ in range(5):
        assert pace.take_turn(EVENTS, patience=0.5) == pytest.approx(1)
    time.at += 1
    assert pace.take_turn(EVENTS, patience=0) == 0


def test_nothing_leaves_while_stripe_asks_for_a_pause(time: Time) -> None:
    pace = pace_of(time)
    assert pace.slow_down(EVENTS, 7.0) == 7
    assert pace.take_turn(EVENTS, patience=2) == pytest.approx(7)
    assert pace.take_turn("GET /charges", patience=0) == 0
    time.at += 6
    assert pace.take_turn(EVENTS, patience=2) == 0
    assert time.at == pytest.approx(107)


def test_a_pause_ends_at_its_second_and_the_pace_goes_on(time: Time) -> None:
    pace = pace_of(time, 1)
    pace.slow_down(EVENTS, 7.0)
    time.at += 7
    assert pace.take_turn(EVENTS, patience=0) == 0
    assert pace.take_turn(EVENTS, patience=0) == 1


def test_patience_that_just_suffices_is_used(time: Time) -> None:
    pace = pace_of(time)
    pace.slow_down(EVENTS, 7.0)
    assert pace.take_turn(EVENTS, patience=7) == 0
    assert time.at == 107


def test_pauses_grow_until_it_answers_again(time: Time) -> None:
    pace = pace_of(time, 0)
    pauses = [pace.slow_down(EVENTS) for _ in range(8)]
    for number, pause in enumerate(pauses):
        expected = min(2.0**number, 30)
        assert 0.8 * expected <= pause <= expected
    pace.went_through(EVENTS)
    assert pace.slow_down(EVENTS) <= 1
    assert pace.take_turn(EVENTS, patience=100) == 0, "an earlier, longer pause goes on"


def test_a_shorter_pause_does_not_end_a_longer_one(time: Time) -> None:
    pace = pace_of(time)
    pace.slow_down(EVENTS, 20.0)
    pace.slow_down(EVENTS, 1.0)
    assert pace.take_turn(EVENTS, patience=0) == pytest.approx(20)


def test_stripe_may_not_stop_us_for_long(time: Time) -> None:
    assert pace_of(time).slow_down(EVENTS, 3600.0) == 30


def test_work_that_can_wait_is_done_again_after_the_pause_that_stripe_names_or_a_second(time: Time) -> None:
    busy = [errors.StripeBusy("slow down", retry_after=7.0), errors.StripeBusy("slow down", retry_after=0.0)]

    def work() -> str:
        if busy:
            raise busy.pop(0)
        return "done"

    assert pace_of(time).patiently(work) == "done"
    assert time.at == 108


def test_work_that_can_wait_is_tried_ten_times(time: Time) -> None:
    tried_at = []

    def work() -> str:
        tried_at.append(time.at)
        if len(tried_at) < until:
            raise errors.StripeBusy("slow down", retry_after=1.0)
        return "done"

    until = 10
    assert pace_of(time).patiently(work) == "done"
    tried_at.clear()
    until = 99
    with pytest.raises(errors.StripeBusy):
        pace_of(time).patiently(work)
    assert len(tried_at) == 10


def test_without_a_limit_everything_passes(time: Time) -> None:
    pace = pace_of(time, 0)
    assert [pace.take_turn(EVENTS, patience=0) for _ in range(1000)] == [0.0] * 1000
