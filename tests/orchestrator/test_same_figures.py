"""Every format shows the same figures, and they are what numpy and scipy make of the files."""

import csv
import html
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from invented import spec_of
from scipy import stats

from orchestrator import api
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.outcomes import Outcome
from orchestrator.planning.survey import survey
from orchestrator.report.answer import answer_of
from orchestrator.report.formats import render
from orchestrator.store.store import Store
from orchestrator.tracking.shape import summary_of

pytestmark = pytest.mark.slow

ROAD = """
steps:
  - name: rms_norm
    change: {model.norm: rmsnorm}
  - name: rope
    change: {model.position: rope}
    side:
      causal: {model.attention: causal}
  - name: last
    change: {model.class_token: last}
"""
STEPS = ("baseline", "rms_norm", "rope", "causal", "last")
AGAINST = {"rms_norm": "baseline", "rope": "rms_norm", "causal": "rms_norm", "last": "rope"}
STORES = {
    "shares": ("val/acc1", "max", [83.9, 79.3, 93.7, 71.6, 93.2], [5.8, 8.3, 1.1, 10.8, 0.9]),
    "losses": ("val/loss", "min", [3.2, 3.19, 0.3, 0.031, 0.0001], [0.02, 0.02, 1e-3, 1e-5, 1e-8]),
    "tiny": (
        "val/loss",
        "min",
        [1.2e-7, 1.3e-7, 1.2e-7, 4e-8, 1e-7],
        [4e-9, 1e-8, 3e-9, 1e-9, 1e-9],
    ),
}
"""By the store's name the metric, its direction, and the level and spread of each step."""
NUMBER = r"[+-]?\d[\d.]*(?:e[+-]\d+)?"


@dataclass(frozen=True)
class Truth:
    """Figures of one step, worked out here."""

    mean: float
    std: float
    ci95: tuple[float, float]
    delta: float = 0.0
    delta_ci95: tuple[float, float] = (0.0, 0.0)
    p: float | None = None
    """Corrected by Holm's method."""


@pytest.fixture(params=STORES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Roadmap, Path, str]:
    """A report, the folder of its trials and its metric."""
    metric, mode, levels, spreads = STORES[request.param]
    spec = spec_of(tmp_path, f"metric: {{name: {metric}, mode: {mode}}}\n{ROAD}", seeds=5)
    store = Store(tmp_path / "runs")
    draw = np.random.default_rng(7)
    for trial in survey(spec, store).specs:
        place = STEPS.index(trial.variant_label)
        metrics = {metric: float(levels[place] + spreads[place] * draw.normal())}
        directory = store.directory(trial)
        directory.write_trial(trial, {})
        content = {"metrics": metrics, "best": metrics, "seconds": 1.0}
        directory.write_result(Outcome.FINISHED, content)
    sweep = api.load(tmp_path / "sweep.yaml", tmp_path / "runs")
    return sweep.report().roadmap, tmp_path / "runs" / "invented" / "trials", metric


def truths(trials: Path, metric: str) -> dict[str, Truth]:
    """The figures of every step, from the trials' files alone."""
    values: dict[str, dict[int, float]] = {step: {} for step in STEPS}
    for path in trials.glob("*/result.json"):
        match = re.fullmatch(r"(.+)-seed(\d+)-\w+", path.parent.name)
        assert match
        values[match[1]][int(match[2])] = json.loads(path.read_text())["metrics"][metric]
    found, p_values = {}, {}
    for step, by_seed in values.items():
        own = np.array([by_seed[seed] for seed in sorted(by_seed)])
        assert len(own) == 5
        interval = stats.t.interval(0.95, 4, own.mean(), stats.sem(own))
        found[step] = {"mean": own.mean(), "std": own.std(ddof=1), "ci95": interval}
        if step in AGAINST:
            other = values[AGAINST[step]]
            test = stats.ttest_rel(own, [other[seed] for seed in sorted(other)])
            interval = test.confidence_interval(0.95)
            found[step] |= {"delta": (own - [other[seed] for seed in sorted(other)]).mean()}
            found[step] |= {"delta_ci95": (interval.low, interval.high)}
            p_values[step] = float(test.pvalue)
    largest = 0.0
    for place, step in enumerate(sorted(p_values, key=lambda one: p_values[one])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[step]))
        found[step]["p"] = largest
    return {step: Truth(**figures) for step, figures in found.items()}


