"""LaTeX that compiles in an article without an overfull box, whatever names and numbers are."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from invented import ROAD, roadmap_of, spec_of
from test_figure import ENDS

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.report.formats import render
from orchestrator.report.latex_widths import (
    LINE,
    SEPARATION,
    pages,
    parted,
    pieces,
    points_of,
    shares,
)
from orchestrator.report.words import Column

LONG = "a_really_long_step_name_that_someone_will_write_because_they_can"
UNBROKEN = "averylongnamewithoutanyplacetobreakitatwhichisalsofound"
BODY = f"metric: {{name: val/acc1, mode: max, also: [val/loss, train/loss]}}\n{ROAD}"


@pytest.fixture
def roadmap(tmp_path: Path) -> Roadmap:
    """Names that are longer than a line, further metrics and published values."""
    found = roadmap_of(spec_of(tmp_path, BODY), ENDS)
    names = ["baseline", LONG, UNBROKEN, "x", "last"]
    reference = {"value": 80.123456, "source": f"{LONG} 2024"}
    rows = [
        replace(row, variant=replace(row.variant, name=name, reference=reference))
        for row, name in zip(found.rows, names, strict=True)
    ]
    return replace(found, rows=rows)


def long_road(roadmap: Roadmap) -> Roadmap:
    """More rows than a page has lines."""
    rows = [
        replace(row, variant=replace(row.variant, name=f"{row.variant.name}_{place}"))
        for place in range(30)
        for row in roadmap.rows
    ]
    return replace(roadmap, rows=rows)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
@pytest.mark.parametrize("is_long", [False, True])
def test_it_compiles_in_an_article_and_nothing_leaves_the_page(
    roadmap: Roadmap, tmp_path: Path, columns: str, is_long: bool
) -> None:
    (tmp_path / "road.tex").write_bytes(render(long_road(roadmap) if is_long else roadmap, "latex"))
    (tmp_path / "article.tex").write_text(
        rf"\documentclass[{columns}]{{article}}\usepackage{{booktabs,array}}"
        r"\begin{document}\input{road}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "article.tex"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    log = (tmp_path / "article.log").read_text(errors="replace")
    assert found.returncode == 0, log[-2000:]
    assert re.findall(r"Overfull .*\n.*", log) == []
    assert "too large for page" not in log


def test_columns_that_have_no_room_go_on_in_another_table() -> None:
    heads = [Column("step"), *(Column(f"metric{place}", is_number=True) for place in range(12))]
    rows = [["baseline", *["123.4567"] * 12]]
    parts = parted(heads, rows)
    assert len(parts) > 1
    assert [part[0] for part in parts] == [0] * len(parts)
    assert sorted({place for part in parts for place in part}) == list(range(13))
    for part in parts:
        some = [heads[place] for place in part]
        cells = [[row[place] for place in part] for row in rows]
        points = LINE * sum(shares(some, cells)) + 2 * SEPARATION * len(some)
        assert points <= LINE + 1e-9


def test_numbers_have_one_line_where_texts_can_give_way() -> None:
    heads = [Column("step"), Column("change"), Column("Δ [95 % CI]", is_number=True)]
    rows = [["a_step_with_a_name", "many words " * 20, "-22.12 [-33.36, -10.89]"]]
    step, change, delta = shares(heads, rows)
    assert delta * LINE > points_of(rows[0][2])
    assert change > step


def test_rows_go_on_in_another_table_where_a_page_ends() -> None:
    rows = [[f"step_{place}", "1.0"] for place in range(120)]
    found = pages([Column("step"), Column("Δ", is_number=True)], rows)
    assert [row for page in found for row in page] == rows
    assert max(map(len, found)) == 50


def test_a_line_breaks_at_underscores_slashes_and_in_what_is_long() -> None:
    assert pieces("└ val/acc1 of a_step") == ["└val/", "acc1", "of", "a_", "step"]
    assert pieces("x" * 40) == ["x" * 16, "x" * 16, "x" * 8]


def test_letters_that_pdflatex_lacks_are_told(roadmap: Roadmap) -> None:
    assert "xelatex" not in render(roadmap, "latex").decode()
    rows = [
        replace(row, variant=replace(row.variant, changes={"train.how": "中"}))
        for row in roadmap.rows
    ]
    text = render(replace(roadmap, rows=rows), "latex").decode()
    assert "% has 中: needs xelatex or lualatex" in text


def test_side_steps_are_called_indented_where_they_are(roadmap: Roadmap) -> None:
    text = render(roadmap, "latex").decode()
    assert "side step (indented) is compared" in text
    assert re.search(r"\\quad{} ?x &", text)
