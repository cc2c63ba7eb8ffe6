"""The worker's heartbeat: keep in line with Stripe, send mail, let credits expire, grant the months that are due."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from flask import Flask

import database
import failpoints
from accounts import login_tries, sessions
from billing import (
    address_errands,
    allowances,
    card_charges,
    compare,
    inbox,
    link_purchases,
    metered_items,
    poller,
    pulse,
    refund_making,
    sync,
    sync_queue,
    usage_reports,
    usage_retention,
)
from config import Config
from extensions import db
from ledger import expiry, holds
from mail import outbox

log = structlog.get_logger(__name__)

IDLE_SECONDS = 0.25


@dataclass
class Chore:
    """Something done again and again: `run` returns how much it did; after nothing, `every` seconds pass."""

    name: str
    run: Callable[[], int]
    every: float
    due_at: float = field(default=0.0)


def chores() -> list[Chore]:
    """Return what the worker does, most urgent first."""
    return [
        Chore("sync", lambda: sync.drain(limit=50, seconds=5), every=0),  # so that a slow Stripe does not stop the mail
        Chore("pulse", _give_sign, every=10),
        Chore("leases", lambda: database.write(sync_queue.free_leases_of_the_dead), every=2),
        Chore("mail", lambda: outbox.send_due(20), every=1),
        Chore("link purchases", lambda: database.write(link_purchases.claim_waiting), every=60),
        Chore("auto top-ups", card_charges.buy_wanted, every=1),
        Chore("top-ups", card_charges.resume_due, every=5),
        Chore("refunds", refund_making.carry_out_due, every=5),
        Chore("addresses", address_errands.carry_out_due, every=5),
        Chore("poll", poller.poll, every=25),
        Chore("metered items", metered_items.add_missing, every=5),
        Chore("usage", usage_reports.flush_due, every=10),
        Chore("compare", compare.step, every=60),
        Chore("holds", lambda: database.write(holds.sweep, limit=200), every=30),
        Chore("expiry", lambda: database.write(expiry.sweep, limit=200), every=60),
        Chore("allowances", grant_due_allowances, every=60),
        Chore("old use", lambda: database.write(usage_retention.sweep), every=3600),
        Chore("old events", lambda: database.write(inbox.sweep), every=3600),
        Chore("log-in tries", lambda: database.write(login_tries.sweep), every=3600),
        Chore("farewells", lambda: database.write(outbox.forget_farewells), every=3600),
        Chore("sessions", lambda: database.write(sessions.sweep), every=3600),
    ]


def _give_sign() -> int:
    database.write(pulse.note, pulse.WORKER)
    return 0


def grant_due_allowances(*, page: int = 100) -> int:
    """Grant every monthly allowance that is due, one account and transaction at a time; return how many."""
    granted, after = 0, 0
    while accounts := database.write(allowances.due_accounts, after=after, limit=page):
        granted += sum(_grant_allowance(account_id) for account_id in accounts)
        after = accounts[-1]
    return granted


def _grant_allowance(account_id: int) -> bool:
    try:
        is_granted = database.write(allowances.grant_due, account_id)
    except Exception:
        log.exception("allowance not granted", account=account_id)  # the next account is not to wait for this one
        return False
    failpoints.hit("allowance.committed")
    return is_granted


def run_once() -> int:
    """Do every chore once and return how much was done; for tests, the command line and small deployments."""
    return sum(_run(chore) for chore in chores())


def run_forever(app: Flask, stop: threading.Event) -> None:
    """Work until `stop` is set; a chore that fails is logged and tried again, and never stops the others."""
    config: Config = app.config["TOLLGATE"]
    todo = chores()
    # A sync mostly waits for Stripe, so several go on at a time; claims and fences keep them out of each other's way.
    helpers = [threading.Thread(target=_work, args=(app, [todo[0]], stop)) for _ in range(config.worker_threads - 1)]
    for helper in helpers:
        helper.start()
    log.info("worker started", chores=[c.name for c in todo], threads=config.worker_threads)
    _work(app, todo, stop)
    for helper in helpers:
        helper.join()
    log.info("worker stopped")


def _work(app: Flask, todo: list[Chore], stop: threading.Event) -> None:
    while not stop.is_set():
        with app.app_context():
            done = sum(_run(chore) for chore in todo if not stop.is_set() and time.monotonic() >= chore.due_at)
        if not done:
            stop.wait(IDLE_SECONDS)


def stop_on_signals(stop: threading.Event) -> None:
    """Let SIGTERM and SIGINT end the worker after the chore at hand."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())


def _run(chore: Chore) -> int:
    try:
        done = chore.run()
    except Exception:
        log.exception("chore failed", chore=chore.name)
        done = 0
    finally:
        db.session.remove()
    chore.due_at = time.monotonic() + (0 if done else chore.every)
    return done
