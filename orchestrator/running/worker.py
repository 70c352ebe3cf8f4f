"""One trial from start to result: the border between the user's failure and ours.

Whatever the training raises becomes an outcome in the trial's files. Only a store that cannot be
written is raised further.
"""

import errno
import os
import platform
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from illama.checkpoint import OtherSettings
from illama.config import RuntimeConfig
from illama.config.imports import import_from, words_of
from illama.training.distributed import Followers, MeetingPoint, OtherNodes, Ranks
from illama.training.network_interface import network_of
from illama.training.results import (
    NodeLost as NodeLost,
)  # executors have it from here: only the worker knows torch
from illama.training.results import Predictions as FoundPredictions
from illama.training.trainer import Diverged, LogMetrics, ProcessLost, Stopped, TrainResult, train
from orchestrator.errors import DamagedFile, StoreError
from orchestrator.outcomes import SAVED, Outcome
from orchestrator.pruning import Judge, Pruning
from orchestrator.running.capture import captured
from orchestrator.running.limits import limits
from orchestrator.running.measuring import run_measurement
from orchestrator.running.signals import StopAtOnce
from orchestrator.running.traces import readable_traceback
from orchestrator.running.usage import UsageMeter
from orchestrator.store import measurements, own_mlflow
from orchestrator.store.fence import Fence, Superseded
from orchestrator.store.lease import EXPIRY_SECONDS, read_lease
from orchestrator.store.predictions import Predictions, write_predictions
from orchestrator.store.store import TrialDirectory, epoch_of
from orchestrator.text import bounded, encodable
from orchestrator.trial import TrialRecord, TrialSpec

LOOK_SECONDS = 0.2
"""Seconds between a worker's looks whether it should stop; a look costs two small reads."""

_LONGEST_CAUSE, _LONGEST_TRACE = 2_000, 40_000
"""Characters: both are read whole whenever somebody asks how a trial stands."""

leave = threading.Event()
"""Set where this process is about to be taken away (preemption, maintenance): its trial saves and
ends as lost.
"""


class Watch:
    """Tells a training when to stop, for whatever reason outside of it."""

    def __init__(
        self, fence: Fence, pruning: Pruning | None = None, moment: float | None = None
    ) -> None:
        """`moment` is the number of seconds from now after which to stop in any case."""
        self._fence = fence
        self._directory = fence.directory
        self._pruning = pruning
        self._sweep_path = self._directory.path.parent.parent
        self._next_look = 0.0
        self._renewed: float | None = None
        self._heard = time.monotonic()
        self._until = float("inf") if moment is None else self._heard + moment
        self.is_over = False
        """True if the moment that it was to train is over."""
        self._stop = self.pruned() is not None

    def pruned(self) -> TrialRecord | None:
        """Return the trial's record where the rule of its search stops it; None elsewhere."""
        return self._directory.record_of_pruned(self._pruning) if self._pruning else None

    def judging(self, log: LogMetrics) -> LogMetrics:
        """`log`, and a look at whether the rule of the trial's search stops it."""
        if self._pruning is None:
            return log
        name, judge = self._pruning.metric, Judge(self._pruning)
        for epoch, value in self._directory.curve(name).items():
            judge.look(epoch, value)

        def log_and_judge(metrics: Mapping[str, float], iteration: int) -> None:
            log(metrics, iteration)
            if name in metrics:
                judge.look(epoch_of(metrics, iteration), metrics[name])
            self._stop = self._stop or judge.stopped_at is not None

        return log_and_judge

    def should_stop(self) -> bool:
        """Tell whether to save and stop. Raises `Superseded` where saving would overwrite a
        successor's work.
        """
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self.is_over = now > self._until
            self._stop = self._stop or self.is_over or self._driver_is_gone_or_stopping(now)
        self._fence.check()
        return self._stop or leave.is_set()

    def _driver_is_gone_or_stopping(self, now: float) -> bool:
        try:
            holder = read_lease(self._sweep_path)
        except DamagedFile:
            return now - self._heard > EXPIRY_SECONDS  # a driver that lives writes it again
        if holder is None or holder.session != self._fence.session or holder.stopping:
            return True
        # that it changes tells, not what it says: clocks of hosts differ, and jump
        if holder.renewed != self._renewed:
            self._renewed, self._heard = holder.renewed, now
        return now - self._heard > EXPIRY_SECONDS


