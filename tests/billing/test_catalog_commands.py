"""`flask catalog diff` and `flask catalog push`, as a person or a deployment meets them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import Result
from flask import Flask

from app import create_app
from tests.worlds import Stripe


def run(app: Flask, *words: str) -> Result:
    return app.test_cli_runner().invoke(args=["catalog", *words])


def test_nothing_to_do_is_said_and_passes_a_check(app: Flask, stripe: Stripe) -> None:
    for words in (["diff"], ["diff", "--check"], ["push"]):
        result = run(app, *words)
        assert (result.exit_code, result.output) == (0, "Stripe sells exactly the catalogue 'cv'.\n")


def test_a_difference_is_shown_in_aligned_lines_and_fails_a_check(app: Flask, stripe: Stripe) -> None:
    price = stripe.api.v1.prices.list({"lookup_keys": ["cv_credits_5"]}).data[0]
    stripe.api.v1.prices.update(price.id, {"active": False})
    stripe.api.v1.products.update("tollgate_cv_pro", {"name": "Prof"})
    shown = run(app, "diff")
    assert shown.exit_code == 0
    product, price_line, *rest = shown.output.splitlines()
    assert product.split(maxsplit=3) == ["update", "product", "tollgate_cv_pro", "Prof becomes Pro"]
    assert price_line.split(maxsplit=3) == ["update", "price", "cv_credits_5", "on sale again"]
    assert product.index("Prof becomes") == price_line.index("on sale")
    assert rest == ["", "2 changes to make. `flask catalog push` makes them."]
    assert run(app, "diff", "--check").exit_code == 1
    pushed = run(app, "push")
    assert pushed.exit_code == 0
    assert pushed.output.endswith("\n2 changes made.\nStripe sells exactly the catalogue 'cv'.\n")
    assert run(app, "diff", "--check").exit_code == 0


@pytest.mark.parametrize("words", [["diff"], ["diff", "--check"], ["push"]])
def test_a_stripe_that_is_away_is_a_line_and_no_traceback(app: Flask, stripe: Stripe, words: list[str]) -> None:
    stripe.sandbox.break_api("500", path="/v1/products")
    result = run(app, *words)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "Traceback" not in result.output


def test_an_empty_catalogue_can_be_pushed(app: Flask, stripe: Stripe) -> None:
    before = app.extensions["catalog"]
    app.extensions["catalog"] = replace(before, plans=(before.free_plan,), packs=())
    try:
        assert run(app, "push").exit_code == 0
        assert [p.id for p in stripe.api.v1.prices.list({"active": True}).data] == []
    finally:
        app.extensions["catalog"] = before


def test_a_local_stripe_that_does_not_run_is_named_with_what_starts_it(app: Flask) -> None:
    nobody = "http://127.0.0.1:9"
    alone = create_app(replace(app.config["TOLLGATE"], stripe_api_base=nobody))
    result = run(alone, "diff")
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: The local Stripe does not answer at {nobody}: `make run` starts it")
