"""The report in MLflow: a run with the roadmap's page, figure and tables, and the description of
the experiment.
"""

from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.analysis.roadmap import Roadmap, StepRow
from orchestrator.report.formats import render
from orchestrator.report.markup import answer_markdown, tables_markdown
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.tracking.api import Run
from orchestrator.tracking.experiment import Experiment
from orchestrator.tracking.pages import address_of, page_tags

_FILES = {
    "roadmap.html": "html",
    "roadmap.png": "png",
    "roadmap.svg": "svg",
    "roadmap.md": "md",
    "roadmap.json": "json",
}


def rows_of(roadmap: Roadmap) -> list[StepRow]:
    """The rows of the road and of the other designs, each variant once."""
    found = {row.variant.label: row for section in roadmap.sections for row in section.rows}
    return list((found | {row.variant.label: row for row in roadmap.rows}).values())


def write_report(
    experiment: Experiment, run: Run, spec: SweepSpec, roadmap: Roadmap, end: int
) -> None:
    """Put the roadmap into its run and onto the experiment's page, unless they are there; `end` is
    when the last trial ended.
    """
    digest = sha256(repr(roadmap.to_json()).encode() + spec.content).hexdigest()
    names = dict.fromkeys(("sweep.yaml", *_FILES))
    is_there = run.tags.get("sweep.report") == digest and run.status == "FINISHED"
    if is_there and experiment.has_files(run, names):
        return
    with TemporaryDirectory() as scratch:
        contents = {"sweep.yaml": spec.content} | {
            name: render(roadmap, form) for name, form in _FILES.items()
        }
        for name, content in contents.items():
            Path(scratch, name).write_bytes(content)
        experiment.add_files(run, [Path(scratch, name) for name in contents])
    experiment.describe(_note(experiment, run, roadmap), page_tags(spec))
    experiment.set_status(run, "FINISHED", end)
    experiment.write(run, tags={"sweep.report": digest})


def _note(experiment: Experiment, run: Run, roadmap: Roadmap) -> str:
    """The UI shows images of artifacts by their address, at their own size: an SVG's is right for a
    page.
    """
    place = f"#/experiments/{experiment.experiment_id}/runs/{run.run_id}/artifacts"
    where = (
        "The effect of each step. The page, the tables and the spec are artifacts of the run "
        f"[{run.name}]({place})."
    )
    pages = {"the steps as a table": "roadmap", "their curves": "curves"}
    links = ", ".join(
        f"[{text}]({address_of(experiment.experiment_id, page)})" for text, page in pages.items()
    )
    where += f" Here: {links}."
    figure = f"![The roadmap](get-artifact?path=roadmap.svg&run_uuid={run.run_id})"
    return "\n\n".join([answer_markdown(roadmap), figure, where, tables_markdown(roadmap)])