def run_trial(
    path: Path,
    session: str,
    others: OtherNodes | None = None,
    *,
    debug: Callable[[BaseException], None] | None = None,
) -> Outcome | None:
    """Train the trial in the directory `path` for the driver `session`; everything that happens is
    in its files afterwards.

    `others` are the nodes beside this one that it is spread over. With `debug` it prints to where
    this process prints, may be stopped by breakpoints, and what it raises is given to `debug`
    first. A `path` that is a file of a trial's measurements is measured instead.

    Returns none where another process of the trial died, as an executor says it of this one: the
    queue counts them. Raises `StoreError` where those files cannot be written.
    """
    if measurements.is_measurement(path):
        return run_measurement(path)
    directory = TrialDirectory(path)
    try:
        trial = directory.read_trial()
        try:
            fence = Fence.begin(directory, session, _where(trial, others))
            if debug:  # modules are the user's own, where breakpoints are
                return _train(fence, trial, others, debug)
            # where the driver put the modules that the spec names
            import_from(directory.path.parent.parent)
            with (
                captured(directory, fence.number, fence.is_newest),
                limits(trial.resources, directory),
            ):
                return _train(fence, trial, others)
        except Superseded:
            return Outcome.LOST
    except OSError as error:
        raise StoreError(
            f"cannot use the trial's files at {path}: {error.strerror or error}"
        ) from error


def _train(
    fence: Fence,
    trial: TrialSpec,
    others: OtherNodes | None,
    debug: Callable[[BaseException], None] | None = None,
) -> Outcome | None:
    directory = fence.directory
    watch = Watch(fence, trial.pruning, trial.moment)
    run = partial(
        train,
        trial.config,
        runtime=_runtime_of(trial),
        log_metrics=_with_usage(watch.judging(fence.log)),
        checkpoint_dir=directory.path,
        should_stop=watch.should_stop,
        others=others,
    )
    try:
        result = _trained(run, fence)
    except (StoreError, Superseded):
        raise
    except ProcessLost as lost:
        return _lost(fence, lost)
    except Stopped as stopped:
        return _stopped(fence, watch, stopped)
    except Diverged as diverged:
        return _diverged(fence, trial, diverged)
    except BaseException as error:  # whatever the user's code raises is an outcome, not our failure
        if isinstance(error, StopAtOnce):
            raise
        return _failed(fence, error, debug)
    return _trained_to_the_end(fence, trial, result)


def _trained(run: Callable[[], TrainResult], fence: Fence) -> TrainResult:
    with own_mlflow.kept_in(fence.directory.path):
        return _trained_afresh_after_damage(run, fence)


def _trained_afresh_after_damage(run: Callable[[], TrainResult], fence: Fence) -> TrainResult:
    try:
        return run()
    except OtherSettings:  # the folder is this trial's alone: what another left in it is damage
        with fence.held():
            fence.directory.set_aside_checkpoints()
        return run()


def _trained_to_the_end(fence: Fence, trial: TrialSpec, result: TrainResult) -> Outcome:
    if result.predictions:
        _keep(fence, result.predictions)
    came_to = _result_content(result)
    outcome = Outcome.COLLAPSED if result.collapsed else Outcome.FINISHED
    _finish(fence, trial, outcome, came_to)
    if trial.lacking(came_to):
        return Outcome.FAILED
    return outcome


def _lost(fence: Fence, lost: ProcessLost) -> Outcome | None:
    """The outcome of a training one of whose processes died: on another node it may have been over
    a limit.
    """
    outcome, cause = fence.directory.vanished()
    if outcome is not Outcome.LOST:
        return _end(fence, outcome, cause)
    _end(fence, outcome, str(lost))
    return None


def _stopped(fence: Fence, watch: Watch, stopped: Stopped) -> Outcome | None:
    if pruned := watch.pruned():
        return _end(fence, Outcome.PRUNED, pruned.cause)
    if watch.is_over:
        return _end(fence, Outcome.PRUNED, f"stopped at iteration {stopped.iteration}")
    return _end(fence, Outcome.LOST, f"stopped at iteration {stopped.iteration}, {SAVED}")


def _diverged(fence: Fence, trial: TrialSpec, diverged: Diverged) -> Outcome:
    last = fence.directory.last_metrics() or {}
    content = {
        "cause": str(diverged),
        "iterations": diverged.iteration,
        "metrics": last.get("metrics", {}),
    }
    return _finish(fence, trial, Outcome.DIVERGED, content)


