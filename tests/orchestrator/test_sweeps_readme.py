"""Every example of `sweeps/README.md` does what the text around it says, and every shipped sweep
can be planned.
"""

import re
from pathlib import Path

import pytest
import yaml

from illama.config import TrainConfig
from illama.cost import parameter_count
from orchestrator.analysis.snapshot import ABSENT
from orchestrator.errors import SpecError
from orchestrator.planning.plan import later_trials, trials_of
from orchestrator.spec.designs import DESIGNS
from orchestrator.spec.samplers import SAMPLERS
from orchestrator.spec.schema import SweepSchema
from orchestrator.spec.search_schema import SearchSchema
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.spec.warnings import warnings_of

SWEEPS = Path(__file__).parents[2] / "sweeps"
TEXT = (SWEEPS / "README.md").read_text()
BLOCKS = re.findall(r"^```(yaml|text)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
FIRST = BLOCKS[0][1]


needs_the_papers_recipe = pytest.mark.skipif(
    "mixup" not in TrainConfig.model_fields, reason="train.mixup is not a setting yet"
)


def whole(block: str) -> str:
    """A piece laid over the first example; a whole spec as it is."""
    piece = yaml.safe_load(block)
    if "name" in piece:
        return block
    base = yaml.safe_load(FIRST)
    kept = {key: value for key, value in base.items() if key not in piece}
    return yaml.safe_dump(kept, sort_keys=False) + block


EXAMPLES = [
    (index, text)
    for index, (kind, text) in enumerate(BLOCKS)
    if kind == "yaml" and [*BLOCKS, ("", "")][index + 1][0] != "text"
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", [text for _, text in EXAMPLES], ids=[f"block {index}" for index, _ in EXAMPLES]
)
def test_an_example_is_a_spec_that_plans(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.yaml").write_text(whole(text))
    for module in ("foreign_model/mixer.py", "own_training/charlm.py"):
        (tmp_path / Path(module).name).write_bytes((SWEEPS.parent / "docs" / module).read_bytes())
    spec = load_spec(tmp_path / "sweep.yaml")
    assert [*trials_of(spec, lambda data: "digest"), *later_trials(spec)]
    if "_recipe_only" in text or "_on_baseline" in text:
        assert not {"confounded-step", "one-sided-recipe"} & {
            warning.code for warning in warnings_of(spec)
        }


def test_examples_of_mistakes_get_the_messages_that_are_shown(tmp_path: Path) -> None:
    pairs = [(BLOCKS[i - 1][1], text) for i, (kind, text) in enumerate(BLOCKS) if kind == "text"]
    assert pairs
    for block, messages in pairs:
        (tmp_path / "sweep.yaml").write_text(block)
        with pytest.raises(SpecError) as caught:
            load_spec(tmp_path / "sweep.yaml")
        assert [
            f"{p.line}:{p.column}: {p.message}" for p in caught.value.problems
        ] == messages.splitlines()


def test_every_key_and_design_is_in_the_text() -> None:
    for key in SweepSchema.model_fields.keys() - {"adaptive"}:  # the long form of `seeds`
        assert f"`{key}`" in TEXT, key
    for key in SearchSchema.model_fields:
        assert f"| `{key}` |" in TEXT, key
    for name in SAMPLERS:
        assert f"| `{name}` |" in TEXT, name
    for name, design in DESIGNS.items():
        assert f"| `{name}` |" in TEXT, name
        for option in design.model_fields.keys() - {"name"}:
            assert f"`{option}`" in TEXT or f"{{{option}:" in TEXT, option


def test_every_warning_is_in_the_text() -> None:
    sources = [path.read_text() for path in (SWEEPS.parent / "orchestrator").rglob("*.py")]
    codes = {ABSENT, *re.findall(r'SpecWarning\(\s*"([a-z-]+)"', "\n".join(sources))}
    assert {"few-seeds", "size-drift", "data-absent"} <= codes
    for code in codes - {"resources-here"}:
        assert f"| `{code}` |" in TEXT, code


@pytest.mark.parametrize("name", [path.name for path in SWEEPS.glob("*_imagenet*.yaml")])
@needs_the_papers_recipe
def test_the_papers_sweeps_plan_with_the_published_sizes(name: str) -> None:
    spec = load_spec(SWEEPS / name)
    sizes = {
        v.regime: parameter_count(v.config.model)
        for v in spec.variants
        if v.config.model.position == "learned+rope"
    }
    assert sizes == {"tiny": 5_701_096, "base": 86_502_376}
    assert all(
        trial.config.train.batch_size == 4096 for trial in trials_of(spec, lambda data: "absent")
    )


@needs_the_papers_recipe
def test_the_published_roadmap_has_the_papers_figures() -> None:
    spec = load_spec(SWEEPS / "llamafy_imagenet.yaml")
    published = {v.label: v.reference["value"] for v in spec.variants if v.reference}
    names = (
        "baseline",
        "swiglu",
        "rmsnorm",
        "causal_mask",
        "modified_causal_mask",
        "ps_cls",
        "rope",
        "rope_lpe",
        "augmentation",
    )
    tiny = (73.8, 74.3, 74.5, 0.1, 72.5, 71.9, 72.6, 73.2, 74.3, 75.0)
    base = (81.5, 82.0, 81.7, 0.1, 80.4, 80.6, 81.2, 81.2, 81.3, 81.6)
    for regime, values in (("tiny", tiny), ("base", base)):
        assert [published[f"{regime}/{name}"] for name in (*names, "soft_mask")] == list(values)


@needs_the_papers_recipe
def test_the_papers_three_confounds_are_found_as_published_and_gone_with_the_controls() -> None:
    found = {
        warning.code: warning
        for warning in warnings_of(load_spec(SWEEPS / "llamafy_imagenet.yaml"))
    }
    assert found.keys() == {
        "few-seeds",
        "best-epoch",
        "chosen-on-report-images",
        "one-sided-recipe",
        "confounded-step",
        "other-targets",
    }
    messages = [
        warning.message for warning in warnings_of(load_spec(SWEEPS / "llamafy_imagenet.yaml"))
    ]
    assert any(
        "'augmentation' retunes the recipe (train.mixup, train.cutmix)" in message
        for message in messages
    )
    assert (
        "'soft_mask' changes architecture (train.soft_mask) and recipe (train.warmup_epochs)"
        in found["confounded-step"].message
    )
    assert (
        "on: augmentation, regimes: {tiny: {train.warmup_epochs: 5}}"
        in found["confounded-step"].control
    )
    controlled = load_spec(SWEEPS / "llamafy_imagenet_controls.yaml")
    assert {warning.code for warning in warnings_of(controlled)} == {"few-seeds", "other-targets"}


def test_every_file_of_the_folder_is_in_the_text() -> None:
    for path in SWEEPS.glob("*.yaml"):
        assert f"`{path.name}`" in TEXT
