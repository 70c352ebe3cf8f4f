"""Artifacts of a run in a folder of this machine, written as MLflow writes them."""

import os


def make_folder(folder: str) -> None:
    """Make a run's folder of artifacts, which is the only one in the run's own."""
    for path in (os.path.dirname(folder), folder):
        try:
            os.mkdir(path)
        except FileExistsError:
            continue
        except FileNotFoundError:  # the experiment's is missing, too
            os.makedirs(path, exist_ok=True)


def put_file(folder: str, name: str, content: bytes) -> None:
    """Write a file; one of the same name is replaced at once. Half a new one that a killed process
    left is written again by the next `sync`: its run does not have its last tags yet.
    """
    try:
        _write(f"{folder}/{name}", content, os.O_EXCL)
    except FileExistsError:
        aside = f"{folder}/.artifact.uploading.{name}"  # as MLflow's, which it does not show
        _write(aside, content, os.O_TRUNC)
        os.replace(aside, f"{folder}/{name}")


def _write(path: str, content: bytes, flag: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flag, 0o666)
    try:
        while content:  # a full disk raises, a signal cuts it short
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)
