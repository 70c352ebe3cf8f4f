"""The page in a real browser: nothing leaves the window of a phone, and paper gets all of it."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from invented import ROAD, End, digest, roadmap_of, snapshot_of, spec_of, write_trials
from test_figure import ENDS

from orchestrator.analysis.roadmap import Roadmap, build_roadmap
from orchestrator.planning.plan import trials_of
from orchestrator.report.formats import render

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PDFTOTEXT = shutil.which("pdftotext")
LONG = "a_really_long_step_name_that_someone_will_write_because_they_can"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium browser"),
]


@pytest.fixture
def roadmap(tmp_path: Path) -> Roadmap:
    """A road with a name, a setting and a value that are longer than a phone is wide."""
    found = roadmap_of(spec_of(tmp_path, ROAD), ENDS)
    changes = {f"train.{LONG}": "v" * 70}
    rows = [
        replace(row, variant=replace(row.variant, name=f"{LONG}_{place}", changes=changes))
        for place, row in enumerate(found.rows)
    ]
    return replace(found, rows=rows, causes={f"{LONG}-seed0": "x" * 300})


def browser(folder: Path, *options: str) -> str:
    """What the browser prints."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"]
    command += [f"--user-data-dir={folder / 'browser'}", "--virtual-time-budget=3000"]
    found = subprocess.run([*command, *options], capture_output=True, text=True, timeout=90)
    return found.stdout


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_window(roadmap: Roadmap, tmp_path: Path, width: int) -> None:
    page = html.escape(render(roadmap, "html").decode())
    (tmp_path / "frame.html").write_text(
        f'<iframe width="{width}" height="800" style="border:0" srcdoc="{page}" onload="'
        "document.title = 'as wide as ' + this.contentDocument.documentElement.scrollWidth"
        '"></iframe>'
    )
    shown = browser(tmp_path, "--dump-dom", f"file://{tmp_path / 'frame.html'}")
    found = re.search(r"as wide as (\d+)</title>", shown)
    assert found
    assert int(found[1]) <= width


SCRIPTED = """
const wait = () => new Promise(done => setTimeout(done, 50));
const rows = () => [...document.querySelectorAll("#figures tbody tr")];
const names = () => rows().map(row => row.cells[0].textContent.trim());
const told = {};
addEventListener("load", async () => {
  const heads = [...document.querySelectorAll("#figures thead th")];
  const head = heads.find(th => th.textContent.startsWith("val/acc1"));
  const button = head.querySelector("button");
  told.road = names();
  button.click(); told.up = names(); told.sort = head.getAttribute("aria-sort");
  button.click(); told.down = names();
  button.click(); told.again = names();
  const filter = document.getElementById("filter");
  filter.value = "caus"; filter.dispatchEvent(new Event("input"));
  told.filtered = rows().filter(row => !row.hidden).map(row => row.cells[0].textContent.trim());
  const bars = [...document.querySelectorAll("#road .row[data-name]")];
  told.bars = bars.filter(row => !row.hidden).length;
  told.shown = document.getElementById("shown").textContent;
  filter.value = ""; filter.dispatchEvent(new Event("input"));
  const overlay = document.querySelector("#overlay svg");
  told.lines = overlay.querySelectorAll("polyline.mean").length;
  overlay.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
  await wait();
  told.readout = document.querySelector("#overlay > output").textContent;
  document.title = "told " + JSON.stringify(told) + " end";
});
"""
"""Clicks and keys of a reader; what came of them stands in the title."""


def test_a_reader_sorts_filters_and_lays_curves_over_each_other(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, ROAD)
    ends: dict[str, list[End | None]] = {
        "baseline": [70.0, 71.0, 72.0],
        "rmsnorm": [60.0, 61.0, 62.5],
        "causal": [80.0, 81.0, 82.0],
        "additive": [("collapsed", 10.0)] * 3,
        "last": ["failed"] * 3,
    }
    record_of = write_trials(spec, ends, tmp_path / "runs")
    roadmap = build_roadmap(snapshot_of(spec, trials_of(spec, digest), record_of))
    page = render(roadmap, "html").decode()
    (tmp_path / "page.html").write_text(
        page.replace("</body>", f"<script>{SCRIPTED}</script></body>")
    )
    shown = browser(tmp_path, "--dump-dom", f"file://{tmp_path / 'page.html'}")
    found = re.search(r"<title>told (.*) end</title>", shown)
    assert found
    told = json.loads(html.unescape(found[1]))
    road = ["baseline", "rmsnorm", "causal", "└ additive", "last"]
    assert told["road"] == told["again"] == road
    assert told["up"] == ["└ additive", "rmsnorm", "baseline", "causal", "last"]  # no value is last
    assert told["down"] == ["causal", "baseline", "rmsnorm", "└ additive", "last"]
    assert told["sort"] == "ascending"
    assert told["filtered"] == ["causal", "└ additive"]  # by its change, too
    assert (told["bars"], told["shown"]) == (2, "2 of 5")
    assert told["lines"] == 2
    assert told["readout"].startswith("At 1: baseline 10 (10 to 10); last 10 (10 to 10)")


@pytest.mark.skipif(PDFTOTEXT is None, reason="needs pdftotext")
def test_paper_has_every_column_and_what_the_screen_folds_away(
    roadmap: Roadmap, tmp_path: Path
) -> None:
    assert PDFTOTEXT is not None
    (tmp_path / "page.html").write_bytes(render(roadmap, "html"))
    printed = tmp_path / "page.pdf"
    browser(tmp_path, f"--print-to-pdf={printed}", f"file://{tmp_path / 'page.html'}")
    text = subprocess.run(
        [PDFTOTEXT, "-bbox", str(printed), "-"], capture_output=True, text=True, check=True
    ).stdout
    [width] = {float(one) for one in re.findall(r'<page width="([\d.]+)"', text)}
    found = re.findall(r'<word xMin="([\d.-]+)" .*? xMax="([\d.]+)" .*?>(.*?)</word>', text)
    assert all(float(left) >= 0 and float(right) <= width for left, right, _ in found)
    words = {word for _, _, word in found}
    assert {"change", "decided", "outcome", "params", "FLOPs", "train"} <= words
    assert "batch_size:" in words  # of the spec, which the screen folds away
