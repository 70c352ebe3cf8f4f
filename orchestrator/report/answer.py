"""The answer that a report begins with: from where to where, what was decided, what is open, what
it cost.

Each sentence is a claim and says no more than the tables below it. The road's whole effect is
described with its interval and not called decided: it is no member of the family that is tested.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.analysis.effects import StepEffect
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.rows import StepRow
from orchestrator.analysis.sections import PLACE
from orchestrator.errors import counted
from orchestrator.report.words import direction_text, missing_text, number_text
from orchestrator.text import duration_text, first_of
from orchestrator.trial import Outcome, variant_label

_MOST_NAMED = 6
"""Steps that are named; of more the largest effects, and how many others there are."""
_VERDICTS = {
    "better": "Better",
    "worse": "Worse",
    "equivalent": "Equivalent",
    "open": "Not decided",
}

Named = tuple[str, StepEffect]


@dataclass(frozen=True)
class Answer:
    """Findings of a sweep, as sentences under short headings."""

    roads: Sequence[str]
    """The whole road's effect, a sentence for each regime."""
    findings: Sequence[tuple[str, str]]
    """Headings (`Better`, `Not decided`, `Cost`) and what belongs to them."""

    @property
    def text(self) -> str:
        """All of it in one paragraph."""
        return " ".join([*self.roads, *(f"{head}: {what}." for head, what in self.findings)])


def answer_of(roadmap: Roadmap) -> Answer:
    """The answer as the results stand now, for every design and however much of it is done."""
    findings = [*_progress(roadmap), *_verdicts(roadmap), ("Cost", _cost(roadmap))]
    return Answer(list(_roads(roadmap)), findings)


def all_rows(roadmap: Roadmap) -> list[StepRow]:
    """The rows of the road and of the other designs, each once."""
    rows = [*roadmap.rows, *(row for section in roadmap.sections for row in section.rows)]
    return list({row.variant.label: row for row in rows}.values())


def _roads(roadmap: Roadmap) -> Iterator[str]:
    """A sentence for each regime; the first of them names the metric."""
    metric = f"{roadmap.metric} ({direction_text(roadmap.mode)})"
    for regime in dict.fromkeys(row.variant.regime for row in roadmap.rows):
        rows = [row for row in roadmap.rows if row.variant.regime == regime]
        steps = [row for row in rows if _is_step(row)]
        if steps:
            where = ", ".join(filter(None, (metric, regime)))
            if regime:
                where += ","
            yield f"{where} {_road(rows[0], steps[-1])}"
            metric = ""


def _is_step(row: StepRow) -> bool:
    variant = row.variant
    return (
        variant.design == "roadmap"
        and not variant.side
        and not variant.on
        and bool(variant.follows)
    )


def _road(baseline: StepRow, end: StepRow) -> str:
    """Say what the whole road did, from the baseline to the last step."""
    names = f"from {baseline.variant.name} to {end.variant.name}"
    without = [row for row in (baseline, end) if row.summary is None]
    if without:
        stands = " and ".join(f"{row.variant.name} ({_state(row)})" for row in without)
        return f"{names}: unknown, because there is no value for {stands}."
    values = " → ".join(f"{_mean(row)}{_of_seeds(row)}" for row in (baseline, end))
    return f"{names}: {values}{_difference(end.delta_baseline)}."


def _state(row: StepRow) -> str:
    return missing_text(row) or "no result yet"


def _mean(row: StepRow) -> str:
    return number_text(row.summary.mean, row.decimals) if row.summary else "–"


def _of_seeds(row: StepRow) -> str:
    """A word where the mean is not that of all seeds, trained as they should."""
    if row.is_collapsed:
        return " (collapsed)"
    missing = missing_text(row)
    return (
        f" ({len(row.compared_values)} of {len(row.outcome_of)} seeds: {missing})"
        if missing
        else ""
    )


def _difference(delta: StepEffect | None) -> str:
    if delta is None or delta.effect is None:
        return ""
    effect = delta.effect
    mean = number_text(effect.mean, delta.decimals, "+")
    if effect.ci95 is None:
        return f", {mean}, no interval"
    low, high = (number_text(end, delta.decimals, "+") for end in effect.ci95)
    return f", {mean} (95 % CI {low} to {high})"


