"""The epoch at which a trial was best, by whatever metric and direction a report goes by.

A training is the same whatever its sweep compares, so that it cannot know; its curve has every
epoch.
"""

from collections.abc import Mapping
from functools import cached_property
from operator import itemgetter
from pathlib import Path

from orchestrator.metrics import KEPT_BEST, PEAK_MEMORY, Mode, best_by, value_of
from orchestrator.store.store import TrialDirectory
from orchestrator.trial import TrialRecord


def metrics_at_best(record: TrialRecord, metric: str, mode: Mode) -> Mapping[str, float]:
    """All metrics of the epoch, or of the logged iteration, at which `metric` was best.

    The first of equals; empty where `metric` was never recorded.
    """
    kept: Mapping[str, float] = (record.result or {}).get("best", {})
    if (metric, mode) == KEPT_BEST and metric in kept:  # the result has it: no curve is read
        return kept
    epochs = [line["metrics"] for line in TrialDirectory(Path(record.path)).metrics()]
    recorded = [metrics for metrics in epochs if metric in metrics]
    best: Mapping[str, float] = best_by(mode)(recorded, key=itemgetter(metric), default={})
    return best


class BestEpochs:
    """The best epochs of some trials, by seed; nothing is read before it is asked for."""

    def __init__(self, records: Mapping[int, TrialRecord], metric: str, mode: Mode) -> None:
        self._records, self._metric, self._mode = records, metric, mode

    @cached_property
    def _metrics(self) -> Mapping[int, Mapping[str, float]]:
        return {
            seed: metrics_at_best(record, self._metric, self._mode)
            for seed, record in self._records.items()
        }

    def values(self, name: str) -> Mapping[int, float]:
        """The metric `name` at the epoch that is best by the one that all trials are compared with,
        of those that recorded it.
        """
        if name == PEAK_MEMORY:  # of the whole training
            peaks = {s: value_of(record.result or {}, name) for s, record in self._records.items()}
            return {seed: peak for seed, peak in peaks.items() if peak is not None}
        return {seed: found[name] for seed, found in self._metrics.items() if name in found}
