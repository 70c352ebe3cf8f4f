"""Mutations of the shipped specs are plans or messages with their place; the long form is
benchmarks/spec_mutations.py.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "spec_mutations.py"

SWEEPS = [
    PROGRAM.parents[1] / "sweeps" / f"{name}.yaml" for name in ("llamafy", "llamafy_searched")
]


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("spec_mutations", PROGRAM)
    assert spec
    assert spec.loader
    module = sys.modules["spec_mutations"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_mutations_end_in_a_plan_or_a_message_with_its_place(program: ModuleType) -> None:
    counts, failures = program.mutate(range(40), 0, SWEEPS)
    assert failures == []
    assert counts["spec errors"] > counts["plans"] > 0


def test_the_same_seed_gives_the_same_mutations(program: ModuleType) -> None:
    assert program.content_of(7) == program.content_of(7) != program.content_of(8)
