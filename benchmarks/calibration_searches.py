"""Does a search on both sides of a step that does nothing decide it? Simulated sweeps, looked at as
the report does.

    python benchmarks/calibration_searches.py             # prints two tables, ten minutes of a core
    python benchmarks/calibration_searches.py --sweeps 40   # a first impression

The baseline and a placebo step look for their learning rate with the same search. A training is an
invented number: a parabola in the logarithm of the rate, and noise by trial. What is chosen is
found by the product's own `with_searches`, and what is printed by its `build_roadmap`. Beside that
stands what a paired t-test over the report's seeds would have said, which knows nothing of
searches: the reason why an effect between two searches is not tested unless the search is repeated.

The second table is of repeated searches. Repeats are independent of each other, so that a sweep
with k of them is k draws from the luck that the first table's sweeps had, and noise; thousands of
such sweeps are tested as the report does it.
"""

import argparse
import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from orchestrator.analysis.roadmap import build_roadmap
from orchestrator.analysis.snapshot import Snapshot
from orchestrator.outcomes import Outcome, State
from orchestrator.planning.lookup import Lookup
from orchestrator.planning.plan import trials_of
from orchestrator.planning.search import Suggestions, with_searches
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.stats.inference import LEVEL, paired_effect, paired_p_values
from orchestrator.trial import KnownTrial, TrialRecord, TrialSpec

SWEEPS = 200
BEST_RATE = 3e-3
SPEC = """
name: sweep
seeds: {seeds}
baseline:
  model: {{name: vit_digits}}
  data: {{name: digits}}
  train: {{epochs: 2, batch_size: 64, lr: 2e-3}}
search: &same
  space: {{train.lr: {{low: 5e-4, high: 2e-2, log: true}}}}
  trials: 12
  seeds: {search_seeds}
  repeats: {repeats}
steps:
  - name: placebo
    change: {{model.norm: rmsnorm}}
    search: *same
"""


@dataclass(frozen=True)
class Case:
    """One kind of sweep."""

    name: str
    seeds: tuple[int, ...]
    """Numbers of seeds that the report is made with, each on the same searches."""
    search_seeds: int = 3
    repeats: int = 1
    curve: float = 2.0
    """Points that are lost at ten times the best rate."""
    noise: float = 0.5
    """Standard deviation of a training's result."""


@dataclass(frozen=True)
class Look:
    """Answer of the report of one sweep."""

    is_decided: bool
    """Printed as decided."""
    by_seeds: bool
    """Decided by a paired t-test over seeds."""
    covers: bool
    """The printed interval has the truth, 0."""
    luck: float
    """True difference of what was chosen on both sides."""
    flattery: float
    """How much better the searches' own figures are than what they chose really is."""
    is_same: bool
    """Both sides chose the same."""
    regret: float
    """What is lost against the best rate by what the baseline chose."""


@dataclass(frozen=True)
class Figures:
    """One row: all sweeps of a case with one number of seeds."""

    case: Case
    seeds: int
    decided: float
    by_seeds: float
    coverage: float
    bias: float
    """Mean of the true difference of what was chosen."""
    luck: float
    """Its standard deviation."""
    flattery: float
    same: float
    regret: float
    lucks: tuple[float, ...]


SURFACES = (
    ("nominal", 2.0, 0.5),
    ("steep", 8.0, 0.5),
    ("flat optimum", 0.5, 0.5),
    ("noisy", 2.0, 1.5),
)
CASES = [
    Case("nominal, one search seed", (5, 8, 12), search_seeds=1),
    *(Case(name, (5, 8, 12), curve=curve, noise=noise) for name, curve, noise in SURFACES),
    Case("nominal", (6, 12), repeats=3),
]
REPEATED = ((3, 6), (3, 12), (5, 5), (5, 10))
"""Repeats and seeds of the second table."""
RESAMPLED = 100_000


class World:
    """Invented results: one number for each trial, the same whenever it is asked for."""

    def __init__(self, case: Case, number: int) -> None:
        self.case = case
        self.number = number

    def truth(self, rate: float) -> float:
        """The metric without noise."""
        return 90.0 - self.case.curve * math.log10(rate / BEST_RATE) ** 2

    def record(self, trial: TrialSpec, live_session: str | None = None) -> TrialRecord:
        """Return the record that the store would have of a trial."""
        generator = np.random.default_rng([self.number, int(trial.fingerprint[:12], 16)])
        value = self.truth(trial.config.train.lr) + self.case.noise * generator.standard_normal()
        metrics = {"val/acc1": value}
        result = {"outcome": "finished", "metrics": metrics, "best": metrics, "seconds": 1.0}
        return TrialRecord(State.DONE, Outcome.FINISHED, None, 1, 1, 2.0, result, path="x/trials/y")


