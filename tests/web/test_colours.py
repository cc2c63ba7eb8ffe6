"""Text can be read in both themes: contrast by WCAG 2.2, computed from the tokens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOKENS = (Path(__file__).resolve().parents[2] / "static/css/tokens.css").read_text()
THEMES = ("light", "dark")
STATES = ("positive", "warning", "danger", "info")

# Text on a surface: 4.5:1.
TEXT = [
    *((text, surface) for text in ("text", "muted", "accent") for surface in ("page", "surface", "raised")),
    ("text", "selected"),
    ("text", "accent-surface"),
    ("muted", "accent-surface"),
    ("accent", "accent-surface"),
    ("accent-strong", "accent-surface"),
    ("accent-strong", "page"),
    ("accent-strong", "surface"),
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("on-danger", "danger-text"),
    ("on-danger", "danger-strong"),
    ("danger-text", "surface"),
    ("danger-text", "page"),
    ("positive-text", "surface"),
    *((f"{state}-text", f"{state}-surface") for state in STATES),
    *(("text", f"{state}-surface") for state in STATES),
]
# The edges of controls, focus rings and the shapes of charts: 3:1 (WCAG 2.2, 1.4.11).
SHAPES = [
    ("border-strong", "surface"),
    ("border-strong", "page"),
    ("accent", "page"),
    ("accent", "surface"),
    ("chart-1", "surface"),
    ("barrier-a", "barrier-b"),
]


def colours() -> dict[str, tuple[str, str]]:
    """Return each colour token's light and dark value."""
    found = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", TOKENS)
    return {name: (light, dark) for name, light, dark in found}


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_computed_as_defined() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("text", "surface"), TEXT)
def test_text_can_be_read(text: str, surface: str, theme: str) -> None:
    found, side = colours(), THEMES.index(theme)
    ratio = contrast(found[text][side], found[surface][side])
    assert ratio >= 4.5, f"--{text} on --{surface} has {ratio:.2f}:1 in the {theme} theme: change tokens.css"


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("shape", "surface"), SHAPES)
def test_shapes_can_be_seen(shape: str, surface: str, theme: str) -> None:
    found, side = colours(), THEMES.index(theme)
    ratio = contrast(found[shape][side], found[surface][side])
    assert ratio >= 3, f"--{shape} on --{surface} has {ratio:.2f}:1 in the {theme} theme: change tokens.css"


def test_colours_live_in_the_tokens_only() -> None:
    styles = Path(__file__).resolve().parents[2] / "static/css"
    for sheet in styles.glob("*.css"):
        if sheet.name == "tokens.css":
            continue
        outside_print = re.sub(r"@media print \{.*?\n  \}", "", sheet.read_text(), flags=re.DOTALL)
        strays = re.findall(r"#[0-9a-fA-F]{3,8}\b|\brgba?\(|\bhsl\(", outside_print)
        assert not strays, f"{sheet.name} has {strays}: name the colour by its role in tokens.css"
