"""The designs other than the roadmap: which steps stand together in which cell. Pure."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from illama.config import AnyConfig
from orchestrator.spec.changes import same_science
from orchestrator.spec.fractions import FRACTIONS, cells_of
from orchestrator.spec.schema import DesignSchema

CELLS_LIMIT = 256
"""More cells than this are asked for by mistake."""
_DRAWS = 300
"""How often a new order is looked for before there are taken to be no more."""

Attempt = Callable[[Sequence[str]], AnyConfig | str]
"""The settings of the steps taken in that order, or why they make no sense."""


@dataclass(frozen=True)
class Cell:
    """Steps that are taken together, in order."""

    design: str
    name: str
    steps: tuple[str, ...]
    follows: str
    """The variant that it is held against."""
    left_out: str = ""
    """Of `leave_one_out`: the step that it lacks."""
    last_alone: bool = False
    """It differs from what it follows by its last step alone."""

    @property
    def shown(self) -> tuple[str, ...]:
        """The steps whose changes it makes to what it follows."""
        return self.steps[-1:] if self.last_alone else self.steps


def cells_of_design(
    design: DesignSchema, steps: Sequence[str], full: str, attempt: Attempt
) -> list[Cell]:
    """The cells that a design asks for, whether they make sense or not.

    `full` is the variant with every step. Raises `ValueError` with a message for the user where the design asks for too much.
    """
    match design.name:
        case "one_factor":
            return [
                Cell("one_factor", f"only.{name}", (name,), "baseline", last_alone=True)
                for name in steps
            ]
        case "leave_one_out":
            rests = {name: tuple(other for other in steps if other != name) for name in steps}
            return [
                Cell("leave_one_out", f"without.{name}", rest, full, left_out=name)
                for name, rest in rests.items()
            ]
        case "factorial":
            return list(_factorial(design, steps))
        case _:
            return list(_orders(design, steps, attempt))


def _factorial(design: DesignSchema, steps: Sequence[str]) -> Iterator[Cell]:
    """Named by a digit for each step, in the order of the road."""
    if unknown := [name for name in design.steps if name not in steps]:
        raise ValueError(f"factorial: there is no step '{unknown[0]}'; allowed: {', '.join(steps)}")
    factors = [name for name in steps if name in design.steps] if design.steps else list(steps)
    halvings = FRACTIONS[design.fraction]
    if 2 ** (len(factors) - halvings) > CELLS_LIMIT:
        count = 2 ** (len(factors) - halvings)
        raise ValueError(
            f"factorial of {len(factors)} steps has {count} cells, more than {CELLS_LIMIT}; "
            "name fewer with 'steps', or a 'fraction'"
        )
    combinations, _ = cells_of(len(factors), halvings)
    for levels in combinations:
        taken = tuple(name for name, is_on in zip(factors, levels, strict=True) if is_on)
        yield Cell(
            "factorial", "factorial." + "".join("01"[is_on] for is_on in levels), taken, "baseline"
        )


def _orders(design: DesignSchema, steps: Sequence[str], attempt: Attempt) -> Iterator[Cell]:
    """Orders that differ from the road and from each other, every place of which makes sense."""
    generator = random.Random(design.seed)
    seen = {tuple(steps)}
    for _ in range(_DRAWS):
        order = _drawn_order(steps, attempt, generator)
        if order is None or order in seen:
            continue
        seen.add(order)
        number, follows = len(seen) - 1, "baseline"
        for place in range(1, len(order) + 1):
            name = f"order{number}.{order[place - 1]}"
            yield Cell("orders", name, order[:place], follows, last_alone=True)
            follows = name
        if number == design.count:
            return


def _drawn_order(
    steps: Sequence[str], attempt: Attempt, generator: random.Random
) -> tuple[str, ...] | None:
    """Take the next step at random among those that make sense and change something there; none where that leads nowhere."""
    order: tuple[str, ...] = ()
    config = attempt(order)
    while len(order) < len(steps):
        left = [name for name in steps if name not in order]
        generator.shuffle(left)
        for name in left:
            after = attempt((*order, name))
            if (
                not isinstance(after, str)
                and not isinstance(config, str)
                and not same_science(after, config)
            ):
                order, config = (*order, name), after
                break
        else:
            return None
    return order
