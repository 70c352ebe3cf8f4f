"""Trial directories on a path that all nodes see: the one truth about what was trained.

    <root>/<sweep>/sweep.yaml                 the spec as last submitted, byte for byte
    <root>/<sweep>/submitted.json             digests of it and of the modules that it names
    <root>/<sweep>/lease.json                 who is at work on the sweep (`store.lease`)
    <root>/<sweep>/sessions.jsonl             who was, in order
    <root>/<sweep>/declarations.jsonl         each version of the spec, and its first submission
    <root>/<sweep>/looks.jsonl                seeds whose results were shown in full, each once
    <root>/<sweep>/trials/<trial>-<8 hex>/    a trial (`store.trial_directory`)
    <root>/.claims/<fingerprint>.json         which sweep trains it at this moment (`store.claims`)

A trial's state is derived from these files and kept nowhere else.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Self

from orchestrator.errors import (
    DamagedFile,
    NewerFile,
    StoreError,
    UsageError,
    did_you_mean_one_of,
)
from orchestrator.pruning import Curve
from orchestrator.store.adoption import adopted_record
from orchestrator.store.damage import note
from orchestrator.store.files import (
    cannot_write,
    make_way,
    read_file,
    read_json,
    temporary_path,
    write_json,
    write_whole,
)
from orchestrator.store.metrics_file import MetricsLog as MetricsLog
from orchestrator.store.metrics_file import epoch_of as epoch_of
from orchestrator.store.trial_directory import TrialDirectory as TrialDirectory
from orchestrator.trial import TrialRecord, TrialSpec


class Twin(NamedTuple):
    """A trial that is the same training as another."""

    sweep: str
    name: str
    variant: str


class Store:
    """All sweeps below one path."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._trials: dict[str, Path] = {}
        self._listed: dict[str, list[Path]] | None = None
        self._looked_at: dict[str, int] = {}

    @classmethod
    def at(cls, path: Path) -> Self:
        """The store at a path as people write it. Raises `StoreError` where none can be."""
        elsewhere = "choose another folder with --store"
        try:
            root = path.expanduser().resolve()
            nearest = next(place for place in (root, *root.parents) if place.exists())
        except (OSError, RuntimeError) as error:  # links in a circle, or nobody's home
            why = getattr(error, "strerror", None) or error
            raise StoreError(f"the store cannot be at {path}: {why}; {elsewhere}") from error
        if not nearest.is_dir():
            raise StoreError(
                f"the store cannot be at {root}: {nearest} is not a folder; {elsewhere}"
            )
        return cls(root)

    def prepare(self, sweep: str) -> None:
        """Make sure that the sweep's folder is there and can be written. Raises `StoreError`."""
        trials = self.sweep_path(sweep) / "trials"
        token = temporary_path(trials / "writable")
        try:
            trials.mkdir(parents=True, exist_ok=True)
            os.close(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            token.unlink()
        except OSError as error:
            message = (
                f"cannot write the store at {self.root}: {error.strerror}; choose another "
                "with --store"
            )
            raise StoreError(message) from error

    def sweep_path(self, sweep: str) -> Path:
        """The folder of one sweep."""
        return self.root / sweep

    def has_trials(self, sweep: str) -> bool:
        """True if any trial of the sweep has a folder."""
        return any((self.sweep_path(sweep) / "trials").glob("*/trial.json"))

    def sweeps(self) -> list[str]:
        """Names of all sweeps that were submitted to the store, sorted."""
        return sorted(spec.parent.name for spec in self.root.glob("*/sweep.yaml"))

    def spec_path(self, sweep: str) -> Path:
        """The spec of a sweep as last submitted.

        Raises `UsageError` where the store has no such sweep, and `StoreError` where the spec is
        not whole.
        """
        path = self.sweep_path(sweep) / "sweep.yaml"
        if not os.path.lexists(path):
            hint = "; the store is empty"
            if known := self.sweeps():
                hint = did_you_mean_one_of(sweep, known)
            raise UsageError(
                f"'{sweep}' is neither a file nor a sweep in the store at {self.root}{hint}"
            )
        if why := self._wrong_with_spec(sweep, path):
            hint = "name the sweep's own YAML file instead; `run` with it restores this copy"
            raise StoreError(f"{path} is damaged ({why}); {hint}")
        return path

    def _wrong_with_spec(self, sweep: str, path: Path) -> str:
        try:
            digest = sha256(read_file(path)).hexdigest()
        except DamagedFile as damage:
            return damage.why
        except FileNotFoundError:
            return "it is a broken link"
        if digest in self._submitted(sweep).get("sweep.yaml", [digest]):
            return ""
        return "it was changed after it was submitted"

    def submit(self, sweep: str, content: bytes, code: Mapping[str, bytes] | None = None) -> None:
        """Keep the spec as submitted, and beside it the modules that it names: workers on every
        node import them from here.

        Raises `StoreError`.
        """
        files = {"sweep.yaml": content, **(code or {})}
        digests = {name: [sha256(source).hexdigest()] for name, source in files.items()}
        before = self._submitted(sweep)
        about = self.sweep_path(sweep) / "submitted.json"
        try:
            if digests != before:  # a crash in between leaves files of which each is known
                either = {name: digest + before.get(name, []) for name, digest in digests.items()}
                write_json(about, {"format": 2, "sha256": either})
            for name, source in files.items():
                path = self.sweep_path(sweep) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                make_way(path)
                write_whole(path, source)
            write_json(about, {"format": 2, "sha256": digests})
        except OSError as error:
            raise cannot_write(error, about) from error

    def _submitted(self, sweep: str) -> dict[str, list[str]]:
        """Digests by name of what was submitted; empty where nothing says so."""
        path = self.sweep_path(sweep) / "submitted.json"
        try:
            found = read_json(path, newest=2)["sha256"]
            return {str(name): [str(digest) for digest in many] for name, many in found.items()}
        except FileNotFoundError:
            return {}
        except DamagedFile as damage:
            note(damage)
        except (KeyError, AttributeError, TypeError):
            note(DamagedFile(path, "it does not name the submitted files"))
        return {}

    def directory(self, trial: TrialSpec) -> TrialDirectory:
        """Directory of the trial's files, which may not be there yet."""
        trials = self._trials.get(trial.sweep)
        if trials is None:
            trials = self._trials[trial.sweep] = self.root / trial.sweep / "trials"
        return TrialDirectory(trials / trial.directory_name)

    def as_recorded(self, trial: TrialSpec) -> TrialSpec:
        """The trial by the fingerprint that the store knows it by: an earlier version's where
        nothing has the present one.
        """
        earlier = trial.earlier
        if earlier is None:
            return trial
        known = self._directories()
        if trial.fingerprint[:8] in known or earlier.fingerprint[:8] not in known:
            return trial
        return replace(earlier, pruning=trial.pruning)

    def record(self, trial: TrialSpec, live_session: str | None = None) -> TrialRecord:
        """Record of the trial: of its own files, or of the same training anywhere in the store."""
        trial = self.as_recorded(trial)
        own = self.directory(trial)
        try:
            if done := self._record_of_done(trial, own):
                return done.judged(trial)
        except NewerFile as newer:
            return own.record_of_newer(newer)
        return own.record(live_session, trial.pruning)

    def record_of_done(self, trial: TrialSpec) -> TrialRecord | None:
        """Record of the trial where it is done, there or as another's. Raises `NewerFile` where
        only a newer version knows.
        """
        return self._record_of_done(trial, self.directory(trial))

    def _record_of_done(self, trial: TrialSpec, own: TrialDirectory) -> TrialRecord | None:
        done = own.record_of_done(trial.pruning) or adopted_record(own)
        if done and _is_of(done, trial):
            return done
        paths = self._directories().get(trial.fingerprint[:8], [])
        others = (_done_elsewhere(path, trial) for path in paths if path != own.path)
        return next(filter(None, others), None)

    def same_training_as(self, trial: TrialSpec) -> list[Twin]:
        """The other trials of the store, in any sweep, that are the same training."""
        own = trial.sweep, trial.directory_name
        paths = self._directories().get(trial.fingerprint[:8], [])
        others = [path for path in paths if (path.parts[-3], path.name) != own]
        twins = [_twin(path, trial.fingerprint) for path in others]
        return [twin for twin in twins if twin]

    def forget(self) -> None:
        """Look at everything again from here on: the store may hold more by now."""
        self._listed = None

    def look_again(self) -> None:
        """Forget which trials the other sweeps of the store have, where they have more by now."""
        if self._looked_at != self._ages():
            self.forget()

    def _ages(self) -> dict[str, int]:
        found = {}
        for trials in self.root.glob("*/trials"):
            try:
                found[str(trials)] = trials.stat().st_mtime_ns
            except OSError:
                continue
        return found

    def _directories(self) -> dict[str, list[Path]]:
        """Directories of all trials by the first digits of their fingerprint, listed once."""
        if self._listed is not None:
            return self._listed
        self._looked_at = self._ages()
        found: dict[str, list[Path]] = {}
        for trials in sorted(self.root.glob("*/trials")):
            try:
                names = sorted(os.listdir(trials))
            except OSError:
                continue  # a file, or a folder that is none of ours
            for name in names:
                found.setdefault(name.rpartition("-")[2], []).append(trials / name)
        self._listed = found
        return found


def curve_of(record: TrialRecord, metric: str) -> Curve:
    """`TrialDirectory.curve`, wherever the trial's files are; empty before there are any."""
    return TrialDirectory(Path(record.path)).curve(metric)


def _done_elsewhere(path: Path, trial: TrialSpec) -> TrialRecord | None:
    try:
        directory = TrialDirectory(path)
        done = directory.record_of_done(trial.pruning) or adopted_record(directory)
    except NewerFile:
        return None
    if done is None or _fingerprint_of(path, done) != trial.fingerprint:
        return None
    return done


def _is_of(done: TrialRecord, trial: TrialSpec) -> bool:
    """True if the result in the trial's folder, whose name has the first digits alone, is the
    trial's.
    """
    result = done.result or {}
    return bool(result.get("fingerprint", trial.fingerprint) == trial.fingerprint)


def _fingerprint_of(path: Path, done: TrialRecord) -> str | None:
    """The fingerprint from the result, or, where that does not say it, from `trial.json`."""
    if done.result and "fingerprint" in done.result:
        return str(done.result["fingerprint"])
    return _fingerprint_in(path)


def _twin(path: Path, fingerprint: str) -> Twin | None:
    """The trial in a folder, if it is the training of this fingerprint and says its name."""
    try:
        about = read_json(path / "trial.json")
    except (FileNotFoundError, DamagedFile):
        return None
    if about.get("fingerprint") != fingerprint:
        return None
    sweep = path.parent.parent.name
    return Twin(sweep, str(about.get("name", "")), str(about.get("variant", "")))


def _fingerprint_in(path: Path) -> str | None:
    try:
        return str(read_json(path / "trial.json").get("fingerprint"))
    except (FileNotFoundError, DamagedFile):
        return None
