"""The roadmap figure: one description for page and picture, and a picture where no text lies on
another.
"""

import io
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from invented import ROAD, End, roadmap_of, spec_of

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.report import lettering, picture
from orchestrator.report.figure import figures_of
from orchestrator.report.formats import Layout, render
from orchestrator.report.lettering import fitted, text_width
from orchestrator.report.scale import Scale, alike, log_scale_around

ENDS: dict[str, list[End | None]] = {
    "baseline": [70.0, 71.0, 72.0],
    "rmsnorm": [80.0, 81.1, 81.9],
    "causal": ["diverged", 80.9, 82.0],
    "additive": [("collapsed", 10.0)] * 3,
    "last": ["out_of_memory"] * 3,
}


@pytest.fixture
def roadmap(tmp_path: Path) -> Roadmap:
    return roadmap_of(spec_of(tmp_path, ROAD), ENDS)


def test_each_row_says_in_words_what_has_no_bar(roadmap: Roadmap) -> None:
    [figure] = figures_of(roadmap)
    rows = {row.name: row for row in figure.rows}
    assert rows["last"].word == "out of memory"
    assert rows["causal"].remark == "1 diverged"
    assert rows["additive"].word == "collapsed at 10.0"
    assert figure.seeds == "95 % intervals over 2 to 3 seeds"
    assert figure.is_broken
    assert (rows["rmsnorm"].tone, figure.direction) == ("better", "higher is better")


def test_what_an_effect_is_held_against_is_said_in_every_picture(tmp_path: Path) -> None:
    """`last` is held against the step before the one that diverged."""
    found = roadmap_of(
        spec_of(tmp_path, ROAD), ENDS | {"causal": ["failed"] * 3, "last": [82.0, 83.0, 84.0]}
    )
    [figure] = figures_of(found)
    assert figure.rows[-1].versus == "rmsnorm"
    said = "Differences are from the previous step, or from the one named after vs"
    assert figure.differences == said
    assert ">vs rmsnorm<" in render(found, "svg").decode()
    assert re.search(">vs r.*…?.*m<", render(found, "svg", Layout(3.3)).decode())
    assert "vs rmsnorm</span>" in render(found, "html").decode().replace(
        '<span class="unseen"> not decided</span>', ""
    ).replace('<span class="unseen"> better</span>', "")


def test_one_ground_of_all_effects_is_said_once(tmp_path: Path) -> None:
    body = ROAD.replace("\nsteps", "\ndesign: [one_factor]\nsteps")
    spec = spec_of(tmp_path, body)
    found = roadmap_of(spec, {v.name: [70.0, 71.0, 72.5] for v in spec.variants})
    [figure] = figures_of(found)
    assert figure.differences == "Differences are from baseline"
    assert {row.versus for row in figure.rows} == {""}
    assert "vs baseline" not in render(found, "svg").decode()


def test_the_beginning_of_a_cut_axis_is_told_as_it_is() -> None:
    """Its ticks are whole numbers."""
    axis = Scale(78.5, 85.5)
    assert axis.label(axis.low) == "78"
    assert axis.beginning == "78.5"
    assert Scale(-0.03125, -0.03115).beginning == "-0.03125"
    assert Scale(1234.0, 9000.0).beginning == "1234"
    assert Scale(0.001, 500.0, is_log=True).beginning == "0.001"


def test_axes_of_regimes_that_nearly_coincide_are_one_and_all_are_of_one_length() -> None:
    axes = alike([Scale(68.5, 76.5), Scale(68.0, 76.0), Scale(78.0, 84.0), Scale(96.0, 100.0)], 100)
    assert axes[0] == axes[1] == Scale(68.0, 76.5)
    assert {axis.high - axis.low for axis in axes} == {8.5}
    assert axes[2].low <= 78.0 < 84.0 <= axes[2].high
    assert axes[3] == Scale(91.5, 100.0)
    assert alike([Scale(0.0, 1.0), Scale(3.0, 7.0)])[0].low == 0.0


def test_metrics_over_decades_have_a_logarithmic_axis(tmp_path: Path) -> None:
    body = "metric: {name: val/loss, mode: min}\n" + ROAD
    found = roadmap_of(spec_of(tmp_path, body), ENDS)
    values = dict(zip(("baseline", "rmsnorm"), (3.0, 0.003), strict=True))
    rows = [
        replace(
            row,
            values={0: values[row.variant.name]},
            summary=replace(row.summary, mean=values[row.variant.name], ci95=None),
        )
        for row in found.rows
        if row.variant.name in values and row.summary
    ]
    [figure] = figures_of(replace(found, rows=rows))
    assert figure.axis.is_log
    assert not figure.is_broken
    assert figure.axis.percent(0.003) < 10
    assert figure.axis.percent(3.0) > 90


def test_log_ticks_are_round() -> None:
    ticks = log_scale_around([0.0001, 3.0]).ticks()
    assert ticks == pytest.approx([0.0001, 0.001, 0.01, 0.1, 1.0])


