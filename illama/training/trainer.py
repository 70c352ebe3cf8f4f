"""The training loop: from a `Config` to a `TrainResult`, through any number of interruptions, with
the same bits.

Nothing is drawn from a running random state (see `illama.randomness`), so a checkpoint is the
weights, the optimiser's moments and the few sums of `Progress`; going on from it at any iteration
repeats exactly what an undisturbed training would have done.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
from torch import Tensor, nn

from illama import checkpoint
from illama.config import Config, RuntimeConfig, Workload
from illama.config.runtime import epoch_folder
from illama.evaluation.accuracy import COLLAPSE_STD, evaluate, tally
from illama.quantized import network_of
from illama.randomness import derive, reseed
from illama.schedules import learning_rate
from illama.training.device import (
    autocast,
    forget_peak_memory,
    peak_memory_bytes,
    pick_device,
    process_state,
)
from illama.training.distributed import OtherNodes, Ranks, leading
from illama.training.learner import Learner
from illama.training.loader import make_loader
from illama.training.results import (
    Diverged,
    NodeLost,
    Predictions,
    ProcessLost,
    Progress,
    Stopped,
    TrainResult,
)

__all__ = [
    "Diverged",
    "LogMetrics",
    "ProcessLost",
    "Stopped",
    "TrainResult",
    "evaluate_checkpoint",
    "train",
]

LogMetrics = Callable[[Mapping[str, float], int], None]
"""Takes the metrics of an epoch and the number of iterations done."""

SAVING_SHARE = 0.05
"""The share of a training's time that goes into checkpoints at most; unless there is to be one
after every iteration.
"""
LOSSES_IN_FLIGHT = 50
"""Iterations between two looks at the loss on a GPU, which has to finish its work for each."""


def train(
    config: Workload,
    *,
    runtime: RuntimeConfig | None = None,
    log_metrics: LogMetrics,
    checkpoint_dir: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    others: OtherNodes | None = None,
) -> TrainResult:
    """Train to the end, going on from the newest whole checkpoint in `checkpoint_dir`; the final
    weights stay there.

    `log_metrics` is called after every epoch, before the checkpoint that follows it: after an
    interruption the same epoch may be reported again, with the same values. `should_stop` is asked
    before every iteration and before every checkpoint; what it raises passes through and nothing is
    saved. `others` are further nodes to train on. How it is trained, and where it goes on, is the
    business of the kind of workload: the function that its `trainer` names.

    Raises `Diverged`, `Stopped`, `ProcessLost` where one of several processes was killed, and
    `ValueError` when data and model do not fit or the checkpoint belongs to other settings.
    """
    trainer: Callable[..., TrainResult] = resolve_name(config.trainer)
    return trainer(
        config,
        runtime or RuntimeConfig(),
        log_metrics=log_metrics,
        checkpoint_dir=checkpoint_dir,
        should_stop=should_stop,
        others=others,
    )


def train_classifier(
    config: Config,
    runtime: RuntimeConfig,
    *,
    log_metrics: LogMetrics,
    checkpoint_dir: Path | None,
    should_stop: Callable[[], bool],
    others: OtherNodes | None,
) -> TrainResult:
    """Train a built-in or a user's network on images, as `train` does."""
    with leading(runtime, partial(_follow, config, runtime, checkpoint_dir), others) as ranks:
        return _train(config, runtime, ranks, checkpoint_dir, should_stop, log_metrics)


def _follow(config: Config, runtime: RuntimeConfig, directory: Path | None, ranks: Ranks) -> None:
    """Do what each other process of a training does: the same iterations, for as long as the leader
    takes part in them.
    """
    logging.disable(logging.WARNING)  # the leader says it
    _train(config, runtime, ranks, directory, lambda: False, lambda metrics, iteration: None)


def _train(
    config: Config,
    runtime: RuntimeConfig,
    ranks: Ranks,
    directory: Path | None,
    should_stop: Callable[[], bool],
    log_metrics: LogMetrics,
) -> TrainResult:
    with process_state(runtime, config.train.deterministic):
        training = _Training(config, runtime, ranks, directory, should_stop)
        training.restore()
        training.agree()
        while training.progress.iteration < training.iterations:
            if should_stop():
                training.save()
                raise Stopped(training.progress.iteration)
            training.step()
            if training.progress.iteration % training.iterations_per_epoch == 0:
                training.finish_epoch(log_metrics)
            if training.save_is_due():
                training.save()
        if training.unsaved:
            training.save()
        return training.result()


