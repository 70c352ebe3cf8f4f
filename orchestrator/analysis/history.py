"""What was decided and looked at before a report: read from the store, and remembered there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from time import time

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.spec.declared import declared_parts, declared_seeds
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.declarations import declaration_of, declare, digest_of
from orchestrator.store.looks import Look, earlier_looks, remember_look
from orchestrator.store.store import Store
from orchestrator.trial import State, TrialRecord, TrialSpec

Records = Sequence[tuple[TrialSpec, TrialRecord]]
_ENDED = (State.DONE, State.FAILED)


def submitted(spec: SweepSpec, store: Store) -> None:
    """Note that a spec was submitted, and when."""
    declare(store.sweep_path(spec.name), spec.content, declared_parts(spec.schema), time())


def looks_before(spec: SweepSpec, store: Store, metric: str) -> int:
    """How many other declarations of seeds were looked at before this one, by this metric."""
    return earlier_looks(store.sweep_path(spec.name), declared_seeds(spec.schema), metric)


def with_declaration(roadmap: Roadmap, spec: SweepSpec, store: Store, records: Records) -> Roadmap:
    """The report with what the store knows of when its spec was decided, and of adopted results."""
    times = _times(record.result for _, record in records if record.result)
    parts = declared_parts(spec.schema)
    path = store.sweep_path(spec.name)
    declaration = declaration_of(path, spec.content, parts, times)
    adopted = {trial.name: record.adopted for trial, record in records if record.adopted}
    return replace(
        roadmap,
        declaration=declaration,
        adopted=adopted,
        description=spec.schema.description,
        tags=spec.schema.tags,
    )


def looked_at(
    roadmap: Roadmap, spec: SweepSpec, store: Store, records: Records, command: str
) -> None:
    """Remember that a report was shown, if it has every trial that the spec declares."""
    is_whole = not spec.unknown and all(record.state in _ENDED for _, record in records)
    if not is_whole or not records:
        return
    look = Look(
        time=time(),
        seeds=declared_seeds(spec.schema),
        comparisons=roadmap.family.size,
        metric=roadmap.metric,
        spec_sha256=digest_of(spec.content),
        command=command,
    )
    remember_look(store.sweep_path(spec.name), look)


def _times(results: Iterable[Mapping[str, object]]) -> list[float]:
    """When results were written, also those of other sweeps."""
    times = (result.get("time") for result in results)
    return [float(one) for one in times if isinstance(one, int | float)]
