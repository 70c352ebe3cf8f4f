"""Everything that is wrong with a spec is said at once, each with its place, what was found and
what is allowed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.spec.sweep_spec import SweepSpec, load_spec

HEAD = """\
name: tiny
seeds: [0, 1]
baseline:
  model: {name: vit_digits}
  data: {name: digits}
  train: {epochs: 2, batch_size: 60, lr: 1e-3}
"""
LINES = HEAD.count("\n")

Problems = Callable[[str], list[str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spec.yaml"


@pytest.fixture
def load(path: Path) -> Callable[[str], SweepSpec]:
    def load_text(text: str) -> SweepSpec:
        path.write_text(text)
        return load_spec(path)

    return load_text


@pytest.fixture
def problems(load: Callable[[str], SweepSpec], path: Path) -> Problems:
    """The lines of the error, without the file's name; lines of `steps` count from those of
    `HEAD`.
    """

    def find(text: str) -> list[str]:
        with pytest.raises(SpecError) as caught:
            load(text)
        assert caught.value.exit_code == 2
        lines = str(caught.value).splitlines()
        assert all(line.startswith(f"{path}:") for line in lines)
        return [line.removeprefix(f"{path}:") for line in lines]

    return find


def test_a_good_spec_is_its_variants_in_the_order_of_the_road(
    load: Callable[[str], SweepSpec], path: Path
) -> None:
    spec = load(
        HEAD
        + "steps:\n- {name: rms, change: {model.norm: rmsnorm}, side: {slow: {train.lr: 1e-4}}}\n"
    )
    assert [variant.name for variant in spec.variants] == ["baseline", "rms", "slow"]
    assert [variant.line for variant in spec.variants] == [3, LINES + 2, LINES + 2]
    assert spec.variants[2].config.model.norm == "rmsnorm"
    assert spec.variants[2].config.train.lr == 1e-4
    assert (spec.name, spec.path, spec.content) == ("tiny", path, path.read_bytes())


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: tiny\n", "", "1:1: key 'name' is missing"),
        ("name: tiny", "nmae: tiny", "1:1: unknown key 'nmae'; did you mean 'name'?"),
        ("name: tiny", "name: tiny\nzzz: 1", "2:1: unknown key 'zzz'; allowed: baseline, "),
        (
            "name: tiny",
            "name: a/b",
            "1:7: 'a/b' cannot be a name: letters, digits, '_', '.' and single '-' only",
        ),
        ("name: tiny", "name: ../up", "1:7: '../up' cannot be a name"),
        ("name: tiny", "name: a--b", "1:7: 'a--b' cannot be a name"),
        ("name: tiny", "name: 5", "1:7: name: it should be a valid string, found 5"),
        ("name: tiny", "name:", "1:6: name: it should be a valid string, found nothing"),
        (
            "name: tiny",
            f"name: {'x' * 81}",
            "1:7: name: it should have at most 80 characters, found 'xxx",
        ),
        ("name: tiny", "name: tiny\nname: tiny", "2:1: key 'name' is given twice, first on line 1"),
        ("seeds: [0, 1]", "seeds: [0, 1, 0]", "2:15: seed 0 is given twice"),
        (
            "seeds: [0, 1]",
            "seeds: [0, -1]",
            "2:12: seeds.1: it should be greater than or equal to 0, found -1",
        ),
        ("seeds: [0, 1]", "seeds: [0, 1.5]", "2:12: seeds.1: it should be a valid integer"),
        ("seeds: [0, 1]", "seeds: [0, yes]", "2:12: seeds.1: it should be a valid integer"),
        ("seeds: [0, 1]", "seeds: []", "2:8: seeds: it should have at least one item"),
        ("seeds: [0, 1]", "seeds: 3", "2:8: seeds: it should be a list, found 3"),
        (
            "model: {name: vit_digits}",
            "model: {name: vit_digit}",
            "4:17: there is no model 'vit_digit'; did you mean 'vit_digits'?",
        ),
        ("model: {name: vit_digits}", "model: {}", "4:3: key 'name' is missing"),
        (
            "model: {name: vit_digits}",
            "model: {name: [vit_digits]}",
            "4:17: model.name: it should be a valid string, found a list",
        ),
        (
            "model: {name: vit_digits}",
            "model: vit_digits",
            "4:10: baseline.model: it should be a mapping of keys to values",
        ),
        (
            "data: {name: digits}",
            "data: {name: digit}",
            "5:16: data.name cannot be 'digit'; allowed: digits, synthetic",
        ),
        (
            "data: {name: digits}",
            "date: {name: digits}",
            "5:3: unknown key 'date'; did you mean 'data'?",
        ),
        ("lr: 1e-3", "lr: fast", "6:42: train.lr: it should be a valid number, found 'fast'"),
        ("lr: 1e-3", "lr: .nan", "6:42: a setting must be a finite number"),
        ("lr: 1e-3", "lr: 1e999", "6:42: a setting must be a finite number"),
        ("lr: 1e-3", "lr: 0", "6:42: train.lr: it should be greater than 0, found 0"),
        (
            "lr: 1e-3",
            "lr: 1e-3, warmup_epoch: 1",
            "6:48: unknown key 'warmup_epoch'; did you mean 'warmup_epochs'?",
        ),
        (", lr: 1e-3", "", "6:3: key 'lr' is missing"),
        (
            "epochs: 2",
            "epochs: 2, warmup_epochs: 3",
            "6:10: warmup_epochs 3.0 is longer than the training, 2 epochs",
        ),
        (
            "name: tiny",
            "name: tiny\nmetric: {name: val/acc}",
            "2:16: there is no metric 'val/acc'; did you mean 'val/acc5'?",
        ),
        (
            "name: tiny",
            "name: tiny\nmetric: {name: val/loss, mode: max}",
            "2:9: mode max would call a worse val/loss an improvement",
        ),
        (
            "name: tiny",
            "name: tiny\nresources: {cpus: 0}",
            "2:19: resources.cpus: it should be greater than 0, found 0",
        ),
        (
            "name: tiny",
            "name: tiny\nresources: {memory: lots}",
            "2:21: memory should be in GB, or have a unit as in 500MB and 2GiB",
        ),
        (
            "name: tiny",
            "name: tiny\nresources: {gpus: 1.5}",
            "2:19: gpus above 1 should be a whole number",
        ),
        (
            "name: tiny",
            "name: tiny\nruntime: {device: gpu}",
            "2:19: runtime.device cannot be 'gpu'; allowed: auto, cpu, cuda",
        ),
        (
            "name: tiny",
            "name: tiny\nregimes: {big: {model.nam: x}}",
            "2:17: there is no setting 'model.nam'; did you mean 'model.name'",
        ),
        (
            "name: tiny",
            "name: tiny\nregimes: {a b: {model.norm: rmsnorm}}",
            "2:11: 'a b' cannot be a name",
        ),
        (
            "name: tiny",
            "name: tiny\ndesign: grid",
            "2:1: design.0.name cannot be 'grid'; allowed: roadmap, ",
        ),
    ],
)
def test_what_is_wrong_in_the_head_of_a_spec_has_its_place_and_a_hint(
    problems: Problems, old: str, new: str, expected: str
) -> None:
    assert old in HEAD
    found = problems(HEAD.replace(old, new, 1))
    assert [line for line in found if line.startswith(expected)], "\n".join(found)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("- {name: a, change: {}}", "8:21: this changes nothing: name at least one setting"),
        (
            "- {name: a, change: {model.norm: layernorm}}",
            "8:13: this changes nothing: the settings are those of the step before",
        ),
        (
            "- {name: a, change: {model.norms: x}}",
            "8:22: there is no setting 'model.norms'; did you mean 'model.norm'?",
        ),
        (
            "- {name: a, change: {model: {norm: x}}}",
            "8:22: 'model' is a group of settings; name the setting itself",
        ),
        ("- {name: a, change: {seed: 1}}", "8:22: there is no setting 'seed'"),
        (
            "- {name: a, change: {model.norm: rmsnrom}}",
            "8:34: model.norm cannot be 'rmsnrom'; allowed: layernorm, rmsnorm, your own "
            "module:function; ",
        ),
        ("- {name: a, change: {model.name: vit}}", "8:34: there is no model 'vit'"),
        (
            "- {name: a, change: {model.depth: 1.5}}",
            "8:35: model.depth: it should be a valid integer",
        ),
        ("- {name: a, change: {train.soft_mask: {epochs: 1}}}", "8:22: key 'schedule' is missing"),
        (
            "- {name: a, change: {train.soft_mask: {schedule: linear, epochs: 1}}}",
            "train.soft_mask softens a causal mask",
        ),
        (
            "- {name: a, change: [model.norm]}",
            "8:21: steps.0.change: it should be a mapping of keys to values, found a list",
        ),
        ("- {name: a}", "8:3: key 'change' is missing"),
        ("- {change: {model.norm: rmsnorm}}", "8:3: key 'name' is missing"),
        (
            "- {name: a, chnage: {model.norm: rmsnorm}}",
            "8:13: unknown key 'chnage'; did you mean 'change'?",
        ),
        (
            "- {name: baseline, change: {model.norm: rmsnorm}}",
            "8:10: 'baseline' is the name of the configuration before any step",
        ),
        (
            "- {name: a, change: {model.norm: rmsnorm}, expect: colapse}",
            "8:52: steps.0.expect cannot be 'colapse'",
        ),
        (
            "- {name: a, change: {model.norm: rmsnorm}, side: {b: {}}}",
            "8:51: key 'change' is missing",
        ),
        (
            "- {name: a, change: {model.norm: rmsnorm}, side: {b: {expect: collapse}}}",
            "8:51: key 'change' is missing",
        ),
        (
            "- {name: a, change: {model.norm: rmsnorm}, side: {b: {change: {}}}}",
            "8:63: this changes nothing",
        ),
        (
            "- {name: a, change: {model.norm: rmsnorm}, side: {b: }}",
            "8:53: steps.0.side.b: it should be a mapping",
        ),
        (
            "- {name: a, change: {model.norm: rmsnorm}, side: {b: {model.norm: rmsnorm}}}",
            "this changes nothing",
        ),
        (
            "- {name: a, change: {model.norm: rmsnorm}, side: {b c: {train.lr: 1}}}",
            "8:51: 'b c' cannot be a name",
        ),
        (
            "- {name: a, change: {model.norm: rmsnorm}, side: {a: {train.lr: 1}}}",
            "a step named 'a' already exists, on line 8",
        ),
        (
            "- {name: a, change: {model.norm: rmsnorm}, reference: {value: 1}}",
            "8:44: key 'source' is missing",
        ),
        (
            "- {name: a, change: {model.norm: rmsnorm}, reference: 75}",
            "8:55: steps.0.reference: it should be a mapping",
        ),
        (
            "- {name: a, change: {model.norm: rmsnorm}, resources: {gpu: 1}}",
            "8:56: unknown key 'gpu'; did you mean 'gpus'?",
        ),
        (
            "- just words",
            "8:3: steps.0: it should be a mapping of keys to values, found 'just words'",
        ),
        ("-", "steps.0: it should be a mapping of keys to values, found nothing"),
        (" {name: a}", "8:2: steps: it should be a list, found a mapping"),
    ],
)
@pytest.mark.timeout(20)
def test_what_is_wrong_in_a_step_has_its_place_and_a_hint(
    problems: Problems, steps: str, expected: str
) -> None:
    assert LINES == 6
    found = problems(f"{HEAD}steps:\n{steps}\n")
    assert len(found) == 1
    assert expected in found[0]


def test_two_steps_of_one_name_are_told_apart_by_line(problems: Problems) -> None:
    steps = (
        "steps:\n- {name: a, change: {model.norm: rmsnorm}}\n"
        "- {name: a, change: {model.position: rope}}\n"
    )
    assert problems(HEAD + steps) == [
        "9:10: a step named 'a' already exists, on line 8; names must be unique"
    ]


def test_all_problems_of_a_file_come_at_once_and_in_order(problems: Problems) -> None:
    text = """\