def evaluate_checkpoint(
    path: Path, *, runtime: RuntimeConfig | None = None, use_ema: bool = False
) -> dict[str, float]:
    """Measure the checkpoint in `path` on the validation images of its own settings, at alpha 0.

    With `use_ema`, the moving average of its weights. Raises `ValueError` when it is no checkpoint
    of this trainer or holds no average, `FileNotFoundError` when there is none.
    """
    runtime = runtime or RuntimeConfig()
    state = checkpoint.read(path)
    config = Config.model_validate_json(state["config"])
    with process_state(runtime, config.train.deterministic):
        device = pick_device(runtime)
        loader = make_loader(config, runtime, device)
        model = network_of(config).to(device)
        model.load_state_dict(checkpoint.weights_in(state, str(path), use_ema=use_ema))
        reseed(derive(config.seed, "evaluate"))  # a network of others may draw
        with autocast(device, config.train.precision):
            return evaluate(model.eval(), loader.held_out("val"))


class _Training:
    """Learner, data and progress of one training."""

    def __init__(
        self,
        config: Config,
        runtime: RuntimeConfig,
        ranks: Ranks,
        directory: Path | None,
        should_stop: Callable[[], bool],
    ) -> None:
        self.config, self.runtime, self.ranks, self.directory = config, runtime, ranks, directory
        self.should_stop = should_stop
        self.device = pick_device(runtime, ranks.rank)
        forget_peak_memory(self.device)
        self.loader = make_loader(config, runtime, self.device, ranks)
        self.iterations_per_epoch = self.loader.count // config.train.batch_size
        self.iterations = config.train.epochs * self.iterations_per_epoch
        self.learner = Learner(config, runtime, self.device, self.iterations_per_epoch, ranks)
        self.progress = Progress()
        self.batches: Iterator[tuple[Tensor, Tensor]] | None = None
        self.losses: list[Tensor] = []
        self.unsaved = False
        self.saved_at = time.monotonic()
        self.save_seconds = 0.0

    def step(self) -> None:
        """Train one iteration."""
        started = time.perf_counter()
        progress = self.progress
        if self.batches is None:
            self.batches = self.loader.batches(
                *divmod(progress.iteration, self.iterations_per_epoch)
            )
        self.losses.append(self.learner.update(progress.iteration, *next(self.batches)))
        progress.iteration += 1
        self.unsaved = True
        whole_epoch = (
            progress.iteration % self.iterations_per_epoch == 0
        )  # what is still under way belongs to its time
        if self.device.type == "cpu" or len(self.losses) == LOSSES_IN_FLIGHT or whole_epoch:
            self._look_at_losses()
        self._count(time.perf_counter() - started)

    def _look_at_losses(self) -> None:
        """Add up the losses since the last look. Raises `Diverged` for the first that is not
        finite.
        """
        if not self.losses:
            return
        values, first = (
            torch.stack(self.losses).tolist(),
            self.progress.iteration - len(self.losses) + 1,
        )
        self.losses.clear()
        for iteration, value in enumerate(values, first):
            if not math.isfinite(value) and self.ranks.leads:
                raise Diverged(iteration, "train/loss", value)
            self.progress.epoch_loss += value

    def finish_epoch(self, log_metrics: LogMetrics) -> None:
        """Measure, remember the best, report."""
        started = time.perf_counter()
        self.batches = None
        if self.ranks.leads and (broken := self.learner.broken()):
            raise Diverged(self.progress.iteration, *broken)
        progress = self.progress
        epoch = progress.iteration // self.iterations_per_epoch
        images, training_seconds = (
            self.iterations_per_epoch * self.config.train.batch_size,
            progress.epoch_seconds,
        )
        metrics = self._metrics(epoch)
        if self.ranks.leads and not math.isfinite(metrics["val/loss"]):
            # weights too large to compute with, though finite
            raise Diverged(progress.iteration, "val/loss", metrics["val/loss"])
        self.ranks.check()
        self._count(time.perf_counter() - started)
        timing = {
            "time/epoch_seconds": progress.epoch_seconds,
            "time/images_per_second": images / training_seconds,
        }
        progress.epoch_loss = progress.epoch_seconds = 0.0
        progress.final = metrics | timing
        if not progress.best or metrics["val/acc1"] > progress.best["val/acc1"]:
            progress.best, progress.best_epoch = progress.final, epoch
        log_metrics(progress.final, progress.iteration)
        self._keep(epoch)

    def _keep(self, epoch: int) -> None:
        """Keep the weights of an epoch before the last where `runtime.keep_every` asks for it."""
        every = self.runtime.keep_every
        is_last = self.progress.iteration == self.iterations
        if every is None or epoch % every or is_last:
            return
        if self.directory is not None and self.ranks.leads:
            folder = epoch_folder(self.directory, epoch)
            checkpoint.save(folder, self._about() | self.learner.weights())

    def _about(self) -> dict[str, Any]:
        """Return what a file of weights says of the training."""
        return {
            "numerics_version": self.config.numerics_version,
            "config": self.config.model_dump_json(),
            "progress": asdict(self.progress),
        }

    def _metrics(self, epoch: int) -> dict[str, float]:
        """Rates are means over the epoch's iterations, as in the logs of the paper's authors."""
        done, count = self.progress.iteration, self.iterations_per_epoch
        rates = [learning_rate(self.config.train, i, count) for i in range(done - count, done)]
        alphas = [self.learner.alpha(i) for i in range(done - count, done)]
        metrics = {
            "epoch": float(epoch),
            "train/loss": self.progress.epoch_loss / count,
            "train/lr": math.fsum(rates) / count,
            "train/soft_mask_rate": math.fsum(alphas) / count,
        }
        for part in self.loader.parts:
            metrics |= self._evaluate(part, part, self.learner.model, alpha=0.0)
            if self.learner.average is not None:
                metrics |= self._evaluate(f"{part}_ema", part, self.learner.average, alpha=0.0)
        if alphas[-1] > 0:
            metrics |= self._evaluate("val_soft", "val", self.learner.model, alpha=alphas[-1])
        return metrics

    def _evaluate(self, prefix: str, part: str, model: nn.Module, alpha: float) -> dict[str, float]:
        """Loss, accuracies, calibration; of `val` itself also whether the output depends on the
        image. The last measurement of the reported part leaves its hits in `progress`.
        """
        self.learner.set_alpha(alpha)
        is_final = self.progress.iteration == self.iterations and prefix == self.loader.parts[-1]
        with autocast(self.device, self.config.train.precision):
            mine = tally(model.eval(), self.loader.held_out(part), keep_hits=is_final)
            first, *others = self.ranks.gather(mine)
        model.train()
        for other in others:
            first.merge(other)
        if is_final:
            self.progress.hits = "".join("1" if hit else "0" for hit in first.hits.tolist())
        return {
            f"{prefix}/{name}": value
            for name, value in first.metrics().items()
            if prefix == "val" or name != "logit_std"
        }

    def _count(self, seconds: float) -> None:
        self.progress.epoch_seconds += seconds
        self.progress.seconds += seconds

    def restore(self) -> None:
        """Go on where the newest whole checkpoint was written, if there is one; else take the first
        weights.
        """
        state = checkpoint.load(self.directory) if self.directory else None
        if state is None:
            self.learner.start(self.runtime.data_dir)
            return
        checkpoint.refuse_other_settings(state, self.config)
        self.learner.restore(state)
        self.progress = Progress(**state["progress"])

    def agree(self) -> None:
        """Raise `NodeLost` where nodes go on from different checkpoints: one saw an older state of
        the disk.
        """
        if len(found := set(self.ranks.gather(self.progress.iteration))) > 1:
            raise NodeLost(
                f"its nodes see different checkpoints, of iterations {min(found)} and {max(found)}"
            )

    def save_is_due(self) -> bool:
        """Tell whether `checkpoint_seconds` have passed, and enough of them for what a checkpoint
        takes.
        """
        wait = self.runtime.checkpoint_seconds and max(
            self.runtime.checkpoint_seconds, self.save_seconds / SAVING_SHARE
        )
        return (
            self.directory is not None
            and self.ranks.leads
            and time.monotonic() - self.saved_at >= wait
        )

    def save(self) -> None:
        """Write the checkpoint, unless `should_stop` raises."""
        stop = self.should_stop()
        self._look_at_losses()
        self.ranks.check()
        started = time.monotonic()
        # a checkpoint never holds what is not finite
        if self.directory is not None and self.ranks.leads and self.learner.broken() is None:
            self._measure_memory()
            checkpoint.save(self.directory, self._about() | self.learner.state())
        self.unsaved = False
        self.saved_at = time.monotonic()
        self.save_seconds = self.saved_at - started
        if stop:
            raise Stopped(self.progress.iteration)

    def _measure_memory(self) -> None:
        self.progress.peak_memory_bytes = max(
            self.progress.peak_memory_bytes, peak_memory_bytes(self.device)
        )

    def result(self) -> TrainResult:
        """Return the result of the finished training."""
        self._measure_memory()
        progress = self.progress
        return TrainResult(
            iterations=progress.iteration,
            epochs=self.config.train.epochs,
            final=progress.final,
            best=progress.best,
            best_epoch=progress.best_epoch,
            collapsed=progress.final["val/logit_std"] < COLLAPSE_STD,
            params=sum(parameter.numel() for parameter in self.learner.model.parameters()),
            seconds=progress.seconds,
            peak_memory_bytes=progress.peak_memory_bytes,
            predictions=self._predictions(),
        )

    def _predictions(self) -> Predictions | None:
        """The predictions; None where an older version wrote the last checkpoint, after the last
        measurement.
        """
        if not self.progress.hits:
            return None
        return Predictions(self.loader.parts[-1], self.loader.images_digest, self.progress.hits)
