"""One driver at a time: a lease on the sweep that names its holder and expires by itself.

Workers watch it too: a lease that was taken over, or that nobody renews any more, tells a worker whose driver died to save
and stop.
"""

import fcntl
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from orchestrator.errors import StoreError, SweepInUse
from orchestrator.store.files import read_json, write_json

RENEW_SECONDS = 5.0
EXPIRY_SECONDS = 30.0
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class LeaseHolder:
    """What `lease.json` says."""

    session: str
    """Random, new with every invocation of a driver."""
    host: str
    pid: int
    process_started: float
    """Tells the holder from another process that was given its pid later."""
    acquired: float
    renewed: float
    stopping: bool = False
    """The driver asks its workers to save and stop."""

    @property
    def is_alive(self) -> bool:
        """Whether a driver still stands behind it: known at once on the same host, from its age elsewhere."""
        if time.time() - self.renewed > EXPIRY_SECONDS:
            return False
        if self.host != socket.gethostname():
            return True
        try:
            return abs(psutil.Process(self.pid).create_time() - self.process_started) < 1.0
        except psutil.NoSuchProcess:
            return False


def read_lease(sweep_path: Path) -> LeaseHolder | None:
    """Who holds the sweep, dead or alive; none where nobody does."""
    try:
        return LeaseHolder(**read_json(sweep_path / "lease.json"))
    except FileNotFoundError:
        return None
    except TypeError as error:  # keys of another version
        raise StoreError(
            f"{sweep_path / 'lease.json'} is damaged ({error}); remove it if no driver is at work"
        ) from error


def live_session(sweep_path: Path) -> str | None:
    """The session of the driver at work on the sweep, if one is."""
    holder = read_lease(sweep_path)
    return holder.session if holder and holder.is_alive else None


class Lease:
    """Held while a driver works: `with Lease(path) as lease: ...`. Raises `SweepInUse` where another driver is at work."""

    def __init__(self, sweep_path: Path) -> None:
        self._sweep_path = sweep_path
        self._path = sweep_path / "lease.json"
        now = time.time()
        me = psutil.Process()
        self._holder = LeaseHolder(
            uuid.uuid4().hex, socket.gethostname(), me.pid, me.create_time(), now, now
        )
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, name="lease", daemon=True)

    @property
    def session(self) -> str:
        """Identifies this invocation."""
        return self._holder.session

    def __enter__(self) -> Self:
        self._refuse_one_with_another_clock()
        with self._alone():
            self._refuse_a_second_driver()
            self._write()
        time.sleep(
            0.05
        )  # on a share without locks: of two that found the same dead lease, the first to write sees that it lost
        self._refuse_a_second_driver()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._released.set()
        self._thread.join()
        holder = read_lease(self._sweep_path)
        if holder and holder.session == self.session:
            self._path.unlink(missing_ok=True)

    def ask_workers_to_stop(self) -> None:
        """Tell every worker of this session to save its checkpoint and end."""
        self._write(stopping=True)

    def _refuse_one_with_another_clock(self) -> None:
        """A lease from another host may look expired by the clock of this one, and be renewed all the while."""
        first = found = read_lease(self._sweep_path)
        end = time.monotonic() + 2 * RENEW_SECONDS
        while (
            first
            and found
            and not found.is_alive
            and found.host != socket.gethostname()
            and time.monotonic() < end
        ):
            if (found.session, found.renewed) != (first.session, first.renewed):
                raise SweepInUse(
                    f"{in_use(self._sweep_path.name, found)}; the clocks of the two hosts differ"
                )
            time.sleep(_LOOK_SECONDS)
            found = read_lease(self._sweep_path)

    def _refuse_a_second_driver(self) -> None:
        holder = read_lease(self._sweep_path)
        if holder and holder.is_alive and holder.session != self.session:
            raise SweepInUse(in_use(self._sweep_path.name, holder))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Between looking and writing nobody else may write. The operating system forgets the lock of a process that dies; on a
        network share it holds between hosts as far as the share has locks.
        """
        with (self._sweep_path / ".lease.lock").open("w") as file:
            with suppress(OSError):  # a share without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write(self, stopping: bool = False) -> None:
        with self._lock:
            self._holder = replace(
                self._holder, renewed=time.time(), stopping=self._holder.stopping or stopping
            )
            write_json(self._path, asdict(self._holder))

    def _keep_renewing(self) -> None:
        while not self._released.wait(RENEW_SECONDS):
            try:
                with self._alone():
                    holder = read_lease(self._sweep_path)
                    if holder and holder.session != self.session:
                        return  # expired while this process was suspended; the workers and the queue see the same and stop
                    self._write()
            except (
                OSError,
                StoreError,
            ):  # a full disk, a share that hangs: it may work again before the lease expires
                continue


def in_use(sweep: str, holder: LeaseHolder) -> str:
    """Who is at work on the sweep, in a sentence."""
    where = f"process {holder.pid} on {holder.host}"
    age = f"for {time.time() - holder.acquired:.0f} s, last heard of {time.time() - holder.renewed:.0f} s ago"
    return (
        f"sweep '{sweep}' is being worked on by {where} ({age}); wait for it, stop it, or, if that host is gone, "
        f"try again in {EXPIRY_SECONDS:.0f} s, when its lease expires"
    )
