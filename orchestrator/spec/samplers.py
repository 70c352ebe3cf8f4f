"""Samplers: how a search chooses what it tries next, by Optuna's names. One entry of `SAMPLERS`
adds one.

An entry is data alone; `orchestrator.planning.suggest` makes Optuna's sampler of it. A sampler is
made anew for each generation and told all results so far, so an entry must be one that needs
nothing else to go on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from illama.spelling import did_you_mean

FIRST_AT_RANDOM = 4
"""Results that a model begins with; Optuna's own 10 are most of a search that trains networks."""


@dataclass(frozen=True)
class Sampler:
    """One way to choose the next combinations."""

    optuna: str = ""
    """Class in `optuna.samplers`; empty where no model is asked: all points are drawn at random."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the class besides its seed."""
    begins_with: int = 0
    """Results before which points are drawn at random."""
    tries_all: bool = False
    """Every combination is tried, so that nothing is chosen."""
    is_sequence: bool = False
    """Points follow from the space alone, one after the other, whatever the results."""
    starts_from_results: bool = False
    """Results are handed over as `source_trials`, for a sampler that keeps its state in the trials
    that it suggested itself.
    """
    needs: str = ""
    """Package to install beside ours."""
    fewest_numbers: int = 0
    """Settings with two ends that a space must have; choices are drawn at random by such a sampler.
    """
    is_plain: bool = False
    """True if it models one metric over one fixed set of settings: neither `metric` nor `when`."""
    options_by_choice: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments where settings are searched depending on others' choices."""


SAMPLERS: dict[str, Sampler] = {
    "tpe": Sampler(
        "TPESampler",
        {"n_startup_trials": FIRST_AT_RANDOM, "constant_liar": True},
        begins_with=FIRST_AT_RANDOM,
        options_by_choice={"multivariate": True, "group": True},
    ),
    "random": Sampler(),
    "grid": Sampler(tries_all=True),
    "gp": Sampler("GPSampler", {"n_startup_trials": 1}, begins_with=FIRST_AT_RANDOM),
    "qmc": Sampler("QMCSampler", {"scramble": True}, is_sequence=True),
    "cmaes": Sampler(
        "CmaEsSampler",
        {"warn_independent_sampling": False},
        begins_with=10,  # of the best tenth it makes the distribution that it draws from
        starts_from_results=True,
        needs="cmaes",
        fewest_numbers=2,
        is_plain=True,
    ),
}
"""The samplers, by their names in a spec."""


def check_sampler(name: str) -> str:
    """The name of a sampler that is there. Raises `ValueError`, with those that are, or with the
    package that it needs.
    """
    if name not in SAMPLERS:
        there_are = f"allowed: {', '.join(SAMPLERS)}"
        raise ValueError(
            f"there is no sampler '{name}'; {there_are}{did_you_mean(name, [*SAMPLERS])}"
        )
    package = SAMPLERS[name].needs
    if package and find_spec(package) is None:
        raise ValueError(
            f"sampler {name} needs a package that is not installed: pip install {package}"
        )
    return name
