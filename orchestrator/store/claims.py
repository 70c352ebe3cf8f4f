"""Claims on trainings: two sweeps of one store that share it do not train it twice.

A claim is a file named after the fingerprint. It holds as long as the driver that made it: whoever
finds one whose driver is gone takes its place.
"""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import DamagedFile
from orchestrator.store.damage import note
from orchestrator.store.files import clear_litter, make_way, read_json, write_json
from orchestrator.store.lease import live_session
from orchestrator.store.locks import locked
from orchestrator.trial import TrialSpec


@dataclass(frozen=True)
class Claims:
    """Claims of one driver, at work on one sweep."""

    root: Path
    session: str

    def take(self, trial: TrialSpec) -> str | None:
        """Claim the training. Returns the sweep whose driver trains it now; none where the claim is
        ours. Raises `OSError`.
        """
        self._folder.mkdir(exist_ok=True)
        path, lock = self._path(trial), self._folder / ".lock"
        make_way(lock)
        with locked(lock):
            if sweep := self._live_sweep(path):
                return sweep
            write_json(path, {"session": self.session, "sweep": trial.sweep, "trial": trial.name})
        return None

    def release(self, trial: TrialSpec) -> None:
        """Leave the training to whoever asks for it. Raises `OSError`."""
        path = self._path(trial)
        found = self._read(path)
        if found and found.get("session") == self.session:
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove those of drivers that are gone. Raises `OSError`."""
        if not self._folder.is_dir():
            return
        clear_litter(self._folder)
        for path in self._folder.glob("*.json"):
            if not self._live_sweep(path):
                path.unlink(missing_ok=True)

    def _live_sweep(self, path: Path) -> str | None:
        """The sweep of the claim, where it is another driver's and that one lives."""
        found = self._read(path)
        if not found or found.get("session") == self.session:
            return None
        sweep, session = str(found.get("sweep")), found.get("session")
        if not session or live_session(self.root / sweep) != session:
            return None
        return sweep

    def _read(self, path: Path) -> dict[str, object] | None:
        try:
            return read_json(path)
        except FileNotFoundError:
            return None
        except DamagedFile as damage:
            note(damage)
            make_way(path)
            return None

    @property
    def _folder(self) -> Path:
        return self.root / ".claims"

    def _path(self, trial: TrialSpec) -> Path:
        return self._folder / f"{trial.fingerprint[:32]}.json"
