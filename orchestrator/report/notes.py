"""Notes that a reader needs to read the report's tables right, one plain sentence for each."""

from collections.abc import Iterator, Sequence
from statistics import median

from orchestrator.analysis.effects import StepEffect
from orchestrator.analysis.images import images_sentence
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.rows import StepRow
from orchestrator.analysis.snapshot import ABSENT
from orchestrator.analysis.versions import version_sentences
from orchestrator.errors import counted
from orchestrator.metrics import AVERAGED, FOR_REPORT, METRICS
from orchestrator.planning.budget import SPENT
from orchestrator.report.declaration import declaration_text
from orchestrator.report.words import number_text, search_text, seeds_text, step_name, when_text
from orchestrator.stats.inference import LEVEL
from orchestrator.stats.power import SEEDS_LIMIT
from orchestrator.stats.registry import TESTS

_IN_OLDER_VERSIONS = (
    " (older versions did not). To get it, delete their folders or name another "
    "--store, and run again"
)


def caveats(roadmap: Roadmap) -> list[str]:
    """Say what stands behind the stars in the column of differences."""
    return [
        f"* {step_name(row)}: {row.delta_previous.caveat}"
        for row in roadmap.rows
        if row.delta_previous and row.delta_previous.caveat
    ]


def notes(roadmap: Roadmap) -> Sequence[str]:
    """All that the tables do not say themselves."""
    references = [row.variant.reference for row in roadmap.rows if row.variant.reference]
    sources = {reference["source"] for reference in references if reference["source"]}
    return [
        *_of_author(roadmap),
        _table(roadmap),
        *_differences(roadmap),
        *_tests(roadmap),
        *_looks(roadmap),
        *_missing(roadmap),
        *_matters(roadmap),
        *_power(roadmap),
        *_pairing(roadmap),
        *_limits(roadmap),
        *_metrics(roadmap),
        *_searches(roadmap),
        *_searches_to_come(roadmap),
        *filter(None, [declaration_text(roadmap.declaration)]),
        *_adopted(roadmap),
        *(f"reference: {source}" for source in sorted(sources)),
    ]


def family_text(roadmap: Roadmap) -> str:
    """`corrected (Holm) over 23 comparisons: all tables of this report`."""
    return f"corrected (Holm) over {roadmap.family.text}"


def deltas_of(roadmap: Roadmap) -> list[tuple[StepRow, StepEffect]]:
    """The road's tested comparisons, or without a road the cells'."""
    return [
        (row, row.delta_previous)
        for row in roadmap.rows
        if row.delta_previous and row.delta_previous.verdict
    ]


def _of_author(roadmap: Roadmap) -> Iterator[str]:
    """Repeat what the spec says of itself and of its steps."""
    if roadmap.description:
        yield " ".join(roadmap.description.split())
    for row in roadmap.rows:
        if row.variant.note:
            yield f"{step_name(row)}: {' '.join(row.variant.note.split())}"


def _table(roadmap: Roadmap) -> str:
    is_flattered = roadmap.epoch == "best" and not roadmap.metric.startswith(FOR_REPORT)
    when = when_text(roadmap) + (" (biased upwards)" if is_flattered else "")
    return (
        f"{roadmap.metric} {when}, mean ± standard deviation over {seeds_text(roadmap)}; "
        "train s is summed over them."
    )


def _differences(roadmap: Roadmap) -> Iterator[str]:
    between = TESTS[roadmap.test].between
    what = "difference of the two means" if between else "seed-paired difference"
    compared = [row for row in roadmap.rows if row.delta_previous]
    if not compared:
        return
    origin = "the step named after vs"
    if any(row.versus == row.before for row in compared):
        origin = f"the previous step of the road, or from {origin}"
    sentences = [f"Δ is the {what} from {origin}."]
    if any(row.variant.side and not row.variant.on for row in roadmap.rows):
        sentences.append(
            "A side step (└) is compared with whatever its main step is compared with."
        )
    yield " ".join([*sentences, "Intervals are not corrected for multiple comparisons."])


def _tests(roadmap: Roadmap) -> Iterator[str]:
    family = roadmap.family
    if family.size == 0:
        yield "Nothing is tested here: all numbers are descriptive."
        return
    sentence = (
        f"p: {TESTS[roadmap.test].title}, {family_text(roadmap)}. Below {LEVEL:g} a "
        "difference is decided"
    )
    promise = "if no step had any effect, at most about 1 report in 20 would decide one"
    yield f"{sentence}." if family.looks_before else f"{sentence}: {promise}."
    if family.scope != "all tables":
        yield f"Comparisons of designs other than {family.scope} are described, not tested."
    if TESTS[roadmap.test].between and any(section.lines for section in roadmap.sections):
        yield (
            "Averages over the cells of a design have one value for each seed and are tested as "
            "such, not by Welch's test."
        )


