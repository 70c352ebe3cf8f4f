"""A callback for Hugging Face's `Trainer` that makes it one trial of a sweep. Needs `transformers`.

It reports what the trainer logs and evaluates, and stops it, after a checkpoint, when the sweep
says so. The trainer's `output_dir` is the trial's folder. `docs/integrations.md` has an example.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

_NOT_METRICS = re.compile(r"epoch|step|total_flos|train_.*|.*_runtime|.*_per_second")
"""The summary at the end (`train_...`) and what depends on the machine."""
_PARTS = {"eval_": "val/", "test_": "test/"}


class SweepCallback(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Reports each step that is logged and stops; `result()` is what the training function
    returns.
    """

    def __init__(
        self,
        log_metrics: Callable[[Mapping[str, float], int], None],
        checkpoint_dir: Path,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._log_metrics, self._should_stop = log_metrics, should_stop
        self._folder = checkpoint_dir
        self._at = 0
        self._point: dict[str, float] = {}
        self._metrics: dict[str, float] = {}
        self._was_stopped = False

    @property
    def checkpoint(self) -> str | None:
        """Argument `resume_from_checkpoint` of `Trainer.train`: None where nothing was saved
        before.
        """
        found: str | None = get_last_checkpoint(str(self._folder))
        return found

    def result(self) -> dict[str, float] | None:
        """Last value of each metric; None where the sweep stopped the training."""
        return None if self._was_stopped else self._metrics

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take up the metrics of the steps before the checkpoint."""
        for entry in state.log_history:
            self._metrics |= _named(entry)

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Add to the point of this step: losses and evaluations come one after the other."""
        if state.global_step != self._at:
            self._flush()
            self._at = state.global_step
        self._point |= _named(logs or {})

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report the point before the checkpoint that follows it."""
        self._flush()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report the point of a step without an evaluation."""
        self._flush()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save and stop where the sweep says so."""
        if self._should_stop() and state.global_step < state.max_steps:
            self._was_stopped = True
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report what is left."""
        self._flush()

    def _flush(self) -> None:
        if self._point:
            self._metrics |= self._point
            self._log_metrics(self._point, self._at)
        self._point = {}


def _named(logs: Mapping[str, Any]) -> dict[str, float]:
    """Numbers as a sweep names them: `val/loss` for `eval_loss`, `train/loss` for `loss`."""
    found: dict[str, float] = {}
    for name, value in logs.items():
        if _NOT_METRICS.fullmatch(name) or not isinstance(value, int | float):
            continue
        part = next((part for part in _PARTS if name.startswith(part)), "")
        found[_PARTS.get(part, "train/") + name.removeprefix(part)] = float(value)
    return found
