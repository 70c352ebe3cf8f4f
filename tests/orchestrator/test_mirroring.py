"""The view is brought up to date beside the sweep and never holds it up."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invented import NORM, spec_of
from rich.console import Console

from illama.data.datasets import dataset_digest
from orchestrator.cli.run_view import ConsoleView
from orchestrator.errors import StoreError
from orchestrator.outcomes import Outcome
from orchestrator.planning.plan import trials_of
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.mlflow_runs import mlflow_run_ids, run_key
from orchestrator.store.store import Store
from orchestrator.tracking import MlflowMirror
from orchestrator.tracking import background as mirroring
from orchestrator.tracking.background import BackgroundMirror
from orchestrator.trial import TrialSpec

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture
def mirror_to(zoo: Path) -> Callable[[str], MlflowMirror]:
    spec = load_spec(zoo / "zoo.yaml")
    return lambda uri: MlflowMirror(uri, spec, trials_of(spec, dataset_digest), Store(zoo / "runs"))


def test_everything_is_mirrored_when_the_sweep_is_over(
    mirror_to: Callable[[str], MlflowMirror], new_mlflow: Callable[..., str], zoo: Path
) -> None:
    said = io.StringIO()
    with BackgroundMirror(mirror_to(new_mlflow()), ConsoleView(Console(file=said))):
        pass
    assert len(mlflow_run_ids(Store(zoo / "runs"), "zoo")) == 10
    assert said.getvalue() == ""


@pytest.mark.slow
def test_what_shares_a_training_that_failed_has_a_run_that_says_so(
    tmp_path: Path, new_mlflow: Callable[..., str]
) -> None:
    spec = spec_of(tmp_path, "design: [roadmap, one_factor]\n" + NORM, 1)
    store, trials = Store(tmp_path / "runs"), trials_of(spec, dataset_digest)
    [norm] = [trial for trial in trials if trial.variant == "norm"]
    store.prepare(spec.name)
    directory = store.directory(norm)
    directory.write_trial(norm, {})
    directory.start_attempt("s", {})
    directory.end_attempt(1, Outcome.FAILED, "no such file")
    mirror = MlflowMirror(new_mlflow(), spec, trials, store)
    mirror.sync()
    names = {key.split()[0] for key in mlflow_run_ids(store, spec.name)}
    assert names == {"norm-seed0", "only.norm-seed0"}


def test_everything_is_mirrored_while_the_executor_clears_up(
    mirror_to: Callable[[str], MlflowMirror],
    new_mlflow: Callable[..., str],
    zoo: Path,
    wait_until: Callable[..., None],
) -> None:
    with BackgroundMirror(
        mirror_to(new_mlflow()), ConsoleView(Console(file=io.StringIO()))
    ) as background:
        background.finished()
        wait_until(
            lambda: len(mlflow_run_ids(Store(zoo / "runs"), "zoo")) == 10, "all trials are there"
        )


def test_a_trial_shows_up_while_it_runs(
    mirror_to: Callable[[str], MlflowMirror],
    new_mlflow: Callable[..., str],
    zoo: Path,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: Callable[..., None],
) -> None:
    monkeypatch.setattr(mirroring, "_PERIOD_SECONDS", 0.05)
    mirror = mirror_to(new_mlflow())
    first, second = mirror.trials[:2]
    trained = zoo / "runs" / "zoo" / "trials"
    not_yet = trained.rename(trained.with_name("not yet"))
    trained.mkdir()

    def appears(trial: TrialSpec) -> None:
        folder = not_yet / trial.directory_name
        folder.rename(trained / trial.directory_name)

    with BackgroundMirror(mirror, ConsoleView(Console(file=io.StringIO()))) as background:
        appears(first)
        background.started(first)
        wait_until(
            lambda: mlflow_run_ids(Store(zoo / "runs"), "zoo").keys() == {run_key(first)},
            "the first is there",
        )
        appears(second)
        background.ended(second, Outcome.FINISHED)
        wait_until(
            lambda: len(mlflow_run_ids(Store(zoo / "runs"), "zoo")) == 2, "the second is there"
        )


def test_what_was_done_before_is_there_before_anything_new_ends(
    mirror_to: Callable[[str], MlflowMirror],
    new_mlflow: Callable[..., str],
    zoo: Path,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: Callable[..., None],
) -> None:
    monkeypatch.setattr(mirroring, "_PERIOD_SECONDS", 0.05)
    with BackgroundMirror(mirror_to(new_mlflow()), ConsoleView(Console(file=io.StringIO()))):
        wait_until(lambda: len(mlflow_run_ids(Store(zoo / "runs"), "zoo")) == 10, "all are there")


@pytest.mark.slow
def test_an_effect_is_there_before_the_sweep_is_over_and_its_p_value_after(
    mirror_to: Callable[[str], MlflowMirror],
    new_mlflow: Callable[..., str],
    zoo: Path,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: Callable[..., None],
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr(mirroring, "_PERIOD_SECONDS", 0.05)
    monkeypatch.setattr(mirroring, "_EFFECTS_SECONDS", 0.0)
    mirror = mirror_to(new_mlflow())
    client = MlflowClient(mirror.tracking_uri)
    trained = zoo / "runs" / "zoo" / "trials"
    [last] = trained.glob("causal-seed1-*")
    not_yet = last.rename(zoo / last.name)

    def step(name: str) -> Any:
        experiment = client.get_experiment_by_name("zoo")
        ids = [experiment.experiment_id] if experiment else []
        runs = (
            client.search_runs(
                ids, f"tags.`sweep.kind` = 'variant' and tags.`sweep.variant` = '{name}'"
            )
            if ids
            else []
        )
        return runs[0] if runs else None

    with BackgroundMirror(mirror, ConsoleView(Console(file=io.StringIO()))):
        wait_until(
            lambda: (run := step("rmsnorm")) and "delta_previous/mean" in run.data.metrics,
            "the effect is there",
        )
        early = step("rmsnorm")
        assert not {"delta_previous/p_value", "effect/p"} & early.data.metrics.keys()
        assert not any("delta" in name for name in step("too_fast").data.metrics), (
            "what it is held against is under way"
        )
        not_yet.rename(last)
    late = step("rmsnorm")
    assert late.info.run_id == early.info.run_id
    p_values = {name: late.data.metrics[name] for name in ("delta_previous/p_value", "effect/p")}
    assert late.data.metrics == early.data.metrics | p_values
    assert "delta_baseline/p_value" not in late.data.metrics  # described, not tested
    assert "delta_previous/mean" in step("causal").data.metrics


def test_a_view_that_cannot_be_written_is_said_once_and_stops_nothing(
    mirror_to: Callable[[str], MlflowMirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "_PERIOD_SECONDS", 0.01)
    said = io.StringIO()
    mirror = mirror_to("nonsense://x")
    with BackgroundMirror(mirror, ConsoleView(Console(file=said))) as background:
        for trial in mirror.trials:
            background.started(trial)
            time.sleep(0.01)
            background.ended(trial, Outcome.FINISHED)
    [line] = said.getvalue().splitlines()
    assert "cannot write to MLflow at nonsense://x" in line
    assert "No trial is affected; `orchestrator sync` updates the view." in line


def test_a_store_that_cannot_be_read_at_the_end_is_said_too(
    mirror_to: Callable[[str], MlflowMirror], new_mlflow: Callable[..., str]
) -> None:
    def finish(mirror: MlflowMirror) -> None:
        raise StoreError("result.json is damaged")

    said = io.StringIO()
    with BackgroundMirror(mirror_to(new_mlflow()), ConsoleView(Console(file=said)), finish=finish):
        pass
    assert "result.json is damaged. No trial is affected" in said.getvalue()


def test_a_view_that_comes_back_gets_what_it_missed(
    mirror_to: Callable[[str], MlflowMirror],
    new_mlflow: Callable[..., str],
    zoo: Path,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: Callable[..., None],
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr(mirroring, "_PERIOD_SECONDS", 0.01)
    said = io.StringIO()
    mirror = mirror_to(new_mlflow())
    refused: list[Any] = []

    def down(*arguments: Any, **options: Any) -> None:
        refused.append(arguments)
        raise ConnectionError("down")

    with BackgroundMirror(mirror, ConsoleView(Console(file=said))) as background:
        with monkeypatch.context() as outage:
            outage.setattr(MlflowClient, "get_experiment_by_name", down)
            background.ended(mirror.trials[0], Outcome.FINISHED)
            wait_until(lambda: len(refused) > 1, "the server refused")
        wait_until(
            lambda: run_key(mirror.trials[0]) in mlflow_run_ids(Store(zoo / "runs"), "zoo"),
            "it came back",
        )
    assert said.getvalue() == ""


def test_a_view_that_hangs_does_not_hold_up_the_end(
    mirror_to: Callable[[str], MlflowMirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr(mirroring, "_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(MlflowClient, "__init__", lambda *arguments, **options: time.sleep(3))
    written = []
    monkeypatch.setattr(
        MlflowClient, "get_experiment_by_name", lambda *arguments: written.append("asked")
    )
    said = io.StringIO()
    started = time.monotonic()
    with BackgroundMirror(mirror_to("nonsense://x"), ConsoleView(Console(file=said))) as background:
        pass
    assert time.monotonic() - started < 2
    assert "MLflow did not accept everything within" in said.getvalue()
    background._thread.join()
    assert written == [], "whoever mirrors next is the only writer"
