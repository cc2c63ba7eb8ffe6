"""Find how a reader can reach the writer, and the personal details that do not belong in a CV."""

from __future__ import annotations

import re
from dataclasses import dataclass

from checker.sections import Section
from checker.text import Document

EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,24}(?![\w-])")
PHONE = re.compile(r"(?<![\w/.-])(?:\+|00)?\(?\d(?:[ \u00a0().-]{0,2}\d){7,14}(?![\w/])")
YEARS = re.compile(r"(?:19|20)\d\d\D{1,3}(?:19|20)\d\d")
LINK = re.compile(
    r"(?:https?://|www\.)[^\s,;|)]{3,200}|(?:linkedin\.com/in|github\.com|gitlab\.com)/[\w./-]{2,100}", re.I
)
PLACE = re.compile(
    r"\b[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b"  # a British postcode
    r"|\b[A-Z]{2},? \d{5}(?:-\d{4})?\b"  # an American state and ZIP
    r"|\b[A-Z][\w'’.-]+(?: [A-Z][\w'’.-]+){0,2}, ?(?:[A-Z]{2}\b|[A-Z][a-z]{2,}(?: [A-Z][a-z]+){0,2})"  # City, Country
)
PERSONAL = (
    (re.compile(r"\b(?:date of birth|d\.?o\.?b\b|born(?: on)?:)", re.I), "your date of birth"),
    (re.compile(r"\b(?:marital status|married with)\b", re.I), "your marital status"),
    (re.compile(r"^\s*(?:gender|sex)\s*:", re.I | re.M), "your gender"),
    (re.compile(r"^\s*religion\s*:", re.I | re.M), "your religion"),
    (re.compile(r"\b(?:national insurance|social security|passport) (?:number|no\b)", re.I), "an official number"),
)
TOP_LINES = 10


@dataclass(frozen=True)
class Contact:
    """What was found; None for what was not. `personal` names details that invite bias or theft."""

    email: str | None
    phone: str | None
    link: str | None
    place: str | None
    personal: tuple[str, ...]

    @property
    def missing(self) -> list[str]:
        names = {
            "an e-mail address": self.email,
            "a phone number": self.phone,
            "a link": self.link,
            "a place": self.place,
        }
        return [name for name, value in names.items() if value is None]


def find(document: Document, sections: list[Section]) -> Contact:
    """Return the contact details of a CV; the place is looked for near the top, where it belongs."""
    text = document.text
    top = "\n".join(line.text for line in document.lines[:TOP_LINES] if not line.is_bullet)
    return Contact(
        email=_first(EMAIL, text),
        phone=_phone(text),
        link=_first(LINK, text),
        place=_place(top, sections),
        personal=tuple(name for pattern, name in PERSONAL if pattern.search(text)),
    )


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found[0].rstrip(".") if found else None


def _phone(text: str) -> str | None:
    for found in PHONE.finditer(text):
        if not YEARS.fullmatch(found[0].strip("()")):
            return found[0]
    return None


def _place(top: str, sections: list[Section]) -> str | None:
    labelled = re.search(r"^(?:address|location|based in)\s*:?\s+(.{3,60})$", top, re.I | re.M)
    if labelled:
        return labelled[1]
    first_section = len(sections[0].lines)
    head = "\n".join(line.text for line in sections[0].lines[: min(first_section, TOP_LINES)])
    return _first(PLACE, head or top)
