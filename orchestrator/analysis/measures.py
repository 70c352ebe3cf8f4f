"""Findings of measures in the networks of each step: means over seeds and paired differences.

Described and never tested: no comparison here is part of the report's family.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from illama.config import RuntimeConfig
from illama.measures import Request
from orchestrator.analysis.comparisons import effect_against
from orchestrator.analysis.decimals import decimals_of_effect, decimals_of_values
from orchestrator.analysis.effects import StepEffect
from orchestrator.analysis.rows import StepRow
from orchestrator.analysis.search_luck import summary_over_repeats
from orchestrator.spec.schema import MetricSchema
from orchestrator.store.measurements import Measurement, epochs_along, known_measurement
from orchestrator.trial import Variant


@dataclass(frozen=True)
class MeasuredStep:
    """One number of one step."""

    variant: Variant
    row: StepRow
    """The step read by this number instead of the sweep's metric."""

    @property
    def delta(self) -> StepEffect | None:
        """Paired difference to the step that the sweep's metric is compared with, too."""
        return self.row.delta_previous

    def to_json(self) -> dict[str, Any]:
        """The form of `measures` in a step of `report --format json`."""
        return {
            "mean": self.row.mean,
            "std": self.row.std,
            "ci95": self.row.ci95,
            "values": {str(seed): value for seed, value in self.row.values.items()},
            "delta_previous": _delta_to_json(self.delta),
        }


def _delta_to_json(delta: StepEffect | None) -> dict[str, Any] | None:
    if delta is None:
        return None
    return {"mean": delta.mean, "ci95": delta.ci95, "pairs": delta.pairs, "versus": delta.versus}


@dataclass(frozen=True)
class MeasuredQuantity:
    """One number of a measure, in all steps that have it."""

    name: str
    mode: Literal["max", "min"] | None
    """Direction that is better; None where neither is."""
    unit: str
    decimals: int | None
    """Decimals that the measure's author wants shown; None for as many as each value needs."""
    text: str
    steps: Mapping[str, MeasuredStep]
    """The steps that have it, by label."""
    along: Mapping[str, Mapping[int, StepRow]] = field(default_factory=dict)
    """Steps read by it along their training, by label and epoch, where the measure has `every`."""


@dataclass(frozen=True)
class MeasureTable:
    """One measure of all steps."""

    label: str
    quantities: Sequence[MeasuredQuantity]
    """The first one stands for the measure."""
    causes: Mapping[str, str] = field(default_factory=dict)
    """Reasons why the measure failed, by the label of the step and the seed."""
    missing: int = 0
    """Finished networks that were not measured yet."""
    missing_along: int = 0
    """Networks along trainings that were not measured, or were not kept."""
    pictures: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """SVG files of the first seed that has them, by the step's label and the picture's name."""


_ByRow = Mapping[str, Mapping[int, Measurement]]
"""Measurements by the row's label and the seed."""
_ByEpoch = Mapping[int, _ByRow]


def measure_tables(
    rows: Sequence[StepRow],
    requests: Mapping[str, Request],
    use_ema: bool = False,
    looks: Sequence[int] = (),
) -> list[MeasureTable]:
    """A table for each of `requests`, read from the folders of the rows' trials."""
    return [
        _with_epochs(
            _table(label, rows, _known(rows, request, use_ema), looks), rows, request, use_ema
        )
        for label, request in requests.items()
    ]


def steps_to_json(tables: Sequence[MeasureTable], label: str) -> dict[str, dict[str, Any]]:
    """Return what all measures found in the step `label`, by measure and number."""
    return {
        table.label: {
            quantity.name: quantity.steps[label].to_json() | _along_to_json(quantity, label)
            for quantity in table.quantities
            if label in quantity.steps
        }
        for table in tables
    }


def _along_to_json(quantity: MeasuredQuantity, label: str) -> dict[str, Any]:
    """The number along the training, by epoch; nothing where it was not measured so."""
    read = quantity.along.get(label)
    if not read:
        return {}
    return {
        "along": {
            str(epoch): {
                "mean": row.mean,
                "ci95": row.ci95,
                "values": {str(seed): value for seed, value in row.values.items()},
            }
            for epoch, row in read.items()
        }
    }


