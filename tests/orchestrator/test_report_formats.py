"""The report's files: complete, escaped, offline, the same each time."""

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from invented import NORM, ROAD, digest, roadmap_of, snapshot_of, spec_of, write_trials

from orchestrator.analysis.roadmap import Roadmap, build_roadmap
from orchestrator.planning.plan import trials_of
from orchestrator.report import picture
from orchestrator.report.curves import LearningCurves
from orchestrator.report.figure import axis_of
from orchestrator.report.formats import render
from orchestrator.report.scale import Scale, scale_around
from orchestrator.store.damage import collected
from orchestrator.store.store import MetricsLog, Store

BODY = """
design: [roadmap, leave_one_out]
steps:
  - name: rms_norm
    change: {model.norm: rmsnorm}
    reference: {value: 74.5, source: "a paper <1> & 50% of #2"}
  - name: causal
    change: {model.attention: causal}
    side:
      additive: {change: {model.mask_form: additive}, expect: collapse}
"""
ENDS = {
    "baseline": [70.0, 71.0, 72.0],
    "rms_norm": [72.0, 73.5, 74.0],
    "causal": [68.0, ("collapsed", 10.0), 69.5],
    "additive": [("collapsed", 10.0)] * 3,
    "without.rms_norm": [66.0, 67.0, "diverged"],
    "without.causal": [72.0, 73.5, 74.0],
}


@pytest.fixture
def roadmap(tmp_path: Path) -> Roadmap:
    spec = spec_of(tmp_path, BODY)
    return build_roadmap(
        snapshot_of(spec, trials_of(spec, digest), write_trials(spec, ENDS, tmp_path / "runs"))
    )  # type: ignore[arg-type]


