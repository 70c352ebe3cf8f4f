"""Text of others cannot move a cursor, set a title, or turn the order of what is read, wherever
it is shown.
"""

import io
import unicodedata
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.cli import options
from orchestrator.planning.causes import grouped_causes
from orchestrator.report.fitting import FittedTable
from orchestrator.report.markup import markdown_text
from orchestrator.report.words import Column, change_text
from orchestrator.text import duration_text, encodable, printable, tally, two_digits

EVIL = "\x1b[31mred\x1b]0;title\x07 \x9b31m \u202egnp.exe\u2066 \r\x08 \x7f \udce9 \u2028"


def is_control(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs", "Zl") or (
        unicodedata.bidirectional(letter) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI")
    )


def test_no_control_character_is_left_and_each_has_a_sign() -> None:
    shown = printable(EVIL)
    assert not any(map(is_control, shown))
    assert len(shown) == len(EVIL)
    assert shown.startswith("␛[31mred␛]0;title␇")


def test_a_long_cause_has_one_line_with_its_beginning_and_its_end() -> None:
    cause = "ValueError: " + "\n".join(f"line {number} of the message" for number in range(60))
    (group,) = grouped_causes({"a-seed0": cause, "a-seed1": cause})
    assert str(group).startswith("a-seed0, a-seed1: ValueError: line 0 of the message line 1 of")
    assert str(group).endswith("line 59 of the message")
    assert len(str(group)) < 330
    assert "\n" not in str(group)
    assert group.cause == cause


def test_long_values_of_settings_have_their_beginning_and_their_end() -> None:
    text = change_text({"train.values": list(range(3000)), "train.text": "y" * 12_000})
    assert text.startswith("values: [0, 1, 2, ")
    assert ", 2998, 2999], text: yyy" in text
    assert len(text) < 200
    assert (
        change_text({"train.options": {"a": [1, 2], "b": None}}) == "options: {a: [1, 2], b: none}"
    )


def test_other_text_stays_as_it_is() -> None:
    text = "±0.3 Δ └ 準確率 é 🙂\n\tindented"
    assert printable(text) == text


def test_halves_of_surrogate_pairs_become_what_a_file_can_hold() -> None:
    assert encodable("caf\udce9.png") == "caf\\udce9.png"


@pytest.mark.parametrize("name", ["out", "err"])
def test_consoles_print_no_control_characters_and_no_emoji(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    console = getattr(options, name)
    console.print(f"file.yaml:100:5 {EVIL}", markup=False, soft_wrap=True)
    captured = capsys.readouterr()
    shown = captured.out + captured.err
    assert shown.startswith("file.yaml:100:5 ␛[31m")
    assert not any(map(is_control, shown.replace("\n", "")))


def test_markdown_of_others_makes_no_link_and_no_code() -> None:
    assert markdown_text("[x](javascript:alert(1)) `rm`") == r"[x\](javascript:alert(1)) \`rm\`"
    assert markdown_text("[-0.1, 0.2]") == "[-0.1, 0.2]"


def test_an_error_on_line_100_names_it(weird_path: Path, cli: object) -> None:
    path = weird_path / "l100.yaml"
    head = (
        "name: x\nbaseline: {model: {name: vit_digits}, data: {name: digits}, train: {epochs: 1}}\n"
    )
    path.write_text("#\n" * 97 + head + "seeeds: [0]\n")
    done = cli("plan", path)  # type: ignore[operator]
    assert done.code == 2
    assert "l100.yaml:100:1: unknown key 'seeeds'" in done.err


def test_a_table_in_ascii_has_no_question_marks_and_its_columns_stay_in_line() -> None:
    table = FittedTable(
        "t", [Column("step"), Column("Δ", is_number=True)], [["└ a", "1 ± 2"], ["b", "–"]]
    )
    said = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=said, width=60).print(table)
    said.flush()
    lines = said.buffer.getvalue().decode().splitlines()  # type: ignore[attr-defined]
    rows = [line for line in lines if line.strip("| ").startswith(("`", "b"))]
    assert [row.replace("|", " ").split() for row in rows] == [
        ["`", "a", "1", "+-", "2"],
        ["b", "-"],
    ]
    assert len({len(row) for row in rows}) == 1


def test_a_tally_names_every_count_but_zeros_in_the_order_given() -> None:
    counts = {"finished": 1200, "failed": 0, "out_of_memory": 1}
    assert tally(counts) == "1,200 finished, 1 out of memory"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "0 s"),
        (1.25, "1.2 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1:00 min"),
        (339, "5:39 min"),
        (3599.7, "1:00:00 h"),
        (7509, "2:05:09 h"),
        (86_399.6, "1 day"),
        (90_000, "1 day 1 h"),
        (2 * 86_400 - 60, "2 days"),
        (3 * 86_400 + 4 * 3600, "3 days 4 h"),
    ],
)
def test_a_duration_reads_alike_wherever_it_stands(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_two_digits_are_written_out() -> None:
    values = (0.0314, 2.44, 99.6, 123.4, 65_432.0)
    assert [two_digits(value) for value in values] == ["0.031", "2.4", "100", "120", "65,000"]
