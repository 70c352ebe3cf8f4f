"""The held-out images that the final network of a trial got right: `predictions.bin` in its folder.

    orchestrator predictions 1                              what it is, and the version
    {"part": "test", "count": 360, "images": "sha256:..."}  which images, one JSON object
    45 bytes                                                a bit for each image, first one highest
    32 bytes                                                SHA-256 of all of the above

Written whole, after training and before `result.json`. The networks of this project's training loop
have it; a user training does not, nor do trials of older versions.
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from illama.sealed import read_regular
from orchestrator.store.files import make_way, write_whole

FILE = "predictions.bin"
VERSION = 1
_MAGIC = b"orchestrator predictions "
_CHECKSUM_BYTES = 32
_MOST_BYTES = 1 << 28
"""Two thousand million images."""


@dataclass(frozen=True)
class Predictions:
    """Marks of the images that a network classified correctly."""

    part: str
    """Part of the data that they are: `test`, or `val` where there are no test images."""
    images: str
    """Digest of these images and their labels: marks of other images are no match."""
    is_correct: npt.NDArray[np.bool_]
    """True if it was right, for each image, in the order of the part."""


def write_predictions(directory: Path, predictions: Predictions) -> None:
    """Put the file into a trial's folder. Raises `OSError`."""
    about = {
        "part": predictions.part,
        "count": len(predictions.is_correct),
        "images": predictions.images,
    }
    content = _MAGIC + b"%d\n" % VERSION + json.dumps(about).encode() + b"\n"
    content += np.packbits(predictions.is_correct).tobytes()
    make_way(directory / FILE)
    write_whole(directory / FILE, content + sha256(content).digest())


def read_predictions(directory: Path) -> Predictions | None:
    """Predictions in a trial's folder; None where nothing can be used (`why_unusable`)."""
    try:
        return _parsed(read_regular(directory / FILE, _MOST_BYTES))
    except (OSError, ValueError):
        return None


def why_unusable(directory: Path) -> str:
    """Say why `read_predictions` finds none; empty where it finds some."""
    try:
        _parsed(read_regular(directory / FILE, _MOST_BYTES))
    except FileNotFoundError:
        return f"there is no {FILE}: an older version trained it, or a user training did"
    except OSError as error:
        return f"{FILE} cannot be read: {error.strerror}"
    except ValueError as error:
        return f"{FILE} {error}"
    return ""


def _parsed(content: bytes) -> Predictions:
    """Raises `ValueError` with what is wrong."""
    first, _, rest = content.partition(b"\n")
    if not first.startswith(_MAGIC):
        raise ValueError("is a different kind of file")
    if first != _MAGIC + b"%d" % VERSION:
        version = first.removeprefix(_MAGIC).decode(errors="replace")
        raise ValueError(f"has version {version}, but this is version {VERSION}")
    if sha256(content[:-_CHECKSUM_BYTES]).digest() != content[-_CHECKSUM_BYTES:]:
        raise ValueError("is damaged: its checksum differs")
    header, _, bits = rest[:-_CHECKSUM_BYTES].partition(b"\n")
    about = json.loads(header)
    marks = np.unpackbits(np.frombuffer(bits, np.uint8), count=about["count"]).astype(np.bool_)
    return Predictions(about["part"], about["images"], marks)
