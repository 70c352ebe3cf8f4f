"""Check that a trial can ever run: what it asks for against what a machine, or each node, has."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from orchestrator.trial import Resources, TrialSpec

Node = Mapping[str, float]
"""Resources of a machine that trials may use: `CPU` and `GPU` counted, `memory` in bytes."""


def demand(resources: Resources) -> dict[str, float]:
    """Resources that a trial asks of each node, in the words and units of `Node`."""
    asked = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": (resources.memory or 0) * 1e9}
    return {kind: amount for kind, amount in asked.items() if amount}


def fits(resources: Resources, nodes: Sequence[Node]) -> bool:
    """True if as many of the nodes as a trial asks for could each hold its part."""
    asked = demand(resources)
    return (
        sum(all(node.get(kind, 0) >= amount for kind, amount in asked.items()) for node in nodes)
        >= resources.nodes
    )


def shortage(trials: Sequence[TrialSpec], nodes: Sequence[Node], where: str) -> str | None:
    """The first trial that no node can hold, what it asks for and what there is in `where`, in a
    sentence; none where all fit.
    """
    known: dict[Resources, bool] = {}
    for trial in trials:
        if not known.setdefault(trial.resources, fits(trial.resources, nodes)):
            asked, have = _words(demand(trial.resources)), Counter(map(_words, nodes))
            there = sorted(have)
            if trial.resources.nodes > 1:
                asked = f"{trial.resources.nodes} nodes with {asked} each"
                there = [f"{count}x {words}" for words, count in sorted(have.items())]
            found = " and ".join(there) or "no node for trials"
            return f"trial {trial.name} needs {asked}, but {where} has {found}"
    return None


def this_machine() -> Node:
    """Resources of this machine, as far as they are known without a library for GPUs."""
    gpus = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    return {"CPU": os.cpu_count() or 1, "GPU": gpus, "memory": psutil.virtual_memory().total}


def _words(amounts: Node) -> str:
    cpus, gpus, memory = (amounts.get(kind, 0) for kind in ("CPU", "GPU", "memory"))
    words = [f"{cpus:g} CPU{'s' * (cpus != 1)}"]
    if gpus:
        words.append(f"{gpus:g} GPU{'s' * (gpus != 1)}")
    if memory:
        words.append(f"{memory / 1e9:.3g} GB of memory")
    return ", ".join(words)