def agrees(shown: str, true: float) -> bool:
    """Tell whether a number is rounded from another one, to the digits that it shows."""
    digits, _, power = shown.partition("e")
    decimals = len(digits.partition(".")[2])
    return abs(float(shown) - true) <= 0.5000001 * 10.0 ** (int(power or 0) - decimals)


def check_row(cells: Sequence[str], true: Truth) -> None:
    """Value, difference, p and decision of one line of a table."""
    value, delta, p, decided = cells
    mean, std = re.findall(NUMBER, value)
    assert agrees(mean, true.mean)
    assert agrees(std, true.std)
    if true.p is None:
        assert (delta, p, decided) == ("", "", "")
        return
    middle, low, high = re.findall(NUMBER, delta)
    assert agrees(middle, true.delta)
    assert agrees(low, true.delta_ci95[0])
    assert agrees(high, true.delta_ci95[1])
    assert true.p < 0.001 if p == "<0.001" else agrees(p, true.p)
    assert decided == ("yes" if true.p < 0.05 else "no")


def lines_of_markdown(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        cells = [cell.strip().replace("\\", "") for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) > 6:
            yield [cells[0], *cells[2:6]]


def lines_of_latex(text: str) -> Iterator[list[str]]:
    text = re.sub(r"\\allowbreak{}|\\quad{}", "", text)
    for shown, meant in ((r"\_", "_"), ("$-$", "-"), (r"$\pm$", "±"), ("$<$", "<")):
        text = text.replace(shown, meant)
    for line in text.partition(r"\end{tabular}")[0].splitlines():
        cells = [cell.strip() for cell in line.removesuffix(r"\\").split("&")]
        if len(cells) > 5:
            yield [cells[0], *cells[2:6]]


def lines_of_page(text: str) -> Iterator[list[str]]:
    table = text.partition('<section id="figures">')[2].partition("</table>")[0]
    for line in re.findall(r"<tr.*?</tr>", table, re.DOTALL):
        found = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL)
        cells = [html.unescape(re.sub("<.*?>", "", cell)) for cell in found]
        yield [cells[0], *cells[2:6]]


def lines_of_terminal(text: str) -> Iterator[list[str]]:
    """Cells by the places of the columns' headings, for some of them are empty."""
    lines = text.splitlines()
    head = next(line for line in lines if "p (Holm)" in line)
    ends = [head.index("(n=5)") + 5, head.index("CI]") + 3, head.index("(Holm)") + 6]
    for line in lines[lines.index(head) + 2 :]:
        if not line.strip():
            return
        name = re.split(r"\s{2,}", line.strip())[0]
        begin = head.index("change")
        value = re.split(r"\s{3,}", line[begin : ends[0]].rstrip())[-1]
        rest = line[ends[2] :].split()
        yield [
            name,
            value,
            line[ends[0] : ends[1]].strip(),
            line[ends[1] : ends[2]].strip(),
            rest[0] if rest and rest[0] in ("yes", "no") else "",
        ]


TABLES: Mapping[str, Callable[[str], Iterator[list[str]]]] = {
    "md": lines_of_markdown,
    "latex": lines_of_latex,
    "html": lines_of_page,
    "table": lines_of_terminal,
}


@pytest.mark.parametrize("form", TABLES)
def test_tables_show_what_the_files_hold(case: tuple[Roadmap, Path, str], form: str) -> None:
    roadmap, trials, metric = case
    true = truths(trials, metric)
    seen = set()
    for name, *cells in TABLES[form](render(roadmap, form).decode()):
        step = name.replace("└", "").strip()
        if step in true:
            check_row(cells, true[step])
            seen.add(step)
    assert seen == {*STEPS}


