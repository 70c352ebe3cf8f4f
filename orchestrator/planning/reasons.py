"""Reasons why trials are new: what each has otherwise than the nearest result in the store."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import time

from orchestrator.errors import StoreError
from orchestrator.outcomes import TRAINED, Outcome, State
from orchestrator.planning.differences import HARMLESS, Difference, differences
from orchestrator.planning.plan import Action, Plan, PlannedTrial
from orchestrator.store.adoption import Adoption, adopt
from orchestrator.store.store import Store
from orchestrator.store.trial_directory import TrialDirectory
from orchestrator.trial import TrialSpec
from orchestrator.waiting import counted_off

_SUFFIX = len("-12345678")
"""Letters behind the name of a trial's folder: the start of the fingerprint."""
_MOST_CANDIDATES = 30
"""Results that a trial is compared with; the newest."""
_MOST_VARIANTS = 300
"""Variants that are compared with results; for more, a plan would take long."""
_MOST_TOLD = 3
"""Differences that a reason names."""


@dataclass(frozen=True)
class Nearest:
    """The result that differs least from a trial."""

    directory: TrialDirectory
    trial: TrialSpec
    outcome: Outcome
    differences: Sequence[Difference]

    @property
    def is_adoptable(self) -> bool:
        """True if nothing differs but code that somebody may answer for."""
        return (
            self.outcome in TRAINED
            and bool(self.differences)
            and all(difference.kind in HARMLESS for difference in self.differences)
        )

    @property
    def texts(self) -> list[str]:
        """The differences in words."""
        return [difference.text for difference in self.differences]

    @property
    def told(self) -> str:
        """The first differences, and how many there are more."""
        more = len(self.texts) - _MOST_TOLD
        told = "; ".join(self.texts[:_MOST_TOLD])
        if more <= 0:
            return told
        return f"{told}; and {more} more"


class Results:
    """The results of one sweep in the store, by the names of their trials."""

    def __init__(self, store: Store, sweep: str) -> None:
        self._trials = store.sweep_path(sweep) / "trials"
        self._known: dict[Path, tuple[TrialSpec, Outcome] | None] = {}
        self._by_name: dict[str, list[str]] = {}
        try:
            folders = sorted(os.listdir(self._trials))
        except OSError:
            folders = []
        for folder in folders:
            self._by_name.setdefault(folder[:-_SUFFIX], []).append(folder)

    @property
    def is_empty(self) -> bool:
        """True if the sweep has no folder of a trial yet."""
        return not self._by_name

    def nearest(self, trial: TrialSpec) -> Nearest | None:
        """The result of the trial's own name that differs least, else of its seed; none where there
        is none.
        """
        return self.of_same_name(trial) or self._least(trial, self._of_seed(trial.seed))

    def of_same_name(self, trial: TrialSpec) -> Nearest | None:
        """The result of the trial's own name that differs least."""
        return self._least(trial, self._folders_of(trial))

    def has(self, trial: TrialSpec) -> bool:
        """True if there is a result of the trial's name."""
        return bool(self._newest(self._folders_of(trial)))

    def _folders_of(self, trial: TrialSpec) -> list[str]:
        return self._by_name.get(trial.name.replace("/", "--"), [])

    def _of_seed(self, seed: int) -> list[str]:
        return [
            folder
            for name, folders in self._by_name.items()
            if name.endswith(f"-seed{seed}")
            for folder in folders
        ]

    def _least(self, trial: TrialSpec, folders: Sequence[str]) -> Nearest | None:
        found = []
        for path in self._newest(folders):
            known = self._known[path] if path in self._known else self._read(path)
            if known is None or known[0].fingerprint == trial.fingerprint:
                continue
            directory = TrialDirectory(path)
            digests = directory.provenance().get("code")
            found.append(Nearest(directory, *known, differences(trial, known[0], digests)))
        return min(found, key=lambda one: len(one.differences), default=None)

    def _newest(self, folders: Sequence[str]) -> list[Path]:
        """The folders that have a result, those with the newest first."""
        ages = {}
        for folder in folders:
            path = self._trials / folder
            try:
                ages[path] = (path / "result.json").stat().st_mtime_ns
            except OSError:
                continue
        return sorted(ages, key=lambda path: -ages[path])[:_MOST_CANDIDATES]

    def _read(self, path: Path) -> tuple[TrialSpec, Outcome] | None:
        self._known[path] = None
        try:
            directory = TrialDirectory(path)
            done = directory.record_of_done()
            if done and done.outcome:
                self._known[path] = directory.read_trial(), done.outcome
        except StoreError:  # damaged, or a newer version's: told by whoever needs it
            return None
        return self._known[path]


def with_reasons(plan: Plan, store: Store) -> Plan:
    """The plan with the reason of every trial that is new, and how many results could be
    adopted.
    """
    results = Results(store, plan.sweep)
    trained = {one.trial.variant_label for one in plan.trials if one.record.state is State.DONE}
    nearest: dict[str, Nearest | None] = {}
    planned, adoptable = [], 0
    for one in plan.trials:
        label = one.trial.variant_label
        if one.action is not Action.NEW:
            planned.append(one)
            continue
        if label not in nearest and len(nearest) < _MOST_VARIANTS:
            nearest[label] = results.nearest(one.trial)
        found = nearest.get(label)
        differs = reason = ""
        if label in trained:
            differs = reason = f"seed {one.trial.seed} has no result yet"
        elif found:
            differs = found.told
            reason = f"{differs} (nearest result: {found.trial.name})"
        elif results.is_empty:
            reason = "the store has no results of this sweep yet"
        elif label in nearest:
            reason = f"there is no result with seed {one.trial.seed} to compare it with"
        planned.append(replace(one, reason=reason, differs=differs))
        adoptable += bool(found and found.is_adoptable and results.has(one.trial))
    return replace(plan, trials=tuple(planned), adoptable=adoptable)


def adoptions(
    trials: Iterable[PlannedTrial], results: Results
) -> Iterable[tuple[TrialSpec, Nearest]]:
    """Each new trial whose own result, of other code, could count as its own."""
    for one in trials:
        if one.action is Action.NEW:
            nearest = results.of_same_name(one.trial)
            if nearest and nearest.is_adoptable:
                yield one.trial, nearest


def adopt_results(plan: Plan, store: Store) -> list[tuple[TrialSpec, Nearest]]:
    """Let results of other code count for the plan's new trials; returns them. For the holder of
    the sweep's lease.
    """
    found = list(adoptions(plan.trials, Results(store, plan.sweep)))
    for trial, nearest in counted_off(found, "adopting results"):
        source = nearest.directory.path.relative_to(store.root).as_posix()
        about = Adoption(source, nearest.trial.fingerprint, nearest.texts, time())
        adopt(store.directory(trial), trial, about)
    return found