def _looks(roadmap: Roadmap) -> Iterator[str]:
    if roadmap.looks:
        looks = ", ".join(map(str, roadmap.looks))
        yield (
            f"Seeds were added until each step was settled, with looks at {looks} seeds. To pay "
            "for the looks, a step's p-value is the smallest of its looks times their planned "
            "number, and its interval is wider."
        )
    count = roadmap.family.looks_before
    if count and roadmap.family.size:
        highest = 100 * LEVEL * (2 - 0.5**count)
        yield (
            f"The seeds were changed after {counted(count, 'look')} at these results, so p-values "
            f"are multiplied by {2**count}. The first look used the full level: if no step had "
            f"any effect, up to {highest:.3g} % of sweeps would still "
            f"report one."
        )


def _missing(roadmap: Roadmap) -> Iterator[str]:
    deltas = [row.delta_previous for row in roadmap.rows if row.delta_previous]
    if any(delta.rates for delta in deltas):
        yield (
            "Failed, diverged, collapsed or pruned trials are not missing at random. For a "
            "comparison with such trials, p is from Fisher's exact test of how many finished "
            "on each side; the difference between those "
            "that finished is shown, not tested."
        )
    cells = [row for section in roadmap.sections for row in section.rows]
    if any(row.is_waiting for row in (*roadmap.rows, *cells)):
        counted_in = (
            " Their comparisons have no p yet; in the correction they count as if they had found "
            "nothing."
        )
        yield "Some trials are still missing." + counted_in * bool(roadmap.family.size)
    for warning in roadmap.warnings:
        if warning.code in (SPENT, ABSENT):
            yield warning.message[:1].upper() + warning.message[1:] + "."


def _matters(roadmap: Roadmap) -> Iterator[str]:
    if roadmap.matters is None:
        return
    tests = TESTS[roadmap.test].kind
    yield (
        f"The spec says that differences below {roadmap.matters:g} do not matter. better, worse: "
        "a difference of any size is decided. equivalent: the difference is smaller than "
        f"{roadmap.matters:g} (two one-sided {tests} at {LEVEL:g}, with a "
        "Holm correction of their own over the same family). open: neither is shown. P(better): "
        "how often a seed of the step beats a seed of the other."
    )
    still_open = [_prospect(row, delta) for row, delta in deltas_of(roadmap)]
    if any(still_open):
        yield (
            f"Power for a true difference of {roadmap.matters:g}: "
            f"{'; '.join(filter(None, still_open))}."
        )


def _prospect(row: StepRow, delta: StepEffect) -> str:
    """`rope 34 % (20 to 51 %), 80 % needs 12 to 40 seeds`, of a step that is open."""
    if delta.verdict != "open" or delta.prospect is None:
        return ""
    power, (low, high) = delta.prospect.power, delta.prospect.seeds
    likely, *ends = (f"{100 * share:.0f}" for share in (power.value, *power.range))
    seeds = f"{low} to {high}" if high else f"{low} to more than {SEEDS_LIMIT}"
    if low is None:
        seeds = f"more than {SEEDS_LIMIT}"
    elif low == high:
        seeds = f"{low}"
    return f"{row.variant.label} {likely} % ({' to '.join(ends)} %), 80 % needs {seeds} seeds"


def _power(roadmap: Roadmap) -> Iterator[str]:
    """Say how much each step could have shown: the steadiest and the most spread stand for all."""
    found = [
        (delta.detectable.value, row, delta)
        for row, delta in deltas_of(roadmap)
        if delta.detectable and not row.is_collapsed
    ]
    if not found:
        return
    ends = [
        min(found, key=lambda one: one[0]),
        max(found, key=lambda one: one[0]),
    ]
    texts = []
    for value, row, delta in ends[: 1 if len(found) == 1 else 2]:
        assert delta.detectable is not None
        low, high = (number_text(end, delta.decimals) for end in delta.detectable.range)
        texts.append(
            f"{number_text(value, delta.decimals)} at {row.variant.label} ({low} to {high})"
        )
    yield (
        f"With {seeds_text(roadmap)}, this sweep has 80 % power to detect a difference of "
        f"{', of '.join(texts)}. The range in brackets is the uncertainty of a spread "
        "estimated from so few seeds."
        + " The JSON has the value of every step (detectable)."
        * (len(texts) > 1)
    )


