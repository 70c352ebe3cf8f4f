"""A trained network in MLflow: loaded without our code it answers as the trial did, and logging
it twice adds nothing.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from invented import snapshot_of
from mlflow import MlflowClient

from illama.config import DataConfig, resolve
from illama.data.datasets import load
from orchestrator.driver import register_network
from orchestrator.planning.representative import last_step, representative
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.store import Store
from orchestrator.tracking import report
from orchestrator.tracking.database import take_home
from orchestrator.tracking.server import free_port

CommandLine = Callable[..., Any]
NewMlflow = Callable[..., str]


def validation(zoo: Path) -> Any:
    spec = load_spec(zoo / "zoo.yaml")
    return load(DataConfig(name="digits", val_fraction=0.9), spec.variants[0].config.model)


def rows(uri: str) -> dict[str, int]:
    """How much the database holds of everything that has to do with a model."""
    database = sqlite3.connect(uri.removeprefix("sqlite:///"))
    tables = (
        "logged_models",
        "logged_model_metrics",
        "logged_model_tags",
        "metrics",
        "inputs",
        "model_versions",
    )
    counts = {
        name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables
    }
    database.close()
    return counts


pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture(scope="module")
def _registered_zoo(
    _trained_zoo: Path, _empty_mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The zoo, its road's end in MLflow's registry, once for all tests: exporting it takes
    seconds.
    """
    folder = tmp_path_factory.mktemp("registered")
    shutil.copytree(_trained_zoo, folder, dirs_exist_ok=True)
    database = shutil.copy(_empty_mlflow_database, folder / "runs" / "mlflow.db")
    spec, store = load_spec(folder / "zoo.yaml"), Store(folder / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_FILES", {"roadmap.md": "md"})
        address, chosen = register_network(
            spec, store, f"sqlite:///{database}", "rmsnorm", "1", "zoo"
        )
    assert (address, chosen.trial.name) == ("models:/zoo/1", "rmsnorm-seed1")
    assert chosen.why == "the seed that was asked for"
    return folder


@pytest.fixture
def registered(_registered_zoo: Path, zoo: Path) -> str:
    """The address of MLflow, where the zoo's road ends in version 1 of the model `zoo`."""
    shutil.copytree(_registered_zoo, zoo, dirs_exist_ok=True)
    uri = f"sqlite:///{zoo / 'runs' / 'mlflow.db'}"
    take_home(uri, zoo / "runs")
    return uri


@pytest.mark.slow
def test_loaded_without_our_code_it_answers_as_the_trial_did(
    registered: str, zoo: Path, tmp_path: Path
) -> None:
    data = validation(zoo)
    np.savez(tmp_path / "images.npz", images=data.val_images.astype(np.float32))
    code = (
        "import sys, mlflow, numpy, torch; mlflow.set_tracking_uri(sys.argv[1]);"
        "images = numpy.load(sys.argv[2])['images'];"
        "network = mlflow.pytorch.load_model('models:/zoo/1');"
        "served = mlflow.pyfunc.load_model('models:/zoo/1');"
        "signature = served.metadata.signature.to_dict();"
        "example = served.input_example;"
        "torch.set_num_threads(1);"
        "logits = torch.cat([network(batch) for batch in "
        "torch.from_numpy(images).split(128)]).detach().numpy();assert "
        "numpy.array_equal(served.predict(images[:1]).argmax(1), logits[:1].argmax(1));"
        "assert not {'illama', 'orchestrator'} & {name.split('.')[0] for name in sys.modules};"
        "numpy.savez(sys.argv[3], logits=logits, example=example);"
        "print(signature)"
    )
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    arguments = [
        sys.executable,
        "-c",
        code,
        registered,
        str(tmp_path / "images.npz"),
        str(tmp_path / "answers.npz"),
    ]
    done = subprocess.run(
        arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = np.load(tmp_path / "answers.npz")
    [result] = (
        json.loads(path.read_text())
        for path in zoo.glob("runs/zoo/trials/rmsnorm-seed1-*/result.json")
    )
    accuracy = 100 * float((answers["logits"].argmax(1) == data.val_labels).mean())
    assert accuracy == pytest.approx(result["metrics"]["val/acc1"], abs=1e-9)
    assert np.array_equal(answers["example"], data.val_images[:2])
    assert "(-1, 1, 8, 8)" in done.stdout.replace("[", "(").replace("]", ")")
    assert "(-1, 10)" in done.stdout.replace("[", "(").replace("]", ")")


@pytest.mark.slow
def test_a_model_belongs_to_its_trial_and_registering_it_again_adds_nothing(
    registered: str, zoo: Path, cli: CommandLine
) -> None:
    client = MlflowClient(registered, registry_uri=registered)
    version = client.get_model_version("zoo", "1")
    run = client.get_run(version.run_id)
    assert run.data.tags["sweep.trial"].startswith("rmsnorm-seed1 ")
    [output] = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert version.source == f"models:/{model.model_id}"
    assert {
        metric.key: metric.value for metric in model.metrics
    }.items() <= run.data.metrics.items()
    assert model.params["seed"] == "1"
    assert "the seed that was asked for" in version.description
    before = rows(registered)
    again = cli("register", "zoo", "--store", zoo / "runs", "--step", "rmsnorm", "--seed", "1")
    assert (again.code, "models:/zoo/1 is rmsnorm-seed1" in again.err) == (0, True)
    assert rows(registered) == before
    assert before["logged_models"] == before["model_versions"] == 1
    another = cli(
        "register",
        "zoo",
        "--store",
        zoo / "runs",
        "--step",
        "rmsnorm",
        "--seed",
        "1",
        "--name",
        "it's [red]",
    )
    assert "models:/it's [red]/1 is rmsnorm-seed1" in another.err
    assert rows(registered) == before | {"model_versions": 2}


@pytest.mark.slow
def test_what_was_cut_off_on_its_way_is_made_again(
    registered: str, zoo: Path, cli: CommandLine
) -> None:
    database = sqlite3.connect(registered.removeprefix("sqlite:///"))
    database.execute("UPDATE logged_models SET status = 1")  # pending
    database.execute("DELETE FROM model_versions")
    database.commit()
    database.close()
    shutil.rmtree(next((zoo / "runs" / "mlartifacts" / "zoo" / "models").iterdir()))
    again = cli("register", "zoo", "--store", zoo / "runs", "--step", "rmsnorm", "--seed", "1")
    assert (again.code, "models:/zoo/1" in again.err) == (0, True), again.err
    client = MlflowClient(registered, registry_uri=registered)
    [model] = client.search_logged_models([client.get_experiment_by_name("zoo").experiment_id])
    assert (str(model.status), model.tags["sweep.trial"]) == ("READY", "rmsnorm-seed1")


@pytest.mark.slow
def test_a_copied_store_registers_its_own_networks_and_serves_them(
    registered: str,
    zoo: Path,
    cli: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(zoo / "runs", copy)
    shutil.rmtree(zoo / "runs")  # nothing of the original is needed, and nothing comes back there
    done = cli("register", "zoo", "--store", copy, "--step", "rmsnorm", "--seed", "0")
    assert "models:/zoo/2 is rmsnorm-seed0" in done.err, done.err
    assert not (zoo / "runs").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{copy / 'mlflow.db'}")
    batch = torch.zeros(2, 1, 8, 8)
    logits = [mlflow.pytorch.load_model(f"models:/zoo/{n}")(batch) for n in (1, 2)]
    assert not torch.equal(*logits)


@pytest.mark.slow
def test_what_was_deleted_by_hand_stays_deleted_until_somebody_asks_for_it(
    registered: str, zoo: Path, cli: CommandLine
) -> None:
    client = MlflowClient(registered)
    cli("sync", "zoo", "--store", zoo / "runs")
    experiment = client.get_experiment_by_name("zoo").experiment_id
    runs = {run.info.run_name: run.info.run_id for run in client.search_runs([experiment])}
    for name in ("rmsnorm-seed1", "baseline-seed0"):
        client.delete_run(runs[name])
    arguments = ("register", "zoo", "--store", zoo / "runs", "--step", "rmsnorm", "--seed", "1")
    refused = cli(*arguments)
    hint = (
        "the run of rmsnorm-seed1, which the network belongs to, was deleted in MLflow; "
        "`orchestrator sync zoo` restores it"
    )
    assert (refused.code, hint in refused.err) == (2, True), refused.err
    assert client.get_run(runs["baseline-seed0"]).info.lifecycle_stage == "deleted"
    cli("sync", "zoo", "--store", zoo / "runs")
    assert cli(*arguments).code == 0


@pytest.mark.slow
def test_each_mlflow_gets_the_network_of_its_own_run(
    registered: str, zoo: Path, cli: CommandLine, new_mlflow: NewMlflow
) -> None:
    other = new_mlflow("other.db")
    for uri in (other, registered, other):  # the store remembers the runs of one of them only
        done = cli(
            "register",
            "zoo",
            "--store",
            zoo / "runs",
            "--step",
            "rmsnorm",
            "--seed",
            "1",
            "--tracking-uri",
            uri,
        )
        assert (done.code, "models:/zoo/1 is rmsnorm-seed1" in done.err) == (0, True), done.err


@pytest.mark.parametrize(
    ("seed", "chosen", "why"),
    [
        ("median", "worse", "the median of 2 seeds by val/acc1"),
        ("best", "better", "on the same images that it was chosen on"),
    ],
)
def test_the_seed_that_stands_for_a_step(zoo: Path, seed: str, chosen: str, why: str) -> None:
    from illama.data.datasets import dataset_digest
    from orchestrator.planning.plan import trials_of

    spec, store = load_spec(zoo / "zoo.yaml"), Store(zoo / "runs")
    trials = trials_of(spec, dataset_digest)
    values = {t.seed: store.record(t).metrics["val/acc1"] for t in trials if t.variant == "rmsnorm"}
    found = representative(snapshot_of(spec, trials, store.record), "rmsnorm", seed)
    assert (
        found.trial.seed
        == {
            "worse": min(values, key=lambda k: values[k]),
            "better": max(values, key=lambda k: values[k]),
        }[chosen]
    )
    assert why in found.why
    assert last_step(spec).name == "broken"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--step", "rmsnrom"], "zoo has no step 'rmsnrom'; did you mean 'rmsnorm'?"),
        (
            ["--step", "rmsnorm", "--seed", "7"],
            "no seed '7' of rmsnorm has finished; allowed: median, best, 0, 1",
        ),
        ([], "no trial of broken has finished"),
        (["--step", "too_fast"], "no trial of too_fast has finished"),
    ],
)
def test_what_cannot_be_registered_is_told(
    zoo: Path, cli: CommandLine, arguments: list[str], message: str
) -> None:
    finished = cli("register", "zoo", "--store", zoo / "runs", *arguments)
    assert (finished.code, message in finished.err) == (2, True), finished.err


def test_a_checkpoint_that_is_gone_is_told(
    zoo: Path, cli: CommandLine, new_mlflow: NewMlflow
) -> None:
    new_mlflow()
    for path in zoo.glob("runs/zoo/trials/rmsnorm-seed0-*/checkpoint*"):
        path.unlink()
    finished = cli("register", "zoo", "--store", zoo / "runs", "--step", "rmsnorm", "--seed", "0")
    assert (
        finished.code,
        "the network of rmsnorm-seed0 cannot be rebuilt: there is no complete" in finished.err,
    ) == (2, True)


@pytest.mark.parametrize("other", ["baseline-seed0", "rmsnorm-seed1"])
def test_a_checkpoint_of_another_trial_is_not_registered(
    zoo: Path, cli: CommandLine, new_mlflow: NewMlflow, other: str
) -> None:
    uri = new_mlflow()
    [own], [others] = (zoo.glob(f"runs/zoo/trials/{name}-*") for name in ("rmsnorm-seed0", other))
    for path in own.glob("checkpoint*"):
        path.unlink()
    for path in others.glob("checkpoint*"):
        shutil.copy(path, own)
    finished = cli("register", "zoo", "--store", zoo / "runs", "--step", "rmsnorm", "--seed", "0")
    assert finished.code == 2
    assert (
        "rmsnorm-seed0 cannot be rebuilt: the checkpoint belongs to different settings"
        in finished.err
    )
    assert rows(uri)["model_versions"] == 0


def test_a_picture_folder_is_normalised_inside_the_model(tmp_path: Path) -> None:
    from PIL import Image

    from illama.config import RuntimeConfig
    from illama.training.loader import make_loader
    from illama.training.trainer import train
    from illama.weights.inference import load_classifier

    random = np.random.default_rng(0)
    for part, label, index in (
        (part, label, i) for part in ("train", "val") for label in ("a", "b") for i in range(2)
    ):
        folder = tmp_path / "pictures" / part / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 24, 3), np.uint8)).save(
            folder / f"{index}.png"
        )
    shape = {
        "img_size": 16,
        "patch_size": 8,
        "in_chans": 3,
        "num_classes": 2,
        "embed_dim": 16,
        "depth": 1,
    }
    config = resolve(
        {
            "model": {"name": "vit_digits", **shape},
            "data": {"name": "image_folder", "folder": "pictures"},
            "train": {"epochs": 1, "batch_size": 4, "lr": 1e-3},
        }
    )
    runtime = RuntimeConfig(device="cpu", data_dir=tmp_path)
    train(
        config,
        runtime=runtime,
        log_metrics=lambda metrics, iteration: None,
        checkpoint_dir=tmp_path / "out",
    )
    classifier, pixels = load_classifier(tmp_path / "out", tmp_path)
    seen, _ = next(make_loader(config, runtime, torch.device("cpu")).held_out("val"))
    with torch.no_grad():
        assert torch.equal(
            classifier(torch.from_numpy(pixels)), classifier.network(seen[: len(pixels)])
        )
    assert pixels.max() > 200


