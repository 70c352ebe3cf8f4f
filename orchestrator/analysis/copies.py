"""Seeds that change nothing: trials of a user training that sets its own seed, or uses none.

They are one training several times over. Without variation between them any difference looks
certain, however much of it is the luck of that one training.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.store.store import TrialDirectory
from orchestrator.trial import TrialRecord, Variant

_OF_THE_MACHINE = re.compile("^system/|time|second|memory|throughput|latency|speed", re.IGNORECASE)
"""Names of metrics that differ between two runs of one training."""


def are_copies(variant: Variant, records: Sequence[TrialRecord], reported: Collection[str]) -> bool:
    """Tell whether trials of several seeds recorded exactly the same figures from beginning to end.

    Our own trainings draw by the seed, and a metric of theirs may well be the same for all.
    `reported` are the metrics that the sweep asks for: they count whatever they measure, for a
    sweep may be about speed.
    """
    if len(records) < 2 or variant.config.can.has_known_metrics:
        return False
    return _all_equal(_final(record, reported) for record in records) and _all_equal(
        _curve(record, reported) for record in records
    )


def copies_text(names: Iterable[str]) -> str:
    """Caveat where seeds change nothing on one side of a comparison."""
    return (
        f"not tested: every seed of {' and of '.join(names)} gave exactly the same figures, so the "
        "seeds are copies, not replicates; does the training use its seed?"
    )


def _all_equal(found: Iterable[Any]) -> bool:
    """Tell whether all are equal; looks no further than the first that differs."""
    rest = iter(found)
    first = next(rest)
    return all(one == first for one in rest)


def _final(record: TrialRecord, reported: Collection[str]) -> dict[str, float]:
    return _figures((record.result or {}).get("metrics", {}), reported)


def _figures(metrics: Mapping[str, float], reported: Collection[str]) -> dict[str, float]:
    return {
        name: value
        for name, value in metrics.items()
        if name in reported or not _OF_THE_MACHINE.search(name)
    }


def _curve(record: TrialRecord, reported: Collection[str]) -> list[tuple[int, dict[str, float]]]:
    lines = TrialDirectory(Path(record.path)).metrics()
    return [(line["iteration"], _figures(line["metrics"], reported)) for line in lines]
