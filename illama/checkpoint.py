"""The state of a training as one file that survives a crash at any instant.

    checkpoint.pt            the newest state
    checkpoint.previous.pt   the one before, for the day the newest is damaged
    checkpoint.sha256        their digests, as `sha256sum -c` reads them

A file is written under a temporary name, flushed to the disk and renamed. The digests go first: of
the new state and of the two that exist, so that whichever renames a crash lets through, every whole
file is recognised and every torn one is not.
"""

import io
import json
import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from illama.config import Config, Workload
from illama.config.parts import BUILT_IN
from illama.sealed import read_regular

CURRENT = "checkpoint.pt"
PREVIOUS = "checkpoint.previous.pt"
DIGESTS = "checkpoint.sha256"

_AVERAGE = ("average", "model_ema", "state_dict_ema")
"""Names of the moving average of the weights: in our checkpoints, in the authors' and in timm's."""
_MEASURED = [f"model.{name}" for name in ("params", "macs", "masked", "undecayed", "offers")]
_MEASURED += [f"model.{kind}.{name}" for kind in BUILT_IN for name in ("name", "params", "macs")]
"""Keys of what was found out about a network or part of others, and of a part's label: none of them
is a setting, and another version may count otherwise.
"""

_log = logging.getLogger(__name__)


class OtherSettings(ValueError):
    """A checkpoint was written by a training with other settings: two must never be mixed in
    one.
    """


def save(directory: Path, state: Mapping[str, Any]) -> None:
    """Make `state` (tensors, numbers, strings, containers of them) the newest checkpoint of
    `directory`, created if missing.

    Raises `OSError` when it cannot be written; the checkpoints that were there are then still good.
    """
    directory.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getvalue()
    newest, older = sha256(content).hexdigest(), _recorded(directory)

    for name in (CURRENT, PREVIOUS, DIGESTS):
        _make_way(directory / name)
    _write(directory / f"{CURRENT}.tmp", content)
    _write_digests(directory, [(newest, CURRENT), *((digest, PREVIOUS) for digest in older)])
    current, previous = directory / CURRENT, directory / PREVIOUS
    held = _digest(current)
    if held in older:  # never let a damaged file push out a good one
        current.replace(previous)
    else:
        held = _digest(previous)
    (directory / f"{CURRENT}.tmp").replace(current)
    _flush_directory(directory)
    kept = [(newest, CURRENT)]
    if held in older:
        kept.append((held, PREVIOUS))
    _write_digests(directory, kept)


def load(directory: Path) -> dict[str, Any] | None:
    """The newest whole state in `directory`, or None to begin at the beginning. Damaged files are
    passed over with a warning.
    """
    recorded = _recorded(directory)
    fallbacks = {CURRENT: "trying the one before", PREVIOUS: "starting from the beginning"}
    for name, fallback in fallbacks.items():
        path = directory / name
        if not os.path.lexists(path):
            continue
        try:
            return _state_in(path, recorded)
        except (OSError, ValueError) as error:
            _log.warning("%s; %s", error, fallback)
    return None


@dataclass(frozen=True)
class FinishedTraining:
    """Facts of a finished training that its last checkpoint must agree with."""

    config: Workload | None = None
    """Settings of the training; None where not known. Not looked at unless they are ours."""
    iterations: int | None = None
    """The number of iterations that it took; None where that is not known."""


def load_last(directory: Path, of: FinishedTraining | None = None) -> dict[str, Any]:
    """The newest whole state in `directory`, held against the training that it should be `of`.

    Raises `FileNotFoundError` where there is no whole state, and `ValueError` where it is another
    training's, or of an iteration before the last one.
    """
    expected = of or FinishedTraining()
    state = load(directory)
    if state is None:
        raise FileNotFoundError(f"there is no complete checkpoint in {directory}")
    if isinstance(expected.config, Config):
        refuse_other_settings(state, expected.config, "delete that folder to train it again")
    reached = state.get("progress", {}).get("iteration")
    if expected.iterations not in (None, reached):
        raise ValueError(
            f"the newest complete checkpoint in {directory} is of iteration {reached}, but "
            f"training ended at {expected.iterations}: delete that folder to train it again"
        )
    return state


def _state_in(path: Path, recorded: list[str]) -> dict[str, Any]:
    """The state in a file whose digest is recorded. Raises `OSError` and `ValueError` where it
    cannot be gone on from.
    """
    content = read_regular(path, _most_bytes())
    if sha256(content).hexdigest() not in recorded:
        raise ValueError(f"{path} is incomplete or was changed (its digest is not in {DIGESTS})")
    state = content_of(io.BytesIO(content), "a checkpoint", path)
    if not isinstance(state, dict):
        raise ValueError(f"{path} is not a checkpoint: it has no settings")
    return state


