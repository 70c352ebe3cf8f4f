"""Results can be traced to the code that made them."""

import subprocess
from pathlib import Path

import pytest

from orchestrator.store.provenance import provenance


@pytest.fixture
def repository(weird_path: Path) -> Path:
    """One commit; whoever works here likes colours and has an editor of the last century."""
    folder = weird_path / "code"
    (folder / "sweeps").mkdir(parents=True)
    git(folder, "init", "-q")
    for setting in (
        "user.name=x",
        "user.email=x@x",
        "color.ui=always",
        "diff.external=false",
        "commit.gpgsign=false",
    ):
        git(folder, "config", *setting.split("="))
    (folder / "code.py").write_bytes(b"a = 1\n\n\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", folder, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def sweep_path(weird_path: Path) -> Path:
    path = weird_path / "runs"
    path.mkdir()
    return path


def test_a_clean_repository_is_its_commit(repository: Path, sweep_path: Path) -> None:
    found = provenance(repository / "sweeps", sweep_path)
    assert found["git_commit"] == git(repository, "rev-parse", "HEAD")
    assert found["git_diff"] is None
    assert list(sweep_path.iterdir()) == []
    assert found["packages"].keys() >= {"torch", "numpy", "pydantic"}
    assert found["python"].startswith("3.")


@pytest.mark.parametrize(
    "content", [b"a = 2\n\n\n", b"a = '\xe9'\n\n\n", b"\x00\xff binary", b"a = 1\n"]
)
def test_what_is_not_committed_is_kept_as_a_patch_that_applies(
    repository: Path, sweep_path: Path, content: bytes
) -> None:
    (repository / "code.py").write_bytes(content)
    found = provenance(repository, sweep_path)
    assert found == provenance(repository, sweep_path)
    [patch] = sweep_path.iterdir()
    assert patch.name == found["git_diff"]
    git(repository, "checkout", "-q", "code.py")
    git(repository, "apply", str(patch))
    assert (repository / "code.py").read_bytes() == content


def test_outside_of_a_repository_or_without_git_there_is_nothing_to_say(
    tmp_path: Path, sweep_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance(tmp_path, sweep_path)["git_commit"] is None
    monkeypatch.setenv("PATH", "")
    assert provenance(tmp_path, sweep_path)["git_diff"] is None


def test_a_repository_that_git_cannot_tell_in_time_is_not_taken_for_clean(
    repository: Path, sweep_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*command: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("git", 10.0)

    monkeypatch.setattr(subprocess, "run", never)
    assert provenance(repository, sweep_path)["git_diff"] == "not known"


@pytest.mark.parametrize("name", [".env", "deep/local.env", "api_Secret.txt", "deep/server.pem"])
def test_what_sounds_like_a_secret_is_named_and_not_kept(
    repository: Path, sweep_path: Path, name: str
) -> None:
    path = repository / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("none yet\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "two")
    path.write_text("hunter2\n")
    found = provenance(repository / "sweeps", sweep_path)
    patch = sweep_path / found["git_diff"]
    assert found["git_diff_without"] == [name]
    assert b"hunter2" not in patch.read_bytes()
    assert patch.stat().st_mode & 0o777 == 0o600
