"""One measurement from its request to what was found: what a worker does with it.

Whatever the measure raises becomes a failed measurement, which fails alone. Only a store that
cannot be written is raised further.
"""

import platform
import socket
import time
import traceback
from dataclasses import asdict, replace
from pathlib import Path

import torch

from illama.checkpoint import FinishedTraining
from illama.config import epoch_folder
from illama.config.imports import import_from, words_of
from illama.measures.base import Quantity
from illama.measures.registry import quantities_of
from illama.measures.run import measure_directory
from orchestrator.errors import DamagedFile, StoreError
from orchestrator.outcomes import Outcome
from orchestrator.running.signals import StopAtOnce
from orchestrator.store.measurements import (
    Measurement,
    iteration_of,
    read_measurement,
    sweep_that_asks,
    trial_folder,
    write_measurement,
)
from orchestrator.store.store import TrialDirectory
from orchestrator.text import bounded, encodable

_LONGEST_CAUSE, _LONGEST_TRACE = 2_000, 40_000
"""Characters."""


def run_measurement(path: Path) -> Outcome:
    """Measure what the file `path` asks for, and put what was found in its place.

    Raises `StoreError` where that cannot be written.
    """
    try:
        asked = read_measurement(path)
        found = _measured(asked, path)
        write_measurement(path, found)
    except (OSError, DamagedFile) as error:
        raise StoreError(f"cannot use the measurement at {path}: {error}") from error
    if found.state != "measured":
        return Outcome.FAILED
    return Outcome.FINISHED


def _measured(asked: Measurement, path: Path) -> Measurement:
    trial = trial_folder(path)
    import_from(sweep_that_asks(path))  # the modules that the spec names
    directory = TrialDirectory(trial)
    began = time.perf_counter()
    try:
        config, record = directory.read_trial().config, directory.record()
        iterations, folder = record.iterations, trial
        if asked.epoch is not None:
            iterations = iteration_of(asked.epoch, config, record.iterations)
            folder = epoch_folder(trial, asked.epoch)
        lines = [line for line in directory.metrics() if line["iteration"] <= (iterations or 0)]
        findings = measure_directory(
            asked.request,
            folder,
            asked.runtime,
            of=FinishedTraining(config, iterations),
            use_ema=asked.use_ema,
            curve=[line["metrics"] for line in lines],
        )
        known = quantities_of(asked.request)
        quantities = {name: asdict(known.get(name, Quantity())) for name in findings.values}
    except BaseException as error:  # whatever a user's code raises is an outcome, not our failure
        if isinstance(error, StopAtOnce):
            raise
        cause, trace = words_of(error), traceback.format_exc()
        return asked.failed(
            encodable(bounded(cause, _LONGEST_CAUSE)), encodable(bounded(trace, _LONGEST_TRACE))
        )
    return replace(
        asked,
        state="measured",
        values=findings.values,
        quantities=quantities,
        pictures={name: encodable(picture) for name, picture in findings.pictures.items()},
        where=_where(asked),
        seconds=time.perf_counter() - began,
    )


def _where(asked: Measurement) -> dict[str, str]:
    device = platform.processor() or platform.machine()
    if asked.runtime.device == "cuda":
        device = torch.cuda.get_device_name()
    return {"host": socket.gethostname(), "device": device, "torch": torch.__version__}
