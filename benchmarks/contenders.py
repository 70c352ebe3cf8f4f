"""The ways to run many small trials that `benchmarks/overhead.py` compares: this project and its
peers, each as its documentation says, each trial doing the same (sleep so many seconds, report one
number).
"""

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Contender = Callable[[int, float, Path], None]
"""Takes how many trials, their seconds, and a scratch folder."""

SLOTS = 2


def ours(trials: int, seconds: float, scratch: Path, *, executor: str, tracking: bool) -> None:
    """A sweep of ten variants, planned, leased, trained, stored and, with `tracking`, mirrored
    into MLflow's SQLite.
    """
    import yaml

    from orchestrator.driver import Job, run_sweep
    from orchestrator.spec.sweep_spec import load_spec
    from orchestrator.store.store import Store
    from orchestrator.tracking import default_tracking_uri

    variants = 10
    steps = [
        {"name": f"step{index}", "change": {"train.lr": 1e-3 * (index + 1)}}
        for index in range(1, variants)
    ]
    baseline = {
        "model": {"name": "vit_digits"},
        "data": {"name": "digits"},
        "train": {"epochs": 1, "batch_size": 64, "lr": 1e-3},
    }
    sweep = {
        "name": "overhead",
        "seeds": list(range(trials // variants)),
        "baseline": baseline,
        "steps": steps,
    }
    (scratch / "overhead.yaml").write_text(yaml.safe_dump(sweep))
    store = Store(scratch / "runs")
    job = Job(
        spec=load_spec(scratch / "overhead.yaml"),
        store=store,
        executor=_local_executor(seconds) if executor == "local" else _ray_executor(seconds),
        tracking_uri=default_tracking_uri(store) if tracking else None,
        trains_elsewhere=executor != "local",
    )
    ending = run_sweep(job)
    done = len(list(scratch.glob("runs/overhead/trials/*/result.json")))
    if done != trials or ending.has_failures:
        raise SystemExit(f"only {done} of {trials} trials are done")


def _idle_training(seconds: float) -> Callable[..., Any]:
    def train(config: Any, *, log_metrics: Callable[..., None], **rest: Any) -> Any:
        from illama.training.results import TrainResult

        time.sleep(seconds)
        metrics = {"epoch": 1.0, "val/acc1": 1.0, "val/loss": 0.0}
        log_metrics(metrics, 1)
        return TrainResult(
            1,
            1,
            metrics,
            metrics,
            1,
            collapsed=False,
            params=0,
            seconds=seconds,
            peak_memory_bytes=0,
        )

    return train


def _local_executor(seconds: float) -> Any:
    import orchestrator.running.worker as worker
    from orchestrator.executors.local import run_locally

    worker.train = _idle_training(seconds)
    return run_locally


def _ray_executor(seconds: float) -> Any:
    from orchestrator.executors.ray import tune as ray_tune

    class IdleWorker(ray_tune._WarmWorker):
        """Everything a worker does, but the training."""

        def step(self) -> dict[str, Any]:
            import orchestrator.running.worker as worker

            worker.train = _idle_training(seconds)
            return super().step()

    ray_tune._WarmWorker = IdleWorker
    return ray_tune.run_on_ray


def ray_tune_as_it_comes(
    trials: int, seconds: float, scratch: Path, *, reuse: bool, mlflow: bool
) -> None:
    """Ray Tune with a class of one step; with `reuse` its actors are kept, with `mlflow` its own
    callback tracks.
    """
    import logging

    import ray
    from ray import tune

    class Idle(tune.Trainable):
        def step(self) -> dict[str, Any]:
            time.sleep(seconds)
            return {"val": 1.0, "done": True}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

    callbacks = []
    if mlflow:
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        callbacks = [
            MLflowLoggerCallback(f"sqlite:///{scratch / 'mlflow.db'}", experiment_name="overhead")
        ]
    ray.init(
        address="local",
        num_cpus=SLOTS,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    results = tune.Tuner(
        Idle,
        param_space={"index": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(reuse_actors=reuse),
        run_config=tune.RunConfig(
            storage_path=str(scratch / "ray"),
            verbose=0,
            callbacks=callbacks,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    if len(results) != trials or results.errors:
        raise SystemExit(f"{len(results)} results, {len(results.errors)} errors")


def hydra_multirun(trials: int, seconds: float, scratch: Path) -> None:
    """`--multirun` with the basic launcher, one job after the other."""
    script = """
        import time
        import hydra

        @hydra.main(version_base=None, config_path=None)
        def main(config):
            time.sleep(SECONDS)
            return 1.0

        main()
    """
    (scratch / "app.py").write_text(textwrap.dedent(script).replace("SECONDS", repr(seconds)))
    command = [
        sys.executable,
        "app.py",
        "--multirun",
        f"+index=range({trials})",
        "hydra/hydra_logging=disabled",
    ]
    subprocess.run(command, cwd=scratch, check=True, stdout=subprocess.DEVNULL)


def optuna_on_sqlite(trials: int, seconds: float, scratch: Path) -> None:
    """A study on SQLite with a random sampler, one process."""
    import optuna

    def objective(trial: Any) -> float:
        trial.suggest_float("x", 0, 1)
        time.sleep(seconds)
        return 1.0

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=0)
    optuna.create_study(storage=f"sqlite:///{scratch / 'study.db'}", sampler=sampler).optimize(
        objective, n_trials=trials
    )


def joblib_processes(trials: int, seconds: float, scratch: Path) -> None:
    """`Parallel(n_jobs=2)`: remembers nothing."""
    from joblib import Parallel, delayed

    if len(Parallel(n_jobs=SLOTS)(delayed(time.sleep)(seconds) for _ in range(trials))) != trials:
        raise SystemExit("joblib lost a trial")


def _ours(executor: str, tracking: bool) -> Contender:
    return lambda trials, seconds, scratch: ours(
        trials, seconds, scratch, executor=executor, tracking=tracking
    )


def _tune(reuse: bool, mlflow: bool) -> Contender:
    return lambda trials, seconds, scratch: ray_tune_as_it_comes(
        trials, seconds, scratch, reuse=reuse, mlflow=mlflow
    )


ONE_AT_A_TIME = {
    "orchestrator, local, MLflow",
    "orchestrator, local",
    "Hydra multirun",
    "Optuna on SQLite",
}
CONTENDERS: dict[str, Contender] = {
    "orchestrator, Ray, MLflow": _ours("ray", True),
    "orchestrator, Ray": _ours("ray", False),
    "orchestrator, local, MLflow": _ours("local", True),
    "orchestrator, local": _ours("local", False),
    "Ray Tune": _tune(reuse=False, mlflow=False),
    "Ray Tune, its MLflow callback": _tune(reuse=False, mlflow=True),
    "Ray Tune, reused actors": _tune(reuse=True, mlflow=False),
    "Ray Tune, reused actors, its MLflow callback": _tune(reuse=True, mlflow=True),
    "Hydra multirun": hydra_multirun,
    "Optuna on SQLite": optuna_on_sqlite,
    "joblib": joblib_processes,
}
