"""The figure of a trial that a sweep compares: read at the last epoch or at the best, as its metric
says.
"""

from orchestrator.metrics import PEAK_MEMORY, chosen_name, value_of
from orchestrator.spec.schema import MetricSchema
from orchestrator.store.best_epoch import metrics_at_best
from orchestrator.trial import TrialRecord


def figure_of(record: TrialRecord, metric: MetricSchema, name: str | None = None) -> float | None:
    """Value of `name`, by default of the metric itself; None where the trial recorded none.

    At the best epoch whatever is read is read where the metric is best.
    """
    name = name or metric.name
    if metric.epoch == "best" and name != PEAK_MEMORY:
        return metrics_at_best(record, chosen_name(metric.name), metric.mode).get(name)
    return value_of(record.result or {}, name)
