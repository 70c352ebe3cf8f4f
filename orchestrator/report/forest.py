"""Effects with their intervals around zero as data: the steps of the road, and other designs."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.analysis.design_effects.lines import place_text
from orchestrator.analysis.effects import StepEffect, better_or_worse
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.sections import EffectLine
from orchestrator.report.scale import Scale, scale_around
from orchestrator.report.words import decided_text, delta_text, number_text, p_text, step_name
from orchestrator.trial import variant_label


@dataclass(frozen=True)
class ForestLine:
    """A labelled effect."""

    label: str
    note: str
    tone: str
    """`better`, `worse` or `open`; empty without an effect."""
    mean: float | None
    interval: tuple[float, float] | None
    """The part of the interval that is on the axis; None where there is none."""
    text: str
    """The difference and its interval; empty without an effect."""
    claim: str
    """`p 0.012, not decided`."""
    begins: bool = False
    """True of the first line of a step below another, where steps have lines of several regimes."""


@dataclass(frozen=True)
class Forest:
    """Effects on one axis."""

    title: str
    axis: Scale
    lines: Sequence[ForestLine]


@dataclass(frozen=True)
class StripPoint:
    """The effect of a step at one place."""

    value: float
    title: str
    is_on_road: bool


@dataclass(frozen=True)
class Strip:
    """A step with its effect at every place."""

    label: str
    points: Sequence[StripPoint]
    ends: tuple[float, float] | None
    text: str


@dataclass(frozen=True)
class Strips:
    """Steps on one axis."""

    axis: Scale
    lines: Sequence[Strip]


@dataclass(frozen=True)
class _Labelled:
    label: str
    delta: StepEffect | None
    note: str = ""
    is_collapse: bool = False
    """True if it collapsed: its effect would leave no room for the others."""
    begins: bool = False


def forest_of_road(roadmap: Roadmap) -> Forest | None:
    """The effect of every step against the last healthy step before it; the regimes of a step stand
    below each other. None without any effect.
    """
    rows = [row for row in roadmap.rows if row.delta_previous and row.delta_previous.effect]
    order: dict[str, int] = {}
    for place, row in enumerate(rows):
        order.setdefault(row.variant.name, place)
    rows.sort(key=lambda row: order[row.variant.name])  # stable: regimes keep their order
    names = [row.variant.name for row in rows]
    has_regimes = len({*names}) < len(names)
    lines = [
        _Labelled(
            f"{step_name(row)} vs {row.delta_previous.versus}",
            row.delta_previous,
            is_collapse=row.is_collapsed,
            begins=has_regimes and row.variant.name != before,
        )
        for before, row in zip(names[:1] + names, rows, strict=False)
        if row.delta_previous
    ]
    return _forest("Effect of each step", lines, roadmap.mode) if lines else None


def forest_of_lines(title: str, lines: Sequence[EffectLine], mode: str) -> Forest:
    """The forest of another design's effects."""
    labelled = [
        _Labelled(variant_label(line.regime, line.label), line.delta, line.note) for line in lines
    ]
    return _forest(title, labelled, mode)


def place_strips(lines: Sequence[EffectLine]) -> Strips:
    """A line for each step with its effect at every place that it has in some order: whether the
    place matters, at a glance.
    """
    of_step: dict[str, list[EffectLine]] = {}
    for line in lines:
        [step] = line.steps
        of_step.setdefault(variant_label(line.regime, step), []).append(line)
    means = [line.delta.effect.mean for line in lines if line.delta and line.delta.effect]
    strips = [_strip(label, places) for label, places in of_step.items()]
    return Strips(scale_around([0.0, *means]), strips)


def _strip(label: str, places: Sequence[EffectLine]) -> Strip:
    found = [
        (place.delta, place.delta.effect, place)
        for place in places
        if place.delta and place.delta.effect
    ]
    if not found:
        return Strip(label, [], None, "–")
    means = [effect.mean for _, effect, _ in found]
    ends = (min(means), max(means))
    texts = (number_text(end, found[0][0].decimals, "+") for end in ends)
    points = [
        StripPoint(effect.mean, _place_title(delta, line), _is_on_road(line))
        for delta, effect, line in sorted(found, key=lambda item: _is_on_road(item[2]))
    ]
    return Strip(label, points, ends, " to ".join(dict.fromkeys(texts)))


def _place_title(delta: StepEffect, line: EffectLine) -> str:
    where = place_text(line.place) if line.place else ""
    return f"{where}: {delta_text(delta)} {line.note}".strip()


def _is_on_road(line: EffectLine) -> bool:
    return line.place is not None and line.place.order == 0


def _forest(title: str, lines: Sequence[_Labelled], mode: str) -> Forest:
    axis = _axis(lines)
    return Forest(title, axis, [_line(line, mode, axis) for line in lines])


def _visible(ci95: tuple[float, float] | None, axis: Scale) -> tuple[float, float] | None:
    """The interval, if any part of it is on the axis."""
    if ci95 is None or ci95[0] > axis.high or ci95[1] < axis.low:
        return None
    return ci95


def _axis(lines: Sequence[_Labelled]) -> Scale:
    """Make an axis wide enough for all effects, but not for intervals many times as wide as any."""
    shown = [
        line.delta.effect
        for line in lines
        if line.delta and line.delta.effect and not line.is_collapse
    ]
    means = [effect.mean for effect in shown]
    widest = 2.5 * max(map(abs, means), default=1.0) or 1.0
    ends = [end for effect in shown if effect.ci95 for end in effect.ci95 if abs(end) <= widest]
    return scale_around([0.0, *means, *ends])


def _line(line: _Labelled, mode: str, axis: Scale) -> ForestLine:
    delta = line.delta
    if delta is None:
        return ForestLine(line.label, line.note, "", None, None, "", "")
    p = p_text(delta) and f"p {p_text(delta)}"
    still_open = decided_text(delta).removeprefix("yes").replace("no", "not decided", 1)
    if not p and not delta.to_come:
        still_open = "described, not tested"
    return ForestLine(
        label=line.label,
        note="; ".join(filter(None, (line.note, delta.caveat))),
        tone=_tone(delta, mode),
        mean=delta.mean,
        interval=_visible(delta.ci95, axis),
        text=delta_text(delta).rstrip("*"),
        claim=", ".join(filter(None, (p, still_open))),
        begins=line.begins,
    )


def _tone(delta: StepEffect, mode: str) -> str:
    if not delta.is_decided or delta.effect is None:
        return "open"
    return better_or_worse(delta.effect.mean, mode)
