"""The same science has the same fingerprint, other science another, and nothing else counts."""

import copy
import re
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from illama import config as settings_of
from illama.config import (
    NUMERICS_VERSION,
    PRESETS,
    Config,
    UserTraining,
    resolve,
)
from orchestrator.fingerprint import canonical_json, fingerprint, fingerprint_by_seed

SETTINGS: dict[str, Any] = {
    "model": {"name": "illama_digits", "class_token": "first"},
    "data": {"name": "digits"},
    "train": {
        "epochs": 10,
        "batch_size": 64,
        "lr": 2e-3,
        "soft_mask": {"schedule": "linear", "epochs": 3},
    },
    "seed": 1,
}

OTHER_VALUES: dict[str, Any] = {
    "model.img_size": 16,
    "model.patch_size": 4,
    "model.in_chans": 3,
    "model.num_classes": 11,
    "model.embed_dim": 32,
    "model.depth": 5,
    "model.num_heads": 8,
    "model.norm": "layernorm",
    "model.feed_forward": "gelu",
    "model.multiple_of": 16,
    "model.position": "rope",
    "model.rope_theta": 100.0,
    "model.attention": "modified_causal",
    "model.mask_form": "additive",
    "model.class_token": "last",
    "model.mixer": "softplus",
    "model.readout": "mean",
    "model.rope_anchor": 2,
    "model.qk_norm": True,
    "model.attention_bias": False,
    "model.kv_heads": 2,
    "model.layer_scale": 0.1,
    "model.registers": 2,
    "model.scan": "hilbert",
    "model.exits": [2],
    "model.low_rank": 2.0,
    "data.name": "synthetic",
    "data.val_fraction": 0.5,
    "data.test_fraction": 0.2,
    "data.test": "official",
    "data.folder": "flowers",
    "data.resize": 16,
    "train.epochs": 11,
    "train.batch_size": 32,
    "train.lr": 1e-3,
    "train.min_lr": 1e-5,
    "train.warmup_epochs": 1,
    "train.weight_decay": 0.1,
    "train.betas": [0.9, 0.95],
    "train.eps": 1e-6,
    "train.label_smoothing": 0.1,
    "train.clip_grad": 1.0,
    "train.optimizer": "sgd",
    "train.momentum": 0.8,
    "train.nesterov": True,
    "train.lr_schedule": "linear",
    "train.lr_milestones": [5, 8],
    "train.lr_gamma": 0.5,
    "train.layer_decay": 0.75,
    "train.mixup": 0.8,
    "train.mix_group": 32,
    "train.cutmix": 1.0,
    "train.hflip": 0.5,
    "train.random_crop": 1,
    "train.random_resized_crop": True,
    "train.aa": "rand-m9-mstd0.5-inc1",
    "train.transforms": "timm",
    "train.reprob": 0.25,
    "train.drop_path": 0.1,
    "train.dropout": 0.1,
    "train.drop_mode": "late",
    "train.drop_schedule": "linear",
    "train.cutoff_epoch": 5,
    "train.ema": 0.999,
    "train.quantize": {},
    "train.precision": "bfloat16",
    "train.deterministic": True,
    "train.init": {"checkpoint": "first.pt"},
    "train.trainable": ["head.*"],
    "train.exit_weight": 0.5,
    "train.soft_mask": None,
    "train.soft_mask.layers": [1.0, 0.5, 0.5, 0.0],
    "train.soft_mask.schedule": "constant",
    "train.soft_mask.epochs": 4,
    "train.soft_mask.rate": 0.5,
    "train.soft_mask.floor": 0.1,
    "seed": 2,
}
"""For each setting a value that the ones above do not have."""

