"""The nouns: what a trial is asked to do (`TrialSpec`) and its record (`TrialRecord`)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from illama.config import RuntimeConfig, Workload, read_workload
from orchestrator.metrics import value_of
from orchestrator.outcomes import Outcome, State
from orchestrator.pruning import Pruning

if TYPE_CHECKING:
    from orchestrator.spec.step_schema import SideSchema


def is_search_point(variant: str) -> bool:
    """True if a variant of this name is a point of a search: `@` stands in no name of a spec."""
    return "@" in variant


def variant_label(regime: str, name: str) -> str:
    """The name of a variant within its sweep: the regime in front where there are regimes."""
    return f"{regime}/{name}" if regime else name


@dataclass(frozen=True)
class Resources:
    """Resources that one trial occupies while it runs."""

    cpus: float = 1.0
    gpus: float = 0.0
    time_limit: float | None = None
    """Seconds that one attempt may take."""
    memory: float | None = None
    """GB (10^9 bytes) of the host's memory that one attempt may take."""
    nodes: int = 1
    """Machines that it is spread over; all but the time limit is of each."""

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Kind of device that it computes on where nobody says another."""
        return "cuda" if self.gpus > 0 else "cpu"

    @property
    def gpus_in_all(self) -> float:
        """The GPUs on all nodes together."""
        return self.nodes * self.gpus


@dataclass(frozen=True)
class Place:
    """Place at which a step is taken: in which order, and as which step of it."""

    order: int
    """0 for the road, 1 for the first of the other orders."""
    position: int
    """The position on the road, from 1."""


@dataclass(frozen=True)
class Cell:
    """The steps that a variant contains, and where its design puts it."""

    steps: tuple[str, ...] = ()
    """The steps in the order in which they were taken; a side step has those of the road up to it.
    """
    levels: Mapping[str, bool] = field(default_factory=dict)
    """True if the cell has each factor of a factorial, in the order of the road; empty in other
    designs.
    """
    place: Place | None = None
    """Place of the last step, for the steps of the road and of other orders; None in other designs.
    """


@dataclass(frozen=True)
class Variant:
    """The resolved settings of a step, before the seed."""

    name: str
    step: str
    """The rung of the road that it is, or that it stands beside."""
    regime: str
    """Empty where the sweep has no regimes."""
    side: bool
    """Measured and reported, but the road does not go on from it."""
    follows: str | None
    """The variant that this one changes; none for the baseline."""
    changes: Mapping[str, Any]
    """The settings that differ from `follows`, as the spec writes them; the baseline has none."""
    config: Workload
    """Settings with seed 0."""
    resources: Resources
    expects_collapse: bool = False
    reference: Mapping[str, Any] | None = None
    published: Mapping[str, float] = field(default_factory=dict)
    """Every figure of the reference by its metric, where a report asks for it."""
    asked: "SideSchema | None" = field(default=None, compare=False, repr=False)
    """The step as the spec has it: what only its reader uses is read from here. None where no step
    of the spec is behind it."""
    line: int = 0
    """Line of the spec that speaks of it."""
    design: str = "roadmap"
    """Design that it belongs to; the baseline counts as the roadmap's."""
    cell: Cell = Cell()
    """The steps that it contains; none for the baseline."""
    on: str | None = None
    """Variant that a control changes and is compared with; None for others."""
    is_known: bool = True
    """False while a search that it builds on is not done: its settings lack what that finds."""
    found_by: Mapping[str, str] = field(default_factory=dict)
    """Settings that a search found, and the label of the variant whose search it was."""
    repeated: tuple["Variant", ...] = ()
    """The variant as each repeat of its searches settles it; empty without repeats."""

    @property
    def label(self) -> str:
        """The name within the sweep, regime in front."""
        return variant_label(self.regime, self.name)

    @property
    def is_step(self) -> bool:
        """True for steps of the road and side steps; false for baselines and cells of designs."""
        return self.design == "roadmap" and self.follows is not None

    @property
    def is_on_road(self) -> bool:
        """True for the baseline and the steps that the road goes on from."""
        return self.design == "roadmap" and not self.side

    @property
    def note(self) -> str:
        """Remark of the spec's author."""
        if self.asked is None:
            return ""
        return self.asked.note

    @property
    def search_repeats(self) -> int | None:
        """Number of searches of its settings; None where no search had a part in them."""
        if not self.found_by and not self.repeated:
            return None
        return max(1, len(self.repeated))

    def of_seed(self, seed: int) -> "Variant":
        """The variant as it is trained with a seed: seed s with what repeat s modulo their number
        found.
        """
        variants = self.repeated or (self,)
        return variants[seed % len(variants)]


