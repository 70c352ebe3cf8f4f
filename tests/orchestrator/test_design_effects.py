"""Every effect of every design stands beside the name of its own step, in every format.

Random sweeps with known effects, one known interaction and no noise. What a variant contains is
read from its settings here, not from what the design says of it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import unescape
from io import StringIO
from itertools import combinations
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from invented import End, roadmap_of, spec_of
from rich.console import Console

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.sections import INTERACTION, PLACE, EffectLine, Section
from orchestrator.report.formats import render
from orchestrator.report.terminal import roadmap_table
from orchestrator.trial import Variant

NAMES = (
    *("factorial", "order1", "only", "without", "orders", "000", "010", "1", "order2", "all_step"),
    *("a", "b", "zeta", "a.b", "x-y", "road", "step", "effect", "interaction", "baseline2"),
)
SETTINGS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "model.norm": ("rmsnorm", lambda config: config.model.norm == "rmsnorm"),
    "model.feed_forward": ("swiglu", lambda config: config.model.feed_forward == "swiglu"),
    "model.position": ("rope", lambda config: config.model.position == "rope"),
    "train.lr": ("1e-3", lambda config: config.train.lr == 1e-3),
    "train.weight_decay": ("0.01", lambda config: config.train.weight_decay == 0.01),
}
SEEDS = 3


class Case:
    """A random sweep, what its steps do, and how its trials end."""

    def __init__(self, number: int, folder: Path) -> None:
        self.random = Random(number)
        self.keys = dict(zip(self._names(), self.random.sample(sorted(SETTINGS), 5), strict=False))
        self.names = list(self.keys)
        self.effects = {name: 2.0**power for power, name in enumerate(self._shuffled(self.names))}
        self.pair = frozenset(self.random.sample(self.names, 2))
        self.joint = self.random.choice([0.75, -5.5])
        self.regimes = self.random.choice([[], ["narrow", "wide"]])
        self.has_road = self.random.random() < 0.5
        self.spec = spec_of(folder, self._body(), seeds=SEEDS)
        self.sick: set[str] = set()
        self.short: set[str] = set()
        self._spoil()

    def _names(self) -> list[str]:
        return self.random.sample(NAMES, self.random.randint(2, 5))

    def _shuffled(self, names: Sequence[str]) -> list[str]:
        return self.random.sample(names, len(names))

    def _body(self) -> str:
        lines = [f"design: [{', '.join(self._designs())}]", "steps:"]
        related = self.random.random() < 0.4
        for index, name in enumerate(self.names):
            relation = ""
            if related and index == len(self.names) - 1:
                earlier = self.random.choice(self.names[:index])
                kind = (
                    "requires" if self.has_road else self.random.choice(["requires", "conflicts"])
                )
                relation = f'{kind}: ["{earlier}"], '
            key = self.keys[name]
            lines.append(f'  - {{name: "{name}", {relation}change: {{{key}: {SETTINGS[key][0]}}}}}')
        if self.regimes:
            lines.append("regimes: {narrow: {model.embed_dim: 32}, wide: {}}")
        return "\n".join(lines) + "\n"

    def _designs(self) -> list[str]:
        designs = ["one_factor", "leave_one_out", self._factorial()]
        designs.append(
            f"{{orders: {{count: {self.random.randint(1, 4)}, seed: {self.random.randint(0, 9)}}}}}"
        )
        chosen = self._shuffled(designs)[: self.random.randint(1, 4)]
        return self._shuffled(["roadmap", *chosen]) if self.has_road else chosen

    def _factorial(self) -> str:
        kind = self.random.choice(["whole", "part", "fraction"])
        if kind == "part":
            steps = self.random.sample(self.names, self.random.randint(2, len(self.names)))
            listed = ", ".join(f'"{step}"' for step in steps)
            return f"{{factorial: {{steps: [{listed}]}}}}"
        if kind == "fraction" and len(self.names) > 2:
            return "{factorial: {fraction: 1/2}}"
        return "factorial"

    def _spoil(self) -> None:
        """Some cells collapse, and in others the trial of a seed failed or is still to come."""
        cells = [v.label for v in self.spec.variants if v.design in ("factorial", "orders")]
        if cells and self.random.random() < 0.4:
            self.sick = set(self.random.sample(cells, 1))
        if cells and self.random.random() < 0.4:
            self.short = set(self.random.sample(cells, 1)) - self.sick

    def contains(self, variant: Variant) -> frozenset[str]:
        """The steps that a variant's settings have."""
        return frozenset(n for n, key in self.keys.items() if SETTINGS[key][1](variant.config))

    def value(self, steps: frozenset[str], regime: str) -> float:
        """The metric of a cell with the first seed."""
        scale = 3.0 if regime == "wide" else 1.0
        return 50 + scale * (
            sum(self.effects[s] for s in steps) + self.joint * (self.pair <= steps)
        )

    def roadmap(self) -> Roadmap:
        ends: dict[str, list[End | None]] = {}
        for variant in self.spec.variants:
            values = [self.value(self.contains(variant), variant.regime) + s for s in range(SEEDS)]
            ends[variant.label] = list(values)
            if variant.label in self.sick:
                ends[variant.label] = [("collapsed", 10.0)] * SEEDS
            if variant.label in self.short:
                ends[variant.label][1] = self.random.choice([None, "failed"])
        return roadmap_of(self.spec, ends)

    def expected(self, section: Section, line: EffectLine) -> float | None:
        """The effect that a line must show; None where it cannot be known from its label alone."""
        names = line.label.partition(", step ")[0].split(" × ")
        cells = [
            v for v in self.spec.variants if v.design == section.design and v.regime == line.regime
        ]
        scale = 3.0 if line.regime == "wide" else 1.0
        own = self.effects.get(names[0], 0.0)
        if section.design == "one_factor":
            return scale * own
        if section.design == "leave_one_out":
            return scale * (own + self.joint * (names[0] in self.pair))
        healthy = [v for v in cells if v.label not in self.sick]
        if section.design == "factorial":
            return self._least_squares(cells, healthy, names)
        if line.kind == INTERACTION:
            return scale * self.joint * (self.pair == set(names))
        return fmean(self._at_places(names[0], line)) if not self.sick else None

    def _least_squares(
        self, cells: Sequence[Variant], healthy: Sequence[Variant], names: Sequence[str]
    ) -> float | None:
        """The same contrast by a linear model of main effects and pairs, or of main effects."""
        factors = sorted({name for cell in cells for name in self.contains(cell)})
        pairs = list(combinations(factors, 2))
        have = [self.contains(cell) for cell in healthy]
        levels = {f: np.array([(f in has) - 0.5 for has in have]) for f in factors}
        levels = {f: column for f, column in levels.items()}
        values = np.array([self.value(h, c.regime) for h, c in zip(have, healthy, strict=True)])
        for effects in ([*((f,) for f in factors), *pairs], [(f,) for f in factors]):
            columns = [
                np.ones(len(have)),
                *(np.prod([levels[f] for f in e], axis=0) for e in effects),
            ]
            matrix = np.stack(columns, axis=1)
            index = next((i for i, e in enumerate(effects, 1) if set(e) == set(names)), None)
            if index is None:
                return None
            rest = np.delete(matrix, index, axis=1)
            if np.linalg.matrix_rank(rest) < np.linalg.matrix_rank(matrix):
                return float(np.linalg.lstsq(matrix, values, rcond=None)[0][index])
        return None

    def _at_places(self, name: str, line: EffectLine) -> Iterator[float]:
        """What the step does at each of its places, or at the line's own."""
        scale = 3.0 if line.regime == "wide" else 1.0
        by_name = {v.name: v for v in self.spec.variants if v.regime == line.regime}
        of_place = re.search(r", step (\d+) of (the road|order (\d+))$", line.label)
        for variant in by_name.values():
            if variant.design not in ("roadmap", "orders") or not variant.follows:
                continue
            before, after = self.contains(by_name[variant.follows]), self.contains(variant)
            if after - before != {name}:
                continue
            if of_place:
                head = f"order{of_place[3]}." if of_place[3] else ""
                if variant.name != head + name or len(after) != int(of_place[1]):
                    continue
            joint = self.joint if self.pair <= after and not self.pair <= before else 0.0
            yield scale * (self.effects[name] + joint)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_every_effect_is_that_of_its_step_in_every_format(tmp_path: Path, number: int) -> None:
    case = Case(number, tmp_path)
    roadmap = case.roadmap()
    texts = {form: write(roadmap) for form, write in WRITERS.items()}
    shown = {form: shown_in(form, text, roadmap) for form, text in texts.items()}
    for section in roadmap.sections:
        for line in section.lines:
            if line.delta is None:
                continue
            mean = line.delta.effect.mean
            expected = case.expected(section, line)
            if expected is not None and "collapsed" not in line.note:
                assert mean == pytest.approx(expected, abs=1e-9), (section.design, line.label)
            label = f"{line.regime}/{line.label}" if line.regime else line.label
            for form, figures in shown.items():
                if form == "table" and line.kind == PLACE:
                    continue  # the terminal leaves the places out
                figure = figures[section.title][label]
                assert float(figure) == pytest.approx(mean, abs=0.0051), (form, label)
    if case.short:
        check_that_a_missing_seed_is_told(case, roadmap, texts)


