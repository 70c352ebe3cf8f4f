"""Simulations of what the report claims beyond a road of paired differences: one function for each
claim.

`python benchmarks/calibration.py` runs them all and writes their figures. A further claim is a
function of a generator and a number of sweeps that returns `Claim`s, added to `CLAIMS`; it may live
in a file of its own.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from orchestrator.analysis.roadmap import Roadmap, build_roadmap
from orchestrator.analysis.snapshot import Snapshot
from orchestrator.outcomes import Outcome, State
from orchestrator.planning.plan import trials_of
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.stats.inference import LEVEL, Floats, effect_of, holm_adjusted, paired_p_values
from orchestrator.stats.power import detectable, detectable_difference, prospect, spread_of
from orchestrator.trial import KnownTrial, TrialRecord, TrialSpec

STEPS = 4
SEEDS = 5


Bound = Literal["≤", "=", "≥"]


@dataclass(frozen=True)
class Claim:
    """A sentence of the report, and how often it was wrong, or right, in simulated sweeps."""

    claim: str
    setting: str
    measured: float
    nominal: float
    bound: Bound
    """How the measured figure should lie to the nominal one."""
    sweeps: int

    @property
    def error(self) -> float:
        """Standard error of the measured share."""
        return float((self.nominal * (1 - self.nominal) / self.sweeps) ** 0.5)

    @property
    def holds(self) -> bool:
        """Within three standard errors."""
        above = self.measured - self.nominal
        distance = {"≤": above, "=": abs(above), "≥": -above}[self.bound]
        return distance <= 3 * self.error


@cache
def _spec(designs: str, metric: str = "") -> SweepSpec:
    """Four steps of somebody's own training; its figures are drawn here."""
    folder = Path(tempfile.mkdtemp())
    (folder / "placebo.py").write_text("def train(*, a=0, b=0, c=0, d=0, seed): ...\n")
    steps = "\n".join(f"  - {{name: {name}, change: {{train.{name}: 1}}}}" for name in "abcd")
    path = folder / "sweep.yaml"
    path.write_text(
        f"name: placebo\nmetric: {{name: score, mode: max{metric}}}\n"
        f"seeds: {list(range(SEEDS))}\ndesign: {designs}\n"
        f'baseline: {{train: {{name: "placebo:train"}}}}\nsteps:\n{steps}\n'
    )
    return load_spec(path)


def _report(
    spec: SweepSpec, generator: np.random.Generator, fails: float = 0.0, up: float = 0.0
) -> Roadmap:
    """A report without any effect, or with steps that each add `up`; trainings that coincide
    have one figure.
    """
    shared = generator.normal(size=SEEDS)
    records: dict[str, TrialRecord] = {}

    def record_of(trial: TrialSpec) -> TrialRecord:
        if trial.fingerprint not in records:
            value = float(0.7 * shared[trial.seed] + 0.7 * generator.normal())
            taken = sum(bool(trial.config.train.options.get(name)) for name in "abcd")  # type: ignore[union-attr]
            is_bad = generator.uniform() < fails
            records[trial.fingerprint] = _record(value + up * taken, is_bad=is_bad)
        return records[trial.fingerprint]

    known = tuple(KnownTrial(trial, record_of(trial)) for trial in _trials(spec))
    return build_roadmap(Snapshot(spec, known))


_TRIALS: dict[int, list[TrialSpec]] = {}


def _trials(spec: SweepSpec) -> list[TrialSpec]:
    if id(spec) not in _TRIALS:
        _TRIALS[id(spec)] = list(trials_of(spec, lambda _: "none"))
    return _TRIALS[id(spec)]


def _record(value: float, *, is_bad: bool) -> TrialRecord:
    outcome = Outcome.DIVERGED if is_bad else Outcome.FINISHED
    metrics: Mapping[str, float] = {} if is_bad else {"score": value}
    result = {"outcome": str(outcome), "metrics": metrics, "best": metrics, "seconds": 1.0}
    return TrialRecord(State.DONE, outcome, attempts=1, result=result)


def _verdicts(roadmap: Roadmap) -> set[str | None]:
    """All claims that any table makes."""
    deltas = [row.delta_previous for row in roadmap.rows]
    deltas += [line.delta for section in roadmap.sections for line in section.lines]
    return {delta.verdict for delta in deltas if delta}


