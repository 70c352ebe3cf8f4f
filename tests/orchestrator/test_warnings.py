"""What the plan warns of: each mistake with a control that resolves it, and nothing where there
is none.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from invented import HEAD, spec_of

from orchestrator.spec.document import read_document
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.spec.warnings import SUBJECTS, SpecWarning, warnings_of

NORM = "steps: [{name: norm, change: {model.norm: rmsnorm}}]"
LR = "space: {train.lr: {low: 1e-4, high: 1e-2, log: true}}, trials: 4"


def codes(spec: SweepSpec) -> list[str]:
    return [warning.code for warning in warnings_of(spec)]


def one(spec: SweepSpec, code: str) -> SpecWarning:
    [found] = [warning for warning in warnings_of(spec) if warning.code == code]
    return found


def sweep(tmp_path: Path, body: str, seeds: int = 9) -> SweepSpec:
    return spec_of(tmp_path, body, seeds)


def pasted(tmp_path: Path, body: str, step: str, control: str) -> SweepSpec:
    """The spec with a control's lines behind those of a step on a line of its own."""
    indented = control.replace("\n", "\n    ")
    lines = [
        f"{line}\n    {indented}" if f"name: {step}" in line else line for line in body.split("\n")
    ]
    return sweep(tmp_path, "\n".join(lines))


def test_every_subject_has_a_docstring_and_registers_something() -> None:
    assert all(subject.__doc__ for subject in SUBJECTS)
    assert len({subject.__name__ for subject in SUBJECTS}) == len(SUBJECTS) == 9


# few-seeds


@pytest.mark.parametrize(("steps", "seeds", "wanted"), [(1, 6, 0), (2, 6, 7), (8, 6, 9), (8, 9, 0)])
def test_more_comparisons_need_more_seeds(
    tmp_path: Path, steps: int, seeds: int, wanted: int
) -> None:
    body = "steps:\n" + "".join(
        f"  - {{name: s{n}, change: {{train.weight_decay: {0.1 + n / 100}}}}}\n"
        for n in range(steps)
    )
    found = [it for it in warnings_of(sweep(tmp_path, body, seeds)) if it.code == "few-seeds"]
    assert len(found) == bool(wanted)
    for warning in found:
        assert f"over {steps} comparisons" in warning.message
        assert warning.control == f"seeds: {list(range(wanted))}"


def test_the_seeds_that_are_there_are_kept_and_those_of_searches_left_alone(tmp_path: Path) -> None:
    head = HEAD.replace("[{seeds}]", "[4, 7]").replace("{{", "{").replace("}}", "}")
    (tmp_path / "sweep.yaml").write_text(head + NORM + f"\nsearch: {{{LR}, seeds: [9]}}")
    control = one(load_spec(tmp_path / "sweep.yaml"), "few-seeds").control
    assert control == "seeds: [4, 7, 8, 10, 11, 12]"


def test_a_line_is_one_of_the_file_that_was_given(tmp_path: Path) -> None:
    base = sweep(tmp_path, NORM, seeds=3)
    lines = base.content.decode().splitlines()
    assert lines[one(base, "few-seeds").line - 1].startswith("seeds:")
    child = tmp_path / "child.yaml"
    child.write_text(f"# seeds: a remark\nextends: {Path(base.path).name}\nname: child\n")
    assert one(load_spec(child), "few-seeds").line == 0
    child.write_text(f"{child.read_text()}\nseeds: [0, 1]\n")
    assert one(load_spec(child), "few-seeds").line == 5


def test_looks_of_adaptive_seeds_count_as_well(tmp_path: Path) -> None:
    head = HEAD.replace("[{seeds}]", "{{start: 3, max: 6}}")
    spec = spec_of(tmp_path, NORM, head=head)
    warning = one(spec, "few-seeds")
    assert "over 1 comparison with 2 looks each it would need p < 0.025" in warning.message
    assert warning.control == "seeds: {start: 3, max: 7}"
    assert codes(spec_of(tmp_path, NORM, head=head.replace("max: 6", "max: 8"))) == []


