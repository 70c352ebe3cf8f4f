"""A search as a study of Optuna, with the settings as a spec writes them: for Optuna's evaluators
of importance, and for the tools that open its storage.

What a search tries next is not suggested from here (`orchestrator.planning.suggest`).
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from statistics import fmean
from typing import Any

from orchestrator.planning.suggest import distribution_of
from orchestrator.spec.domains import Choices, Domain
from orchestrator.spec.search_space import Search, Tried, Values

FEWEST = 16
"""Combinations that finished, below which importance is not worked out. Of a setting that does all
next to one that does nothing, fANOVA says 0.80 to 0.97 from 16 random combinations, and from 8 as
little as 0.49.
"""
_DIRECTIONS = {"max": "MAXIMIZE", "min": "MINIMIZE"}
_FIRST = "the first metric"
_PLAIN = (type(None), bool, int, float, str)
"""Kinds of choices that Optuna takes as they are."""


@dataclass(frozen=True)
class Study:
    """One search as Optuna has it."""

    name: str
    goals: Mapping[str, str]
    """The metrics that the search goes by, and which direction of each is better: `max` or
    `min`.
    """
    search: Search
    times: Sequence[tuple[float, float]] = ()
    """Start and end of each combination that has ended, in seconds since 1970."""


def importances(search: Search) -> dict[str, float]:
    """The share of the metric's variance over the space that each setting explains, largest first:
    Optuna's fANOVA (Hutter, Hoos and Leyton-Brown 2014) over the combinations that finished.

    Settings that some combinations do not have are left out. Empty with one setting, with fewer
    than `FEWEST` such combinations, or where all came to the same.
    """
    reached = [point.mean for point in search.tried if point.mean is not None]
    if len(search.schema.space) < 2 or len(reached) < FEWEST or len(set(reached)) < 2:
        return {}
    return dict(_importances(_Kept(search)))


class _Kept:
    """A search as a key: equal where what was tried and reached is."""

    def __init__(self, search: Search) -> None:
        self.search = search
        points = [[dict(one.values), one.mean] for one in search.tried]
        space = {key: one.model_dump() for key, one in search.schema.space.items()}
        self._key = json.dumps([space, points], sort_keys=True, default=str)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kept) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@lru_cache(64)
def _importances(kept: _Kept) -> Mapping[str, float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    goals = {_FIRST: "min"}
    points = [
        replace(one, means={_FIRST: one.mean}) for one in kept.search.tried if one.mean is not None
    ]
    study.add_trials(frozen_trials(Study("", goals, replace(kept.search, tried=points))))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    shares = {key: float(share) for key, share in found.items()}
    if len(shares) < 2:
        return {}
    return shares


def add_study(storage: Any, study: Study) -> None:
    """Put the study with its trials into a storage of Optuna's."""
    import optuna

    directions = [optuna.study.StudyDirection[_DIRECTIONS[mode]] for mode in study.goals.values()]
    made = optuna.create_study(storage=storage, study_name=study.name, directions=directions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made.set_metric_names(list(study.goals))
    made.add_trials(frozen_trials(study))
    made.set_user_attr("seeds", study.search.schema.seeds)
    if study.search.chosen:
        ended = [point for point in study.search.tried if point.has_ended]
        made.set_user_attr("chosen trial", ended.index(study.search.chosen))


def frozen_trials(study: Study) -> list[Any]:
    """The combinations that have ended, as Optuna's trials, in order."""
    import optuna

    ended = [point for point in study.search.tried if point.has_ended]
    spaces = {key: _distribution(domain) for key, domain in study.search.domains.items()}
    times = study.times or [(0.0, 0.0)] * len(ended)
    frozen = []
    for number, (point, (start, end)) in enumerate(zip(ended, times, strict=True)):
        state, curve = _end(point)
        frozen.append(
            optuna.trial.FrozenTrial(
                number=number,
                state=state,
                value=None,
                values=[point.means[name] for name in study.goals] if point.means else None,
                datetime_start=datetime.fromtimestamp(start),
                datetime_complete=datetime.fromtimestamp(end),
                params=_params(study.search, point.values),
                distributions={key: spaces[key] for key in point.values if key in spaces},
                user_attrs={
                    "outcome": point.outcome,
                    "trials": [trial.name for trial in point.trials],
                    "seconds of training": round(point.seconds, 3),
                },
                system_attrs={},
                intermediate_values=curve,
                trial_id=number,
            )
        )
    return frozen


def _end(point: Tried) -> tuple[Any, dict[int, float]]:
    """Optuna's word for how a combination ended, and the mean curve over its seeds."""
    from optuna.trial import TrialState

    state = TrialState.FAIL
    if point.pruned_at is not None:
        state = TrialState.PRUNED
    if point.means:
        state = TrialState.COMPLETE
    return state, _mean_curve(point)


def _mean_curve(point: Tried) -> dict[int, float]:
    """The metric by epoch, of the epochs that every seed has; only where the search prunes."""
    curves = list(point.curves.values())
    if not curves:
        return {}
    shared = sorted(set(curves[0]).intersection(*curves[1:]))
    if point.pruned_at is not None:
        shared = [epoch for epoch in shared if epoch <= point.pruned_at]
    return {epoch: fmean(curve[epoch] for curve in curves) for epoch in shared}


def _params(search: Search, values: Values) -> dict[str, Any]:
    return {key: _label(value) for key, value in values.items() if key in search.schema.space}


def _distribution(domain: Domain) -> Any:
    from optuna import distributions as kinds

    if isinstance(domain, Choices):
        return kinds.CategoricalDistribution([_label(choice) for choice in domain.values])
    return distribution_of(domain)


def _label(value: Any) -> Any:
    """A choice as Optuna takes it: lists and mappings as JSON."""
    if isinstance(value, _PLAIN):
        return value
    return json.dumps(value)
