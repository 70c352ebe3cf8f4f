"""TensorBoard's event files: a folder for each trial, with its curves and what its HPARAMS tab
compares by.

Written with tensorboardX, which Ray Tune brings along; TensorBoard itself, which shows them, is the
extra `tensorboard`. Files are always written whole, and the same store gives the same files.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.exports.base import Exporter
from orchestrator.exports.curves import Curve

_FILE = "events.out.tfevents.0.orchestrator"
"""TensorBoard takes what has `tfevents` in its name, and sorts by it."""


def write_tensorboard(curves: Iterable[Curve], output: Path) -> int:
    """Write `<output>/<trial>/events...` for each trial; returns how many. Values are
    TensorBoard's, in single precision.

    Raises `UsageError` where tensorboardX is not installed.
    """
    try:
        from tensorboardX import RecordWriter
    except ImportError as error:
        message = (
            f"TensorBoard's files need tensorboardX ({error}): pip install "
            "'ablation-orchestrator[tensorboard]'"
        )
        raise UsageError(message) from error
    count = 0
    for curve in curves:
        folder = output / curve.trial.name
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / "being_written"
        writer = RecordWriter(str(partial))
        for event in _events(curve):
            writer.write(event.SerializeToString(deterministic=True))
        writer.close()
        partial.replace(folder / _FILE)
        count += 1
    return count


TENSORBOARD = Exporter(write_tensorboard, "to view: tensorboard --logdir {folder}")


def _events(curve: Curve) -> Iterator[Any]:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.summary import hparams

    start, end = curve.lines[0]["time"], curve.lines[-1]["time"]
    yield Event(wall_time=start, file_version="brain.Event:2")
    experiment, session, closing = hparams(dict(curve.params), {curve.metric: None})
    for summary in (experiment, session):
        yield Event(wall_time=start, summary=summary)
    for line in curve.lines:
        values = [
            Summary.Value(tag=name, simple_value=value) for name, value in line["metrics"].items()
        ]
        yield Event(wall_time=line["time"], step=line["iteration"], summary=Summary(value=values))
    yield Event(wall_time=end, summary=closing)
