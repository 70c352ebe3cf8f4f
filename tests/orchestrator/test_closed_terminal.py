"""A terminal that is closed tells all processes in it; Ray's stay until the driver has saved."""

import os
import signal
import subprocess
import sys
import threading

from orchestrator.executors.ray.cluster import _children_outlive_the_terminal

READS = [sys.executable, "-S", "-c", "print('up', flush=True); input(); print('still here')"]


def start() -> "subprocess.Popen[str]":
    child = subprocess.Popen(READS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    return child


def test_processes_that_ray_starts_outlive_it_and_others_do_not() -> None:
    with _children_outlive_the_terminal():
        of_ray = start()
    other = start()
    for child in (of_ray, other):
        os.kill(child.pid, signal.SIGHUP)
    assert of_ray.communicate("\n")[0] == "still here\n"
    assert other.wait() == -signal.SIGHUP
    other.communicate()


def test_the_driver_hears_of_it_afterwards() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, frame: heard.append(number))
    try:
        with _children_outlive_the_terminal():
            # to this thread: another one, as a process of tests has, would take it at once
            signal.pthread_kill(threading.get_ident(), signal.SIGHUP)
            assert heard == []
        assert heard == [signal.SIGHUP]
    finally:
        signal.signal(signal.SIGHUP, before)