def _failed(
    fence: Fence, error: BaseException, debug: Callable[[BaseException], None] | None
) -> Outcome:
    """The outcome of a trial whose code raised, on record."""
    _raise_if_store_is_full(error)
    trace = readable_traceback(error)
    print(trace, file=sys.stderr, end="")  # where its output is, people look for it
    if debug:
        debug(error)
    outcome = Outcome.FAILED
    if _is_out_of_memory(error):
        outcome = Outcome.OUT_OF_MEMORY
    return _end(fence, outcome, words_of(error), trace)


def start_followers(
    path: Path,
    trial: TrialSpec,
    node: int,
    meeting_point: MeetingPoint,
    follow: Callable[[Ranks], None],
) -> Followers:
    """The trial's processes on a node that does not lead (`node` counts from 1), once they are
    there.

    Raises what keeps one from it.
    """
    assert isinstance(meeting_point, tuple), "nodes meet at a port"
    runtime = _runtime_of(trial)
    ranks = range(node * runtime.processes, (node + 1) * runtime.processes)
    import_from(path.parent.parent)
    with network_of(meeting_point[0]):
        followers = Followers(
            runtime, ranks, trial.resources.nodes * runtime.processes, meeting_point, follow
        )
    followers.wait_until_ready()
    return followers


def _runtime_of(trial: TrialSpec) -> RuntimeConfig:
    """The runtime settings, with the device that the resources say where the spec does not."""
    device = trial.runtime.device
    if device == "auto":
        device = trial.resources.device
    update = {"device": device, "compared": trial.metric or None}
    return trial.runtime.model_copy(update=update)


def _with_usage(log: LogMetrics) -> LogMetrics:
    meter = UsageMeter()
    return lambda metrics, iteration: log({**metrics, **meter(), **_gpu_usage()}, iteration)


def _gpu_usage() -> dict[str, float]:
    """The memory in use on the GPU that this process trains on, by whatever process."""
    if not torch.cuda.memory_allocated():
        return {}
    free, total = torch.cuda.mem_get_info()
    return {
        "system/gpu_0_memory_usage_megabytes": (total - free) / 1e6,
        "system/gpu_0_memory_usage_percentage": 100 * (1 - free / total),
    }


def _result_content(result: TrainResult) -> Mapping[str, Any]:
    content = {
        "metrics": result.final,
        "best": result.best,
        "best_epoch": result.best_epoch,
        "iterations": result.iterations,
        "epochs": result.epochs,
        "params": result.params,
        "seconds": result.seconds,
        "peak_memory_bytes": result.peak_memory_bytes,
    }
    if result.flops is not None:
        content["flops"] = result.flops
    return content


def _keep(fence: Fence, found: FoundPredictions) -> None:
    """Write which images the final network got right."""
    is_correct = np.frombuffer(found.hits.encode(), np.uint8) == ord("1")
    with fence.held():
        write_predictions(fence.directory.path, Predictions(found.part, found.images, is_correct))


def _finish(
    fence: Fence, trial: TrialSpec, outcome: Outcome, content: Mapping[str, Any]
) -> Outcome:
    content = {key: _writable(value) for key, value in content.items()}
    if outcome is Outcome.FINISHED and not trial.config.can.has_known_metrics:
        fence.log_final(content["metrics"], content["iterations"])
    fence.finish(outcome, content, trial.fingerprint)
    return outcome


def _end(fence: Fence, outcome: Outcome, cause: str | None, trace: str | None = None) -> Outcome:
    if cause:
        cause = _writable(bounded(cause, _LONGEST_CAUSE))
    if trace:
        trace = _writable(bounded(trace, _LONGEST_TRACE))
    fence.end(outcome, cause, trace)
    return outcome


def _writable(value: Any) -> Any:
    """Text that any file can hold: names of files, which errors repeat, may have bytes in them that
    are no text.
    """
    if isinstance(value, str):
        return encodable(value)
    return value


def _where(trial: TrialSpec, others: OtherNodes | None) -> dict[str, Any]:
    device = platform.processor() or platform.machine()
    if trial.resources.gpus > 0 and torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    where: dict[str, Any] = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "device": device,
        "torch": torch.__version__,
    }
    if others:
        where["other_hosts"] = list(others.names)
    if trial.runtime.micro_batch_size:
        where["micro_batch_size"] = trial.runtime.micro_batch_size
    return where


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # in the words of torch's allocator for the CPU
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _raise_if_store_is_full(error: BaseException) -> None:
    if isinstance(error, OSError) and error.errno in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
    ):
        raise error
