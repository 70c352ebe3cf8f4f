"""Orders: the road's steps in other orders."""

from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random
from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt

from orchestrator.errors import counted
from orchestrator.spec.designs.base import BASELINE, Design, Ground, PlannedCell
from orchestrator.spec.latin_squares import Order, most_balanced, squares
from orchestrator.trial import Cell, Place

_DRAWS = 300
"""Number of tries for a new order before there are taken to be no more."""
_POOL = 40
"""Orders that are drawn to choose from. Fixed, so that asking for more keeps the first ones."""


class Orders(Design):
    """The road in other orders, every place of which makes sense."""

    count: Annotated[PositiveInt, Field(le=1000)] = 3
    """Number of orders beside the road's; `{orders: 3}` for short."""
    seed: int = Field(default=0, ge=0)
    """The seed that chooses which orders are taken."""
    balanced: bool = True
    """True if steps are spread evenly over the places, and over which comes before which."""

    title: ClassVar[str] = "The road in other orders"
    explanation: ClassVar[str] = (
        "Main effect: the step's effect averaged over its places in the orders. Interaction: how "
        "much each step's effect grows when the other is present, as far as these orders can tell "
        "and if three-step interactions are zero. The intervals hold for these orders only and say "
        "nothing about other orders."
    )
    names: ClassVar[str | None] = r"order\d+\."
    short_option: ClassVar[str | None] = "count"

    def averages(self, steps: int) -> int:
        """An effect for each step and an interaction for each two of them."""
        return steps * (steps + 1) // 2

    def cells(self, ground: Ground) -> list[PlannedCell]:
        """A cell for each place of each order."""
        cells: list[PlannedCell] = []
        for number, order in enumerate(self._orders(ground), start=1):
            follows = BASELINE
            for position, step in enumerate(order, start=1):
                name = f"order{number}.{step}"
                cell = Cell(order[:position], place=Place(number, position))
                cells.append(PlannedCell(self.name, name, cell, follows, step, adds_one=True))
                follows = name
        return cells

    def shortfall(self, cells: Sequence[PlannedCell]) -> tuple[str, str] | None:
        """The orders that were asked for and not found."""
        found = {cell.cell.place.order for cell in cells if cell.cell.place}
        if len(found) >= self.count:
            return None
        first, last = len(found) + 1, self.count
        name = f"order{first}" if first == last else f"order{first} to order{last}"
        return (
            name,
            f"only {counted(len(found), 'other order')} could be found that the steps allow",
        )

    def _orders(self, ground: Ground) -> list[Order]:
        if self.balanced:
            return self._balanced(ground)
        return list(islice(_drawn(ground, Random(self.seed)), self.count))

    def _balanced(self, ground: Ground) -> list[Order]:
        """Rows of Latin squares where all orders make sense, and otherwise the most balanced draws.

        The road is the first row of the first square. Where the sweep does not train it, it is the
        first of these orders.
        """
        if len(ground.steps) < 2:
            return []
        road = ground.steps
        chosen: list[Order] = []
        if ground.has_road or _makes_sense(road, ground):
            chosen.append(road)
        wanted = self.count + ground.has_road
        for block in _blocks(ground, Random(self.seed), max(_POOL, self.count)):
            rest = [order for order in block if order not in chosen]
            while rest and len(chosen) < wanted:
                best = most_balanced(rest, chosen)
                chosen.append(best)
                rest.remove(best)
            if len(chosen) == wanted:
                break
        return chosen[ground.has_road :]


def _blocks(ground: Ground, generator: Random, pool: int) -> Iterator[list[Order]]:
    """Orders to choose from: squares as long as all of their rows make sense, then draws."""
    for block in islice(squares(ground.steps, generator), _DRAWS):
        if not all(_makes_sense(order, ground) for order in block):
            break
        yield block
    yield list(islice(_drawn(ground, generator), pool))


def _makes_sense(order: Order, ground: Ground) -> bool:
    return all(ground.is_step(order[:end]) for end in range(1, len(order) + 1))


def _drawn(ground: Ground, generator: Random) -> Iterator[Order]:
    """Orders that differ from the road and from each other."""
    seen = {ground.steps}
    for _ in range(_DRAWS):
        order = _drawn_order(ground, generator)
        if order is not None and order not in seen:
            seen.add(order)
            yield order


def _drawn_order(ground: Ground, generator: Random) -> Order | None:
    """An order whose steps are drawn from those that make sense; None where that leads nowhere."""
    order: Order = ()
    while len(order) < len(ground.steps):
        left = [step for step in ground.steps if step not in order]
        generator.shuffle(left)
        following = next((step for step in left if ground.is_step((*order, step))), None)
        if following is None:
            return None
        order = (*order, following)
    return order
