"""Does a step do the same in every regime? The difference of its effects, described and not
tested.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.analysis.decimals import decimals_of_effect
from orchestrator.analysis.rows import StepRow
from orchestrator.stats.comparison import effect_between
from orchestrator.stats.inference import CONFIDENCE, Effect


@dataclass(frozen=True)
class RegimeDifference:
    """Effect of a step in one regime minus its effect in another."""

    step: str
    regime: str
    versus_regime: str
    effect: Effect
    decimals: int

    def to_json(self) -> dict[str, Any]:
        """The form in `report --format json`."""
        return {
            "step": self.step,
            "regime": self.regime,
            "versus_regime": self.versus_regime,
            "mean": self.effect.mean,
            "ci95": self.effect.ci95,
        }


def differences_between_regimes(
    rows: Sequence[StepRow], looks: Sequence[int] = ()
) -> list[RegimeDifference]:
    """Each step's effect in every further regime against the first one.

    Left out where a step is compared with different steps in the two, where trials did not all
    train alike, and where seeds changed nothing.
    """
    by_place = {(row.variant.regime, row.variant.name): row for row in rows}
    first, *others = dict.fromkeys(row.variant.regime for row in rows) or [""]
    found = []
    for regime in others:
        for row in rows:
            name = row.variant.name
            one, other = by_place.get((regime, name)), by_place.get((first, name))
            if row.variant.regime != first or one is None or other is None:
                continue
            effect = difference_of_effects(
                (one, _ground(one, by_place)), (other, _ground(other, by_place)), looks
            )
            if effect:
                decimals = decimals_of_effect(effect, row.usual_decimals)
                found.append(RegimeDifference(name, regime, first, effect, decimals))
    return found


Step = tuple[StepRow, StepRow | None]
"""A row and what it is compared with."""


def difference_of_effects(one: Step, other: Step, looks: Sequence[int] = ()) -> Effect | None:
    """Effect of a step here minus its effect there, by seed; none where they are not comparable."""
    (row, ground), (other_row, other_ground) = one, other
    if ground is None or other_ground is None or ground.variant.name != other_ground.variant.name:
        return None
    parts = (row, ground, other_row, other_ground)
    if not all(part.is_uniform and not part.are_copies for part in parts):
        return None
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(looks))
    return effect_between(
        _by_seed(row, ground), _by_seed(other_row, other_ground), row.metric.test, confidence
    )


def _by_seed(row: StepRow, ground: StepRow) -> Mapping[int, float]:
    shared = row.values.keys() & ground.values.keys()
    return {seed: row.values[seed] - ground.values[seed] for seed in shared}


def _ground(row: StepRow, by_place: Mapping[tuple[str, str], StepRow]) -> StepRow | None:
    return by_place.get((row.variant.regime, row.versus))