def spec_of(case: Case) -> SweepSpec:
    """The spec of a case, loaded once for all its sweeps."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sweep.yaml"
        path.write_text(
            SPEC.format(
                seeds=list(range(case.repeats)),
                search_seeds=list(range(1000, 1000 + case.search_seeds)),
                repeats=case.repeats,
            )
        )
        return load_spec(path)


def simulated(spec: SweepSpec, case: Case, number: int) -> list[Look]:
    """Search, train and report one sweep, whose name is its number so that each draws its own first
    points.

    One look for each number of seeds.
    """
    world = World(case, number)
    spec = _with(spec, name=f"sweep{number}")

    lookup = Lookup(spec, lambda data: "invented", world)
    found = with_searches(spec, lookup, Suggestions(Path("nowhere")))
    return [_look(world, _with(found, seeds=list(range(seeds)))) for seeds in case.seeds]


def _with(spec: SweepSpec, **changed: Any) -> SweepSpec:
    return replace(spec, schema=spec.schema.model_copy(update=changed))


def _look(world: World, found: SweepSpec) -> Look:
    trials = trials_of(found, lambda data: "invented")
    known = tuple(KnownTrial(trial, world.record(trial)) for trial in trials)
    baseline, placebo = build_roadmap(Snapshot(found, known)).rows
    delta = placebo.delta_previous
    plain = paired_effect(placebo.values, baseline.values)
    assert delta is not None
    assert plain is not None
    p_value = delta.adjusted_p_value
    low, high = delta.effect.ci95 or (0.0, 0.0)
    chosen: dict[str, list[float]] = {"baseline": [], "placebo": []}
    flattery = []
    for search in found.searches:
        assert search.chosen is not None
        truth = world.truth(search.chosen.values["train.lr"])
        chosen[search.label].append(truth)
        flattery.append((search.chosen.mean or 0.0) - truth)
    return Look(
        is_decided=p_value is not None and p_value < LEVEL,
        by_seeds=(plain.p_value or 0.0) < LEVEL,
        covers=low <= 0.0 <= high,
        luck=fmean(chosen["placebo"]) - fmean(chosen["baseline"]),
        flattery=fmean(flattery),
        is_same=chosen["placebo"] == chosen["baseline"],
        regret=90.0 - fmean(chosen["baseline"]),
    )


def calibrate(case: Case, sweeps: int) -> list[Figures]:
    """All sweeps of a case: a row for each number of seeds."""
    spec = spec_of(case)
    by_seeds = zip(*(simulated(spec, case, number) for number in range(sweeps)), strict=True)
    return [
        Figures(
            case=case,
            seeds=seeds,
            decided=fmean(look.is_decided for look in looks),
            by_seeds=fmean(look.by_seeds for look in looks),
            coverage=fmean(look.covers for look in looks),
            bias=fmean(look.luck for look in looks),
            luck=stdev(look.luck for look in looks),
            flattery=fmean(look.flattery for look in looks),
            same=fmean(look.is_same for look in looks),
            regret=fmean(look.regret for look in looks),
            lucks=tuple(look.luck for look in looks),
        )
        for seeds, looks in zip(case.seeds, by_seeds, strict=True)
    ]


def decided_with_repeats(row: Figures, repeats: int, seeds: int) -> float:
    """Share of resampled sweeps that a test over the means of repeats decides."""
    generator = np.random.default_rng(0)
    luck = generator.choice(row.lucks, size=(RESAMPLED, repeats))
    noise = row.case.noise * math.sqrt(2 * repeats / seeds)
    means = luck + noise * generator.standard_normal(luck.shape)
    return float((paired_p_values(means) < LEVEL).mean())


HEADER = (
    "| response | search seeds | repeats | seeds | printed as decided | by a t-test over seeds"
    " | interval has 0 | mean luck | sd of luck | flattery | same chosen | regret |"
)


def row_text(row: Figures) -> str:
    """A line of the table."""
    case = row.case
    cells = [
        case.name,
        f"{case.search_seeds}",
        f"{case.repeats}",
        f"{row.seeds}",
        f"{row.decided:.1%}",
        f"{row.by_seeds:.1%}",
        f"{row.coverage:.1%}",
        f"{row.bias:+.3f}",
        f"{row.luck:.2f}",
        f"{row.flattery:+.2f}",
        f"{row.same:.0%}",
        f"{row.regret:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sweeps", type=int, default=SWEEPS, help="simulated for each row")
    parser.add_argument("--only", default="", help="responses whose name has this in it")
    arguments = parser.parse_args()
    print(HEADER)
    print(f"|{'---|' * HEADER.count(' |')}")
    rows = []
    for case in CASES:
        if arguments.only in case.name:
            for row in calibrate(case, arguments.sweeps):
                print(row_text(row), flush=True)
                rows.append(row)
    print(f"\n| response | {' | '.join(f'{k} repeats, {n} seeds' for k, n in REPEATED)} |")
    print(f"|{'---|' * (1 + len(REPEATED))}")
    for row in rows:
        if row.case.repeats == 1 and row.seeds == row.case.seeds[0]:
            shares = (f"{decided_with_repeats(row, *how):.1%}" for how in REPEATED)
            print(f"| {row.case.name} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
