"""CIFAR-10 and CIFAR-100 from their published "python version" files, unpacked or as the downloaded
archive.
"""

import io
import pickle
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from illama.data.files import file_digest
from illama.data.registry import Pool, Source

if TYPE_CHECKING:
    from illama.config import DataConfig, ModelConfig, UserModel

NUM_CLASSES = {"cifar10": 10, "cifar100": 100}
_ARCHIVES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}
_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
_TRAIN = {"cifar10": [f"data_batch_{i}" for i in range(1, 6)], "cifar100": ["train"]}
_TEST = {"cifar10": "test_batch", "cifar100": "test"}
_LABELS = {"cifar10": b"labels", "cifar100": b"fine_labels"}

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def files(name: str, directory: Path) -> list[Path]:
    """The files that `name` (cifar10 or cifar100) is read from: the unpacked folder's, or the
    archive.

    Raises `FileNotFoundError` when `directory` has neither.
    """
    members = [directory / _FOLDERS[name] / member for member in (*_TRAIN[name], _TEST[name])]
    if members[0].parent.is_dir():
        if missing := [str(path) for path in members if not path.is_file()]:
            raise FileNotFoundError(
                f"{name} is incomplete: {', '.join(missing)} missing; unpack {_ARCHIVES[name]} "
                "again"
            )
        return members
    archive = directory / _ARCHIVES[name]
    if not archive.is_file():
        raise FileNotFoundError(
            f"{name} is not in {directory}: expected {archive.name} or the folder "
            f"{_FOLDERS[name]}; download the python version from "
            "https://www.cs.toronto.edu/~kriz/cifar.html, or point data_dir (or ILLAMA_DATA) "
            "at the directory that has it"
        )
    return [archive]


def read(name: str, directory: Path) -> tuple[Pixels, Labels, Pixels, Labels]:
    """Training images, their labels, test images, their labels; images are (n, 3, 32, 32), pixels 0
    to 255.

    Raises `FileNotFoundError` as `files` does and `ValueError` naming the file that cannot be read.
    """
    found = files(name, directory)
    if len(found) == 1:
        parts = _from_archive(
            found[0], [f"{_FOLDERS[name]}/{member}" for member in (*_TRAIN[name], _TEST[name])]
        )
    else:
        parts = [(str(path), path.read_bytes()) for path in found]
    batches = [_parse(source, content, name) for source, content in parts]
    images = np.concatenate([batch[0] for batch in batches[:-1]])
    labels = np.concatenate([batch[1] for batch in batches[:-1]])
    return images, labels, *batches[-1]


def _from_archive(archive: Path, members: list[str]) -> list[tuple[str, bytes]]:
    try:
        with tarfile.open(archive) as tar:
            return [(f"{archive}: {member}", _extract(tar, member)) for member in members]
    except (tarfile.TarError, KeyError, EOFError, OSError) as error:
        raise ValueError(
            f"{archive} cannot be read, its download may be incomplete: {error}"
        ) from error


def _extract(tar: tarfile.TarFile, member: str) -> bytes:
    file = tar.extractfile(member)
    if file is None:
        raise KeyError(f"{member} is not a file")
    return file.read()


def _parse(source: str, content: bytes, name: str) -> tuple[Pixels, Labels]:
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        pixels = np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
        labels = np.asarray(batch[_LABELS[name]], dtype=np.int64)
    except (
        pickle.UnpicklingError,
        EOFError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
    ) as error:
        raise ValueError(f"{source} is not a CIFAR file, or a damaged one: {error}") from error
    if len(pixels) != len(labels):
        raise ValueError(f"{source} has {len(pixels)} images but {len(labels)} labels")
    if strange := sorted(set(labels.tolist()) - set(range(NUM_CLASSES[name]))):
        raise ValueError(
            f"{source} has an image of class {strange[0]}; the classes of {name} are 0 to "
            f"{NUM_CLASSES[name] - 1}"
        )
    return pixels, labels


class _Unpickler(pickle.Unpickler):
    """Reads arrays and plain values and nothing else: a pickle from the internet could otherwise
    run any program.
    """

    def find_class(self, module: str, name: str) -> Any:
        allowed = {"_reconstruct", "ndarray", "dtype", "encode"}
        if name in allowed and module.split(".")[0] in {"numpy", "_codecs"}:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it contains {module}.{name}, which is not allowed")


def _pool(data: "DataConfig", model: "ModelConfig | UserModel", directory: Path) -> Pool:
    images, labels, test_images, test_labels = read(data.name, directory)
    return Pool(images, labels, NUM_CLASSES[data.name], (test_images, test_labels))


def _digest(data: "DataConfig", directory: Path) -> str:
    """SHA-256 of the digests of all files."""
    digests = [file_digest(path) for path in files(data.name, directory)]
    return f"sha256:{sha256(''.join(digests).encode()).hexdigest()}"


CIFAR10 = Source(_digest, _pool, "test", shape=(3, 32, 32), num_classes=10)
CIFAR100 = Source(_digest, _pool, "test", shape=(3, 32, 32), num_classes=100)
