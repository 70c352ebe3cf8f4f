"""The interface of a training, whoever wrote it: what a sweep has to know of it before it runs.

A kind of workload says how its settings are written (`schema_of`, `resolved`), what decides its
numbers (`identity`), how long it is, and what may be asked of it (`can`). The built-in training of
image classifiers, a training by a user's function and a training by a user's command are such
kinds; `illama.config.workloads` lists them and takes more from installed packages.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from illama.config.settings import Settings

if TYPE_CHECKING:
    from illama.config.data import DataConfig
    from illama.config.functions import UserData, UserModel
    from illama.config.model import ModelConfig
    from illama.config.train import InitConfig


@dataclass(frozen=True)
class Capabilities:
    """Abilities that a kind of training may have. By default no more than any user training has."""

    has_known_metrics: bool = False
    """Names and directions of its metrics are known before it runs."""
    spans_processes: bool = False
    """True if it runs as several processes, and on several nodes."""
    measures_collapse: bool = False
    """True if it measures that the output depends on the input."""
    keeps_network: bool = False
    """True if it leaves a network that can be read, served and registered."""
    runtime: tuple[str, ...] = ("device", "num_threads", "data_dir")
    """Settings of `runtime` that it heeds."""


class Workload(Settings, ABC):
    """One training: all that decides its numbers, the seed included."""

    can: ClassVar[Capabilities] = Capabilities()
    groups: ClassVar[tuple[str, ...]] = ("train",)
    """Sections of a spec that hold its settings."""
    unit: ClassVar[str] = "iteration"
    """Word for what its progress is counted in."""
    trainer: ClassVar[str]
    """`module:function` that trains it: called with the workload, its `RuntimeConfig`, and the
    keywords `log_metrics`, `checkpoint_dir`, `should_stop` and `others` of
    `illama.training.trainer.train`; returns a `TrainResult`."""

    if TYPE_CHECKING:
        seed: int

    @classmethod
    @abstractmethod
    def is_meant_by(cls, settings: Mapping[Any, Any]) -> bool:
        """Tell whether `{"train": {...}, ...}`, as a spec writes it, asks for this kind."""

    @classmethod
    @abstractmethod
    def schema_of(cls, settings: Mapping[str, Any]) -> type[Settings]:
        """Settings that may stand in `settings`, as a pydantic model of the sections.

        Raises `UserCodeError`, its `group` set, where a function or file cannot be used.
        """

    @classmethod
    @abstractmethod
    def resolved(cls, settings: Mapping[str, Any], data_dir: Path | None) -> Self:
        """Turn `settings` into a checked workload.

        Raises `pydantic.ValidationError` and `UserCodeError`.
        """

    @classmethod
    @abstractmethod
    def titled(cls, settings: Mapping[Any, Any]) -> str:
        """Name in messages of the training that `settings` ask for."""

    @property
    def title(self) -> str:
        """Name of the training in messages: a function, a script, or the built-in training."""
        return self.titled(self.model_dump(mode="json"))

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides the numbers, beside the seed and the data set's digest."""

    @property
    def numerics_version(self) -> int:
        """Version of our own code that last changed the numbers of such a training."""
        return 2

    @property
    def science(self) -> dict[str, Any]:
        """Settings as JSON, without names that are only labels: equal where two train the same."""
        return self.model_dump(mode="json")

    @property
    @abstractmethod
    def length(self) -> int | None:
        """Length in its unit; None where nobody says before it ends."""

    @property
    def total(self) -> int:
        """Length by which progress is measured: 1, the whole of it, where the length is unknown."""
        return self.length or 1

    @property
    def batch_size(self) -> int | None:
        """Images of one update, which may be split to save memory; None where we cannot split."""
        return None

    @property
    def network(self) -> "ModelConfig | UserModel | None":
        """Network whose size is known before it is trained; None where nobody says."""
        return None

    @property
    def trained_params(self) -> int | None:
        """Parameters that are trained where some are frozen; None where all are, or nobody says."""
        return None

    @property
    def images(self) -> "DataConfig | UserData | None":
        """Images that it is trained and measured on; None where nobody says."""
        return None

    @property
    def init(self) -> "InitConfig | None":
        """File that its first weights come from, where we read it."""
        return None

    def with_init(self, init: "InitConfig") -> "Workload":
        """The same training from another file; only where `init` is not None."""
        raise NotImplementedError(
            f"{self.title} does not start from a file that this package reads"
        )

    @property
    def averages_weights(self) -> bool:
        """True if metrics of averaged weights may be among those that it records."""
        return True

    def refusal_of(self, key: str, before: "Workload") -> str | None:
        """Reason why a change of `key` is refused, where only the step before shows it."""
        return None

    def sources(self, folder: Path) -> Mapping[str, bytes]:
        """Files in `folder`, beside the spec, that it is made of, by their paths from there."""
        return {}

    def setting(self, key: str) -> Any:
        """Value of a dotted setting, as a spec writes it; None where there is none."""
        value: Any = self
        for part in key.split("."):
            value = _part_of(value, part)
        return _dumped(value)


def _part_of(value: Any, name: str) -> Any:
    """Setting of a group, or value of a mapping; None of anything else."""
    if isinstance(value, Settings):
        return value.written(name)
    if isinstance(value, Mapping):
        return value.get(name)
    return None


def _dumped(value: Any) -> Any:
    """Groups of settings, alone or in a list of one for each block, as mappings."""
    if isinstance(value, tuple):
        return tuple(map(_dumped, value))
    return value.model_dump() if isinstance(value, Settings) else value
