"""One training in several processes, each with its share of every batch (data parallelism).

The process that was asked to train leads: it alone reports, saves and decides when to stop. The
others repeat its iterations, kept in step by the sum over all gradients, and hold the other end of
a pipe: once it is closed, for whatever reason, they are gone. So nothing needs to be told to them,
and nothing outlives a leader that was killed. What befalls one of them is raised in the leader.

Processes on other nodes are led from afar: `OtherNodes`, whoever implements it, has `Followers`
started on each, with a process there to hold the pipes.

Gradients are added up in one flat sum after the backward pass, not by `DistributedDataParallel`:
its mean over processes is wrong for shares of unequal size, and the compiled network stays the one
of a single process.
"""

import ctypes
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor
from torch.distributed import FileStore, Store, TCPStore  # type: ignore[attr-defined]  # public all the same
from torch.distributed import distributed_c10d as c10d
from torch.distributed.constants import default_pg_timeout

from illama.config import RuntimeConfig
from illama.training.device import pick_device
from illama.training.network_interface import network_of
from illama.training.results import ProcessLost

T = TypeVar("T")
Rows = slice | npt.NDArray[np.int64]
MeetingPoint = Path | tuple[str, int]
"""A file of this node, or host and port of the leader."""

LOOK_SECONDS = 0.2
"""Seconds between the leader's looks after the others."""
_MEETING_SECONDS = 30.0
"""Seconds that the leader waits for connections once all others are there: it takes a moment."""
_LAST_WORDS_SECONDS = 10.0
"""Seconds within which the reason for a broken connection may arrive."""
_PR_SET_PDEATHSIG = 1
_FOR_THE_LEADER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""A terminal or a scheduler sends these to all processes; the leader says what follows."""


class Ranks:
    """The processes of one training, seen from one of them. A training in one process has one."""

    def __init__(self, rank: int = 0, size: int = 1, followers: "Followers | None" = None) -> None:
        self.rank, self.size, self._followers = rank, size, followers

    @property
    def leads(self) -> bool:
        """True if this process reports and saves."""
        return self.rank == 0

    def rows(self, count: int) -> Rows:
        """Return this process's rows of `count`, in order, each with its mirror to mix with."""
        if self.size == 1:
            return slice(count)
        half = np.array_split(np.arange((count + 1) // 2), self.size)[self.rank]
        return np.union1d(half, count - 1 - half)

    def part(self, count: int) -> slice:
        """Return this process's run of `count` things in order, such as validation images."""
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
        for tensor, total in zip(
            tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True
        ):
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
        """Raise what befell another process: on a GPU a sum that it broke off may have gone
        unnoticed, with whatever result.
        """
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


class OtherNodes(Protocol):
    """The nodes of a training beside the leader's."""

    names: Sequence[str]
    """The names, one for each."""
    host: str
    """The address by which they reach the leader."""

    def start(self, meeting_point: MeetingPoint, follow: Callable[[Ranks], None]) -> None:
        """Have each start its `Followers`, and return when all are there. Raises what keeps one
        from it.
        """

    def failure(self) -> Exception | None:
        """Return what has befallen one of the nodes; None while nothing has."""

    def end(self) -> None:
        """Leave nothing behind, whatever has happened before."""


@contextmanager
def leading(
    runtime: RuntimeConfig, follow: Callable[[Ranks], None], others: OtherNodes | None = None
) -> Iterator[Ranks]:
    """Start the other processes, `runtime.processes` on each node, which call `follow`; inside the
    context this one leads them.

    `follow` is pickled. What it raises, and `ProcessLost` where a process died, is raised here at
    the next exchange with it.
    """
    nodes = 1 + len(others.names) if others else 1
    size = runtime.processes * nodes
    if size == 1:
        yield Ranks()
        return
    pick_device(runtime)
    with _meeting(others, size) as meeting_point:
        followers = Followers(
            runtime, range(1, runtime.processes), size, meeting_point, follow, others
        )
        try:
            if others:
                others.start(meeting_point, follow)
            device, store = _meet(runtime, 0, size, meeting_point)
            followers.wait_until_ready()
            with _group(device, store, 0, size, followers), followers.watched():
                yield Ranks(0, size, followers)
        finally:
            followers.end()
            if others:
                others.end()


@contextmanager
def _meeting(others: OtherNodes | None, size: int) -> Iterator[MeetingPoint]:
    """Within one node the processes meet in a file and no port is opened; otherwise at a port of
    the leader.
    """
    if others is None:
        with TemporaryDirectory(prefix="illama-") as folder, network_of(None):
            yield Path(folder, "meeting_point")
        return
    with network_of(others.host):
        store = TCPStore(others.host, 0, size, is_master=True, wait_for_workers=False)
        yield others.host, store.port


class Followers:
    """The other processes of one node, as the one that started them sees them: the leader, or on
    another node its deputy.
    """

    def __init__(
        self,
        runtime: RuntimeConfig,
        ranks: Sequence[int],
        size: int,
        meeting_point: MeetingPoint,
        follow: Callable[[Ranks], None],
        others: OtherNodes | None = None,
    ) -> None:
        self.failure: Exception | None = None
        self.failed = threading.Event()
        self._ranks, self._size, self._others = ranks, size, others
        self._members: list[tuple[SpawnProcess, Connection]] = []
        context = torch.multiprocessing.get_context("spawn")
        resource_tracker.ensure_running()  # as it is started, it unblocks signals
        before = signal.pthread_sigmask(
            signal.SIG_BLOCK, _FOR_THE_LEADER
        )  # a new process inherits what is blocked
        try:
            for rank in ranks:
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_follow, args=(runtime, rank, size, meeting_point, theirs, follow)
                )
                process.start()
                theirs.close()
                self._members.append((process, ours))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def wait_until_ready(self) -> None:
        """Return when all are there. Raises what keeps one from it."""
        for member, (_, pipe) in enumerate(self._members):
            try:
                error = pipe.recv()
            except EOFError:
                error = self._why(member)
            if error is not None:
                raise error
        if failure := self.look():  # while it waited for the others
            raise failure

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look after them all the while: should one fail, break off the exchange that this
        process may be waiting in.
        """
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(done,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _watch(self, done: threading.Event) -> None:
        while not done.wait(LOOK_SECONDS):
            if failure := self.look():
                # first, so that nobody takes what a broken exchange left for its result
                self.failure = failure
                self.failed.set()
                _abort()
                return

    def look(self) -> Exception | None:
        """Return what has befallen a process, here or on another node; None while nothing has."""
        for member, (process, pipe) in enumerate(self._members):
            if pipe.poll() or not process.is_alive():
                return self._why(member)
        return self._others.failure() if self._others else None

    def _why(self, member: int) -> Exception:
        process, pipe = self._members[member]
        try:
            if pipe.poll():
                error: Exception = pipe.recv()
                return error
        except (EOFError, OSError):
            pass
        process.join(_LAST_WORDS_SECONDS)
        return ProcessLost(self._ranks[member], self._size, process.exitcode)

    def end(self) -> None:
        """Leave nothing behind."""
        for process, pipe in self._members:
            pipe.close()
            process.kill()
        for process, _ in self._members:
            process.join()


def _follow(
    runtime: RuntimeConfig,
    rank: int,
    size: int,
    meeting_point: MeetingPoint,
    pipe: Connection,
    follow: Callable[[Ranks], None],
) -> None:
    """The life of a process that does not lead."""
    threading.Thread(target=_end_with_the_leader, args=(pipe,), daemon=True).start()
    try:
        device, store = _meet(runtime, rank, size, meeting_point)
        pipe.send(None)  # ready
        with _group(device, store, rank, size):
            follow(Ranks(rank, size))
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


def _meet(
    runtime: RuntimeConfig, rank: int, size: int, meeting_point: MeetingPoint
) -> tuple[torch.device, Store]:
    """Return the device to compute on, and the store where this process learns of the others."""
    device = pick_device(runtime, rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if isinstance(meeting_point, Path):
        return device, FileStore(str(meeting_point), size)
    return device, TCPStore(*meeting_point, size, is_master=False)


@contextmanager
def _group(
    device: torch.device, store: Store, rank: int, size: int, followers: Followers | None = None
) -> Iterator[None]:
    """Make this process a member of the group: NCCL between GPUs, gloo between CPUs.

    Raises in the leader, which has `followers`, what kept one of them from coming: gloo itself
    would wait for half an hour. They may wait as long as they like: they end with the leader.
    """
    uses_gloo = device.type != "cuda"
    backend, device_id = ("gloo", None) if uses_gloo else ("nccl", device)
    timeout = timedelta(seconds=_MEETING_SECONDS) if uses_gloo and followers else None
    try:
        dist.init_process_group(
            backend, timeout=timeout, store=store, rank=rank, world_size=size, device_id=device_id
        )
    except RuntimeError as error:
        c10d._world.group_count = (
            0  # else the next group of this process has another name than its followers know it by
        )
        raise (followers and followers.look()) or error from error
    try:
        if timeout:
            c10d._set_pg_timeout(
                default_pg_timeout
            )  # it holds for sums too, and they may wait for a slow disk
        yield
    finally:
        _abort()  # to destroy it in peace would take all processes, and they may be at work or dead
        dist.destroy_process_group()


def _abort() -> None:
    if dist.group.WORLD is not None:
        dist.group.WORLD.abort()