def _progress(roadmap: Roadmap) -> Iterator[tuple[str, str]]:
    rows = all_rows(roadmap)
    wanted = sum(len(row.outcome_of) for row in rows)
    ended = sum(len(row.ended) for row in rows)
    if ended < wanted:
        yield "So far", f"{ended} of {counted(wanted, 'trial')} ended, so this may change"
    if waiting := [search.title for search in roadmap.searches if search.chosen is None]:
        yield "Still searching", _listed(waiting)
    bad = sum(_unexpected(row) for row in rows)
    if bad:
        yield "Unexpected outcome", f"{bad} of {counted(wanted, 'trial')}"


def _unexpected(row: StepRow) -> int:
    """Count the trials that ended otherwise than the spec expects."""
    expected = {Outcome.COLLAPSED} if row.variant.expects_collapse else {Outcome.FINISHED}
    return sum(row.outcome_of[seed] not in expected for seed in row.ended)


def _verdicts(roadmap: Roadmap) -> Iterator[tuple[str, str]]:
    """Headings and names of what is tested: the road's steps, or without a road the designs'."""
    on_road, in_designs = _compared(roadmap)
    of_road, of_designs = _tested(on_road), _tested(in_designs)
    tested = of_road or of_designs
    for verdict, heading in _VERDICTS.items():
        found = [(name, delta) for name, delta in tested if delta.verdict == verdict]
        found.sort(key=_largest_first)
        if found:
            yield heading, _listed([_named(name, delta) for name, delta in found])
    described = [(name, delta) for name, delta in on_road if _is_described(delta)]
    if described:
        yield "Described, not tested", _listed([_named(name, delta) for name, delta in described])
    if not tested:
        yield "Decided", "nothing, because nothing could be tested yet"
    elif all(delta.verdict == "open" for _, delta in tested):
        yield "Decided", "nothing"
    if of_road and of_designs:
        decided = sum(_is_difference(delta) for _, delta in of_designs)
        yield "Other designs", f"{decided} of {counted(len(of_designs), 'tested effect')} decided"


def _largest_first(named: Named) -> float:
    """Sort key: what has a mean comes before what has none, the largest change first."""
    return -abs(named[1].mean or 0.0)


def _is_described(delta: StepEffect) -> bool:
    """True if a change was measured to the end and is not tested."""
    return bool(delta.effect) and not delta.verdict and not delta.to_come


def _is_difference(delta: StepEffect) -> bool:
    return delta.verdict in ("better", "worse")


def _compared(roadmap: Roadmap) -> tuple[list[Named], list[Named]]:
    """The comparisons of the road's steps, and of the designs beside it."""
    is_road = any(_is_step(row) for row in roadmap.rows)
    rows = [
        (f"{row.variant.label} (collapsed)" if row.is_collapsed else row.variant.label, delta)
        for row in roadmap.rows
        if (delta := row.delta_previous)
    ]
    lines = [
        (variant_label(line.regime, line.label), line.delta)
        for section in roadmap.sections
        for line in section.lines
        if line.kind != PLACE
    ]
    of_road = rows if is_road or not lines else []
    return _known(of_road), _known(lines)


def _known(named: Sequence[tuple[str, StepEffect | None]]) -> list[Named]:
    return [(name, delta) for name, delta in named if delta is not None]


def _tested(named: Sequence[Named]) -> list[Named]:
    return [(name, delta) for name, delta in named if delta.verdict]


def _named(name: str, delta: StepEffect) -> str:
    """`rope +4.97`, or by its rates where not all trials trained as they should."""
    if delta.rates:
        return f"{name} ({delta.rates.text.replace('_', ' ')})"
    if delta.effect is None:
        return name
    return f"{name} {number_text(delta.effect.mean, delta.decimals, '+')}"


def _listed(names: Sequence[str]) -> str:
    return first_of(names, _MOST_NAMED)


def _cost(roadmap: Roadmap) -> str:
    trials = {path for row in all_rows(roadmap) for path in row.paths.values()}
    text = f"{counted(len(trials), 'trial')}, {duration_text(roadmap.total_seconds)} of training"
    if roadmap.total_gpu_seconds:
        text += f", {roadmap.total_gpu_seconds / 3600:.1f} GPU-hours"
    searched = sum(search.seconds for search in roadmap.searches)
    if searched:
        text += f", and {duration_text(searched)} in searches"
    return text