def _pairing(roadmap: Roadmap) -> Iterator[str]:
    effects = [delta.effect for _, delta in deltas_of(roadmap) if delta.effect]
    known = [effect for effect in effects if effect.correlation is not None]
    if not known:
        return
    correlation = median(effect.correlation for effect in known if effect.correlation is not None)
    lost = sum(effect.correlation is not None and effect.correlation < 0 for effect in known)
    yield (
        "Pairing: the median correlation over seeds between compared steps is "
        f"{correlation:+.2f}. In {lost} of {counted(len(known), 'comparison')} the seed-paired "
        "differences vary more than unpaired ones would."
    )


def _limits(roadmap: Roadmap) -> Iterator[str]:
    """Say what is held fixed, and what so few seeds cannot show."""
    is_searched_once = any(search.schema.repeats == 1 for search in roadmap.searches)
    searched = ", the settings that one search found" if is_searched_once else ""
    yield (
        f"Held fixed: these data, this split, this recipe{searched}. Intervals and p cover the "
        "variation between seeds only."
    )
    yield from version_sentences(roadmap.rows)
    if sentence := images_sentence(roadmap.rows, roadmap.image_chances, len(roadmap.looks)):
        yield sentence
    counts = [len(row.ended) for row in roadmap.rows if row.ended]
    if counts:
        fewest = min(counts)
        share = 100 * (1 - 0.05 ** (1 / fewest))
        yield (
            f"{counted(fewest, 'seed')}: a behaviour that occurs in fewer than {share:.0f} % of "
            "seeds may be absent from these (95 %), and then no number here reflects it."
        )


def _metrics(roadmap: Roadmap) -> Iterator[str]:
    """Say what goes by which metric, and what does not."""
    if roadmap.metric != roadmap.own_metric:
        yield (
            f"The sweep's own metric is {roadmap.own_metric}, but this report uses another one. "
            "Looking at several metrics and picking one finds effects that are not there."
        )
    elif roadmap.metric != roadmap.chosen_by:
        yield (
            f"Searches, best epochs and added seeds were chosen by {roadmap.chosen_by}; no choice "
            f"used the images of {roadmap.metric}."
        )
    if roadmap.also:
        yield (
            f"p and decisions concern {roadmap.metric} only. {', '.join(roadmap.also)}: "
            "described, not tested, with uncorrected intervals."
        )
    for metric in (roadmap.metric, *roadmap.also):
        rows = [row if metric == roadmap.metric else row.also[metric] for row in roadmap.rows]
        if count := sum(row.unrecorded for row in rows):
            what = f"{metric} is missing in {counted(count, 'trial')}"
            is_ours = metric in METRICS and not metric.startswith(AVERAGED)
            yield f"{what}, which did not record it{_IN_OLDER_VERSIONS if is_ours else ''}."
        if metric in METRICS and METRICS[metric].is_of_machine:
            yield f"{metric} depends on the machine and on what else was running there."


def _searches(roadmap: Roadmap) -> Iterator[str]:
    """Say what was found, and whose luck is in the figures."""
    repeats = max((search.schema.repeats for search in roadmap.searches), default=0)
    if repeats == 1:
        yield (
            "Settings were searched once, so results are conditional on that search. A difference "
            "between steps whose settings come from different searches is shown but not "
            "tested, because seeds cannot show how much a search varies."
        )
    elif repeats:
        yield (
            f"Settings were searched {repeats} times, and each seed is trained with the settings "
            "of one of the searches, in turn. A difference between steps whose settings come "
            "from different searches is the mean "
            f"over {repeats} searches, and its interval covers the variation between searches."
        )
    yield from (search_text(search, roadmap.chosen_by) for search in roadmap.searches)


def _adopted(roadmap: Roadmap) -> Iterator[str]:
    """Results that other code gave."""
    by_difference: dict[str, list[str]] = {}
    for trial, texts in roadmap.adopted.items():
        by_difference.setdefault("; ".join(texts), []).append(trial)
    for difference, trials in by_difference.items():
        yield (
            f"Adopted from other code ({difference}) by request: "
            f"{counted(len(trials), 'result')}, {', '.join(trials)}."
        )


def _searches_to_come(roadmap: Roadmap) -> Iterator[str]:
    if not roadmap.is_whole:
        yield "Steps without results wait for a search that has yet to find their settings."
