"""What every export says of a trial: its name, what one compares by, and its metrics by iteration."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.store import TrialDirectory
from orchestrator.tracking.shape import trial_params
from orchestrator.trial import TrialRecord, TrialSpec


@dataclass(frozen=True)
class Curve:
    """One trial's way through its training."""

    trial: TrialSpec
    params: Mapping[str, str]
    """As MLflow shows them: step, variant, regime, seed, and every setting that the sweep changes."""
    metric: str
    """What the sweep is judged by."""
    lines: Sequence[Mapping[str, Any]]
    """`{"iteration", "time", "metrics"}` of every evaluation, in order; time in seconds since 1970."""
    outcome: str
    """How the trial ended, or its state where it has not."""

    @property
    def digest(self) -> str:
        """Changes whenever there is something new to export."""
        return sha256(
            repr((self.params, self.metric, self.lines, self.outcome)).encode()
        ).hexdigest()


def curves_of(
    spec: SweepSpec, trials: Iterable[TrialSpec], record_of: Callable[[TrialSpec], TrialRecord]
) -> Iterator[Curve]:
    """Of every trial that has metrics yet."""
    steps = {(variant.regime, variant.name): variant.step for variant in spec.road}
    for trial in trials:
        record = record_of(trial)
        lines = list(TrialDirectory(Path(record.path)).metrics())
        if lines:
            params = trial_params(
                spec, trial, steps[(trial.regime, trial.variant.partition("@")[0])]
            )
            yield Curve(
                trial, params, spec.reported_metric.name, lines, str(record.outcome or record.state)
            )
