"""The tables of measures, as words that every format shares."""

from orchestrator.analysis.measures import MeasuredQuantity, MeasuredStep, MeasureTable
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.planning.causes import in_a_list, names_text
from orchestrator.report.words import Column, delta_text, number_text, step_name

HEADING = "Measures of the trained networks"
NOTE = (
    "Means over seeds ± one standard deviation. Δ is the paired difference from the same step that "
    "the metric is compared with, with an uncorrected 95 % interval. Measures are described, not "
    "tested: they are not part of the family of comparisons."
)
_BETTER = {"max": "higher is better", "min": "lower is better"}


def measure_columns(table: MeasureTable) -> list[Column]:
    """Headings: the step, the first number with its change, and all others."""
    first, *others = table.quantities
    columns = [Column("step"), _column(first, 0)]
    columns.append(Column(f"Δ {first.name} [95 % CI]", is_number=True, rank=1))
    return [*columns, *(_column(quantity, 2 + index) for index, quantity in enumerate(others))]


def measure_cells(roadmap: Roadmap, table: MeasureTable) -> list[list[str]]:
    """One line for each step that was measured."""
    first, *others = table.quantities
    return [
        [
            step_name(row),
            _value(first, row.variant.label),
            _delta(first, row.variant.label),
            *(_value(quantity, row.variant.label) for quantity in others),
        ]
        for row in roadmap.rows
        if any(row.variant.label in quantity.steps for quantity in table.quantities)
    ]


def change_cells(roadmap: Roadmap, table: MeasureTable) -> list[list[str]]:
    """Change of every number: a line for each step, a column for each number."""
    lines = []
    for row in roadmap.rows:
        changes = [_delta(quantity, row.variant.label) for quantity in table.quantities]
        if any(changes):
            lines.append([step_name(row), *changes])
    return lines


def change_columns(table: MeasureTable) -> list[Column]:
    """Headings of `change_cells`."""
    heads = [Column(f"Δ {one.name}", is_number=True) for one in table.quantities]
    return [Column("step"), *heads]


def remarks(table: MeasureTable) -> list[str]:
    """Say what is missing of a table, and why."""
    of_cause: dict[str, list[str]] = {}
    for trial, cause in table.causes.items():
        of_cause.setdefault(cause, []).append(trial)
    found = [
        f"failed for {names_text(trials)}: {in_a_list(cause)}" for cause, trials in of_cause.items()
    ]
    if table.missing_along:
        found.append(
            f"{table.missing_along} networks were not measured during training, because their "
            "trials ran before `every` was set and kept no weights"
        )
    if table.missing:
        found.append(
            f"{table.missing} networks are not measured yet; `orchestrator measure` does that"
        )
    return found


def legend(table: MeasureTable) -> str:
    """Say what each number is, where its author says so."""
    return "; ".join(
        f"{one.name}: {one.text}{f' ({one.unit})' if one.unit else ''}"
        for one in table.quantities
        if one.text
    )


def _column(quantity: MeasuredQuantity, rank: int) -> Column:
    about = ", ".join(filter(None, (quantity.unit, _BETTER.get(quantity.mode or "", ""))))
    heading = f"{quantity.name} ({about})" if about else quantity.name
    return Column(heading, is_number=True, rank=rank, name=quantity.name)


def _value(quantity: MeasuredQuantity, label: str) -> str:
    step = quantity.steps.get(label)
    if step is None or step.row.summary is None:
        return ""
    summary = step.row.summary
    text = number_text(summary.mean, step.row.decimals)
    if summary.std is not None:
        text += f" ± {number_text(summary.std, step.row.decimals)}"
    return text + _how_many(step)


def _how_many(step: MeasuredStep) -> str:
    """The number of networks that were measured, where that is not all of the step's."""
    measured, trained = len(step.row.values), len(step.row.outcome_of)
    return f" ({measured} of {trained})" if measured < trained else ""


def _delta(quantity: MeasuredQuantity, label: str) -> str:
    step = quantity.steps.get(label)
    delta = step.delta if step else None
    return delta_text(delta).rstrip("*") if delta else ""
