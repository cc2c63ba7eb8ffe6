"""Every setting of the app, typed; all that is wrong with them is said at once, before anything starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import failpoints

T = TypeVar("T")

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
EXAMPLE_HOST = "tollgate.example"
PLACEHOLDER = "generated-by-make-run"
MIN_SECRET_LENGTH = 32
LIVE_PREFIXES = ("sk_live_", "rk_live_")
TEST_PREFIXES = ("sk_test_", "rk_test_")


class ConfigError(Exception):
    """The settings cannot be used; the message lists every problem with its remedy."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("The settings cannot be used:\n" + "\n".join(f"  - {p}" for p in problems))
        self.problems = problems


@dataclass(frozen=True)
class Config:
    """The app's settings; `.env.example` explains each and lists exactly these names."""

    env: str
    app_name: str
    app_base_url: str
    secret_key: str = field(repr=False)
    secret_key_fallbacks: tuple[str, ...] = field(repr=False)
    security_password_salt: str = field(repr=False)
    database_url: str = field(repr=False)
    stripe_secret_key: str = field(repr=False)
    stripe_api_base: str
    stripe_webhook_secrets: tuple[str, ...] = field(repr=False)
    stripe_publishable_key: str
    checkout_ui: str
    stripe_requests_per_second: int
    stripe_price_overrides: Mapping[str, str]
    catalog: str
    mail_url: str = field(repr=False)
    mail_from: str
    support_email: str
    seller_name: str
    seller_address: tuple[str, ...]
    seller_tax_id: str
    receipt_mails: bool
    rate_limit_storage: str = field(repr=False)
    trusted_hosts: tuple[str, ...]
    trusted_proxy_count: int
    web_concurrency: int
    web_threads: int
    worker_threads: int
    clock_file: str
    failpoint: str
    allow_failpoints: bool
    log_level: str

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Read the environment; raise ConfigError naming every missing, malformed or unsafe setting."""
        read = _Reader(os.environ if environ is None else environ)
        base_url = read.url("APP_BASE_URL", "http://127.0.0.1:5000")
        config = cls(
            env=read.text("ENV", "development"),
            app_name=read.text("APP_NAME", "Tollgate"),
            app_base_url=base_url,
            secret_key=read.secret("SECRET_KEY"),
            secret_key_fallbacks=read.words("SECRET_KEY_FALLBACKS"),
            security_password_salt=read.secret("SECURITY_PASSWORD_SALT"),
            database_url=_normal_database_url(read.text("DATABASE_URL", "sqlite:///var/tollgate.db")),
            stripe_secret_key=read.text("STRIPE_SECRET_KEY", ""),
            stripe_api_base=read.url("STRIPE_API_BASE", ""),
            stripe_webhook_secrets=read.words("STRIPE_WEBHOOK_SECRETS"),
            stripe_publishable_key=read.text("STRIPE_PUBLISHABLE_KEY", ""),
            checkout_ui=read.text("CHECKOUT_UI", "hosted"),
            stripe_requests_per_second=read.number("STRIPE_REQUESTS_PER_SECOND", 20),
            stripe_price_overrides=read.with_prefix("STRIPE_PRICE_"),
            catalog=read.text("CATALOG", "cv"),
            mail_url=read.text("MAIL_URL", ""),
            mail_from=read.text("MAIL_FROM", f"Tollgate <hello@{EXAMPLE_HOST}>"),
            support_email=read.text("SUPPORT_EMAIL", f"support@{EXAMPLE_HOST}"),
            seller_name=read.text("SELLER_NAME", ""),
            seller_address=read.words("SELLER_ADDRESS"),
            seller_tax_id=read.text("SELLER_TAX_ID", ""),
            receipt_mails=read.flag("RECEIPT_MAILS", default=True),
            rate_limit_storage=read.text("RATE_LIMIT_STORAGE", "memory://"),
            trusted_hosts=read.words("TRUSTED_HOSTS") or (urlsplit(base_url).hostname or "127.0.0.1",),
            trusted_proxy_count=read.number("TRUSTED_PROXY_COUNT", 0),
            web_concurrency=read.number("WEB_CONCURRENCY", 1),
            web_threads=read.number("WEB_THREADS", 8),
            worker_threads=read.number("WORKER_THREADS", 4),
            clock_file=read.text("CLOCK_FILE", ""),
            failpoint=read.text("FAILPOINT", ""),
            allow_failpoints=read.flag("ALLOW_FAILPOINTS"),
            log_level=read.text("LOG_LEVEL", "INFO").upper(),
        )
        problems = read.problems + config._problems()
        if problems:
            raise ConfigError(problems)
        return config

    @property
    def is_public(self) -> bool:
        """Whether the site can be reached by others: its address is no loopback address."""
        return urlsplit(self.app_base_url).hostname not in LOOPBACK

    @property
    def is_https(self) -> bool:
        return self.app_base_url.startswith("https://")

    @property
    def is_live(self) -> bool:
        """Whether real money moves."""
        return self.stripe_secret_key.startswith(LIVE_PREFIXES)

    def _problems(self) -> list[str]:
        checks: tuple[tuple[bool, str], ...] = (
            (
                not self.stripe_secret_key.startswith(LIVE_PREFIXES + TEST_PREFIXES),
                "STRIPE_SECRET_KEY must start with sk_test_, rk_test_, sk_live_ or rk_live_; find it in Stripe's "
                "Dashboard under Developers, API keys, or use sk_test_sandbox with the local Stripe.",
            ),
            (
                self.is_live and bool(self.stripe_api_base),
                "STRIPE_API_BASE points away from Stripe while STRIPE_SECRET_KEY is live: remove STRIPE_API_BASE.",
            ),
            (
                bool(self.stripe_api_base) and urlsplit(self.stripe_api_base).hostname not in LOOPBACK,
                "STRIPE_API_BASE may only name a local Stripe on the loopback interface: remove it to use Stripe.",
            ),
            (
                any(not s.startswith("whsec_") or len(s) < 16 for s in self.stripe_webhook_secrets),
                "STRIPE_WEBHOOK_SECRETS must be signing secrets that start with whsec_, separated by commas.",
            ),
            (
                self.checkout_ui not in {"hosted", "embedded"},
                "CHECKOUT_UI must be hosted, for Stripe's own page, or embedded, for Stripe's form in a page of yours.",
            ),
            (
                self.checkout_ui == "embedded"
                and not self.stripe_publishable_key.startswith("pk_live_" if self.is_live else "pk_test_"),
                "STRIPE_PUBLISHABLE_KEY must be the pk_test_... or pk_live_... beside your secret key, because "
                "CHECKOUT_UI is embedded: find it in Stripe's Dashboard under Developers, API keys.",
            ),
            (
                self.log_level not in {"DEBUG", "INFO", "WARNING", "ERROR"},
                "LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR.",
            ),
            (
                not failpoints.is_spec(self.failpoint),
                "FAILPOINT must be a name of failpoints.py, with :2 for its second hit; or remove it.",
            ),
            (self.web_concurrency < 1, "WEB_CONCURRENCY must be at least 1."),
            (self.web_threads < 1, "WEB_THREADS must be at least 1."),
            (self.worker_threads < 1, "WORKER_THREADS must be at least 1."),
            (self.stripe_requests_per_second < 0, "STRIPE_REQUESTS_PER_SECOND must be 0 (no limit) or more."),
            (self.trusted_proxy_count < 0, "TRUSTED_PROXY_COUNT must be 0 or more."),
            *(self._public_checks() if self.is_public or self.is_live else ()),
        )
        return [message for is_wrong, message in checks if is_wrong]

    def _public_checks(self) -> tuple[tuple[bool, str], ...]:
        return (
            (not self.is_https, "APP_BASE_URL must start with https:// on a public site."),
            (
                not self.stripe_webhook_secrets,
                "STRIPE_WEBHOOK_SECRETS is empty, so every webhook would be refused: copy the signing secret of your "
                "endpoint from Stripe's Dashboard under Developers, Webhooks.",
            ),
            (
                bool(self.stripe_api_base),
                "STRIPE_API_BASE is set on a public site: remove it, the local Stripe is for development.",
            ),
            (
                self.web_concurrency > 1 and self.database_url.startswith("sqlite"),
                "DATABASE_URL is SQLite with several web workers: use PostgreSQL, or set WEB_CONCURRENCY=1.",
            ),
            (
                self.web_concurrency > 1 and self.rate_limit_storage.startswith("memory"),
                "RATE_LIMIT_STORAGE is memory:// with several web workers, which multiplies every limit: use "
                "redis://..., or set WEB_CONCURRENCY=1.",
            ),
            (
                self.support_email.endswith(f"@{EXAMPLE_HOST}"),
                "SUPPORT_EMAIL is the example's: set the address that questions of customers go to.",
            ),
            (not self.mail_url, "MAIL_URL is empty, so no mail would leave: set smtps://user:password@host:465."),
            (
                bool(self.failpoint) and (self.is_live or not self.allow_failpoints),
                "FAILPOINT ends processes on purpose: remove it. On a rehearsal site without a live key, "
                "ALLOW_FAILPOINTS=yes lets it be.",
            ),
            (bool(self.clock_file), "CLOCK_FILE moves time and is for development: remove it."),
        )


class _Reader:
    """Reads settings and remembers what was wrong instead of stopping at the first problem."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []

    def text(self, name: str, default: str) -> str:
        return self.environ.get(name, "").strip() or default

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(w.strip() for w in self.environ.get(name, "").split(",") if w.strip())

    def with_prefix(self, prefix: str) -> dict[str, str]:
        named = {k.removeprefix(prefix).lower(): v.strip() for k, v in self.environ.items() if k.startswith(prefix)}
        return {name: value for name, value in named.items() if value}

    def number(self, name: str, default: int) -> int:
        return self._parsed(name, default, int, "a whole number")

    def flag(self, name: str, *, default: bool = False) -> bool:
        return self._parsed(name, default, _yes_or_no, "yes or no")

    def url(self, name: str, default: str) -> str:
        def parse(value: str) -> str:
            parts = urlsplit(value)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError(value)
            return value.rstrip("/")

        return self._parsed(name, default, parse, "an address such as https://app.example.com")

    def secret(self, name: str) -> str:
        value = self.environ.get(name, "").strip()
        if value == PLACEHOLDER or len(value) < MIN_SECRET_LENGTH:
            self.problems.append(
                f"{name} must be a secret of at least {MIN_SECRET_LENGTH} characters: `make run` writes one into .env, "
                'or make one with python -c "import secrets; print(secrets.token_urlsafe(48))".'
            )
        return value

    def _parsed(self, name: str, default: T, parse: Callable[[str], T], wanted: str) -> T:
        value = self.environ.get(name, "").strip()
        if not value:
            return default
        try:
            return parse(value)
        except ValueError:
            self.problems.append(f"{name} must be {wanted}; it is {value!r}.")
            return default


def _yes_or_no(value: str) -> bool:
    if value.lower() not in {"yes", "no"}:
        raise ValueError(value)
    return value.lower() == "yes"


def _normal_database_url(url: str) -> str:
    """Accept what hosts hand out: SQLAlchemy refuses postgres:// and resolves relative SQLite paths by itself."""
    if url.startswith("postgres://"):
        return "postgresql://" + url.removeprefix("postgres://")
    if url.startswith("sqlite:///") and not url.startswith("sqlite:////") and url != "sqlite:///:memory:":
        return "sqlite:///" + str(Path(__file__).resolve().parent / url.removeprefix("sqlite:///"))
    return url
