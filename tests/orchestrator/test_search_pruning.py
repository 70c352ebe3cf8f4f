"""Hopeless combinations of a search are stopped early, by results alone: the same ones at the
same epochs however it went.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invented import digest, snapshot_of, spec_of

from orchestrator.analysis.roadmap import build_roadmap
from orchestrator.driver import Ending, Job, run_sweep
from orchestrator.errors import SpecError
from orchestrator.executors.local import run_locally
from orchestrator.outcomes import Outcome, State
from orchestrator.planning.lookup import Lookup
from orchestrator.planning.plan import Action, Plan, later_trials, make_plan, trials_of
from orchestrator.planning.search import Suggestions, with_searches
from orchestrator.pruning import Pruning
from orchestrator.report.formats import render
from orchestrator.running.queue import TrialQueue
from orchestrator.running.worker import run_trial
from orchestrator.spec.search_space import Tried
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.spec.warnings import warnings_of
from orchestrator.store.lease import Lease
from orchestrator.store.store import MetricsLog, Store, TrialDirectory
from orchestrator.trial import TrialSpec

SEARCHED = """
steps:
  - name: swiglu
    change: {model.feed_forward: swiglu}
    search:
      space: {train.lr: {low: 5e-4, high: 5e-2, log: true}}
      trials: 12
      at_once: 3
      seeds: [100, 101]
      prune: {after: 2}
