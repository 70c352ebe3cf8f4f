"""A trial's identity: the digest of everything that decides its numbers, and of nothing else.

Settings at their default are left out, so that a new setting whose default means "as before"
changes no identity; a change of meaning must raise the workload's `numerics_version` (a test pins
the defaults to it). A model's preset name is a label: the settings it stands for are what counts.
Of users' models all settings count, and the code or the version that its author gave it; of their
data the images, however they were loaded; of their trainings all settings and the code likewise. A
file that a training starts from is its content, not its path. What a kind of workload takes into
its identity, it says itself (`Workload.identity`).
"""

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

from illama.config import Workload


def fingerprint(config: Workload, dataset_digest: str) -> str:
    """64 hex digits that are equal exactly where two trainings are the same by their settings, seed
    and data.
    """
    return fingerprint_by_seed(config, dataset_digest)(config.seed)


def fingerprint_by_seed(config: Workload, dataset_digest: str) -> Callable[[int], str]:
    """The fingerprint of the same settings with any seed: what they have in common is looked at
    once, for thousands of trials.
    """
    identity = _plain(
        {
            "numerics_version": config.numerics_version,
            "dataset_digest": dataset_digest,
            **config.identity,
        }
    )
    return lambda seed: hashlib.sha256(_to_json({**identity, "seed": seed}).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with one spelling for each value: keys sorted, no spaces, whole floats as integers.

    Raises `TypeError` for types that JSON does not have and `ValueError` for NaN and infinity: an
    identity must not depend on how some library happens to print an object.
    """
    return _to_json(_plain(value))


_to_json = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
).encode


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not allowed in a fingerprint")
        if value.is_integer():
            return int(value)
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        if bad := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"keys must be strings, found {bad[0]!r}")
        return {key: _plain(item) for key, item in value.items()}
    raise TypeError(f"{type(value).__name__} has no canonical form: {value!r}")
