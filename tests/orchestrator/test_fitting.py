"""Whatever the terminal's width, nothing of a table is cut off."""

import io

import pytest
from rich.console import Console

from orchestrator.report.fitting import FittedTable
from orchestrator.report.words import Column

TABLE = FittedTable(
    "Roadmap",
    [
        Column("step"),
        Column("change", wraps=True),
        Column("val/acc1 (n=6)", is_number=True),
        Column("Δ to the step before [95 % CI]", is_number=True, rank=1, name="Δ"),
        Column("outcome", rank=2),
    ],
    [
        ["baseline", "", "83.87 ± 5.77", "", "finished"],
        [
            "└ causal_mask_additive",
            "attention: causal, mask_form: additive",
            "10.06 ± 0.06",
            "-83.61 [-84.80, -82.43]",
            "collapsed",
        ],
    ],
)


def lines_at(width: int, table: FittedTable = TABLE) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table)
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 120, 200])
def test_every_cell_is_there_at_every_width(width: int) -> None:
    lines = lines_at(width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for cell in (cell for row in TABLE.rows for cell in row if cell and cell != TABLE.rows[1][1]):
        assert cell in text
    assert all(word in text for word in TABLE.rows[1][1].split())
    assert "…" not in text


def test_a_wide_terminal_has_one_line_for_each_row() -> None:
    assert sum("causal" in line for line in lines_at(140)) == 1
    assert any("Δ to the step before [95 % CI]" in line for line in lines_at(140))


def test_what_has_no_room_stands_below_by_its_name_and_what_matters_most_stays() -> None:
    assert lines_at(68)[-4:-1] == [
        "   outcome: finished",
        " └ causal_mask_additive   10.06 ± 0.06   -83.61 [-84.80, -82.43]",
        "   attention: causal, mask_form: additive · outcome: collapsed",
    ]
    assert lines_at(60)[-3:-1] == [
        "   attention: causal, mask_form: additive ·",
        "   Δ: -83.61 [-84.80, -82.43] · outcome: collapsed",
    ]


def test_a_table_without_rows_is_its_headings() -> None:
    for width in (20, 200):
        assert any(
            "step" in line for line in lines_at(width, FittedTable("Empty", TABLE.columns, []))
        )


def test_a_step_name_wider_than_the_terminal_does_not_break_the_rule_below_the_headings() -> None:
    table = FittedTable("Roadmap", [Column("step"), Column("Δ")], [["long_" * 20, "+1.0"]])
    rules = [line for line in lines_at(40, table) if "─" in line]
    assert rules == [" " + "─" * 39]
