"""Measurements that a spec asks for, compared with what the store has of them."""

from dataclasses import dataclass
from pathlib import Path

from illama.config import epoch_folder
from illama.measures import labelled
from orchestrator.analysis.snapshot import Snapshot
from orchestrator.metrics import AVERAGED
from orchestrator.outcomes import TRAINED, State
from orchestrator.store.measurements import Measurement, epochs_along, known_measurement
from orchestrator.trial import TrialRecord, TrialSpec


@dataclass(frozen=True)
class Asked:
    """One measurement, and what is known of it."""

    label: str
    """The label of the measure in the report."""
    trial: TrialSpec
    path: Path
    """The file of the measurement."""
    measurement: Measurement
    known: Measurement | None
    """Measurement in the store; None where there is none."""

    @property
    def is_done(self) -> bool:
        """True if there are numbers."""
        return self.known is not None and self.known.state == "measured"

    @property
    def has_failed(self) -> bool:
        """True if it was tried, and failed."""
        return self.known is not None and self.known.state == "failed"

    def is_due(self, *, retry_failed: bool) -> bool:
        """Tell whether it is to be measured now."""
        return not self.is_done and (retry_failed or not self.has_failed)


def asked_of(snapshot: Snapshot) -> list[Asked]:
    """Measurements of every network that is there, in the order of the spec; each network once."""
    spec = snapshot.spec
    requests = labelled(spec.schema.measure)
    use_ema = spec.schema.metric.name.startswith(AVERAGED)
    found: dict[Path, Asked] = {}
    for one in snapshot.reported if requests else ():
        trial, record = one.spec, one.record
        if not has_final_network(record):
            continue
        folder = Path(record.path)
        for label, request in requests.items():
            for epoch in (*epochs_along(request, trial.config), None):
                asked = Measurement(
                    spec.name, trial.fingerprint, request, trial.runtime, use_ema, epoch=epoch
                )
                path = asked.path_in(folder)
                known = known_measurement(asked, folder)
                if path not in found and (known or _is_kept(folder, epoch)):
                    found[path] = Asked(label, trial, path, asked, known)
    return list(found.values())


def _is_kept(folder: Path, epoch: int | None) -> bool:
    """Tell whether the network is there as it was after the epoch; the finished one is."""
    return epoch is None or epoch_folder(folder, epoch).is_dir()


def has_final_network(record: TrialRecord) -> bool:
    """Tell whether the trial trained to the end, so that its checkpoint is the final network."""
    return record.state is State.DONE and record.outcome in TRAINED


@dataclass(frozen=True)
class MeasureCount:
    """One measure of all networks that a sweep reports."""

    label: str
    wanted: int
    """Networks to measure, those of trainings to come and along trainings included."""
    measured: int
    failed: int

    @property
    def left(self) -> int:
        """Measurements that `run` or `measure` would take, those that failed left out."""
        return self.wanted - self.measured - self.failed


def measure_counts(snapshot: Snapshot) -> list[MeasureCount]:
    """Count a spec's measurements, in its order; a network that several trials share is one."""
    requests = labelled(snapshot.spec.schema.measure)
    if not requests:
        return []
    known = asked_of(snapshot)
    there = {one.trial.fingerprint for one in known}
    to_come = {
        one.spec.fingerprint: one.spec.config
        for one in snapshot.reported
        if one.spec.fingerprint not in there and one.record.state is not State.DONE
    }
    counts = []
    for label, request in requests.items():
        of_label = [one for one in known if one.label == label]
        later = sum(1 + len(epochs_along(request, config)) for config in to_come.values())
        counts.append(
            MeasureCount(
                label=label,
                wanted=len(of_label) + later,
                measured=sum(one.is_done for one in of_label),
                failed=sum(one.has_failed for one in of_label),
            )
        )
    return counts
