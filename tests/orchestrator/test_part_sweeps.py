"""A sweep whose steps exchange parts of the network by name."""

from pathlib import Path

import pytest

from illama.config import Config, ModelConfig, Part
from orchestrator.errors import SpecError
from orchestrator.planning.differences import differences
from orchestrator.planning.plan import trials_of
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.tracking.shape import params_of

HEAD = """name: parts
metric: {name: val/acc1, mode: max}
seeds: [0]
baseline:
  model: {name: vit_digits, embed_dim: 12, depth: 2, num_heads: 3}
  data: {name: digits}
  train: {epochs: 1, batch_size: 64, lr: 1e-3}
steps:
"""
MEAN = '''
"""Every token becomes the mean of all."""
from torch import nn


class Mean(nn.Module):
    masks = ("bidirectional", "causal")

    def forward(self, x, where):
        return x.mean(1, keepdim=True).expand_as(x)[:, where.rows]


def mean(place, *, gain: float = 1.0):
    return Mean()
'''


def spec_of(folder: Path, steps: str) -> SweepSpec:
    (folder / "mean.py").write_text(MEAN)
    (folder / "parts.yaml").write_text(HEAD + steps)
    return load_spec(folder / "parts.yaml")


def mixers(spec: SweepSpec) -> list[Part]:
    found = []
    for variant in spec.variants[1:]:
        assert isinstance(variant.config, Config)
        assert isinstance(variant.config.model, ModelConfig)
        part = variant.config.model.mixer
        assert isinstance(part, Part)
        found.append(part)
    return found


def test_a_step_names_a_part_and_the_next_changes_its_settings(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        """
  - {name: moh, change: {model.mixer: {name: mixture_of_heads, top_k: 2}}}
  - {name: balanced, change: {model.mixer.balance: 0.1}}
  - {name: other, change: {model.mixer.name: softplus}}
  - {name: own, change: {model.mixer: "mean:mean"}}
""",
    )
    moh, balanced, other, own = mixers(spec)
    assert moh.options == {"top_k": 2}
    assert balanced.options == {"top_k": 2, "balance": 0.1}
    assert (other.name, other.options) == ("softplus", {})
    assert own.options == {"gain": 1.0}
    assert spec.code == {"mean.py": MEAN.encode()}
    digests = [trial.fingerprint for trial in trials_of(spec, lambda data: "digest")]
    assert len(set(digests)) == 5


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (
            '{name: a, change: {model.mixer: {name: "mean:mean", gian: 1}}}',
            "9:57: unknown key 'gian'; did you mean 'gain'?",
        ),
        (
            "{name: a, change: {model.mixer: [attention, {name: softplus, power: x}]}}",
            "9:73: model.mixer.1.power: it should be a valid number",
        ),
        (
            "{name: a, change: {model.mixer: softpls}}",
            "9:37: model.mixer cannot be 'softpls'; allowed: attention, activator, agent",
        ),
        (
            '{name: a, change: {model.mixer: "mean:mean", model.attention: causal}}',
            "its output at token 0 depends on token 16, which attention causal hides",
        ),
        (
            "{name: a, change: {model.mixer: agent, model.scan: zigzag}}",
            "9:37: agent needs its patches row by row, but scan is zigzag",
        ),
        ("{name: a, change: {model.mixer.power: 1}}", "there is no setting 'model.mixer.power'"),
    ],
)
def test_what_is_wrong_with_a_part_has_its_place(tmp_path: Path, step: str, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec_of(tmp_path, f"  - {step}\n")
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_search_tries_settings_of_a_part(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        """
  - {name: softplus, change: {model.mixer: softplus}}
  - name: sharpness
    search: {space: {model.mixer.power: {low: 1.0, high: 4.0}}, trials: 2, seeds: [1000]}
""",
    )
    assert spec.variants[1].name == "softplus"
    assert spec.variants[1].config.setting("model.mixer.power") == 3.0


def test_a_list_of_parts_is_shown_in_mlflow_as_other_settings_are(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "  - {name: a, change: {model.mixer: [attention, softplus]}}\n")
    shown = params_of(spec, spec.variants[1])["model.mixer"]
    assert shown.startswith('["attention", {"name": "softplus"')
    assert params_of(spec, spec.variants[0])["model.mixer"] == "attention"


def test_why_a_trial_is_new_says_nothing_of_what_was_measured_of_a_part(tmp_path: Path) -> None:
    steps = "  - {name: a, change: {model.mixer: softplus}}\n"
    steps += "  - {name: b, change: {model.mixer: {name: lightning, block: 8}}}\n"
    _, first, second = trials_of(spec_of(tmp_path, steps), lambda data: "digest")
    told = [difference.text for difference in differences(second, first)]
    assert "model.mixer.name: softplus -> lightning" in told
    assert not [text for text in told if "macs" in text or "params" in text or "function" in text]
