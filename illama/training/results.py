"""Result of a training, and its progress."""

import signal
from dataclasses import dataclass, field


class Diverged(RuntimeError):
    """The loss or a parameter is not a finite number any more."""

    def __init__(
        self,
        iteration: int,
        tensor: str,
        value: float,
        hint: str = "a lower train.lr or train.clip_grad may help",
    ):
        super().__init__(f"{tensor} is {value} after iteration {iteration}; {hint}")
        self.iteration = iteration
        self.tensor = tensor


class Stopped(Exception):
    """A stop that is no error: `should_stop` said so. What was trained so far is in the
    checkpoint.
    """

    def __init__(self, iteration: int) -> None:
        super().__init__(f"stopped after iteration {iteration}")
        self.iteration = iteration


class ProcessLost(RuntimeError):
    """A loss that is not the training's fault: one of its processes was killed. It goes on from its
    checkpoint.
    """

    def __init__(self, rank: int, size: int, exit_code: int | None) -> None:
        how = f"ended with exit code {exit_code}"
        if exit_code is not None and exit_code < 0:
            how = f"was killed by {signal.Signals(-exit_code).name}"
        super().__init__(f"process {rank + 1} of {size} {how}")


class NodeLost(ProcessLost):
    """A node died, with all processes of the training on it."""

    def __init__(self, why: str) -> None:
        RuntimeError.__init__(self, why)


@dataclass(frozen=True)
class Predictions:
    """Held-out images that the final network classified correctly, so that trainings can be
    compared image by image.
    """

    part: str
    """`test`, or `val` where there are no test images."""
    images: str
    """Digest of the images and labels of that part."""
    hits: str
    """One character for each image, in order: 1 where its class was predicted, else 0."""


@dataclass(frozen=True)
class TrainResult:
    """Result of a training that went to the end."""

    iterations: int
    epochs: int
    """0 of a user training, which may have none."""
    final: dict[str, float]
    """Metrics of the last evaluation."""
    best: dict[str, float]
    """Metrics of the epoch with the highest val/acc1, the first of equals; nothing of a
    user training.
    """
    best_epoch: int
    """Number of the best epoch, from 1; 0 of a user training."""
    collapsed: bool
    """The output does not depend on the image (`illama.evaluation.accuracy.COLLAPSE_STD`)."""
    params: int | None
    """The number of parameters; None if that is unknown."""
    seconds: float
    """Seconds spent in training and evaluation, over all attempts."""
    peak_memory_bytes: int
    """The peak of memory: on a GPU the most that tensors took, on the CPU the most that the process
    took; of several processes, in the first.
    """
    flops: int | None = None
    """Operations that a user training says it took; those of our networks are known before
    (`illama.cost`).
    """
    predictions: Predictions | None = None
    """The predictions of the final network; none of a user training."""


@dataclass
class Progress:
    """Progress of a training: all that a checkpoint holds beside weights and moments."""

    iteration: int = 0
    epoch_loss: float = 0.0
    """Sum over the iterations of the unfinished epoch."""
    epoch_seconds: float = 0.0
    """Seconds spent in the unfinished epoch."""
    seconds: float = 0.0
    """Seconds spent in all."""
    peak_memory_bytes: int = 0
    final: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    best_epoch: int = 0
    hits: str = ""
    """The hits as in `Predictions`, once the last epoch has been measured."""