FOLDER = {"data.name": "image_folder"}
LATE = {"train.drop_mode": "late", "train.cutoff_epoch": 4}
SGD = {"train.optimizer": "sgd"}
STEPS = {"train.lr_schedule": "step", "train.lr_milestones": [4, 6]}
COMPANY: dict[str, dict[str, Any]] = {
    "model.rope_anchor": {"model.position": "rope2d"},
    "train.momentum": SGD,
    "train.nesterov": SGD,
    "train.lr_milestones": STEPS,
    "train.lr_gamma": STEPS,
    "data.folder": FOLDER,
    "data.test": FOLDER,
    "train.random_resized_crop": FOLDER,
    "train.aa": FOLDER,
    "train.transforms": {**FOLDER, "train.random_resized_crop": True},
    "train.drop_mode": {"train.cutoff_epoch": 4, "train.drop_mode": "early"},
    "train.cutoff_epoch": LATE,
    "train.drop_schedule": {**LATE, "train.drop_mode": "early"},
    "train.exit_weight": {"model.exits": [2]},
}
"""Settings that make sense only beside others."""

DEFAULTS_OF_VERSION_1: dict[str, dict[str, Any]] = {
    "ModelConfig": {
        "norm": "layernorm",
        "feed_forward": "gelu",
        "multiple_of": 256,
        "position": "learned",
        "rope_theta": 10000.0,
        "attention": "bidirectional",
        "mask_form": "multiplicative",
        "class_token": "first",
        "mixer": "attention",
        "readout": "token",
        "rope_anchor": None,
        "qk_norm": False,
        "attention_bias": True,
        "kv_heads": None,
        "layer_scale": None,
        "registers": 0,
        "scan": "raster",
        "exits": (),
        "low_rank": None,
    },
    "DataConfig": {
        "val_fraction": 0.25,
        "test_fraction": 0.0,
        "test": "none",
        "folder": "imagenet",
        "resize": None,
    },
    "QuantizeConfig": {"weights": 8, "activations": 8},
    "SoftMaskConfig": {"rate": 1.0, "floor": 0.0, "layers": None},
    "InitConfig": {"sha256": None, "head": "kept", "source_heads": None},
    "TrainConfig": {
        "min_lr": 1e-6,
        "warmup_epochs": 0,
        "weight_decay": 0.05,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "label_smoothing": 0.0,
        "clip_grad": None,
        "optimizer": "adamw",
        "momentum": 0.9,
        "nesterov": False,
        "lr_schedule": "cosine",
        "lr_milestones": (),
        "lr_gamma": 0.1,
        "init": None,
        "trainable": None,
        "exit_weight": 1.0,
        "soft_mask": None,
        "layer_decay": None,
        "mixup": 0.0,
        "mix_group": None,
        "cutmix": 0.0,
        "hflip": 0.0,
        "random_crop": 0,
        "random_resized_crop": False,
        "aa": None,
        "transforms": "own",
        "reprob": 0.0,
        "drop_path": 0.0,
        "dropout": 0.0,
        "drop_mode": "standard",
        "drop_schedule": "constant",
        "cutoff_epoch": 0,
        "ema": None,
        "quantize": None,
        "precision": "float32",
        "deterministic": False,
    },
    "Config": {"seed": 0},
}


def changed(**changes: Any) -> Config:
    settings = copy.deepcopy(SETTINGS)
    for key, value in changes.items():
        *parents, last = key.split(".")
        group = settings
        for parent in parents:
            group = group[parent]
        group[last] = value
    config = resolve(settings)
    assert isinstance(config, Config)
    return config


def test_the_digest_of_fixed_settings_never_changes() -> None:
    # These change only with `numerics_version`: with any other cause, trials that are done would be
    # trained again.
    assert resolve(SETTINGS).numerics_version == 2
    assert (
        fingerprint(resolve(SETTINGS), "data")
        == "24db0f11cd847b867a4385b7fbd83d155d7490acea0ffa82def246ffe66161b2"
    )
    plain = {
        "model": {"name": "vit_digits"},
        "data": {"name": "digits"},
        "train": {"epochs": 1, "batch_size": 8, "lr": 1},
    }
    assert (
        fingerprint(resolve(plain), "data")
        == "eb4be3abe0fc9cd3c79e70c67b0b8b558b8f7a47cb82d1f8b08cf42e4751ce24"
    )


def test_the_digest_of_somebodys_own_training_never_changes() -> None:
    training = {
        "name": "a label",
        "function": "own:train",
        "code": "NUMERICS_VERSION 1",
        "options": {"depth": 2, "lr": 3e-3},
    }
    own = UserTraining.model_validate({"train": training, "seed": 1})
    assert (
        fingerprint(own, "") == "c7cdef50313c635916f1a15a5f29d566235936f2949f57f3af558fa1ca4f18df"
    )


