"""Each kind of thing takes one more by a file and a line: a toy of each, and those that another
package brings.
"""

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError
from rich.console import Console

from illama import masks
from illama.config import DataConfig, ModelConfig, with_preset
from illama.config.functions import image_shape
from illama.data.datasets import dataset_digest, load
from illama.data.registry import DATASETS
from illama.measures.registry import MEASURES, read_request
from orchestrator.cli.run_view import ConsoleView
from orchestrator.errors import UsageError
from orchestrator.executors import EXECUTORS
from orchestrator.exports import EXPORTERS
from orchestrator.plugins import Registry
from orchestrator.report.formats import FORMATS
from orchestrator.spec.designs import DESIGNS
from orchestrator.spec.samplers import SAMPLERS
from orchestrator.stats.registry import TESTS
from orchestrator.tracking.background import BackgroundMirror
from orchestrator.tracking.base import TRACKERS, Tracker, tracker_kind
from orchestrator.trial import TrialSpec

CommandLine = Callable[..., Any]
WriteSpec = Callable[..., Path]

TOYS = '''
"""An executor that says where it is, an export and a tracker of names, images, and a measure."""

from pathlib import Path

import numpy as np

from orchestrator.executors import ExecutorKind
from orchestrator.executors.local import run_locally
from orchestrator.exports import Exporter
from orchestrator.tracking.base import TrackerKind


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


class Notes:
    def __init__(self, address, snapshot, store, restore_deleted):
        self.path, self.trials = Path(address.partition(":")[2]), snapshot.specs

    def sync(self, trials=None):
        trials = self.trials if trials is None else trials
        self.path.write_text(" ".join(trial.name for trial in trials))

    def sync_effects(self):
        pass

    def stop(self):
        pass


def keep_network(notes, chosen):
    notes.path.with_suffix(".network").write_text(chosen.trial.name)


def stripes():
    images = np.zeros((80, 1, 8, 8), np.float32)
    images[::2, :, ::2] = 1
    labels = np.arange(80) % 2
    return images[:60], labels[:60], images[60:], labels[60:]


def weight_norm(network, data, device, seed):
    squares = [value.detach().square().sum() for value in network.parameters()]
    return {"norm": float(sum(squares)) ** 0.5}


TRACKER = TrackerKind("Notes", Notes, keep_network=keep_network)
EXECUTOR = ExecutorKind(create, trains_elsewhere=False)
EXPORTER = Exporter(write, "read them: cat {folder}/names")
NEITHER = 3
'''
BARS = """
import numpy as np

from illama.data.registry import Pool, Source


def read(data, model, directory):
    return Pool(np.ones((40, 1, 4, 4), np.float32), np.arange(40) % 2, 2)


BARS = Source(lambda data, directory: "bars of 40", read, shape=(1, 4, 4), num_classes=2)
"""
ENTRY_POINTS = """
[orchestrator.executors]
toy = toys:EXECUTOR
local = toys:EXECUTOR
neither = toys:NEITHER
gone = nowhere_to_be_found:EXECUTOR

[orchestrator.exporters]
words = toys:EXPORTER

[orchestrator.trackers]
notes = toys:TRACKER

[illama.datasets]
stripes = toys:stripes

[illama.measures]
weight_norm = toys:weight_norm
"""
REGISTRIES = [EXECUTORS, EXPORTERS, TRACKERS]


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
    with pytest.raises(
        UsageError, match="executor neither: toys:NEITHER is not of type ExecutorKind"
    ):
        EXECUTORS.get("neither")
    with pytest.raises(UsageError, match="executor gone cannot be imported: No module named 'now"):
        EXECUTORS.get("gone")
    with pytest.raises(UsageError, match="no executor 'toi'; did you mean 'toy'"):
        EXECUTORS.get("toi")


