"""The answer that a report begins with: from where to where, what was decided, what is open, what
it cost.

Each sentence is a claim and says no more than the tables below it. The road's whole effect is
described with its interval and not called decided: it is no member of the family that is tested.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.analysis.effects import StepEffect
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.rows import StepRow
from orchestrator.analysis.sections import PLACE
from orchestrator.errors import counted
from orchestrator.outcomes import Outcome
from orchestrator.report.words import direction_text, missing_text, number_text
from orchestrator.text import duration_text, first_of, tally
from orchestrator.trial import variant_label

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
    """The whole road's effect, or where a design begins: a sentence for each regime."""
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
        where = ", ".join(filter(None, (metric, regime)))
        if regime:
            where += ","
        yield f"{where} {_of_regime(rows)}"
        metric = ""


def _of_regime(rows: Sequence[StepRow]) -> str:
    """Say from where to where; of a design without a way through all steps where it begins."""
    steps = [row for row in rows if _is_step(row)] or _with_all_steps(rows)
    if steps:
        return _road(rows[0], steps)
    return f"at {rows[0].variant.name}: {_mean(rows[0])}{_of_seeds(rows[0])}."


def _is_step(row: StepRow) -> bool:
    variant = row.variant
    return (
        variant.design == "roadmap"
        and not variant.side
        and not variant.on
        and bool(variant.follows)
    )


def _with_all_steps(rows: Sequence[StepRow]) -> list[StepRow]:
    """The cell of a design that has every step there is; none where no cell has several."""
    every = {step for row in rows for step in row.variant.cell.steps}
    found = [row for row in rows if {*row.variant.cell.steps} == every]
    return found[:1] if len(every) > 1 else []


def _road(baseline: StepRow, steps: Sequence[StepRow]) -> str:
    """Say what the whole road did, from the baseline to the last step, or as far as it is known."""
    end = steps[-1]
    names = f"from {baseline.variant.name} to {end.variant.name}"
    without = [row for row in (baseline, end) if row.summary is None]
    if not without:
        return f"{names}: {_change(baseline, end)}."
    stands = " and ".join(f"{row.variant.name} ({_state(row)})" for row in without)
    text = f"{names}: unknown, because there is no value for {stands}"
    known = [row for row in steps if row.summary]
    if baseline.summary and known:
        text += f"; as far as {known[-1].variant.name}: {_change(baseline, known[-1])}"
    return f"{text}."


def _change(baseline: StepRow, end: StepRow) -> str:
    """`83.87 → 92.89, +9.02 (95 % CI +2.97 to +15.07)`."""
    values = " → ".join(f"{_mean(row)}{_of_seeds(row)}" for row in (baseline, end))
    return f"{values}{_difference(end.delta_baseline, _of_pairs(baseline, end))}"


def _of_pairs(baseline: StepRow, end: StepRow) -> str:
    """A word where the paired difference is not that of the two means beside it."""
    shared = len(baseline.compared_values.keys() & end.compared_values.keys())
    most = max(len(row.compared_values) for row in (baseline, end))
    effect = end.delta_baseline and end.delta_baseline.effect
    if not effect or effect.test.between or effect.pairs != shared or shared == most:
        return ""
    return f" over the {counted(shared, 'seed')} that both have"


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


def _difference(delta: StepEffect | None, of_pairs: str) -> str:
    if delta is None or delta.effect is None:
        return ""
    effect = delta.effect
    mean = number_text(effect.mean, delta.decimals, "+")
    if effect.ci95 is None:
        return f", {mean}{of_pairs}, no interval"
    low, high = (number_text(end, delta.decimals, "+") for end in effect.ci95)
    return f", {mean}{of_pairs} (95 % CI {low} to {high})"


def trials_of(roadmap: Roadmap) -> list[tuple[StepRow, int]]:
    """Row and seed of each trial of the report. One that stands in several cells is one, in a cell
    that knows how it ended.
    """
    found: dict[str, tuple[StepRow, int]] = {}
    for row in all_rows(roadmap):
        for seed in row.outcome_of:
            trial = row.fingerprints.get(seed, f"{row.variant.label} {seed}")
            if trial not in found or seed in row.ended:
                found[trial] = (row, seed)
    return list(found.values())


def _progress(roadmap: Roadmap) -> Iterator[tuple[str, str]]:
    trials = trials_of(roadmap)
    wanted = counted(len(trials), "trial")
    ended = [(row, seed) for row, seed in trials if seed in row.ended]
    if len(ended) < len(trials):
        yield "So far", f"{len(ended)} of {wanted} ended, so this may change"
    if waiting := [search.title for search in roadmap.searches if search.chosen is None]:
        yield "Still searching", first_of(waiting, _MOST_NAMED)
    bad = Counter(row.outcome_of[seed] for row, seed in ended if _is_unexpected(row, seed))
    if bad:
        kinds = tally(dict(sorted(bad.items())))
        yield "Unexpected outcome", f"{bad.total()} of {wanted}: {kinds}"


def _is_unexpected(row: StepRow, seed: int) -> bool:
    expected = Outcome.COLLAPSED if row.variant.expects_collapse else Outcome.FINISHED
    return row.outcome_of[seed] != expected


def _verdicts(roadmap: Roadmap) -> Iterator[tuple[str, str]]:
    """Headings and names of what is tested: the road's steps, or without a road the designs'."""
    on_road, in_designs = _compared(roadmap)
    of_road, of_designs = _tested(on_road), _tested(in_designs)
    tested = of_road or of_designs
    if not tested:
        yield "Decided", _why_nothing_is_tested(roadmap)
    elif all(delta.verdict == "open" for _, delta in tested):
        yield "Decided", "nothing"
    for verdict, heading in _VERDICTS.items():
        found = [(name, delta) for name, delta in tested if delta.verdict == verdict]
        if found:
            yield heading, _listed(found)
    described = [(name, delta) for name, delta in on_road if _is_described(delta)]
    if described:
        yield "Not tested", _listed(described)
    if of_road and of_designs:
        yield "Other designs", _decided_of(of_designs)


def _why_nothing_is_tested(roadmap: Roadmap) -> str:
    is_to_come = roadmap.family.size and any(row.is_waiting for row in roadmap.rows)
    yet = " yet" if is_to_come else ""
    return f"nothing, because nothing could be tested{yet}"


def _decided_of(tested: Sequence[Named]) -> str:
    """`2 of 9 tested effects decided: rope +4.9, norm -2.1`."""
    decided = [(name, delta) for name, delta in tested if _is_difference(delta)]
    count = f"{len(decided)} of {counted(len(tested), 'tested effect')} decided"
    return f"{count}: {_listed(decided)}" if decided else count


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
        return f"{name} ({delta.rates.text})"
    if delta.effect is None:
        return name
    return f"{name} {number_text(delta.effect.mean, delta.decimals, '+')}"


def _listed(found: Sequence[Named]) -> str:
    """The largest changes by name, and how many others there are."""
    names = [_named(name, delta) for name, delta in sorted(found, key=_largest_first)]
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
