"""The spec held against the store at one moment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from orchestrator.outcomes import State
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import KnownTrial, TrialSpec, Variant

ABSENT = "data-absent"
"""Code of the warning that images cannot be read here."""


@dataclass(frozen=True)
class Snapshot:
    """Every trial that a sweep asks for by now, and what became of it."""

    spec: SweepSpec
    """The spec with what its searches have found."""
    trials: tuple[KnownTrial, ...]
    """All trials of the sweep, in the order of the road."""
    later: tuple[TrialSpec, ...] = ()
    """Trials that will follow once results are there; names and costs, no identity."""
    absent: tuple[str, ...] = ()
    """Reasons why images cannot be read here, one for each data set: the fingerprints of such
    trials are provisional."""

    @property
    def specs(self) -> list[TrialSpec]:
        """The trials without what became of them."""
        return [known.spec for known in self.trials]

    @property
    def reported(self) -> list[KnownTrial]:
        """Trials that the report is made of: all but those of searches."""
        return [known for known in self.trials if not known.spec.is_of_search]

    @cached_property
    def by_variant(self) -> Mapping[str, tuple[KnownTrial, ...]]:
        """Trials by the label of their variant; those of a search by its points'."""
        found: dict[str, list[KnownTrial]] = {}
        for known in self.trials:
            found.setdefault(known.spec.variant_label, []).append(known)
        return {label: tuple(trials) for label, trials in found.items()}

    def of(self, variant: Variant) -> tuple[KnownTrial, ...]:
        """The trials of a variant; empty before it is known."""
        return self.by_variant.get(variant.label, ())


def with_shared_failures(trials: Iterable[KnownTrial]) -> tuple[KnownTrial, ...]:
    """The trials in their order; those that share a training which failed have its record.

    Of trials that are the same training the first one is trained. Where it failed, nothing will
    come of the others until it is tried again.
    """
    trained: dict[str, KnownTrial] = {}
    result = []
    for known in trials:
        first = trained.setdefault(known.spec.fingerprint, known)
        if known.record.state is State.PENDING and first.record.state is State.FAILED:
            known = replace(known, record=first.record)
        result.append(known)
    return tuple(result)
