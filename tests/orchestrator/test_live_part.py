"""The part of a terminal that redraws itself is never larger than the terminal, and tells trials
apart.
"""

import io

import pytest
from rich.console import Console

from orchestrator.running.live_part import LivePart, RunningTrial

LONG = "an_extraordinarily_long_step_name_that_nobody_would_type"


def running(name: str, value: str = "val/score 78.81") -> RunningTrial:
    return RunningTrial(name, "iteration 10/100", value, "12 s", 0.1)


def drawn(part: LivePart, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    lines = console.render_lines(part, pad=False)
    return ["".join(segment.text for segment in line) for line in lines]


def part(names: list[str]) -> LivePart:
    counts = "155 of 160 trials done, 64 running, 18 diverged, 10 failed, 6 out of memory"
    times = "49 s elapsed, about 2:05:09 h left"
    return LivePart(counts, times, [running(name) for name in names])


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("height", [3, 5, 10, 24, 50])
def test_it_fits_whatever_the_size_of_the_terminal(width: int, height: int) -> None:
    many = part([f"{LONG}-seed{seed}" for seed in range(64)])
    lines = drawn(many, width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) < height or len(lines) <= len(drawn(part([]), width, height))


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_seeds_are_never_cut_off(width: int) -> None:
    lines = drawn(part([f"{LONG}-seed{seed}" for seed in (0, 17)]), width, 24)
    assert [line.split()[0][-7:] for line in lines[-2:]] == ["e-seed0", "-seed17"]
    assert all("iteration 10/100" in line and "12 s" in line for line in lines[-2:])


def test_a_count_stands_for_those_that_have_no_line() -> None:
    lines = drawn(part([f"baseline-seed{seed}" for seed in range(30)]), 120, 24)
    assert next(line for line in lines if "baseline" in line).startswith("baseline-seed0 ")
    shown = sum("baseline" in line for line in lines)
    assert lines[-1] == f"and {30 - shown} more"
    assert len(lines) == 22


def test_a_summary_that_is_too_long_breaks_between_counts_and_times() -> None:
    assert drawn(part([]), 200, 24)[0].endswith(
        "6 out of memory | 49 s elapsed, about 2:05:09 h left"
    )
    assert drawn(part([]), 80, 24)[1] == "49 s elapsed, about 2:05:09 h left"


def test_a_bar_shows_only_where_there_is_room() -> None:
    assert ["━" in "".join(drawn(part(["a-seed0"]), width, 24)) for width in (80, 120)] == [
        False,
        True,
    ]
    assert "━" not in "".join(drawn(part([f"{LONG}-seed0"]), 100, 24))