@dataclass(frozen=True)
class TrialSpec:
    """One variant with one seed: all that a worker needs to know."""

    sweep: str
    variant: str
    regime: str
    seed: int
    changes: Mapping[str, Any]
    config: Workload
    fingerprint: str
    resources: Resources = field(default_factory=Resources)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    pruning: Pruning | None = None
    """Rule that stops it early; None where it is asked for in full. Not part of the fingerprint."""
    moment: float | None = None
    """Seconds after which a smoke test asks it to stop; no part of what it is."""
    metric: str = ""
    """Metric that the sweep compares: a user training that ends without it is no result. No part of
    what it is, either.
    """
    earlier: Self | None = field(default=None, compare=False, repr=False)
    """The same trial as earlier versions identify it, where that is another fingerprint: by the
    bytes of the user's code.
    """

    @property
    def name(self) -> str:
        """`<variant>-seed<k>`, with `<regime>/` in front where there are regimes."""
        return f"{self.variant_label}-seed{self.seed}"

    @property
    def variant_label(self) -> str:
        """The variant's name within the sweep, regime in front."""
        return variant_label(self.regime, self.variant)

    @property
    def is_of_search(self) -> bool:
        """True if a search asks for it, whose figures are no part of the report."""
        return is_search_point(self.variant)

    @property
    def with_half_the_memory(self) -> Self | None:
        """The same trial with half as many images on the device at once and twice the accumulation.

        None where it is one image, or where the workload's batches cannot be split.
        """
        batch_size = self.config.batch_size
        if batch_size is None:
            return None
        share = -(-batch_size // (self.runtime.processes * self.resources.nodes))
        size = min(self.runtime.micro_batch_size or share, share)
        if size == 1:
            return None
        halved = self.runtime.model_copy(update={"micro_batch_size": size // 2})
        return replace(self, runtime=halved)

    def reached(self, epoch: float) -> float:
        """Part of `config.total` that is done at `epoch`: none of it where nobody says how long a
        training is.
        """
        return min(epoch, float(self.config.length or 0))

    def reached_text(self, epoch: float) -> str:
        """`epoch 3/20`; of a user training `iteration 100/300`."""
        reached = f"{self.config.unit} {epoch:.0f}"
        if self.config.length is None:
            return reached
        return f"{reached}/{self.config.length}"

    def lacking(self, result: Mapping[str, Any]) -> str | None:
        """Reason why a user training that ended without the sweep's metric is no result; None where
        it has it.

        What it returned is kept: by another metric it counts, without training again.
        """
        if self.config.can.has_known_metrics or not self.metric:
            return None
        if value_of(result, self.metric) is not None:
            return None
        found = ", ".join(sorted(result.get("metrics", {}))) or "nothing"
        message = f"{self.config.title} returned {found}, but the sweep compares {self.metric}"
        return f"{message}: change 'metric', which needs no new training, or return {self.metric}"

    @property
    def directory_name(self) -> str:
        """The name as one path component, the fingerprint's start behind it."""
        return f"{self.name.replace('/', '--')}-{self.fingerprint[:8]}"

    def to_json(self) -> dict[str, Any]:
        """Value that `trial.json` holds of it."""
        value = {
            "sweep": self.sweep,
            "name": self.name,
            "variant": self.variant,
            "regime": self.regime,
            "seed": self.seed,
            "fingerprint": self.fingerprint,
            "changes": dict(self.changes),
            "settings": self.config.model_dump(mode="json"),
            "resources": asdict(self.resources),
            "runtime": self.runtime.model_dump(mode="json"),
            "pruning": self.pruning and self.pruning.to_json(),
            "metric": self.metric,
        }
        if self.moment is not None:
            value["moment"] = self.moment
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; further keys are left alone."""
        return cls(
            sweep=value["sweep"],
            variant=value["variant"],
            regime=value["regime"],
            seed=value["seed"],
            changes=value["changes"],
            config=read_workload(value["settings"]),
            fingerprint=value["fingerprint"],
            resources=Resources(**value["resources"]),
            runtime=RuntimeConfig.model_validate(value["runtime"]),
            pruning=Pruning.from_json(value["pruning"]) if value.get("pruning") else None,
            metric=value.get("metric", ""),
            moment=value.get("moment"),
        )


@dataclass(frozen=True)
class TrialRecord:
    """Record of one trial, from its files."""

    state: State
    outcome: Outcome | None = None
    """Outcome of the trial where it is done, else of its last attempt."""
    cause: str | None = None
    """Reason why it ended so, where that needs a word."""
    attempts: int = 0
    iteration: int = 0
    """The last one with metrics."""
    epoch: float = 0.0
    """The last one with metrics, from 1."""
    result: Mapping[str, Any] | None = None
    """`result.json`, where the trial is done; of one that was pruned, the same as far as it got."""
    path: str = ""
    """The trial's directory; in another sweep where the result is reused."""
    hosts: Sequence[str] = ()
    """Hosts where the last attempt runs, or ran; of a trial that is done only its files say it."""
    traceback: str = ""
    """Traceback of what the last attempt raised, if it did."""
    adopted: Sequence[str] = ()
    """Differences from the trial whose result this is, where it was adopted from other code."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Metrics of the last evaluation; empty before the trial is done."""
        metrics: Mapping[str, float] = (self.result or {}).get("metrics", {})
        return metrics

    @property
    def iterations(self) -> int | None:
        """The number of iterations that the training took; None where no result says it."""
        return (self.result or {}).get("iterations")

    @property
    def seconds(self) -> float | None:
        """Training seconds over all attempts, where the trial is done."""
        return (self.result or {}).get("seconds")

    @property
    def has_ended(self) -> bool:
        """True if the trial is over, good or bad: nothing goes on by itself."""
        return self.state.has_ended

    @property
    def standing(self) -> str:
        """The outcome of a trial that is over, and the state of one that is not."""
        if self.has_ended:
            return str(self.outcome)
        return str(self.state)

    def judged(self, trial: TrialSpec) -> Self:
        """Return the record for `trial`: failed where it lacks the metric that is compared."""
        if self.outcome is not Outcome.FINISHED or self.result is None:
            return self
        lacking = trial.lacking(self.result)
        if not lacking:
            return self
        return replace(self, state=State.FAILED, outcome=Outcome.FAILED, cause=lacking, result=None)

    def is_of_another(self, trial: TrialSpec) -> bool:
        """True if the files are not `trial`'s own: the same training was done for another step or
        another sweep.
        """
        return not self.path.endswith(f"/{trial.sweep}/trials/{trial.directory_name}")


@dataclass(frozen=True)
class KnownTrial:
    """A trial, and its record."""

    spec: TrialSpec
    record: TrialRecord

    @property
    def is_reused(self) -> bool:
        """True if its result is that of the same training for another step or another sweep."""
        return self.record.state is State.DONE and self.record.is_of_another(self.spec)
