"""Exporters: where else than in MLflow the curves and searches can be looked at.

To add one, write a file with an `Exporter` and one line in `EXPORTERS`; another package names its
own in the entry points group `orchestrator.exporters` (see `orchestrator.plugins`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.analysis.snapshot import Snapshot
from orchestrator.exports.curves import curves_of
from orchestrator.plugins import Registry


@dataclass(frozen=True)
class Exporter:
    """Writes a part of a sweep into a folder, from the store alone, as often as it is asked."""

    write: Callable[[Iterable[Any], Path], int]
    """Brings the folder up to date with what `takes` gives and returns how many there are. Raises
    `UsageError` where a package is lacking.
    """
    then: str
    """Advice on what to do next, with `{folder}` in it, such as `look at them: tensorboard --logdir
    {folder}`.
    """
    takes: Callable[[Snapshot], Iterable[Any]] = curves_of
    """The part of the sweep that `write` is given: by default the curve of each trial (`Curve`)."""
    noun: str = "trial"
    """Noun for what is counted, in the singular."""


EXPORTERS = Registry(
    "export format",
    Exporter,
    {
        "tensorboard": "orchestrator.exports.tensorboard:TENSORBOARD",
        "optuna": "orchestrator.exports.optuna:OPTUNA",
        "wandb": "orchestrator.exports.weights_and_biases:WANDB",
    },
    group="orchestrator.exporters",
)
"""Names that `export --format` takes."""