def read(path: Path) -> dict[str, Any]:
    """The state in one file, unchecked by any digest. Raises `ValueError` when it is no checkpoint
    of the trainer.
    """
    state = content_of(path, "a checkpoint")
    if not isinstance(state, dict) or "config" not in state:
        raise ValueError(f"{path} is not a checkpoint of this trainer: it has no settings")
    return state


def weights_in(content: Mapping[str, Any], where: str, *, use_ema: bool = False) -> Any:
    """The weights in what a file holds, or their moving average: ours, or the authors' and timm's
    under their names.

    A file may be the weights themselves. Raises `ValueError` where the average is asked for and
    there is none in `where`.
    """
    if not use_ema:
        return content.get("model", content)
    average = next((content[name] for name in _AVERAGE if name in content), None)
    if average is None:
        raise ValueError(
            f"{where} has no moving average of the weights (EMA): it was trained without "
            "train.ema; leave out use_ema"
        )
    return average


def content_of(source: Path | io.BytesIO, what: str, name: Path | None = None) -> Any:
    """Load what torch saved in a file: tensors and plain values alone, so that it runs no program.

    Raises `ValueError` when it holds anything else, or is damaged; `what` it should be, and its
    `name` where the source has none, are for the message.
    """
    path = name or source
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged file can make torch raise anything
        refused = re.search(
            r"unsupported.*?(?=\. Please|\n|$)", str(error), re.IGNORECASE
        )  # it goes on to advise to run that
        reason = refused[0] if refused else (str(error) or "it ends too early").splitlines()[0]
        if "weights_only" in reason:  # advice to switch that off
            reason = "it contains something other than tensors and plain values"
        raise ValueError(f"{path} cannot be read as {what}: {reason}") from error


def refuse_other_settings(
    state: Mapping[str, Any], config: Config, advice: str = "train in an empty directory"
) -> None:
    """Raise `OtherSettings`, with advice, when `state` was written by a training with other
    settings.

    Two must never be mixed in one.
    """
    if state["numerics_version"] != (version := config.numerics_version):
        raise OtherSettings(
            f"the checkpoint was written by numerics version {state['numerics_version']}, which "
            f"is incompatible with this version, {version}; {advice}"
        )
    there, here = _flat(json.loads(state["config"])), _flat(json.loads(config.model_dump_json()))
    # others may be younger than the file
    changed = _flat(json.loads(config.model_dump_json(exclude_defaults=True))).keys()
    labels = ["model.name", *_MEASURED]  # what the preset stands for is compared in full
    if here.get("train.init.sha256"):  # a path: the content is compared
        labels.append("train.init.checkpoint")
    for label in labels:
        there.pop(label, None), here.pop(label, None)
    different = [
        f"{key} is {there.get(key, 'missing')} there and {here.get(key, 'missing')} here"
        for key in sorted(there.keys() | changed)
        if there.get(key, "missing") != here.get(key, "missing")
    ]
    if different:
        raise OtherSettings(
            f"the checkpoint belongs to different settings: {'; '.join(different)}; {advice}"
        )


def _recorded(directory: Path) -> list[str]:
    """The digests of the files that were written whole."""
    try:
        lines = read_regular(directory / DIGESTS).decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:  # something else is in its place: no file is known to be whole
        _log.warning("%s cannot be read (%s)", directory / DIGESTS, error.strerror)
        return []
    return list(dict.fromkeys(line.split(" ", 1)[0] for line in lines))


def _digest(path: Path) -> str:
    """The digest of a file; of one that is not there, nothing that is ever recorded."""
    try:
        return sha256(read_regular(path, _most_bytes())).hexdigest()
    except OSError:
        return ""


def _make_way(path: Path) -> None:
    """Set aside what is no file in a file's place, such as a folder: it may be somebody's."""
    if os.path.lexists(path) and not path.is_file():
        path.replace(path.with_name(f"{path.name}.{time.time_ns()}.damaged"))


def _most_bytes() -> int:
    """Return this machine's memory in bytes: no checkpoint that was written here is larger."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _write_digests(directory: Path, digests: list[tuple[str, str]]) -> None:
    temporary = directory / f"{DIGESTS}.tmp"
    _write(temporary, "".join(f"{digest}  {name}\n" for digest, name in digests).encode())
    temporary.replace(directory / DIGESTS)
    _flush_directory(directory)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_directory(directory: Path) -> None:
    """A rename is on the disk only when its directory is; Windows cannot and need not."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
