"""The store as it was at one moment, asked for trials: each record is read once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from illama.weights.initial import identified
from orchestrator.errors import UsageError
from orchestrator.planning.trials import Digest, trials_with
from orchestrator.pruning import Pruning
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import KnownTrial, TrialRecord, TrialSpec, Variant
from orchestrator.waiting import begun, counted_off

_MANY = 500
"""Trials that take so long to read that it is told."""
_MEGABYTE = 10**6


class Records(Protocol):
    """Source of the records of trials; mostly a `Store`."""

    def record(self, trial: TrialSpec, live_session: str | None = None) -> TrialRecord:
        """The record of a trial; `live_session` is that of a driver that is alive."""


class Lookup:
    """Trials of one sweep with their records."""

    def __init__(
        self,
        spec: SweepSpec,
        digest: Digest,
        records: Records,
        live_session: str | None = None,
    ) -> None:
        self._spec = spec
        self.digest = digest
        """Digest of what a data set holds."""
        self._record = partial(records.record, live_session=live_session)
        self._records: dict[str, TrialRecord] = {}

    def known(self, trials: Sequence[TrialSpec]) -> tuple[KnownTrial, ...]:
        """The trials with their records."""
        told: Iterable[TrialSpec] = trials
        if len(trials) > _MANY:
            told = counted_off(trials, "reading trials")
        return tuple(_as_recorded(trial, self._record_of(trial)) for trial in told)

    def with_seeds(
        self, variant: Variant, seeds: Sequence[int], prunings: Mapping[int, Pruning] | None = None
    ) -> tuple[KnownTrial, ...]:
        """Some seeds of a variant; `prunings` say by seed what stops a trial early.

        Raises `UsageError` where it starts from a file that nothing is known of.
        """
        variant = with_known_weights(variant, self._spec)
        trials = trials_with(self._spec, variant, seeds, self.digest(variant.config.images))
        if prunings:
            trials = [replace(trial, pruning=prunings.get(trial.seed)) for trial in trials]
        return self.known(trials)

    def _record_of(self, trial: TrialSpec) -> TrialRecord:
        if trial.pruning:  # what it came to depends on what it is compared with
            return self._record(trial)
        key = trial.directory_name
        if key not in self._records:
            self._records[key] = self._record(trial)
        return self._records[key]


def _as_recorded(trial: TrialSpec, record: TrialRecord) -> KnownTrial:
    """The trial with its record: as an earlier version identified it, where it is that one's
    folder.
    """
    if trial.earlier is None:
        return KnownTrial(trial, record)
    earlier = replace(trial.earlier, pruning=trial.pruning)
    if record.is_of_another(earlier):
        return KnownTrial(trial, record)
    return KnownTrial(earlier, record)


def with_known_weights(variant: Variant, spec: SweepSpec) -> Variant:
    """The variant with the digest of the file that it starts from, if it starts from one.

    Raises `UsageError` where neither the file nor its digest is there.
    """
    if variant.repeated:
        repeated = tuple(with_known_weights(one, spec) for one in variant.repeated)
        return replace(repeated[0], changes=variant.changes, repeated=repeated)
    init = variant.config.init

    def told(done: int, size: int) -> None:
        begun(f"hashing {init and init.checkpoint} (MB)", done // _MEGABYTE, size // _MEGABYTE)

    try:
        known = identified(variant.config, spec.schema.runtime.data_dir, told)
        return replace(variant, config=known)
    except OSError as error:
        where = f"{spec.path}:{variant.line}"
        message = f"{where}: '{variant.label}' cannot start from its file: {error}"
        hint = "for plan and report, train.init.sha256 is enough"
        raise UsageError(f"{message}; {hint}") from error
