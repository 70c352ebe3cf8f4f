"""The place where a training runs: the device, its memory, and what torch keeps per process."""

import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from illama.config import RuntimeConfig
from illama.randomness import generators_kept


def pick_device(runtime: RuntimeConfig, rank: int = 0) -> torch.device:
    """The device that `runtime` asks for; of several processes, that of number `rank`, from 0.

    Raises `ValueError` when it asks for a GPU and there is none, or not one for each process.
    """
    available = torch.cuda.is_available()
    if runtime.device == "cuda" and not available:
        raise ValueError("runtime.device is cuda, but torch finds no GPU; use auto or cpu")
    if not available or runtime.device == "cpu":
        return torch.device("cpu")
    if runtime.processes > torch.cuda.device_count():
        raise ValueError(
            f"runtime.processes is {runtime.processes}, but torch finds "
            f"{torch.cuda.device_count()} GPUs: each process needs one"
        )
    return (
        torch.device("cuda", rank % runtime.processes)
        if runtime.processes > 1
        else torch.device("cuda")
    )


def forget_peak_memory(device: torch.device) -> None:
    """Count the most that tensors take on a GPU anew: a worker may have trained something larger
    before.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Matrix products in `precision`, one of `float32`, `bfloat16` and `float16`."""
    dtype = getattr(torch, precision)
    return torch.autocast(
        device.type, dtype if dtype != torch.float32 else None, enabled=dtype != torch.float32
    )


def peak_memory_bytes(device: torch.device) -> int:
    """The most that tensors took on a GPU; on the CPU the most that this process took since it
    started.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(
        None if device.type == "cpu" else device
    )  # named, it would be looked at in every operation


_KEPT: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_num_threads, torch.set_num_threads),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, _set_default_device),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (lambda: torch.backends.cudnn.benchmark, partial(setattr, torch.backends.cudnn, "benchmark")),
    (
        lambda: torch.backends.cudnn.deterministic,
        partial(setattr, torch.backends.cudnn, "deterministic"),
    ),
)
"""Settings that a process keeps, each as how to look at it and how to set it: code of others
changes them, and may not put them back.
"""


@contextmanager
def process_state(runtime: RuntimeConfig, deterministic: bool = False) -> Iterator[None]:
    """Set what torch keeps per process, and put it back: a worker that goes on to other trials
    finds it as it was.
    """
    kept = [(look, put, look()) for look, put in _KEPT]
    strict = torch.are_deterministic_algorithms_enabled()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    # Torch looks at it once, at the first matrix product on a GPU, which may be in a training
    # before the one that needs it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with generators_kept(), torch.random.fork_rng(devices):
        torch.set_num_threads(runtime.num_threads)
        if deterministic and not strict:
            # even to say what is so already imports torch's compiler: a second
            torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            for look, put, before in kept:
                if look() != before:
                    put(before)
