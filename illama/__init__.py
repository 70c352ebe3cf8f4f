"""The iLLaMA family: from a ViT to a LLaMA-style decoder for images, step by step
(arXiv 2404.06773).

    model = illama.create_model("illama_tiny", num_classes=10)

Importing this package or `illama.config` does not import torch.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from illama.model import VisionTransformer

__all__ = ["create_model", "load_model"]


def create_model(
    name: str,
    *,
    checkpoint_path: str | Path | None = None,
    use_ema: bool = False,
    soft_mask_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    **overrides: Any,
) -> "VisionTransformer":
    """Build the preset `name`, optionally overriding settings of `illama.config.ModelConfig` and
    loading weights.

    `checkpoint_path` names a checkpoint of this package's trainer, or a file released by the
    paper's authors; learned positions for another resolution are interpolated. The weights of a
    network trained with `train.quantize` are loaded in full precision; use `load_model` to rebuild
    it as it was measured. `use_ema` selects the moving average of the weights, on which
    `val_ema/...` is measured. `soft_mask_rate` is alpha: 0 is the full mask, 1 no mask.
    `drop_path_rate` is the rate of stochastic depth in training mode, in any training loop.

    Raises `ValueError` for an unknown name or setting and for weights that do not fit or belong to
    a different network, and `FileNotFoundError` for a missing file.
    """
    from illama.weights.pretrained import build  # torch takes seconds to import

    model = build(name, checkpoint_path, use_ema, soft_mask_rate, overrides)
    model.set_drop_path_rate(drop_path_rate)
    return model


def load_model(checkpoint_path: str | Path, *, use_ema: bool = False) -> "nn.Module":
    """Rebuild the network in a checkpoint of this package's trainer; no other file is needed.

    The file contains the settings. Your own functions that build the network, or parts of it, are
    imported; a `ValueError` names them if they are not found or have changed since training. A
    network trained with `train.quantize` computes with quantized weights. `use_ema` selects the
    moving average of the weights.

    Raises `ValueError` for a file without settings or with weights that do not fit them, and
    `FileNotFoundError` for a missing file.
    """
    from illama.weights.pretrained import rebuilt  # torch takes seconds to import

    return rebuilt(Path(checkpoint_path), use_ema=use_ema)
