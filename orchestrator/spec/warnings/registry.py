"""The form of a warning, and the functions that look for one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import Variant


@dataclass(frozen=True)
class SpecWarning:
    """Something that weakens what the sweep can show."""

    code: str
    message: str
    line: int
    """The line in the spec; 0 where it concerns the whole."""
    control: str = ""
    """YAML that would resolve it, where something can."""

    def to_json(self) -> dict[str, Any]:
        """The form in `plan --json`."""
        return {
            "code": self.code,
            "message": self.message,
            "line": self.line,
            "control": self.control or None,
        }


Found = Iterator[SpecWarning]
OfSweep = Callable[[SweepSpec], Found]
OfStep = Callable[[SweepSpec, Variant], Found]

_OF_SWEEP: list[OfSweep] = []
_OF_STEP: list[OfStep] = []


def of_sweep(function: OfSweep) -> OfSweep:
    """Register a warning that looks at the sweep as a whole."""
    _OF_SWEEP.append(function)
    return function


def of_step(function: OfStep) -> OfStep:
    """Register a warning that looks at one step of the road, or at a side step, in one regime."""
    _OF_STEP.append(function)
    return function


def found_in(spec: SweepSpec) -> list[SpecWarning]:
    """Return what all functions find; what they say alike of several regimes is there once."""
    found = [warning for look in _OF_SWEEP for warning in look(spec)]
    for variant in spec.variants:
        if variant.is_step:
            found += [warning for look in _OF_STEP for warning in look(spec, variant)]
    return list({(warning.code, warning.message): warning for warning in found}.values())
