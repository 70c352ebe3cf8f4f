"""Metrics that a command's own logger writes into files, read while they grow.

A script that logs to MLflow or TensorBoard need not print anything: `metrics_from: mlflow` or
`tensorboard`. One entry of `READERS` adds a kind of file.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

from illama.config import UserCodeError

_LOOK_SECONDS = 2.0
"""Seconds between two looks at files, which may be many."""

Value = tuple[int, str, float]
"""A step, a metric's name and its value."""


class Reader(Protocol):
    """Values that are new in files since the last call."""

    def __call__(self) -> Iterator[Value]:
        """Yield the new values, in whatever order they are found."""


class MetricFiles:
    """Points of growing files by their steps, each once it is complete: when a later step is there,
    or at the end.
    """

    def __init__(self, reader: Reader, take: Callable[[Mapping[str, Any]], None]) -> None:
        """`take` is given a point at a time: numbers by name and its `step`, in order.

        What comes late, of a step before, has no step: it is a final figure alone.
        """
        self._reader, self._take = reader, take
        self._waiting: dict[int, dict[str, float]] = {}
        self._passed = -1
        self._next_look = 0.0

    def look(self) -> None:
        """Take what is new, if it was not done just now."""
        if time.monotonic() >= self._next_look:
            self._read(is_over=False)
            self._next_look = time.monotonic() + _LOOK_SECONDS

    def finish(self) -> None:
        """Take all that is left: nothing writes any more."""
        self._read(is_over=True)

    def _read(self, *, is_over: bool) -> None:
        for step, name, value in self._reader():
            if step <= self._passed:
                self._take({name: value})
            else:
                self._waiting.setdefault(step, {})[name] = value
        for step in sorted(self._waiting):
            if is_over or step < max(self._waiting):
                self._take({"step": step, **self._waiting.pop(step)})
                self._passed = step


class MlflowReader:
    """Reader of what `mlflow.log_metric` writes as plain files: `EXPERIMENT/RUN/metrics/NAME`, a
    line of milliseconds, value and step for each.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read_of: dict[Path, int] = {}

    def __call__(self) -> Iterator[Value]:
        """See `Reader`."""
        for metrics in sorted(self._folder.glob("*/*/metrics")):
            for path in sorted(path for path in metrics.rglob("*") if path.is_file()):
                for line in self._new_lines(path):
                    words = line.split()
                    if len(words) >= 3:
                        name = path.relative_to(metrics).as_posix()
                        yield int(words[2]), name, float(words[1])

    def _new_lines(self, path: Path) -> list[bytes]:
        with path.open("rb") as file:
            file.seek(self._read_of.get(path, 0))
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read_of[path] = self._read_of.get(path, 0) + len(whole)
        return whole.splitlines()


class TensorboardReader:
    """Scalars of the event files below some folders, of whatever library wrote them."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._loaders: dict[Path, Any] = {}

    def __call__(self) -> Iterator[Value]:
        """See `Reader`."""
        for folder in self._folders:
            for path in sorted(folder.rglob("events.out.tfevents.*")):
                for event in self._loader(path).Load():
                    for value in event.summary.value:
                        yield from _scalar(event.step, value)

    def _loader(self, path: Path) -> Any:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

        if path not in self._loaders:
            self._loaders[path] = EventFileLoader(str(path))
        return self._loaders[path]


def _scalar(step: int, value: Any) -> Iterator[Value]:
    """The number in a summary; none in an image or a histogram."""
    from tensorboard.util.tensor_util import make_ndarray

    if value.metadata.plugin_data.plugin_name == "scalars":
        yield step, value.tag, float(make_ndarray(value.tensor).item())


def _mlflow(folder: Path, environment: dict[str, str]) -> Reader:
    """Return the reader of the folder that the trial's MLflow calls go to; of one beside its
    checkpoints where nobody has said which.
    """
    address = urlparse(environment.get("MLFLOW_TRACKING_URI", ""))
    if address.scheme != "file":
        target = folder.parent.resolve() / "mlflow"
        environment["MLFLOW_TRACKING_URI"] = target.as_uri()
        environment["MLFLOW_ALLOW_FILE_STORE"] = "true"
        return MlflowReader(target)
    return MlflowReader(Path(unquote(address.path)))


def _tensorboard(folder: Path, environment: dict[str, str]) -> Reader:
    if find_spec("tensorboard") is None:
        raise UserCodeError("metrics_from: tensorboard needs a package: pip install tensorboard")
    return TensorboardReader([folder.parent])


READERS: dict[str, Callable[[Path, dict[str, str]], Reader]] = {
    "mlflow": _mlflow,
    "tensorboard": _tensorboard,
}
"""Makers of readers by the names that `metrics_from` takes; each is given the folder that the
command runs in and its environment, and may add to that."""


def reader_of(kind: str, folder: Path, environment: dict[str, str]) -> Reader:
    """The reader of that kind."""
    return READERS[kind](folder, environment)