def _with_epochs(
    table: MeasureTable, rows: Sequence[StepRow], request: Request, use_ema: bool
) -> MeasureTable:
    """The table with what was measured along the trainings, where the measure has `every`."""
    if request.every is None:
        return table
    of_row = {row.variant.label: epochs_along(request, row.variant.config) for row in rows}
    epochs = sorted({epoch for found in of_row.values() for epoch in found})
    known = {epoch: _known(rows, request, use_ema, epoch) for epoch in epochs}
    wanted = sum(len(row.values) * len(of_row[row.variant.label]) for row in rows)
    taken = sum(len(seeds) for by_row in known.values() for seeds in by_row.values())
    quantities = [replace(one, along=_along(one, rows, known)) for one in table.quantities]
    return replace(table, quantities=quantities, missing_along=max(0, wanted - taken))


def _along(
    quantity: MeasuredQuantity, rows: Sequence[StepRow], known: _ByEpoch
) -> Mapping[str, Mapping[int, StepRow]]:
    mode, decimals = quantity.mode or "max", quantity.decimals
    found: dict[str, dict[int, StepRow]] = {}
    for row in rows:
        label = row.variant.label
        for epoch, by_row in known.items():
            read = _read_by(quantity.name, row, by_row[label], mode, decimals)
            if read.values:
                found.setdefault(label, {})[epoch] = read
    return found


def _known(
    rows: Sequence[StepRow], request: Request, use_ema: bool, epoch: int | None = None
) -> _ByRow:
    found: dict[str, dict[int, Measurement]] = {}
    for row in rows:
        of_row = found.setdefault(row.variant.label, {})
        for seed, path in row.paths.items():
            network = row.fingerprints[seed]
            asked = Measurement("", network, request, RuntimeConfig(), use_ema, epoch=epoch)
            known = known_measurement(asked, Path(path))
            if known is not None and known.state != "asked":
                of_row[seed] = known
    return found


def _table(
    label: str, rows: Sequence[StepRow], known: _ByRow, looks: Sequence[int]
) -> MeasureTable:
    measured = [one for of_row in known.values() for one in of_row.values()]
    described = _descriptions(measured)
    trained = sum(len(row.values) for row in rows)
    return MeasureTable(
        label,
        [_quantity(name, about, rows, known, looks) for name, about in described.items()],
        causes={
            f"{row}-seed{seed}": one.cause or "it failed"
            for row, of_row in known.items()
            for seed, one in of_row.items()
            if one.state == "failed"
        },
        missing=max(0, trained - len(measured)),
        pictures={
            row: pictures
            for row, of_row in known.items()
            if (pictures := next((one.pictures for one in of_row.values() if one.pictures), None))
        },
    )


def _descriptions(measured: Sequence[Measurement]) -> dict[str, Mapping[str, Any]]:
    """Return what is known of each number, in the order in which the measure returns them."""
    found: dict[str, Mapping[str, Any]] = {}
    for one in measured:
        for name in one.values or {}:
            found.setdefault(name, (one.quantities or {}).get(name, {}))
    return found


def _quantity(
    name: str,
    about: Mapping[str, Any],
    rows: Sequence[StepRow],
    known: _ByRow,
    looks: Sequence[int],
) -> MeasuredQuantity:
    mode = about.get("mode")
    decimals = about.get("decimals")
    by_place: dict[tuple[str, str], StepRow] = {}
    for row in rows:
        read = _read_by(name, row, known[row.variant.label], mode or "max", decimals)
        by_place[row.variant.regime, row.variant.name] = read
    steps = {}
    for row in rows:
        read = by_place[row.variant.regime, row.variant.name]
        if not read.values:
            continue
        ground = by_place.get((row.variant.regime, row.versus))
        delta = None
        if ground and ground.values:
            delta = effect_against(read, ground, looks)
        if delta and decimals is not None:
            delta = replace(delta, decimals=decimals_of_effect(delta.effect, decimals))
        steps[row.variant.label] = MeasuredStep(row.variant, replace(read, delta_previous=delta))
    return MeasuredQuantity(
        name, mode, str(about.get("unit", "")), decimals, str(about.get("text", "")), steps
    )


def _read_by(
    name: str,
    row: StepRow,
    measured: Mapping[int, Measurement],
    mode: str,
    decimals: int | None,
) -> StepRow:
    """The row with this number in the place of the sweep's metric."""
    values = {
        seed: one.values[name]
        for seed, one in measured.items()
        if one.values is not None and name in one.values
    }
    name = f"measure/{name}"
    schema = MetricSchema(name=name, mode=cast(Any, mode), test=row.metric.test)
    read = replace(
        row,
        values=values,
        last_values=values,
        metric=schema,
        also={},
        delta_previous=None,
        delta_baseline=None,
    )
    summary = summary_over_repeats(row.variant, dict(read.compared_values))
    if decimals is None:
        decimals = decimals_of_values(name, list(values.values()), summary)
    return replace(read, summary=summary, decimals=decimals)