def check_that_a_missing_seed_is_told(
    case: Case, roadmap: Roadmap, texts: Mapping[str, str]
) -> None:
    """No effect drops a seed without a word."""
    [label] = case.short
    [variant] = [v for v in case.spec.variants if v.label == label]
    [section] = [s for s in roadmap.sections if s.design == variant.design]
    lines = [line for line in section.lines if line.is_tested and line.regime == variant.regime]
    if variant.design == "orders":
        lines = [line for line in lines if variant.step in line.steps]
    deltas = [line.delta for line in lines if line.delta]
    assert all("over 2 of 3 seeds" in delta.caveat for delta in deltas)
    assert any("seed 1" in reason and label in reason for reason in section.left_out)
    assert not deltas or all("over 2 of 3 seeds" in text for text in texts.values())


def table_of(roadmap: Roadmap) -> str:
    console = Console(width=300, file=StringIO())
    with console.capture() as captured:
        console.print(roadmap_table(roadmap))
    return captured.get()


WRITERS: Mapping[str, Callable[[Roadmap], str]] = {
    "json": lambda roadmap: json.dumps(roadmap.to_json()),
    "md": lambda roadmap: render(roadmap, "md").decode(),
    "latex": lambda roadmap: render(roadmap, "latex").decode(),
    "table": table_of,
    "html": lambda roadmap: unescape(render(roadmap, "html").decode()),
}
PATTERNS = {
    "md": r"^\| (.+?) \| ([+-][\d.]+)",
    "latex": r"^(.+?) & (\$?[+-]\$?[\d.]+)",
    "table": r"^\W*(\S.*?)\s{2,}\W*([+-][\d.]+)",
    "html": r'<div class="name">(.+?)(?:<small>.*?)?</div>.*?class="value">([+-][\d.]+)',
}
"""A line of a table: its label, and the figure behind it."""


