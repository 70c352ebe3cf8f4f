"""MLflow shows what the store says: writing twice adds nothing, and what is missing is made
again.
"""

import json
import re
import shutil
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from illama.config import DataConfig
from illama.data.datasets import dataset_digest
from orchestrator.errors import TrackingError
from orchestrator.outcomes import Outcome
from orchestrator.planning.plan import trials_of
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.files import read_json
from orchestrator.store.mlflow_runs import mlflow_run_ids, run_key
from orchestrator.store.store import MetricsLog, Store, TrialDirectory
from orchestrator.tracking import MlflowMirror, default_tracking_uri, report, sqlite
from orchestrator.trial import TrialSpec

MakeMirror = Callable[..., MlflowMirror]
Content = Callable[[str], dict[str, Any]]
NewMlflow = Callable[..., str]


pytestmark = pytest.mark.usefixtures("without_figures")

ROAD = ["0 baseline", "1 rmsnorm", "2 causal", "2a too_fast", "3 broken"]
"""The zoo's variants as MLflow names them."""


@pytest.fixture
def uri(new_mlflow: NewMlflow, zoo: Path) -> str:
    return new_mlflow()


@pytest.fixture
def mirror_to(zoo: Path) -> MakeMirror:
    """A new mirror of the trained zoo, as every driver and every `sync` makes one."""

    def make(uri: str, **options: Any) -> MlflowMirror:
        spec = load_spec(zoo / "zoo.yaml")
        return MlflowMirror(
            uri, spec, trials_of(spec, dataset_digest), Store(zoo / "runs"), **options
        )

    return make


@pytest.fixture
def content(zoo: Path) -> Content:
    """What MLflow holds, with names in the place of its random ids."""

    def read(uri: str) -> dict[str, Any]:
        database = sqlite3.connect(uri.removeprefix("sqlite:///"))
        names = dict(
            database.execute("SELECT run_uuid, name FROM runs WHERE lifecycle_stage = 'active'")
        )
        runs = {name: _run(database, run_id, names) for run_id, name in names.items()}
        assert len(runs) == len(names), f"two runs of one name: {sorted(names.values())}"
        for run_id, name in names.items():
            folder = zoo / "runs" / "mlartifacts" / "zoo" / run_id / "artifacts"
            runs[name]["artifacts"] = {path.name: path.read_bytes() for path in folder.glob("*")}
        database.close()
        return runs

    return read


def _run(database: sqlite3.Connection, run_id: str, names: dict[str, str]) -> dict[str, Any]:
    def ask(query: str) -> list[tuple[Any, ...]]:
        return database.execute(f"{query} WHERE run_uuid = ?", [run_id]).fetchall()

    tags = dict(ask("SELECT key, value FROM tags"))
    datasets = (
        "SELECT name, digest FROM datasets JOIN inputs ON source_id = dataset_uuid WHERE "
        "destination_id = ?"
    )
    parent = tags.pop("mlflow.parentRunId", None)
    [(status, start, end)] = ask("SELECT status, start_time, end_time FROM runs")
    return {
        "status": status,
        "start": start,
        "end": end,
        "parent": parent and names.get(parent, "a run that was deleted"),
        "tags": tags,
        "datasets": database.execute(datasets, [run_id]).fetchall(),
        "params": dict(ask("SELECT key, value FROM params")),
        "metrics": sorted(ask("SELECT key, step, value, timestamp FROM metrics")),
        "latest": {key: value for key, value in ask("SELECT key, value FROM latest_metrics")},
    }