def test_no_default_changes_without_a_raised_numerics_version() -> None:
    # A default is left out of the digest: were it changed, old results would be taken for those of
    # the new value.
    assert NUMERICS_VERSION == 4, "write down the defaults of the new version here"
    for name, pinned in DEFAULTS_OF_VERSION_1.items():
        fields = getattr(settings_of, name).model_fields
        assert {key: fields[key].default for key in pinned} == pinned


def test_every_setting_with_a_default_is_pinned_above() -> None:
    groups = [
        settings_of.ModelConfig,
        settings_of.DataConfig,
        settings_of.SoftMaskConfig,
        settings_of.InitConfig,
        settings_of.QuantizeConfig,
    ]
    groups += [settings_of.TrainConfig, Config]
    found = {
        group.__name__: {k for k, field in group.model_fields.items() if not field.is_required()}
        for group in groups
    }
    missing = {name: keys - DEFAULTS_OF_VERSION_1[name].keys() for name, keys in found.items()}
    assert not any(missing.values()), (
        f"add to DEFAULTS_OF_VERSION_1, with a default that means 'as before': {missing}"
    )


@pytest.mark.parametrize("key", OTHER_VALUES)
def test_each_scientific_setting_changes_the_fingerprint(key: str) -> None:
    company = COMPANY.get(key, {})
    assert fingerprint(changed(**company | {key: OTHER_VALUES[key]}), "data") != fingerprint(
        changed(**company), "data"
    )


def test_no_scientific_setting_is_missing_in_the_test_above() -> None:
    def keys(group: Any, prefix: str = "") -> set[str]:
        found: set[str] = set()
        for name, value in group:
            found |= (
                {prefix + name}
                if not hasattr(value, "model_fields_set")
                else keys(value, f"{prefix}{name}.")
            )
        return found

    missing = keys(resolve(SETTINGS)) - OTHER_VALUES.keys() - {"model.name"}
    assert not missing, f"add to OTHER_VALUES: {missing}"


def test_all_single_changes_differ_from_each_other() -> None:
    digests = [
        fingerprint(changed(**COMPANY.get(key, {}) | {key: value}), "data")
        for key, value in OTHER_VALUES.items()
    ]
    assert len(set(digests)) == len(digests)


