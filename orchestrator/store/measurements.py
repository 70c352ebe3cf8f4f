"""Measurements of a trial's finished network: `measures/<name>-<16 hex>.json` in its folder.

The file says what is to be measured before a worker begins, and is replaced by what was found, or
by why that failed. One that is still `asked` after its driver has gone is measured again.
"""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Self

from illama.config import RuntimeConfig, Workload
from illama.measures import Request
from orchestrator.errors import DamagedFile, NewerFile
from orchestrator.fingerprint import canonical_json
from orchestrator.store.damage import note
from orchestrator.store.files import clear_litter, read_json, write_json

FOLDER = "measures"
FORMAT = 1
_DIGITS = 16
"""Digits of the fingerprint in a file's name."""

State = Literal["asked", "measured", "failed"]


@dataclass(frozen=True)
class Measurement:
    """One measure of one network."""

    sweep: str
    """The sweep that asks for it: its folder has the code of a user's measure."""
    network: str
    """Fingerprint of the training whose network it is."""
    request: Request
    runtime: RuntimeConfig
    use_ema: bool = False
    """True if the moving average of the weights is measured."""
    epoch: int | None = None
    """Epoch after which the network was as it is measured; None for the finished one."""
    state: State = "asked"
    values: Mapping[str, float] | None = None
    """Numbers by name; None before it was measured."""
    quantities: Mapping[str, Mapping[str, Any]] | None = None
    """Direction (`mode`), `unit`, `decimals` and `text` of each number that its author describes.
    """
    pictures: Mapping[str, str] | None = None
    """SVG files by name."""
    cause: str | None = None
    """Reason why it failed."""
    traceback: str | None = None
    where: Mapping[str, Any] | None = None
    """Host, device and versions that it was measured with."""
    seconds: float | None = None
    time: float | None = None
    """The time at which the file was written, in seconds since 1970."""

    @property
    def fingerprint(self) -> str:
        """64 hex digits, equal where measure, code, options and network are."""
        identity: dict[str, Any] = {
            "function": self.request.function,
            "code": self.request.code,
            "options": self.request.options,
            "network": self.network,
        }
        if self.use_ema:
            identity["use_ema"] = True
        if self.epoch is not None:
            identity["epoch"] = self.epoch
        return sha256(canonical_json(identity).encode()).hexdigest()

    @property
    def label(self) -> str:
        """Name of the measure, with the options that were given."""
        options = ", ".join(f"{key}={value}" for key, value in sorted(self.request.given.items()))
        if not options:
            return self.request.name
        return f"{self.request.name} ({options})"

    @property
    def file_name(self) -> str:
        """Name of its file in the folder `measures`."""
        name = re.sub(r"[^A-Za-z0-9_.]+", "_", self.request.name)[:60]
        return f"{name}-{self.fingerprint[:_DIGITS]}.json"

    def path_in(self, trial: Path) -> Path:
        """The measurement's file in a trial's folder."""
        return trial / FOLDER / self.file_name

    def failed(self, cause: str, traceback: str | None = None) -> Self:
        """The measurement, with why nothing was found."""
        return replace(self, state="failed", cause=cause, traceback=traceback)

    def to_json(self) -> dict[str, Any]:
        """Content of its file."""
        found = {name: value for name, value in vars(self).items() if value is not None}
        now: float | None = None
        if self.state != "asked":
            now = time.time()
        return {
            "format": FORMAT,
            **found,
            "fingerprint": self.fingerprint,
            "request": self.request.model_dump(mode="json"),
            "runtime": self.runtime.model_dump(mode="json"),
            "time": now,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`. Raises what wrong content makes it raise."""
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        known["request"] = Request.model_validate(value["request"])
        known["runtime"] = RuntimeConfig.model_validate(value["runtime"])
        return cls(**known)


def epochs_along(request: Request, config: Workload) -> range:
    """Epochs after which a training's network is measured along it; the last one is not among
    them.
    """
    if request.every is None:
        return range(0)
    return range(request.every, config.length or 0, request.every)


def iteration_of(epoch: int, config: Workload, iterations: int | None) -> int | None:
    """Iterations done after an epoch, of a training of `iterations` in all; None where that is not
    known.
    """
    if iterations is None or not config.length:
        return None
    return iterations * epoch // config.length


def write_measurement(path: Path, measurement: Measurement) -> None:
    """Put the file into its place. Raises `OSError`."""
    path.parent.mkdir(exist_ok=True)
    clear_litter(path.parent)
    write_json(path, measurement.to_json())


def read_measurement(path: Path) -> Measurement:
    """Content of a file. Raises `FileNotFoundError`, `DamagedFile` and `NewerFile`."""
    value = read_json(path, newest=FORMAT)
    try:
        found = Measurement.from_json(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedFile(path, f"not a measurement of this version: {error!r}") from error
    if found.file_name != path.name:
        raise DamagedFile(path, "it belongs to another measurement")
    return found


def known_measurement(asked: Measurement, trial: Path) -> Measurement | None:
    """Read the measurement in a trial's folder; None where there is none that can be used."""
    try:
        return read_measurement(asked.path_in(trial))
    except (FileNotFoundError, NewerFile):
        return None
    except DamagedFile as damage:
        note(damage)
        return None


def measured_in(trial: Path) -> list[Measurement]:
    """Read what was measured of a trial's network, oldest first, whoever asked for it."""
    folder, found = trial / FOLDER, []
    for name in _names_in(folder):
        path = folder / name
        try:
            measurement = read_measurement(path)
        except (FileNotFoundError, NewerFile):
            continue
        except DamagedFile as damage:
            note(damage)
            continue
        if measurement.state == "measured":
            found.append(measurement)
    return sorted(found, key=lambda one: (one.time or 0.0, one.file_name))


def _names_in(folder: Path) -> list[str]:
    """Names of the measurements in a folder; none where nothing was ever measured."""
    try:
        return [name for name in os.listdir(folder) if name.endswith(".json")]
    except OSError:
        return []


def is_measurement(work: Path) -> bool:
    """Tell whether a piece of work is the file of a measurement, and not a trial's folder."""
    return work.parent.name == FOLDER


def trial_folder(path: Path) -> Path:
    """The folder of the trial whose network the measurement at `path` is of."""
    return path.parents[1]


def sweep_that_asks(path: Path) -> Path:
    """The folder of the sweep that asks for the measurement at `path`.

    Raises `FileNotFoundError`, `DamagedFile`, `NewerFile`.
    """
    return path.parents[4] / read_measurement(path).sweep
