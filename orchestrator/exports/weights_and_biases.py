"""Weights & Biases, offline: a run for each trial in a folder that `wandb sync` uploads whenever
its owner wants to.

Nothing is sent. A run's id is a digest of the trial's name and fingerprint, so that a later export
goes into the same run.
"""

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.exports.base import Exporter
from orchestrator.exports.curves import Curve
from orchestrator.store.mlflow_runs import run_key

_DIGEST = "exported.sha256"


def write_wandb(curves: Iterable[Curve], output: Path) -> int:
    """Write `<output>/wandb/offline-run-...` for each trial that there is news of; returns how many
    trials there are.

    Raises `UsageError` where wandb is not installed.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported
    try:
        import wandb
    except ImportError as error:
        message = (
            f"Weights & Biases is not installed ({error}): pip install "
            "'ablation-orchestrator[wandb]'"
        )
        raise UsageError(message) from error
    output.mkdir(parents=True, exist_ok=True)
    count, written = 0, {}
    for curve in curves:
        count += 1
        run_id = sha256(run_key(curve.trial).encode()).hexdigest()[:16]
        earlier = list((output / "wandb").glob(f"offline-run-*-{run_id}"))
        if any(
            (folder / _DIGEST).exists() and (folder / _DIGEST).read_text() == curve.digest
            for folder in earlier
        ):
            continue
        for folder in earlier:
            rmtree(folder)
        written[_write(wandb, curve, run_id, output)] = curve.digest
    # another process writes the files, and a run that is finished may still be on its way
    wandb.teardown()
    for folder, digest in written.items():
        (folder / _DIGEST).write_text(digest)
    return count


WANDB = Exporter(write_wandb, "to upload: wandb sync {folder}/wandb/offline-run-*")


def _write(wandb: Any, curve: Curve, run_id: str, output: Path) -> Path:
    """Hand a trial to W&B; returns the folder that it will be in."""
    settings = wandb.Settings(
        mode="offline",
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        host="",
    )
    trial = curve.trial
    run = wandb.init(
        project=trial.sweep,
        id=run_id,
        name=trial.name,
        group=trial.variant_label,
        config=dict(curve.params),
        dir=str(output),
        settings=settings,
        reinit="finish_previous",
    )
    for line in curve.lines:
        run.log({**line["metrics"], "_timestamp": line["time"]}, step=line["iteration"])
    run.summary["outcome"] = curve.outcome
    folder = Path(run.settings.sync_dir)
    run.finish()
    return folder
