"""Survey of a sweep: its spec compared with the store as it is now."""

from dataclasses import replace
from functools import cache

from illama.config import DataConfig, UserData
from illama.data.datasets import dataset_digest
from orchestrator.analysis.history import looks_before
from orchestrator.analysis.snapshot import Snapshot, with_shared_failures
from orchestrator.errors import UsageError
from orchestrator.planning.lookup import Lookup, with_known_weights
from orchestrator.planning.search import Suggestions
from orchestrator.planning.sources import sources_of
from orchestrator.planning.trials import Choice, Digest, in_order
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.store import Store

WHOLE = Choice()


def survey(
    spec: SweepSpec,
    store: Store,
    choice: Choice = WHOLE,
    *,
    keeps_suggestions: bool = False,
    may_lack_images: bool = False,
    live_session: str | None = None,
) -> Snapshot:
    """Every trial that the spec and its results ask for, and the record of each.

    `keeps_suggestions` is for the holder of the sweep's lease, who alone writes what searches try.
    Raises `UsageError` where `choice` names what is not there, and where images cannot be read;
    with `may_lack_images` the snapshot says so instead, and such trials are provisional.
    """
    store.forget()
    absent: dict[str, None] = {}
    digest = _digest(spec, absent, may_lack_images)
    lookup = Lookup(spec, digest, store, live_session)
    suggestions = Suggestions(store.sweep_path(spec.name) / "searches", keeps=keeps_suggestions)
    looks = 0
    if spec.schema.adaptive:
        looks = looks_before(spec, store, spec.reported_metric.name)
    sources = sources_of(choice, suggestions, looks)
    for source in sources:
        spec = source.settled(spec, lookup)
    variants = tuple(with_known_weights(variant, spec) for variant in spec.variants)
    spec = replace(spec, variants=variants)
    choice.check(spec)
    trials = in_order(spec, [source.wanted(spec, lookup) for source in sources])
    later = [trial for source in sources for trial in source.expected(spec)]
    known = with_shared_failures(lookup.known(trials))
    return Snapshot(spec, known, tuple(later), tuple(absent))


def _digest(spec: SweepSpec, absent: dict[str, None], may_lack_images: bool) -> Digest:
    """Digests of data; what is wrong with images that are not there is left in `absent`."""

    @cache
    def digest(data: DataConfig | UserData | None) -> str:
        try:
            return dataset_digest(data, spec.schema.runtime.data_dir)
        except (OSError, ValueError) as error:
            assert data is not None, "a training that names no data has nothing to be read here"
            message = f"cannot use the images of data '{data.name}': {error}"
            if not may_lack_images:
                raise UsageError(message) from error
            absent[message] = None
            return "absent"

    return digest