@dataclass(frozen=True)
class Served:
    """A model behind an address."""

    address: str
    process: "subprocess.Popen[str]"

    def answers(self, path: str) -> bool:
        try:
            return bool(urllib.request.urlopen(self.address + path, timeout=10).status == 200)
        except OSError:
            return False


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str, str], Served]]:
    """`serve(tracking_uri, model)` starts `mlflow models serve`."""
    started: list[subprocess.Popen[str]] = []

    def start(uri: str, model: str) -> Served:
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "models",
            "serve",
            "-m",
            model,
            "--env-manager",
            "local",
            "-p",
            str(port),
        ]
        # as in an activated environment: it calls uvicorn
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {
            "MLFLOW_TRACKING_URI": uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PATH": path,
        }
        log = (tmp_path / "serve.log").open("w")
        started.append(
            subprocess.Popen(
                command,
                env=environment,
                stdout=log,
                stderr=log,
                text=True,
                cwd=tmp_path,
                start_new_session=True,
            )
        )
        log.close()
        return Served(f"http://127.0.0.1:{port}", started[-1])

    yield start
    for one in started:
        if one.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)
        one.wait()


@pytest.mark.slow
def test_mlflow_serves_it_and_it_reads_a_real_digit(
    registered: str,
    zoo: Path,
    serve: Callable[[str, str], "Served"],
    wait_until: Callable[..., None],
) -> None:
    server = serve(registered, "models:/zoo/1")
    wait_until(lambda: server.answers("/ping"), "the server answers", server.process)
    data = validation(zoo)
    body = json.dumps({"inputs": data.val_images[:64].astype(int).tolist()}).encode()
    request = urllib.request.Request(
        f"{server.address}/invocations", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)["predictions"]
    from illama.weights.inference import load_classifier

    [trial] = zoo.glob("runs/zoo/trials/rmsnorm-seed1-*")
    classifier, _ = load_classifier(trial)
    with torch.no_grad():
        expected = classifier(torch.from_numpy(data.val_images[:64].astype(np.float32)))
    assert np.allclose(answer, expected, atol=1e-4)


