"""Nobody is sent to another site by a link to ours, however the target is spelled."""

from __future__ import annotations

import itertools
import re
from urllib.parse import quote

import pytest
from flask import Flask, redirect
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from tests.persons import post
from web import redirects

OURS = "http://127.0.0.1:5000"
EVIL = ("evil.com", "evil.com/path", "evil.com%2fpath", "user@evil.com", "127.0.0.1:5000@evil.com", "evil%E3%80%82com")
STARTS = (
    *("//", "///", "////", "/////", "\\\\", "\\/", "/\\", "/\\/", "//\\", "\\", "\\\\\\"),
    *("/\t/", "/\n/", "/\r/", "/\r\n/", "\t//", "\n//", " //", " ///", "/ /", "/\x00/", "/\x0b/", "/\x0c/", "\x19////"),
    *("http://", "https://", "https:", "https:/", "https:///", "http:", "HTTPS://", "hTTps:\\\\", "ftp://", "ws://"),
    *("http:\\\\", "https:\t//", "h\nttps://", "//\t", "///\t", "/.//", "/..//", "/a/..//", "/%2f%2f", "/%5c%5c"),
    *("\u2044\u2044", "\uff0f\uff0f", "/\uff0f", "\u3000//", "\u200a//", "/\u200b/", "%2f%2f", "/%09/", "\u00a0//"),
)
SCRIPTS = (
    *(
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\tscript:alert(1)",
        "javascript://%0aalert(1)",
        "data:text/html,x",
    ),
    *(
        "vbscript:x",
        "file:///etc/passwd",
        "about:blank",
        "blob:x",
        "view-source:x",
        "/\r\nLocation: //evil.com",
        "/\nx: y",
    ),
    *(
        "",
        " ",
        "\t",
        "evil.com",
        "www.evil.com",
        ".evil.com",
        "@evil.com",
        "?next=//evil.com",
        "#//evil.com",
        "/" + "a" * 2001,
    ),
)
PAYLOADS = sorted({start + host for start, host in itertools.product(STARTS, EVIL)} | set(SCRIPTS))
KEPT = (
    "/",
    "/pricing",
    "/pricing?interval=year",
    "/a/b-c_d~e.f",
    "/search?q=a%20b&back=//x",
    "/p#part",
    "/%7Eann",
    "/a:b@c",
)


def origin_in_a_browser(location: str) -> str:
    """Return where a browser goes from our site for a Location header, as https://url.spec.whatwg.org/ reads it.

    Written out here, apart from the code under test: strip what the standard strips, read backslashes as slashes, and
    look for a scheme or a second slash.
    """
    text = re.sub(r"[\t\n\r]", "", location.strip("".join(map(chr, range(0x21)))))
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", text)
    if scheme and scheme[1].lower() not in {"http", "https"}:
        return f"{scheme[1].lower()}:"
    rest = (text[scheme.end() :] if scheme else text).replace("\\", "/")
    if scheme and scheme[1].lower() == "http" and not rest.startswith("//"):
        return OURS  # the same scheme as ours and no host: relative
    if not scheme and not rest.startswith("//"):
        return OURS
    host = re.split(r"[/?#]", rest.lstrip("/"), maxsplit=1)[0].rpartition("@")[2]
    return f"{scheme[1].lower() if scheme else 'http'}://{host}"


def test_there_are_enough_payloads_and_most_of_them_leave_the_site_when_trusted() -> None:
    assert len(PAYLOADS) >= 300
    leaving = [p for p in PAYLOADS if origin_in_a_browser(p) != OURS]
    assert len(leaving) >= 200, "the check or the payloads have gone blunt"


@pytest.mark.parametrize(
    "known", ["////evil.com", "https:evil.com", "https:/evil.com", "https:///evil.com", "/\t/evil.com", "//evil.com"]
)
def test_the_check_knows_the_redirects_that_fooled_others(known: str) -> None:
    assert origin_in_a_browser(known).endswith("evil.com")


def test_no_payload_is_followed(app: Flask) -> None:
    for payload in PAYLOADS:
        with app.test_request_context(base_url=OURS):
            location = redirect(redirects.safe_next(payload, "/home")).headers["Location"]
        assert origin_in_a_browser(location) == OURS, repr(payload)
        assert "\n" not in location


@pytest.mark.parametrize("target", KEPT)
def test_a_page_of_the_site_is_kept_as_it_is(target: str) -> None:
    assert redirects.safe_next(target, "/home") == target


@pytest.mark.parametrize("target", [None, "", "pricing", "//evil.com", "/a//b", "/\\evil.com", "/ä", "/a b"])
def test_anything_else_leads_to_the_default(target: str | None) -> None:
    assert redirects.safe_next(target, "/home") == "/home"


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_no_text_at_all_leads_away(text: str) -> None:
    assert origin_in_a_browser(redirects.safe_next("/" + text, "/home")) == OURS


def test_the_log_in_page_forwards_to_no_other_site(client: FlaskClient) -> None:
    for payload in PAYLOADS[::7]:
        answer = client.get(f"/login?next={quote(payload, safe='')}")
        assert answer.status_code == (400 if "\x00" in payload else 200), "a page, or no page, but no redirect"


def test_signing_up_with_a_foreign_next_stays_here(client: FlaskClient) -> None:
    answer = post(
        client, "/register?next=////evil.com", email="ann@example.com", password="correct horse", next="//evil.com"
    )
    assert answer.status_code == 303
    assert answer.location == "/verify"
