"""Exporters: where else than in MLflow the curves can be looked at.

To add one, write a file with an `Exporter` and one line in `EXPORTERS`; another package names its
own in the entry points group `orchestrator.exporters` (see `orchestrator.plugins`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.exports.curves import Curve
from orchestrator.plugins import Registry


@dataclass(frozen=True)
class Exporter:
    """Writes the curves of a sweep into a folder, from the store alone, as often as it is asked."""

    write: Callable[[Iterable[Curve], Path], int]
    """Brings the folder up to date and returns how many trials there are. Raises `UsageError` where
    a package is lacking.
    """
    then: str
    """Advice on what to do next, with `{folder}` in it, such as `look at them: tensorboard --logdir
    {folder}`.
    """


EXPORTERS = Registry(
    "export format",
    Exporter,
    {
        "tensorboard": "orchestrator.exports.tensorboard:TENSORBOARD",
        "wandb": "orchestrator.exports.weights_and_biases:WANDB",
    },
    group="orchestrator.exporters",
)
"""Names that `export --format` takes."""
