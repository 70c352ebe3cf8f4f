"""MLflow's tables in SQLite, as far as they are written here: their columns, and a statement for a
row of each.
"""

import math
import sys
from collections.abc import Iterable
from operator import itemgetter

COLUMNS = {
    "runs": (
        "run_uuid name source_type source_name entry_point_name user_id status start_time "
        "end_time source_version lifecycle_stage artifact_uri experiment_id deleted_time"
    ),
    "tags": "key value run_uuid",
    "params": "key value run_uuid",
    "metrics": "key value timestamp run_uuid step is_nan",
    "latest_metrics": "key value timestamp step is_nan run_uuid",
    "datasets": (
        "dataset_uuid experiment_id name digest dataset_source_type dataset_source "
        "dataset_schema dataset_profile"
    ),
    "inputs": "input_uuid source_type source_id destination_type destination_id step",
    "input_tags": "input_uuid name value",
}
"""Tables and columns of MLflow 3.11 to 3.17, as far as they matter here."""
RUN_ROW = f"INSERT INTO runs ({', '.join(COLUMNS['runs'].split())}) VALUES ({', '.join('?' * 14)})"
TAG_ROW = """INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?)
    ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value"""
PARAM_ROW = "INSERT INTO params (run_uuid, key, value) VALUES (?, ?, ?)"
POINT_ROW = """INSERT INTO metrics (run_uuid, key, step, timestamp, value, is_nan)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (key, timestamp, step, run_uuid, value, is_nan) DO NOTHING"""
PointRow = tuple[str, str, int, int, float, bool]
_AGE = itemgetter(2, 3, 4)
"""MLflow's newest point of a metric is the one where these are greatest: step, timestamp, value."""
LATEST_ROW = """INSERT INTO latest_metrics (run_uuid, key, step, timestamp, value, is_nan)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (key, run_uuid) DO UPDATE
    SET step = excluded.step, timestamp = excluded.timestamp, value = excluded.value,
        is_nan = excluded.is_nan
    WHERE (excluded.step, excluded.timestamp, excluded.value) > (step, timestamp, value)"""
DATASET_ROW = """INSERT INTO datasets
    (dataset_uuid, experiment_id, name, digest, dataset_source_type, dataset_source)
    VALUES (?, ?, ?, ?, 'illama', ?) ON CONFLICT (experiment_id, name, digest) DO NOTHING"""
INPUT_ROW = """INSERT INTO inputs
    (input_uuid, source_type, source_id, destination_type, destination_id)
    SELECT ?, 'DATASET', dataset_uuid, 'RUN', ? FROM datasets
    WHERE experiment_id = ? AND name = ? AND digest = ?
    ON CONFLICT (source_type, source_id, destination_type, destination_id) DO NOTHING"""


def newest(points: Iterable[PointRow]) -> Iterable[PointRow]:
    """The newest point of each metric, in the order in which the metrics were given: MLflow's page
    for comparing runs opens on the first one.
    """
    newest: dict[str, PointRow] = {}
    for row in points:
        known = newest.setdefault(row[1], row)
        if _AGE(row) > _AGE(known):
            newest[row[1]] = row
    return newest.values()


def stored(value: float) -> tuple[float, bool]:
    """A number as SQL has them, and whether it is none."""
    if math.isfinite(value):
        return value, False
    return (0.0, True) if math.isnan(value) else (math.copysign(sys.float_info.max, value), False)