def test_json_and_csv_have_the_same_in_full_and_mlflow_as_the_report_shows_it(
    case: tuple[Roadmap, Path, str],
) -> None:
    roadmap, trials, metric = case
    true = truths(trials, metric)
    assert roadmap.family.size == len(AGAINST)
    steps = {step["name"]: step for step in json.loads(render(roadmap, "json"))["steps"]}
    lines = {
        line["step"]: line for line in csv.DictReader(render(roadmap, "csv").decode().split("\n"))
    }
    spec = api.load(trials.parent.parent.parent / "sweep.yaml", trials.parent.parent).spec
    for row in roadmap.rows:
        name = row.variant.name
        step, line, own = steps[name], lines[name], true[name]
        logged = summary_of(spec, row, is_whole=True).metrics
        expected = [own.mean, own.std, *own.ci95]
        for found in (
            [step["mean"], step["std"], *step["ci95"]],
            [float(line[key]) for key in ("mean", "std", "ci95_low", "ci95_high")],
        ):
            assert found == pytest.approx(expected, rel=1e-9)
        for end, value in zip(("", "_std", "_ci95_low", "_ci95_high"), expected, strict=True):
            assert agrees(f"{logged[metric + end]:.{row.decimals}f}", value)
        if own.p is None:
            assert step["delta_previous"] is None
            continue
        delta = step["delta_previous"]
        assert delta["versus"] == line["delta_previous_versus"] == AGAINST[name]
        expected = [own.delta, *own.delta_ci95, own.p]
        ends = ("", "_ci95_low", "_ci95_high", "_p_value")
        for found in (
            [delta["mean"], *delta["ci95"], delta["p_value"]],
            [float(line[f"delta_previous{end}"]) for end in ends],
        ):
            assert found == pytest.approx(expected, rel=1e-6)
        assert row.delta_previous
        for end, value in zip(("mean", "ci95_low", "ci95_high"), expected, strict=False):
            shown = f"{logged[f'delta_previous/{end}']:.{row.delta_previous.decimals}f}"
            assert agrees(shown, value)
        assert logged["delta_previous/p_value"] == pytest.approx(max(own.p, 1e-4), rel=5e-3)


def test_bars_and_their_effects_are_labelled_with_the_same(case: tuple[Roadmap, Path, str]) -> None:
    roadmap, trials, metric = case
    true = truths(trials, metric)
    page = render(roadmap, "html").decode().partition('<section id="effects">')[0]
    rows = re.findall(
        r'<div class="row (?:main|side).*?(?=<div class="row |<figcaption)', page, re.DOTALL
    )
    assert len(rows) == len(STEPS)
    for row in rows:
        name = re.search(r'data-name="(\S+) ', row)
        value = re.search(rf'class="value">({NUMBER}) <small>± ({NUMBER})</small>', row)
        assert name
        assert value
        own = true[name[1]]
        assert agrees(value[1], own.mean)
        assert agrees(value[2], own.std)
        if own.p is not None:
            effect = re.search(rf'class="chip (\w+)"[^>]*>\S ({NUMBER})', row)
            assert effect
            assert agrees(effect[2], own.delta)
            assert (effect[1] != "open") == (own.p < 0.05)
    effects = re.findall(rf">[▲▼≈○] ({NUMBER})<", render(roadmap, "svg").decode())
    assert len(effects) == len(AGAINST)
    for shown, step in zip(effects, AGAINST, strict=True):
        assert agrees(shown, true[step].delta)


def test_the_answer_is_of_the_same_figures(case: tuple[Roadmap, Path, str]) -> None:
    roadmap, trials, metric = case
    true = truths(trials, metric)
    [road] = answer_of(roadmap).roads
    first, last, delta, low, high = re.findall(
        NUMBER, road.partition(" to last: ")[2].replace("95 %", "")
    )
    assert agrees(first, true["baseline"].mean)
    assert agrees(last, true["last"].mean)
    values = [
        [
            json.loads(path.read_text())["metrics"][metric]
            for path in sorted(trials.glob(f"{step}-seed*/result.json"))
        ]
        for step in ("last", "baseline")
    ]
    interval = stats.ttest_rel(*values).confidence_interval(0.95)
    assert agrees(delta, float(np.mean(values[0]) - np.mean(values[1])))
    assert agrees(low, interval.low)
    assert agrees(high, interval.high)
    decided = {step: true[step] for step in AGAINST if (true[step].p or 1.0) < 0.05}
    named = {
        heading: {name.rpartition(" ")[0] for name in what.split(", ")}
        for heading, what in answer_of(roadmap).findings
    }
    for heading, sign in (("Better", 1), ("Worse", -1)):
        direction = sign if roadmap.mode == "max" else -sign
        expected = {step for step, own in decided.items() if own.delta * direction > 0}
        assert named.get(heading, set()) == expected
