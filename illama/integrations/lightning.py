"""A Lightning callback that makes `Trainer.fit` one trial of a sweep. Needs `lightning`.

It reports what the module logs, leaves a checkpoint after each epoch from which an interrupted
trial goes on, and stops the trainer when the sweep says so. `docs/integrations.md` has an example.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

CHECKPOINT = "last.ckpt"


class SweepCallback(Callback):  # type: ignore[misc,unused-ignore]
    """Reports each epoch, saves it, and stops; `result()` is what the training function returns.

    The global generator of torch starts each epoch from `seed` and the epoch's number.
    """

    def __init__(
        self,
        log_metrics: Callable[[Mapping[str, float], int], None],
        checkpoint_dir: Path,
        should_stop: Callable[[], bool] = lambda: False,
        seed: int = 0,
    ) -> None:
        self._seed = seed
        self._log_metrics, self._should_stop = log_metrics, should_stop
        self._path = checkpoint_dir / CHECKPOINT
        self._metrics: dict[str, float] = {}
        self._epochs = self._first = 0
        self._was_stopped = False

    @property
    def checkpoint(self) -> str | None:
        """Argument `ckpt_path` of `Trainer.fit`: None where nothing was saved before."""
        return str(self._path) if self._path.exists() else None

    def result(self) -> dict[str, float] | None:
        """Metrics of the last epoch; None where the sweep stopped the training."""
        return None if self._was_stopped else self._metrics

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the first epoch that is trained, whose loader is made before the epoch starts."""
        self._first = self._epochs
        self._reseed(self._first, 0)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the order of a later epoch by its number."""
        if trainer.current_epoch != self._first:
            self._reseed(trainer.current_epoch, 0)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed what is drawn within an epoch: one that is trained again draws the same."""
        if batch_idx == 0:
            self._reseed(trainer.current_epoch, 1)

    def _reseed(self, epoch: int, stream: int) -> None:
        torch.manual_seed(self._seed * 1_000_003 + 2 * epoch + stream)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: object, **__: object
    ) -> None:
        """Stop within an epoch: the trial goes on from the end of the one before."""
        if self._should_stop():
            self._was_stopped = trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the epoch, then save it. An epoch that was broken off is neither."""
        if self._was_stopped:
            return
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if trainer.is_global_zero:
            self._metrics, self._epochs = found, trainer.current_epoch + 1
            self._log_metrics(found, trainer.current_epoch + 1)
        trainer.save_checkpoint(self._path.with_suffix(".new"))
        if trainer.is_global_zero:
            self._path.with_suffix(".new").replace(self._path)  # never half a checkpoint
        if self._should_stop():
            self._was_stopped = trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Epochs that are done, and the metrics of the last one."""
        return {"epochs": self._epochs, "metrics": dict(self._metrics)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._epochs, self._metrics = state_dict["epochs"], dict(state_dict["metrics"])