def families(generator: np.random.Generator, sweeps: int) -> Iterator[Claim]:
    """Any difference decided in any table, without any effect."""
    count = max(40, sweeps // 40)
    for designs in (
        "roadmap",
        "[roadmap, one_factor, leave_one_out]",
        "[roadmap, leave_one_out, {orders: 3}]",
        "[roadmap, one_factor, leave_one_out, factorial, {orders: 3}]",
    ):
        spec = _spec(designs)
        wrong = sum(
            bool(_verdicts(_report(spec, generator)) & {"better", "worse"}) for _ in range(count)
        )
        yield Claim("any difference in any table", designs, wrong / count, LEVEL, "≤", count)


def missing(generator: np.random.Generator, sweeps: int) -> Iterator[Claim]:
    """The same where every training may diverge: means are tested where none did, and rates
    where some did.
    """
    count = max(40, sweeps // 40)
    for share in (0.02, 0.1, 0.3):
        spec = _spec("[roadmap, one_factor]")
        wrong = sum(
            bool(_verdicts(_report(spec, generator, share)) & {"better", "worse"})
            for _ in range(count)
        )
        setting = f"every trial diverges with {share:.0%}"
        yield Claim(
            "any difference, of means or of rates", setting, wrong / count, LEVEL, "≤", count
        )


def equivalence(generator: np.random.Generator, sweeps: int) -> Iterator[Claim]:
    """Any comparison called equivalent where every step makes just the difference that matters."""
    count = max(40, sweeps // 40)
    for matters in (1.0, 3.0):
        spec = _spec("roadmap", f", matters: {matters}")
        wrong = sum(
            "equivalent" in _verdicts(_report(spec, generator, up=matters)) for _ in range(count)
        )
        setting = f"every step makes a difference of {matters:g}, {matters:g} matters"
        yield Claim("any step called equivalent", setting, wrong / count, LEVEL, "≤", count)


def power(generator: np.random.Generator, sweeps: int) -> Iterator[Claim]:
    """A sweep says what it detects; another one has a true difference of that size."""
    comparisons, sweeps = 6, max(100, sweeps // 4)
    for seeds in (3, 5, 8):
        first = generator.normal(size=(sweeps, seeds))
        second = generator.normal(size=(sweeps, seeds))
        truth = detectable_difference(1.0, seeds, comparisons) or 0.0
        spreads = [spread_of(effect) for row in first if (effect := effect_of(row.tolist()))]
        found = [detectable(spread, seeds, comparisons) for spread in spreads if spread]
        told = np.array([one.value for one in found])
        decided = paired_p_values(second + told[:, None]) < LEVEL / comparisons
        exact = paired_p_values(second + truth) < LEVEL / comparisons
        covered = np.mean([one.range[0] <= truth <= one.range[1] for one in found])
        setting = f"{seeds} seeds, {comparisons} comparisons"
        yield Claim(
            "detectable difference is found (true spread)",
            setting,
            float(exact.mean()),
            0.8,
            "=",
            sweeps,
        )
        yield Claim(
            "range of the detectable difference holds the true one",
            setting, float(covered), 0.8, "=", sweeps,
        )  # fmt: skip
        yield Claim(
            "detectable difference is found (measured spread)",
            setting, float(decided.mean()), 0.8, "=", sweeps,
        )  # fmt: skip


def needed_seeds(generator: np.random.Generator, sweeps: int) -> Iterator[Claim]:
    """The range of seeds that a difference which matters takes holds the number that it does
    take.
    """
    comparisons, matters = 6, 2.0
    count = max(40, sweeps // 40)
    truth = next(
        n for n in range(2, 200) if (detectable_difference(1.0, n, comparisons) or 9.0) <= matters
    )
    for seeds in (3, 5, 8):
        inside = 0
        for row in generator.normal(size=(count, seeds)):
            effect = effect_of(row.tolist())
            spread = spread_of(effect) if effect else None
            assert spread is not None
            low, high = prospect(spread, matters, seeds, comparisons).seeds
            inside += (low or 999) <= truth <= (high or 999)
        setting = f"{seeds} seeds, {matters:g} spreads matter"
        yield Claim(
            "seeds for what matters are in their range", setting, inside / count, 0.8, "≥", count
        )


def more_seeds(generator: np.random.Generator, sweeps: int) -> Iterator[Claim]:
    """A researcher doubles the seeds by hand until any step is decided, at most four times."""
    steps, rounds, count = 6, 4, max(100, sweeps // 2)
    for start in (3, 5):
        values = generator.normal(size=(count, steps + 1, start * 2**rounds))
        differences = np.diff(values, axis=1)
        paid, naive = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        for looks_before in range(rounds + 1):
            p_values = paired_p_values(differences[:, :, : start * 2**looks_before])
            naive |= _decides(p_values)
            paid |= _decides(np.minimum(1.0, p_values * 2**looks_before))
            if looks_before in (1, rounds):
                bound = LEVEL * (2 - 0.5**looks_before)
                setting = f"from {start} seeds, {looks_before} change(s) of the list"
                yield Claim(
                    "any difference at any look", setting, float(paid.mean()), bound, "≤", count
                )
        setting = (
            f"from {start} seeds, {rounds} changes, looks not paid for (no claim: what it would be)"
        )
        yield Claim("any difference at any look", setting, float(naive.mean()), LEVEL, "≤", count)


def _decides(p_values: Floats) -> Floats:
    return np.asarray(holm_adjusted(p_values).min(-1) < LEVEL)


CLAIMS: list[Callable[[np.random.Generator, int], Iterator[Claim]]] = [
    families,
    missing,
    equivalence,
    power,
    needed_seeds,
    more_seeds,
]


def claims(sweeps: int, seed: int = 2025) -> list[Claim]:
    """Every claim's figures; each function has a generator of its own, so that adding one
    changes no other.
    """
    return [
        figure
        for index, simulate in enumerate(CLAIMS)
        for figure in simulate(np.random.default_rng((seed, index)), sweeps)
    ]


def to_markdown(figures: list[Claim]) -> str:
    """The figures as a table."""
    lines = [
        "## Further claims",
        "",
        "Share of simulated sweeps in which the report said so; and what it should be.",
        "",
        "| the report says | where | measured | nominal | sweeps | holds |",
        "|---|---|--:|--:|--:|---|",
    ]
    for one in figures:
        lines.append(
            f"| {one.claim} | {one.setting} | {one.measured:.1%} | {one.bound} {one.nominal:.1%} "
            f"| {one.sweeps:,} | {'yes' if one.holds else 'no'} |"
        )
    return "\n".join(lines) + "\n"
