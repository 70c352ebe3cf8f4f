"""History of a report: what was decided and looked at before it, in the store."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from time import time

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.snapshot import Snapshot
from orchestrator.spec.declared import declared_parts, declared_seeds
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.declarations import declaration_of, declare, digest_of
from orchestrator.store.looks import Look, earlier_looks, remember_look
from orchestrator.store.store import Store


def submitted(spec: SweepSpec, store: Store) -> None:
    """Note that a spec was submitted, and when."""
    declare(store.sweep_path(spec.name), spec.content, declared_parts(spec.schema), time())


def looks_before(spec: SweepSpec, store: Store, metric: str) -> int:
    """Number of other declarations of seeds that were looked at before this one, by this metric."""
    return earlier_looks(store.sweep_path(spec.name), declared_seeds(spec.schema), metric)


def with_declaration(roadmap: Roadmap, snapshot: Snapshot, store: Store) -> Roadmap:
    """The report with what the store knows of when its spec was decided, and of adopted results."""
    spec = snapshot.spec
    times = _times(known.record.result for known in snapshot.trials if known.record.result)
    parts = declared_parts(spec.schema)
    path = store.sweep_path(spec.name)
    declaration = declaration_of(path, spec.content, parts, times)
    adopted = {
        known.spec.name: known.record.adopted for known in snapshot.trials if known.record.adopted
    }
    return replace(
        roadmap,
        declaration=declaration,
        adopted=adopted,
        description=spec.schema.description,
        tags=spec.schema.tags,
    )


def looked_at(roadmap: Roadmap, snapshot: Snapshot, store: Store, command: str) -> None:
    """Remember that a report was shown, if it has every trial that the spec declares."""
    spec, trials = snapshot.spec, snapshot.trials
    is_whole = not spec.unknown and all(known.record.has_ended for known in trials)
    if not is_whole or not trials:
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
    """The times at which results were written, also those of other sweeps."""
    times = (result.get("time") for result in results)
    return [float(one) for one in times if isinstance(one, int | float)]
