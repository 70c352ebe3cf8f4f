"""The way from the steps of a spec to the variants that are trained: the roadmap and the other
designs, in every regime and recipe.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from illama.config import Workload, resolve
from orchestrator.errors import did_you_mean_one_of
from orchestrator.spec.capabilities import check_capabilities
from orchestrator.spec.cells import MadeCell, StepsOfRegime, planned_cells
from orchestrator.spec.changes import (
    Changer,
    GroupSettings,
    laid_over,
    tried,
)
from orchestrator.spec.designs import BASELINE, SkippedCell, has_road
from orchestrator.spec.document import Document, Location
from orchestrator.spec.relations import check_spec
from orchestrator.spec.schema import SweepSchema
from orchestrator.spec.search_checks import check_search
from orchestrator.spec.search_schema import SearchSchema
from orchestrator.spec.search_space import Search, Values
from orchestrator.spec.step_schema import (
    ReferenceSchema,
    ResourcesSchema,
    SideSchema,
    StepSchema,
)
from orchestrator.trial import Cell, Place, Resources, Variant, variant_label


@dataclass
class Variants:
    """All that the steps of a spec stand for."""

    variants: list[Variant]
    skipped: list[SkippedCell]
    searches: list[Search]


def variants_of(
    schema: SweepSchema, document: Document, found: Mapping[str, Values] | None = None
) -> Variants:
    """The variants of every design in every regime: the baseline, the road, then the other designs'
    cells.

    Everything that is wrong with a change is noted as a problem of the document: a setting that
    does not exist, a value that it cannot take, settings that do not fit together, a step that
    changes nothing. `found` is what searches have found, by the labels of their variants; given
    that, the spec has been checked before.
    """
    made = Variants([], [], [])
    if found is None:
        check_spec(schema, document, BASELINE)
        check_capabilities(schema, document)
    if document.has(("baseline",)):  # otherwise noted already
        for parts in product(schema.regimes or [""], schema.recipes or [""]):
            regime = _Regime(schema, document, tuple(filter(None, parts)), found)
            made.variants += regime.variants()
            made.skipped += regime.skipped
            made.searches += regime.searches
    return made


class _Regime:
    """All designs of one regime under one recipe; along the road the settings grow."""

    def __init__(
        self,
        schema: SweepSchema,
        document: Document,
        parts: tuple[str, ...],
        found: Mapping[str, Values] | None,
    ) -> None:
        self.schema = schema
        self.document = document
        self.changer = Changer(document, schema.runtime.data_dir)
        self.parts = parts
        self.name = ".".join(parts)
        self.skipped: list[SkippedCell] = []
        self.settings_after: dict[str, GroupSettings] = {}
        self.searches: list[Search] = []
        self.found = found or {}
        self.is_checked = found is not None
        self.unknown: set[str] = set()
        """Variants whose settings wait for a search."""

    def variants(self) -> Iterator[Variant]:
        settings, config = self.changer.baseline(dict(self.schema.baseline))
        for group, part in zip(
            (g for g in ("regimes", "recipes") if getattr(self.schema, g)), self.parts, strict=True
        ):
            changes = self.changer.flattened(getattr(self.schema, group)[part])
            if config and changes:
                config = self.changer.changed(settings, changes, (group, part), None)
        if config is None:
            return
        baseline = self._variant(BASELINE, config, ("baseline",))
        baseline = self._searched(baseline, self.schema.search, settings, ("search",), None)
        config, self.settings_after[BASELINE] = baseline.config, settings
        yield baseline
        if has_road(self.schema.design):
            yield from self._road(settings, config)
        else:
            self._refuse_searches()
        if not self.document.problems:
            yield from self._cells(settings)

    def _refuse_searches(self) -> None:
        """Cells take what was found on the road."""
        for index, step in enumerate(self.schema.steps):
            if step.search:
                message = (
                    "a step's search needs the roadmap, which this sweep does not have: add "
                    "'roadmap' to the design"
                )
                self.document.add_problem(("steps", index, "search"), message, at_key=True)

    def _changes(self, step: SideSchema, location: Location) -> Mapping[str, Any]:
        """Return what the step changes in this regime."""
        changes = dict(step.change)
        for part in self.parts:
            if part in step.regimes and self.changer.all_exist(
                step.regimes[part], (*location, "regimes", part)
            ):
                changes |= step.regimes[part]
        return self.changer.flattened(changes)

    def _road(self, baseline: GroupSettings, config: Workload) -> Iterator[Variant]:
        settings, previous = dict(baseline), BASELINE
        taken: tuple[str, ...] = ()
        for index, step in enumerate(self.schema.steps):
            here: Location = ("steps", index)
            changes = self._changes(step, here)
            if not changes and step.regimes and not step.search:
                self.skipped.append(
                    SkippedCell(
                        "roadmap", self.name, step.name, "it changes nothing in this regime"
                    )
                )
                continue
            after = self._changed(step, settings, changes, (*here, "change"), config)
            if after is None:
                # go on as if the step were not there, to find what is wrong with the others
                continue
            taken = (*taken, step.name)
            place = (*here, "name")
            variant = replace(
                self._variant(
                    step.name, after, place, step=step, follows=previous, changes=changes
                ),
                cell=Cell(taken, place=Place(0, len(taken))),
            )
            variant = self._searched(variant, step.search, settings, (*here, "search"), previous)
            self.settings_after[step.name] = dict(settings)
            yield variant
            yield from self._sides(step, here, previous, variant.changes, taken)
            config, previous = variant.config, step.name

    def _changed(
        self,
        step: SideSchema,
        settings: GroupSettings,
        changes: Mapping[str, Any],
        location: Location,
        before: Workload,
    ) -> Workload | None:
        """The changed settings as by `Changer.changed`, for a step that may leave all changes to
        its search.
        """
        if step.search and not changes:
            return before
        return self.changer.changed(
            settings, changes, location, None if self.is_checked else before
        )

    def _searched(
        self,
        variant: Variant,
        schema: SearchSchema | None,
        settings: GroupSettings,
        place: Location,
        ground: str | None,
    ) -> Variant:
        """The variant with what its search has found, and `settings` likewise; as it is where it
        has none to wait for.
        """
        if ground in self.unknown:
            self.unknown.add(variant.name)
        variant = replace(variant, is_known=variant.name not in self.unknown)
        if schema is None:
            return variant
        line = self.document.line(place)
        search = Search(variant, laid_over(settings), schema, line, self.schema.runtime.data_dir)
        if not self.is_checked and not check_search(
            search, variant.changes, self.changer, self.schema, place
        ):
            return variant
        self.searches.append(search)
        values = self.found.get(variant.label)
        if values is None:
            self.unknown.add(variant.name)
            return replace(variant, is_known=False)
        settings.update(laid_over(settings, values))
        config = resolve(settings, self.schema.runtime.data_dir)
        return replace(variant, config=config, changes={**variant.changes, **values})

    def _sides(
        self,
        step: StepSchema,
        here: Location,
        previous: str,
        step_changes: Mapping[str, Any],
        taken: tuple[str, ...],
    ) -> Iterator[Variant]:
        for name, side in step.side.items():
            location = (*here, "side", name)
            ground = side.on or step.name
            if ground not in self.settings_after:
                known = list(self.settings_after)
                message = (
                    f"there is no step '{ground}' up to here{did_you_mean_one_of(ground, known)}"
                )
                self.document.add_problem((*location, "on"), message)
                continue
            changes = self._changes(side, location)
            if not changes and side.regimes and not side.search:
                self.skipped.append(
                    SkippedCell("roadmap", self.name, name, "it changes nothing in this regime")
                )
                continue
            settings = dict(self.settings_after[ground])
            before = tried(settings, [])
            assert not isinstance(before, str)
            place = (*location, "change")
            config = self._changed(
                side, settings, changes, place if self.document.has(place) else location, before
            )
            if config is not None:
                follows, shown = (
                    (side.on, changes) if side.on else (previous, {**step_changes, **changes})
                )
                variant = replace(
                    self._variant(
                        name, config, location, step=side, follows=follows, changes=shown
                    ),
                    step=step.name,
                    side=True,
                    cell=Cell(_taken_up_to(side.on, taken)),
                    on=side.on,
                )
                yield self._searched(variant, side.search, settings, (*location, "search"), ground)

    def _found_by(self, step: str) -> Values:
        """Return what the step's search has found on the road."""
        return self.found.get(variant_label(self.name, step), {})

    def _cells(self, settings: GroupSettings) -> Iterator[Variant]:
        """The cells of all designs but the roadmap; those that make no sense are skipped."""
        if all(design.is_road for design in self.schema.design):
            return
        steps = {step.name: step for step in self.schema.steps}
        changes: dict[str, Mapping[str, Any]] = {}
        for index, (name, step) in enumerate(steps.items()):
            own = self._changes(step, ("steps", index))
            if own or step.search:
                changes[name] = {**own, **self._found_by(name)}
        if self.document.problems:
            return
        regime = StepsOfRegime(self.name, settings, steps, changes)
        planned, lacking = planned_cells(self.schema.design, regime, self.document)
        cells = regime.cells(planned)
        self.skipped += [*cells.skipped, *lacking]
        for cell in cells.made:
            yield replace(self._cell(cell), is_known=not self.unknown & {BASELINE, *steps})
        self._refuse_homeless(cells.homeless)

    def _cell(self, cell: MadeCell) -> Variant:
        planned = cell.planned
        names = [step.name for step in self.schema.steps]
        location: Location = ("baseline",)
        if planned.about in names:
            location = ("steps", names.index(planned.about), "name")
        follows = planned.follows
        variant = self._variant(
            planned.name, cell.config, location, follows=follows, changes=cell.changes
        )
        return replace(
            variant,
            step=planned.about or planned.name,
            side=planned.design == "roadmap" and planned.about is not None,
            cell=planned.cell,
            design=planned.design,
        )

    def _refuse_homeless(self, homeless: Mapping[str, str]) -> None:
        """A step that is in no cell, and not on the road either, is a problem of the spec."""
        if self.is_checked:
            return
        names = [step.name for step in self.schema.steps]
        for name in homeless.keys() - self.settings_after.keys():
            message = f"step '{name}' does not fit into any cell of the design: {homeless[name]}"
            self.document.add_problem(("steps", names.index(name), "change"), message, at_key=True)

    def _variant(
        self,
        name: str,
        config: Workload,
        location: Location,
        *,
        step: SideSchema | None = None,
        follows: str | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> Variant:
        """A variant of the road: whoever makes another kind replaces what differs."""
        resources: ResourcesSchema = (step and step.resources) or self.schema.resources
        references = step.reference if step else {}
        if step is None and follows is None:
            references = self.schema.reference  # the baseline's
        reference = next(
            (references[part] for part in (*self.parts, "") if part in references), None
        )
        return Variant(
            name=name,
            step=name,
            regime=self.name,
            side=False,
            follows=follows,
            changes=changes or {},
            config=config,
            resources=Resources(**resources.model_dump()),
            expects_collapse=bool(step and step.expect == "collapse"),
            reference=_published(reference, self.schema.metric.name) if reference else None,
            asked=step,
            line=self.document.line(location),
        )


def _taken_up_to(ground: str | None, taken: tuple[str, ...]) -> tuple[str, ...]:
    """The steps that a side step has: those of its rung, or, for a control, those of the step that
    it changes.
    """
    if ground is None:
        return taken
    return taken[: taken.index(ground) + 1] if ground in taken else ()


def _published(reference: ReferenceSchema, metric: str) -> dict[str, Any]:
    """The published value as `report --format json` has it."""
    figures = reference.by_metric(metric)
    found = {"value": figures.pop(metric, None), "source": reference.source}
    return found | ({"also": figures} if figures else {})
