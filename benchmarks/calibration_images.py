"""Do intervals that count images as a source of chance hold the truth? Simulated classifiers.

    python benchmarks/calibration_images.py

It writes `benchmarks/results/calibration_images.json` and `.md`.

An image is classified correctly where a sum of normal numbers is above 0: the variant's level, how
hard the image is, how hard it is for this variant, the seed's luck, and the luck of this seed with
this image. Seeds and images are drawn anew for each comparison, so the truth, the difference of two
shares over all seeds and all images, is known by formula. The functions under test are those that
the report calls.
"""

import argparse
import json
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist, median

import numpy as np

from orchestrator.stats.images import Marks, image_chance, with_images
from orchestrator.stats.inference import half_width

RESULTS = Path(__file__).parent / "results"
SEEDS = (3, 6, 12)
IMAGES = (100, 400, 2000)
COMPARISONS = 2000
ENOUGH = 0.05
"""Share of the comparisons that must be told of for figures to be shown."""


@dataclass(frozen=True)
class World:
    """Standard deviations of what a classification is the sum of; that of one seed with one image
    is 1.
    """

    levels: tuple[float, float]
    """Of the two variants: how much better than a coin."""
    image: float
    """How hard an image is, for both."""
    variant_image: float
    """How hard it is for one variant alone: what drawing other images changes."""
    seed: float


WORLDS = {
    "no difference, images alike for both": World((1.5, 1.5), 2.0, 0.0, 0.1),
    "a difference, images alike for both": World((1.5, 2.0), 2.0, 0.0, 0.1),
    "a difference, images differ by variant": World((1.5, 2.0), 2.0, 1.0, 0.1),
    "images differ by variant, seeds hardly": World((2.0, 2.0), 2.0, 1.5, 0.0),
    "seeds spread widely": World((1.0, 1.2), 2.0, 0.5, 1.0),
    "3 % wrong, images differ by variant": World((4.6, 4.9), 2.0, 1.0, 0.2),
    "1 % wrong, images differ by variant": World((6.0, 6.3), 2.0, 1.0, 0.2),
}


@dataclass(frozen=True)
class Figures:
    """Counts of one world at one number of seeds and images."""

    world: str
    seeds: int
    images: int
    told: float
    """Share of the comparisons of which the report says anything; the rest of the figures is of
    these."""
    coverage_of_seeds: float
    """How often the interval over seeds alone holds the truth, which it does not promise."""
    coverage: float
    """How often the interval with images does."""
    widening: float
    """Median of the ratio of the two widths, minus 1."""


def draw(generator: np.random.Generator, world: World, seeds: int, images: int) -> list[Marks]:
    """Marks of both variants on the same images, (seeds, images) each."""
    hardness = generator.normal(size=images) * world.image
    found = []
    for level in world.levels:
        own = generator.normal(size=images) * world.variant_image
        luck = generator.normal(size=(seeds, 1)) * world.seed
        found.append(level + hardness + own + luck + generator.normal(size=(seeds, images)) > 0)
    return found


def truth(world: World) -> float:
    """First variant minus second, over all seeds and images."""
    spread = math.sqrt(1 + world.image**2 + world.variant_image**2 + world.seed**2)
    first, second = (NormalDist().cdf(level / spread) for level in world.levels)
    return first - second


def measure(name: str, seeds: int, images: int, comparisons: int) -> Figures:
    """Draw comparisons and look at their intervals."""
    world, generator = WORLDS[name], np.random.default_rng([seeds, images])
    expected, narrow, wide, ratios = truth(world), 0, 0, []
    for _ in range(comparisons):
        first, second = draw(generator, world, seeds, images)
        differences = first.mean(axis=1) - second.mean(axis=1)  # (seeds,)
        mean, half = float(differences.mean()), float(half_width(differences))
        chance = image_chance(first, second)
        if chance is None or half == 0:  # then the report has no interval
            continue
        low, high = with_images((mean - half, mean + half), chance.std_error)
        narrow += abs(mean - expected) <= half
        wide += low <= expected <= high
        ratios.append((high - low) / (2 * half) - 1)
    told = len(ratios)
    shares = (narrow / told, wide / told, median(ratios)) if told else (1.0, 1.0, 0.0)
    return Figures(name, seeds, images, told / comparisons, *shares)


def to_markdown(figures: Sequence[Figures], comparisons: int, seconds: float) -> str:
    """The table that stands beside the numbers."""
    lines = [
        "# Intervals that count images as a source of chance",
        "",
        (
            f"{comparisons} comparisons of two simulated classifiers in each line, seeds and "
            f"images drawn anew for each; {seconds:.0f} s. Written by "
            "`benchmarks/calibration_images.py`."
        ),
        "",
        (
            "Coverage is how often a 95 % interval holds the true difference over all seeds and "
            "images."
        ),
        (
            "The interval over seeds alone does not promise that: it is about the images at hand. "
            "Where"
        ),
        "fewer than ten images tell the networks apart, nothing is said (`told` below 100 %).",
        "",
        "| world | seeds | images | told | seeds alone | with images | wider by |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for one in figures:
        cells = [f"{one.coverage_of_seeds:.1%}", f"{one.coverage:.1%}", f"{one.widening:.0%}"]
        if one.told < ENOUGH:
            cells = ["-", "-", "-"]
        first = [one.world, str(one.seeds), str(one.images), f"{one.told:.0%}"]
        lines.append(f"| {' | '.join(first + cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every world and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--comparisons", type=int, default=COMPARISONS)
    comparisons = parser.parse_args().comparisons
    began = time.perf_counter()
    figures = [
        measure(name, seeds, images, comparisons)
        for name in WORLDS
        for seeds in SEEDS
        for images in IMAGES
    ]
    seconds = time.perf_counter() - began
    about = {
        "comparisons": comparisons,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    content = {**about, "figures": [asdict(one) for one in figures]}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "calibration_images.json").write_text(json.dumps(content, indent=1) + "\n")
    text = to_markdown(figures, comparisons, seconds)
    (RESULTS / "calibration_images.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
