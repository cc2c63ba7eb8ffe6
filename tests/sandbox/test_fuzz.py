"""Bad input of every kind gets Stripe's error, never a 500, and answers that succeed still keep the contract."""

from __future__ import annotations

import urllib.parse
from typing import Any

import pytest
import stripe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stripe_sandbox import api, forms, routes
from stripe_sandbox.testing import Sandbox
from tests.sandbox.guesser import KEY, Guesser, SpoilingClient, encode, send_and_undo
from tests.sandbox.walks import WALKS


@pytest.mark.parametrize("name", sorted(WALKS))
def test_spoilt_requests_are_refused_in_stripes_way(sandbox: Sandbox, name: str) -> None:
    spoiling = SpoilingClient(sandbox, 6, statuses := {})
    WALKS[name](sandbox, stripe.StripeClient("sk_test_sandbox", http_client=spoiling))
    assert statuses
    assert any(400 in seen for seen in statuses.values())


@pytest.mark.parametrize("route", sorted(routes.ROUTES))
def test_made_up_requests_are_refused_in_stripes_way(sandbox: Sandbox, goods: Any, route: str) -> None:
    method, pattern = route.split(" ", 1)
    for seed in range(10):
        guesser = Guesser(sandbox, seed)
        send_and_undo(sandbox, method, guesser.path(pattern), guesser.made_up(route))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.one_of(st.binary(max_size=200), st.text(alphabet="ab[]=&%0\x00é", max_size=60).map(str.encode)))
def test_any_bytes_are_a_form_or_a_400(sandbox: Sandbox, body: bytes) -> None:
    answer = api.handle(sandbox, api.Request("POST", "/v1/customers", body=body, headers=KEY))
    assert answer.status in (200, 400)
    sandbox.violations.clear()


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.text(alphabet="abcxyz 0é", min_size=1, max_size=8),
        lambda inner: st.dictionaries(st.text(alphabet="abc_0", min_size=1, max_size=5), inner, min_size=1, max_size=3),
        max_leaves=8,
    ).filter(lambda value: isinstance(value, dict))
)
def test_forms_are_read_as_they_were_written(form: Any) -> None:
    assert forms.parse(urllib.parse.urlencode(encode(form))) == form
