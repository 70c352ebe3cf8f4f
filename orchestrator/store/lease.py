"""One driver at a time: a lease on the sweep that names its holder and expires by itself.

Workers watch it too: a lease that was taken over, or that nobody renews any more, tells a worker
whose driver died to save and stop. Whoever held the sweep stays in `sessions.jsonl`: a driver that
slept through its lease sees there that another came, even if that one has ended and its lease is
gone.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from orchestrator.errors import DamagedFile, StoreError, SweepInUse
from orchestrator.store.damage import note
from orchestrator.store.files import (
    cannot_write,
    clear_litter,
    load_json,
    make_way,
    write_json,
)
from orchestrator.store.locks import locked
from orchestrator.store.processes import machine, started
from orchestrator.store.records import LeaseRecord, check
from orchestrator.store.sessions import Session, add_session, successor
from orchestrator.text import duration_text

RENEW_SECONDS = 5.0
EXPIRY_SECONDS = 30.0
_LOOK_SECONDS = 0.1


class Life(Enum):
    """State of a lease's holder, as seen from here."""

    ALIVE = "alive"
    DEAD = "dead"
    """The holder's process is gone."""
    UNKNOWN = "unknown"
    """The holder has not been heard of for long by this clock: it may be dead, stopped, or have
    another clock.
    """


@dataclass(frozen=True)
class LeaseHolder:
    """Content of `lease.json`."""

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
    machine: str = ""
    """Tells its host from another of the same name; empty in leases of older versions."""

    @property
    def life(self) -> Life:
        """Life as its process shows it where that can be seen; elsewhere by its last word's age."""
        if self.is_here:
            began = started(self.pid)
            if began is None:
                return Life.DEAD
            if not self._began(began):
                return Life.UNKNOWN
        if abs(time.time() - self.renewed) > EXPIRY_SECONDS:
            return Life.UNKNOWN
        return Life.ALIVE

    def _began(self, began: float) -> bool:
        """Tell whether the process that runs now, since `began`, is the one that wrote it."""
        if not self.machine:  # an older version wrote the time that the wall clock showed
            with suppress(psutil.NoSuchProcess):
                began = psutil.Process(self.pid).create_time()
        return abs(began - self.process_started) < 1.0

    @property
    def is_here(self) -> bool:
        """True if its process is one of this machine."""
        if not self.machine:
            return self.host == socket.gethostname()
        return self.machine == machine()

    @property
    def is_alive(self) -> bool:
        """True if a driver still stands behind it, as far as one look can tell."""
        return self.life is Life.ALIVE


def read_lease(sweep_path: Path) -> LeaseHolder | None:
    """Read who holds the sweep, dead or alive; None where nobody does. Raises `DamagedFile`."""
    path = sweep_path / "lease.json"
    try:
        found, is_sealed = load_json(path)
    except FileNotFoundError:
        return None
    check(LeaseRecord, path, found, is_sealed)
    known = {field.name for field in fields(LeaseHolder)}
    return LeaseHolder(**{name: value for name, value in found.items() if name in known})


def live_holder(sweep_path: Path) -> LeaseHolder | None:
    """The driver that is running the sweep, if any; a damaged lease is noted and counts as
    nobody's.
    """
    try:
        holder = read_lease(sweep_path)
    except DamagedFile as damage:
        note(damage)
        return None
    if holder is None or not holder.is_alive:
        return None
    return holder


def live_session(sweep_path: Path) -> str | None:
    """The session of the driver that is running the sweep, if any."""
    holder = live_holder(sweep_path)
    if holder is None:
        return None
    return holder.session


def refuse_a_sweep_taken_over(sweep_path: Path, session: str) -> None:
    """Raise `SweepInUse` where another driver holds the sweep, or has held it since `session` began
    to.
    """
    later = successor(sweep_path, session)
    if later:
        raise SweepInUse(_taken_over(sweep_path.name, later))
    try:
        holder = read_lease(sweep_path)
    except DamagedFile:
        return  # it is renewed in a moment
    if holder and holder.session != session:
        raise SweepInUse(in_use(sweep_path.name, holder))


