"""`--output` writes where its name leads, and takes nothing away that stood there."""

import os
import stat
import threading
from pathlib import Path

import pytest

from orchestrator.cli.output import write_output
from orchestrator.errors import UsageError


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_replaced_whole_and_keeps_its_permissions(weird_path: Path) -> None:
    path = weird_path / "report.md"
    path.write_text("old")
    path.chmod(0o600)
    write_output(path, b"new")
    assert path.read_bytes() == b"new"
    assert mode_of(path) == 0o600
    assert [entry.name for entry in weird_path.iterdir()] == ["report.md"]


def test_a_link_stays_and_what_it_leads_to_is_replaced(weird_path: Path) -> None:
    (weird_path / "there").mkdir()
    target, link = weird_path / "there" / "target.md", weird_path / "link.md"
    target.write_text("old")
    link.symlink_to("there/target.md")
    write_output(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_link_to_nothing_yet_makes_what_it_leads_to(weird_path: Path) -> None:
    link = weird_path / "link.md"
    link.symlink_to("later/target.md")
    write_output(link, b"new")
    assert link.is_symlink()
    assert (weird_path / "later" / "target.md").read_bytes() == b"new"


def test_a_pipe_gets_what_its_reader_waits_for(weird_path: Path) -> None:
    pipe, got = weird_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_output(pipe, b"new")
    reader.join(5)
    assert got == [b"new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_stays_a_device(weird_path: Path) -> None:
    link = weird_path / "nothing"
    link.symlink_to("/dev/null")
    write_output(link, b"new")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert link.is_symlink()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_an_open_descriptor_goes_on_behind_what_it_has(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    os.write(1, b"before ")
    write_output(Path(name), b"new")
    os.write(1, b" behind")
    assert capfd.readouterr().out == "before new behind"


def test_folders_that_are_missing_are_made(weird_path: Path) -> None:
    write_output(weird_path / "a" / "b" / "report.md", b"new")
    assert (weird_path / "a" / "b" / "report.md").read_bytes() == b"new"


def test_what_cannot_be_written_is_said(weird_path: Path) -> None:
    (weird_path / "file").write_text("")
    (weird_path / "round").symlink_to("round")
    with pytest.raises(UsageError, match="Is a directory"):
        write_output(weird_path, b"new")
    with pytest.raises(UsageError, match="file is not a folder"):
        write_output(weird_path / "file" / "report.md", b"new")
    with pytest.raises(UsageError, match="symbolic links"):
        write_output(weird_path / "round", b"new")
