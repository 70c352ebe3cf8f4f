"""From the steps of a spec to the variants that are trained: the roadmap and the other designs, in every regime and recipe."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from illama.config import Config, ForeignData, ForeignModel
from orchestrator.cells import Attempt, Cell, cells_of_design
from orchestrator.changes import Changer, GroupSettings, same_science, tried
from orchestrator.document import Document, Location
from orchestrator.errors import did_you_mean_one_of
from orchestrator.relations import check_spec, reason_against
from orchestrator.schema import ResourcesSchema, SideSchema, StepSchema, SweepSchema
from orchestrator.trial import Resources, Variant

BASELINE = "baseline"
ALL_STEPS = "all_steps"
"""The variant with every step, where no roadmap ends in it."""


@dataclass(frozen=True)
class SkippedCell:
    """A cell of a design that is not trained."""

    design: str
    regime: str
    name: str
    reason: str


def variants_of(schema: SweepSchema, document: Document) -> tuple[list[Variant], list[SkippedCell]]:
    """The variants of every design in every regime: the baseline, the road, then the other designs' cells.

    Everything that is wrong with a change is noted as a problem of the document: a setting that does not exist, a value that it
    cannot take, settings that do not fit together, a step that changes nothing.
    """
    check_spec(schema, document, BASELINE)
    variants: list[Variant] = []
    skipped: list[SkippedCell] = []
    if document.has(("baseline",)):  # otherwise noted already
        for parts in product(schema.regimes or [""], schema.recipes or [""]):
            regime = _Regime(schema, document, tuple(filter(None, parts)))
            variants += regime.variants()
            skipped += regime.skipped
    return variants, skipped


class _Regime:
    """All designs of one regime under one recipe; along the road the settings grow."""

    def __init__(self, schema: SweepSchema, document: Document, parts: tuple[str, ...]) -> None:
        self.schema = schema
        self.document = document
        self.changer = Changer(document, schema.runtime.data_dir)
        self.parts = parts
        self.name = ".".join(parts)
        self.skipped: list[SkippedCell] = []
        self.settings_after: dict[str, GroupSettings] = {}

    def variants(self) -> Iterator[Variant]:
        settings, config = self.changer.baseline(dict(self.schema.baseline))
        for group, part in zip((g for g in ("regimes", "recipes") if getattr(self.schema, g)), self.parts, strict=True):
            changes = getattr(self.schema, group)[part]
            if config and changes:
                config = self.changer.changed(settings, changes, (group, part), None)
        if config is None:
            return
        self.settings_after[BASELINE] = settings
        yield self._variant(BASELINE, config, ("baseline",))
        has_road = any(design.name == "roadmap" for design in self.schema.design)
        if has_road:
            yield from self._road(settings, config)
        if not self.document.problems:
            yield from self._cells(settings, has_road=has_road)

    def _changes(self, step: SideSchema, location: Location) -> Mapping[str, Any]:
        """What the step changes in this regime."""
        changes = dict(step.change)
        for part in self.parts:
            if part in step.regimes and self.changer.all_exist(step.regimes[part], (*location, "regimes", part)):
                changes |= step.regimes[part]
        return changes

    def _road(self, baseline: GroupSettings, config: Config) -> Iterator[Variant]:
        settings, previous = dict(baseline), BASELINE
        cell: tuple[str, ...] = ()
        for index, step in enumerate(self.schema.steps):
            here: Location = ("steps", index)
            changes = self._changes(step, here)
            if not changes and step.regimes:
                self.skipped.append(SkippedCell("roadmap", self.name, step.name, "it changes nothing in this regime"))
                continue
            after = self.changer.changed(settings, changes, (*here, "change"), config)
            if after is None:  # go on as if the step were not there, to find what is wrong with the others
                continue
            cell = (*cell, step.name)
            self.settings_after[step.name] = dict(settings)
            yield self._variant(step.name, after, (*here, "name"), step=step, follows=previous, changes=changes, cell=cell)
            yield from self._sides(step, here, previous, changes, cell)
            config, previous = after, step.name

    def _sides(
        self, step: StepSchema, here: Location, previous: str, step_changes: Mapping[str, Any], cell: tuple[str, ...]
    ) -> Iterator[Variant]:
        for name, side in step.side.items():
            location = (*here, "side", name)
            ground = side.on or step.name
            if ground not in self.settings_after:
                known = list(self.settings_after)
                message = f"there is no step '{ground}' up to here{did_you_mean_one_of(ground, known)}"
                self.document.add_problem((*location, "on"), message)
                continue
            changes = self._changes(side, location)
            if not changes and side.regimes:
                self.skipped.append(SkippedCell("roadmap", self.name, name, "it changes nothing in this regime"))
                continue
            settings = dict(self.settings_after[ground])
            before = tried(settings, [])
            assert isinstance(before, Config)
            place = (*location, "change")
            config = self.changer.changed(settings, changes, place if self.document.has(place) else location, before)
            if config is not None:
                follows, shown = (side.on, changes) if side.on else (previous, {**step_changes, **changes})
                cell = cell if side.on is None else (*cell[: cell.index(side.on) + 1],) if side.on in cell else ()
                yield self._variant(
                    name, config, location, step=side, rung=step.name, follows=follows, changes=shown, cell=cell, on=side.on
                )

    def _cells(self, settings: GroupSettings, *, has_road: bool) -> Iterator[Variant]:
        """The cells of all designs but the roadmap; those that make no sense are skipped."""
        steps = {step.name: step for step in self.schema.steps}
        changes = {name: self._changes(step, ("steps", i)) for i, (name, step) in enumerate(steps.items())}
        changes = {name: made for name, made in changes.items() if made}
        others = [(index, design) for index, design in enumerate(self.schema.design) if design.name != "roadmap"]
        if not others or self.document.problems:
            return

        def attempt(cell: Sequence[str]) -> Config | str:
            return reason_against(cell, steps) or tried(settings, [changes[name] for name in cell])

        cells: list[Cell] = []
        full = list(changes)[-1] if has_road and changes else ALL_STEPS
        if not has_road and any(design.name == "leave_one_out" for _, design in others):
            cells.append(Cell("all_steps", ALL_STEPS, tuple(changes), BASELINE))
        for index, design in others:
            try:
                cells += cells_of_design(design, list(changes), full, attempt)
            except ValueError as error:
                place: Location = ("design", index)
                self.document.add_problem(place if self.document.has(place) else ("design",), str(error))
        yield from self._made(cells, changes, attempt)

    def _made(self, cells: Sequence[Cell], changes: Mapping[str, Mapping[str, Any]], attempt: Attempt) -> Iterator[Variant]:
        """A variant for each cell that makes sense; a step that is in none of them is a problem of the spec."""
        made: set[str] = set()
        reasons: dict[str, str] = {}
        steps = {step.name: step for step in self.schema.steps}
        index_of = {name: index for index, name in enumerate(steps)}
        final = attempt(tuple(changes))
        for cell in cells:
            config = attempt(cell.steps)
            if isinstance(config, Config) and cell.left_out and isinstance(final, Config) and same_science(config, final):
                config = f"later steps overwrite all that {cell.left_out} changes"
            if isinstance(config, str):
                self.skipped.append(SkippedCell(cell.design, self.name, cell.name, config))
                if not reason_against(cell.steps, steps):
                    reasons |= {name: config for name in cell.steps}
                continue
            made |= set(cell.steps)
            shown = {key: value for name in cell.shown for key, value in changes[name].items()}
            if cell.left_out:
                shown = {key: _at(config, key) for key in changes[cell.left_out]}
            rung = cell.left_out or (cell.steps[-1] if cell.steps else BASELINE)
            location: Location = ("steps", index_of[rung], "name") if rung in index_of else ("baseline",)
            yield self._variant(
                cell.name, config, location, rung=rung, follows=cell.follows, changes=shown, cell=cell.steps, design=cell.design
            )
        for name in reasons.keys() - made - self.settings_after.keys():
            message = f"step '{name}' fits in no cell of the design: {reasons[name]}"
            self.document.add_problem(("steps", index_of[name], "change"), message, at_key=True)

    def _variant(
        self,
        name: str,
        config: Config,
        location: Location,
        *,
        step: SideSchema | None = None,
        rung: str | None = None,
        follows: str | None = None,
        changes: Mapping[str, Any] | None = None,
        cell: tuple[str, ...] = (),
        design: str = "roadmap",
        on: str | None = None,
    ) -> Variant:
        resources: ResourcesSchema = (step and step.resources) or self.schema.resources
        references = step.reference if step else self.schema.reference if follows is None else {}
        reference = next((references[part] for part in (*self.parts, "") if part in references), None)
        return Variant(
            name=name,
            step=rung or name,
            regime=self.name,
            side=design == "roadmap" and rung is not None,
            follows=follows,
            changes=changes or {},
            config=config,
            resources=Resources(**resources.model_dump()),
            expects_collapse=bool(step and step.expect == "collapse"),
            reference=reference.model_dump() if reference else None,
            line=self.document.line(location),
            design=design,
            cell=cell,
            on=on,
        )


def _at(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        foreign = isinstance(value, ForeignModel | ForeignData) and part != "name"
        value = value.options.get(part) if foreign else getattr(value, part, None)
    return value.model_dump() if hasattr(value, "model_dump") else value