"""
UNPRUNED = SEARCHED.replace("      prune: {after: 2}\n", "")
EPOCHS = 6


def by_lr(trial: TrialSpec, epoch: int) -> float:
    """Best at about 0.01, with ups and downs, and each seed a little otherwise."""
    lr = trial.config.train.lr
    return 10.0 * epoch - abs(lr - 0.01) * 1000 - 10 * math.sin(1e5 * lr) - trial.seed % 7


class Trained:
    """A store whose trials have the curves that a function says."""

    def __init__(self, root: Path, value_at: Callable[[TrialSpec, int], float] = by_lr) -> None:
        root.mkdir()
        self.root, self.value_at, self.store = root, value_at, Store(root)
        self.epochs = 0
        """Trained in all."""

    def known(self, spec: SweepSpec) -> SweepSpec:
        lookup = Lookup(spec, digest, Store(self.root))
        return with_searches(spec, lookup, Suggestions(self.root, keeps=True))

    def plan(self, spec: SweepSpec) -> Plan:
        known = self.known(spec)
        return make_plan(
            snapshot_of(
                known, trials_of(known, digest), Store(self.root).record, later_trials(known)
            )
        )

    def train(self, trial: TrialSpec, epochs: int = EPOCHS) -> None:
        """As a worker does it, or as far as one gets that is killed after so many epochs; it
        goes on where it was.
        """
        directory = self.store.directory(trial)
        directory.write_trial(trial, {})
        number = directory.start_attempt("mine", {})
        log = MetricsLog(directory)
        for epoch in range(int(directory.record().epoch) + 1, epochs + 1):
            log(
                {
                    "epoch": float(epoch),
                    "val/acc1": self.value_at(trial, epoch),
                    "time/epoch_seconds": 0.5,
                },
                10 * epoch,
            )
            self.epochs += 1
            if trial.pruning and (pruned := directory.record_of_pruned(trial.pruning)):
                directory.end_attempt(number, Outcome.PRUNED, pruned.cause)
                return
        if epochs == EPOCHS:
            metrics = {"val/acc1": self.value_at(trial, EPOCHS)}
            content = {
                "metrics": metrics,
                "best": metrics,
                "epochs": EPOCHS,
                "seconds": 3.0,
                "attempts": number,
            }
            directory.write_result(Outcome.FINISHED, content)
            directory.end_attempt(number, Outcome.FINISHED)

    def run(
        self, spec: SweepSpec, order: int = 1, at_once: int = 99, epochs: int = EPOCHS
    ) -> SweepSpec:
        while todo := self.plan(spec).to_train(retry_failed=False):
            for trial in todo[::order][:at_once]:
                self.train(trial, epochs)
                self.train(trial) if epochs < EPOCHS and self.store.record(
                    trial
                ).state is State.INTERRUPTED else None
        return self.known(spec)


def ends(spec: SweepSpec) -> list[tuple[Any, ...]]:
    [search] = spec.searches
    return [
        (*point.values.values(), point.outcome, point.pruned_at, point.mean)
        for point in search.tried
    ]


def outcomes(tried: Sequence[Tried]) -> list[str]:
    return [point.outcome for point in tried]


@pytest.mark.slow
def test_what_is_pruned_depends_on_results_alone(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SEARCHED)
    whole = Trained(tmp_path / "whole")
    known = whole.run(spec)
    [search] = known.searches
    assert outcomes(search.tried[:3]) == ["finished"] * 3, (
        "the first generation, the settings without a search among it"
    )
    assert outcomes(search.tried[3:]).count("pruned") >= 2
    assert all(
        point.pruned_at in (2, 3, 4, 5) for point in search.tried if point.outcome == "pruned"
    )
    assert whole.epochs < 30 * EPOCHS + 3 * 3 * EPOCHS, "it was worth it"
    backwards = Trained(tmp_path / "backwards").run(spec, order=-1, at_once=1)
    killed = Trained(tmp_path / "killed").run(spec, epochs=3)
    assert ends(backwards) == ends(killed) == ends(known)
    assert killed.searches[0].chosen.values == search.chosen.values  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_trial_that_was_trained_in_full_before_is_judged_as_if_it_were_trained_now(
    tmp_path: Path,
) -> None:
    late = 0.02

    def value_at(trial: TrialSpec, epoch: int) -> float:
        """Large rates learn nothing until the end, and are the best there."""
        return 99.0 if trial.config.train.lr > late and epoch == EPOCHS else by_lr(trial, epoch)

    fresh = Trained(tmp_path / "fresh", value_at)
    pruned = fresh.run(spec_of(tmp_path, SEARCHED))
    before = Trained(tmp_path / "before", value_at)
    before.run(spec_of(tmp_path, UNPRUNED))
    again = before.run(spec_of(tmp_path, SEARCHED))
    assert ends(again) == ends(pruned)
    assert any(
        point.values["train.lr"] > late
        for point in again.searches[0].tried
        if point.outcome == "pruned"
    )
    assert again.searches[0].chosen.outcome == "finished"  # type: ignore[union-attr]


@pytest.mark.slow
def test_each_seed_is_held_against_itself(tmp_path: Path) -> None:
    [search] = (
        Trained(tmp_path / "runs", lambda t, epoch: by_lr(t, epoch) + (500 if t.seed == 101 else 0))
        .run(spec_of(tmp_path, SEARCHED))
        .searches
    )
    tables = [{trial.seed: trial.pruning for trial in point.trials} for point in search.tried]
    assert tables[0] == tables[2] == {100: None, 101: None}
    assert sorted(tables[3][100].thresholds) == [2, 3, 4, 5]  # type: ignore[union-attr]
    assert tables[3][100].thresholds[2] < 100 < 400 < tables[3][101].thresholds[2]  # type: ignore[union-attr]
    assert tables[3] == tables[4] == tables[5] != tables[-1], "a generation is told the same"


@pytest.mark.slow
def test_where_one_seed_is_good_enough_the_others_go_on_so_that_the_mean_is_over_all(
    tmp_path: Path,
) -> None:
    def value_at(trial: TrialSpec, epoch: int) -> float:
        """The second seed has no luck until the end, from the fourth combination on."""
        has_luck = (
            trial.seed == 100 or epoch == EPOCHS or int(trial.variant.partition("@")[2] or 0) <= 3
        )
        return by_lr(trial, epoch) if has_luck else -1000.0

    trained = Trained(tmp_path / "runs", value_at)
    [search] = trained.run(spec_of(tmp_path, SEARCHED)).searches
    later_generations = search.tried[3:]
    assert {"finished", "pruned"} == set(outcomes(later_generations))
    for point in later_generations:
        first, second = (trained.store.record(trial) for trial in point.trials)
        if point.outcome == "pruned":
            assert first.outcome is second.outcome is Outcome.PRUNED
        else:
            assert point.trials[1].pruning is None, "it was stopped, and asked for again in full"
            assert second.attempts == 2
            assert (
                point.mean
                == (value_at(point.trials[0], EPOCHS) + value_at(point.trials[1], EPOCHS)) / 2
            )


@pytest.mark.slow
def test_a_metric_that_shrinks_is_pruned_where_it_does_not(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SEARCHED + "metric: {name: val/loss, mode: min}\n")
    trained = Trained(tmp_path / "runs")
    log = MetricsLog.__call__

    def as_loss(self: MetricsLog, metrics: Mapping[str, float], iteration: int) -> None:
        log(self, {**metrics, "val/loss": 100 - metrics["val/acc1"]}, iteration)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MetricsLog, "__call__", as_loss)
        patch.setattr(
            "orchestrator.store.store.TrialDirectory.write_result",
            lambda self, outcome, content: _write_loss(
                self.result_path, content["metrics"]["val/acc1"]
            ),
        )
        found = ends(trained.run(spec))
    maximised = ends(Trained(tmp_path / "max").run(spec_of(tmp_path, SEARCHED)))
    assert [(lr, outcome, at) for lr, outcome, at, _ in found] == [
        (lr, outcome, at) for lr, outcome, at, _ in maximised
    ]


def _write_loss(path: Path, accuracy: float) -> None:
    metrics = {"val/loss": 100 - accuracy}
    path.write_text(
        json.dumps({"outcome": "finished", "metrics": metrics, "best": metrics, "seconds": 3.0})
    )


def test_optuna_hears_that_it_was_pruned_and_where_it_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna

    told: list[dict[str, Any]] = []
    make = optuna.create_trial
    monkeypatch.setattr(optuna.trial, "create_trial", lambda **how: told.append(how) or make(**how))
    [search] = Trained(tmp_path / "runs").run(spec_of(tmp_path, SEARCHED)).searches
    heard = {how["params"]["train.lr"]: how for how in told}
    point = next(point for point in search.tried[:9] if point.outcome == "pruned")
    how = heard[point.values["train.lr"]]
    reached = sum(curve[point.pruned_at] for curve in point.curves.values() if point.pruned_at) / 2
    assert (how["state"], how["intermediate_values"]) == (
        optuna.trial.TrialState.PRUNED,
        {point.pruned_at: reached},
    )
    assert heard[search.tried[0].values["train.lr"]]["values"] == [search.tried[0].mean]


@pytest.mark.slow
def test_who_asks_for_it_in_full_trains_it_on(tmp_path: Path) -> None:
    spec, trained = spec_of(tmp_path, SEARCHED), Trained(tmp_path / "runs")
    trained.run(spec)
    plan = trained.plan(spec)
    pruned = next(it for it in plan.trials if it.record.outcome is Outcome.PRUNED)
    assert (pruned.action, pruned.record.state) == (Action.DONE, State.DONE)
    assert not plan.to_train(retry_failed=True)
    in_full = replace(pruned.trial, pruning=None)
    [same] = make_plan(snapshot_of(spec, [in_full], Store(trained.root).record)).trials
    assert (same.action, same.record.state) == (Action.CONTINUE, State.INTERRUPTED)
    other = replace(in_full, variant="other@1")
    both = make_plan(snapshot_of(spec, [pruned.trial, other], Store(trained.root).record)).trials
    assert [it.action for it in both] == [Action.DONE, Action.NEW], (
        "the search's result is nobody else's"
    )
    before = trained.epochs
    trained.train(in_full)
    assert trained.epochs - before == EPOCHS - pruned.record.epoch
    both = make_plan(snapshot_of(spec, [pruned.trial, other], Store(trained.root).record)).trials
    assert [(it.action, it.record.outcome) for it in both] == [
        (Action.DONE, "pruned"),
        (Action.REUSE, "finished"),
    ]


@pytest.mark.parametrize("name", ["swiglu@1", "other@1"])
def test_the_queue_hands_it_out_again_where_it_is_asked_for_in_full(
    tmp_path: Path, name: str
) -> None:
    spec, trained = spec_of(tmp_path, SEARCHED), Trained(tmp_path / "runs")
    first = trained.plan(spec).to_train(retry_failed=False)[3]
    judged, in_full = (
        replace(first, pruning=Pruning("val/acc1", "max", {2: 1e9})),
        replace(first, variant=name),
    )

    def more(is_idle: bool) -> list[TrialSpec]:
        return make_plan(snapshot_of(spec, [judged, in_full], Store(trained.root).record)).to_train(
            retry_failed=False
        )

    queue, order = TrialQueue([judged], trained.store, "mine", {}, more=more), []
    while trial := queue.next():
        order.append(trial.name)
        trained.train(trial)
        queue.ended(trial, trained.store.record(trial).outcome)
    assert order == [judged.name, in_full.name]
    assert trained.epochs == EPOCHS + (2 if name != first.variant else 0), (
        "by the same name it goes on where it was"
    )


@pytest.mark.slow
def test_plan_and_report_say_how_many_were_stopped_and_the_estimate_learns_from_it(
    tmp_path: Path,
) -> None:
    spec, trained = spec_of(tmp_path, SEARCHED), Trained(tmp_path / "runs")
    for _ in range(2):
        for trial in trained.plan(spec).to_train(retry_failed=False):
            trained.train(trial)
    plan = trained.plan(spec)
    judged = [it for it in plan.trials if it.trial.pruning and it.record.state is State.DONE]
    left = [trial for it in plan.trials if it.action is Action.NEW for trial in [it.trial]] + list(
        plan.later
    )
    share = sum(it.record.epoch for it in judged) / EPOCHS / len(judged)
    assert share < 1
    assert plan.estimate.train_seconds == pytest.approx(
        sum(3.0 * (share if trial.pruning else 1.0) for trial in left), rel=0.1
    )
    known = trained.run(spec)
    [search] = known.searches
    roadmap = build_roadmap(
        snapshot_of(known, trials_of(known, digest), Store(trained.root).record)
    )
    assert (
        f"12 combinations with seeds 100, 101, {search.pruned} of them stopped early"
        in " ".join(render(roadmap, "table").decode().split())
    )
    shown = search.to_json()["trials"]
    assert [it.get("pruned_at") for it in shown] == [point.pruned_at for point in search.tried]
    page = render(roadmap, "html").decode()
    drawings = 2  # the metric over the setting, and over time
    assert page.count('class="tried pruned"') == drawings * search.pruned
    assert "Grey: pruned" in page
    assert (
        f"pruned at epoch {next(point.pruned_at for point in search.tried if point.pruned_at)}"
        in page
    )


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        (
            "{after: 6}",
            "17:22: prune.after is 6, but training has 6 epochs: nothing would be pruned",
        ),
        ("{after: 0}", "after"),
        ("{}", "after"),
        ("{after: 2, percentile: 100}", "percentile"),
        ("{after: 2}\n      sampler: grid", None),
    ],
)
def test_a_rule_that_cannot_stop_anything_is_refused(
    tmp_path: Path, prune: str, message: str | None
) -> None:
    body = SEARCHED.replace("{after: 2}", prune)
    if message is None:
        body = body.replace("      trials: 12\n", "").replace(
            "{low: 5e-4, high: 5e-2, log: true}", "[1e-3, 2e-3, 3e-3]"
        )
        message = (
            "of 3 combinations, 3 at once, none has 3 earlier ones to be compared with; try "
            "more, lower 'at_once'"
        )
    with pytest.raises(SpecError) as caught:
        spec_of(tmp_path, body)
    assert message in str(caught.value)


def test_another_rule_for_one_side_is_told(tmp_path: Path) -> None:
    search = (
        "search: {space: {train.lr: {low: 5e-4, high: 5e-2, log: true}}, trials: 12, "
        "at_once: 3, seeds: [100, 101]"
    )
    assert not [
        it
        for it in warnings_of(spec_of(tmp_path, f"{search}, prune: {{after: 2}}}}{SEARCHED}"))
        if "tuned" in it.code
    ]
    [warning] = [
        it for it in warnings_of(spec_of(tmp_path, f"{search}}}{SEARCHED}")) if "tuned" in it.code
    ]
    assert (
        "step 'swiglu' stops combinations early by a different rule than 'baseline'"
        in warning.message
    )


# With real trainings.

TABLE = Pruning("val/acc1", "max", {2: 1e9})
GRID: dict[str, Any] = {
    "space": {"train.lr": [1e-2, 8e-3, 1.2e-2, 1e-6, 1e-7]},
    "sampler": "grid",
    "seeds": [1000],
    "at_once": 3,
    "prune": {"after": 2},
}


@pytest.mark.slow
def test_a_worker_stops_there_and_goes_on_to_the_same_bits_when_it_is_asked_for_in_full(
    make_sweep: Callable[..., Any], bits_of: Callable[[Path], dict[str, Any]], store_path: Path
) -> None:
    sweep = make_sweep(
        seeds=[0, 1], **{"baseline.train.epochs": 4, "runtime.checkpoint_seconds": 1000}
    )
    trial, undisturbed = sweep.trials[0], replace(sweep.trials[0], sweep="undisturbed")
    directory = sweep.store.directory(trial)
    with Lease(sweep.path) as lease:
        directory.write_trial(replace(trial, pruning=TABLE), {})
        assert run_trial(directory.path, lease.session) is Outcome.PRUNED
        events = [json.loads(line) for line in directory.attempts_path.read_text().splitlines()]
        assert [(it["event"], it.get("outcome")) for it in events] == [
            ("start", None),
            ("end", "pruned"),
        ]
        assert "by epoch 2, where 1e+09 is needed to continue" in events[-1]["cause"]
        assert not directory.result_path.exists(), "it is nobody else's result"
        record = sweep.store.record(replace(trial, pruning=TABLE))
        assert (record.state, record.outcome, record.epoch, record.iteration) == (
            State.DONE,
            Outcome.PRUNED,
            2.0,
            6,
        )
        assert 0 < record.seconds < 60  # type: ignore[operator]
        directory.write_trial(trial, {})
        assert run_trial(directory.path, lease.session) is Outcome.FINISHED
    sweep.store.prepare("undisturbed")
    with Lease(sweep.store.sweep_path("undisturbed")) as lease:
        sweep.store.directory(undisturbed).write_trial(undisturbed, {})
        run_trial(sweep.store.directory(undisturbed).path, lease.session)
    assert list(bits_of(store_path / "tiny").values()) == list(
        bits_of(store_path / "undisturbed").values()
    )


def test_a_worker_that_was_killed_between_the_epoch_and_its_last_word_is_done_or_stops_at_once(
    make_sweep: Callable[..., Any],
) -> None:
    sweep = make_sweep(**{"baseline.train.epochs": 4})
    trial = replace(sweep.trials[0], pruning=TABLE)
    directory = sweep.store.directory(trial)
    with Lease(sweep.path) as lease:
        directory.write_trial(trial, {})
        run_trial(directory.path, lease.session)
        start, _ = directory.attempts_path.read_text().splitlines()
        directory.attempts_path.write_text(f"{start}\n")
        assert sweep.store.record(trial, lease.session).outcome is Outcome.PRUNED
        queue = TrialQueue([trial], sweep.store, lease.session, {})
        assert queue.next() is None
        assert queue.is_finished, "it does not go again"
        assert run_trial(directory.path, lease.session) is Outcome.PRUNED
    assert [line["iteration"] for line in directory.metrics()] == [3, 6]


@pytest.mark.slow
def test_a_run_with_pruned_trials_succeeds_and_again_does_nothing_until_the_rule_is_taken_out(
    cli: Callable[..., Any],
    write_spec: Callable[..., Path],
    store_path: Path,
    new_mlflow: Callable[..., str],
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(new_mlflow())
    spec = write_spec(
        steps=[{"name": "rms", "change": {"model.norm": "rmsnorm"}, "search": GRID}],
        **{"baseline.train.epochs": 4},
    )
    finished = cli("run", spec, "--store", store_path, "--executor", "local")
    assert finished.code == 0, finished.err
    assert "rms@4-seed1000 pruned at epoch 2/4 after " in finished.out
    status = cli("status", spec, "--store", store_path, "--json").json
    assert status["outcomes"] == {"finished": 5, "pruned": 2}
    files = {path: path.stat().st_mtime_ns for path in store_path.glob("tiny/trials/*/*")}
    assert cli("resume", spec, "--store", store_path, "--executor", "local").code == 0
    assert {path: path.stat().st_mtime_ns for path in store_path.glob("tiny/trials/*/*")} == files
    runs = client.search_runs(
        [client.get_experiment_by_name("tiny").experiment_id], "tags.`sweep.outcome` = 'pruned'"
    )
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    assert all(
        "where" in run.data.tags["sweep.cause"] and run.data.metrics["epoch"] == 2 for run in runs
    )
    in_full = {key: value for key, value in GRID.items() if key != "prune"}
    spec = write_spec(
        steps=[{"name": "rms", "change": {"model.norm": "rmsnorm"}, "search": in_full}],
        **{"baseline.train.epochs": 4},
    )
    assert "2 to continue" in cli("run", spec, "--store", store_path, "--executor", "local").out
    assert cli("status", spec, "--store", store_path, "--json").json["outcomes"] == {"finished": 7}


@pytest.mark.slow
def test_a_search_that_is_stopped_again_and_again_prunes_and_ends_as_one_that_never_was(
    write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    step = {"name": "rms", "change": {"model.norm": "rmsnorm"}, "search": GRID}
    spec = load_spec(write_spec(steps=[step], **{"baseline.train.epochs": 4}))

    def run(store: Path, executor: Callable[[TrialQueue], None] = run_locally) -> Ending:
        return run_sweep(Job(spec, Store(store), executor, None))

    def three_trials(queue: TrialQueue) -> None:
        for _ in range(3):
            if trial := queue.next():
                queue.ended(trial, run_trial(queue.store.directory(trial).path, queue.session))

    def curves(store: Path) -> dict[str, list[float]]:
        paths = store.glob("tiny/trials/*")
        return {path.name: list(TrialDirectory(path).curve("val/loss").values()) for path in paths}

    run(tmp_path / "whole")
    while run(tmp_path / "stopped", three_trials).plan.to_train(retry_failed=True):
        pass
    assert curves(tmp_path / "stopped") == curves(tmp_path / "whole")
    assert sorted(map(len, curves(tmp_path / "whole").values())) == [2, 2, 4, 4, 4, 4, 4]