nmae: tiny
seeds: [0, 0, x]
baseline:
  model: {name: vit_digits, norm: rmsnrom}
  data: {name: digits, val_fraction: 2}
  train: {epochs: 2, batch_size: 60, lr: 1e-3, lr: 2e-3}
resources: {cpus: none}
steps:
  - name: a
    change: {model.norms: rmsnorm}
  - name: b
    chnage: {model.norm: rmsnorm}
    side:
      c: {expect: collapse}
  - name: b
    change: {model.attention: causal}
    reference: {value: many}
  - name: d
    change: {model.attention: causal}
"""
    found = problems(text)
    places = [tuple(map(int, line.split(":")[:2])) for line in found]
    assert places == sorted(places)
    words = [
        "1:1: key 'name' is missing",
        "1:1: unknown key 'nmae'; did you mean 'name'?",
        "2:15: seeds.2: it should be a valid integer",
        "4:35: model.norm cannot be 'rmsnrom'",
        "5:38: data.val_fraction: it should be less than 1, found 2",
        "6:48: key 'lr' is given twice, first on line 6",
        "7:19: resources.cpus: it should be a valid number, found 'none'",
        "12:5: unknown key 'chnage'",
        "14:7: key 'change' is missing",
        "17:5: key 'source' is missing",
        "17:24: steps.2.reference.value: it should be a valid number, found 'many'",
    ]
    for expected in words:
        assert [line for line in found if line.startswith(expected)], (
            f"{expected} not in\n" + "\n".join(found)
        )
    assert len(found) == len(set(found))


def test_problems_behind_a_wrong_step_are_found_too(problems: Problems) -> None:
    changes = ("model.norms: x", "model.norm: y", "train.lr: z")
    steps = "".join(
        f"- {{name: s{index}, change: {{{change}}}}}\n" for index, change in enumerate(changes)
    )
    assert [line.split(":")[0] for line in problems(f"{HEAD}steps:\n{steps}")] == ["8", "9", "10"]


@pytest.mark.slow
def test_reading_a_spec_imports_no_heavy_library(
    load: Callable[[str], SweepSpec], path: Path
) -> None:
    import subprocess
    import sys

    path.write_text(HEAD)
    code = (
        "import sys, pathlib; from orchestrator.spec.sweep_spec import load_spec; "
        "load_spec(pathlib.Path(sys.argv[1]));assert not {'torch', 'ray', 'mlflow', 'optuna', "
        "'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


_KEYS = """name seeds baseline steps side change model data train regimes resources cpus
metric mode reference value source expect runtime design
model.norm model.name train.lr train.soft_mask norm rmsnorm vit_digits digits collapse a"""
_words = st.sampled_from(_KEYS.split())
_scalars = st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | _words
_values: Any = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=4)
)
_step = st.fixed_dictionaries(
    {"name": _words, "change": _values},
    optional={"side": _values, "reference": _values, "expect": _words},
)
_specs = st.fixed_dictionaries(
    {
        "name": st.just("tiny") | _values,
        "seeds": st.just([0]) | _values,
        "baseline": st.just(
            {
                "model": {"name": "vit_digits"},
                "data": {"name": "digits"},
                "train": {"epochs": 1, "batch_size": 1, "lr": 1},
            }
        )
        | _values,
    },
    optional={
        "steps": st.lists(_step | _values, max_size=3),
        "regimes": _values,
        "resources": _values,
        "metric": _values,
    },
)


@pytest.mark.slow
@pytest.mark.timeout(120)
@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(_specs | _values)
def test_any_yaml_is_a_spec_or_a_spec_error(path: Path, value: Any) -> None:
    import yaml

    path.write_text(yaml.safe_dump(value))
    try:
        assert isinstance(load_spec(path), SweepSpec)
    except SpecError as error:
        _check(error)


def _check(error: SpecError) -> None:
    assert error.problems
    assert all(
        problem.line >= 1 and problem.column >= 1 and problem.message for problem in error.problems
    )


def test_a_part_that_is_no_mapping_is_one_problem_and_is_not_said_to_be_missing(
    problems: Problems,
) -> None:
    found = problems(HEAD.replace("{name: vit_digits}", "vit_digits"))
    assert found == [
        "4:10: baseline.model: it should be a mapping of keys to values, found 'vit_digits'"
    ]


def test_a_model_without_a_name_is_one_problem_not_one_for_each_setting_it_would_have_filled(
    tmp_path: Path,
) -> None:
    path = tmp_path / "nameless.yaml"
    path.write_text(
        "name: x\nseeds: [0]\nbaseline:\n  model: {norm: rmsnorm}\n  data: {name: digits}\n"
        "  train: {epochs: 2, batch_size: 64, lr: 1e-3}\n"
    )
    with pytest.raises(
        SpecError,
        match=r":4:3: key 'name' is missing: the model to start from; allowed: .*vit_digits",
    ) as caught:
        load_spec(path)
    assert len(caught.value.problems) == 1
