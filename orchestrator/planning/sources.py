"""Sources of trials: what results ask for, whichever way.

The seeds of the spec ask for all their trials at once, searches for a generation after another, and
seeds that are added as needed for more where a step is not decided. A further source is one class
here and one line in `sources_of`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.planning.adaptive import more_seeds
from orchestrator.planning.lookup import Lookup
from orchestrator.planning.search import Suggestions, with_searches
from orchestrator.planning.trials import (
    Asked,
    Choice,
    later_points,
    later_seeds,
    search_trials,
    seed_trials,
)
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import TrialSpec


@dataclass(frozen=True)
class TrialSource(ABC):
    """One way in which results ask for trials."""

    choice: Choice
    """Part of the sweep that is asked for."""

    waits_for_whole_results = False
    """True if it asks only when nothing runs: open results would change what it asks for."""

    @classmethod
    def grows(cls, spec: SweepSpec) -> bool:
        """True if results of this sweep can make it ask for more."""
        return False

    def settled(self, spec: SweepSpec, lookup: Lookup) -> SweepSpec:
        """The spec as far as results settle it."""
        return spec

    @abstractmethod
    def wanted(self, spec: SweepSpec, lookup: Lookup) -> Asked:
        """Trials that are asked for by now, of the settled spec, ended ones too."""

    def expected(self, spec: SweepSpec) -> list[TrialSpec]:
        """Trials that will be asked for, as far as that is known: names and costs, no identity."""
        return []


@dataclass(frozen=True)
class Searches(TrialSource):
    """Searches inside steps: what they try now, and what they have found."""

    suggestions: Suggestions

    @classmethod
    def grows(cls, spec: SweepSpec) -> bool:
        """True if the spec has searches."""
        return bool(spec.searches)

    def settled(self, spec: SweepSpec, lookup: Lookup) -> SweepSpec:
        """The spec with what searches have found."""
        if not spec.searches:
            return spec
        return with_searches(spec, lookup, self.suggestions)

    def wanted(self, spec: SweepSpec, lookup: Lookup) -> Asked:
        """Points of every search that have been suggested."""
        return search_trials(spec, self.choice)

    def expected(self, spec: SweepSpec) -> list[TrialSpec]:
        """Points that are still to be suggested."""
        return later_points(spec, self.choice)


class FixedSeeds(TrialSource):
    """The seeds that the spec names, of every variant that is known."""

    def wanted(self, spec: SweepSpec, lookup: Lookup) -> Asked:
        """Every known variant with every seed."""
        return seed_trials(spec, self.choice, lookup.digest)

    def expected(self, spec: SweepSpec) -> list[TrialSpec]:
        """The seeds of variants that wait for a search."""
        return later_seeds(spec, self.choice)


@dataclass(frozen=True)
class AdaptiveSeeds(TrialSource):
    """Seeds that are added where a step is not decided yet."""

    looks_before: int
    """Looks that other declarations of seeds took; each is paid for."""

    waits_for_whole_results = True  # p-values are corrected for each other

    @classmethod
    def grows(cls, spec: SweepSpec) -> bool:
        """True if the spec has seeds added as needed."""
        return spec.schema.adaptive is not None

    def wanted(self, spec: SweepSpec, lookup: Lookup) -> Asked:
        """The seeds beyond the first ones, of the variants that need them."""
        more = more_seeds(spec, lookup, self.looks_before)
        return seed_trials(spec, self.choice, lookup.digest, more)


SOURCES: Sequence[type[TrialSource]] = (Searches, FixedSeeds, AdaptiveSeeds)
"""All of them, in the order in which a variant's trials are listed."""


def sources_of(
    choice: Choice, suggestions: Suggestions, looks_before: int
) -> tuple[TrialSource, ...]:
    """The sources of a sweep's trials."""
    return (
        Searches(choice, suggestions),
        FixedSeeds(choice),
        AdaptiveSeeds(choice, looks_before),
    )


def grows(spec: SweepSpec) -> bool:
    """True if results can ask for trials that the sweep did not have at first."""
    return any(source.grows(spec) for source in SOURCES)


def asks_while_running(spec: SweepSpec) -> bool:
    """True if all of its sources may be asked while trials run."""
    return not any(source.waits_for_whole_results for source in SOURCES if source.grows(spec))
