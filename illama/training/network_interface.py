"""The network interface that the processes of one training speak over."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def network_of(leader: str | None) -> Iterator[None]:
    """Let the processes speak over the interface by which this node reaches the leader; by default,
    within one node, the loopback. What this machine is called does not matter then.
    """
    if leader is None:
        name = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    else:
        family = socket.AF_INET6 if ":" in leader else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((leader, 1))  # sends nothing, and chooses a way
            own = probe.getsockname()[0]
        name = next(
            name
            for name, found in psutil.net_if_addrs().items()
            if own in {address.address for address in found}
        )
    added = {
        key: name for key in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if key not in os.environ
    }
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            del os.environ[key]
