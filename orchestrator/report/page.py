"""The report as one HTML file that opens offline: figure, effects, table, designs, curves, warnings, how to reproduce it."""

from collections.abc import Iterator, Sequence
from html import escape

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.rows import StepRow
from orchestrator.analysis.sections import PLACE, Section
from orchestrator.report.bars import roadmap_figure
from orchestrator.report.curves import learning_curves
from orchestrator.report.forest import forest, lines_of_road, lines_of_section, place_strips
from orchestrator.report.formats import Layout
from orchestrator.report.measure_page import measures_html
from orchestrator.report.notes import caveats, family_text, notes
from orchestrator.report.reproduction import origins_of
from orchestrator.report.style import STYLE
from orchestrator.report.tables import REGIMES, REGIMES_NOTE, kinds_of, regime_cells, regime_columns
from orchestrator.report.tried import search_figures
from orchestrator.report.words import (
    Column,
    cells,
    columns,
    seed_counts,
    seeds_text,
    when_text,
)


def to_html(roadmap: Roadmap, _layout: Layout) -> str:
    """One file, in light and dark, on a phone as on a desk. Reads the trials' metrics for the learning curves."""
    title = escape(f"Roadmap of {roadmap.sweep}")
    parts = [
        f"<h1>{title}</h1>",
        _lead(roadmap),
        roadmap_figure(roadmap),
        *_effects(roadmap),
        *_table(roadmap),
    ]
    for section in roadmap.sections:
        parts += _section(roadmap, section)
    if roadmap.regimes:
        lines = [regime_cells(difference) for difference in roadmap.regimes]
        parts += [
            f'<h2>{REGIMES}</h2><p class="lead">{REGIMES_NOTE}</p>',
            _html_table(regime_columns(roadmap), lines),
        ]
    parts += measures_html(roadmap, _html_table)
    if tried := search_figures(roadmap):
        parts += ["<h2>What was searched</h2>", tried]
    parts += [
        *_curves(roadmap),
        *_went_wrong(roadmap),
        *_warnings(roadmap),
        *_skipped(roadmap),
        *_reproduction(roadmap),
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _lead(roadmap: Roadmap) -> str:
    """The facts that fit in one line each."""
    rows = _all_rows(roadmap)
    done = sum(len(row.values) + row.unrecorded for row in rows)
    wanted = sum(len(row.outcome_of) for row in rows)
    reused = sum(row.reused for row in rows)
    hours = roadmap.total_seconds / 3600
    counts = seed_counts(roadmap)
    facts = [
        (counts, seeds_text(roadmap).removeprefix(counts)),
        (f"{done} of {wanted}", "trials trained to the end"),
    ]
    facts += [(f"{reused}", "of them shared with another cell or sweep")] if reused else []
    facts += [
        (
            f"{hours:.1f} h" if hours >= 1 else f"{roadmap.total_seconds:.0f} s",
            "training, all trials",
        )
    ]
    facts += (
        [(f"{roadmap.total_gpu_seconds / 3600:.1f}", "GPU-hours")]
        if roadmap.total_gpu_seconds
        else []
    )
    size = roadmap.family.size
    facts += [(f"{size}", "comparisons tested and corrected together")] if size else []
    items = "".join(f"<li><b>{escape(value)}</b>{escape(what)}</li>" for value, what in facts)
    what = "what each step did, and whether that is more than chance between seeds"
    lead = f"{escape(roadmap.metric)} {when_text(roadmap)}; {what}."
    return f'<p class="lead">{lead}</p><ul class="facts">{items}</ul>'


def _effects(roadmap: Roadmap) -> Iterator[str]:
    lines = lines_of_road(roadmap)
    if lines:
        yield "<h2>What each step did</h2>"
        yield (
            '<p class="lead">Differences with 95 % intervals, each for itself; filled where they are decided, '
            f"{escape(family_text(roadmap))}.</p>"
        )
        yield forest(lines, roadmap.mode)


def _table(roadmap: Roadmap) -> Iterator[str]:
    heads = columns(roadmap)
    kinds = [" ".join(["side"] * row.variant.side + ["sick"] * row.is_sick) for row in roadmap.rows]
    yield "<h2>All figures</h2>"
    yield _html_table(heads, [cells(roadmap, row) for row in roadmap.rows], kinds)
    yield f'<div class="notes">{"".join(f"<p>{escape(note)}</p>" for note in [*caveats(roadmap), *notes(roadmap)])}</div>'


def _section(roadmap: Roadmap, section: Section) -> Iterator[str]:
    yield f'<h2>{escape(section.title)}</h2><p class="lead">{escape(section.explanation)}</p>'
    groups = sorted(
        kinds_of(section), key=lambda group: group[1][0].kind != PLACE
    )  # where averages come from, first
    for title, lines in groups:
        if len(groups) > 1:
            yield f"<h3>{escape(title)}</h3>"
        drawn = forest(lines_of_section(lines), roadmap.mode)
        if lines[0].kind == PLACE:
            yield place_strips(lines)
            drawn = f"<details><summary>Each of the {len(lines)} places with its interval</summary>{drawn}</details>"
        yield drawn
    if section.left_out:
        items = "".join(f"<li>{escape(reason)}</li>" for reason in section.left_out)
        yield f"<p>Left out:</p><ul>{items}</ul>"


def _curves(roadmap: Roadmap) -> Iterator[str]:
    drawn = {metric: learning_curves(roadmap, metric) for metric in (roadmap.metric, *roadmap.also)}
    if any(drawn.values()):
        yield '<h2>Learning curves</h2><p class="lead">A line for each seed; behind it, pale, the baseline\'s.</p>'
    for metric, drawing in drawn.items():
        if drawing:
            is_open = " open" if metric == roadmap.metric else ""
            yield f"<details{is_open}><summary>{escape(metric)}</summary>{drawing}</details>"


def _went_wrong(roadmap: Roadmap) -> Iterator[str]:
    if roadmap.causes:
        items = "".join(
            f"<li><code>{escape(trial)}</code>: {escape(cause)}</li>"
            for trial, cause in roadmap.causes.items()
        )
        yield f"<h2>What went wrong</h2><ul>{items}</ul>"


def _warnings(roadmap: Roadmap) -> Iterator[str]:
    if roadmap.warnings:
        yield "<h2>Warnings</h2>"
    for warning in roadmap.warnings:
        where = f" <small>line {warning.line}</small>" if warning.line else ""
        control = (
            f"<p><small>A control that resolves it:</small></p><pre>{escape(warning.control)}</pre>"
            if warning.control
            else ""
        )
        yield f'<div class="warning"><p><b>{warning.code}</b>{where} {escape(warning.message)}</p>{control}</div>'


def _skipped(roadmap: Roadmap) -> Iterator[str]:
    if roadmap.skipped:
        yield f"<h2>Cells that make no sense</h2><details><summary>{len(roadmap.skipped)} skipped</summary><ul>"
        for cell in roadmap.skipped:
            name = f"{cell.regime}/{cell.name}" if cell.regime else cell.name
            yield f"<li><code>{escape(name)}</code>: {escape(cell.reason)}</li>"
        yield "</ul></details>"


def _reproduction(roadmap: Roadmap) -> Iterator[str]:
    yield "<h2>How to reproduce this</h2>"
    yield f"<pre>orchestrator run {escape(roadmap.sweep)}.yaml      # the spec below</pre>"
    for origin in origins_of(_all_rows(roadmap)):
        yield f"<p><small>{'<br>'.join(escape(line) for line in origin.lines())}</small></p>"
    for title, text in {"The spec": roadmap.spec_text, **roadmap.code}.items():
        yield f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def _all_rows(roadmap: Roadmap) -> list[StepRow]:
    """Those of the road and of the other designs, each once."""
    rows = [*roadmap.rows, *(row for section in roadmap.sections for row in section.rows)]
    return list({row.variant.label: row for row in rows}.values())


def _html_table(
    heads: Sequence[Column], rows: Sequence[Sequence[str]], kinds: Sequence[str] = ()
) -> str:
    head_row = "".join(_html_cell("th", head.heading, head.is_number) for head in heads)
    body = []
    for index, row in enumerate(rows):
        line = "".join(
            _html_cell("td", cell, head.is_number) for cell, head in zip(row, heads, strict=True)
        )
        body.append(f'<tr class="{kinds[index] if kinds else ""}">{line}</tr>')
    lines = "\n".join(body)
    return f'<div class="wide"><table><thead><tr>{head_row}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>'


def _html_cell(tag: str, text: str, is_number: bool) -> str:
    kind = ' class="number"' if is_number else ""
    return f"<{tag}{kind}>{escape(text)}</{tag}>"
