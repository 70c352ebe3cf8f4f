"""The report as one HTML file that opens offline: the answer, figures, tables, curves, warnings,
and how to reproduce it.

Here is what the page says; `templates` holds how. Nothing in it asks the network for anything.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.sections import PLACE, Section
from orchestrator.outcomes import TRAINED
from orchestrator.planning.causes import grouped_causes
from orchestrator.report.answer import Answer, all_rows, answer_of, trials_of
from orchestrator.report.artifact_page import ArtifactsOfTrial, artifacts_of
from orchestrator.report.curves import CurvesOfMetric, LearningCurves
from orchestrator.report.figure import MEANINGS, SYMBOLS, RoadmapFigure, figures_of
from orchestrator.report.forest import (
    Forest,
    Strips,
    forest_of_lines,
    forest_of_road,
    place_strips,
)
from orchestrator.report.formats import Layout
from orchestrator.report.live import Band
from orchestrator.report.measure_page import MeasureData, measures_of
from orchestrator.report.measures import HEADING, NOTE
from orchestrator.report.notes import caveats, family_text, notes
from orchestrator.report.reproduction import origins_of
from orchestrator.report.tables import (
    REGIMES,
    REGIMES_NOTE,
    TableData,
    TableRow,
    kinds_of,
    regime_cells,
    regime_columns,
)
from orchestrator.report.tried import SearchDrawings, search_drawings
from orchestrator.report.words import (
    cells,
    columns,
    direction_text,
    seed_counts,
    seeds_text,
    when_text,
)
from orchestrator.spec.warnings import SpecWarning

if TYPE_CHECKING:
    from jinja2 import Environment

_DENSE_FROM = 40
"""Steps from which figures and tables scroll in a window of their own instead of making the page
long.
"""


@dataclass(frozen=True)
class EffectGroup:
    """Effects of one kind of a design."""

    title: str
    forest: Forest
    strips: Strips | None
    count: int


@dataclass(frozen=True)
class SectionData:
    """One design beside the road."""

    id: str
    title: str
    explanation: str
    groups: Sequence[EffectGroup]
    left_out: Sequence[str]


@dataclass(frozen=True)
class Page:
    """All that the page says, in its order."""

    title: str
    sweep: str
    lead: str
    answer: Answer
    facts: Sequence[tuple[str, str]]
    is_dense: bool
    figures: Sequence[RoadmapFigure]
    effects: Forest | None
    effects_lead: str
    steps: TableData
    notes: Sequence[str]
    sections: Sequence[SectionData]
    regimes: TableData | None
    measures: Sequence[MeasureData]
    measures_title: str
    measures_lead: str
    artifacts: Sequence[ArtifactsOfTrial]
    searches: SearchDrawings | None
    curves: Sequence[CurvesOfMetric]
    curve_data: str
    unit: str
    causes: Sequence[tuple[str, Sequence[str]]]
    warnings: Sequence[SpecWarning]
    skipped: Sequence[tuple[str, str]]
    origins: Sequence[Sequence[str]]
    files: Sequence[tuple[str, str]]
    spec_name: str

    @property
    def contents(self) -> list[tuple[str, str]]:
        """Anchors and titles of the sections that there are."""
        entries: list[tuple[str, str, object]] = [
            ("road", "Roadmap", True),
            ("effects", "Effects", self.effects),
            ("figures", "Table of results", True),
            *((section.id, section.title, True) for section in self.sections),
            ("regimes", "Regimes", self.regimes),
            ("measures", "Measures", self.measures),
            ("artifacts", "Files of the trials", self.artifacts),
            ("searches", "Searches", self.searches),
            ("curves", "Learning curves", self.curves),
            ("causes", "What went wrong", self.causes),
            ("warnings", "Warnings", self.warnings),
            ("skipped", "Excluded combinations", self.skipped),
            ("reproduce", "How to reproduce this", True),
        ]
        return [(anchor, title) for anchor, title, content in entries if content]


def to_html(roadmap: Roadmap, _layout: Layout) -> str:
    """Write the page as one file, in light and dark, on a phone as on a desk. Reads the trials'
    metrics for the learning curves.
    """
    return _environment().get_template("page.html").render(page=page_of(roadmap))


def to_live_html(roadmap: Roadmap, band: Band, mlflow: str) -> str:
    """The same file below a band that says how far the sweep is; its script asks the server that it
    came from for news. `mlflow` is the address of the sweep there, empty where it is not served.
    """
    page = _environment().get_template("page.html")
    return page.render(page=page_of(roadmap), live=band, mlflow=mlflow)


def band_html(band: Band, mlflow: str) -> str:
    """The band alone, which replaces the one before."""
    return _environment().get_template("live.html").render(live=band, mlflow=mlflow)


def plain_html(
    title: str,
    lines: Sequence[str],
    sweeps: Sequence[tuple[str, str]] = (),
    mlflow: str = "",
    *,
    renews: bool = False,
) -> str:
    """A page without a report: paragraphs, and names of sweeps with their addresses."""
    page = _environment().get_template("plain.html")
    return page.render(title=title, lines=lines, sweeps=sweeps, mlflow=mlflow, renews=renews)


def page_of(roadmap: Roadmap) -> Page:
    """Return the content of this roadmap's page."""
    curves = LearningCurves(roadmap)
    files = {"The spec": roadmap.spec_text, **roadmap.code}
    has_epochs = all(row.variant.config.unit == "epoch" for row in roadmap.rows)
    return Page(
        title=f"Roadmap of {roadmap.sweep}",
        sweep=roadmap.sweep,
        lead=_lead(roadmap),
        answer=answer_of(roadmap),
        facts=list(_facts(roadmap)),
        is_dense=len(roadmap.rows) > _DENSE_FROM,
        figures=figures_of(roadmap),
        effects=forest_of_road(roadmap),
        effects_lead="Differences with uncorrected 95 % intervals. Filled points are decided by "
        f"p-values {family_text(roadmap)}.",
        steps=_steps(roadmap),
        notes=[*caveats(roadmap), *notes(roadmap)],
        sections=[_section(roadmap, section) for section in roadmap.sections],
        regimes=_regimes(roadmap),
        measures=measures_of(roadmap),
        measures_title=HEADING,
        measures_lead=NOTE,
        artifacts=artifacts_of(roadmap),
        searches=search_drawings(roadmap),
        curves=curves.drawings(),
        curve_data=curves.data(),
        unit="epochs" if has_epochs else "iterations",
        causes=[(group.cause, group.trials) for group in grouped_causes(roadmap.causes)],
        warnings=list(roadmap.warnings),
        skipped=[(cell.label, cell.reason) for cell in roadmap.skipped],
        origins=[origin.lines() for origin in origins_of(all_rows(roadmap))],
        files=list(files.items()),
        spec_name=shlex.quote(roadmap.spec_name),
    )


