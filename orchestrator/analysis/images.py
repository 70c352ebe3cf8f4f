"""Chance in a step's effect that lies in the held-out images, from what the trials got right.

Each effect against the step before is looked at image by image (`orchestrator.stats.images`). That
needs accuracies of networks at the end of training, and the trials' `predictions.bin`; where one is
missing, damaged, or of other images, nothing is said of that effect.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from orchestrator.analysis.effects import StepEffect
from orchestrator.analysis.rows import StepRow
from orchestrator.stats.images import ImageChance, Interval, Marks, image_chance, with_images
from orchestrator.stats.inference import CONFIDENCE
from orchestrator.store.predictions import Predictions, read_predictions

_PERCENT = 100.0
"""Accuracies are in percent, marks are shares."""
_ROUNDING = 1e-6
_PARTS = {"val/acc1": "val", "test/acc1": "test"}
"""Metrics that marks of single images add up to, and the part that these are of."""

Read = Callable[[str], Predictions | None]


def image_chances(
    rows: Sequence[StepRow], metric: str, epoch: str = "last"
) -> Mapping[str, ImageChance]:
    """Chance that lies in the images, by the label of each row whose effect against the step before
    can be looked at image by image; `metric` is that of the rows, read at `epoch`.
    """
    part = _PARTS.get(metric)
    if part is None or epoch != "last":
        return {}
    by_label = {row.variant.label: row for row in rows}
    read = cache(lambda path: read_predictions(Path(path)))  # most rows are ground of another
    found = {}
    for row in rows:
        versus = _ground_of(row, by_label)
        chance = _between(row, versus, part, read) if versus else None
        if chance:
            found[row.variant.label] = chance
    return found


def chance_between(row: StepRow, versus: StepRow, metric: str) -> ImageChance | None:
    """`image_chances` of one row against any other, at the end of training."""
    part = _PARTS.get(metric)
    return _between(row, versus, part, lambda path: read_predictions(Path(path))) if part else None


def images_to_json(
    effect: Mapping[str, Any] | None, wider: Interval | None, chance: ImageChance | None
) -> dict[str, Any] | None:
    """An effect's form in `report --format json`, with what is known of the images."""
    if effect is None:
        return None
    return {
        **effect,
        "ci95_with_images": wider,
        "images": chance and chance.images,
        "disagreement": chance and chance.disagreement,
        "disagreement_between_seeds": chance and chance.disagreement_between_seeds,
    }


def ci95_with_images(
    delta: StepEffect | None, chance: ImageChance | None, looks: int = 1
) -> Interval | None:
    """The effect's interval, widened by the chance that lies in the images; none where either is
    not known. Each of several `looks` has its price, as in the interval over seeds.
    """
    interval = interval_of(delta)
    if interval is None or chance is None:
        return None
    confidence = 1 - (1 - CONFIDENCE) / max(1, looks)
    return with_images(interval, _PERCENT * chance.std_error, confidence)


def interval_of(delta: StepEffect | None) -> Interval | None:
    """The interval of an effect over seeds; None where there is none."""
    if delta is None:
        return None
    return delta.ci95


def images_sentence(
    rows: Sequence[StepRow], chances: Mapping[str, ImageChance], looks: int = 1
) -> str:
    """Sentence on what the images add to the chance between seeds; empty where it is not known."""
    wider = [_widening(row, chances.get(row.variant.label), looks) for row in rows]
    known = [share for share in wider if share is not None]
    if not known:
        return ""
    counts = {chance.images for chance in chances.values()}
    these = "these"
    if len(counts) == 1:
        these = f"these {counts.pop()}"
    most = f"{_PERCENT * max(known):.0f} %"
    much = f"on average {_PERCENT * fmean(known):.0f} % wider (at most {most})"
    if most == "0 %":
        much = "no wider"
    return f"Including the sampling of images like {these}, intervals would be {much}."


def _widening(row: StepRow, chance: ImageChance | None, looks: int) -> float | None:
    """Share by which the interval of a row's effect would be wider."""
    wide = ci95_with_images(row.delta_previous, chance, looks)
    narrow = interval_of(row.delta_previous)
    if wide is None or narrow is None:
        return None
    return (wide[1] - wide[0]) / (narrow[1] - narrow[0]) - 1


def _ground_of(row: StepRow, by_label: Mapping[str, StepRow]) -> StepRow | None:
    """The row that the effect is taken against."""
    if not row.versus_label:
        return None
    return by_label.get(row.versus_label)


def _between(row: StepRow, versus: StepRow, part: str, read: Read) -> ImageChance | None:
    seeds = sorted(row.compared_values.keys() & versus.compared_values.keys())
    first, second = (_marks_of(one, seeds, part, read) for one in (row, versus))
    if first is None or second is None or first[0] != second[0]:
        return None
    return image_chance(first[1], second[1])


def _marks_of(
    row: StepRow, seeds: Sequence[int], part: str, read: Read
) -> tuple[str, Marks] | None:
    """The digest of the images, and which of them each seed got right; none unless all seeds have
    them and they add up to the accuracies of the row.
    """
    found = [read(row.paths[seed]) for seed in seeds if seed in row.paths]
    known = [one for one in found if one is not None and one.part == part]
    if len(known) < len(seeds) or len({one.images for one in known}) != 1:
        return None
    for seed, one in zip(seeds, known, strict=True):
        share = _PERCENT * float(one.is_correct.mean())
        if abs(share - row.compared_values[seed]) > _ROUNDING:
            return None
    return known[0].images, np.stack([one.is_correct for one in known])
