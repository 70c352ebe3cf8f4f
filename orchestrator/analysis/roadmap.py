"""The roadmap as numbers: what each step reached, and what it changed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Any

from illama.measures import Request, labelled
from orchestrator.analysis.drift import drift_in_results
from orchestrator.analysis.effects import StepEffect
from orchestrator.analysis.family import Family, Rules
from orchestrator.analysis.images import ci95_with_images, image_chances, images_to_json
from orchestrator.analysis.measures import MeasureTable, measure_tables, steps_to_json
from orchestrator.analysis.regimes import RegimeDifference, differences_between_regimes
from orchestrator.analysis.rows import StepRow, row_to_json
from orchestrator.analysis.sections import Section, section_to_json
from orchestrator.analysis.snapshot import Snapshot
from orchestrator.analysis.steps import judged_steps
from orchestrator.errors import UsageError, did_you_mean_one_of
from orchestrator.metrics import AVERAGED, METRICS, Mode
from orchestrator.outcomes import Outcome, State
from orchestrator.spec.designs import SkippedCell
from orchestrator.spec.schema import MetricSchema
from orchestrator.spec.search_space import Search, searches_to_json
from orchestrator.spec.warnings import SpecWarning, warnings_of
from orchestrator.stats.images import ImageChance
from orchestrator.store.declarations import Declaration
from orchestrator.trial import TrialRecord

__all__ = ["Roadmap", "StepEffect", "StepRow", "build_roadmap"]


@dataclass(frozen=True)
class Roadmap:
    """The whole report."""

    sweep: str
    metric: str
    mode: str
    """The direction that is better: `max` or `min`."""
    seeds: Sequence[int]
    rows: Sequence[StepRow]
    """Rows of the road, for each regime, the baseline first; without a road, of all designs."""
    causes: Mapping[str, str] = field(default_factory=dict)
    """Reasons why trials failed or diverged, by trial."""
    own_metric: str = ""
    """The sweep's, of the test part where there is one; mostly `metric`."""
    chosen_by: str = ""
    """The metric by which searches, best epochs and seeds were decided: the sweep's, of the
    validation images.
    """
    also: Sequence[str] = ()
    """Further metrics, described beside it."""
    epoch: str = "last"
    """The epoch that the metric is read at: `last` or `best`."""
    looks: Sequence[int] = ()
    """Numbers of seeds at which steps are looked at, where seeds are added as needed."""
    sections: Sequence[Section] = ()
    """Sections of the other designs."""
    searches: Sequence[Search] = ()
    """Searches with what they tried; their trials are counted nowhere else."""
    is_whole: bool = True
    """True if every step is known; not before the searches are done that they wait for."""
    warnings: Sequence[SpecWarning] = ()
    skipped: Sequence[SkippedCell] = ()
    family: Family = field(default_factory=Family)
    """The comparisons that are tested and corrected together."""
    regimes: Sequence[RegimeDifference] = ()
    """Differences of the steps' effects in other regimes from those in the first."""
    test: str = "paired"
    """Test of differences: `paired`, `welch` or `sign_flip`."""
    matters: float | None = None
    """Smallest difference of interest, where the spec names one."""
    total_seconds: float = 0.0
    """Seconds of training, each trial counted once; without the searches'."""
    total_gpu_seconds: float = 0.0
    declaration: Declaration | None = None
    """Record of what was decided before the first result; None where nobody asked the store."""
    adopted: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Differences in code, by trial, of results that other code gave and somebody adopted."""
    description: str = ""
    """Purpose of the sweep, as its spec says it."""
    tags: Mapping[str, Any] = field(default_factory=dict)
    """The tags of the spec."""
    measures: Mapping[str, Request] = field(default_factory=dict)
    """Measures of finished networks that the spec asks for, by their labels."""
    spec_text: str = ""
    spec_name: str = "sweep.yaml"
    """Name of the spec's file."""
    """The spec that this is the report of."""
    code: Mapping[str, str] = field(default_factory=dict)
    """The modules beside it that its models and data are made by."""

    @property
    def detectable(self) -> float | None:
        """Median over the road's steps of the difference that each detects; none where no spread is
        known.
        """
        found = [row.delta_previous for row in self.rows if row.delta_previous and row.is_healthy]
        values = [delta.detectable.value for delta in found if delta.detectable]
        if not values:
            return None
        return median(values)

    @cached_property
    def measured(self) -> Sequence[MeasureTable]:
        """Findings of measures; read from the trials' files when they are looked at."""
        use_ema = self.chosen_by.startswith(AVERAGED)
        return measure_tables(self.rows, self.measures, use_ema, self.looks)

    def to_json(self) -> dict[str, Any]:
        """The form of `report --format json`."""
        searches = searches_to_json(self.searches)
        return {
            "sweep": self.sweep,
            "description": self.description,
            "tags": dict(self.tags),
            "metric": self.metric,
            "own_metric": self.own_metric,
            "chosen_by": self.chosen_by,
            "also": list(self.also),
            "epoch": self.epoch,
            "steps": [self._step_to_json(row, searches) for row in self.rows],
            "designs": [section_to_json(section) for section in self.sections],
            "skipped": [vars(cell) for cell in self.skipped],
            "warnings": [warning.to_json() for warning in self.warnings],
            "causes": dict(self.causes),
            "family": self.family.to_json(),
            "test": self.test,
            "matters": self.matters,
            "regimes": [difference.to_json() for difference in self.regimes],
            "declared": self.declaration and self.declaration.to_json(),
            "adopted": {trial: list(texts) for trial, texts in self.adopted.items()},
            "detectable_difference": self.detectable,
            "train_seconds": self.total_seconds,
            "gpu_seconds": self.total_gpu_seconds,
            "open_searches": [
                search.to_json() for search in self.searches if search.chosen is None
            ],
            "search_seconds": sum(search.seconds for search in self.searches),
        }

    def _step_to_json(self, row: StepRow, searches: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        label, described = row.variant.label, row_to_json(row)
        chance = self.image_chances.get(label)
        wider = ci95_with_images(row.delta_previous, chance, len(self.looks))
        delta = images_to_json(described["delta_previous"], wider, chance)
        more = {"search": searches.get(label), "measures": steps_to_json(self.measured, label)}
        return described | {"delta_previous": delta} | more

    @cached_property
    def image_chances(self) -> Mapping[str, ImageChance]:
        """Chance that lies in the held-out images, by the label of each row whose effect has it;
        read from the trials' files when it is looked at.
        """
        return image_chances(self.rows, self.metric, self.epoch)


def build_roadmap(
    snapshot: Snapshot, metric: MetricSchema | None = None, earlier_looks: int = 0
) -> Roadmap:
    """Compute every effect of a sweep, by its own metric or another one.

    `earlier_looks` counts the different lists of seeds that the spec named before and whose figures
    were shown.
    """
    spec = snapshot.spec
    own, metric = spec.reported_metric, metric or spec.reported_metric
    looks = spec.schema.looks
    rules = Rules(metric, looks, earlier_looks, spec.schema.family)
    road, sections, family = judged_steps(snapshot, rules)
    costs = {
        known.record.path: (known.record.seconds, known.spec.resources.gpus_in_all)
        for known in snapshot.reported
        if known.record.seconds is not None
    }
    warnings = warnings_of(spec)
    return Roadmap(
        sweep=spec.name,
        metric=metric.name,
        mode=metric.mode,
        own_metric=own.name,
        chosen_by=spec.schema.metric.name,
        also=metric.also,
        seeds=sorted({known.spec.seed for known in snapshot.reported}),
        looks=looks,
        rows=road,
        causes={
            known.spec.name: known.record.cause
            for known in snapshot.trials
            if known.record.cause and _ended_badly(known.record)
        },
        epoch=metric.epoch,
        sections=sections,
        searches=spec.searches,
        is_whole=not spec.unknown,
        warnings=[
            *warnings,
            *drift_in_results(road, snapshot.trials, spec.schema.tolerance, warnings),
        ],
        skipped=spec.skipped,
        family=family,
        regimes=differences_between_regimes(road, looks),
        test=metric.test,
        matters=metric.matters,
        measures=labelled(spec.schema.measure),
        total_seconds=sum(seconds for seconds, _ in costs.values()),
        total_gpu_seconds=sum(seconds * gpus for seconds, gpus in costs.values()),
        spec_name=spec.path.name,
        spec_text=spec.content.decode("utf-8-sig", errors="replace"),
        code={
            name: source.decode("utf-8-sig", errors="replace") for name, source in spec.code.items()
        },
    )


def other_metric(
    own: MetricSchema, name: str, mode: Mode | None, results: Iterable[Mapping[str, Any]]
) -> MetricSchema:
    """Metric to report by where `name` is asked for; the sweep's own is shown beside it.

    Raises `UsageError` where nothing has recorded it, or where nobody says which direction is
    better.
    """
    if name not in METRICS:
        _refuse_unrecorded(name, results)
    known = mode
    if name in METRICS:
        known = METRICS[name].mode
    if name == own.name:
        known = own.mode
    if known is None:
        raise UsageError(
            f"it is unknown whether a larger or a smaller '{name}' is better: add --mode max or "
            "--mode min"
        )
    if mode not in (None, known):
        raise UsageError(f"--mode {mode} would call a worse {name} an improvement")
    also = [other for other in dict.fromkeys((own.name, *own.also)) if other != name]
    matters = None
    if name == own.name:  # what matters is in the unit of the sweep's own metric
        matters = own.matters
    return MetricSchema(
        name=name, mode=known, epoch=own.epoch, also=also, test=own.test, matters=matters
    )


def _refuse_unrecorded(name: str, results: Iterable[Mapping[str, Any]]) -> None:
    """Raises `UsageError` where no result has the metric; reads all of them."""
    recorded = {metric for result in results for metric in result.get("metrics", {})}
    if not recorded:
        raise UsageError(
            f"no trial of the current spec has a result yet, so none has '{name}'; "
            "`orchestrator plan` lists what there is to train, and why"
        )
    if name not in recorded:
        raise UsageError(f"no trial has recorded '{name}'{did_you_mean_one_of(name, [*recorded])}")


def _ended_badly(record: TrialRecord) -> bool:
    return record.state is State.FAILED or record.outcome is Outcome.DIVERGED
