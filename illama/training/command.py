"""A training by a user's command: started without a shell, followed by what it prints, ended with
its trial.

    metric train/loss=0.31 val/acc=0.93 epoch=3        a point of the curves
    metric test/acc=0.91 params=81000                  a final figure, of no epoch

A point is of an `epoch`, an `iteration` or a `step`. Lines of this form on stdout are its metrics.
With `{metrics_file}` in the command it may append JSON objects to that file instead, one a line:
`{"epoch": 3, "val/acc": 0.93}`. A point is complete when the next one begins, or when the command
ends. The last value of each name is its final one.

The command runs in the trial's own folder, which is there again after an interruption: what it
saved under a relative name it finds there. It is asked to stop by SIGTERM.
"""

import ctypes
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from illama.config import RuntimeConfig, UserCodeError, data_directory
from illama.config.command import CommandTraining, command_files, filled
from illama.config.imports import digest_of, folder_of_spec
from illama.training.device import forget_peak_memory, pick_device
from illama.training.distributed import OtherNodes
from illama.training.metric_files import MetricFiles, reader_of
from illama.training.results import TrainResult
from illama.training.user_training import TrainingLog, folder_or_scratch

GRACE_SECONDS = 20.0
"""Seconds between SIGTERM and SIGKILL: time to save."""
ARTIFACTS = "TRIAL_ARTIFACTS_DIR"
"""Environment variable of a command: the folder for files that MLflow and reports show."""
PRINTED = "printed_metrics.jsonl"
"""The file beside the checkpoint folder with the points that were printed, so that none is lost
with a worker.
"""

_LOOK_SECONDS = 0.2
_LONGEST_LINE = 1_000_000
_LAST_LINES = 20
_COUNTERS = ("epoch", "iteration", "step")
_METRIC = re.compile(r"metric((?:\s+[^\s=]+=\S+)+)\s*")
_PART = re.compile(r"([^\s=]+)=(\S+)")
_PR_SET_PDEATHSIG = 1


def train_by_command(
    config: CommandTraining,
    runtime: RuntimeConfig,
    *,
    log_metrics: Callable[[Mapping[str, float], int], None],
    checkpoint_dir: Path | None,
    should_stop: Callable[[], bool],
    others: OtherNodes | None = None,
) -> TrainResult:
    """Run the command to its end. A later call with the same folder starts it there again.

    Raises `Diverged` for a metric that is not finite, `Stopped` where it ended because it was asked
    to, `UserCodeError` where its files are others than when it was planned, and `RuntimeError`
    where it fails or reports no metric.
    """
    code = folder_of_spec()
    found = digest_of(command_files(config.train.command, config.train.files, code))
    if found != config.train.code:
        raise UserCodeError(f"the files of {config.title} have changed since this was planned")
    with folder_or_scratch(checkpoint_dir) as folder:
        device = pick_device(runtime)
        forget_peak_memory(device)
        log = TrainingLog(config, folder, log_metrics, should_stop, stops_itself=True)
        reports = _Reports(log, folder / PRINTED)
        given = _given(config, runtime, log, str(device))
        words = _runnable(filled(config.train, given), code)
        environment = _environment(code, runtime, log)
        files = _files_of(config, log.checkpoint_dir, environment, reports)
        run = _Run(words, log.checkpoint_dir, environment, reports)
        with run:
            run.follow(Path(given["metrics_file"]), log.should_stop, files)
        if files:
            files.finish()
        reports.flush()
        if log.should_stop():
            return log.result(None, device)
        run.refuse_failure(config.title)
        return log.result(reports.final, device)


def _files_of(
    config: CommandTraining, folder: Path, environment: dict[str, str], reports: "_Reports"
) -> MetricFiles | None:
    """The files of the command's own logger, where its metrics are read from them."""
    kind = config.train.metrics_from
    return MetricFiles(reader_of(kind, folder, environment), reports.take) if kind else None


def _given(
    config: CommandTraining, runtime: RuntimeConfig, log: TrainingLog, device: str
) -> dict[str, str]:
    """The placeholders that are a trial's."""
    folder = log.checkpoint_dir
    given = {
        "seed": str(config.seed),
        "device": device,
        "checkpoint_dir": str(folder.resolve()),
        "artifacts_dir": str(log.artifacts_dir.resolve()),
        "data_dir": str(data_directory(runtime.data_dir).resolve()),
        "metrics_file": str(folder.resolve() / "metrics.jsonl"),
        "settings_file": str(folder.resolve() / "settings.json"),
    }
    settings = {**config.train.options, **given, "seed": config.seed}
    Path(given["settings_file"]).write_text(json.dumps(settings, indent=2), "utf-8")
    return given


def _runnable(words: list[str], code: Path) -> list[str]:
    """Words with this Python for `python`, and the files beside the spec by their whole paths."""
    paths = [code / word for word in words]
    whole = [
        str(path.resolve()) if not word.startswith("/") and path.is_file() else word
        for word, path in zip(words, paths, strict=True)
    ]
    if words[0] in ("python", "python3"):
        return [sys.executable, *whole[1:]]
    script = Path(whole[0])
    if script.is_file() and not os.access(script, os.X_OK):  # a copy has no permissions of its own
        first = script.read_bytes().partition(b"\n")[0].decode(errors="replace")
        interpreter = first.removeprefix("#!").split() if first.startswith("#!") else ["sh"]
        return [*interpreter, *whole]
    return whole


