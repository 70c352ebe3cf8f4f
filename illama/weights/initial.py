"""The file that a training takes its first weights from (`train.init`): known by its content,
wherever it lies.

Knows no torch, so that a plan can ask; `illama.weights.pretrained.start_from` reads the file.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from illama.config import Workload
from illama.config.train import InitConfig
from illama.data.datasets import data_directory


def init_path(init: InitConfig, data_dir: Path | None = None) -> Path:
    """The path of the file. Raises `FileNotFoundError` when it is not there."""
    path = data_directory(data_dir) / init.checkpoint
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: train.init.checkpoint names a file in data_dir "
            "(runtime.data_dir, ILLAMA_DATA or data), or a full path"
        )
    return path


def checked_path(init: InitConfig, data_dir: Path | None = None) -> Path:
    """The path as by `init_path`. Raises `ValueError` when the file is another one than
    `init.sha256` says.
    """
    path = init_path(init, data_dir)
    if init.sha256 is not None and (found := _sha256(path)) != init.sha256:
        raise ValueError(
            f"{path} is a different file, or damaged: its SHA-256 is {found}, but "
            f"train.init.sha256 is {init.sha256}"
        )
    return path


Told = Callable[[int, int], None]
"""Hears how many bytes of a file have been read, and how many it has."""


def identified(
    config: Workload, data_dir: Path | None = None, told: Told = lambda done, size: None
) -> Workload:
    """`config` with the digest of the file that it starts from, where there is one and the digest
    is not given; `told` hears how far the reading of a file is.

    Raises `FileNotFoundError`.
    """
    init = config.init
    if init is None or init.sha256 is not None:
        return config
    known = init.model_copy(update={"sha256": _sha256(init_path(init, data_dir), told)})
    return config.with_init(known)


_CHUNK = 2**22
_digests: dict[tuple[Path, int, int], str] = {}
"""Digests of files by path, time of change, and size."""


def _sha256(path: Path, told: Told = lambda done, size: None) -> str:
    status = path.stat()
    version = (path, status.st_mtime_ns, status.st_size)
    if version not in _digests:
        digest, done = sha256(), 0
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                done += len(chunk)
                told(done, status.st_size)
        _digests[version] = digest.hexdigest()
    return _digests[version]
