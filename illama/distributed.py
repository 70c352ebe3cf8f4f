"""One training in several processes of one node, each with its share of every batch (data parallelism).

The process that was asked to train leads: it alone reports, saves and decides when to stop. The others repeat its iterations,
kept in step by the sum over all gradients, and hold the other end of a pipe: once it is closed, for whatever reason, they are
gone. So nothing needs to be told to them, and nothing outlives a leader that was killed. What befalls one of them is raised in
the leader.

Gradients are added up in one flat sum after the backward pass, not by `DistributedDataParallel`: its mean over processes is wrong
for shares of unequal size, and the compiled network stays the one of a single process.
"""

import ctypes
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor

from illama.config import RuntimeConfig
from illama.device import pick_device
from illama.results import ProcessLost

T = TypeVar("T")
Rows = slice | npt.NDArray[np.int64]

_LOOK_SECONDS = 0.2
"""How often the leader looks after the others."""
_LAST_WORDS_SECONDS = 10.0
"""How long after a broken connection the reason may take to arrive."""
_PR_SET_PDEATHSIG = 1
_FOR_THE_LEADER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""A terminal or a scheduler sends these to all processes; the leader says what follows."""


class Ranks:
    """The processes of one training, seen from one of them. A training in one process has one."""

    def __init__(self, rank: int = 0, size: int = 1, followers: "_Followers | None" = None) -> None:
        self.rank, self.size, self._followers = rank, size, followers

    @property
    def leads(self) -> bool:
        """Whether this process reports and saves."""
        return self.rank == 0

    def rows(self, count: int) -> Rows:
        """This process's rows of a batch of `count`, in order: each with its mirror place, the one that it is mixed with."""
        if self.size == 1:
            return slice(count)
        half = np.array_split(np.arange((count + 1) // 2), self.size)[self.rank]
        return np.union1d(half, count - 1 - half)

    def part(self, count: int) -> slice:
        """This process's run of `count` things in order, such as validation images."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its sum over all processes: the same bits in each of them."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
        try:
            dist.all_reduce(flat)
        except RuntimeError as error:
            self._broken(error)
        for tensor, total in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(total.view_as(tensor))

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in order."""
        if self.size == 1:
            return [value]
        values = [value] * self.size
        try:
            dist.all_gather_object(values, value)
        except RuntimeError as error:
            self._broken(error)
        return values

    def check(self) -> None:
        """Raise what befell another process: on a GPU a sum that it broke off may have gone unnoticed, with whatever result."""
        if self._followers is not None and self._followers.failure is not None:
            raise self._followers.failure

    def _broken(self, error: RuntimeError) -> NoReturn:
        """A connection broke: the leader says why, the others wait for their end."""
        if self._followers is None:
            threading.Event().wait()
        else:
            self._followers.failed.wait(_LAST_WORDS_SECONDS)
            self.check()
        raise error


@contextmanager
def leading(runtime: RuntimeConfig, follow: Callable[[Ranks], None]) -> Iterator[Ranks]:
    """Start the other processes of `runtime.processes`, which call `follow`; inside the context this one leads them.

    `follow` is pickled. What it raises, and `ProcessLost` where a process died, is raised here at the next exchange with it.
    """
    if runtime.processes == 1:
        yield Ranks()
        return
    pick_device(runtime)
    with TemporaryDirectory(prefix="illama-") as folder, _loopback():
        meeting_point = Path(folder, "meeting_point")
        followers = _Followers(runtime, meeting_point, follow)
        try:
            followers.wait_until_ready()
            with _group(runtime, 0, meeting_point), followers.watched():
                yield Ranks(0, runtime.processes, followers)
        finally:
            followers.end()


class _Followers:
    """The other processes, as the leader sees them."""

    def __init__(self, runtime: RuntimeConfig, meeting_point: Path, follow: Callable[[Ranks], None]) -> None:
        self.failure: Exception | None = None
        self.failed = threading.Event()
        self._size = runtime.processes
        self._members: list[tuple[SpawnProcess, Connection]] = []
        context = torch.multiprocessing.get_context("spawn")
        resource_tracker.ensure_running()  # as it is started, it unblocks signals
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_LEADER)  # a new process inherits what is blocked
        try:
            for rank in range(1, self._size):
                ours, theirs = context.Pipe()
                process = context.Process(target=_follow, args=(runtime, rank, meeting_point, theirs, follow))
                process.start()
                theirs.close()
                self._members.append((process, ours))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def wait_until_ready(self) -> None:
        """Return when all are there. Raises what keeps one from it."""
        for rank, (_, pipe) in enumerate(self._members, 1):
            try:
                pipe.recv()
            except EOFError:
                raise self._why(rank) from None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look after them all the while: should one fail, break off the exchange that this process may be waiting in."""
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(done,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _watch(self, done: threading.Event) -> None:
        while not done.wait(_LOOK_SECONDS):
            for rank, (process, pipe) in enumerate(self._members, 1):
                if pipe.poll() or not process.is_alive():
                    self.failure = self._why(rank)  # first, so that nobody takes what a broken exchange left for its result
                    self.failed.set()
                    _abort()
                    return

    def _why(self, rank: int) -> Exception:
        process, pipe = self._members[rank - 1]
        try:
            if pipe.poll():
                error: Exception = pipe.recv()
                return error
        except (EOFError, OSError):
            pass
        process.join(_LAST_WORDS_SECONDS)
        return ProcessLost(rank, self._size, process.exitcode)

    def end(self) -> None:
        """Leave nothing behind."""
        for process, pipe in self._members:
            pipe.close()
            process.kill()
        for process, _ in self._members:
            process.join()


def _follow(runtime: RuntimeConfig, rank: int, meeting_point: Path, pipe: Connection, follow: Callable[[Ranks], None]) -> None:
    """The life of a process that does not lead."""
    threading.Thread(target=_end_with_the_leader, args=(pipe,), daemon=True).start()
    pipe.send("ready")
    try:
        with _group(runtime, rank, meeting_point):
            follow(Ranks(rank, runtime.processes))
            threading.Event().wait()
    except Exception as error:  # noqa: BLE001  whatever it is, the leader raises it
        pipe.send(_sendable(error))
        threading.Event().wait()


def _end_with_the_leader(pipe: Connection) -> None:
    if sys.platform == "linux":  # the kernel does it, even where this process hangs or is stopped
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        pipe.recv()  # nothing ever comes but the end
    except (EOFError, OSError):
        os._exit(0)


def _sendable(error: Exception) -> Exception:
    """The error with its traceback; some cannot be pickled, and go by their text."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  an error's own code may raise anything
        described = RuntimeError(f"{type(error).__name__}: {error}")
        described.__notes__ = error.__notes__
        return described
    return error


@contextmanager
def _group(runtime: RuntimeConfig, rank: int, meeting_point: Path) -> Iterator[None]:
    """This process as a member of the group: NCCL between GPUs, gloo between CPUs. They meet in a file: no port is opened."""
    device = pick_device(runtime, rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store = dist.FileStore(str(meeting_point), runtime.processes)  # type: ignore[attr-defined]  # public all the same
    backend, device_id = ("nccl", device) if device.type == "cuda" else ("gloo", None)
    dist.init_process_group(backend, store=store, rank=rank, world_size=runtime.processes, device_id=device_id)
    try:
        yield
    finally:
        _abort()  # to destroy it in peace would take all processes, and they may be at work or dead
        dist.destroy_process_group()


def _abort() -> None:
    if dist.group.WORLD is not None:
        dist.group.WORLD.abort()


@contextmanager
def _loopback() -> Iterator[None]:
    """Let the processes speak over the loopback interface, whatever this machine is called."""
    name = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    added = {key: name for key in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            del os.environ[key]
