"""The rule that stops a search's trial early: where its curve lies below those of the combinations
before it. Pure.

The rule is that of Optuna's `PercentilePruner`. Its class is asked by a trial that runs, and so
answers by what has ended until then; here the worker is told beforehand what is too little at each
epoch (`Pruning`). It needs nobody's word while it trains, and whoever reads its files comes to its
verdict again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from orchestrator.metrics import best_by

Curve = Mapping[int, float]
"""A metric by epoch, from 1."""

FEWEST = 3
"""Combinations that must have got to an epoch before others are judged by them there."""


@dataclass(frozen=True)
class Pruning:
    """Thresholds that a trial is held against."""

    metric: str
    mode: str
    """`max` or `min`."""
    thresholds: Curve
    """A trial whose best until an epoch is worse than this is stopped there."""

    def epoch_of(self, curve: Curve) -> int | None:
        """The epoch at which the trial with this curve is stopped; none where it is not, or not
        yet.
        """
        judge = Judge(self)
        for epoch in sorted(curve):
            judge.look(epoch, curve[epoch])
        return judge.stopped_at

    def cause(self, curve: Curve, epoch: int) -> str:
        """Say why a trial was stopped at `epoch`."""
        best = best_by(self.mode)(value for at, value in curve.items() if at <= epoch)
        return (
            f"{self.metric} was {best:.4g} by epoch {epoch}, where "
            f"{self.thresholds[epoch]:.4g} is needed to continue"
        )

    def to_json(self) -> dict[str, Any]:
        """Return what `trial.json` holds of it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`: JSON's keys are strings."""
        thresholds = {int(epoch): threshold for epoch, threshold in value["thresholds"].items()}
        return cls(value["metric"], value["mode"], thresholds)


class Judge:
    """Follows one trial."""

    def __init__(self, pruning: Pruning) -> None:
        self._pruning = pruning
        self._seen: list[float] = []
        self.stopped_at: int | None = None
        """The epoch; none before it is stopped."""

    def look(self, epoch: int, value: float) -> None:
        """Take in one more epoch."""
        mode, threshold = self._pruning.mode, self._pruning.thresholds.get(epoch)
        self._seen.append(value)
        if self.stopped_at is not None or threshold is None:
            return
        if best_by(mode)(*self._seen, threshold) != best_by(mode)(self._seen):
            self.stopped_at = epoch


def thresholds(
    curves: Sequence[Curve], mode: str, *, first: int, last: int, percentile: float
) -> dict[int, float]:
    """Return what the best `percentile` % of `curves` have reached at each epoch, the median for
    50; from epoch `first` to `last`.
    """
    import numpy as np

    epochs = sorted({epoch for curve in curves for epoch in curve if first <= epoch <= last})
    at = {epoch: [curve[epoch] for curve in curves if epoch in curve] for epoch in epochs}
    share = percentile
    if mode == "max":
        share = 100 - percentile
    return {
        epoch: float(np.percentile(values, share))
        for epoch, values in at.items()
        if len(values) >= FEWEST
    }
