"""A trial's network as an MLflow model: `mlflow.pytorch.load_model` loads it, `mlflow models serve`
serves it.

It is torch's exported program (pt2), a graph with its weights: whoever loads it needs torch and no
code of ours or of the sweep's author, and nothing is unpickled. It takes pixels as the dataset has
them, so what normalises them is part of it.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from illama.config import Workload
from orchestrator.errors import TrackingError, UsageError
from orchestrator.planning.representative import Representative
from orchestrator.store.store import TrialDirectory
from orchestrator.tracking.addresses import reason, without_secrets
from orchestrator.tracking.names import mlflow_name

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

_NAME = "model"
_WEIGHTS = "sweep.weights"
"""Tag of a model: `raw`, or `ema` for the moving average of the weights; an older version logged
raw ones alone."""
_DEFAULT_ADDRESS = "MLFLOW_TRACKING_URI"


def import_in_advance() -> None:
    """Import what logging a network needs. It takes seconds, and a starting sweep has time for it.

    Not beside a training in the same process: torch's compiler is many modules that import each
    other, and two threads that begin at different ends see them half imported.
    """
    with suppress(ImportError):  # told when it is needed
        import mlflow.pytorch  # noqa: F401
        import torch.export

        torch.export.export(
            torch.nn.Identity(), (torch.zeros(1),)
        )  # the first one imports as much again


def log_model(tracking_uri: str, run_id: str, chosen: Representative) -> str:
    """Log the network of a trial to its run, where it is not there yet. Returns the model's id.

    Raises `UsageError` where the trial's checkpoint is gone, `TrackingError` where MLflow cannot
    take the network.
    """
    with _explained(tracking_uri, chosen):
        client = _client(tracking_uri)
        run = client.get_run(run_id)
        weights = "ema" if chosen.use_ema else "raw"
        for known in client.search_logged_models(
            [run.info.experiment_id], f"source_run_id = '{run_id}'"
        ):
            if str(known.status) != "READY":
                client.delete_logged_model(known.model_id)  # we died while it was on its way
            elif known.tags.get(_WEIGHTS, "raw") == weights:
                return str(known.model_id)
        with TemporaryDirectory() as scratch:
            folder = Path(scratch, _NAME)
            description = _save(folder, run_id, chosen)
            tags = {"sweep.trial": chosen.trial.name, "sweep.chosen": chosen.why, _WEIGHTS: weights}
            params = dict(run.data.params)
            model = client.create_logged_model(
                run.info.experiment_id, _NAME, run_id, tags, params, "image classifier"
            )
            description.model_id, description.artifact_path = (
                model.model_id,
                model.artifact_location,
            )
            description.save(str(folder / "MLmodel"))
            client.log_model_artifacts(model.model_id, str(folder))
        _link(client, run_id, model.model_id, TrialDirectory(Path(chosen.record.path)))
        client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)


def register_model(
    tracking_uri: str, model_id: str, run_id: str, name: str, chosen: Representative
) -> str:
    """Put a logged model into the registry as `name`, where it is not there yet. Returns the
    version. Raises `TrackingError`.
    """
    from mlflow.exceptions import MlflowException

    with _explained(tracking_uri, chosen):
        client = _client(tracking_uri)
        try:
            client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            client.create_registered_model(name)
        for version in client.search_model_versions(f"run_id = '{run_id}'"):
            # a name may have quotes
            if (version.name, version.source) == (name, f"models:/{model_id}"):
                return str(version.version)
        about = f"Trial {chosen.trial.name} of the sweep {chosen.trial.sweep}: {chosen.why}."
        with _as_default(tracking_uri):
            made = client.create_model_version(
                name, f"models:/{model_id}", run_id, description=about, model_id=model_id
            )
        return str(made.version)


def _settings_trained(chosen: Representative) -> Workload:
    """The settings that the network was trained with: a result that was adopted has its own
    code.
    """
    if chosen.record.adopted:
        return TrialDirectory(Path(chosen.record.path)).read_trial().config
    return chosen.trial.config


def _save(folder: Path, run_id: str, chosen: Representative) -> Any:
    """Write the model's files below `folder`; returns MLflow's description of it."""
    import numpy as np
    import torch
    from mlflow.models import Model, ModelSignature
    from mlflow.pytorch import load_model, save_model
    from mlflow.types import Schema, TensorSpec

    from illama.checkpoint import FinishedTraining
    from illama.weights.inference import load_classifier

    try:
        classifier, examples = load_classifier(
            Path(chosen.record.path),
            chosen.trial.runtime.data_dir,
            FinishedTraining(_settings_trained(chosen), chosen.record.iterations),
            use_ema=chosen.use_ema,
        )
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(
            f"the network of {chosen.trial.name} cannot be rebuilt: {error}"
        ) from error
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", ".*Any type hint is inferred as AnyType"
        )  # MLflow's, about a class of its own
        logits = classifier(torch.from_numpy(examples))
        ins, outs = (
            Schema([TensorSpec(np.dtype(np.float32), (-1, *part.shape[1:]))])
            for part in (examples, logits)
        )
        description = Model(run_id=run_id)
        save_model(
            classifier,
            str(folder),
            mlflow_model=description,
            signature=ModelSignature(ins, outs),
            input_example=examples,
            serialization_format="pt2",
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
        )
        one = load_model(str(folder))(torch.from_numpy(examples[:1]))  # type: ignore[no-untyped-call]
    if not torch.allclose(one, logits[:1], rtol=1e-3, atol=1e-4):
        raise TrackingError(
            f"the exported network of {chosen.trial.name} gives other outputs than the trained "
            "one; it was not logged"
        )
    return description


def _link(client: Any, run_id: str, model_id: str, directory: TrialDirectory) -> None:
    """Make the model an output of its run, with the metrics of the last epoch: the run's own, which
    get no more by it.
    """
    from mlflow.entities import LoggedModelOutput, Metric

    last = directory.last_metrics()
    assert last is not None, "a trial that is trained to the end has metrics"
    when, step = int(last["time"] * 1000), last["iteration"]
    metrics = [
        Metric(mlflow_name(name), value, when, step, model_id=model_id, run_id=run_id)
        for name, value in last["metrics"].items()
    ]
    client.log_batch(run_id, metrics=metrics)
    client.log_outputs(run_id, [LoggedModelOutput(model_id, step=step)])


def _client(tracking_uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri, registry_uri=tracking_uri)


@contextmanager
def _as_default(tracking_uri: str) -> Iterator[None]:
    """A registry in a database looks for logged models at the process's default address, whatever
    its client was given.
    """
    before = os.environ.get(_DEFAULT_ADDRESS)
    os.environ[_DEFAULT_ADDRESS] = tracking_uri
    try:
        yield
    finally:
        if before is None:
            del os.environ[_DEFAULT_ADDRESS]
        else:
            os.environ[_DEFAULT_ADDRESS] = before


@contextmanager
def _explained(tracking_uri: str, chosen: Representative) -> Iterator[None]:
    try:
        yield
    except (TrackingError, UsageError):
        raise
    except Exception as error:
        message = " ".join(without_secrets(reason(error), tracking_uri).split())[:300]
        raise TrackingError(
            f"MLflow does not accept the model of {chosen.trial.name}: {message}"
        ) from error
