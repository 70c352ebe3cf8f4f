"""Warnings of what weakens a sweep, found in its spec: each with its line, and a control to paste.

A warning is one function that is registered where it stands, in the file of its subject: `of_sweep`
for what concerns the whole, `of_step` for what each step of the road is asked (`registry`).
"""

from dataclasses import replace

from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings import (
    chosen,
    compute,
    data,
    initial,
    measure,
    recipe,
    searches,
    seeds,
    size,
)
from orchestrator.spec.warnings.lookup import aspect_of
from orchestrator.spec.warnings.registry import SpecWarning, found_in

__all__ = ["SUBJECTS", "SpecWarning", "aspect_of", "warnings_of"]

SUBJECTS = (seeds, measure, chosen, recipe, compute, size, data, initial, searches)
"""Files with warnings; importing one registers what is in it."""


def warnings_of(spec: SweepSpec) -> list[SpecWarning]:
    """Everything that there is to warn of, in the order of the file, each thing once."""
    # Also variants that are not known yet: they lack only what searches will find.
    found = found_in(replace(spec, variants=spec.road))
    return sorted(found, key=lambda warning: warning.line)
