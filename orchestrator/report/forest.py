"""Effects with their intervals around zero, in HTML: for the steps of the road and for the effects of the other designs."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from orchestrator.analysis.design_effects.lines import place_text
from orchestrator.analysis.effects import StepEffect
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.sections import EffectLine
from orchestrator.report.scale import Scale, scale_around
from orchestrator.report.words import decided_text, delta_text, number_text, p_text, step_name


@dataclass(frozen=True)
class ForestLine:
    """A labelled effect."""

    label: str
    delta: StepEffect | None
    note: str = ""
    off_scale: bool = False
    """A collapse: its effect would leave no room for the others."""


def lines_of_road(roadmap: Roadmap) -> list[ForestLine]:
    """The effect of every step against the last healthy step before it."""
    lines = []
    for row in roadmap.rows:
        if row.delta_previous and row.delta_previous.effect:
            label = f"{step_name(row)} vs {row.delta_previous.versus}"
            lines.append(ForestLine(label, row.delta_previous, "", row.is_collapsed))
    return lines


def lines_of_section(lines: Sequence[EffectLine]) -> list[ForestLine]:
    """The same of another design's effects."""
    return [
        ForestLine(
            f"{line.regime}/{line.label}" if line.regime else line.label, line.delta, line.note
        )
        for line in lines
    ]


def forest(lines: Sequence[ForestLine], mode: str) -> str:
    """A row for each effect: point, interval, and whether it is decided."""
    axis = _axis(lines)
    grid, head = _grid_and_head(axis)
    body = "\n".join(_row(line, axis, grid, mode) for line in lines)
    return f'<figure class="road forest">\n{head}\n{body}\n</figure>'


def place_strips(lines: Sequence[EffectLine]) -> str:
    """A row for each step with its effect at every place that it has in some order: whether the place matters, at a glance."""
    of_step: dict[str, list[EffectLine]] = {}
    for line in lines:
        [step] = line.steps
        of_step.setdefault(f"{line.regime}/{step}" if line.regime else step, []).append(line)
    means = [line.delta.effect.mean for line in lines if line.delta and line.delta.effect]
    axis = scale_around([0.0, *means])
    grid, head = _grid_and_head(axis)
    body = "\n".join(_strip(label, places, axis, grid) for label, places in of_step.items())
    caption = "A point for each place of the step in some order, filled for the road's; pointed at, it tells its place."
    return f'<figure class="road forest places">\n{head}\n{body}\n<figcaption>{caption}</figcaption></figure>'


def _strip(label: str, places: Sequence[EffectLine], axis: Scale, grid: str) -> str:
    found = [
        (place.delta, place.delta.effect, place)
        for place in places
        if place.delta and place.delta.effect
    ]
    means = [effect.mean for _, effect, _ in found]
    marks, numbers = "", "–"
    if means:
        left, right = axis.percent(min(means)), axis.percent(max(means))
        marks = f'<span class="span" style="left:{left:.2f}%;width:{right - left:.2f}%"></span>'
        numbers = " to ".join(
            dict.fromkeys(
                number_text(end, found[0][0].decimals, "+") for end in (min(means), max(means))
            )
        )
    for delta, effect, line in sorted(found, key=lambda item: _is_on_road(item[2])):
        kind = "point road-place" if _is_on_road(line) else "point"
        where = place_text(line.place) if line.place else ""
        title = escape(f"{where}: {delta_text(delta)} {line.note}".strip(), quote=True)
        marks += f'<span class="{kind}" title="{title}" style="left:{axis.percent(effect.mean):.2f}%"></span>'
    return (
        f'<div class="row"><div class="name">{escape(label)}</div><div class="track">{grid}{marks}</div>'
        f'<div class="numbers"><span class="value">{numbers}</span></div></div>'
    )


def _is_on_road(line: EffectLine) -> bool:
    return line.place is not None and line.place.order == 0


def _grid_and_head(axis: Scale) -> tuple[str, str]:
    """What stands behind every row, and the row of labels above them."""
    grid = "".join(
        f'<i class="grid" style="left:{axis.percent(tick):.2f}%"></i>' for tick in axis.ticks()
    )
    labels = "".join(
        f'<b style="left:{axis.percent(tick):.2f}%">{axis.label(tick)}</b>' for tick in axis.ticks()
    )
    head = f'<div class="row axis"><div></div><div class="track">{labels}</div><div></div></div>'
    return f'{grid}<i class="base" style="left:{axis.percent(0):.2f}%"></i>', head


def _axis(lines: Sequence[ForestLine]) -> Scale:
    """Wide enough for all effects, but not for intervals many times as wide as any effect."""
    shown = [
        line.delta.effect
        for line in lines
        if line.delta and line.delta.effect and not line.off_scale
    ]
    means = [effect.mean for effect in shown]
    widest = 2.5 * max(map(abs, means), default=1.0) or 1.0
    ends = [end for effect in shown if effect.ci95 for end in effect.ci95 if abs(end) <= widest]
    return scale_around([0.0, *means, *ends])


def _row(line: ForestLine, axis: Scale, grid: str, mode: str) -> str:
    delta = line.delta
    note = "; ".join(filter(None, (line.note, delta.caveat if delta else "")))
    small = f"<small>{escape(note)}</small>" if note else ""
    name = f'<div class="name">{escape(line.label)}{small}</div>'
    if delta is None:
        return f'<div class="row">{name}<div class="track">{grid}</div><div class="numbers">–</div></div>'
    kind = _tone(delta, mode)
    p = f"p {p_text(delta)}" if p_text(delta) else ""
    still_open = decided_text(delta).removeprefix("yes").replace("no", "not decided", 1)
    small = f"<small>{escape(', '.join(filter(None, (p, still_open))))}</small>"
    numbers = f'<div class="numbers"><span class="value">{escape(delta_text(delta).rstrip("*"))}</span>{small}</div>'
    return f'<div class="row">{name}<div class="track {kind}">{grid}{_marks(delta, axis)}</div>{numbers}</div>'


def _marks(delta: StepEffect, axis: Scale) -> str:
    effect, marks = delta.effect, ""
    if effect is None:
        return ""
    if effect.ci95 and effect.ci95[0] <= axis.high and effect.ci95[1] >= axis.low:
        left, right = (axis.percent(end) for end in effect.ci95)
        open_ends = " open-left" * (effect.ci95[0] < axis.low) + " open-right" * (
            effect.ci95[1] > axis.high
        )
        marks = f'<span class="interval{open_ends}" style="left:{left:.2f}%;width:{right - left:.2f}%"></span>'
    if axis.has(effect.mean):
        return marks + f'<span class="point" style="left:{axis.percent(effect.mean):.2f}%"></span>'
    side = "left:0" if effect.mean < axis.low else "right:0"
    return (
        marks
        + f'<em class="word" style="{side}">{"◀ off the axis" if effect.mean < axis.low else "off the axis ▶"}</em>'
    )


def _tone(delta: StepEffect, mode: str) -> str:
    if not delta.is_decided or delta.effect is None:
        return "open"
    return "better" if (delta.effect.mean > 0) == (mode == "max") else "worse"
