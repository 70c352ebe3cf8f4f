"""Looks before Ray is asked, which waits for minutes where nobody answers."""

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from tempfile import gettempdir

from orchestrator.errors import ClusterError
from orchestrator.executors.ray import internals

_KNOCK_SECONDS = 10.0
_ANSWER_SECONDS = 10.0
"""Time for a head to answer."""
_HTTP2_SETTINGS = b"\4"
"""Type of the frame that both sides begin with: Ray's servers speak gRPC."""
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _HTTP2_SETTINGS + b"\0" * 5
_LOOPBACK = "127.0.0.1"
_PORTS = 32
"""Ports that a Ray with one worker takes, about: each of its processes listens on one and has
connections to the others.
"""


def check_this_machine() -> None:
    """Raise `OSError` where processes of this machine could not reach each other, or have no ports
    to do it with.
    """
    with ExitStack() as stack:
        for count in range(_PORTS):
            listener = stack.enter_context(socket.socket())
            try:
                listener.bind((_LOOPBACK, 0))
            except OSError as error:
                found = f"{_LOOPBACK} has {count} free ports, but Ray needs about {_PORTS}"
                raise OSError(f"{found}: {error.strerror}") from error
        listener.listen()
        try:
            socket.create_connection(listener.getsockname(), _KNOCK_SECONDS).close()
        except OSError as error:
            why = error.strerror or error
            raise OSError(
                f"{_LOOPBACK} cannot be reached from this machine itself: {why}"
            ) from error


def check_address(address: str) -> None:
    """Raises `ClusterError` where it names no cluster that a sweep can run on."""
    if address.startswith("ray://"):
        raise ClusterError(
            f"cannot use {address}, a Ray Client address: run the command on a node, or with `ray "
            "job submit`"
        )
    host, _, port = address.rpartition(":")
    is_port = port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536
    if address != "auto" and not (host and is_port and address == address.strip()):
        found = f"found '{address}'" if address.strip() else "found nothing; is a variable not set?"
        raise ClusterError(f"--address takes `auto`, or host:port such as head:6379; {found}")


def knock(address: str | None) -> None:
    """Raise `OSError` at once where nobody listens any more: Ray itself would try for minutes,
    and then end the process.
    """
    if place := place_of(address):
        socket.create_connection(place, timeout=_KNOCK_SECONDS).close()


def greet(address: str | None) -> None:
    """Raise `OSError` where something listens that is not Ray, or that does not answer: Ray
    would wait for it for minutes.
    """
    place = place_of(address)
    if place is None or os.environ.get("RAY_USE_TLS") == "1":
        return
    with socket.create_connection(place, timeout=_KNOCK_SECONDS) as connection:
        connection.sendall(_HTTP2_GREETING)
        answer = connection.recv(9)
    if answer[3:4] != _HTTP2_SETTINGS:
        raise ConnectionError("the server there is not Ray")
    host = f"[{place[0]}]" if ":" in place[0] else place[0]  # of IPv6
    if not internals.answers(f"{host}:{place[1]}", _ANSWER_SECONDS):
        raise ConnectionError(
            f"the server there did not answer as Ray does within {_ANSWER_SECONDS:.0f} s"
        )


def place_of(address: str | None) -> tuple[str, int] | None:
    """Host and port of a cluster; none where nobody says them."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or _last_started()
    host, _, port = (address or "").strip().rpartition(":")
    if not host or not port.isdigit():
        return None
    return host.strip("[]"), int(port)


def _last_started() -> str:
    """Address that `ray start` leaves for `auto` to find; empty where it left none."""
    path = Path(gettempdir(), "ray", "ray_current_cluster")
    if not path.exists():
        return ""
    return path.read_text()
