"""The spec held against the store at one moment: each record is read once, and every source of
trials is asked.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from invented import HEAD, NORM, Told, digest, record, records, spec_of, write_results

from orchestrator.driver import plan_sweep, report_sweep
from orchestrator.outcomes import Outcome, State
from orchestrator.planning import sources
from orchestrator.planning.lookup import Lookup
from orchestrator.planning.search import Suggestions
from orchestrator.planning.status import status_of
from orchestrator.planning.survey import survey
from orchestrator.planning.trials import Asked, Choice, in_order, trials_of
from orchestrator.pruning import Pruning
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.store import Store
from orchestrator.trial import TrialRecord, TrialSpec

SEARCH = """
steps:
  - name: norm
    change: {model.norm: rmsnorm}
    search:
      {space: {train.lr: {low: 1e-3, high: 1e-2, log: true}}, trials: 4, at_once: 2, seeds: [90]}
  - name: last
    change: {model.class_token: last}
"""


def test_a_snapshot_has_every_trial_with_its_record_in_the_order_of_the_road(
    tmp_path: Path,
) -> None:
    spec = spec_of(tmp_path, NORM, 2)
    store = write_results(spec, tmp_path / "runs")
    snapshot = survey(spec, store)
    names = [known.spec.name for known in snapshot.trials]
    assert names == ["baseline-seed0", "baseline-seed1", "norm-seed0", "norm-seed1"]
    assert all(known.record.state is State.DONE for known in snapshot.trials)
    assert snapshot.of(spec.road[1]) == snapshot.trials[2:]
    assert snapshot.by_variant.keys() == {"baseline", "norm"}
    part = survey(spec, store, Choice(only=["norm"], seeds=[1]))
    assert [known.spec.name for known in part.trials] == ["norm-seed1"]


def test_a_snapshot_sees_what_the_store_has_got_since_and_stays_as_it_was(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, NORM, 2)
    store = Store(tmp_path / "runs")
    before = survey(spec, store)
    write_results(spec, tmp_path / "runs")
    assert {known.record.state for known in before.trials} == {State.PENDING}
    assert {known.record.state for known in survey(spec, store).trials} == {State.DONE}
    other = survey(replace(spec, schema=spec.schema.model_copy(update={"name": "other"})), store)
    assert all(known.is_reused for known in other.trials), "another sweep has trained the same"


def test_what_shares_a_training_that_failed_has_failed_as_that_one_did(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "design: [roadmap, one_factor]\n" + NORM, 1)
    store = Store(tmp_path / "runs")
    norm = next(known.spec for known in survey(spec, store).trials if known.spec.variant == "norm")
    directory = store.directory(norm)
    directory.write_trial(norm, {})
    directory.start_attempt("s", {})
    assert _standing(spec, store) == {"norm": "interrupted", "only.norm": "pending"}
    directory.end_attempt(1, Outcome.FAILED, "no such file")
    assert _standing(spec, store) == {"norm": "failed", "only.norm": "failed"}
    [group] = status_of(spec, store).causes
    assert (group.cause, group.trials) == ("no such file", ("norm-seed0", "only.norm-seed0"))
    causes = report_sweep(spec, store, shown_by="").causes
    assert causes == {"norm-seed0": "no such file", "only.norm-seed0": "no such file"}
    plan = plan_sweep(spec, store)
    assert [trial.name for trial in plan.to_train(retry_failed=True)] == [
        "baseline-seed0",
        "norm-seed0",
    ]
    directory.start_attempt("s", {})
    assert _standing(spec, store) == {"norm": "interrupted", "only.norm": "pending"}


def _standing(spec: SweepSpec, store: Store) -> dict[str, str]:
    trials = survey(spec, store).trials
    steps = [known for known in trials if known.spec.variant != "baseline"]
    return {known.spec.variant: known.record.standing for known in steps}


def test_a_lookup_reads_each_record_once(tmp_path: Path) -> None:
    asked: Counter[str] = Counter()
    answer = records({"baseline": [70.0, 71.0]})

    def record_of(trial: TrialSpec) -> TrialRecord:
        asked[trial.name] += 1
        return answer(trial)

    spec = spec_of(tmp_path, NORM, 2)
    lookup = Lookup(spec, digest, Told(record_of))
    trials = trials_of(spec, digest)
    assert lookup.known(trials) == lookup.known(trials)
    lookup.with_seeds(spec.road[0], [0, 1])
    assert set(asked.values()) == {1}
    judged = {0: Pruning("val/acc1", "max", {2: 99.0})}
    lookup.with_seeds(spec.road[0], [0], judged)
    assert asked["baseline-seed0"] == 2, "what stops a trial early is part of the question"


def test_results_may_be_asked_while_trials_run_unless_a_source_waits_for_whole_ones(
    tmp_path: Path,
) -> None:
    fixed, search = spec_of(tmp_path, NORM), spec_of(tmp_path, SEARCH)
    added = HEAD.replace("[{seeds}]", "{{start: 3, max: 6, until: decided}}")
    adaptive = spec_of(tmp_path, NORM, head=added)
    assert [sources.grows(spec) for spec in (fixed, search, adaptive)] == [False, True, True]
    assert sources.asks_while_running(search)
    assert not sources.asks_while_running(adaptive)


def test_what_is_expected_and_what_is_wanted_are_all_trials_that_there_will_be(
    tmp_path: Path,
) -> None:
    spec = spec_of(tmp_path, SEARCH, 2)
    snapshot = survey(spec, Store(tmp_path / "runs"))
    wanted = [known.spec.name for known in snapshot.trials]
    assert wanted == ["baseline-seed0", "baseline-seed1", "norm@1-seed90", "norm@2-seed90"]
    expected = [
        "norm@3-seed90",
        "norm@4-seed90",
        *(f"{v}-seed{s}" for v in ("norm", "last") for s in (0, 1)),
    ]
    assert [trial.name for trial in snapshot.later] == expected


def test_a_source_of_ones_own_is_one_class(tmp_path: Path) -> None:
    class SecondOpinion(sources.TrialSource):
        """Seed 7 of every variant whose first seed has failed."""

        def wanted(self, spec: SweepSpec, lookup: Lookup) -> Asked:
            return {
                variant.label: [one.spec for one in lookup.with_seeds(variant, [7])]
                for variant in spec.variants
                if lookup.with_seeds(variant, [0])[0].record.state is State.FAILED
            }

    spec = spec_of(tmp_path, NORM, 1)
    ends = {"norm-seed0": record("failed")}
    lookup = Lookup(
        spec, digest, Told(lambda trial: ends.get(trial.name, TrialRecord(State.PENDING)))
    )
    usual = sources.sources_of(Choice(), Suggestions(tmp_path), 0)
    asked = [source.wanted(spec, lookup) for source in (*usual, SecondOpinion(Choice()))]
    names = [trial.name for trial in in_order(spec, asked)]
    assert names == ["baseline-seed0", "norm-seed0", "norm-seed7"]


def test_the_store_names_the_same_training_elsewhere_and_judges_nothing(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, NORM, 1)
    store = write_results(spec, tmp_path / "runs")
    [trial, _] = trials_of(spec, digest)
    known = survey(spec, store).trials[0].spec
    elsewhere = replace(known, sweep="earlier", variant="tuned@3")
    store.directory(elsewhere).write_trial(elsewhere, {})
    store.forget()
    assert store.same_training_as(known) == [("earlier", "tuned@3-seed0", "tuned@3")]
    assert store.same_training_as(trial) == [], "another fingerprint is another training"
