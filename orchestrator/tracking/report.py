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
from orchestrator.tracking.pages import IN_TRAINING, address_of, page_tags, search_pages

RUN = "roadmap"
"""Name of the run that holds the report."""
_FILES = {
    "roadmap.html": "html",
    "roadmap.png": "png",
    "roadmap.svg": "svg",
    "roadmap.md": "md",
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
    contents = {"sweep.yaml": spec.content, "roadmap.json": render(roadmap, "json")}
    pages = page_tags(spec)
    shown = [note_of(spec, roadmap), *pages.values()]  # another version may show the same otherwise
    digest = sha256(b"".join([*contents.values(), *map(str.encode, shown)])).hexdigest()
    names = dict.fromkeys((*contents, *_FILES))
    is_there = run.tags.get("sweep.report") == digest and run.status == "FINISHED"
    if is_there and experiment.has_files(run, names):
        return
    with TemporaryDirectory() as scratch:
        contents |= {name: render(roadmap, form) for name, form in _FILES.items()}
        for name, content in contents.items():
            Path(scratch, name).write_bytes(content)
        experiment.add_files(run, [Path(scratch, name) for name in contents])
    experiment.describe(note_of(spec, roadmap, experiment.experiment_id, run.run_id), pages)
    experiment.set_status(run, "FINISHED", end)
    experiment.write(run, tags={"sweep.report": digest})


def note_of(spec: SweepSpec, roadmap: Roadmap, experiment_id: str = "", run_id: str = "") -> str:
    """The UI shows images of artifacts by their address, at their own size: an SVG's is right for a
    page.
    """
    place = f"#/experiments/{experiment_id}/runs/{run_id}/artifacts?{IN_TRAINING}"
    where = (
        "The effect of each step. The page, the tables and the spec are artifacts of the run "
        f"[{RUN}]({place})."
    )
    pages = {"roadmap": "the steps as a table", "curves": "their curves"}
    pages |= {
        page: f"what was tried for {search.label}" for page, search in search_pages(spec).items()
    }
    links = ", ".join(
        f"[{text}]({address_of(experiment_id, page)})" for page, text in pages.items()
    )
    where += f" Here: {links}."
    figure = f"![The roadmap](get-artifact?path=roadmap.svg&run_uuid={run_id})"
    parts = [answer_markdown(roadmap), figure, where, tables_markdown(roadmap)]
    return "\n\n".join(parts).replace(r"\<", "&lt;")  # MLflow would show the backslash