def test_every_trial_has_one_run_below_the_run_of_its_variant(
    mirror_to: MakeMirror, content: Content, zoo: Path, uri: str
) -> None:
    mirror_to(uri).sync()
    runs = content(uri)
    trials = {f"{name.split()[1]}-seed{seed}": name for name in ROAD for seed in (0, 1)}
    assert set(runs) == {"roadmap", *ROAD, *trials}
    assert {name: runs[name]["parent"] for name in trials} == trials
    assert all(runs[name]["parent"] is None for name in ("roadmap", *ROAD))
    latest_first = sorted(("roadmap", *ROAD), key=lambda name: -runs[name]["start"])
    assert latest_first == ["roadmap", *ROAD], "as the UI lists them"
    assert Counter(runs[name]["tags"]["sweep.outcome"] for name in trials) == {
        "finished": 4,
        "collapsed": 2,
        "diverged": 2,
        "failed": 2,
    }
    assert {runs[name]["status"] for name in trials if "broken" not in name} == {"FINISHED"}
    assert runs["broken-seed0"]["status"] == "FAILED"
    assert "ValueError" in runs["broken-seed0"]["tags"]["sweep.cause"]
    assert runs["broken-seed0"]["tags"]["sweep.host"] == socket.gethostname()
    assert {runs[name]["tags"]["sweep.outcome"] for name in ROAD} == {
        "2 finished",
        "2 collapsed",
        "2 diverged",
        "2 failed",
    }
    assert runs["3 broken"]["status"] == "FAILED"


