"""Every variant of a sweep once, for a moment, in a store of its own: what would fail after hours
fails now.

Each is trained with two epochs at most and is asked to stop after a moment, as an interrupt would.
What ends well, or stops when it is asked, is taken to be well: a smoke test finds what is broken
from the start.
"""

import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from pydantic import ValidationError

from orchestrator.analysis.snapshot import Snapshot
from orchestrator.errors import UsageError
from orchestrator.executors import Executor
from orchestrator.outcomes import Outcome
from orchestrator.planning.plan import make_plan
from orchestrator.planning.survey import survey
from orchestrator.running.queue import TrialQueue
from orchestrator.running.signals import graceful_stop
from orchestrator.running.view import RunView
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.lease import Lease
from orchestrator.store.store import Store
from orchestrator.trial import KnownTrial, TrialSpec

FOLDER = ".smoke"
"""Folder below the store that is a store of its own, made anew each time."""
MOMENT_SECONDS = 2.0
"""Seconds that each variant trains before it is asked to stop."""
_EPOCHS = 2
"""Epochs of a smoke test: with a second one, what goes wrong between two epochs is seen as well."""
PATIENCE_SECONDS = 30.0
"""Seconds that one may take to stop where its process can be ended without ending the others'."""


@dataclass(frozen=True)
class SmokeTest:
    """Result of a short try of each variant."""

    store: Store
    """The store in which `logs` and `show` find the trials."""
    trials: Sequence[KnownTrial]
    untried: Sequence[str]
    """Labels of variants whose settings a search has to find first."""
    interrupted: bool

    @property
    def causes(self) -> dict[str, str]:
        """Reasons why variants failed, by their labels."""
        return {
            known.spec.variant_label: known.record.cause or str(known.record.outcome)
            for known in self.trials
            if known.record.outcome in (Outcome.FAILED, Outcome.OUT_OF_MEMORY)
        }


def smoke_test(
    spec: SweepSpec, store: Store, executor: Executor, view: RunView, *, in_this_process: bool
) -> SmokeTest:
    """Train every variant for a moment. Raises `StoreError`, `SweepInUse`, `ClusterError`,
    `UsageError`.
    """
    snapshot = survey(spec, store)
    first = {trial.variant_label: trial for trial in reversed(snapshot.specs)}
    limit = None if in_this_process else PATIENCE_SECONDS
    trials = [_for_a_moment(trial, limit) for trial in reversed(first.values())]
    apart = Store(store.root / FOLDER)
    apart.prepare(spec.name)
    interrupted = threading.Event()
    with Lease(apart.sweep_path(spec.name)) as lease:
        shutil.rmtree(apart.sweep_path(spec.name) / "trials", ignore_errors=True)
        apart.prepare(spec.name)
        apart.submit(spec.name, spec.content, spec.code)
        # cells of designs that coincide are trained once
        different = list({trial.fingerprint: trial for trial in trials}.values())
        plan = make_plan(_known(snapshot.spec, different, apart))
        with view.training(plan, apart, lease.session, retry_failed=False):
            queue = TrialQueue(different, apart, lease.session, {}, [view])
            with graceful_stop(queue, lease, interrupted, view):
                executor(queue)
    ended = _known(snapshot.spec, trials, apart).trials
    untried = [variant.label for variant in snapshot.spec.unknown]
    return SmokeTest(apart, ended, untried, interrupted.is_set())


def _known(spec: SweepSpec, trials: Sequence[TrialSpec], store: Store) -> Snapshot:
    return Snapshot(spec, tuple(KnownTrial(trial, store.record(trial)) for trial in trials))


def _for_a_moment(trial: TrialSpec, limit: float | None) -> TrialSpec:
    """The trial with two epochs, as another training: its result is nobody's."""
    if trial.resources.nodes > 1:
        raise UsageError(f"--smoke trains on one node; {trial.name} asks for several")
    limits = [seconds for seconds in (limit, trial.resources.time_limit) if seconds is not None]
    return replace(
        trial,
        config=_shortest(trial.config),
        fingerprint=sha256(f"smoke {trial.fingerprint}".encode()).hexdigest(),
        resources=replace(trial.resources, time_limit=min(limits, default=None)),
        pruning=None,
        moment=MOMENT_SECONDS,
    )


def _shortest(config: Any) -> Any:
    """The settings with two epochs, where they say how many and allow two."""
    settings = config.model_dump()
    train = settings["train"]
    for place in (train, train.get("options") or {}):
        for name in ("epochs", "iterations"):
            if isinstance(place.get(name), int):
                place[name] = min(place[name], _EPOCHS)
    with suppress(ValidationError, ValueError):
        return type(config).model_validate(settings)
    return config
