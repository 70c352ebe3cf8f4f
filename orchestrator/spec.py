"""From the text of a spec to a checked `SweepSpec`; every error names its line and column, and all come at once."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from illama.config import ForeignData, ForeignModel
from illama.imports import import_from, sources
from orchestrator.designs import SkippedCell, variants_of
from orchestrator.document import Location, read_document
from orchestrator.messages import add_validation_problems
from orchestrator.schema import SweepSchema
from orchestrator.trial import Variant


@dataclass(frozen=True)
class SweepSpec:
    """A checked spec."""

    path: Path
    content: bytes
    """The file, byte for byte."""
    schema: SweepSchema
    variants: tuple[Variant, ...]
    """In the order of the road, the baseline first, and behind it the cells of other designs; for each regime."""
    skipped: tuple[SkippedCell, ...] = ()
    """Cells of the designs that make no sense, and why."""
    code: Mapping[str, bytes] = field(default_factory=dict)
    """The modules beside the spec that its models and data are made by, by their paths from there."""

    @property
    def name(self) -> str:
        """The sweep's."""
        return self.schema.name


def load_spec(path: Path) -> SweepSpec:
    """Read and check a spec. Functions that it names are imported from its folder, and run.

    Raises `SpecError` with everything that is wrong with the file, each problem at its line and column.
    """
    document = read_document(path)
    import_from(path.parent)
    value, schema = document.value, None
    while schema is None:
        try:
            schema = SweepSchema.model_validate(value)
        except ValidationError as error:
            add_validation_problems(document, error, SweepSchema, lambda location: location)
            value = _without_errors(value, error)
    variants, skipped = variants_of(schema, document)
    document.raise_problems()
    return SweepSpec(path, document.content, schema, tuple(variants), tuple(skipped), _code_of(variants, path.parent))


def _code_of(variants: Iterable[Variant], folder: Path) -> dict[str, bytes]:
    parts = (part for variant in variants for part in (variant.config.model, variant.config.data))
    functions = {part.function for part in parts if isinstance(part, ForeignModel | ForeignData)}
    return {file: source for function in sorted(functions) for file, source in sources(function, folder).items()}


_EMPTIED: tuple[tuple[str, Any], ...] = (("seeds", []), ("design", []))
_PLACEHOLDERS = {"name": "placeholder", "seeds": [0], "baseline": {}}


def _without_errors(value: Any, error: ValidationError) -> dict[str, Any]:
    """What is left of a spec when its wrong parts are taken out, so that the rest is checked in the same breath."""
    if not isinstance(value, dict):
        return dict(_PLACEHOLDERS)
    value = deepcopy(value)
    culprits = {_culprit(part["loc"], part["type"]) for part in error.errors()}
    for location in culprits:
        if not any(location[:end] in culprits for end in range(1, len(location))):
            _take_out(value, location)
    return {**_PLACEHOLDERS, **{key: part for key, part in value.items() if (key, part) not in _EMPTIED}}


def _culprit(location: Location, kind: str) -> Location:
    """What has to go for an error to go: the value itself, or whatever lacks a key."""
    location = tuple(part for part in location if part != "[key]")
    lacks_a_key = kind == "missing" and len(location) > 1 and location[0] != "steps"
    return location[:-1] if lacks_a_key else location


def _take_out(value: dict[str, Any], location: Location) -> None:
    """Remove one value. A step stays in its place, emptied, so that the places of the steps behind it stay right."""
    match location:
        case ("steps", int() as index):
            value["steps"][index] = {"name": f"placeholder-{index}", "change": {}}
        case ("steps", int() as index, "name"):
            value["steps"][index]["name"] = f"placeholder-{index}"
        case ("steps", int() as index, "change"):
            value["steps"][index]["change"] = {}
        case ("seeds", str(), *_):
            value["seeds"] = [0]
        case _:
            parent: Any = value
            for key in location[:-1]:
                parent = parent[key] if _has(parent, key) else None
            if isinstance(parent, list):
                parent[:] = []  # of seeds: one wrong seed says nothing about the rest of the file
            elif _has(parent, location[-1]):
                del parent[location[-1]]
                if location[0] == "steps" and isinstance(parent, dict) and len(location) == 3:
                    parent.setdefault("change", {})  # whatever the wrong key meant, a missing change is not a second mistake
            elif len(location) > 1:  # a key that is missing, or a place in what a short form stands for
                _take_out(value, location[:-1])


def _has(parent: Any, key: str | int) -> bool:
    if isinstance(parent, list):
        return isinstance(key, int) and key < len(parent)
    return isinstance(parent, dict) and key in parent
