"""Metrics that a search goes by beside the sweep's own, and the combinations that none beats in all
of them. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import model_validator

from illama.config import Settings
from orchestrator.metrics import METRICS, Mode, sign_of

SIZES: Mapping[str, Mode] = {"params": "min", "flops": "min"}
"""Sizes of a network, which are known before it is trained, and their better direction."""


class Goal(Settings):
    """One metric of a search, and the direction that is better."""

    name: str
    """The metric's name, or `params` or `flops`."""
    mode: Mode
    """The direction that is better; known of `params`, `flops` and what our trainings record."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or "name" not in value:
            return value
        name = str(value["name"])
        mode = known_mode(name)
        if mode:
            return {"mode": mode, **value}
        if "mode" not in value:
            raise ValueError(
                f"it is unknown which direction of {name} is better: write {{name: {name}, mode: "
                f"min}} or mode: max"
            )
        return value

    @model_validator(mode="after")
    def _direction(self) -> Self:
        if known_mode(self.name) not in (None, self.mode):
            raise ValueError(f"mode {self.mode} would call a worse {self.name} an improvement")
        return self

    def gain(self, value: float) -> float:
        """The value, or its negative: larger is better."""
        return sign_of(self.mode) * value


def known_mode(name: str) -> Mode | None:
    """The better direction of a metric that is ours; none of another."""
    if name in METRICS:
        return METRICS[name].mode
    return SIZES.get(name)


def on_the_front(gains: Sequence[Sequence[float]]) -> list[int]:
    """Indices of what nothing beats: nothing is as good in all and better in one. Larger is better.

    This is the Pareto set, as `optuna.study.Study.best_trials` has it.
    """
    return [
        index for index, own in enumerate(gains) if not any(_beats(other, own) for other in gains)
    ]


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
