"""Models by name, and weights from and to files: our own checkpoints and the ones that the paper's
authors released.

Both carry the same tensor names. The released files keep the class token's position embedding in
the last row, stand in a dictionary under `model` beside an `argparse.Namespace` and an optimiser
whose learning rates are numpy's numbers, and know no soft-mask rate; see the paper's code,
`models/illama.py`, and `save_model` in its `utils.py`.
"""

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from illama.checkpoint import content_of, weights_in
from illama.config import ModelConfig, Part, UserModel, explain, with_preset
from illama.config.parts import BUILT_IN, identity_in, text_of
from illama.config.train import InitConfig, QuantizeConfig
from illama.low_rank import factored
from illama.model import VisionTransformer, make_network
from illama.quantized import quantise
from illama.weights.initial import checked_path
from illama.weights.weight_selection import from_llama, is_llama, select_weights

_numpy_scalar: Any = np.float64(0).__reduce__()[0]
_IN_RELEASED_FILES: list[Any] = [
    argparse.Namespace,
    *(
        (_numpy_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")
    ),  # written by numpy 1 and 2
    np.dtype,
    type(np.dtype(np.float64)),
]
"""Types in released files beside tensors and plain values; none of them can run anything."""


_SILENT = (
    "class_token",
    "num_heads",
    "position",
    "rope_theta",
    "rope_anchor",
    "mask_form",
    "scan",
    "readout",
)
"""Settings that change what a network computes and need not change a tensor's shape: weights of
one fit into the other."""


def build(
    name: str,
    checkpoint_path: str | Path | None,
    use_ema: bool,
    soft_mask_rate: float,
    overrides: Mapping[str, Any],
) -> VisionTransformer:
    """Build a network as `illama.create_model` does."""
    if use_ema and checkpoint_path is None:
        raise ValueError("use_ema selects weights in a file: give a checkpoint_path")
    try:
        config = ModelConfig.model_validate(with_preset({"name": name, **overrides}))
    except ValidationError as error:
        raise ValueError(explain(error)) from error
    model = VisionTransformer(config)
    model.set_soft_mask_rate(soft_mask_rate)
    if checkpoint_path is not None:
        path = Path(checkpoint_path)
        content = _content_of(path)
        if different := _other_settings(content, config):
            raise ValueError(
                f"{path} was trained as a different network: {'; '.join(different)}. Use those "
                "settings, or, if its weights really are meant for this network, "
                "load_state_dict"
            )
        weights = _weights_of(content, path, use_ema=use_ema)
        _stretch_positions(model, weights, _settings_in(content))
        _fill(model, weights, path)
    return model


def rebuilt(path: Path, *, use_ema: bool = False) -> nn.Module:
    """Rebuild a network as `illama.load_model` does."""
    content = _content_of(path)
    if not isinstance(content, Mapping) or "config" not in content:
        raise ValueError(
            f"{path} has no settings of a network: name the network, as in "
            "illama.create_model(NAME, checkpoint_path=...)"
        )
    settings = json.loads(content["config"])
    saved = settings.get("model") or {}
    grid = (settings.get("train") or {}).get("quantize")
    try:
        kinds: dict[bool, type[UserModel | ModelConfig]] = {True: UserModel, False: ModelConfig}
        model = make_network(kinds["function" in saved].model_validate(saved), seed=0)
        model = quantise(model, grid and QuantizeConfig.model_validate(grid))
    except ValidationError as error:
        raise ValueError(f"{path}: {explain(error)}") from error
    _fill(model, _weights_of(content, path, use_ema=use_ema), path)
    return model


def _other_settings(content: Any, config: ModelConfig) -> list[str]:
    """Say what `config` has otherwise than the settings that a checkpoint of ours was trained with;
    of other files its parts alone, which no released network has.
    """
    there = _settings_in(content)
    different = _other_parts(there, config)
    if there is None:
        return different
    found = {
        key: (getattr(there, key), getattr(config, key))
        for key in _SILENT
        if not isinstance(getattr(there, key), Part) and not isinstance(getattr(config, key), Part)
    }
    if not there.rotates:
        found.pop("rope_theta")
    if not there.masked:
        del found["mask_form"]
    if there.attentions != config.attentions and there.depth == config.depth:
        found["attention"] = there.attention, config.attention
    return different + [
        f"{key} is {was} there and {now} here" for key, (was, now) in found.items() if was != now
    ]


def _settings_in(content: Any) -> ModelConfig | None:
    """Settings of the network that a checkpoint of ours holds; None for other files and networks of
    others.
    """
    if not isinstance(content, Mapping) or "config" not in content:
        return None
    saved = json.loads(content["config"]).get("model") or {}
    if "function" in saved:
        return None
    fields = {key: value for key, value in saved.items() if key in ModelConfig.model_fields}
    return ModelConfig.model_validate(fields)


def _other_parts(there: ModelConfig | None, config: ModelConfig) -> list[str]:
    """Parts by name that differ; `there` is None for a file that says nothing of its network."""
    different = []
    for kind in BUILT_IN:
        before, was, now = "another", [], _identities(config, kind)
        if there is not None:
            before, was = _names(there, kind), _identities(there, kind)
        if was != now and not all(isinstance(part, str) for part in (*was, *now)):
            different.append(f"{kind} is {before} there and {_names(config, kind)} here")
    return different


def _identities(config: ModelConfig, kind: str) -> list[Any]:
    """All that decides the numbers of `mixer`, or another part, in every place."""
    choices = config.choices(kind)
    if len(choices) == 1:
        choices *= config.depth
    return [identity_in(choice) for choice in choices]


def _names(config: ModelConfig, kind: str) -> str:
    choices = config.choices(kind)
    return ", ".join(dict.fromkeys(map(text_of, choices)))


def start_from(model: nn.Module, init: InitConfig, data_dir: Path | None) -> None:
    """Give `model` the first weights that `init` names. Raises `ValueError` when they do not fit,
    `FileNotFoundError`.
    """
    path = checked_path(init, data_dir)
    if init.source_heads is None:
        content = _content_of(path)
        weights = _weights_of(content, path, use_ema=False)
        if isinstance(model, VisionTransformer):
            without = _without_additions(model)
            if different := _other_parts(_settings_in(content), without):
                raise ValueError(f"{path} was trained with other parts: {'; '.join(different)}")
            weights = factored(model, _added_tensors(model) | weights)
        _fill(model, weights, path, new_head=init.head == "new")
    elif _has_plain_blocks(model):
        assert isinstance(model, VisionTransformer)
        weights = read_weights(path)
        if is_llama(weights):
            weights = from_llama(weights, init.source_heads)
        select_weights(model, weights, init.source_heads)
    else:
        raise ValueError(
            "weight selection (train.init.source_heads) works only with built-in networks "
            "without parts, low_rank and exits"
        )


def _has_plain_blocks(model: nn.Module) -> bool:
    """Tell whether a network has nothing but what larger ones of its family have."""
    if not isinstance(model, VisionTransformer):
        return False
    config = model.config
    return not (config.has_parts or config.low_rank or config.exits)


def _adds(model: VisionTransformer) -> list[tuple[str, ...]]:
    """Names of the tensors that the mixer of each block has beside those of attention."""
    return [tuple(getattr(block.attn, "adds", ())) for block in model.blocks]


def _without_additions(model: VisionTransformer) -> ModelConfig:
    """Settings as they are without the parts that only add to a built-in one."""
    mixers = model.config.of_blocks("mixer")
    plain = list(mixers)
    for index, added in enumerate(_adds(model)):
        if added:
            plain[index] = "attention"
    return model.config.model_copy(update={"mixer": tuple(plain)})


def _added_tensors(model: VisionTransformer) -> dict[str, Tensor]:
    """First values of what parts add to a built-in one, which weights without them lack."""
    here = model.state_dict()
    names = [
        f"blocks.{layer}.attn.{name}" for layer, added in enumerate(_adds(model)) for name in added
    ]
    return {name: here[name] for name in names}


def load_weights(model: nn.Module, path: Path, *, new_head: bool = False) -> None:
    """Fill `model` with the weights in `path`, all but the head's where that is new; position
    embeddings of another resolution are interpolated.

    Raises `ValueError` naming the tensors that are missing, unknown or of another shape,
    `FileNotFoundError` without a file.
    """
    _fill(model, read_weights(path), path, new_head=new_head)


def _fill(
    model: nn.Module, weights: dict[str, Tensor], path: Path, *, new_head: bool = False
) -> None:
    here = model.state_dict()
    if new_head:
        head = {name: value for name, value in here.items() if name.startswith("head.")}
        if not head:
            raise ValueError(
                "train.init.head new needs a last linear layer named head; this network has none"
            )
        weights |= head
    name = type(model).__name__
    if isinstance(model, VisionTransformer):
        name = model.config.name
        _stretch_positions(model, weights, None)
    if problems := differences(here, weights):
        problems += _other_classes(here, weights)
        raise ValueError(
            f"{path} does not contain the weights of this {name}: {'; '.join(problems)}"
        )
    model.load_state_dict(weights)


def _stretch_positions(
    model: VisionTransformer, weights: dict[str, Tensor], there: ModelConfig | None
) -> None:
    """Fit the learned positions in `weights`, of a network with the settings `there` where they are
    known, to those of `model`.
    """
    if model.pos_embed is not None and "pos_embed" in weights:
        grid = None if there is None else there.grid
        weights["pos_embed"] = interpolate_positions(weights["pos_embed"], model.config, grid)


def _other_classes(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Say what to do where a file has another number of classes."""
    wanted, there = expected.get("head.weight"), found.get("head.weight")
    if wanted is None or there is None or len(wanted) == len(there):
        return []
    return [
        f"the file has {len(there)} classes: build the model with num_classes={len(there)} "
        f"and replace its head (model.head = torch.nn.Linear({wanted.shape[1]}, "
        f"{len(wanted)})), or train "
        "with train.init.head new"
    ]


def read_weights(path: Path, *, use_ema: bool = False) -> dict[str, Tensor]:
    """The tensors in `path` by name, or their moving averages. Only tensors and plain values are
    read: a file cannot run a program.

    Raises `ValueError` when it holds anything else, no average, or is damaged.
    """
    return _weights_of(_content_of(path), path, use_ema=use_ema)


def _content_of(path: Path) -> Any:
    with torch.serialization.safe_globals(_IN_RELEASED_FILES):
        return content_of(path, "weights")


def _weights_of(content: Any, path: Path, *, use_ema: bool) -> dict[str, Tensor]:
    weights = None
    if isinstance(content, Mapping):
        weights = weights_in(content, str(path), use_ema=use_ema)
    if not isinstance(weights, Mapping) or not all(
        isinstance(value, Tensor) for value in weights.values()
    ):
        raise ValueError(
            f"{path} has no weights: expected tensors by name, at the top or under the key model"
        )
    return dict(weights)


def export_weights(model: VisionTransformer, path: Path) -> None:
    """Write the weights as the authors' code reads them: their names, under the key `model`."""
    torch.save(
        {"model": {name: value.detach().cpu() for name, value in model.state_dict().items()}}, path
    )


def interpolate_positions(
    pos_embed: Tensor, config: ModelConfig, grid: tuple[int, int] | None = None
) -> Tensor:
    """Stretch a learned position embedding (1, N, D) to the patches of `config`: bicubic, the class
    token's row apart.

    It is of `grid` rows and columns of patches, and of a square where that is not said. What has
    another number of rows is returned as it is, for `differences` to name.
    """
    extra = config.class_token != "none"
    count = pos_embed.shape[1] - extra
    if count == config.patches and grid in (None, config.grid):
        return pos_embed
    rows, columns = grid or (math.isqrt(count), math.isqrt(count))
    if rows * columns != count:
        return pos_embed
    first, last = config.class_token == "first", config.class_token == "last"
    of_patches = pos_embed[:, first : pos_embed.shape[1] - last]  # (1, rows * columns, D)
    places = of_patches.reshape(1, rows, columns, -1).permute(0, 3, 1, 2)  # (1, D, rows, columns)
    stretched = F.interpolate(places.float(), config.grid, mode="bicubic", align_corners=False)
    stretched = stretched.permute(0, 2, 3, 1).flatten(1, 2).type_as(pos_embed)  # (1, P, D)
    return torch.cat(
        (pos_embed[:, :first], stretched, pos_embed[:, pos_embed.shape[1] - last :]), dim=1
    )


def differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Say what keeps the weights `found` from being the `expected` ones: a sentence per tensor."""
    problems = [f"{name} is missing" for name in expected.keys() - found.keys()]
    problems += [f"{name} is not part of it" for name in found.keys() - expected.keys()]
    problems += [
        f"{name} is {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected.keys() & found.keys()
        if found[name].shape != expected[name].shape
    ]
    return sorted(problems)
