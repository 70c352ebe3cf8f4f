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
    """Build the preset `name`, with any of `illama.config.ModelConfig`'s settings overridden, and
    load weights if asked to.

    `checkpoint_path` names a checkpoint of this package's trainer, or a file that the paper's
    authors released; learned positions of another resolution are interpolated. The weights of a
    network trained with `train.quantize` are taken in full precision: `load_model` rebuilds it as
    it was measured. With `use_ema` its moving average of the weights is taken, which `val_ema/...`
    is measured on. `soft_mask_rate` is alpha: 0 is the mask, 1 none. `drop_path_rate` is that of
    stochastic depth in training mode, in anybody's training loop. Raises `ValueError` for an
    unknown name or setting, for weights that do not fit or were trained as another network,
    `FileNotFoundError` for a missing file.
    """
    from illama.weights.pretrained import build  # torch takes seconds to import

    model = build(name, checkpoint_path, use_ema, soft_mask_rate, overrides)
    model.set_drop_path_rate(drop_path_rate)
    return model


def load_model(checkpoint_path: str | Path, *, use_ema: bool = False) -> "nn.Module":
    """Rebuild the network that a checkpoint of this package's trainer holds, from that file alone.

    Its settings stand in the file. Functions of other people that build it, or parts of it, are
    imported; `ValueError` names them where they are not found or are no longer those of the
    training. A network trained with `train.quantize` computes on its grid. With `use_ema` the
    weights are their moving average. Raises `ValueError` for a file
    without settings or with other weights than they say, `FileNotFoundError` for a missing one.
    """
    from illama.weights.pretrained import rebuilt  # torch takes seconds to import

    return rebuilt(Path(checkpoint_path), use_ema=use_ema)
