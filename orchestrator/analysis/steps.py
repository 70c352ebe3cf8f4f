"""Steps of a sweep with their effects, corrected over the report's family: what the report and
added seeds go by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.analysis.comparisons import effect_against
from orchestrator.analysis.family import Family, Rules, with_family
from orchestrator.analysis.rows import StepRow, make_row
from orchestrator.analysis.sections import Section, sections_of
from orchestrator.analysis.snapshot import Snapshot
from orchestrator.metrics import reported_name
from orchestrator.spec.designs import has_road
from orchestrator.spec.schema import MetricSchema
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import Variant


def judged_steps(snapshot: Snapshot, rules: Rules) -> tuple[list[StepRow], list[Section], Family]:
    """Rows of the road, sections of the other designs, and the family that both are corrected over.

    Where the sweep has no road, the rows are those of all designs.
    """
    spec = snapshot.spec
    rows = _rows_of(snapshot, rules.metric)
    on_road = has_road(spec.schema.design)
    road = [row for row in rows if row.variant.design == "roadmap" or not on_road]
    return with_family(with_effects(road, rules.looks), sections_of(spec, rows), rules)


def _rows_of(snapshot: Snapshot, metric: MetricSchema) -> list[StepRow]:
    """The rows of all variants of all designs, without their effects."""
    spec = snapshot.spec
    variants = [
        replace(
            variant,
            reference=_reference_by(metric, spec, variant.reference),
            published=_published(spec, variant),
        )
        for variant in spec.road
    ]
    return [make_row(variant, snapshot.of(variant), metric) for variant in variants]


def with_effects(rows: Sequence[StepRow], looks: Sequence[int] = ()) -> list[StepRow]:
    """Each row against the last healthy step before it, side steps like the step they stand beside,
    and against the baseline.

    A control, whose change is made to another step, is compared with that step.
    """
    result: list[StepRow] = []
    for row in rows:
        if row.variant.follows is None:
            road = _Road(row)
        else:
            row = road.placed(row, looks)
        road.rows[row.variant.name] = row
        result.append(row)
    return result


class _Road:
    """The rows of a regime so far, and what the next one is compared with."""

    def __init__(self, baseline: StepRow) -> None:
        self.rows: dict[str, StepRow] = {}
        self._baseline = self._healthy = baseline
        self._versus: StepRow | None = None
        """The last healthy step before the one where the road stands."""
        self._step, self._before = baseline.variant.name, ""

    def placed(self, row: StepRow, looks: Sequence[int]) -> StepRow:
        """The row with its effects; a step of the road moves the road on."""
        is_of_road = row.variant.design == "roadmap"
        if is_of_road and not row.variant.side:
            self._versus = self._healthy
            self._before, self._step = self._step, row.variant.name
            if row.is_healthy:
                self._healthy = row
        row = _against(row, self._ground(row.variant), self._baseline, looks)
        if is_of_road:
            row = replace(row, before=self._before)
        return row

    def _ground(self, variant: Variant) -> StepRow | None:
        if variant.on:
            return self.rows.get(variant.on)
        if variant.design != "roadmap":
            return self.rows.get(variant.follows or "")
        return self._versus


def _published(spec: SweepSpec, variant: Variant) -> Mapping[str, float]:
    """Every published figure of a variant, by its metric."""
    if not variant.reference:
        return {}
    return _figures(spec, variant.reference)


def _figures(spec: SweepSpec, reference: Mapping[str, Any]) -> dict[str, float]:
    """Every figure of a reference, by its metric."""
    return {spec.schema.metric.name: reference["value"], **reference.get("also", {})}


def _reference_by(
    metric: MetricSchema, spec: SweepSpec, reference: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """Figures that were published of the metrics that are reported; none where there are none.

    A published figure of the validation metric stands beside ours of the test part, too.
    """
    is_own = metric.name == spec.schema.metric.name
    if reference is None or (is_own and not spec.has_test_part):
        return reference
    figures = _figures(spec, reference)
    shown = {metric.name, *metric.also}
    for name, value in list(figures.items()):
        tested = reported_name(name, has_test_part=spec.has_test_part)
        if tested in shown and tested not in figures:
            figures[tested] = value
            if name not in shown:
                del figures[name]
    if metric.name not in figures:
        return None
    return {"value": figures.pop(metric.name), "source": reference["source"], "also": figures}


def _against(
    row: StepRow, ground: StepRow | None, baseline: StepRow | None, looks: Sequence[int]
) -> StepRow:
    """Row with its effects; those by further metrics are compared with the same rows."""
    also = {
        name: _against(other, ground and ground.also[name], baseline and baseline.also[name], looks)
        for name, other in row.also.items()
    }
    deltas = effect_against(row, ground, looks), effect_against(row, baseline, looks)
    return replace(row, also=also, delta_previous=deltas[0], delta_baseline=deltas[1])