@pytest.mark.slow
@pytest.mark.usefixtures("toys")
def test_a_package_beside_ours_brings_images_a_measure_and_a_tracker(
    cli: CommandLine, write_spec: WriteSpec, store_path: Path, weird_path: Path
) -> None:
    shape = {"in_chans": 1, "img_size": 8, "num_classes": 2}
    spec = write_spec(
        measure=["weight_norm"],
        baseline={
            "model": {"name": "vit_digits", "embed_dim": 16, "depth": 1, "num_heads": 2, **shape},
            "data": {"name": "stripes"},
            "train": {"epochs": 1, "batch_size": 20, "lr": 0.01},
        },
    )
    page = weird_path / "page.txt"
    to_page = ("--store", store_path, "--tracking-uri", f"notes:{page}")
    ran = cli("run", spec, *to_page, "--executor", "local")
    assert ran.code == 0, ran
    assert "failed" not in ran.out, ran.out
    assert page.read_text() == page.with_suffix(".network").read_text() == "baseline-seed0"
    found = json.loads(cli("report", spec, "--store", store_path, "--format", "json").out)
    (number,) = found["steps"][0]["measures"]["weight_norm"].values()
    assert number["mean"] > 0
    page.unlink()
    synced = cli("sync", spec, *to_page)
    assert (synced.code, synced.err.strip()) == (0, "Notes is up to date for tiny")
    assert page.exists()
    refused = cli("register", spec, *to_page)
    assert (refused.code, "only MLflow has a model registry" in refused.err) == (2, True)


@pytest.mark.parametrize("uri", ["sqlite:///x.db", "http://host:5000", "./mlruns", "elsewhere:x"])
def test_an_address_that_names_no_tracker_is_for_mlflow_to_judge(uri: str) -> None:
    assert tracker_kind(uri) is TRACKERS.get("mlflow")


def test_images_of_ours_are_a_file_and_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_bars.py").write_text(BARS)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValidationError, match="'cifar100' or 'image_folder'"):
        DataConfig(name="bars")
    monkeypatch.setitem(cast(dict[str, str], DATASETS), "bars", "toy_bars:BARS")
    data = DataConfig(name="bars", val_fraction=0.5, test_fraction=0.25)
    model = with_preset({"name": "vit_digits", "img_size": 4, "num_classes": 2})
    loaded = load(data, ModelConfig.model_validate(model))
    assert (len(loaded.train_labels), len(loaded.val_labels)) == (10, 20)
    assert (loaded.test_labels is not None, dataset_digest(data)) == (True, "bars of 40")
    assert image_shape("bars", {}) == ((1, 4, 4), 2)
    with pytest.raises(ValidationError, match="bars has no official test part"):
        DataConfig(name="bars", test="official")


def test_a_measure_of_ours_is_a_file_and_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_measure.py").write_text(
        "def depth(network, data, device, seed, times: int = 2): return {'depth': times * "
        "len(network.blocks)}"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"no measure 'depth'; allowed: calibration, attention_"):
        read_request("depth")
    monkeypatch.setitem(cast(dict[str, str], MEASURES), "depth", "toy_measure:depth")
    asked = read_request({"name": "depth", "times": 3})
    assert (asked.function, asked.options) == ("toy_measure:depth", {"times": 3})
    with pytest.raises(ValueError, match=r"measure depth has no option 'tims'.*mean 'times'"):
        read_request({"name": "depth", "tims": 3})


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.what)
def test_an_unknown_name_is_refused_with_those_that_there_are(registry: Registry[Any]) -> None:
    known = ", ".join(sorted(registry.built_in))
    with pytest.raises(UsageError, match=f"there is no {registry.what} 'xyz'; allowed: {known}$"):
        registry.get("xyz")


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.what)
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
        (TESTS, "orchestrator/test_welch.py::test_another_test_of_a_difference_is_an_object"),
    ],
    ids=["mask", "design", "report format", "sampler", "test"],
)
def test_every_other_kind_is_a_table_whose_own_file_of_tests_adds_a_toy(
    table: dict[str, Any], claim: str
) -> None:
    path, _, name = claim.partition("::")
    assert len(table) > 1
    assert f"def {name}" in (Path(__file__).parent / path).read_text("utf-8")
