"""The report as comma-separated values: one line for each variant, of every design, with numbers as
they are.
"""

import csv
import io

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.tabular import step_records
from orchestrator.report.formats import Layout
from orchestrator.report.selection import chosen


def to_csv(roadmap: Roadmap, layout: Layout) -> str:
    """Columns as in `Report.to_frame`, the outcomes as `finished: 3`; RFC 4180, but lines end in a
    line feed.

    Cells of other designs (`only.rope`, `without.rope`) stand behind the road. Raises `UsageError`
    for a column that there is not.
    """
    records = step_records(roadmap)
    if layout.rows:
        chosen([record["step"] for record in records], layout.rows, "step")
        records = [record for record in records if record["step"] in layout.rows]
    names = list(dict.fromkeys(name for record in records for name in record))
    kept = [names[place] for place in chosen(names, layout.columns)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(kept)
    for record in records:
        writer.writerow([_cell(record.get(name)) for name in kept])
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {count}" for name, count in value.items())
    return "" if value is None else value
