"""A comparison whose sides ran with other versions of a package says so."""

from pathlib import Path
from typing import Any

from invented import digest, snapshot_of, spec_of, write_trials

from orchestrator.analysis.roadmap import build_roadmap
from orchestrator.planning.plan import trials_of
from orchestrator.report.notes import notes
from orchestrator.store.store import TrialDirectory
from orchestrator.trial import TrialRecord, TrialSpec

BODY = "steps: [{name: a, change: {model.depth: 3}}, {name: b, change: {model.norm: rmsnorm}}]"
ENDS = {name: [70.0, 71.0, 73.0] for name in ("baseline", "a", "b")}


def said(tmp_path: Path, versions: dict[str, dict[str, Any]]) -> list[str]:
    """The notes on versions where trials ran with so much, by variant or by trial."""
    spec = spec_of(tmp_path, BODY, seeds=3)
    record_of = write_trials(spec, ENDS, tmp_path / "runs")
    trials = trials_of(spec, digest)

    def written(trial: TrialSpec) -> TrialRecord:
        record = record_of(trial)
        packages = {"torch": "2.12.0", "ray": "2.50", "numpy": "2.0"}
        packages |= versions.get(trial.variant, {}) | versions.get(trial.name, {})
        origin = {"python": "3.11.7", "packages": packages}
        TrialDirectory(Path(record.path)).write_trial(trial, origin)
        return record

    roadmap = build_roadmap(snapshot_of(spec, trials, written))
    return [note for note in notes(roadmap) if note.startswith("Not held fixed")]


def test_an_upgrade_between_two_steps_is_told(tmp_path: Path) -> None:
    assert said(tmp_path, {"a": {"torch": "2.13.0"}, "b": {"torch": "2.13.0"}}) == [
        "Not held fixed: torch 2.12.0 -> 2.13.0, between the other side of the comparison and a. "
        "The version may explain a difference."
    ]


def test_an_upgrade_within_a_step_is_told_of_both_of_its_comparisons(tmp_path: Path) -> None:
    found = said(tmp_path, {"a-seed2": {"torch": "2.13.0", "numpy": "2.1"}})
    assert "torch 2.12.0 -> 2.12.0, 2.13.0; numpy 2.0 -> 2.0, 2.1, between" in found[0]
    assert [note.partition(" comparison and ")[2][:2] for note in found] == ["a.", "b."]


def test_what_decides_no_number_is_not_told(tmp_path: Path) -> None:
    assert said(tmp_path, {}) == []
    assert said(tmp_path, {"a": {"ray": "2.60"}}) == []