def test_names_keep_both_ends() -> None:
    text = "a_step_with_a_long_name_seed3"
    short = fitted(text, 1.0, 9)
    assert text_width(short, 9) <= 1.0
    assert short.startswith("a_st")
    assert short.endswith("eed3")


@pytest.mark.slow
@pytest.mark.parametrize("width", [3.25, 5.5, 9.0])
def test_no_text_of_a_picture_lies_on_another_or_leaves_it(
    roadmap: Roadmap, monkeypatch: pytest.MonkeyPatch, width: float
) -> None:
    drawn: list[Any] = []
    draw = picture._drawn
    monkeypatch.setattr(picture, "_drawn", lambda *of: drawn.append(draw(*of)) or drawn[-1])
    long = "a_really_long_step_name_that_someone_will_write_because_they_can"
    rows = [
        replace(row, variant=replace(row.variant, name=long if row.variant.side else "x"))
        for row in roadmap.rows
    ]
    render(replace(roadmap, rows=rows), "png", Layout(width))
    [canvas] = drawn
    canvas.savefig(io.BytesIO(), format="png", dpi=100)
    texts = [*canvas.texts, *(text for ax in canvas.axes for text in ax.texts)]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    page = canvas.bbox
    assert all(box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1 for box in boxes)
    overlapping = [
        (one, other)
        for place, one in enumerate(boxes)
        for other in boxes[place + 1 :]
        if min(one.x1, other.x1) - max(one.x0, other.x0) > 1
        and min(one.y1, other.y1) - max(one.y0, other.y0) > 1
    ]
    assert overlapping == []
    assert min(text.get_fontsize() for text in texts) >= 7


def test_an_svg_has_a_title_and_the_figure_in_words(roadmap: Roadmap) -> None:
    svg = ElementTree.fromstring(render(roadmap, "svg"))
    space = "{http://www.w3.org/2000/svg}"
    assert svg.findtext(f"{space}title") == "Roadmap of invented"
    assert "rmsnorm 81.00 +10.00" in (svg.findtext(f"{space}desc") or "")
    assert svg.attrib["role"] == "img"


def with_settings(roadmap: Roadmap, value: str) -> Roadmap:
    rows = [
        replace(row, variant=replace(row.variant, changes={"train.how": value}))
        for row in roadmap.rows
    ]
    return replace(roadmap, rows=rows)


RARE = "\N{CIRCLED LATIN CAPITAL LETTER A}"
"""A letter that DejaVu Sans lacks and STIX has, which comes with matplotlib, too."""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", ["png", "svg"])
def test_letters_that_no_font_has_are_told_once_where_they_are_boxes(
    form: str,
    roadmap: Roadmap,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lettering.fonts_for.cache_clear()
    monkeypatch.setattr(lettering, "_installed", dict)
    content = render(with_settings(roadmap, f"{RARE} and {RARE}"), form)
    lettering.fonts_for.cache_clear()
    told = [record.getMessage() for record in caplog.records]
    if form == "svg":
        assert f"how: {RARE} and {RARE}" in content.decode()
        assert told == []
    else:
        [text] = told
        assert text.startswith(f"no font that matplotlib knows has {RARE}: drawn as boxes")


@pytest.mark.filterwarnings("error")
def test_another_installed_font_lends_the_letters_that_matplotlibs_own_lacks(
    roadmap: Roadmap, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fonts, lacking = lettering.fonts_for(frozenset(f"a {RARE}"))
    assert fonts
    assert not lacking
    families: list[Any] = []
    draw = picture._drawn
    monkeypatch.setattr(
        picture,
        "_drawn",
        lambda *of: families.append(matplotlib.rcParams["font.family"]) or draw(*of),
    )
    render(with_settings(roadmap, RARE), "png")
    assert families == [["sans-serif", *fonts]]
    assert not caplog.records


@pytest.mark.slow
def test_a_pdf_is_one_and_the_same_each_time(roadmap: Roadmap) -> None:
    pdf = render(roadmap, "pdf")
    assert pdf.startswith(b"%PDF")
    assert pdf == render(roadmap, "pdf")


def test_a_sweep_without_results_says_so_and_has_no_empty_axis(tmp_path: Path) -> None:
    [figure] = figures_of(roadmap_of(spec_of(tmp_path, ROAD), {}))
    assert not figure.has_axis
    assert {(row.value, row.word) for row in figure.rows} == {("pending", "")}
    svg = render(roadmap_of(spec_of(tmp_path, ROAD), {}), "svg").decode()
    assert "No results yet." in svg
    assert ">0.2<" not in svg
    page = render(roadmap_of(spec_of(tmp_path, ROAD), {}), "html").decode()
    assert "No results yet." in page
    assert 'class="row axis"' not in page


def test_without_results_the_published_road_is_drawn(tmp_path: Path) -> None:
    body = ROAD.replace(
        "change: {model.norm: rmsnorm}",
        "change: {model.norm: rmsnorm}\n    reference: {value: 80, source: x}",
    )
    [figure] = figures_of(roadmap_of(spec_of(tmp_path, body), {}))
    assert figure.has_axis
    assert not figure.is_broken
    assert figure.axis.has(80)
