"""Seeds that a report shares with the search by which its settings may have been chosen."""

from collections.abc import Sequence

from orchestrator.spec.warnings import SpecWarning
from orchestrator.store.store import Store
from orchestrator.trial import TrialSpec, is_search_point


def chosen_by_the_same_seeds(trials: Sequence[TrialSpec], store: Store) -> list[SpecWarning]:
    """A warning where trials of the report have been trials of a search, anywhere in the store."""
    shared = {
        trial.name: searched
        for trial in trials
        if not trial.is_of_search and (searched := _searched_as(trial, store))
    }
    if not shared:
        return []
    name, searched = next(iter(shared.items()))
    more = ""
    if len(shared) > 1:
        more = f", and so are {len(shared) - 1} more"
    message = (
        f"trial {name} is also a trial of a search ({searched[0]}){more}: if its settings were "
        "chosen there, their result with the same seed is optimistic; use seeds in the report that "
        "no search has used"
    )
    seeds = sorted({trial.seed for trial in trials if not trial.is_of_search})
    fresh = list(range(max(seeds) + 1, max(seeds) + 1 + len(seeds)))
    return [SpecWarning("seeds-chosen-by", message, 0, f"seeds: {fresh}")]


def _searched_as(trial: TrialSpec, store: Store) -> list[str]:
    """Trials of searches, in any sweep, that are the same training: `sweep/variant@3-seed0`."""
    return [
        f"{twin.sweep}/{twin.name}"
        for twin in store.same_training_as(trial)
        if is_search_point(twin.variant)
    ]
