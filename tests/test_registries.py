"""Each kind of thing takes one more by a file and a line: a toy of each, and those that another package brings."""

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from illama import masks
from orchestrator.cli.run_view import ConsoleView
from orchestrator.errors import UsageError
from orchestrator.executors import EXECUTORS
from orchestrator.exports import EXPORTERS
from orchestrator.plugins import Registry
from orchestrator.report.formats import FORMATS
from orchestrator.spec.designs import DESIGNS
from orchestrator.spec.samplers import SAMPLERS
from orchestrator.tracking.background import BackgroundMirror
from orchestrator.tracking.base import Tracker
from orchestrator.trial import TrialSpec

CommandLine = Callable[..., Any]
WriteSpec = Callable[..., Path]

TOYS = '''
"""An executor that says where it is, and an export of names."""

from orchestrator.executors import ExecutorKind
from orchestrator.executors.local import run_locally
from orchestrator.exports import Exporter


def create(address):
    def run(queue):
        print("toy executor at", address)
        run_locally(queue)
    return run


def write(curves, output):
    names = [curve.trial.name for curve in curves]
    output.mkdir()
    (output / "names").write_text(" ".join(names))
    return len(names)


EXECUTOR = ExecutorKind(create, trains_elsewhere=False)
EXPORTER = Exporter(write, "read them: cat {folder}/names")
NEITHER = 3
'''
ENTRY_POINTS = """
[orchestrator.executors]
toy = toys:EXECUTOR
local = toys:EXECUTOR
neither = toys:NEITHER
gone = nowhere_to_be_found:EXECUTOR

[orchestrator.exporters]
words = toys:EXPORTER
"""


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that is installed beside this one."""
    folder = tmp_path / "site"
    metadata = folder / "toys-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "toys.py").write_text(TOYS)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(folder))
    yield
    sys.modules.pop("toys", None)


@pytest.mark.usefixtures("toys")
def test_a_package_beside_ours_brings_an_executor_and_an_export(
    cli: CommandLine, write_spec: WriteSpec, store_path: Path, weird_path: Path
) -> None:
    where = ("--store", store_path)
    ran = cli(
        "run", write_spec(), *where, "--executor", "toy", "--address", "here", "--no-tracking"
    )
    assert (ran.code, "toy executor at here" in ran.out) == (0, True), ran
    wrote = cli("export", "tiny", *where, "--format", "words", "--output", weird_path / "words")
    assert "wrote 1 trial; read them: cat " in wrote.err
    assert (weird_path / "words" / "names").read_text() == "baseline-seed0"


@pytest.mark.usefixtures("toys")
def test_no_package_replaces_what_is_ours_and_what_is_of_no_use_is_told() -> None:
    from orchestrator.executors.local import LOCAL

    assert EXECUTORS.get("local") is LOCAL
    with pytest.raises(UsageError, match="executor neither: toys:NEITHER is no ExecutorKind"):
        EXECUTORS.get("neither")
    with pytest.raises(UsageError, match="executor gone cannot be imported: No module named 'now"):
        EXECUTORS.get("gone")
    with pytest.raises(UsageError, match="no executor 'toi'; did you mean 'toy'"):
        EXECUTORS.get("toi")


@pytest.mark.parametrize("registry", [EXECUTORS, EXPORTERS], ids=lambda registry: registry.what)
def test_an_unknown_name_is_refused_with_those_that_there_are(registry: Registry[Any]) -> None:
    known = ", ".join(sorted(registry.built_in))
    with pytest.raises(UsageError, match=f"there is no {registry.what} 'xyz'; allowed: {known}$"):
        registry.get("xyz")


@pytest.mark.parametrize("registry", [EXECUTORS, EXPORTERS], ids=lambda registry: registry.what)
def test_what_is_built_in_is_there(registry: Registry[Any]) -> None:
    for name in registry.built_in:
        assert isinstance(registry.get(name), registry.kind)


class Notebook:
    """A tracker that writes down what it was asked to show."""

    def __init__(self, trials: Sequence[TrialSpec]) -> None:
        self.trials, self.asked = trials, list[str]()

    def sync(self, trials: Iterable[TrialSpec] | None = None) -> None:
        self.asked += ["everything"] if trials is None else [trial.name for trial in trials]

    def sync_effects(self) -> None:
        self.asked.append("effects")

    def stop(self) -> None:
        self.asked.append("stop")


def test_another_tracker_is_kept_up_to_date_as_mlflow_is(make_sweep: Callable[..., Any]) -> None:
    notebook = Notebook(make_sweep().trials)
    tracker: Tracker = notebook
    said = io.StringIO()
    with BackgroundMirror(tracker, ConsoleView(Console(file=said))):
        pass
    assert (notebook.asked, said.getvalue()) == (["everything"], "")


@pytest.mark.parametrize(
    ("table", "claim"),
    [
        (masks.KINDS, "illama/test_attention.py::test_a_new_kind_of_mask"),
        (DESIGNS, "orchestrator/test_designs.py::test_another_design_is_a_class_and_a_line"),
        (FORMATS, "orchestrator/test_formats.py::test_a_format_is_a_writer_and_one_line"),
        (SAMPLERS, "orchestrator/test_suggest.py::test_an_entry_of_the_table_is_a_sampler"),
    ],
    ids=["mask", "design", "report format", "sampler"],
)
def test_every_other_kind_is_a_table_whose_own_file_of_tests_adds_a_toy(
    table: dict[str, Any], claim: str
) -> None:
    path, _, name = claim.partition("::")
    assert len(table) > 1
    assert f"def {name}" in (Path(__file__).parent / path).read_text("utf-8")
