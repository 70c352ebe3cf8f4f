"""Where results come from: the state of the code and the packages it ran with."""

import platform
import subprocess
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator.store.files import write_whole

_PACKAGES = (
    "ablation-orchestrator",
    "torch",
    "numpy",
    "scikit-learn",
    "scipy",
    "ray",
    "mlflow",
    "pydantic",
)


def provenance(folder: Path, sweep_path: Path) -> Mapping[str, Any]:
    """Python, packages, and the git commit of the repository that `folder` is in, if it is in one.

    What is not committed is kept as a patch in the sweep's folder, once for all trials; `git_diff` names it.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    diff = _git(
        folder, "diff", "--binary", "--no-color", "--no-ext-diff", "HEAD"
    )  # whatever the user's settings are
    name = f"uncommitted-{sha256(diff).hexdigest()[:8]}.patch" if diff else None
    if diff and name and not (sweep_path / name).exists():
        write_whole(sweep_path / name, diff)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "git_commit": commit.decode().strip() if commit else None,
        "git_diff": name,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or no repository
    return done.stdout or None
