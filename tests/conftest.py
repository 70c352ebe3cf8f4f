"""A sweep of seconds, paths that break careless quoting, and the command line as a function and
as a process.
"""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import SweepSpec
    from orchestrator.store.store import Store
    from orchestrator.trial import TrialSpec

# the same examples in every run; `make fuzz` draws others, and more of them
settings.register_profile(
    "fixed",
    derandomize=True,
    database=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no fault of a test
)
settings.register_profile("fuzz", deadline=None, max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

# a test run in the background, or under nohup, is told to ignore these, and would hand that on to
# the commands that it starts
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

UNMARKED_CPU_SECONDS = 5.0
"""CPU time that a test may take before it must be marked slow: several times what `slow` means, for
the same test takes more where other processes share the cores and their caches."""


def pytest_xdist_auto_num_workers() -> int:
    """One more process than there are cores: many tests wait for processes that they started."""
    return min(4, (os.cpu_count() or 1) + 1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of a file to one process, and all tests that start Ray to one: two clusters
    would starve each other.

    Those of Ray come first, as the longest group, and then the files with the most slow tests: no
    process is left with a long one at the end.
    """
    slow: Counter[str] = Counter()
    for item in items:
        group = "ray" if item.get_closest_marker("ray") else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
        if group == "ray" and not item.get_closest_marker("timeout"):
            item.add_marker(
                pytest.mark.timeout(900)
            )  # a cluster takes minutes to start on a busy machine
        slow[group] += item.get_closest_marker("slow") is not None
    items.sort(key=lambda item: _place(item, slow))


def _place(item: pytest.Item, slow: Mapping[str, int]) -> tuple[bool, int]:
    marker = item.get_closest_marker("xdist_group")
    assert marker is not None
    group = str(marker.args[0])
    return group != "ray", -slow[group]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that is slow and not marked so."""
    started = _cpu_seconds()
    yield
    taken = _cpu_seconds() - started
    if taken > UNMARKED_CPU_SECONDS and not item.get_closest_marker("slow"):
        pytest.fail(f"took {taken:.1f} s of CPU: mark it slow, or make it faster", pytrace=False)


def _cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


TINY: dict[str, Any] = {
    "name": "tiny",
    "seeds": [0],
    "baseline": {
        "model": {"name": "vit_digits", "embed_dim": 32, "depth": 1, "num_heads": 2},
        "data": {"name": "digits", "val_fraction": 0.9},
        "train": {"epochs": 2, "batch_size": 59, "lr": 0.01},
    },
    "runtime": {"device": "cpu", "checkpoint_seconds": 0},
}
"""Three iterations an epoch, a few milliseconds each."""

ZOO: dict[str, Any] = {
    "name": "zoo",
    "seeds": [0, 1],
    "steps": [
        {"name": "rmsnorm", "change": {"model.norm": "rmsnorm"}},
        {
            "name": "causal",
            "change": {"model.attention": "causal", "model.mask_form": "additive"},
            "expect": "collapse",
            "side": {"too_fast": {"train.lr": 1e30}},
        },
        {"name": "broken", "change": {"model.num_classes": 3}},
    ],
    "metric": {"also": ["val/ece"]},
}
"""Two trials for each way to end: finished, collapsed, diverged, failed."""


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output, parsed."""
        return json.loads(self.out)


WriteSpec = Callable[..., Path]
CommandLine = Callable[..., Finished]
Process = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def _same_surroundings_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a developer's shell or a CI may set and the commands listen to."""
    for name in (
        "MLFLOW_TRACKING_URI",
        "RAY_ADDRESS",
        "FORCE_COLOR",
        "GITHUB_ACTIONS",
        "PY_COLORS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def weird_path(tmp_path: Path) -> Path:
    """A folder whose name breaks shells, URLs and formats that are put together without quoting."""
    path = tmp_path / 'it\'s a "weird" path, 100% {x} #1 ü'
    path.mkdir()
    return path


@pytest.fixture
def write_spec(weird_path: Path) -> WriteSpec:
    """`write_spec(seeds=[0, 1], steps=[...], **{"baseline.train.lr": 1e30})` writes a sweep of
    seconds and returns its path.
    """

    def write(name: str = "tiny", **changes: Any) -> Path:
        settings = copy.deepcopy(TINY) | {"name": name}
        for key, value in changes.items():
            *parents, last = key.split(".")
            group = settings
            for parent in parents:
                group = group.setdefault(parent, {})
            group[last] = value
        path = weird_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(settings, sort_keys=False))
        return path

    return write


@pytest.fixture
def store_path(weird_path: Path) -> Path:
    """Where the sweeps of a test keep their results."""
    return weird_path / "runs"


@dataclass(frozen=True)
class Sweep:
    """A spec, its trials, and an empty store that is ready for them."""

    spec: "SweepSpec"
    store: "Store"
    trials: "list[TrialSpec]"

    @property
    def path(self) -> Path:
        """Its folder in the store."""
        return self.store.sweep_path(self.spec.name)


@pytest.fixture
def make_sweep(write_spec: WriteSpec, store_path: Path) -> Callable[..., Sweep]:
    """As `write_spec`, and loads what it wrote."""

    def make(name: str = "tiny", **changes: Any) -> Sweep:
        from illama.data.datasets import dataset_digest
        from orchestrator.planning.plan import trials_of
        from orchestrator.spec.sweep_spec import load_spec
        from orchestrator.store.store import Store

        spec, store = load_spec(write_spec(name, **changes)), Store(store_path)
        store.prepare(spec.name)
        return Sweep(spec, store, trials_of(spec, dataset_digest))

    return make


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    """`cli("plan", spec, "--json")` runs the command in this process."""

    def call(*arguments: object) -> Finished:
        from orchestrator.cli.app import main

        monkeypatch.setattr(sys, "argv", ["orchestrator", *map(str, arguments)])
        capfd.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        return Finished(code, *capfd.readouterr())

    return call


@pytest.fixture
def process(weird_path: Path) -> Iterator[Process]:
    """`process("run", spec)` starts the command in a process of its own, as a user would; none
    survives the test.
    """
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object, terminal: int = subprocess.PIPE) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "orchestrator", *map(str, arguments)]
        where: dict[str, Any] = {"cwd": weird_path, "start_new_session": True, "env": os.environ}
        started.append(
            subprocess.Popen(command, stdout=terminal, stderr=terminal, text=True, **where)
        )
        return started[-1]

    yield start
    for one in started:
        if one.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)
        one.communicate()


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """`wait_until(lambda: ..., "the file is there", driver)` polls until it is true; a driver
    that ends before is a failure.
    """

    def wait(
        condition: Callable[[], object], what: str, driver: "subprocess.Popen[str] | None" = None
    ) -> None:
        end = time.monotonic() + 250  # far beyond what a busy machine takes: only a hang gets there
        while not condition():
            assert driver is None or driver.poll() is None, (
                f"ended before: {what}\n{driver and driver.communicate()}"
            )
            assert time.monotonic() < end, f"in vain: {what}"
            time.sleep(0.01)

    return wait


