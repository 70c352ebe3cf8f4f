"""The file that a training takes its first weights from (`train.init`): known by its content,
wherever it lies.

Knows no torch, so that a plan can ask; `illama.weights.pretrained.start_from` reads the file.
"""

from functools import cache
from hashlib import file_digest
from pathlib import Path

from illama.config import Workload
from illama.config.train import InitConfig
from illama.data.datasets import data_directory


def init_path(init: InitConfig, data_dir: Path | None = None) -> Path:
    """The path of the file. Raises `FileNotFoundError` when it is not there."""
    path = data_directory(data_dir) / init.checkpoint
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there: train.init.checkpoint names a file in data_dir (runtime.data_dir, ILLAMA_DATA or data), or a "
            "whole path"
        )
    return path


def checked_path(init: InitConfig, data_dir: Path | None = None) -> Path:
    """The path as by `init_path`. Raises `ValueError` when the file is another one than
    `init.sha256` says.
    """
    path = init_path(init, data_dir)
    if init.sha256 is not None and (found := _sha256(path)) != init.sha256:
        raise ValueError(
            f"{path} is another file, or damaged: its SHA-256 is {found}, and train.init.sha256 is {init.sha256}"
        )
    return path


def identified(config: Workload, data_dir: Path | None = None) -> Workload:
    """`config` with the digest of the file that it starts from, where there is one and the digest
    is not given.

    Raises `FileNotFoundError`.
    """
    init = config.init
    if init is None or init.sha256 is not None:
        return config
    known = init.model_copy(update={"sha256": _sha256(init_path(init, data_dir))})
    return config.with_init(known)


def _sha256(path: Path) -> str:
    status = path.stat()
    return _sha256_of_version(path, status.st_mtime_ns, status.st_size)


@cache
def _sha256_of_version(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
