"""Origin of results: the state of the code and the packages it ran with."""

import platform
import subprocess
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator.store.files import cannot_write, make_way, write_whole

WITHOUT_NUMBERS = ("ablation-orchestrator", "ray", "mlflow", "pydantic")
"""Packages that decide no trial's numbers; ours has a version of its numbers in each identity."""
_PACKAGES = (
    *WITHOUT_NUMBERS,
    *("torch", "numpy", "scikit-learn", "scipy", "torchvision", "timm"),
    *("transformers", "lightning", "jax", "flax", "tensorflow", "keras"),
    *("xgboost", "lightgbm", "catboost", "pandas"),
)
"""Packages whose versions are recorded where they are installed."""


NOT_KNOWN = "not known"
"""Value of `git_diff` where git did not answer in time, or what it said could not be kept."""
_GIT_SECONDS = 10.0
_SECRETS = (
    "*.env",
    ".env*",
    "*.pem",
    "*.key",
    "*.p12",
    "id_*",
    "*secret*",
    "*credential*",
    "*token*",
)
"""Names of files whose content is kept out of patches; a store is copied, and shared with others.
"""


class _NoAnswer(Exception):
    """Git did not answer in time."""


def provenance(
    folder: Path, sweep_path: Path, code: Mapping[str, Mapping[str, str]] | None = None
) -> Mapping[str, Any]:
    """Python, packages, files of user code, and the git commit of the repository of `folder`.

    `code` has the digest of each file, by function. What is not committed is kept as a patch in the
    sweep's folder, once for all trials, readable by its owner alone; `git_diff` names it. Files
    whose names sound like secrets are only named.
    """
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    }
    if code:
        found["code"] = code
    return {**found, **_state_of_code(folder, sweep_path)}


def _state_of_code(folder: Path, sweep_path: Path) -> Mapping[str, Any]:
    state: dict[str, Any] = {"git_commit": None, "git_diff": None}
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        if commit is None:
            return state
        state["git_commit"] = commit.decode().strip()
        left_out = [f":(exclude,icase,top,glob)**/{name}" for name in _SECRETS]
        changed = _git(folder, "diff", "--name-only", "-z", "HEAD") or b""
        # whatever the user's settings are
        options = ("--binary", "--no-color", "--no-ext-diff", "HEAD", "--", ":(top)", *left_out)
        diff = _git(folder, "diff", *options) or b""
        kept = _git(folder, "diff", "--name-only", "-z", *options[3:]) or b""
    except _NoAnswer:
        return state | {"git_diff": NOT_KNOWN}
    secrets = set(changed.split(b"\0")) - set(kept.split(b"\0"))
    if secrets:
        state["git_diff_without"] = sorted(name.decode(errors="replace") for name in secrets)
        diff += b"".join(b"# changed, and not kept: %s\n" % name for name in sorted(secrets))
    if diff:
        state["git_diff"] = _kept(diff, sweep_path)
    return state


def _kept(diff: bytes, sweep_path: Path) -> str:
    """Name of the patch in the sweep's folder. Raises `StoreError`."""
    name = f"uncommitted-{sha256(diff).hexdigest()[:8]}.patch"
    path = sweep_path / name
    if not path.is_file():
        try:
            make_way(path)
            write_whole(path, diff, mode=0o600)
        except OSError as error:
            raise cannot_write(error, path) from error
    return name


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> bytes | None:
    """Answer of git; None where there is no git, or no repository. Raises `_NoAnswer`."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_SECONDS, check=True)
    except subprocess.TimeoutExpired as error:
        raise _NoAnswer from error
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout or None