def _environment(code: Path, runtime: RuntimeConfig, log: TrainingLog) -> dict[str, str]:
    path = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": f"{code.resolve()}{os.pathsep}{path}" if path else str(code.resolve()),
        "PYTHONUNBUFFERED": "1",
        ARTIFACTS: str(log.artifacts_dir.resolve()),
        "OMP_NUM_THREADS": str(runtime.num_threads),
    }


class _Reports:
    """Points that a command reports, put together by their iteration and passed on."""

    def __init__(self, log: TrainingLog, printed: Path) -> None:
        self.final: dict[str, float] = dict(log.metrics)
        self._log, self._printed = log, printed
        self._at: int | None = None
        self._point: dict[str, float] = {}
        for point in _json_lines(printed.read_bytes() if printed.exists() else b""):
            self.take(point)

    def read(self, line: str) -> None:
        """Take a printed line, if it is one of metrics."""
        match = _METRIC.fullmatch(line.strip())
        if match is None:
            return
        try:
            point = {name: float(value) for name, value in _PART.findall(match[1])}
        except ValueError:  # prose that happens to begin like a metric
            return
        with self._printed.open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")
        self.take(point)

    def take(self, point: Mapping[str, Any]) -> None:
        """Add a point: numbers by name, and the epoch, iteration or step that they are of."""
        counter = next((name for name in _COUNTERS if name in point), None)
        numbers = {
            name: float(value)
            for name, value in point.items()
            if name not in _COUNTERS and type(value) in (int, float)
        }
        if counter is not None:
            at = int(point[counter])
            if at != self._at:
                self.flush()
            self._at = at
            self._point |= numbers
        self.final |= numbers

    def flush(self) -> None:
        """Pass on the point that is complete."""
        if self._at is not None and self._point:
            self._log(self._point, self._at)
        self._at, self._point = None, {}


def _json_lines(content: bytes) -> Iterator[dict[str, Any]]:
    """Objects of whole lines; others are left alone: a command may have been killed in one."""
    for line in content.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


class _Run:
    """A process of the command, with all that it starts."""

    def __init__(
        self, words: list[str], folder: Path, environment: Mapping[str, str], reports: _Reports
    ) -> None:
        self._reports = reports
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._buffers: dict[int, bytes] = {}
        self._read_of_file = 0
        try:
            self._process = subprocess.Popen(
                words,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
                preexec_fn=_end_with_parent,
            )
        except OSError as error:
            raise UserCodeError(f"cannot start {words[0]}: {error.strerror}") from error

    def __enter__(self) -> "_Run":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing of it is left behind, however it ended."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()

    def follow(
        self,
        metrics_file: Path,
        should_stop: Callable[[], bool],
        files: MetricFiles | None = None,
    ) -> None:
        """Read what it says until it ends; ask it to stop once `should_stop` says so."""
        deadline: float | None = None
        with selectors.DefaultSelector() as selector:
            for pipe in (self._process.stdout, self._process.stderr):
                assert pipe is not None
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe.fileno(), selectors.EVENT_READ)
            while self._process.poll() is None:
                self._read(selector, _LOOK_SECONDS)
                self._read_file(metrics_file)
                if files:
                    files.look()
                if deadline is None and should_stop():
                    deadline = time.monotonic() + GRACE_SECONDS
                    self._signal(signal.SIGTERM)
                if deadline is not None and time.monotonic() > deadline:
                    self._signal(signal.SIGKILL)
            while self._read(selector, 0):
                pass
            for number in list(self._buffers):
                self._line(number, self._buffers.pop(number))
        self._read_file(metrics_file)

    def refuse_failure(self, title: str) -> None:
        """Raises `RuntimeError` where it did not end well, with the last that it said."""
        status = self._process.returncode
        if status == 0:
            return
        how = f"ended with exit code {status}"
        if status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        said = [line for line in self._last_lines if line.strip()]
        error = RuntimeError(f"{title} {how}" + (f": {said[-1].strip()}" if said else ""))
        error.add_note("\n".join(["Its last lines:", *said]))
        raise error

    def _read(self, selector: selectors.BaseSelector, seconds: float) -> bool:
        """Tell whether there was anything to read, or may be more."""
        if not selector.get_map():
            time.sleep(min(seconds, 0.01))
            return False
        found = selector.select(seconds)
        for key, _ in found:
            chunk = os.read(key.fd, 65_536)
            if not chunk:
                selector.unregister(key.fd)
                continue
            *lines, rest = (self._buffers.get(key.fd, b"") + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            self._buffers[key.fd] = rest
            for line in lines:
                self._line(key.fd, line)
        return bool(found)

    def _line(self, number: int, content: bytes) -> None:
        line = content.decode("utf-8", errors="replace")
        if not line:
            return
        print(line, file=sys.stderr)  # our own stdout may be JSON for a program
        assert self._process.stdout is not None
        if number == self._process.stdout.fileno():
            self._reports.read(line)
        else:
            self._last_lines.append(line)

    def _read_file(self, path: Path) -> None:
        """Take the whole lines that are new in its file of metrics."""
        try:
            with path.open("rb") as file:
                file.seek(self._read_of_file)
                content = file.read()
        except FileNotFoundError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        self._read_of_file += len(whole)
        for point in _json_lines(whole):
            self._reports.take(point)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:  # all of it has ended
            return


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent() -> None:
    """Let the kernel end the command where our own process is killed."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
