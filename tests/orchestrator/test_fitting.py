"""Whatever the terminal's width, nothing of a table is cut off."""

import io
from dataclasses import replace

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


def test_what_decides_nothing_stands_below_by_its_name() -> None:
    assert lines_at(68, with_ranks(outcome=4))[-4:-1] == [
        "   outcome: finished",
        " └ causal_mask_additive   10.06 ± 0.06   -83.61 [-84.80, -82.43]",
        "   attention: causal, mask_form: additive · outcome: collapsed",
    ]


def test_names_have_lines_of_their_own_before_what_decides_leaves_the_line() -> None:
    assert lines_at(60)[-10:-1] == [
        " step",
        "         val/acc1      Δ to the step before",
        "            (n=6)                 [95 % CI]   outcome",
        " ──────────────────────────────────────────────────────",
        " baseline",
        "     83.87 ± 5.77                             finished",
        " └ causal_mask_additive",
        "     10.06 ± 0.06   -83.61 [-84.80, -82.43]   collapsed",
        "   attention: causal, mask_form: additive",
    ]


def test_as_few_columns_leave_as_need_to_and_p_stays_where_a_wide_difference_goes() -> None:
    columns = [
        Column("step"),
        Column("loss", is_number=True),
        Column("Δ", is_number=True, rank=1),
        Column("p (Holm)", is_number=True, rank=2),
        Column("decided", rank=3),
    ]
    row = ["a_name_of_thirty_characters___", "0.5", "x" * 60, "0.049", "yes"]
    assert lines_at(80, FittedTable("Roadmap", columns, [row]))[-3:-1] == [
        " a_name_of_thirty_characters___    0.5      0.049   yes",
        "   Δ: " + "x" * 60,
    ]


def with_ranks(**ranks: int) -> FittedTable:
    """The table with other ranks for these columns."""
    columns = [
        replace(column, rank=ranks.get(column.heading, column.rank)) for column in TABLE.columns
    ]
    return replace(TABLE, columns=columns)


def test_a_table_without_rows_is_its_headings() -> None:
    for width in (20, 200):
        assert any(
            "step" in line for line in lines_at(width, FittedTable("Empty", TABLE.columns, []))
        )


def test_a_step_name_that_is_wider_than_the_terminal_takes_lines_of_its_own() -> None:
    table = FittedTable("Roadmap", [Column("step"), Column("Δ")], [["long_" * 20, "+1.0"]])
    lines = lines_at(40, table)
    assert "".join(line.strip() for line in lines if "long_" in line) == "long_" * 20
    assert lines[-2].strip() == "+1.0"
    assert all(len(line) <= 40 for line in lines)
