"""Settings: everything wrong is said at once, and unsafe ones never start."""

from __future__ import annotations

import dataclasses

import pytest

from config import Config, ConfigError

GOOD = {
    "SECRET_KEY": "k" * 40,
    "SECURITY_PASSWORD_SALT": "s" * 40,
    "STRIPE_SECRET_KEY": "sk_test_sandbox",
    "STRIPE_WEBHOOK_SECRETS": "whsec_0123456789abcdef",
}
PUBLIC = {
    **GOOD,
    "APP_BASE_URL": "https://app.example.com",
    "DATABASE_URL": "postgresql://db/app",
    "RATE_LIMIT_STORAGE": "redis://cache/0",
    "MAIL_URL": "smtps://mail.example.com:465",
    "SUPPORT_EMAIL": "support@app.example.com",
    "WEB_CONCURRENCY": "4",
}


def problems(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        Config.from_env(environ)
    return str(caught.value)


def test_good_settings_are_read_with_their_types() -> None:
    config = Config.from_env({**GOOD, "STRIPE_PRICE_PRO_MONTHLY": "price_1", "WEB_THREADS": "12"})
    assert config.web_threads == 12
    assert config.stripe_price_overrides == {"pro_monthly": "price_1"}
    assert config.stripe_webhook_secrets == ("whsec_0123456789abcdef",)
    assert not config.is_public
    assert not config.is_live


def test_a_good_public_site_starts() -> None:
    assert Config.from_env(PUBLIC).is_public


def test_every_problem_is_said_at_once() -> None:
    said = problems({"APP_BASE_URL": "nonsense", "WEB_THREADS": "many", "LOG_LEVEL": "loud"})
    missing = ("SECRET_KEY", "SECURITY_PASSWORD_SALT", "STRIPE_SECRET_KEY")
    for name in (*missing, "APP_BASE_URL", "WEB_THREADS", "LOG_LEVEL"):
        assert name in said


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"SECRET_KEY": "generated-by-make-run"}, "SECRET_KEY"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"SECURITY_PASSWORD_SALT": ""}, "SECURITY_PASSWORD_SALT"),
        ({"STRIPE_SECRET_KEY": "pk_test_wrong"}, "STRIPE_SECRET_KEY"),
        ({"STRIPE_SECRET_KEY": "sk_live_x", "STRIPE_API_BASE": "http://127.0.0.1:12111"}, "STRIPE_API_BASE"),
        ({"STRIPE_API_BASE": "http://127.0.0.1:12111"}, "STRIPE_API_BASE"),
        ({"STRIPE_API_BASE": "https://elsewhere.example.com"}, "STRIPE_API_BASE"),
        ({"STRIPE_WEBHOOK_SECRETS": ""}, "STRIPE_WEBHOOK_SECRETS"),
        ({"STRIPE_WEBHOOK_SECRETS": "hunter2"}, "STRIPE_WEBHOOK_SECRETS"),
        ({"APP_BASE_URL": "http://app.example.com"}, "APP_BASE_URL"),
        ({"DATABASE_URL": "sqlite:///var/app.db"}, "DATABASE_URL"),
        ({"RATE_LIMIT_STORAGE": "memory://"}, "RATE_LIMIT_STORAGE"),
        ({"MAIL_URL": ""}, "MAIL_URL"),
        ({"SUPPORT_EMAIL": ""}, "SUPPORT_EMAIL"),
        ({"CLOCK_FILE": "var/clock"}, "CLOCK_FILE"),
        ({"TRUSTED_PROXY_COUNT": "-1"}, "TRUSTED_PROXY_COUNT"),
        ({"WEB_CONCURRENCY": "0"}, "WEB_CONCURRENCY"),
    ],
)
def test_an_unsafe_public_setting_is_refused_by_name(change: dict[str, str], named: str) -> None:
    assert f"- {named} " in problems({**PUBLIC, **change})


def test_a_live_key_makes_even_a_loopback_site_strict() -> None:
    assert "APP_BASE_URL" in problems({**GOOD, "STRIPE_SECRET_KEY": "sk_live_x"})


def test_no_secret_is_in_the_text_of_the_settings() -> None:
    text = repr(Config.from_env({**PUBLIC, "MAIL_URL": "smtps://me:hunter22@mail.example.com:465"}))
    for value in ("k" * 40, "s" * 40, "sk_test_sandbox", "whsec_", "hunter22"):
        assert value not in text


def test_hosts_addresses_of_postgresql_are_understood() -> None:
    assert Config.from_env({**GOOD, "DATABASE_URL": "postgres://u:p@h/d"}).database_url == "postgresql://u:p@h/d"


def test_settings_cannot_be_changed_later() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config.from_env(GOOD).log_level = "DEBUG"  # type: ignore[misc]
