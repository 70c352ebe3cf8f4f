"""The name of this machine, and the time at which a process of it began: for whoever finds what
another process has left.
"""

import os
import socket
from functools import cache
from hashlib import sha256
from pathlib import Path

import psutil


@cache
def machine() -> str:
    """Name shared by the processes that see each other's numbers: those of one boot of one host,
    outside or in one container.

    Two hosts may have one name, and a clock may be set; neither changes this.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        numbers = os.stat("/proc/self/ns/pid").st_ino
    except OSError:  # no Linux
        return socket.gethostname()
    return f"{boot}/{numbers}"


def machine_token() -> str:
    """A few characters for `machine`, for names of files."""
    return sha256(machine().encode()).hexdigest()[:12]


def started(pid: int) -> float | None:
    """The time at which the process began, by a clock that nobody sets where there is one; None
    where no such process runs.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return _started_without_proc(pid)
    if fields[0] in (b"Z", b"X"):  # dead; only its parent has not looked yet
        return None
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _started_without_proc(pid: int) -> float | None:
    if Path("/proc/self/stat").exists():
        return None
    return _started_by_the_wall_clock(pid)


def _started_by_the_wall_clock(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None