# searches


def test_a_baseline_that_is_tuned_and_steps_that_are_not(tmp_path: Path) -> None:
    body = f"search: {{{LR}}}\n" + (
        "steps:\n"
        "  - {name: norm, change: {model.norm: rmsnorm}}\n"
        "  - {name: rope, change: {model.position: rope}}\n"
    )
    warning = one(sweep(tmp_path, body), "tuned-before")
    assert "'baseline' searches train.lr, and steps 'norm' and 'rope' inherit" in warning.message
    assert warning.line == len(HEAD.splitlines()) + 3
    searched = body.replace("}}\n", f"}}, search: {{{LR}}}}}\n")
    assert "tuned-before" not in codes(sweep(tmp_path, searched))


def test_a_step_that_is_tuned_and_the_next_that_is_not(tmp_path: Path) -> None:
    body = f"search: {{{LR}}}\n" + (
        "steps:\n"
        f"  - {{name: norm, change: {{model.norm: rmsnorm}}, search: {{{LR}}}}}\n"
        "  - {name: rope, change: {model.position: rope}}\n"
    )
    warning = one(sweep(tmp_path, body), "tuned-before")
    assert "'norm' searches train.lr, and step 'rope' inherits" in warning.message


def test_a_step_that_sets_what_was_searched_inherits_nothing(tmp_path: Path) -> None:
    body = f"search: {{{LR}}}\nsteps: [{{name: slow, change: {{train.lr: 1e-4}}}}]"
    assert codes(sweep(tmp_path, body)) == ["chosen-on-report-images", "search-overwritten"]


def test_a_control_without_a_search_is_its_authors_choice() -> None:
    spec = load_spec(Path(__file__).parents[2] / "sweeps" / "llamafy_searched.yaml")
    assert codes(spec) == ["few-seeds", "chosen-on-report-images"]


# batch and length


BATCH = "steps:\n  - name: batch\n    change: {train.batch_size: 256}"


def test_another_batch_at_the_old_rate_and_the_control_that_resolves_it(tmp_path: Path) -> None:
    warning = one(sweep(tmp_path, BATCH), "batch-without-rate")
    assert "from 64 to 256 and keeps the learning rate of 0.002" in warning.message
    assert warning.control == "side:\n  batch_scaled_lr: {change: {train.lr: 0.004}}"
    assert codes(pasted(tmp_path, BATCH, "batch", warning.control)) == []


def test_a_batch_that_comes_with_its_rate_is_no_mistake(tmp_path: Path) -> None:
    both = "steps: [{name: batch, change: {train.batch_size: 256, train.lr: 4e-3}}]"
    assert codes(sweep(tmp_path, both)) == []
    own = BATCH + f"\n    search: {{{LR}}}"
    assert "batch-without-rate" not in codes(sweep(tmp_path, own))


def test_a_side_step_of_another_batch_gets_a_control_beside_it(tmp_path: Path) -> None:
    body = (
        "steps:\n  - name: norm\n    change: {model.norm: rmsnorm}\n"
        "    side:\n      batch: {train.batch_size: 16}"
    )
    warning = one(sweep(tmp_path, body), "batch-without-rate")
    assert "batch_scaled_lr: {change: {train.batch_size: 16, train.lr: 0.001}}" in warning.control
    control = warning.control.removeprefix("side:\n").replace("\n", "\n    ")
    assert "batch-without-rate" not in codes(sweep(tmp_path, f"{body}\n    {control}"))


