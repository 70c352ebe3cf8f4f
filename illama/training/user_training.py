"""A training by a user's function: what it is given, and what is made of what it gives back.

    def train(
        *, depth: int = 2, lr: float = 3e-3, seed, log_metrics, checkpoint_dir, should_stop, device
    ) -> Mapping[str, float]

Its other parameters are settings (`illama.config.functions`). It saves what it needs in
`checkpoint_dir`, finds it there after an interruption, and goes on; how, is its own business.
Beside that folder we keep what it has logged and how long it took. What it writes into
`artifacts_dir` is for people: MLflow and reports show it.
"""

import inspect
import json
import logging
import math
import operator
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from illama.checkpoint import OtherSettings
from illama.config import RuntimeConfig, UserTraining, Workload, data_directory
from illama.config.functions import GIVEN, arguments_of
from illama.config.imports import function_of, refuse_other_code
from illama.config.script_arguments import fill
from illama.config.user_training import refuse_other_files
from illama.randomness import derive, reseed
from illama.sealed import is_whole, read_regular, seal
from illama.training.device import forget_peak_memory, peak_memory_bytes, pick_device, process_state
from illama.training.distributed import OtherNodes
from illama.training.results import Diverged, Stopped, TrainResult

CHECKPOINT_FOLDER = "checkpoint"
"""Folder below the training's directory that is the function's own."""
ARTIFACTS_FOLDER = "artifacts"
"""Folder below the training's directory of what it leaves for people, images and tables."""
STATE = "own_training.json"
"""The file beside the checkpoint: whose it is, and what was logged last."""

_log = logging.getLogger(__name__)

_LONGEST_NAME = 250
_SIZES = ("params", "flops")
"""No metrics: the report has columns of these names."""
_COUNTER = "epoch"
"""Number that many trainings log beside their metrics. It is no metric, and a user training is
counted by its iterations, by which it is stopped early."""


def train_by_function(
    config: UserTraining,
    runtime: RuntimeConfig,
    *,
    log_metrics: Callable[[Mapping[str, float], int], None],
    checkpoint_dir: Path | None,
    should_stop: Callable[[], bool],
    others: OtherNodes | None = None,
) -> TrainResult:
    """Call the function. The global generators of torch, numpy and Python start from the trial's
    seed, each time.

    Raises `Diverged` for a metric that is not finite, `Stopped` where it returns nothing once
    `should_stop` has said so, and `ValueError` where code or settings are others than those of the
    plan or the checkpoint, or what it returns is no metrics. What the function raises passes
    through. Where `runtime.compared` names a metric, such values of others are left out.
    """
    refuse_other_code(config.train.function, config.train.code)
    refuse_other_files(config.train)
    function = function_of(config.train.function)
    parameters = inspect.signature(function).parameters
    with folder_or_scratch(checkpoint_dir) as folder, process_state(runtime):
        device = pick_device(runtime)
        forget_peak_memory(device)
        log = TrainingLog(
            config,
            folder,
            log_metrics,
            should_stop,
            stops_itself="should_stop" in parameters,
            compared=runtime.compared,
        )
        given = {
            "seed": config.seed,
            "log_metrics": log,
            "checkpoint_dir": log.checkpoint_dir,
            "artifacts_dir": log.artifacts_dir,
            "should_stop": log.should_stop,
            "device": device,
            "data_dir": data_directory(runtime.data_dir),
        }
        assert given.keys() == set(GIVEN["train"])
        arguments = arguments_of("train", config.train.function, config.train.options)
        for value in arguments.values():
            if isinstance(value, Namespace):
                fill(value, given)
        arguments |= {name: value for name, value in given.items() if name in parameters}
        reseed(seed := derive(config.seed, "train"))
        torch.manual_seed(seed)  # those of the GPUs
        return log.result(_called(function, arguments), device)


@contextmanager
def folder_or_scratch(directory: Path | None) -> Iterator[Path]:
    """The training's directory; where it has none, one that does not outlive it."""
    if directory is not None:
        yield directory
        return
    with TemporaryDirectory(prefix="user-training-") as scratch:
        yield Path(scratch)


