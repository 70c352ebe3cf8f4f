"""Where every random number comes from: a seed of its own for each purpose, epoch, iteration and tensor.

Nothing is drawn from a stream that has to be carried along. An interrupted training therefore has no random state to save, and a
process that trained something else before draws the same numbers as a fresh one.
"""

from hashlib import blake2b

import numpy as np


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, such as `derive(0, "init", "head.weight")` or `derive(0, "iteration", 17)`.

    The same arguments give the same seed on every machine and Python version; any other arguments give an unrelated one.
    """
    digest = blake2b(repr((seed, *purpose)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def shuffler(seed: int) -> np.random.RandomState:
    """A generator for `seed`, as `derive` makes them. numpy promises that this older kind never changes its draws."""
    return np.random.RandomState([seed & 0xFFFFFFFF, seed >> 32])
