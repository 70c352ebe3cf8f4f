"""Images are a second source of chance: how much wider it makes intervals, and where nothing can
be said of it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invented import digest, records, snapshot_of, spec_of

from orchestrator.analysis.images import chance_between, image_chances, images_sentence
from orchestrator.analysis.roadmap import Roadmap, build_roadmap
from orchestrator.planning.plan import trials_of
from orchestrator.report.notes import notes
from orchestrator.stats.images import (
    Marks,
    disagreement,
    disagreement_between_seeds,
    image_chance,
    image_std_error,
    with_images,
)
from orchestrator.store.predictions import FILE, Predictions, write_predictions
from orchestrator.trial import TrialRecord, TrialSpec

SEEDS, IMAGES = 3, 200
STEPS = """
steps:
  - name: rmsnorm
    change: {model.norm: rmsnorm}
  - name: causal
    change: {model.attention: causal}
"""


def marks(*rows: str) -> Marks:
    return np.array([[mark == "1" for mark in row] for row in rows])


def drawn(seed: int, seeds: int, images: int, own: float) -> tuple[Marks, Marks]:
    """Two variants of equal accuracy; `own` is how much images differ between them."""
    generator = np.random.default_rng(seed)
    hard = generator.normal(size=images)
    first, second = (
        0.5 + hard + own * generator.normal(size=images) + generator.normal(size=(seeds, images))
        > 0
        for _ in range(2)
    )
    return first, second


def test_disagreement_is_counted_image_by_image() -> None:
    first, second = marks("1100", "1010"), marks("1000", "0110")
    assert disagreement(first, second) == pytest.approx((1 + 2) / 8)
    assert disagreement(first, second, paired=False) == pytest.approx((1 + 2 + 1 + 2) / 16)
    assert disagreement_between_seeds(first) == pytest.approx(2 / 4)
    three = marks("111", "101", "001")
    assert disagreement_between_seeds(three) == pytest.approx((1 + 2 + 1) / 9)


def test_the_images_part_is_that_of_the_two_way_analysis_of_variance() -> None:
    first, second = drawn(0, 4, 60, own=1.0)
    values = first.astype(float) - second
    total, by_seed, by_image = values.mean(), values.mean(1), values.mean(0)
    ms_images = 4 * ((by_image - total) ** 2).sum() / 59
    rest = values - by_seed[:, None] - by_image + total
    ms_rest = (rest**2).sum() / (3 * 59)
    expected = np.sqrt((ms_images - ms_rest) / (4 * 60))
    assert image_std_error(first, second) == pytest.approx(expected)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(("own", "lowest", "highest"), [(0.0, 0.0, 0.15), (1.5, 0.65, 0.85)])
def test_it_estimates_what_drawing_other_images_changes(
    paired: bool, own: float, lowest: float, highest: float
) -> None:
    pairs = [drawn(seed, 3, 300, own) for seed in range(300)]
    estimates = [image_std_error(*pair, paired=paired) ** 2 for pair in pairs]
    real = np.var([first.mean() - second.mean() for first, second in pairs])
    noise = np.mean([(a.astype(float) - b).var(0, ddof=1).mean() / (3 * 300) for a, b in pairs])
    assert lowest <= np.mean(estimates) / real <= highest
    assert np.mean(estimates) + noise == pytest.approx(real, rel=0.2)


def test_the_interval_is_never_narrower_and_is_students_where_images_do_not_matter() -> None:
    assert with_images((1.0, 3.0), 0.0) == (1.0, 3.0)
    low, high = with_images((1.0, 3.0), 1.0)
    assert (low, high) == pytest.approx((2 - np.hypot(1, 1.96), 2 + np.hypot(1, 1.96)), abs=1e-3)
    assert with_images((1.0, 3.0), 1.0, confidence=0.99)[1] > high


def test_of_one_seed_or_a_few_telling_images_nothing_is_said() -> None:
    first, second = drawn(0, 3, 100, own=1.0)
    assert image_chance(first, second) is not None
    assert image_chance(first[:1], second) is None
    alike = np.ones((3, 100), dtype=bool)
    other = alike.copy()
    other[:, :9] = False
    assert image_chance(alike, other) is None


@pytest.mark.parametrize("seeds", [3, 8])
def test_the_interval_holds_the_truth_over_other_seeds_and_images(seeds: int) -> None:
    from orchestrator.stats.inference import half_width

    alone = wide = 0
    for seed in range(400):
        first, second = drawn(seed, seeds, 100, own=1.0)
        by_seed = first.mean(1) - second.mean(1)
        half = float(half_width(by_seed))
        low, high = with_images((-half, half), image_std_error(first, second))
        alone += abs(by_seed.mean()) <= half
        wide += low <= by_seed.mean() <= high
    assert alone / 400 < 0.93
    assert wide / 400 >= 0.94


def report(
    folder: Path, spoil: Any = None, metric: str = "val/acc1", epoch: str = "last"
) -> Roadmap:
    """A sweep whose trials have files with the images that they got right."""
    body = f"metric: {{name: {metric}, epoch: {epoch}}}\n{STEPS}"
    spec = spec_of(folder, body, seeds=SEEDS)
    generator = np.random.default_rng(0)
    hard = generator.normal(size=IMAGES)
    ends: dict[str, list[float]] = {}
    for number, name in enumerate(("baseline", "rmsnorm", "causal")):
        own = hard + generator.normal(size=IMAGES) + 0.3 * number
        for seed in range(SEEDS):
            right = own + generator.normal(size=IMAGES) > -0.5
            ends.setdefault(name, []).append(100 * float(right.mean()))
            place = folder / f"{name}-{seed}"
            place.mkdir()
            write_predictions(place, Predictions("val", "sha256:these", right))
    if spoil:
        spoil(folder)

    def path_of(trial: TrialSpec) -> str:
        return str(folder / f"{trial.variant}-{trial.seed}")

    known = records({name: list(values) for name, values in ends.items()}, path_of)

    def record_of(trial: TrialSpec) -> TrialRecord:
        record = known(trial)
        return replace(record, attempts=1)

    return build_roadmap(snapshot_of(spec, trials_of(spec, digest), record_of))


def test_the_report_says_how_much_wider_intervals_would_be(tmp_path: Path) -> None:
    roadmap = report(tmp_path)
    assert roadmap.image_chances.keys() == {"rmsnorm", "causal"}
    [baseline, step, _] = roadmap.to_json()["steps"]
    assert baseline["delta_previous"] is None
    delta = step["delta_previous"]
    (low, high), (wide_low, wide_high) = delta["ci95"], delta["ci95_with_images"]
    assert wide_low < low < high < wide_high
    assert delta["mean"] == pytest.approx((wide_low + wide_high) / 2)
    assert delta["images"] == IMAGES
    assert 0 < delta["disagreement_between_seeds"] < delta["disagreement"] < 1
    [sentence] = [
        line for line in notes(roadmap) if line.startswith("Including the sampling of images")
    ]
    assert f"images like these {IMAGES}, intervals would be" in sentence


@pytest.mark.parametrize(
    ("spoil", "left"),
    [
        (lambda folder: (folder / "causal-1" / FILE).unlink(), {"rmsnorm"}),
        (lambda folder: (folder / "causal-1" / FILE).write_bytes(b"damaged"), {"rmsnorm"}),
        (lambda folder: (folder / "baseline-0" / FILE).unlink(), {"causal"}),
        (
            lambda folder: write_predictions(
                folder / "causal-1", Predictions("val", "sha256:others", np.ones(IMAGES, bool))
            ),
            {"rmsnorm"},
        ),
        (
            lambda folder: write_predictions(
                folder / "causal-1", Predictions("val", "sha256:these", np.ones(IMAGES, bool))
            ),
            {"rmsnorm"},
        ),
        (lambda folder: [path.unlink() for path in folder.glob(f"*/{FILE}")], set()),
    ],
    ids=["missing", "damaged", "of the ground", "other images", "another training", "none"],
)
def test_nothing_is_said_of_an_effect_whose_images_are_not_known(
    tmp_path: Path, spoil: Any, left: set[str]
) -> None:
    roadmap = report(tmp_path, spoil)
    assert roadmap.image_chances.keys() == left
    told = {
        step["name"]: step["delta_previous"]["ci95_with_images"]
        for step in roadmap.to_json()["steps"][1:]
    }
    assert {name for name, interval in told.items() if interval} == left
    if not left:
        assert not any("images like these" in note for note in notes(roadmap))


def test_marks_are_those_of_accuracies_at_the_end(tmp_path: Path) -> None:
    roadmap = report(tmp_path)
    assert image_chances(roadmap.rows, "val/loss") == {}
    assert image_chances(roadmap.rows, "val/acc1", "best") == {}
    assert image_chances(roadmap.rows, "test/acc1") == {}
    baseline, step, _ = roadmap.rows
    assert chance_between(step, baseline, "val/acc1") == roadmap.image_chances["rmsnorm"]
    assert chance_between(step, baseline, "val/acc5") is None


def test_images_that_do_not_matter_are_said_not_to(tmp_path: Path) -> None:
    roadmap = report(tmp_path)
    none = {
        label: replace(chance, std_error=0.0) for label, chance in roadmap.image_chances.items()
    }
    sentence = images_sentence(roadmap.rows, none)
    assert sentence.endswith(f"images like these {IMAGES}, intervals would be no wider.")


def test_without_intervals_nothing_is_said_of_them(tmp_path: Path) -> None:
    roadmap = report(tmp_path)
    assert images_sentence(roadmap.rows[:1], roadmap.image_chances) == ""
