"""An HTML page as the house rules see it: its elements, their texts, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {
    *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"),
    *("path", "rect"),
}
UNLABELLED_TYPES = {"hidden", "submit", "button", "reset", "image"}


@dataclass
class Element:
    """One element with its attributes, what it stands in, and the text within it."""

    tag: str
    attrs: dict[str, str]
    parent: Element | None
    text: str = ""

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    def inside(self, tag: str) -> Element | None:
        """Return the nearest element of this kind around this one."""
        found = self.parent
        while found is not None and found.tag != tag:
            found = found.parent
        return found


@dataclass
class Document(HTMLParser):
    """A parsed page: every element in order."""

    html: str
    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[Element] = []
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {k: v or "" for k, v in attrs}, self._open[-1] if self._open else None)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {k: v or "" for k, v in attrs}, self._open[-1] if self._open else None))

    def handle_endtag(self, tag: str) -> None:
        if any(e.tag == tag for e in self._open):
            while self._open.pop().tag != tag:
                pass

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, *tags: str) -> list[Element]:
        return [e for e in self.elements if e.tag in tags]

    def links(self) -> list[str]:
        return [e.attrs["href"] for e in self.all("a") if e.attrs.get("href")]


def problems(document: Document) -> list[str]:
    """Return what is wrong with a page, each with its remedy."""
    return [problem for rule in RULES for problem in rule(document)]


def _frame(document: Document) -> Iterator[str]:
    headings = document.all("h1")
    if len(headings) != 1:
        yield f"{len(headings)} h1: every page has one; the block `title` is it"
    titles = [t for t in document.all("title") if t.inside("svg") is None]
    if len(titles) != 1 or not headings or not titles[0].words.removeprefix("Error: ").startswith(headings[0].words):
        yield "the title does not start with the h1: say it once, in the block `title`"
    if not document.all("html") or not document.all("html")[0].attrs.get("lang"):
        yield "html has no lang: extend base.html"
    if len(document.all("main")) != 1:
        yield "not one main: extend base.html"


def _ids(document: Document) -> Iterator[str]:
    ids = Counter(e.attrs["id"] for e in document.elements if "id" in e.attrs)
    for name, count in ids.items():
        if count > 1:
            yield f"the id {name!r} is there {count} times: make it unique"
    for element in document.elements:
        for attribute in ("for", "aria-labelledby", "aria-describedby", "aria-controls"):
            for name in element.attrs.get(attribute, "").split():
                if name not in ids:
                    yield f"<{element.tag} {attribute}={name!r}> points to nothing"


def _nothing_inline(document: Document) -> Iterator[str]:
    for element in document.elements:
        if element.tag == "style" or "style" in element.attrs:
            yield f"<{element.tag}> has inline style, which the content security policy drops: write a class"
        if element.tag == "script" and "src" not in element.attrs:
            yield "an inline script, which the content security policy drops: write a module in static/js"
        for name in element.attrs:
            if name.startswith("on"):
                yield f"<{element.tag} {name}>: attach behaviour by a data- attribute in static/js"


def _forms(document: Document) -> Iterator[str]:
    for form in document.all("form"):
        tokens = [i for i in document.all("input") if i.inside("form") is form and i.attrs.get("name") == "csrf_token"]
        if form.attrs.get("method", "get").lower() == "post" and not any(t.attrs.get("value") for t in tokens):
            yield f"the POST form to {form.attrs.get('action')!r} has no CSRF token: use the macro `form`"
    labelled = {e.attrs.get("for") for e in document.all("label")}
    for control in document.all("input", "select", "textarea"):
        if control.attrs.get("type") in UNLABELLED_TYPES:
            continue
        named = control.attrs.get("id") in labelled or control.inside("label") or control.attrs.get("aria-label")
        if not named:
            yield f"the input {control.attrs.get('name')!r} has no label: use the macro `field`"


def _names(document: Document) -> Iterator[str]:
    for table in document.all("table"):
        if not any(c.inside("table") is table and c.words for c in document.all("caption")):
            yield "a table without a caption: use the macro `table`"
    for image in document.all("img"):
        if "alt" not in image.attrs:
            yield f"the image {image.attrs.get('src')!r} has no alt"
    for control in document.all("a", "button", "summary"):
        if not control.words and not control.attrs.get("aria-label"):
            yield f"a <{control.tag}> without words: say what it does"


def _headings(document: Document) -> Iterator[str]:
    level = 0
    for heading in document.all("h1", "h2", "h3", "h4", "h5", "h6"):
        if heading.inside("dialog") is not None:
            continue
        here = int(heading.tag[1])
        if here > level + 1:
            yield f"{heading.words!r} is an h{here} after an h{level}: do not skip a level"
        level = here


RULES: tuple[Callable[[Document], Iterator[str]], ...] = (_frame, _ids, _nothing_inline, _forms, _names, _headings)
