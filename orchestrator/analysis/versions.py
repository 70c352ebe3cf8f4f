"""Versions of packages that are not the same on both sides of a comparison: they may explain it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.analysis.rows import StepRow
from orchestrator.store.provenance import WITHOUT_NUMBERS
from orchestrator.store.store import TrialDirectory

Versions = Mapping[str, tuple[str, ...]]


def version_sentences(rows: Sequence[StepRow]) -> Iterator[str]:
    """Comparisons whose trials ran with other versions, those with the same ones together.

    Each side goes by its first and its last seed: a sweep that is continued after an upgrade shows
    in one of them, and a report need not read all trials.
    """
    by_label = {row.variant.label: row for row in rows}
    known = {label: _versions_of(row) for label, row in by_label.items()}
    names: dict[str, list[str]] = {}
    for label, row in by_label.items():
        here, there = known[label], known.get(row.versus_label or "", {})
        changed = [name for name in here if there.get(name, here[name]) != here[name]]
        if changed:
            text = "; ".join(_change(name, there, here) for name in changed)
            names.setdefault(text, []).append(label)
    for text, labels in names.items():
        yield (
            f"Not held fixed: {text}, between the other side of the comparison and "
            f"{', '.join(labels)}. The version may explain a difference."
        )


def _change(name: str, before: Versions, after: Versions) -> str:
    return f"{name} {', '.join(before[name])} -> {', '.join(after[name])}"


def _versions_of(row: StepRow) -> Versions:
    seeds = sorted(row.paths)
    found: dict[str, set[str]] = {}
    for seed in {*seeds[:1], *seeds[-1:]}:
        origin = TrialDirectory(Path(row.paths[seed])).provenance()
        for name, version in origin.get("packages", {}).items():
            if name not in WITHOUT_NUMBERS:
                found.setdefault(name, set()).add(version)
        if "python" in origin:
            python, _, _ = str(origin["python"]).rpartition(".")
            found.setdefault("Python", set()).add(python)
    return {name: tuple(sorted(versions)) for name, versions in found.items()}