@cache
def _environment() -> "Environment":
    """The templates, which escape whatever they are given."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("orchestrator.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["place"] = "{:.2f}%".format
    environment.filters["tenth"] = "{:.1f}".format
    environment.filters["caption"] = _caption
    folder = Path(__file__).parent / "templates"
    names = ("style.css", "script.js", "live.js")
    style, script, live_script = (Markup((folder / name).read_text("utf-8")) for name in names)
    environment.globals |= {
        "symbols": SYMBOLS,
        "meanings": MEANINGS,
        "style": style,
        "script": script,
        "live_script": live_script,
    }
    return environment


def _lead(roadmap: Roadmap) -> str:
    metric = f"{roadmap.metric} ({direction_text(roadmap.mode)}) {when_text(roadmap)}"
    return f"{metric}: the effect of each step, and whether it exceeds chance between seeds."


def _facts(roadmap: Roadmap) -> Iterator[tuple[str, str]]:
    """Yield the facts that the answer above them does not have, on a line."""
    ends = [row.outcome_of[seed] for row, seed in trials_of(roadmap)]
    done = sum(end in TRAINED for end in ends)
    counts = seed_counts(roadmap)
    yield counts, seeds_text(roadmap).removeprefix(counts)
    yield f"{done:,} of {len(ends):,}", "trials trained to the end"
    if size := roadmap.family.size:
        what = "comparison, tested alone" if size == 1 else "comparisons, corrected together"
        yield f"{size:,}", what


def _steps(roadmap: Roadmap) -> TableData:
    rows = [
        TableRow(
            cells(roadmap, row),
            " ".join(["side"] * row.variant.side + ["sick"] * row.is_sick),
        )
        for row in roadmap.rows
    ]
    return TableData("Results of the road", columns(roadmap), rows)


def _regimes(roadmap: Roadmap) -> TableData | None:
    if not roadmap.regimes:
        return None
    rows = [TableRow(regime_cells(difference)) for difference in roadmap.regimes]
    return TableData(REGIMES, regime_columns(roadmap), rows, REGIMES_NOTE)


def _section(roadmap: Roadmap, section: Section) -> SectionData:
    groups = sorted(kinds_of(section), key=lambda group: group[1][0].kind != PLACE)
    return SectionData(
        id=f"design-{section.design}",
        title=section.title,
        explanation=section.explanation,
        groups=[
            EffectGroup(
                title=title,
                forest=forest_of_lines(title, lines, roadmap.mode),
                strips=place_strips(lines) if lines[0].kind == PLACE else None,
                count=len(lines),
            )
            for title, lines in groups  # places first: averages come from them
        ],
        left_out=section.left_out,
    )


def _caption(figure: RoadmapFigure) -> list[str]:
    """Explain how to read the figure."""
    if not figure.has_results:
        return ["No results yet.", *["◆ published value."] * figure.has_axis]
    start = (
        "The axis does not start at 0, as the gap in each bar shows. " if figure.is_broken else ""
    )
    parts = [
        f"Bars are means, lines {figure.seeds}, dots single seeds. {start}The dashed line is the "
        "baseline.",
        f"{figure.differences}:" * bool(figure.tones),
    ]
    if any(row.kind == "side" for row in figure.rows):
        parts.insert(1, "Pale bars (└) are side steps: later steps do not build on them.")
    if any(row.reference is not None for row in figure.rows):
        where = "" if figure.shows_references else " (on a different scale, so not drawn)"
        parts.insert(-1, f"◆ published value{where}.")
    return parts
