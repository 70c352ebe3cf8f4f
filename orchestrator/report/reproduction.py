"""Instructions to get the same report again: the command, the spec, the code and the packages that
the trials ran with.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.analysis.rows import StepRow
from orchestrator.errors import counted
from orchestrator.store.provenance import NOT_KNOWN
from orchestrator.store.store import TrialDirectory

_CHANGED = {
    "a patch": ", with uncommitted changes (`git_diff` in the trials' trial.json)",
    NOT_KNOWN: ", whether with uncommitted changes is not known: git took too long to say",
}


@dataclass(frozen=True)
class Origin:
    """One state of code and packages, and how many trials ran with it."""

    trials: int
    python: str
    platform: str
    packages: Mapping[str, str]
    git_commit: str
    git_diff: str
    """The patch with what differed from that commit; empty where nothing did."""

    def lines(self) -> list[str]:
        """The origin in words."""
        code = (
            f"git commit {self.git_commit}"
            if self.git_commit
            else "code: no git repository was found"
        )
        changed = _CHANGED.get(self.git_diff, _CHANGED["a patch"]) if self.git_diff else ""
        versions = ", ".join(f"{name} {version}" for name, version in self.packages.items())
        return [
            f"{counted(self.trials, 'trial')}: {code}{changed}",
            f"Python {self.python} on {self.platform}",
            versions,
        ]


def origins_of(rows: Iterable[StepRow]) -> list[Origin]:
    """Every state that the rows' trials ran with, the most frequent first."""
    found: Counter[str] = Counter()
    for path in {path for row in rows for path in row.paths.values()}:
        found[json.dumps(TrialDirectory(Path(path)).provenance(), sort_keys=True)] += 1
    return [_origin(json.loads(text), count) for text, count in found.most_common() if text != "{}"]


def _origin(provenance: Mapping[str, Any], count: int) -> Origin:
    return Origin(
        trials=count,
        python=str(provenance.get("python", "?")),
        platform=str(provenance.get("platform", "?")),
        packages=provenance.get("packages", {}),
        git_commit=str(provenance.get("git_commit") or ""),
        git_diff=str(provenance.get("git_diff") or ""),
    )
