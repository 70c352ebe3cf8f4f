"""Digests of the files that images are read from."""

from functools import cache
from hashlib import sha256
from pathlib import Path


@cache
def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; computed once."""
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
