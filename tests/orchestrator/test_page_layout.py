"""The page in a real browser: nothing leaves the window of a phone, and paper gets all of it."""

import html
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from invented import ROAD, End, roadmap_of, spec_of

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.report.formats import render

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PDFTOTEXT = shutil.which("pdftotext")
LONG = "a_really_long_step_name_that_someone_will_write_because_they_can"
ENDS: dict[str, list[End | None]] = {
    "baseline": [70.0, 71.0, 72.0],
    "rmsnorm": [80.0, 81.1, 81.9],
    "causal": ["diverged", 80.9, 82.0],
    "additive": [("collapsed", 10.0)] * 3,
    "last": ["out_of_memory"] * 3,
}

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
