"""The tables of the designs beside the road, as words that every format shares."""

from orchestrator.analysis.sections import INTERACTION, MAIN, PLACE, EffectLine, Section
from orchestrator.report.words import Column, delta_text, p_text

HEADINGS = (
    Column("effect of"),
    Column("Δ [95 % CI]", is_number=True, rank=1),
    Column("p (Holm)", is_number=True, rank=2),
    Column("note", wraps=True),
)
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
    label = f"{line.regime}/{line.label}" if line.regime else line.label
    notes = [line.note, line.delta.caveat if line.delta else ""]
    return [
        label,
        delta_text(line.delta).rstrip("*"),
        p_text(line.delta),
        "; ".join(filter(None, notes)),
    ]
