"""Trials as every export has them: name, what one compares by, and metrics by iteration."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from orchestrator.analysis.snapshot import Snapshot
from orchestrator.store.store import TrialDirectory
from orchestrator.tracking.shape import trial_params
from orchestrator.trial import TrialSpec
from orchestrator.waiting import counted_off


@dataclass(frozen=True)
class Curve:
    """One trial's way through its training."""

    trial: TrialSpec
    params: Mapping[str, str]
    """The trial's parameters as MLflow shows them: step, variant, regime, seed, and every setting
    that the sweep changes.
    """
    metric: str
    """Metric that the sweep is judged by."""
    lines: Sequence[Mapping[str, Any]]
    """`{"iteration", "time", "metrics"}` of every evaluation, in order; time in seconds since 1970.
    """
    outcome: str
    """Outcome of the trial, or its state where it has not ended."""

    @property
    def digest(self) -> str:
        """Digest that changes whenever there is something new to export."""
        return sha256(
            repr((self.params, self.metric, self.lines, self.outcome)).encode()
        ).hexdigest()


def curves_of(snapshot: Snapshot) -> Iterator[Curve]:
    """Curves of every trial that has metrics yet."""
    spec = snapshot.spec
    steps = {variant.label: variant.step for variant in spec.road}
    for search in spec.searches:
        steps |= {point.variant.label: search.variant.step for point in search.tried}
    for known in counted_off(snapshot.trials, "exporting trials"):
        trial, record = known.spec, known.record
        lines = list(TrialDirectory(Path(record.path)).metrics())
        if lines:
            params = trial_params(spec, trial, steps[trial.variant_label])
            yield Curve(
                trial, params, spec.reported_metric.name, lines, str(record.outcome or record.state)
            )