class Lease:
    """Held while a driver works: `with Lease(path) as lease: ...`.

    Raises `SweepInUse` where another driver is running, and at the end where another took the sweep
    over.
    """

    def __init__(self, sweep_path: Path) -> None:
        self._sweep_path = sweep_path
        self._path = sweep_path / "lease.json"
        now, pid = time.time(), os.getpid()
        self._holder = LeaseHolder(
            uuid.uuid4().hex,
            socket.gethostname(),
            pid,
            started(pid) or 0.0,
            now,
            now,
            machine=machine(),
        )
        self._lock = threading.RLock()
        self._released = threading.Event()
        self._is_lost = False
        self._thread = threading.Thread(target=self._keep_renewing, name="lease", daemon=True)

    @property
    def session(self) -> str:
        """Identifies this invocation."""
        return self._holder.session

    def __enter__(self) -> Self:
        self._wait_for_a_sign_of_life()
        try:
            with self._alone():
                self._refuse_a_second_driver()
                add_session(self._sweep_path, self.session, self._holder.host, self._holder.pid)
                self._write()
        except OSError as error:
            raise cannot_write(error, self._path) from error
        # on a share without locks: of two that found the same dead lease, the first to write sees
        # that it lost
        time.sleep(0.05)
        self._refuse_a_second_driver()
        for folder in (
            self._sweep_path,
            self._sweep_path / "trials",
            self._sweep_path / "searches",
        ):
            clear_litter(folder)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._released.is_set():
            return
        self._released.set()
        self._thread.join()
        # where it cannot be released it expires; what ended the work is told rather than that
        with suppress(OSError, StoreError), self._alone():
            holder = read_lease(self._sweep_path)
            if holder and holder.session == self.session:
                self._path.unlink(missing_ok=True)
        if error is None:
            refuse_a_sweep_taken_over(self._sweep_path, self.session)

    def ask_workers_to_stop(self) -> None:
        """Tell every worker of this session to save its checkpoint and end, at the next renewal at
        the latest.
        """
        self._holder = replace(self._holder, stopping=True)
        with suppress(OSError, StoreError):
            self._renew()

    def _wait_for_a_sign_of_life(self) -> None:
        """A holder that looks dead by this clock may have another one, and a damaged lease may be
        renewed all the while.

        Raises `SweepInUse` where it changes.
        """
        first = found = self._look()
        end = time.monotonic() + 2 * RENEW_SECONDS
        while _is_doubtful(found) and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
            found = self._look()
            if isinstance(found, LeaseHolder) and found != first:
                clocks = "" if found.is_here else "; the clocks of the two hosts differ"
                raise SweepInUse(f"{in_use(self._sweep_path.name, found)}{clocks}")

    def _look(self) -> LeaseHolder | str | None:
        """The holder; where the lease is damaged, why."""
        try:
            return read_lease(self._sweep_path)
        except DamagedFile as damage:
            return damage.why

    def _refuse_a_second_driver(self) -> None:
        holder = self._look()
        if isinstance(holder, LeaseHolder) and holder.is_alive and holder.session != self.session:
            raise SweepInUse(in_use(self._sweep_path.name, holder))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let nobody else write between looking and writing."""
        lock = self._sweep_path / ".lease.lock"
        make_way(lock)
        with locked(lock):
            yield

    def _write(self) -> None:
        self._holder = replace(self._holder, renewed=time.time())
        write_json(self._path, asdict(self._holder))

    def _renew(self) -> None:
        """Say that this driver lives, unless another has taken its place: that one's lease is left
        alone.
        """
        with self._lock, self._alone():
            try:
                refuse_a_sweep_taken_over(self._sweep_path, self.session)
            except SweepInUse:
                self._is_lost = True
                return
            self._write()

    def _keep_renewing(self) -> None:
        while not self._is_lost and not self._released.wait(RENEW_SECONDS):
            # a full disk, a share that hangs: it may work again before the lease expires
            with suppress(OSError, StoreError):
                self._renew()


def _is_doubtful(found: LeaseHolder | str | None) -> bool:
    return isinstance(found, str) or (found is not None and found.life is Life.UNKNOWN)


def in_use(sweep: str, holder: LeaseHolder) -> str:
    """Say who is running the sweep, in a sentence."""
    now = time.time()
    silent, held = (round(now - then) for then in (holder.renewed, holder.acquired))
    heard = f"last heard of {duration_text(max(0, silent))} ago"
    if -silent > RENEW_SECONDS:
        heard = f"by a clock that is {duration_text(-silent)} ahead of this one"
    age = f"for {duration_text(max(0, held))}, {heard}"
    return (
        f"sweep '{sweep}' is being run by process {holder.pid} on {holder.host} ({age}); wait for "
        f"it, stop it, or, if that host is gone, try again in {EXPIRY_SECONDS:.0f} s, when its "
        "lease expires"
    )


def _taken_over(sweep: str, later: Session) -> str:
    when = time.strftime("%X", time.localtime(later.time))
    return (
        f"sweep '{sweep}' was taken over at {when} by process {later.pid} on {later.host} while "
        "this process was silent (stopped, suspended, or cut off from the store). What this "
        "process had finished is kept; the other one does the rest, and `orchestrator status` "
        "shows its progress"
    )
