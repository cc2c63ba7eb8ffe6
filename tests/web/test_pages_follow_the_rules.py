"""Every page that a visitor can reach keeps the rules of the house; each failure names its remedy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from urllib.parse import urldefrag, urljoin, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.persons import sign_up
from tests.web.busy_account import busy_person
from tests.web.documents import Document, problems

MAX_PAGES = 200
MAX_FIRST_PAGE_BYTES = 60_000
# Not pages: endpoints for machines, and files.
NO_PAGES = ("/static/", "/healthz", "/readyz", "/metrics", "/api/")


def test_every_page_of_a_visitor_follows_the_rules(client: FlaskClient) -> None:
    wrong, seen = inspect(client, ["/", *paths_without_arguments(client.application), "/no-such-page"])
    assert not wrong, "\n".join(wrong)
    assert {"/", "/login", "/register", "/terms", "/privacy", "/dev/gallery"} <= seen


def test_every_page_of_a_new_account_follows_the_rules(app: Flask) -> None:
    person = sign_up(app)
    wrong, seen = inspect(person.client, ["/", *paths_without_arguments(app), "/no-such-page"])
    assert not wrong, "\n".join(wrong)
    assert {"/dashboard", "/billing"} <= seen


def test_every_page_of_a_busy_account_follows_the_rules(app: Flask) -> None:
    person = busy_person(app)
    wrong, seen = inspect(person.client, ["/dashboard", *paths_without_arguments(app)])
    assert not wrong, "\n".join(wrong)
    assert {"/dashboard", "/billing", "/cv", "/cv/history", "/pricing"} <= seen
    assert any(path.startswith("/cv/") and path != "/cv/history" for path in seen), "no report was looked at"


GOOD = '<html lang="en"><title>Billing - Tollgate</title><main><h1>Billing</h1>{}</main></html>'


def test_a_page_that_follows_the_rules_has_no_problems() -> None:
    assert problems(Document(GOOD.format('<label for="a">A</label><input id="a"><svg><path d="M0 0"/></svg>'))) == []


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        (GOOD.format("<h1>Again</h1>"), "2 h1"),
        (GOOD.replace("Billing -", "Plans -"), "the title does not start with the h1"),
        (GOOD.replace(' lang="en"', ""), "html has no lang"),
        (GOOD.format("<main></main>"), "not one main"),
        (GOOD.format('<p id="a"></p><p id="a"></p>'), "the id 'a' is there 2 times"),
        (GOOD.format('<p aria-describedby="gone"></p>'), "points to nothing"),
        (GOOD.format('<p style="color: red"></p>'), "inline style"),
        (GOOD.format("<script>run()</script>"), "an inline script"),
        (GOOD.format('<a href="/" onclick="run()">Go</a>'), "attach behaviour by a data- attribute"),
        (GOOD.format('<form method="post"><input type="hidden" name="csrf_token" value=""></form>'), "no CSRF token"),
        (GOOD.format('<input name="email">'), "the input 'email' has no label"),
        (GOOD.format("<table><tr><td>1</td></tr></table>"), "a table without a caption"),
        (GOOD.format('<img src="a.png">'), "has no alt"),
        (GOOD.format("<button></button>"), "a <button> without words"),
        (GOOD.format("<h3>Cards</h3>"), "do not skip a level"),
    ],
)
def test_the_rules_find(html: str, problem: str) -> None:
    assert any(problem in found for found in problems(Document(html)))


@pytest.mark.parametrize("path", ["/login", "/register"])
def test_a_refused_form_follows_the_rules_and_says_error_first(client: FlaskClient, path: str) -> None:
    token = next(i for i in Document(client.get(path).text).all("input") if i.attrs.get("name") == "csrf_token")
    answer = client.post(path, data={"csrf_token": token.attrs["value"], "email": "nobody", "password": ""})
    document = Document(answer.text)
    assert problems(document) == []
    assert document.all("title")[0].words.startswith("Error: ")
    targets = {e.attrs["id"] for e in document.elements if "id" in e.attrs}
    summary = [e for e in document.all("a") if (box := e.inside("div")) and box.attrs.get("role") == "alert"]
    assert summary, "the error summary names no field"
    assert {e.attrs["href"].removeprefix("#") for e in summary} <= targets


def test_files_are_kept_by_the_browser_and_change_their_address_with_their_content(client: FlaskClient) -> None:
    sheets = [e.attrs["href"] for e in Document(client.get("/").text).all("link") if e.attrs["rel"] == "stylesheet"]
    assert len(sheets) >= 5
    for sheet in sheets:
        with client.get(sheet) as answer:
            assert answer.cache_control.max_age == 365 * 24 * 3600
            assert hashlib.sha256(answer.data).hexdigest().startswith(sheet.partition("?v=")[2])
            assert len(sheet.partition("?v=")[2]) == 10


@pytest.mark.parametrize("path", ["/", "/login", "/register", "/pricing"])
def test_a_first_visit_is_light(client: FlaskClient, path: str) -> None:
    size = weight(client, path)
    assert size < MAX_FIRST_PAGE_BYTES, f"{path} weighs {size:,} bytes with all it loads: find what grew"


def test_the_dashboard_is_light(app: Flask) -> None:
    person = busy_person(app)
    size = weight(person.client, "/dashboard")
    assert size < MAX_FIRST_PAGE_BYTES, f"/dashboard weighs {size:,} bytes with all it loads: find what grew"


def test_the_theme_is_kept_and_only_a_known_one_is(client: FlaskClient) -> None:
    token = next(i for i in Document(client.get("/").text).all("input") if i.attrs.get("name") == "csrf_token")
    answer = client.post("/theme", data={"csrf_token": token.attrs["value"], "theme": "dark", "next": "/terms"})
    assert (answer.status_code, answer.location) == (303, "/terms")
    assert Document(client.get("/").text).all("html")[0].attrs["data-theme"] == "dark"

    refused = client.post("/theme", data={"csrf_token": token.attrs["value"], "theme": '"><script>'})
    assert refused.status_code == 400
    assert Document(client.get("/").text).all("html")[0].attrs["data-theme"] == "dark"

    away = {"csrf_token": token.attrs["value"], "theme": "auto", "next": "//evil.example"}
    assert client.post("/theme", data=away).location == "/"
    assert "data-theme" not in Document(client.get("/").text).all("html")[0].attrs


def inspect(client: FlaskClient, start: list[str]) -> tuple[list[str], set[str]]:
    """Visit every page that can be reached by links; return what is wrong, and the paths of the pages seen."""
    wrong: list[str] = []
    pages: set[str] = set()
    waiting, known = list(start), set(start)
    while waiting:
        path = waiting.pop(0)
        answer = client.get(path)
        if answer.status_code in {301, 302, 303, 307, 308}:
            links = [answer.location or ""]
        elif answer.mimetype == "text/html":
            document = Document(answer.text)
            wrong += [f"{path}: {problem}" for problem in problems(document)]
            links = document.links() if answer.status_code == 200 else []
            pages.add(urlsplit(path).path)
        else:
            links = []
        if answer.status_code >= 500 or (answer.status_code == 404 and path not in start):
            wrong.append(f"{path} answers {answer.status_code}: a link leads there")
        for target in internal(path, links):
            if target not in known:
                known.add(target)
                waiting.append(target)
        assert len(known) < MAX_PAGES, f"more than {MAX_PAGES} pages: links without end at {path}"
    return wrong, pages


def internal(path: str, links: list[str]) -> Iterator[str]:
    """Yield the targets of links that are pages of this site."""
    for link in links:
        parts = urlsplit(urljoin(f"http://localhost{path}", urldefrag(link).url))
        if parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1"} and parts.port in {None, 5000}:
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            if not target.startswith(NO_PAGES):
                yield target


def paths_without_arguments(app: Flask) -> list[str]:
    """Return every GET route that needs nothing filled in."""
    rules = [r for r in app.url_map.iter_rules() if "GET" in (r.methods or ()) and not r.arguments]
    return sorted(r.rule for r in rules if not r.rule.startswith(NO_PAGES))


def weight(client: FlaskClient, path: str) -> int:
    """Return the bytes of a page and of every style sheet, script and image that it loads, uncompressed."""
    answer = client.get(path)
    assert answer.status_code == 200
    document = Document(answer.text)
    files = {e.attrs["href"] for e in document.all("link") if e.attrs.get("rel") in {"stylesheet", "icon"}}
    files |= {e.attrs["src"] for e in document.all("script", "img") if "src" in e.attrs}
    return len(answer.data) + sum(file_size(client, file) for file in files)


def file_size(client: FlaskClient, path: str) -> int:
    with client.get(path) as answer:
        assert answer.status_code == 200, f"{path} is missing"
        return len(answer.data)
