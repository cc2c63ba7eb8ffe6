"""Find the sections of a CV by their headings, in the many words that people use for them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from checker.text import Document, Line

HEADINGS: dict[str, tuple[str, ...]] = {
    "summary": (
        "summary", "profile", "personal statement", "about", "about me", "objective", "career objective", "overview",
        "professional summary", "professional profile", "personal profile", "executive summary", "career summary",
        "introduction",
    ),
    "experience": (
        "experience", "work experience", "professional experience", "employment", "employment history", "work history",
        "career history", "relevant experience", "career", "professional background", "positions held", "work",
        "teaching experience", "clinical experience", "industry experience", "internships", "research experience",
    ),
    "education": (
        "education", "education and training", "academic background", "qualifications", "academic qualifications",
        "education and qualifications", "studies", "training", "academic history", "educational background",
    ),
    "skills": (
        "skills", "key skills", "technical skills", "core skills", "core competencies", "competencies", "expertise",
        "technologies", "skills and tools", "areas of expertise", "tools", "skills and interests", "it skills",
        "technical expertise", "tech stack", "professional skills", "skills summary", "skills and abilities",
    ),
    "projects": ("projects", "personal projects", "selected projects", "key projects", "portfolio", "open source"),
    "certifications": (
        "certifications", "certificates", "licences", "licenses", "certifications and licences", "courses",
        "licenses and certifications", "professional development", "registrations", "professional registration",
    ),
    "languages": ("languages", "language skills"),
    "awards": ("awards", "honours", "honors", "achievements", "awards and honours", "key achievements", "prizes"),
    "publications": ("publications", "papers", "patents", "talks", "conferences", "publications and talks"),
    "volunteering": ("volunteering", "volunteer experience", "voluntary work", "community", "volunteer work"),
    "interests": ("interests", "hobbies", "hobbies and interests", "interests and hobbies", "personal interests"),
    "references": ("references", "referees"),
}  # fmt: skip
ESSENTIAL = ("experience", "education", "skills", "summary")
WORKING = ("experience", "projects", "volunteering", "awards")
KIND_OF = {heading: kind for kind, headings in HEADINGS.items() for heading in headings}
INLINE = re.compile(r"^([A-Za-z &/]{4,30}):\s+(\S.*)$")


@dataclass
class Section:
    """A part of a CV: what kind it is, its heading as written, and the lines below it."""

    kind: str
    heading: str
    lines: list[Line] = field(default_factory=list)


def find(document: Document) -> list[Section]:
    """Return the sections in their order; lines above the first heading are a section of kind `top`."""
    sections = [Section("top", "")]
    for line in document.lines:
        kind, rest = _heading(line)
        if kind is None:
            sections[-1].lines.append(line)
            continue
        heading = line.text[: -len(rest)].rstrip() if rest else line.text
        sections.append(Section(kind, heading.rstrip(":"), [Line(line.number, rest, False)] if rest else []))
    return sections


def lines_of(sections: list[Section], *kinds: str) -> list[Line]:
    """Return the lines of every section of these kinds."""
    return [line for section in sections if section.kind in kinds for line in section.lines]


def _heading(line: Line) -> tuple[str | None, str]:
    """Tell the kind of section that a line opens, and the content that stands behind its colon."""
    if line.is_bullet:
        return None, ""
    kind = KIND_OF.get(_plain(line.text))
    if kind is not None:
        return kind, ""
    inline = INLINE.match(line.text)
    if inline is None:
        return None, ""
    return KIND_OF.get(_plain(inline[1])), inline[2]


def _plain(text: str) -> str:
    words = re.sub(r"[^a-z ]+", " ", text.lower().replace("&", " and ").replace("/", " and "))
    plain = " ".join(words.split())
    spaced = re.fullmatch(r"(?:[a-z] ){3,}[a-z]", plain)  # E X P E R I E N C E, as some templates print it
    return plain.replace(" ", "") if spaced else plain
