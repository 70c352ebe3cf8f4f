"""The metrics that our trainings record: which direction is better, and how many decimals people
are shown.

A training function of somebody else's records what it likes, and its spec says which direction is
better.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["max", "min"]


def sign_of(mode: str) -> int:
    """1 where more is better (`max`), and -1 where less is: times that, more is always better."""
    return 1 if mode == "max" else -1


def best_by(mode: str) -> Callable[..., Any]:
    """The built-in `max` where more is better, and `min` where less is."""
    return max if mode == "max" else min


@dataclass(frozen=True)
class Metric:
    """Facts that are known of a metric by its name."""

    mode: Mode
    """The direction that is better."""
    decimals: int = 2
    """Decimals that people are shown; an effect is worth at least one of them."""
    is_of_machine: bool = False
    """True if it depends on the machine and on what else runs there."""


_EVALUATED = {
    "acc1": Metric("max"),
    "acc5": Metric("max"),
    "loss": Metric("min", 4),
    "ece": Metric("min", 4),
}
_REPORTED = {"val/": "test/", "val_ema/": "test_ema/"}
"""Metrics that are chosen by, and the same of the images for the report alone."""
AVERAGED = ("val_ema/", "test_ema/")
"""Metrics of the weights' moving average, which only `train.ema` keeps."""
FOR_REPORT = tuple(_REPORTED.values())
"""Metrics of the test part, which nothing is chosen by."""
PEAK_MEMORY = "memory/peak_gb"
"""Peak of memory in GB; known when a training has ended, and no curve has it."""
METRICS: Mapping[str, Metric] = {
    **{
        f"{prefix}{name}": metric
        for prefix in (*_REPORTED, *FOR_REPORT)
        for name, metric in _EVALUATED.items()
    },
    "train/loss": Metric("min", 4),
    "time/epoch_seconds": Metric("min", is_of_machine=True),
    "time/images_per_second": Metric("max", 0, is_of_machine=True),
    PEAK_MEMORY: Metric("min", 3, is_of_machine=True),
}
"""The metrics that our trainings record, by the names that the store and MLflow have."""


def reported_name(metric: str, *, has_test_part: bool) -> str:
    """Metric that a report reads where a sweep's searches, best epochs and seeds go by `metric`:
    with a test part the same metric of that, `test/acc1` for `val/acc1`.
    """
    group, slash, measure = metric.partition("/")
    return f"{_REPORTED.get(group + slash, group + slash)}{measure}" if has_test_part else metric


def chosen_name(metric: str) -> str:
    """Metric by which a best epoch is chosen where a report reads `metric`: of a test part the same
    of the validation images.
    """
    group, slash, measure = metric.partition("/")
    chosen = {reported: own for own, reported in _REPORTED.items()}
    return f"{chosen.get(group + slash, group + slash)}{measure}"


KEPT_BEST: tuple[str, Mode] = ("val/acc1", "max")
"""The metric by which a training keeps its best epoch's figures in its result, whatever its sweep
compares."""


def value_of(result: Mapping[str, Any], metric: str) -> float | None:
    """Return what a trial's result says of a metric at the last epoch; None where it has none.

    `orchestrator.store.best_epoch` knows the best one.
    """
    if metric == PEAK_MEMORY:
        peak = result.get("peak_memory_bytes")
        return None if peak is None else peak / 1e9
    value: float | None = result.get("metrics", {}).get(metric)
    return value


def decimals_of(metric: str, values: Sequence[float] = ()) -> int:
    """Decimals that people are shown of a metric; of one that we do not know, so many that its
    `values` have four digits or more.
    """
    if metric in METRICS:
        return METRICS[metric].decimals
    largest = max(map(abs, values), default=0.0)
    return 2 if largest == 0 else min(max(3 - math.floor(math.log10(largest)), 0), 6)
