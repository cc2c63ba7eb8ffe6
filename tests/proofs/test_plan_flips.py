"""The proof of flips finds an app that can be farmed, and its paper Stripe is the local one's double."""

from __future__ import annotations

import pytest

from billing import fulfilment, trials
from proofs import plan_flips


def problems() -> list[str]:
    return plan_flips.measure("sqlite", seed=3, lives=12, compared=0).problems


def test_flips_bring_nothing_and_paper_is_like_the_local_stripe() -> None:
    outcome = plan_flips.measure("sqlite", seed=3, lives=10, compared=2)
    assert outcome.problems == []
    assert outcome.tried == 10


def test_an_upgrade_that_is_granted_whole_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fulfilment, "_credits_due", lambda _session, _account_id, period, besides: period.credits)
    assert any("I10" in problem for problem in problems())


def test_a_second_trial_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_others_among", lambda *_: False)
    assert any("I11" in problem for problem in problems())


def test_a_month_that_is_granted_by_the_plan_of_today_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fulfilment, "_grant_month_before", lambda *_: None)
    assert any("I10" in problem or "end differently" in problem for problem in problems())