EMA = """
name: ema
metric: {name: val_ema/acc1}
seeds: [0]
baseline:
  model: {name: vit_digits, embed_dim: 16, depth: 1, num_heads: 2}
  data: {name: digits, val_fraction: 0.9}
  train: {epochs: 3, batch_size: 32, lr: 3e-3, ema: 0.9}
steps: []
"""


@pytest.mark.slow
def test_the_network_is_the_one_that_the_metric_was_measured_on(
    cli: CommandLine,
    new_mlflow: NewMlflow,
    store_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri, store = new_mlflow(), store_path
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    (tmp_path / "ema.yaml").write_text(EMA)
    cli("run", tmp_path / "ema.yaml", "--store", store, "--executor", "local")
    done = cli("register", "ema", "--store", store)
    assert "by val_ema/acc1; the moving average of its weights (EMA)" in done.err, done.err
    client = MlflowClient(uri, registry_uri=uri)
    version = client.get_model_version("ema", "1")
    assert "moving average of its weights" in version.description
    model_id = version.source.removeprefix("models:/")
    assert client.get_logged_model(model_id).tags["sweep.weights"] == "ema"
    [path] = store.glob("ema/trials/*/result.json")
    metrics = json.loads(path.read_text())["metrics"]
    assert metrics["val_ema/acc1"] != metrics["val/acc1"]
    data = load(
        DataConfig(name="digits", val_fraction=0.9),
        load_spec(tmp_path / "ema.yaml").variants[0].config.model,
    )
    network = mlflow.pytorch.load_model("models:/ema/1")
    with torch.no_grad():
        logits = network(torch.from_numpy(data.val_images.astype(np.float32)))
    accuracy = 100 * float((logits.argmax(1).numpy() == data.val_labels).mean())
    assert accuracy == pytest.approx(metrics["val_ema/acc1"], abs=1e-9)
    raw = tmp_path / "raw.yaml"
    raw.write_text(EMA.replace("val_ema/acc1", "val/acc1"))
    other = cli("register", raw, "--store", store)
    assert (other.code, "moving average" in other.err) == (0, False), other.err
    versions = {v.version: v.source for v in client.search_model_versions("name = 'ema'")}
    assert len(set(versions.values())) == 2, "the raw weights are another model"
