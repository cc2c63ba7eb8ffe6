"""The demo product: check a CV, see what it costs before, find the report again.

It shows how a paid feature is built here: the gate looks at the demands, one transaction charges and keeps the result,
and the form's nonce makes sending twice harmless.
"""

from __future__ import annotations

import hashlib

from flask import Blueprint, Flask, Request, Response, abort, redirect, render_template, request, url_for
from flask_login import current_user
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

import database
import failpoints
from accounts.models import MEMBER
from billing import catalog
from blueprints.reports import answers
from blueprints.reports.forms import CvForm
from checker import archive, report, text
from checker.errors import UnusableText
from checker.models import Report
from checker.report import Report as Findings
from extensions import db
from ledger import statement
from ledger.errors import NotEnoughCredits
from web import errors, gates, idempotency
from web.current import current_account

bp = Blueprint("reports", __name__)

COST_KEY = "cv_page"
PAGE_SIZE = 20
SEE_OTHER = 303


def init_app(app: Flask) -> None:
    """Add the product's pages, its API, and the answers to its errors."""
    from blueprints.reports import api

    app.register_blueprint(bp)
    app.register_blueprint(api.bp)
    errors.add(app, answers.ANSWERS)


def credits_for(pages: int) -> int:
    """Return what checking this many pages costs."""
    return pages * catalog.current().costs[COST_KEY]


def cost_of_form(sent: Request) -> int:
    """Return the credits that the CV in a form costs; raises what the checker says about a text it cannot read."""
    return credits_for(text.read(sent.form.get("text", "")).pages)


@bp.get("/cv")
@gates.requires(verified=True, role=MEMBER)
def new() -> str:
    """Show the form, and what a page costs."""
    return _page(CvForm())


@bp.post("/cv/preview")
@gates.requires(verified=True, role=MEMBER)
def preview() -> str:
    """Say what this CV will cost; nothing is kept and nothing is charged."""
    form = CvForm()
    pages = text.read(form.text.data or "").pages
    text.read_advert(form.advert.data or "")
    return _page(form, pages=pages)


@bp.post("/cv")
@gates.requires(verified=True, credits=cost_of_form, role=MEMBER)
def create() -> AnyResponse:
    """Check the CV, charge for it and keep the report, all or nothing; sent twice it leads to the same report."""
    form = CvForm()
    cv, advert = form.text.data or "", form.advert.data or ""
    text.read_advert(advert)
    answers.ensure_price(credits_for(text.read(cv).pages), shown=form.shown_credits.data)
    findings = report.check(cv, advert)
    kept = keep(findings, fingerprint(cv, advert), idempotency.key())
    return redirect(url_for("reports.show", public_id=kept.public_id), SEE_OTHER)


@bp.get("/cv/<public_id>")
@gates.requires(role=MEMBER)
def show(public_id: str) -> str:
    """Show a report of one's own. What was paid for stays readable at its address; only the list needs a plan."""
    kept = find_or_404(public_id)
    return render_template("reports/show.html", report=kept, findings=Findings.from_json(kept.content))


@bp.get("/cv/history")
@gates.requires(feature="history", role=MEMBER)
def index() -> str:
    """List the account's reports, the latest first."""
    before = request.args.get("before")
    account_id = current_account().id
    end_of_last_page = find_or_404(before).id if before is not None else None
    reports = archive.recent(db.session(), account_id, PAGE_SIZE + 1, before_id=end_of_last_page)
    has_older = len(reports) > PAGE_SIZE
    return render_template(
        "reports/index.html",
        reports=reports[:PAGE_SIZE],
        older_url=url_for("reports.index", before=reports[PAGE_SIZE - 1].public_id) if has_older else None,
        newer_url=url_for("reports.index") if before is not None else None,
    )


@bp.errorhandler(UnusableText)
def say_what_is_wrong(error: UnusableText) -> AnyResponse:
    """Show the form again with what was typed and what to change; nothing was charged."""
    row = errors.answer_for(error)
    form = CvForm()
    field = form.advert if error.field == "advert" else form.text
    field.errors = [row.text(error)]
    return Response(_page(form), status=row.status)


@bp.errorhandler(NotEnoughCredits)
def offer_credits(error: NotEnoughCredits) -> AnyResponse:
    """Show the form again with its price, so that what was pasted is not lost on the way to more credits."""
    form = CvForm()
    return Response(_page(form, pages=text.read(form.text.data or "").pages), status=error.status)


@bp.errorhandler(answers.PriceChanged)
def show_new_price(error: answers.PriceChanged) -> AnyResponse:
    """Show the form again with the price as it is now."""
    form = CvForm()
    page = _page(form, pages=text.read(form.text.data or "").pages, old_credits=error.shown)
    return Response(page, status=error.status)


def keep(findings: Findings, request_hash: str, key: str) -> Report:
    """Charge the signed-in account for a report and keep it, in one transaction of its own."""
    kept = database.write(
        _keep, current_account().id, current_user.id, findings=findings, key=key, request_hash=request_hash
    )
    failpoints.hit("report.committed")
    return kept


def find_or_404(public_id: str) -> Report:
    """Return a report of the signed-in account; those of others do not exist for it."""
    kept = archive.find(db.session(), current_account().id, public_id)
    return kept if kept is not None else abort(404)


def fingerprint(cv: str, advert: str) -> str:
    """Return what tells one request from another that comes under the same key."""
    return hashlib.sha256(f"{len(cv)}:{cv}{advert}".encode()).hexdigest()


def _keep(
    session: Session, account_id: int, user_id: int, *, findings: Findings, key: str, request_hash: str
) -> Report:
    return archive.keep(
        session,
        account_id,
        findings,
        user_id=user_id,
        credits=credits_for(findings.pages),
        idempotency_key=key,
        request_hash=request_hash,
    )


def _page(form: CvForm, *, pages: int | None = None, old_credits: int | None = None) -> str:
    cost = credits_for(pages) if pages is not None else None
    form.shown_credits.data = cost
    return render_template(
        "reports/new.html",
        form=form,
        pages=pages,
        cost=cost,
        old_credits=old_credits,
        credits_per_page=credits_for(1),
        words_per_page=text.WORDS_PER_PAGE,
        min_words=text.MIN_WORDS,
        balance=statement.balance(db.session(), current_account().id).total,
    )