@pytest.fixture
def bits_of() -> Callable[[Path], dict[str, Any]]:
    """Everything in a store's sweep that a seed decides: outcomes, curves and weights, without
    anything about time.
    """
    import torch

    def bits(sweep: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path in sorted(sweep.glob("trials/*/result.json")):
            result = json.loads(path.read_bytes())
            lines = [
                json.loads(line)
                for line in (path.parent / "metrics.jsonl").read_text().splitlines()
            ]
            weights = torch.load(path.parent / "checkpoint.pt", weights_only=True)["model"]
            found[path.parent.name] = {
                "outcome": result["outcome"],
                "metrics": _timeless(result["metrics"]),
                "best": _timeless(result.get("best", {})),
                "curve": [(line["iteration"], _timeless(line["metrics"])) for line in lines],
                "weights": {name: tensor.numpy().tobytes() for name, tensor in weights.items()},
            }
        return found

    return bits


@pytest.fixture
def undisturbed(
    cli: CommandLine, weird_path: Path, bits_of: Callable[[Path], dict[str, Any]]
) -> Callable[[Path], dict[str, Any]]:
    """`undisturbed(spec)` trains a sweep by the local executor, in a store of its own below
    `weird_path`, and returns its bits.
    """

    def run(spec: Path) -> dict[str, Any]:
        store = weird_path / "undisturbed"
        local = ("--store", store, "--executor", "local", "--no-tracking")
        assert cli("run", spec, *local).code == 0
        [sweep] = store.glob("*/sweep.yaml")
        return bits_of(sweep.parent)

    return run


def _timeless(metrics: dict[str, float]) -> dict[str, float]:
    return {
        name: value for name, value in metrics.items() if not name.startswith(("time/", "system/"))
    }


@pytest.fixture(scope="session")
def _trained_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zoo, trained once for all tests."""
    from orchestrator.driver import Job, run_sweep
    from orchestrator.executors.local import run_locally
    from orchestrator.spec.sweep_spec import load_spec
    from orchestrator.store.store import Store

    folder = tmp_path_factory.mktemp("zoo")
    (folder / "zoo.yaml").write_text(yaml.safe_dump(copy.deepcopy(TINY) | ZOO, sort_keys=False))
    spec, store = load_spec(folder / "zoo.yaml"), Store(folder / "runs")
    run_sweep(Job(spec, store, run_locally, tracking_uri=None))
    return folder


@pytest.fixture
def zoo(_trained_zoo: Path, weird_path: Path) -> Path:
    """A folder with `zoo.yaml` and its store `runs`, where two trials ended in each way."""
    shutil.copytree(_trained_zoo, weird_path, dirs_exist_ok=True)
    return weird_path


@pytest.fixture(scope="session")
def _empty_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making its tables takes MLflow five seconds, a copy none."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def new_mlflow(store_path: Path, _empty_mlflow_database: Path) -> Callable[..., str]:
    """`new_mlflow("name.db")` puts an empty MLflow into the store and returns its URI; by
    default the store's own.
    """

    def make(name: str = "mlflow.db") -> str:
        store_path.mkdir(exist_ok=True)
        shutil.copy(_empty_mlflow_database, store_path / name)
        return f"sqlite:///{store_path / name}"

    return make


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """MLflow gets no figures, each of which takes a second; returns what it would get."""
    from orchestrator.tracking import report

    everything = report._FILES
    monkeypatch.setattr(report, "_FILES", {"roadmap.md": "md"})
    return everything