def test_curves_params_and_artifacts_are_those_of_the_store(
    mirror_to: MakeMirror, content: Content, zoo: Path, uri: str
) -> None:
    mirror_to(uri).sync()
    for name, run in content(uri).items():
        if run["parent"] is None:
            continue
        [folder] = (zoo / "runs" / "zoo" / "trials").glob(f"{name}-*")
        lines = (
            [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            if run["metrics"]
            else []
        )
        expected = sorted(
            (key, line["iteration"], value, int(line["time"] * 1000))
            for line in lines
            for key, value in line["metrics"].items()
        )
        assert run["metrics"] == expected
        assert run["artifacts"]["trial.json"] == (folder / "trial.json").read_bytes()
        assert run["artifacts"]["attempts.jsonl"] == (folder / "attempts.jsonl").read_bytes()
        if (folder / "result.json").exists():
            assert run["artifacts"]["result.json"] == (folder / "result.json").read_bytes()
        else:
            assert b"ValueError" in run["artifacts"]["traceback-attempt1.txt"]
        assert run["datasets"] == [
            ("digits", dataset_digest(DataConfig(name="digits")).removeprefix("sha256:")[:16])
        ]
        assert run["params"].keys() == {
            "step",
            "variant",
            "seed",
            "model.norm",
            "model.attention",
            "model.mask_form",
            "train.lr",
            "model.num_classes",
        }
        assert run["params"]["model.norm"] == (
            "layernorm" if name.startswith("baseline") else "rmsnorm"
        )


def test_a_variant_shows_its_mean_and_what_the_step_did(
    mirror_to: MakeMirror, content: Content, uri: str, zoo: Path
) -> None:
    mirror_to(uri).sync()
    runs = content(uri)
    finals = [
        [runs[f"{name}-seed{seed}"]["latest"]["val/acc1"] for seed in (0, 1)]
        for name in ("baseline", "rmsnorm")
    ]
    means = [sum(pair) / 2 for pair in finals]
    latest = runs["1 rmsnorm"]["latest"]
    assert latest["val/acc1"] == round(means[1], 2)
    assert (
        latest["delta_previous/mean"]
        == latest["delta_baseline/mean"]
        == latest["effect/delta"]
        == round(means[1] - means[0], 2)
    )
    effects = {
        f"delta_{against}/{part}"
        for against in ("previous", "baseline")
        for part in ("ci95_low", "ci95_high")
    } | {"delta_previous/p_value"}
    assert latest.keys() >= {
        "val/acc1_std",
        "val/acc1_ci95_low",
        "val/acc1_ci95_high",
        "variant/seeds",
        "variant/train_seconds",
        *effects,
    }
    assert (
        latest["delta_previous/ci95_low"]
        < latest["delta_previous/mean"]
        < latest["delta_previous/ci95_high"]
    )
    assert latest["effect/p"] == latest["delta_previous/p_value"] >= 1e-4
    assert max(len(str(value)) for value in latest.values()) <= 9, (
        "as long as the UI's columns show"
    )
    assert next(iter(latest)) == "val/acc1", "the page for comparing runs opens on it"
    steps = {key: step for key, step, *_ in runs["1 rmsnorm"]["metrics"]}
    assert {key for key, step in steps.items() if step} == {"val/acc1", "val/ece"}, (
        "others are bars"
    )
    assert runs["1 rmsnorm"]["tags"]["sweep.versus_previous"] == "baseline"
    assert runs["1 rmsnorm"]["status"] == "FINISHED"
    for name in ("3 broken", "2a too_fast"):  # none trained to the end: their rates are tested
        assert runs[name]["latest"].keys() == {
            "variant/params",
            "variant/flops",
            "delta_previous/rate_p_value",
        }


@pytest.mark.slow
def test_the_report_is_in_a_run_of_its_own_and_on_the_experiments_page(
    mirror_to: MakeMirror,
    content: Content,
    uri: str,
    zoo: Path,
    without_figures: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report, "_FILES", without_figures)
    mirror_to(uri).sync()
    files = content(uri)["roadmap"]["artifacts"]
    assert files["sweep.yaml"] == (zoo / "zoo.yaml").read_bytes()
    assert files.keys() == {
        "sweep.yaml",
        *(f"roadmap.{form}" for form in ("html", "json", "md", "png", "svg")),
    }
    experiment = MlflowClient(uri).get_experiment_by_name("zoo")
    assert experiment is not None
    page = experiment.tags["mlflow.note.content"]
    [run_id] = re.findall(r"!\[.*\]\(get-artifact\?path=roadmap\.svg&run_uuid=(\w+)\)", page)
    assert MlflowClient(uri).get_run(run_id).info.run_name == "roadmap"
    assert page.startswith("**val/acc1 (higher is better) from baseline to ")
    assert files["roadmap.md"].decode()[-500:].strip() in page


@pytest.mark.parametrize("forgotten", ["nothing", "the mirror", "the run ids too"])
def test_writing_twice_adds_nothing(
    mirror_to: MakeMirror, content: Content, uri: str, zoo: Path, forgotten: str
) -> None:
    mirror = mirror_to(uri)
    mirror.sync()
    expected = content(uri)
    if forgotten != "nothing":
        mirror = mirror_to(uri)
    if forgotten == "the run ids too":
        (zoo / "runs" / "zoo" / "mlflow_runs.json").unlink()
    mirror.sync()
    assert content(uri) == expected
    assert len(mlflow_run_ids(Store(zoo / "runs"), "zoo")) == 10


@pytest.mark.slow
def test_a_lost_database_is_made_again_as_it_was_while_the_sweep_ran(
    mirror_to: MakeMirror, content: Content, uri: str, zoo: Path, new_mlflow: NewMlflow
) -> None:
    live = mirror_to(uri)
    whole = {path: path.read_bytes() for path in zoo.glob("runs/zoo/trials/*/*.json*")}
    for stage in range(4):  # as the files grow while a sweep runs
        for path, written in whole.items():
            lines = written.splitlines(keepends=True)
            match path.name:
                case "attempts.jsonl":
                    path.write_bytes(b"".join(lines[: 1 if stage < 3 else None]))
                case "metrics.jsonl":
                    path.write_bytes(b"".join(lines[:stage]))
                case "result.json" if stage < 2:
                    path.unlink(missing_ok=True)
                case _:
                    path.write_bytes(written)
        for trial in reversed(live.trials):
            live.sync([trial])
    live.sync()
    rebuilt = new_mlflow("rebuilt.db")
    mirror_to(rebuilt).sync()
    assert content(uri) == content(rebuilt)


class Crashed(Exception):
    """The connection, or we, died."""


WRITES = {
    MlflowClient: [
        "create_experiment",
        "delete_run",
        "set_experiment_tag",
        "set_tag",
        "update_run",
    ],
    sqlite.Sqlite: ["create_run", "write", "end", "add_file", "add_text", "add_dataset"],
}
"""Every method that the mirror writes by."""
WRITES_TO_A_SERVER = {
    MlflowClient: [
        *WRITES[MlflowClient],
        "create_run",
        "log_batch",
        "log_inputs",
        "log_artifact",
        "log_text",
        "set_terminated",
    ]
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "writes", [WRITES, WRITES_TO_A_SERVER], ids=["straight", "by MLflow's client"]
)
def test_a_crash_after_any_call_leaves_nothing_that_the_next_sync_does_not_repair(
    content: Content,
    new_mlflow: NewMlflow,
    monkeypatch: pytest.MonkeyPatch,
    zoo: Path,
    writes: dict[type, list[str]],
) -> None:
    if writes is WRITES_TO_A_SERVER:
        monkeypatch.setitem(sqlite.COLUMNS, "runs", "of another version")
    small = trials_of(load_spec(zoo / "zoo.yaml"), dataset_digest, only=["rmsnorm"])

    def sync(uri: str) -> None:
        MlflowMirror(uri, load_spec(zoo / "zoo.yaml"), small, Store(zoo / "runs")).sync()

    sync(undisturbed := new_mlflow("undisturbed.db"))
    expected = content(undisturbed)
    calls = last = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            result = real(*arguments, **options)
            calls += 1
            if calls == last:
                raise Crashed("gone")
            return result

        return call

    for owner, names in writes.items():
        for name in names:
            monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    wrong = []
    every = 3 if writes is WRITES_TO_A_SERVER else 1  # the mirror is the same, and this is slower
    for last in range(1, 100, every):
        calls, uri = 0, new_mlflow(f"crash{last}.db")
        try:
            sync(uri)
        except TrackingError:
            sync(uri)
            sync(uri)
        else:
            break
        found = content(uri)
        wrong += [
            f"died after write {last}: {name}"
            for name in expected
            if found.get(name) != expected[name]
        ]
        wrong += [
            f"died after write {last}: {name} should not be" for name in found.keys() - expected
        ]
    assert last > 20
    assert not wrong


@pytest.mark.slow
def test_deleted_runs_and_experiments_come_back(
    mirror_to: MakeMirror, content: Content, uri: str
) -> None:
    mirror_to(uri).sync()
    expected = content(uri)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("zoo")
    assert experiment is not None
    for run in client.search_runs([experiment.experiment_id])[:3]:
        client.delete_run(run.info.run_id)
    mirror_to(uri).sync()
    assert content(uri) == expected
    client.delete_experiment(experiment.experiment_id)
    mirror_to(uri).sync()
    assert content(uri) == expected
    assert client.get_experiment_by_name("zoo").lifecycle_stage == "active"


@pytest.mark.parametrize("stage", ["active", "deleted"])
def test_an_experiment_that_a_slow_server_made_after_all_is_taken(
    mirror_to: MakeMirror, content: Content, uri: str, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    mirror_to(uri).sync()
    expected = content(uri)
    if stage == "deleted":
        MlflowClient(uri).delete_experiment("1")
    real, not_yet = MlflowClient.get_experiment_by_name, [None]
    monkeypatch.setattr(
        MlflowClient,
        "get_experiment_by_name",
        lambda client, name: not_yet.pop() if not_yet else real(client, name),
    )
    mirror_to(uri).sync()
    assert not_yet == []
    assert content(uri) == expected


def write_as(trained: TrialDirectory, place: TrialDirectory, trial: TrialSpec) -> None:
    """The same course as another trial's."""
    place.write_trial(trial, {})
    number = place.start_attempt("invented", {})
    for line in trained.metrics():
        MetricsLog(place)(line["metrics"], line["iteration"])
    content = read_json(trained.result_path) | {"fingerprint": trial.fingerprint}
    place.write_result(Outcome.FINISHED, content)
    place.end_attempt(number, Outcome.FINISHED)


@pytest.mark.slow
def test_one_trial_more_asks_no_more_however_many_there_are(
    zoo: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (zoo / "zoo.yaml").write_text(
        (zoo / "zoo.yaml").read_text().replace("seeds:\n- 0\n- 1\n", f"seeds: {list(range(40))}\n")
    )
    spec, store = load_spec(zoo / "zoo.yaml"), Store(zoo / "runs")
    trials = trials_of(spec, lambda data: "sha256:0", only=["baseline"])  # none that is there
    [trained] = zoo.glob("runs/zoo/trials/baseline-seed0-*")
    for trial in trials[:-1]:
        write_as(TrialDirectory(trained), store.directory(trial), trial)
    mirror = MlflowMirror(uri, spec, trials, store)
    mirror.sync(trials[:3])
    asked: list[object] = []
    real = Store.record
    monkeypatch.setattr(
        Store, "record", lambda *arguments: asked.append(arguments) or real(*arguments)
    )
    assert mirror._experiment is not None
    assert isinstance(mirror._experiment._api, sqlite.Sqlite)
    mirror._experiment._api._database.set_trace_callback(asked.append)
    counts = []
    for trial in trials[3:-1]:
        asked.clear()
        mirror.sync([trial])
        counts.append(len(asked))
    assert len(set(counts)) == 1, counts
    assert 10 < counts[0] < 100


def test_the_run_of_each_trial_is_written_beside_the_trials(
    mirror_to: MakeMirror, zoo: Path, uri: str
) -> None:
    store = Store(zoo / "runs")
    assert mlflow_run_ids(store, "zoo") == {}
    mirror = mirror_to(uri)
    mirror.sync()
    found = mlflow_run_ids(store, "zoo")
    assert found.keys() == {run_key(trial) for trial in mirror.trials}
    assert len(set(found.values())) == len(found)


def test_of_a_trial_that_lost_files_mlflow_shows_the_others(
    mirror_to: MakeMirror, content: Content, zoo: Path, uri: str
) -> None:
    for file, name in (
        ("trial.json", "baseline"),
        ("attempts.jsonl", "rmsnorm"),
        ("metrics.jsonl", "causal"),
    ):
        [folder] = zoo.glob(f"runs/zoo/trials/{name}-seed0-*")
        (folder / file).unlink()
    mirror_to(uri).sync()
    runs = content(uri)
    assert all(
        runs[f"{name}-seed0"]["status"] == "FINISHED" for name in ("baseline", "rmsnorm", "causal")
    )


def test_a_trial_that_was_never_begun_has_no_run(
    mirror_to: MakeMirror, content: Content, zoo: Path, uri: str
) -> None:
    for folder in (zoo / "runs" / "zoo" / "trials").glob("rmsnorm-*"):
        shutil.rmtree(folder)
    mirror_to(uri).sync()
    assert not [name for name in content(uri) if name.startswith("rmsnorm")]


@pytest.mark.slow
def test_a_trial_reused_from_another_sweep_has_a_run_in_both(
    uri: str, zoo: Path, content: Content
) -> None:
    text = (zoo / "zoo.yaml").read_text().replace("name: zoo", "name: copy")
    (zoo / "copy.yaml").write_text(text)
    store = Store(zoo / "runs")
    for name in ("zoo", "copy"):
        spec = load_spec(zoo / f"{name}.yaml")
        store.prepare(name)
        MlflowMirror(uri, spec, trials_of(spec, dataset_digest), store).sync()
    client = MlflowClient(uri)
    counts = {}
    for name in ("zoo", "copy"):
        experiment = client.get_experiment_by_name(name)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        counts[name] = Counter(run.data.tags.get("sweep.outcome", "roadmap") for run in runs)
    assert counts["zoo"] - counts["copy"] == {
        "failed": 2,
        "2 failed": 1,
    }  # a failure is nothing to reuse
    assert not counts["copy"] - counts["zoo"]


@pytest.mark.slow
def test_a_server_that_is_down_is_a_tracking_error_within_seconds(
    mirror_to: MakeMirror, uri: str
) -> None:
    started = time.monotonic()
    with pytest.raises(
        TrackingError, match=r"cannot write to MLflow at http://127\.0\.0\.1:9: Connection refused$"
    ) as caught:
        mirror_to("http://user:secret@127.0.0.1:9").sync()
    assert time.monotonic() - started < 60
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("uri", ["sqlite:////proc/nowhere/mlflow.db", "nonsense://x"])
def test_a_place_that_cannot_be_written_is_a_tracking_error(
    mirror_to: MakeMirror, uri: str
) -> None:
    with pytest.raises(TrackingError, match="cannot write to MLflow at"):
        mirror_to(uri).sync()


def test_the_default_place_is_in_the_store(zoo: Path) -> None:
    assert default_tracking_uri(Store(zoo / "runs")) == f"sqlite:///{zoo / 'runs' / 'mlflow.db'}"


def test_outcomes_of_the_zoo_are_as_the_tests_assume(zoo: Path) -> None:
    spec = load_spec(zoo / "zoo.yaml")
    store = Store(zoo / "runs")
    outcomes = {
        trial.variant: store.record(trial).outcome for trial in trials_of(spec, dataset_digest)
    }
    assert outcomes == {
        "baseline": Outcome.FINISHED,
        "rmsnorm": Outcome.FINISHED,
        "causal": Outcome.COLLAPSED,
        "too_fast": Outcome.DIVERGED,
        "broken": Outcome.FAILED,
    }


EDITS = {
    "a seed less": ("seeds:\n- 0\n- 1\n", "seeds:\n- 1\n"),
    "another order": (
        "- name: rmsnorm",
        "- name: layernorm_again\n  change: {model.norm: layernorm, train.lr: 0.02}\n"
        "- name: rmsnorm",
    ),
    "another step": ("model.norm: rmsnorm", "model.norm: rmsnorm\n    train.min_lr: 0.001"),
    "a step less": ("- name: broken\n  change:\n    model.num_classes: 3\n", ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_sweep_shows_what_a_new_one_would_and_keeps_what_was_trained_before(
    mirror_to: MakeMirror, content: Content, uri: str, zoo: Path, new_mlflow: NewMlflow, edit: str
) -> None:
    mirror_to(uri).sync()
    before = content(uri)
    text = (zoo / "zoo.yaml").read_text()
    edited = text.replace(*EDITS[edit])
    assert edited != text
    (zoo / "zoo.yaml").write_text(edited)
    mirror_to(uri).sync()
    mirror_to(rebuilt := new_mlflow("rebuilt.db")).sync()
    found, expected = content(uri), content(rebuilt)
    earlier = {name: run for name, run in found.items() if run["parent"] == "earlier trials"}
    shown = {
        name: run for name, run in found.items() if name not in earlier and name != "earlier trials"
    }
    superfluous = {"model.num_classes"} if edit == "a step less" else set()
    for run in (
        shown.values()
    ):  # of a trial that is asked for as before, a param that nothing changes any more stays
        run["params"] = {
            key: value for key, value in run["params"].items() if key not in superfluous
        }
    assert shown == expected
    assert earlier.keys() == {name for name in before if "-seed" in name} - expected.keys()
    assert all(run["metrics"] == before[name]["metrics"] for name, run in earlier.items())
    (zoo / "zoo.yaml").write_text(text)
    mirror_to(uri).sync()
    again = content(uri)
    assert {name: run["parent"] for name, run in again.items()} == {
        name: run["parent"] for name, run in before.items()
    }
    assert {name: run["latest"] for name, run in again.items()} == {
        name: run["latest"] for name, run in before.items()
    }


@pytest.mark.slow
def test_runs_that_were_deleted_by_hand_are_left_alone_on_request(
    mirror_to: MakeMirror, content: Content, uri: str
) -> None:
    mirror_to(uri).sync()
    expected = content(uri)
    gone = ["rmsnorm-seed0", "2 causal", "roadmap"]
    client = MlflowClient(uri)
    for run in client.search_runs([client.get_experiment_by_name("zoo").experiment_id]):
        if run.info.run_name in gone:
            client.delete_run(run.info.run_id)
    keeping = mirror_to(uri, restore_deleted=False)
    for trials in (keeping.trials, None):
        keeping.sync(trials)
        assert content(uri).keys() == expected.keys() - set(gone)
    mirror_to(uri).sync()
    assert content(uri) == expected


def test_a_run_that_is_deleted_by_hand_while_the_sweep_runs_stays_so_and_stops_no_other(
    mirror_to: MakeMirror, content: Content, uri: str, zoo: Path
) -> None:
    live = mirror_to(uri, restore_deleted=False)
    [attempts] = zoo.glob("runs/zoo/trials/rmsnorm-seed0-*/attempts.jsonl")
    lines = attempts.read_text().splitlines(keepends=True)
    attempts.write_text(lines[0])
    live.sync(live.trials)
    [experiment] = MlflowClient(uri).search_experiments(filter_string="name = 'zoo'")
    [run] = MlflowClient(uri).search_runs(
        [experiment.experiment_id], "attributes.run_name = 'rmsnorm-seed0'"
    )
    MlflowClient(uri).delete_run(run.info.run_id)
    attempts.write_text("".join(lines))
    with pytest.raises(TrackingError):
        live.sync(live.trials)
    for trials in (live.trials, None):  # as the next time
        live.sync(trials)
    assert {name for name in content(uri) if "seed" in name} == {
        f"{name.split()[1]}-seed{seed}" for name in ROAD for seed in (0, 1)
    } - {"rmsnorm-seed0"}


@pytest.mark.slow
def test_sync_restores_what_was_deleted_unless_it_is_told_not_to(
    cli: Callable[..., Any], content: Content, uri: str, zoo: Path
) -> None:
    sync = ("sync", zoo / "zoo.yaml", "--store", zoo / "runs")
    assert cli(*sync).code == 0
    expected = content(uri)
    client = MlflowClient(uri)
    [experiment] = client.search_experiments(filter_string="name = 'zoo'")
    [run] = client.search_runs([experiment.experiment_id], "attributes.run_name = 'causal-seed0'")
    client.delete_run(run.info.run_id)
    assert cli(*sync, "--keep-deleted").code == 0
    assert content(uri).keys() == expected.keys() - {"causal-seed0"}
    assert cli(*sync).code == 0
    assert content(uri) == expected


@pytest.mark.slow
def test_a_run_that_was_made_twice_because_an_answer_got_lost_is_there_once(
    mirror_to: MakeMirror,
    content: Content,
    uri: str,
    monkeypatch: pytest.MonkeyPatch,
    new_mlflow: NewMlflow,
) -> None:
    mirror_to(expected := new_mlflow("calm.db")).sync()
    real = MlflowClient.create_run

    def twice(*arguments: Any, **options: Any) -> Any:
        real(*arguments, **options)
        return real(*arguments, **options)

    with monkeypatch.context() as unlucky:
        unlucky.setattr(MlflowClient, "create_run", twice)
        mirror_to(uri).sync()
    mirror_to(uri).sync()
    assert content(uri) == content(expected)


@pytest.mark.slow
def test_a_param_that_mlflow_would_refuse_stops_nothing(
    mirror_to: MakeMirror, content: Content, uri: str
) -> None:
    mirror_to(uri).sync()
    expected = content(uri)
    client = MlflowClient(uri)
    [experiment] = client.search_experiments(filter_string="name = 'zoo'")
    for name, run in expected.items():
        if name in ("0 baseline", "causal-seed1"):  # as an older version would have written it
            [found] = client.search_runs(
                [experiment.experiment_id], f"attributes.run_name = '{name}'"
            )
            client.set_tag(found.info.run_id, "sweep.replaced", "true")
            client.delete_run(found.info.run_id)
            tags = run["tags"] | ({"sweep.state": "running 1"} if run["parent"] else {})
            made = client.create_run(
                experiment.experiment_id, run["start"], tags=tags, run_name=name
            )
            client.log_param(made.info.run_id, "step", "another")
    mirror_to(uri).sync()
    assert content(uri) == expected