def _called(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call the function; its prints go to stderr, for our own stdout may be JSON for a program."""
    try:
        with redirect_stdout(sys.stderr), chdir("."):
            return function(**arguments)
    except SystemExit as error:  # of a script that was made a function: not the end of the worker
        raise RuntimeError(f"the training called sys.exit({error.code!r})") from error


class TrainingLog:
    """Metrics that a user training reports, checked, passed on, and remembered through
    interruptions.
    """

    def __init__(
        self,
        config: Workload,
        directory: Path,
        log_metrics: Callable[[Mapping[str, float], int], None],
        should_stop: Callable[[], bool],
        *,
        stops_itself: bool,
        compared: str | None = None,
    ) -> None:
        self._compared = compared
        self._left_out: set[str] = set()
        self._config, self._log_metrics, self._ask, self._stops_itself = (
            config,
            log_metrics,
            should_stop,
            stops_itself,
        )
        self.checkpoint_dir = directory / CHECKPOINT_FOLDER
        self.artifacts_dir = directory / ARTIFACTS_FOLDER
        self._path = directory / STATE
        state = self._earlier()
        self._seconds: float = state.get("seconds", 0.0)
        self._iteration: int = state.get("iteration", 0)
        self._metrics: dict[str, float] = state.get("metrics", {})
        self._was_told = False
        self._started = time.monotonic()
        for folder in (self.checkpoint_dir, self.artifacts_dir):
            folder.mkdir(parents=True, exist_ok=True)
        self._keep()

    def __call__(self, metrics: Mapping[str, float], iteration: int) -> None:
        """Log metrics: the function calls this as `log_metrics`."""
        iteration = operator.index(iteration)
        if iteration < 0:
            raise ValueError(
                f"log_metrics was called for iteration {iteration}; iterations count from 0"
            )
        checked = self._finite(_checked(metrics, "log_metrics was given"), iteration)
        self._log_metrics(checked, iteration)
        if iteration >= self._iteration:
            # else it goes on from a checkpoint, and logs what is known
            before = self._metrics if iteration == self._iteration else {}
            self._iteration, self._metrics = iteration, {**before, **checked}
            self._keep()
        if not self._stops_itself and self._ask():
            raise Stopped(iteration)

    @property
    def metrics(self) -> Mapping[str, float]:
        """Metrics that were reported last, by an earlier attempt too."""
        return self._metrics

    def should_stop(self) -> bool:
        """Tell whether to save and end; asked by the training."""
        self._was_told = self._ask() or self._was_told
        return self._was_told

    def result(self, returned: Any, device: torch.device) -> TrainResult:
        """Return the training's result, its final metrics logged unless they were logged last."""
        if returned is None and self._was_told:
            self._keep()
            raise Stopped(self._iteration)
        final = _checked(returned, f"{self._config.title} returned")
        final = self._finite(final, self._iteration)
        sizes = {name: int(final.pop(name)) for name in _SIZES if name in final}
        end = self._config.length or 0
        if not self._metrics or (
            end > self._iteration and not final.items() <= self._metrics.items()
        ):
            self._stops_itself = True  # it has done all that there was to do
            self(final, max(1, end))
        return TrainResult(
            iterations=self._iteration,
            epochs=0,
            final=final,
            best={},
            best_epoch=0,
            collapsed=False,
            params=sizes.get("params"),
            seconds=self._seconds_so_far,
            peak_memory_bytes=peak_memory_bytes(device),
            flops=sizes.get("flops"),
        )

    def _finite(self, metrics: dict[str, float], iteration: int) -> dict[str, float]:
        """The metrics that are finite. Raises `Diverged` for one that is not and that decides."""
        found = {}
        for name, value in metrics.items():
            if name == _COUNTER and name != self._compared:
                continue
            if math.isfinite(value):
                found[name] = value
            elif self._compared in (None, name):
                reason = "logged and returned metrics must be finite"
                raise Diverged(iteration, name, value, reason)
            elif name not in self._left_out:
                self._left_out.add(name)
                _log.warning("%s is %s at iteration %d: left out", name, value, iteration)
        return found

    @property
    def _seconds_so_far(self) -> float:
        return self._seconds + time.monotonic() - self._started

    def _earlier(self) -> Any:
        """Return what an interrupted attempt left. Raises `OtherSettings` where it was one with
        other settings.
        """
        try:
            state = _state_in(self._path)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:  # only figures are lost
            _log.warning("%s is damaged (%s); it is started again", self._path, error)
            return {}
        if state["config"] != self._config.model_dump(mode="json"):
            raise OtherSettings(
                f"{self._path.parent} belongs to a training with other settings, code or seed "
                f"(see {self._path.name}); train in an empty directory"
            )
        return state

    def _keep(self) -> None:
        state = {"config": self._config.model_dump(mode="json"), "seconds": self._seconds_so_far}
        temporary = self._path.with_suffix(".tmp")
        about = state | {"iteration": self._iteration, "metrics": self._metrics}
        temporary.write_bytes(seal(json.dumps(about)))
        temporary.replace(self._path)


def _state_in(path: Path) -> Any:
    """Read what an attempt left. Raises `OSError`, and `ValueError` where it is not whole."""
    content = read_regular(path)
    try:
        state = json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if is_whole(content) is False:
        raise ValueError("its checksum is wrong")
    kinds: dict[str, Any] = {"config": dict, "seconds": (int, float), "iteration": int}
    kinds["metrics"] = dict
    for name, kind in kinds.items():
        if not isinstance(state, dict) or not isinstance(state.get(name), kind):
            raise ValueError(f"'{name}' is missing or has the wrong type")
    return state


def _checked(metrics: Any, who: str) -> dict[str, float]:
    """The metrics as numbers. Raises `ValueError` where it is no metrics at all."""
    if not isinstance(metrics, Mapping):
        raise ValueError(
            f"{who} {type(metrics).__name__}; expected metrics by name, such as {{'val/loss': 0.5}}"
        )
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if not _is_name(name):
            raise ValueError(
                f"{who} a metric named {name!r}; a name is a word of at most {_LONGEST_NAME} "
                "characters"
            )
        try:
            found[name] = value.__float__()  # not of text, as float() would
        except (
            AttributeError,
            TypeError,
            ValueError,
            RuntimeError,
        ) as error:  # numpy's and torch's of several numbers
            raise ValueError(
                f"{who} {name!r} of type {type(value).__name__}; a metric is one number"
            ) from error
    return found


def _is_name(name: object) -> bool:
    """Tell whether a file and a page can show it; what MLflow does not take is written otherwise
    there.
    """
    return (
        isinstance(name, str)
        and bool(name.strip())
        and len(name) <= _LONGEST_NAME
        and not any("\ud800" <= letter <= "\udfff" for letter in name)
    )
