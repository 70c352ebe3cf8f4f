"""The tables of the designs beside the road, as words that every format shares."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.analysis.regimes import RegimeDifference
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.sections import INTERACTION, MAIN, PLACE, EffectLine, Section
from orchestrator.report.words import Column, delta_text, number_text, p_text
from orchestrator.trial import variant_label


@dataclass(frozen=True)
class TableRow:
    """One line of a table."""

    cells: Sequence[str]
    kind: str = ""
    """`side`, `sick`, both or neither."""


@dataclass(frozen=True)
class TableData:
    """A table that can be sorted and filtered."""

    title: str
    heads: Sequence[Column]
    rows: Sequence[TableRow]
    caption: str = ""


HEADINGS = (
    Column("effect of"),
    Column("Δ [95 % CI]", is_number=True, rank=1),
    Column("p (Holm)", is_number=True, rank=2),
    Column("note", wraps=True),
)
REGIMES = "Effects by regime"
REGIMES_NOTE = "How much more a step does in a regime than in the first one: described, not tested."
KINDS = {MAIN: "Effects", INTERACTION: "Interactions", PLACE: "At each place"}


def kinds_of(section: Section) -> list[tuple[str, list[EffectLine]]]:
    """The section's lines by kind, headings as in `KINDS`; kinds without lines are left out."""
    groups = [
        (title, [line for line in section.lines if line.kind == kind])
        for kind, title in KINDS.items()
    ]
    return [(title, lines) for title, lines in groups if lines]


def line_cells(line: EffectLine) -> list[str]:
    """One line of a section's table."""
    label = variant_label(line.regime, line.label)
    notes = [line.note, line.delta.caveat if line.delta else ""]
    return [
        label,
        _difference(line),
        p_text(line.delta),
        "; ".join(filter(None, notes)),
    ]


def _difference(line: EffectLine) -> str:
    """The difference with what it is compared with, unless it is an average."""
    is_pair = line.delta is not None and bool(line.delta.sides)
    return delta_text(line.delta, "" if is_pair else None).rstrip("*")


def regime_columns(roadmap: Roadmap) -> list[Column]:
    """Headings of the differences between regimes."""
    first = roadmap.regimes[0].versus_regime if roadmap.regimes else ""
    return [
        Column("step"),
        Column("regime"),
        Column(f"Δ there − Δ in {first} [95 % CI]", is_number=True, name="Δ − Δ"),
    ]


def regime_cells(difference: RegimeDifference) -> list[str]:
    """One line of the table of regimes."""
    effect = difference.effect
    mean, *ends = (
        number_text(value, difference.decimals, "+")
        for value in (effect.mean, *(effect.ci95 or ()))
    )
    interval = f" [{', '.join(ends)}]" if ends else ""
    return [difference.step, difference.regime, mean + interval]