def test_a_longer_training_is_more_compute(tmp_path: Path) -> None:
    alone = "steps: [{name: longer, change: {train.epochs: 18}}]"
    warning = one(sweep(tmp_path, alone), "compute-drift")
    assert "train.epochs to 18, 3 times the 6 of 'baseline'" in warning.message
    assert warning.control == ""
    mixed = "steps:\n  - name: longer\n    change: {train.epochs: 18, train.weight_decay: 0.1}"
    warning = one(sweep(tmp_path, mixed), "compute-drift")
    assert "longer_length_only: {on: baseline, change: {train.epochs: 18}}" in warning.control
    assert codes(pasted(tmp_path, mixed, "longer", warning.control)) == []


def test_a_longer_training_after_the_architecture_is_told_once(tmp_path: Path) -> None:
    body = (
        "steps: [{name: norm, change: {model.norm: rmsnorm}}, {name: longer, change: "
        "{train.epochs: 9}}]"
    )
    assert codes(sweep(tmp_path, body)) == ["one-sided-recipe"]


# what the metric measures


def test_a_training_loss_against_other_targets(tmp_path: Path) -> None:
    body = "steps: [{name: mix, change: {train.mixup: 0.2, train.label_smoothing: 0.1}}]"
    assert codes(sweep(tmp_path, body)) == []
    warning = one(sweep(tmp_path, "metric: {also: [train/loss]}\n" + body), "other-targets")
    assert "step 'mix' changes train.label_smoothing, train.mixup" in warning.message
    assert warning.control == "metric: {name: val/acc1, mode: max, also: [val/loss]}"
    assert codes(sweep(tmp_path, f"{warning.control}\n{body}")) == []


def test_an_average_that_is_another_on_each_side(tmp_path: Path) -> None:
    body = (
        "metric: {name: val_ema/acc1}\nregimes: {one: {train.ema: 0.9}}\n"
        "steps: [{name: slower, change: {train.ema: 0.99}}]"
    )
    warning = one(sweep(tmp_path, body), "other-average")
    assert "also: [val/acc1]" in warning.control
    plain = body.replace("name: val_ema/acc1", "name: val/acc1")
    assert "other-average" not in codes(sweep(tmp_path, plain))


# images and files to start from


def test_regimes_of_the_same_data_that_hold_out_other_images(tmp_path: Path) -> None:
    regimes = "regimes: {half: {data.val_fraction: 0.5}, small: {model.depth: 2}}\n"
    warning = one(sweep(tmp_path, regimes + NORM), "regimes-other-images")
    assert "half and small hold out different images of digits" in warning.message
    other = "regimes: {half: {data.name: synthetic}, small: {model.depth: 2}}\n"
    assert "regimes-other-images" not in codes(sweep(tmp_path, other + NORM))


def checkpoint(folder: Path, **settings: Any) -> Path:
    """A file of ours that says on which images it was trained."""
    folder.mkdir()
    (folder / "checkpoint.pt").write_bytes(b"weights")
    data = {"data": {"name": "digits", **settings}}
    (folder / "trial.json").write_text(json.dumps({"settings": data}))
    return folder / "checkpoint.pt"


def test_a_step_alone_that_starts_from_a_file(tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "trial")
    body = (
        f"steps:\n  - name: tuned\n    change: {{model.norm: rmsnorm, train.init: "
        f"{{checkpoint: {file}}}}}"
    )
    warning = one(sweep(tmp_path, body), "pretrained-step")
    assert "and 'baseline', which it is compared with, from random weights" in warning.message
    assert "tuned_init_only: {on: baseline, change: {train.init: {" in warning.control
    assert codes(pasted(tmp_path, body, "tuned", warning.control)) == []
    assert "initial-leak" not in codes(sweep(tmp_path, body))