def shown_in(form: str, text: str, roadmap: Roadmap) -> dict[str, dict[str, str]]:
    """By the sections' titles and the labels of their lines, the figures that a format shows."""
    sections = [section for section in roadmap.sections if section.lines]
    if form == "json":
        told = {design["design"]: design["effects"] for design in json.loads(text)["designs"]}
        return {section.title: dict(_labelled(told[section.design])) for section in sections}
    heads = {
        title: f"% {title}:" if form == "latex" else title for title in (s.title for s in sections)
    }
    find = text.index if form == "latex" else text.rindex
    places = sorted((find(head), title) for title, head in heads.items())
    found: dict[str, dict[str, str]] = {}
    for (start, title), (end, _) in zip(places, [*places[1:], (len(text), "")], strict=False):
        rows = re.findall(PATTERNS[form], text[start:end], re.MULTILINE)
        found[title] = {_plain(label): figure.replace("$", "") for label, figure in rows}
    return found


def _labelled(effects: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """By their labels, the means of those effects that have one."""
    for effect in effects:
        if "mean" in effect:
            regime = f"{effect['regime']}/" if effect["regime"] else ""
            yield regime + effect["label"], str(effect["mean"])


def _plain(label: str) -> str:
    """A label without what a format puts around its special letters."""
    return label.replace(r"\allowbreak{}", "").replace(r"$\times$", "×").replace("\\", "").strip()
