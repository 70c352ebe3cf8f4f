"""Sentences below the tables: each is true of the sweep that it stands under."""

import re
from pathlib import Path

import numpy as np
import pytest
from invented import HEAD, ROAD, End, roadmap_of, spec_of

from orchestrator.report.figure import figures_of
from orchestrator.report.formats import render
from orchestrator.report.notes import notes

HEALTHY: dict[str, list[End | None]] = {
    "baseline": [70.0, 71.0, 72.0],
    "rmsnorm": [72.0, 73.5, 74.0],
    "causal": [68.0, 69.0, 69.5],
    "additive": [67.0, 69.1, 69.0],
    "last": [75.0, 76.0, 78.0],
}
FALSE = ("would probably", "8 of 10", "of sweeps without any effect", "step before [95", "spreads")
TRUE = (
    "With 3 seeds, this sweep has 80 % power to detect a difference of ",
    "Δ is the seed-paired difference from the previous step of the road",
    "A side step (└) is compared with whatever its main step is compared with.",
    "if no step had any effect, at most about 1 report in 20 would decide one",
)


@pytest.mark.parametrize("form", ["table", "md", "latex", "html"])
def test_no_format_says_what_is_not_so(tmp_path: Path, form: str) -> None:
    text = render(roadmap_of(spec_of(tmp_path), HEALTHY), form).decode()
    assert not [sentence for sentence in FALSE if sentence in text]
    assert "4 comparisons: all tables of this report" in text


def test_the_notes_say_it_in_the_words_of_the_field(tmp_path: Path) -> None:
    found = notes(roadmap_of(spec_of(tmp_path), HEALTHY))
    assert [words for words in TRUE if not any(words in note for note in found)] == []


def test_where_there_is_no_road_nothing_is_said_of_a_previous_step(tmp_path: Path) -> None:
    steps = "steps: [{name: a, change: {train.lr: 2e-3}}, {name: b, change: {train.epochs: 2}}]"
    spec = spec_of(tmp_path, f"design: leave_one_out\n{steps}")
    found = roadmap_of(spec, {v.name: [70.0, 71.0, 72.5] for v in spec.variants})
    assert "Δ is the seed-paired difference from the step named after vs." in " ".join(notes(found))
    [figure] = figures_of(found)
    assert figure.differences == "Differences are from the step named after vs"


def test_the_family_is_named_and_counted(tmp_path: Path) -> None:
    [sentence] = [
        note for note in notes(roadmap_of(spec_of(tmp_path), HEALTHY)) if note.startswith("p:")
    ]
    assert "corrected (Holm) over 4 comparisons: all tables of this report" in sentence


def test_nothing_tested_is_told(tmp_path: Path) -> None:
    found = notes(roadmap_of(spec_of(tmp_path, seeds=1), {"baseline": [70.0], "rmsnorm": [72.0]}))
    of_no_step = notes(roadmap_of(spec_of(tmp_path, "steps: []"), {}))
    assert not any(note.startswith(("p:", "Δ")) for note in of_no_step)
    assert not any("correction" in note for note in of_no_step)
    assert not any("Fisher" in note for note in found)


def test_what_is_held_fixed_is_named(tmp_path: Path) -> None:
    assert (
        "Held fixed: these data, this split, this recipe. Intervals and p cover the variation "
        "between seeds only." in notes(roadmap_of(spec_of(tmp_path), HEALTHY))
    )


@pytest.mark.parametrize(("seeds", "share"), [(3, "63"), (6, "39"), (12, "22")])
def test_what_so_few_seeds_cannot_show_is_bounded(tmp_path: Path, seeds: int, share: str) -> None:
    ends: dict[str, list[End | None]] = {
        name: [*np.random.default_rng(0).normal(80, 1, seeds)] for name in HEALTHY
    }
    found = notes(roadmap_of(spec_of(tmp_path, seeds=seeds), ends))
    assert any(
        f"{seeds} seeds: a behaviour that occurs in fewer than {share} % of seeds" in n
        for n in found
    )
    assert (1 - float(share) / 100) ** seeds == pytest.approx(0.05, abs=0.01)


def test_lost_pairing_is_counted(tmp_path: Path) -> None:
    ends = HEALTHY | {"rmsnorm": [74.0, 73.5, 72.0]}
    [note] = [n for n in notes(roadmap_of(spec_of(tmp_path), ends)) if n.startswith("Pairing")]
    assert "In 3 of 4 comparisons the seed-paired differences vary more" in note


def test_looks_are_told_where_seeds_were_added(tmp_path: Path) -> None:
    head = HEAD.replace("seeds: [{seeds}]", "seeds: {{start: 3, max: 12, until: decided}}")
    found = notes(roadmap_of(spec_of(tmp_path, head=head), HEALTHY))
    assert any("with looks at 3, 6, 12 seeds" in note for note in found)


def test_latex_has_its_notes_below_the_table_and_no_stars(tmp_path: Path) -> None:
    ends = HEALTHY | {"causal": [68.0, ("collapsed", 10.0), 69.5]}
    latex = render(roadmap_of(spec_of(tmp_path, ROAD), ends), "latex").decode()
    visible = [
        line.replace("{table*}", "") for line in latex.splitlines() if not line.startswith("%")
    ]
    assert not any("*" in line for line in visible)
    assert any(r"1 of 3 collapsed against 0 of 3$^\dagger$" in line for line in visible)
    first_table = min(i for i, line in enumerate(visible) if line == r"\end{tabular}")
    small = "\n".join(visible[first_table:])
    assert r"\begin{flushleft}\footnotesize" in small
    assert "$^\\dagger$ causal: only seeds that finished" in small
    assert "paired t-tests" in small
    assert not re.search(r"(?<!\\)[%&#_]", small[small.index("flushleft") :])
