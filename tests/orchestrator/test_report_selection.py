"""Rows and columns that a reader asks for, in the table, Markdown, LaTeX and CSV."""

import csv
import io
import re
from pathlib import Path

import pytest
from invented import roadmap_of, spec_of

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.errors import UsageError
from orchestrator.report.formats import Layout, render
from orchestrator.report.selection import rows_of

BODY = """
design: [roadmap, leave_one_out]
steps:
  - name: rmsnorm
    change: {model.norm: rmsnorm}
  - name: rope
    change: {model.position: rope}
"""
ENDS = {
    "baseline": [70.0, 71.0, 72.5],
    "rmsnorm": [72.0, 73.5, 74.0],
    "rope": [80.0, 81.5, 80.5],
    "without.rmsnorm": [78.0, 79.0, 80.0],
}


@pytest.fixture
def roadmap(tmp_path: Path) -> Roadmap:
    return roadmap_of(spec_of(tmp_path, BODY), dict(ENDS))


def test_csv_has_every_variant_with_its_mean(roadmap: Roadmap) -> None:
    rows = list(csv.DictReader(io.StringIO(render(roadmap, "csv").decode())))
    assert [row["step"] for row in rows][:3] == ["baseline", "rmsnorm", "rope"]
    means = {row["step"]: float(row["mean"]) for row in rows if row["mean"]}
    assert means["without.rmsnorm"] == 79.0
    assert rows[1]["outcomes"] == "finished: 3"
    layout = Layout(columns=("mean", "step"), rows=("rope",))
    assert render(roadmap, "csv", layout).decode().splitlines() == [
        "mean,step",
        f"{242 / 3},rope",
    ]


@pytest.mark.parametrize("form", ["table", "md", "latex"])
def test_a_table_has_the_columns_and_rows_that_are_asked_for(roadmap: Roadmap, form: str) -> None:
    layout = Layout(columns=("step", "val/acc1", "delta"), rows=("rope",))
    text = render(roadmap, form, layout).decode().replace("\N{NO-BREAK SPACE}", " ")
    head = next(line for line in text.splitlines() if "step" in line and "val/acc1" in line)
    assert "params" not in head
    assert "outcome" not in head
    shown = [line for line in text.splitlines() if "80.67 " in line]
    assert shown
    assert not [line for line in text.splitlines() if "73.17 " in line]


def test_what_is_not_there_is_refused_with_what_is(roadmap: Roadmap) -> None:
    with pytest.raises(UsageError, match=r"no column 'setp'; did you mean 'step'"):
        render(roadmap, "md", Layout(columns=("setp",)))
    with pytest.raises(UsageError, match=r"no column 'nothing'; allowed: .*ci95_low"):
        render(roadmap, "csv", Layout(columns=("nothing",)))
    with pytest.raises(UsageError, match="no step 'rop'; did you mean 'rope'"):
        render(roadmap, "md", Layout(rows=("rop",)))


def test_a_latex_table_is_a_float_that_fits_the_line(roadmap: Roadmap) -> None:
    text = render(roadmap, "latex").decode()
    assert text.count(r"\begin{table*}") == text.count(r"\label{tab:") == 3
    assert r"invented: val/acc1, mean and standard deviation over 3 seeds." in text
    assert r"\label{tab:invented}" in text
    labels = re.findall(r"\\label{(.*)}", text)
    assert len({*labels}) == len(labels)


def test_cells_of_other_designs_are_rows_where_they_are_named(roadmap: Roadmap) -> None:
    """A paper's table of what the model is without each part."""
    names = [row.variant.name for row in rows_of(roadmap, ["without.rmsnorm", "baseline"])]
    assert names == ["baseline", "without.rmsnorm"]
    text = render(roadmap, "latex", Layout(rows=("without.rmsnorm",))).decode()
    assert "79.00" in text.partition(r"\end{tabular}")[0]
    assert list(rows_of(roadmap, ())) == list(roadmap.rows)