@pytest.mark.parametrize(
    ("settings", "share"),
    [({"val_fraction": 0.1}, "60 %"), ({"val_fraction": 0.5}, ""), ({"name": "synthetic"}, "")],
)
def test_a_file_that_has_seen_the_images_that_are_validated_on(
    tmp_path: Path, settings: dict[str, Any], share: str
) -> None:
    file = checkpoint(tmp_path / "trial", **settings)
    regime = f"regimes: {{tuned: {{train.init: {{checkpoint: {file}}}}}}}\n"
    found = [it for it in warnings_of(sweep(tmp_path, regime + NORM)) if it.code == "initial-leak"]
    assert len(found) == bool(share)
    assert not share or f"{share.replace(' ', '')} of the images" in found[0].message


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"settings": {"data": {"name": "mine"}}}'])
def test_a_file_of_which_nothing_is_known_is_no_leak(tmp_path: Path, content: bytes) -> None:
    file = checkpoint(tmp_path / "trial")
    (tmp_path / "trial" / "trial.json").write_bytes(content)
    regime = f"regimes: {{tuned: {{train.init: {{checkpoint: {file}}}}}}}\n"
    assert codes(sweep(tmp_path, regime + NORM)) == []


# size


def test_a_drift_in_size_is_told_once_for_its_side_steps_and_regimes(tmp_path: Path) -> None:
    body = (
        "regimes: {one: {}, two: {model.depth: 2}}\nsteps:\n"
        "  - name: swiglu\n    change: {model.feed_forward: swiglu, model.multiple_of: 32}\n"
        "    side:\n      beside: {model.norm: rmsnorm}\n      wide: {model.embed_dim: 96}"
    )
    found = [it for it in warnings_of(sweep(tmp_path, body)) if it.code == "size-drift"]
    assert [it.message.split("'")[1] for it in found] == ["swiglu", "wide"]
    assert "in regime one, " in found[0].message
    assert "in regime two: size alone" in found[0].message


# a training of the user's own


OWN = """
def train(*, depth: int = 1, max_steps: int = 4, lr: float = 0.1, batch_size: int = 8, seed=0):
    return {"err": 1.0}
"""


def own(tmp_path: Path, change: str) -> list[SpecWarning]:
    (tmp_path / "own_for_warnings.py").write_text(OWN)
    text = (
        "name: own\nmetric: {name: err, mode: min}\nseeds: [0, 1, 2, 3, 4, 5]\n"
        'baseline: {train: {name: "own_for_warnings:train"}}\n'
        f"steps: [{{name: step, change: {{{change}}}}}]\n"
    )
    (tmp_path / "sweep.yaml").write_text(text)
    return warnings_of(load_spec(tmp_path / "sweep.yaml"))


@pytest.mark.slow
def test_the_settings_of_a_users_training_are_judged_by_their_names(tmp_path: Path) -> None:
    [longer] = own(tmp_path, "train.max_steps: 12")
    assert longer.code == "compute-drift"
    assert "train.max_steps to 12, 3 times the 4" in longer.message
    [batch] = own(tmp_path, "train.batch_size: 32")
    assert (batch.code, batch.control) == ("batch-without-rate", "")
    assert own(tmp_path, "train.lr: 0.2") == []
    assert own(tmp_path, "train.depth: 3") == [], "whether that is its size, only its trials say"


def test_controls_are_yaml_that_a_spec_reads(tmp_path: Path) -> None:
    (tmp_path / "control.yaml").write_text(
        one(sweep(tmp_path, BATCH), "batch-without-rate").control
    )
    assert read_document(tmp_path / "control.yaml").value["side"].keys() == {"batch_scaled_lr"}


def test_data_that_a_measure_reads_and_that_are_not_here_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ILLAMA_DATA", str(tmp_path))
    shipped = Path(__file__).parents[2] / "sweeps" / "paper" / "table10_ade20k.yaml"
    [found] = [w for w in warnings_of(load_spec(shipped)) if w.code == "measure-data-absent"]
    where = tmp_path / "ADEChallengeData2016" / "images" / "training"
    assert (
        f"measure ade20k will fail on machines without its data: {where} is missing"
        in found.message
    )
    assert "ADEChallengeData2016.zip" in found.message
    assert found.line > 0
