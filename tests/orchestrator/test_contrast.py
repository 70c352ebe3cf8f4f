"""Colours of page and figure by WCAG 2.1: text at least 4.5 to 1, what carries meaning 3 to 1."""

import re
from pathlib import Path

import pytest

from orchestrator.report import panel

STYLE = (Path(panel.__file__).parent / "templates" / "style.css").read_text("utf-8")
TEXT = [
    ("ink", "paper"),
    ("soft", "paper"),
    ("good", "paper"),
    ("bad", "paper"),
    ("warn", "paper"),
    ("ref", "paper"),
    ("good", "good2"),
    ("bad", "bad2"),
    ("ink", "warn2"),
    ("soft", "warn2"),
    ("ink", "code"),
]
"""Letters, and what they stand on."""
GRAPHICS = ["bar", "edge", "shadow", "good", "bad", "warn", "ref", "soft"]
"""Marks on the page's paper."""
OPACITY = 0.8
"""Of a main step's bar, which the style sheet says, too."""


def scheme(name: str) -> dict[str, str]:
    """The colours of a scheme; what dark and print do not say is light's."""
    start = {
        "light": STYLE.index(":root"),
        "dark": STYLE.index("prefers-color-scheme: dark"),
        "print": STYLE.index("@media print"),
    }
    found: dict[str, str] = {}
    for one in dict.fromkeys(("light", name)):
        block = STYLE[STYLE.index("{ --", start[one]) :].partition("}")[0]
        found |= dict(re.findall(r"--(\w+): ?(#\w+)", block))
    return found


def rgb(color: str) -> tuple[float, ...]:
    digits = color.removeprefix("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    return tuple(int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4))


def luminance(color: tuple[float, ...]) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def laid_over(
    color: tuple[float, ...], ground: tuple[float, ...], share: float
) -> tuple[float, ...]:
    return tuple(share * a + (1 - share) * b for a, b in zip(color, ground, strict=True))


def test_contrast_is_wcags() -> None:
    assert contrast(rgb("#fff"), rgb("#000")) == pytest.approx(21)
    assert contrast(rgb("#777"), rgb("#ffffff")) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", ["light", "dark", "print"])
def test_text_of_the_page_can_be_read(name: str) -> None:
    colors = {key: rgb(value) for key, value in scheme(name).items()}
    found = {pair: contrast(colors[pair[0]], colors[pair[1]]) for pair in TEXT}
    assert {pair: value for pair, value in found.items() if value < 4.5} == {}


@pytest.mark.parametrize("name", ["light", "dark", "print"])
def test_marks_of_the_page_stand_out(name: str) -> None:
    colors = {key: rgb(value) for key, value in scheme(name).items()}
    paper = colors["paper"]
    bar = laid_over(colors["bar"], paper, OPACITY)
    found = {key: contrast(colors[key], paper) for key in GRAPHICS}
    found |= {"bar of a step": contrast(bar, paper)}
    found |= {f"{key} on a bar": contrast(colors[key], bar) for key in ("dot", "ink")}
    assert {key: value for key, value in found.items() if value < 3} == {}
    assert f"opacity: {OPACITY:g}".replace("0.", ".") in STYLE


def test_text_and_marks_of_the_figure_stand_out() -> None:
    white = rgb("#ffffff")
    texts = [panel.INK, panel.SOFT, panel.WARN, panel.REFERENCE, *panel.TONES.values()]
    assert [color for color in texts if contrast(rgb(color), white) < 4.5] == []
    on_bars = [contrast(rgb(color), rgb(panel.BAR)) for color in (panel.DOT, panel.INK)]
    assert min(on_bars) >= 3
    assert contrast(rgb(panel.SIDE), white) >= 3


def test_better_and_worse_differ_by_more_than_colour() -> None:
    """Under deuteranopia green and red are one colour: the shapes are not."""
    assert "rotate(45deg)" in STYLE[STYLE.index(".better .point") :].partition("}")[0]
    assert "border-radius: 0" in STYLE[STYLE.index(".worse .point") :].partition("}")[0]