class _Tags(HTMLParser):
    """Opens and closes, so that a tag left open is noticed."""

    VOID = ("meta", "br", "line", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(roadmap: Roadmap) -> _Tags:
    page = _Tags()
    page.feed(render(roadmap, "html").decode())
    return page


def test_the_html_file_is_whole_and_asks_nothing_of_the_network(roadmap: Roadmap) -> None:
    text = render(roadmap, "html").decode()
    page = parsed(roadmap)
    assert page.open == []
    assert not re.search(r"""\bsrc\s*=|href\s*=\s*"[^#]|@import|url\(|fetch\(|XMLHttp""", text)
    assert set(re.findall(r"https?://[^\s\"')]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not [tag for tag, _ in page.seen if tag in ("link", "img", "iframe")]


def test_the_html_file_has_a_dot_for_every_trial_that_has_a_value(roadmap: Roadmap) -> None:
    dots = [
        attributes
        for _, attributes in parsed(roadmap).seen
        if (attributes.get("class") or "").startswith("dot")
    ]
    of_bars = sum(len(row.values) for row in roadmap.rows if not row.is_collapsed)
    assert len(dots) == of_bars == 9
    assert [dot["title"] for dot in dots if dot["class"] == "dot ill"] == [
        "seed 1: 10.00 collapsed"
    ]


def test_the_html_file_tells_what_a_reader_needs(roadmap: Roadmap) -> None:
    text = parsed(roadmap).text
    for needed in (
        "rms_norm",
        "collapsed at 10.0",
        "1 collapsed",
        "◆ 74.5",
        "git commit 0123abc",
        "torch 2.13.0",
        "few-seeds",
    ):
        assert needed in text
    assert "without.rms_norm-seed2: diverged it is" in text.replace("\n", "")
    assert roadmap.spec_text in text  # to run it again
    assert "prefers-color-scheme: dark" in text
    assert "max-width: 46rem" in text


def test_tables_and_figures_can_be_heard_and_reached_by_keys(roadmap: Roadmap) -> None:
    tags = parsed(roadmap).seen
    heads = [attributes for tag, attributes in tags if tag == "th"]
    assert heads
    assert {attributes.get("scope") for attributes in heads} == {"col", "row"}
    tables = [tag for tag, _ in tags].count("table")
    assert [tag for tag, _ in tags].count("caption") == tables
    scrolled = [a for tag, a in tags if tag == "div" and "wide" in (a.get("class") or "").split()]
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in scrolled)
    drawings = [
        a for tag, a in tags if tag in ("figure", "svg") and "small" not in (a.get("class") or "")
    ]
    assert drawings
    assert all(a.get("aria-label") for a in drawings)


@pytest.mark.parametrize(
    ("mode", "direction"), [("max", "higher is better"), ("min", "lower is better")]
)
def test_the_better_direction_stands_beside_the_metric(
    tmp_path: Path, mode: str, direction: str
) -> None:
    metric = {"max": "val/acc1", "min": "val/loss"}[mode]
    body = f"metric: {{name: {metric}, mode: {mode}}}\n{ROAD}"
    ends = {"baseline": [70.0, 71.0, 72.0], "rmsnorm": [80.0, 81.1, 81.9]}
    found = roadmap_of(spec_of(tmp_path, body), ends)  # type: ignore[arg-type]
    for form in ("table", "md", "latex", "html", "svg"):
        assert f"{metric} ({direction}" in render(found, form).decode().replace("\\_", "_")


def test_learning_curves_have_a_line_for_each_seed(roadmap: Roadmap) -> None:
    curves = [
        attributes
        for tag, attributes in parsed(roadmap).seen
        if tag == "polyline" and attributes["class"] == "curve"
    ]
    assert len(curves) == 3 * 4
    assert all(len((attributes["points"] or "").split()) == 3 for attributes in curves)


def test_text_from_the_spec_is_escaped_everywhere(roadmap: Roadmap) -> None:
    assert "a paper &lt;1&gt; &amp; 50% of #2" in render(roadmap, "html").decode()
    latex = render(roadmap, "latex").decode()
    body = [line for line in latex.splitlines() if not line.startswith("%")]
    assert any(r"rms\_norm" in line for line in body)
    assert not [line for line in body if re.search(r"(?<!\\)[_%#]", line)]


def test_what_is_special_to_a_format_stays_text(roadmap: Roadmap) -> None:
    first, second, *others = roadmap.rows
    odd = replace(
        second, variant=replace(second.variant, changes={"model.title": "$5 | $6 <b> __x__\n# two"})
    )
    odd_roadmap = replace(
        roadmap, rows=[first, odd, *others], causes={"odd-seed0": "first line\nsecond_line"}
    )
    markdown = render(odd_roadmap, "md").decode()
    assert r"| title: $5 \| $6 \<b> \_\_x\_\_ # two |" in markdown
    assert r"\* causal: only seeds" in markdown
    assert r"a paper \<1> & 50% of #2" in markdown
    latex = render(odd_roadmap, "latex").decode()
    assert r"title: \$5 \textbar{} \$6 $<$b$>$ \_\_x\_\_ \# two" in latex
    assert "% odd-seed0: first line second_line\n" in latex
    assert "title: $5 | $6 <b> __x__ # two" in "".join(
        ElementTree.fromstring(render(odd_roadmap, "svg")).itertext()
    )
    assert "title: $5 | $6 &lt;b&gt; __x__ # two" in render(odd_roadmap, "html").decode()


def test_a_damaged_file_is_named_and_stops_no_report(roadmap: Roadmap) -> None:
    path = Path(roadmap.rows[0].paths[0], "trial.json")
    path.write_text("{")
    with collected() as notes:
        assert b"<html" in render(roadmap, "html")
    assert f"  {path}" in notes.lines()


def test_latex_is_a_booktabs_table_with_as_many_cells_in_every_row(roadmap: Roadmap) -> None:
    latex = render(roadmap, "latex").decode()
    tables = re.findall(
        r"\\begin{tabular}{([^\n]+)}\n\\toprule\n(.*?)\\bottomrule\n\\end{tabular}",
        latex,
        re.DOTALL,
    )
    assert len(tables) == latex.count(r"\midrule") == 3
    for alignment, body in tables:
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows
        assert {row.count(" & ") + 1 for row in rows} == {alignment.count("arraybackslash")}
        widths = [float(width) for width in re.findall(r"p{([\d.]+)", alignment)]
        assert sum(widths) < 1  # of a line, so that no table leaves the page


def test_markdown_tables_have_as_many_cells_in_every_row(roadmap: Roadmap) -> None:
    text = render(roadmap, "md").decode()
    assert text.startswith("# Roadmap of invented\n")
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    assert "## The final model without each step" in text
    assert "few-seeds" in text


def test_the_terminal_table_names_every_step(roadmap: Roadmap) -> None:
    text = render(roadmap, "table").decode()
    for row in roadmap.rows:
        assert row.variant.name in text
    assert "The final model without each step" in text


def test_svg_is_xml_with_the_steps_as_text_and_the_same_each_time(roadmap: Roadmap) -> None:
    svg = render(roadmap, "svg")
    texts = "".join(ElementTree.fromstring(svg).itertext())
    assert "rms_norm" in texts
    assert "collapsed at 10.0" in texts
    assert svg == render(roadmap, "svg")


def test_png_is_one(roadmap: Roadmap) -> None:
    assert render(roadmap, "png").startswith(b"\x89PNG\r\n")


def test_json_is_the_roadmaps(roadmap: Roadmap) -> None:
    assert json.loads(render(roadmap, "json")) == json.loads(json.dumps(roadmap.to_json()))


@pytest.mark.parametrize("form", ["html", "svg", "md", "latex", "table", "json"])
def test_a_sweep_that_has_not_begun_has_a_report(tmp_path: Path, form: str) -> None:
    text = render(roadmap_of(spec_of(tmp_path, BODY), {}), form).decode()
    assert "rms_norm" in text.replace("\\_", "_")


def test_axes_hold_every_seed_and_leave_collapses_out(roadmap: Roadmap) -> None:
    axis = axis_of(roadmap.rows, "val/acc1")
    assert all(
        axis.has(value)
        for row in roadmap.rows
        if not row.is_collapsed
        for value in row.finished_values.values()
    )
    assert axis.low > 50
    assert axis_of([], "val/acc1") == Scale(0.0, 1.0) or axis_of([], "val/acc1").high <= 100


@pytest.mark.parametrize("values", [[0.001, 0.002], [93.2, 93.9], [5.0], [-3.0, 40.0], [1e6, 3e6]])
def test_ticks_are_round_few_and_on_the_axis(values: list[float]) -> None:
    axis = scale_around(values)
    assert all(axis.has(value) for value in values)
    ticks = axis.ticks()
    assert 3 <= len(ticks) <= 10
    assert all(axis.low - 1e-9 <= tick <= axis.high + 1e-9 for tick in ticks)
    assert len({axis.label(tick) for tick in ticks}) == len(ticks)


def test_a_figure_of_more_steps_than_anybody_looks_through_says_what_it_leaves_out(
    roadmap: Roadmap, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = "".join(ElementTree.fromstring(render(roadmap, "svg")).itertext())
    monkeypatch.setattr(picture, "_MOST_ROWS", 2)
    texts = " ".join("".join(ElementTree.fromstring(render(roadmap, "svg")).itertext()).split())
    assert f"The first 2 of {len(roadmap.rows)} variants" in texts
    assert (roadmap.rows[2].variant.name in whole, roadmap.rows[2].variant.name in texts) == (
        True,
        False,
    )
    assert "The first" not in whole


def test_every_metric_of_the_report_has_its_curves(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "metric: {also: [val/loss]}\n" + NORM, seeds=1)
    trials = trials_of(spec, digest)
    for trial in trials:
        directory = Store(tmp_path).directory(trial)
        directory.path.mkdir(parents=True)
        directory.start_attempt("here", {"host": "here", "pid": 1})
        log = MetricsLog(directory)
        for epoch in (1, 2):
            log({"val/acc1": 10.0 * epoch, "val/loss": 1.0 / epoch}, epoch)
    found = snapshot_of(spec, trials, Store(tmp_path).record)
    drawn = LearningCurves(build_roadmap(found)).drawings()
    assert [one.metric for one in drawn] == ["val/acc1", "val/loss"]
