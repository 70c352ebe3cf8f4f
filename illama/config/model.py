"""Settings of the built-in networks, and the names that stand for many of them at once."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from illama.config.settings import Settings

AttentionKind = Literal["bidirectional", "causal", "modified_causal"]


_Size = Annotated[PositiveInt, Field(le=10_000_000)]
"""Far above any network: what is larger is a slip."""


class ModelConfig(Settings):
    """The network. A plain ViT and the paper's iLLaMA are two corners of this space (arXiv
    2404.06773, Table 17)."""

    name: str
    """The preset that the other settings start from: one of `PRESETS`."""
    img_size: _Size
    """Height and width of the input, in pixels."""
    patch_size: _Size
    """Height and width of a patch, in pixels."""
    in_chans: _Size
    """Channels of the input."""
    num_classes: _Size
    """Outputs of the head."""
    embed_dim: _Size
    """Width of the residual stream."""
    depth: Annotated[PositiveInt, Field(le=10_000)]
    """Number of blocks."""
    num_heads: _Size
    """Attention heads; the head's width is `embed_dim / num_heads`."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    """Normalisation in front of attention, feed-forward and head (paper, section 3.2)."""
    feed_forward: Literal["gelu", "swiglu"] = "gelu"
    """`gelu`: two linears, hidden width 4D. `swiglu`: three bias-free linears (paper, section
    3.1)."""
    multiple_of: _Size = 256
    """SwiGLU's hidden width is 2/3 of 4D rounded up to a multiple of this."""
    position: Literal["none", "learned", "rope", "learned+rope", "rope2d", "learned+rope2d"] = (
        "learned"
    )
    """Learned embedding added once, rotary embedding in every attention, or both (paper, section
    3.4). `rope` counts along the sequence as in the paper; `rope2d` turns half of the channels by
    the patch's row, the other half by its column."""
    rope_theta: PositiveFloat = 10000.0
    """Base of the rotary frequencies."""
    attention: AttentionKind | tuple[AttentionKind, ...] = "bidirectional"
    """`modified_causal` is causal with the first row open (paper, section 3.3, Figure 2). A list
    gives every block its own."""
    mask_form: Literal["multiplicative", "additive"] = "multiplicative"
    """`multiplicative`: softmax over all keys, then the mask, no renormalisation (the released
    code; paper, equation 2). `additive`: minus infinity before the softmax (LLaMA's own; paper,
    equation 1)."""
    class_token: Literal["first", "last", "none"] = "first"
    """Where the class token stands among the patches; the head reads it there. `none`: the head
    reads the patches' mean."""

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in PRESETS:
            nearest = get_close_matches(name, PRESETS, 1)
            hint = f"; did you mean {nearest[0]}?" if nearest else "."
            raise ValueError(
                f"there is no model {name!r}{hint} There are {', '.join(PRESETS)}, and module:function of your own"
            )
        return name

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.img_size % self.patch_size:
            raise ValueError(
                f"img_size {self.img_size} is not a multiple of patch_size {self.patch_size}"
            )
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not a multiple of num_heads {self.num_heads}"
            )
        head_dim = self.embed_dim // self.num_heads
        if "rope" in self.position and head_dim % (4 if "2d" in self.position else 2):
            pairs = (
                "pairs of channels for rows and as many for columns"
                if "2d" in self.position
                else "pairs of channels"
            )
            raise ValueError(
                f"{self.position} rotates {pairs}: the head's width {head_dim} cannot be divided so"
            )
        if isinstance(self.attention, tuple) and len(self.attention) != self.depth:
            raise ValueError(
                f"attention lists {len(self.attention)} blocks, but depth is {self.depth}"
            )
        if "modified_causal" in self.attentions and self.class_token != "first":
            raise ValueError(
                "attention modified_causal opens the first row for a class token that stands first; with class_token "
                f"{self.class_token} use attention causal"
            )
        return self

    @property
    def attentions(self) -> tuple[AttentionKind, ...]:
        """The attention of every block, from the first to the last."""
        return (
            self.attention if isinstance(self.attention, tuple) else (self.attention,) * self.depth
        )

    @property
    def masked(self) -> bool:
        """Whether any block has a mask."""
        return set(self.attentions) != {"bidirectional"}


_DIGITS: dict[str, Any] = {"img_size": 8, "patch_size": 2, "in_chans": 1, "num_classes": 10}
_DIGITS |= {"embed_dim": 64, "depth": 4, "num_heads": 4, "multiple_of": 8}
_IMAGENET: dict[str, Any] = {"img_size": 224, "patch_size": 16, "in_chans": 3, "num_classes": 1000}
_SIZES = {  # paper, Table 11
    "tiny": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "small": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "base": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "large": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
}
_ILLAMA: dict[str, Any] = {
    "norm": "rmsnorm",
    "feed_forward": "swiglu",
    "position": "learned+rope",
    "attention": "causal",
    "class_token": "last",
}

PRESETS: Mapping[str, Mapping[str, Any]] = (
    {"vit_digits": _DIGITS, "illama_digits": _DIGITS | _ILLAMA}
    | {f"vit_{size}": _IMAGENET | shape for size, shape in _SIZES.items()}
    | {f"illama_{size}": _IMAGENET | shape | _ILLAMA for size, shape in _SIZES.items()}
)
"""Model names and the settings behind them."""


def with_preset(model: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `model` laid over those of the preset that its `name` picks (unknown or
    missing names pick nothing)."""
    return {**PRESETS.get(str(model.get("name")), {}), **model}
