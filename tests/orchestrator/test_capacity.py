"""What fits where, and what is said where nothing fits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.planning.capacity import fits, shortage
from orchestrator.trial import Resources

SMALL, LARGE = {"CPU": 2.0, "memory": 4e9}, {"CPU": 8.0, "GPU": 1.0, "memory": 16e9}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(), True),
        (Resources(cpus=8, gpus=1, memory=16), True),
        (Resources(cpus=9), False),
        (Resources(gpus=0.5), True),
        (Resources(gpus=2), False),
        (Resources(memory=17), False),
    ],
)
def test_one_node_must_hold_all_that_a_trial_asks_for(resources: Resources, expected: bool) -> None:
    assert fits(resources, [SMALL, LARGE]) is expected
    assert not fits(resources, [])


def test_nodes_do_not_add_up() -> None:
    assert not fits(Resources(cpus=4), [SMALL, SMALL])
    assert not fits(Resources(cpus=4, gpus=1), [{"CPU": 8.0}, {"CPU": 2.0, "GPU": 1.0}])


def test_a_trial_over_several_nodes_needs_as_many_that_hold_its_part_each() -> None:
    wide = Resources(cpus=2, nodes=2)
    assert fits(wide, [SMALL, LARGE])
    assert not fits(wide, [LARGE]), "one node is not two, however large"
    assert not fits(Resources(cpus=4, nodes=2), [SMALL, LARGE])


def test_a_shortage_of_nodes_counts_them(make_sweep: Callable[..., Any]) -> None:
    [trial] = make_sweep(resources={"cpus": 4, "nodes": 2}).trials
    assert shortage([trial], [SMALL, SMALL, LARGE], "the cluster") == (
        "trial baseline-seed0 needs 2 nodes with 4 CPUs each, but "
        "the cluster has 2x 2 CPUs, 4 GB of memory and 1x 8 CPUs, 1 GPU, 16 GB of memory"
    )


def test_a_shortage_names_the_trial_what_it_asks_for_and_what_there_is(
    make_sweep: Callable[..., Any],
) -> None:
    steps = [
        {
            "name": "wide",
            "change": {"model.depth": 2},
            "resources": {"cpus": 16, "gpus": 1, "memory": "2GB"},
        }
    ]
    trials = make_sweep(steps=steps).trials
    assert shortage(trials[:1], [SMALL], "it") is None
    assert shortage(trials, [SMALL, SMALL, LARGE], "the cluster") == (
        "trial wide-seed0 needs 16 CPUs, 1 GPU, 2 GB of memory, but "
        "the cluster has 2 CPUs, 4 GB of memory and 8 CPUs, 1 GPU, 16 GB of memory"
    )
    assert "it has no node for trials" in str(shortage(trials, [], "it"))


def test_a_plan_warns_of_what_does_not_fit_here(
    cli: Callable[..., Any], write_spec: Callable[..., Path], store_path: Path
) -> None:
    spec = write_spec(resources={"cpus": 10_000})
    codes = [
        warning["code"]
        for warning in cli("plan", spec, "--store", store_path, "--json").json["warnings"]
    ]
    assert "resources-here" in codes
    assert "resources-here" not in cli("plan", write_spec(), "--store", store_path, "--json").out