def test_the_dataset_and_the_numerics_version_count(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(resolve(SETTINGS), "data")
    assert fingerprint(resolve(SETTINGS), "other data") != before
    monkeypatch.setattr("illama.config.Config.numerics_version", 4)
    assert fingerprint(resolve(SETTINGS), "data") != before


def test_a_version_that_changed_some_trainings_leaves_the_others_their_identity() -> None:
    folder = {"data": {"name": "image_folder"}, "train.random_resized_crop": True}
    timm, aa = {**folder, "train.transforms": "timm"}, "train.aa"
    version_2: list[Any] = [{}, {"train.drop_path": 0.1}]
    version_3 = [{"train.dropout": 0.1}, folder, {**folder, aa: "rand-m9-mstd0.5-inc1"}]
    version_3 += [{**timm, aa: "rand-m9-mstd0.5-inc1"}, {**timm, aa: "rand-m9-mstd101-inc1"}]
    version_4 = [timm, {**folder, aa: "rand-m9-mstd101-inc1"}]
    found = [
        [changed(**changes).numerics_version for changes in group]
        for group in (version_2, version_3, version_4)
    ]
    assert found == [[2] * 2, [3] * 5, [4] * 2]


def test_a_file_to_start_from_is_its_content_and_not_its_path() -> None:
    def starting_from(checkpoint: str, **options: Any) -> str:
        return fingerprint(changed(**{"train.init": {"checkpoint": checkpoint, **options}}), "data")

    digest = "0" * 64
    assert starting_from("a.pt", sha256=digest) == starting_from("elsewhere/b.pt", sha256=digest)
    several = [starting_from("a.pt", sha256=digest), starting_from("a.pt", sha256="1" * 64)]
    several += [
        starting_from("a.pt", sha256=digest, head="new"),
        starting_from("a.pt", sha256=digest, source_heads=4),
    ]
    several += [
        starting_from("a.pt"),
        starting_from("b.pt"),
    ]  # unknown content: never taken for the same
    assert len(set(several)) == len(several)


def test_neither_the_order_of_keys_nor_the_spelling_of_numbers_counts() -> None:
    def reversed_everywhere(value: Any) -> Any:
        return (
            {k: reversed_everywhere(v) for k, v in reversed(value.items())}
            if isinstance(value, dict)
            else value
        )

    expected = fingerprint(resolve(SETTINGS), "data")
    assert fingerprint(resolve(reversed_everywhere(SETTINGS)), "data") == expected
    assert (
        fingerprint(
            changed(**{"train.lr": 0.002, "train.epochs": 10.0, "train.betas": [0.9, 0.999]}),
            "data",
        )
        == expected
    )
    assert fingerprint(changed(**{"train.lr": 1}), "data") == fingerprint(
        changed(**{"train.lr": 1.0}), "data"
    )
    assert fingerprint(changed(**{"train.min_lr": 0}), "data") == fingerprint(
        changed(**{"train.min_lr": -0.0}), "data"
    )


def test_a_default_that_is_written_down_counts_like_one_that_is_not() -> None:
    assert fingerprint(changed(**{"train.weight_decay": 0.05}), "data") == fingerprint(
        resolve(SETTINGS), "data"
    )


def test_a_preset_is_its_settings_and_not_its_name() -> None:
    spelled_out = {"name": "vit_digits", **PRESETS["illama_digits"], "class_token": "first"}
    assert fingerprint(changed(model=spelled_out), "data") == fingerprint(resolve(SETTINGS), "data")
    assert fingerprint(
        changed(model={"name": "vit_digits"}, **{"train.soft_mask": None}), "data"
    ) != fingerprint(changed(**{"train.soft_mask": None}), "data")


def test_no_operational_setting_reaches_the_fingerprint(write_spec: Any) -> None:
    from orchestrator.planning.plan import trials_of
    from orchestrator.spec.sweep_spec import load_spec

    def prints(**changes: Any) -> list[str]:
        return [
            trial.fingerprint
            for trial in trials_of(load_spec(write_spec(**changes)), lambda data: "data")
        ]

    expected = prints()
    assert prints(runtime={"device": "auto", "num_threads": 2, "checkpoint_seconds": 7}) == expected
    assert prints(resources={"cpus": 2, "gpus": 1}) == expected
    assert prints(name="another") == expected
    assert prints(metric={"name": "val/loss", "mode": "min"}) == expected


def test_a_fingerprint_is_64_hex_digits() -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", fingerprint(resolve(SETTINGS), "data"))


@pytest.mark.parametrize("value", [Path("x"), {1}, b"x", 1j, Enum("E", "A").A, object()])
def test_unknown_types_raise(value: object) -> None:
    with pytest.raises(TypeError, match="has no canonical form"):
        canonical_json({"deep": [value]})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_raise(value: float) -> None:
    with pytest.raises(ValueError, match="not allowed in a fingerprint"):
        canonical_json([value])


def test_keys_that_are_no_strings_raise() -> None:
    with pytest.raises(TypeError, match="keys must be strings, found 1"):
        canonical_json({1: 2})


def test_true_and_one_are_told_apart() -> None:
    assert canonical_json(True) != canonical_json(1)
    assert canonical_json("1") != canonical_json(1)
    assert canonical_json(None) != canonical_json("None")


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(_json, _json)
def test_values_have_the_same_canonical_form_exactly_where_they_are_equal(
    one: Any, other: Any
) -> None:
    assert canonical_json(one) == canonical_json(copy.deepcopy(one))
    if canonical_json(one) == canonical_json(other):
        assert one == other


def test_the_fingerprints_of_many_seeds_are_those_of_each() -> None:
    config = resolve(SETTINGS)
    of_seed = fingerprint_by_seed(config, "digest")
    for seed in (0, 1, 7):
        assert of_seed(seed) == fingerprint(config.model_copy(update={"seed": seed}), "digest")
    assert len({of_seed(seed) for seed in range(100)}) == 100
