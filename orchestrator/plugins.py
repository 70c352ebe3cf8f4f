"""Objects that are asked for by name: ours from a table, and others' from entry points of installed
packages.

A table has `module:object` by name, spelled as an entry point, and imports nothing until somebody
asks. Another package adds a name of its own, as it would to submitit or pytest:

    [project.entry-points."orchestrator.executors"]
    slurm = "my_package.slurm:SLURM"
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from orchestrator.errors import UsageError, did_you_mean_one_of

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Registry(Generic[Kind]):
    """Everything of one kind that can be asked for by name."""

    what: str
    """The kind, as people call it."""
    kind: type[Kind]
    """Class that each object has to be of."""
    built_in: Mapping[str, str]
    """`module:object` by name; one line adds one."""
    group: str
    """Entry points group that other packages add to. Names of ours are not replaced."""

    def places(self) -> dict[str, str]:
        """`module:object` of all that there are, by name."""
        others = {point.name: point.value for point in entry_points(group=self.group)}
        return {**others, **self.built_in}

    def get(self, name: str) -> Kind:
        """The object of that name. Raises `UsageError` where there is none, or where it cannot be
        used.
        """
        place = self.built_in.get(name) or self.places().get(name)
        if place is None:
            known = did_you_mean_one_of(name, [*self.places()])
            raise UsageError(f"there is no {self.what} '{name}'{known}")
        module, _, attribute = place.partition(":")
        try:
            found = getattr(import_module(module), attribute, None)
        except ImportError as error:
            raise UsageError(
                f"{self.what} {name} cannot be imported: {error}; install what it needs, or use "
                f"another one: {', '.join(sorted(self.places().keys() - {name}))}"
            ) from error
        if not isinstance(found, self.kind):
            raise UsageError(f"{self.what} {name}: {place} is not of type {self.kind.__name__}")
        return found
