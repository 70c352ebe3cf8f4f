"""The source of every random number: a seed of its own for each purpose, epoch, iteration and
tensor.

Nothing is drawn from a stream that has to be carried along. An interrupted training therefore has
no random state to save, and a process that trained something else before draws the same numbers as
a fresh one. Code of others draws from the global generators of Python, numpy and torch: they are
started anew wherever it runs, and put back when it is done.
"""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, such as `derive(0, "init", "head.weight")` or
    `derive(0, "iteration", 17)`.

    The same arguments give the same seed on every machine and Python version; any other arguments
    give an unrelated one.
    """
    digest = blake2b(repr((seed, *purpose)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def shuffler(seed: int) -> np.random.RandomState:
    """A generator for `seed`, as `derive` makes them. numpy promises that this older kind never
    changes its draws.
    """
    return np.random.RandomState([seed & 0xFFFFFFFF, seed >> 32])


def reseed(seed: int) -> None:
    """Start the global generators of Python, numpy and, where it is imported, torch from `seed`; of
    torch's that of the CPU.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if (torch := sys.modules.get("torch")) is not None:
        torch.default_generator.manual_seed(seed)


@contextmanager
def generators_kept(seed: int | None = None) -> Iterator[None]:
    """Leave the global generators as they were, whatever is drawn inside. With `seed` they start
    from it.
    """
    torch = sys.modules.get("torch")
    states = random.getstate(), np.random.get_state(), torch and torch.get_rng_state()
    if seed is not None:
        reseed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        if torch is not None:
            torch.set_rng_state(states[2])
