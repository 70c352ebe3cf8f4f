"""Places of a searched setting's values on an axis."""

import math
from collections.abc import Sequence
from typing import Any

from orchestrator.spec.search_schema import SpaceSchema


class Places:
    """Values of one setting from left to right: choices side by side, numbers by their size or its
    logarithm.
    """

    def __init__(self, space: SpaceSchema) -> None:
        self._space = space

    @property
    def labelled(self) -> Sequence[Any]:
        """The values to name below the axis."""
        if self._space.choices is not None:
            return self._space.choices
        low, high = self._number(self._space.low), self._number(self._space.high)
        middle = (low + high) / 2
        return [
            self._space.low,
            float(f"{math.exp(middle) if self._space.log else middle:.2g}"),
            self._space.high,
        ]

    def share(self, value: Any) -> float:
        """Place between 0 and 1."""
        if self._space.choices is not None:
            return (self._space.choices.index(value) + 0.5) / len(self._space.choices)
        low, high = self._number(self._space.low), self._number(self._space.high)
        return 0.06 + 0.88 * (self._number(value) - low) / (high - low)

    def _number(self, value: Any) -> float:
        return math.log(value) if self._space.log else float(value)
