"""Results that count for a trial although other code gave them, because somebody said so.

The trial gets a folder of its own whose `trial.json` says under `adopted` whose result it is, when
that was decided, and what differs. The result itself stays where it was trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from orchestrator.errors import DamagedFile, NewerFile
from orchestrator.store.damage import note
from orchestrator.store.files import read_json
from orchestrator.store.trial_directory import TRIAL_FORMAT, TrialDirectory
from orchestrator.trial import TrialRecord, TrialSpec


@dataclass(frozen=True)
class Adoption:
    """Adoption of a result, as `trial.json` has it under `adopted`."""

    trial: str
    """Folder of the trial that was trained, below the store: `sweep/trials/name-fingerprint`."""
    fingerprint: str
    """The fingerprint of that trial."""
    differences: Sequence[str]
    """Differences between its identity and this one's, in words."""
    time: float
    """Seconds since 1970."""

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Raises `TypeError`, `KeyError` or `ValueError` where it says something else."""
        texts = [str(text) for text in value["differences"]]
        return cls(str(value["trial"]), str(value["fingerprint"]), texts, float(value["time"]))


def adopt(directory: TrialDirectory, trial: TrialSpec, adoption: Adoption) -> None:
    """Say in the trial's own folder that another trial's result counts as its own."""
    source = TrialDirectory(_root_of(directory) / adoption.trial)
    directory.write_trial(trial, source.provenance(), adopted=vars(adoption))


def adopted_record(directory: TrialDirectory) -> TrialRecord | None:
    """Record of the result that the trial in this folder adopted; none where it adopted none."""
    path = directory.path / "trial.json"
    try:
        about = read_json(path, newest=TRIAL_FORMAT)
        if "adopted" not in about:
            return None
        adoption = Adoption.from_json(about["adopted"])
        done = TrialDirectory(_root_of(directory) / adoption.trial).record_of_done()
    except (FileNotFoundError, NotADirectoryError, NewerFile):
        return None
    except DamagedFile as damage:
        note(damage)
        return None
    except (KeyError, TypeError, ValueError):
        note(DamagedFile(path, "it does not name the adopted result"))
        return None
    if done is None or not _is_of(done, adoption):
        return None
    result = {**(done.result or {}), "fingerprint": about.get("fingerprint")}
    return replace(done, result=result, adopted=tuple(adoption.differences))


def _is_of(done: TrialRecord, adoption: Adoption) -> bool:
    found = (done.result or {}).get("fingerprint", adoption.fingerprint)
    return bool(found == adoption.fingerprint)


def _root_of(directory: TrialDirectory) -> Path:
    """The store that the folder is in: `root/sweep/trials/trial`."""
    return directory.path.parents[2]
