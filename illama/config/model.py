"""Settings of the built-in networks, and the names that stand for many of them at once."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from illama.config.parts import BUILT_IN, Part, identity_in, part_setting
from illama.config.settings import Settings
from illama.networks import NETWORKS
from illama.parts.place import Place
from illama.spelling import did_you_mean

AttentionKind = Literal["bidirectional", "causal", "modified_causal"]


_MOST = 10_000_000
_Size = Annotated[PositiveInt, Field(le=_MOST)]
"""Far above any network: what is larger is a slip."""


def _within_bounds(size: Any) -> Any:
    """One number of pixels, told what is wrong with it as a number and not as a list."""
    if isinstance(size, int) and size > _MOST:
        raise PydanticKnownError("less_than_equal", {"le": _MOST})
    if isinstance(size, int) and size <= 0:
        raise PydanticKnownError("greater_than", {"gt": 0})
    return size


_Mixer = Literal["attention"] | Part
_FeedForward = Literal["gelu", "swiglu"] | Part
_Norm = Literal["layernorm", "rmsnorm"] | Part
_Position = Literal["none", "learned", "rope", "learned+rope", "rope2d", "learned+rope2d"] | Part


class ModelConfig(Settings):
    """The network. A plain ViT and the paper's iLLaMA are two corners of this space (arXiv
    2404.06773, Table 17)."""

    name: str
    """The preset that the other settings start from: one of `PRESETS`."""
    img_size: Annotated[_Size | tuple[_Size, _Size], BeforeValidator(_within_bounds)]
    """Height and width of the input, in pixels: one number of a square, or both as a list."""
    patch_size: _Size
    """Height and width of a patch, in pixels."""
    in_chans: _Size
    """Channels of the input."""
    num_classes: Annotated[NonNegativeInt, Field(le=_MOST)]
    """Outputs of the head; 0: there is no head, and the network returns features."""
    embed_dim: _Size
    """Width of the residual stream."""
    depth: Annotated[PositiveInt, Field(le=10_000)]
    """Number of blocks."""
    num_heads: _Size
    """Attention heads; the head's width is `embed_dim / num_heads`."""
    norm: Annotated[_Norm | tuple[_Norm, ...], part_setting("norm")] = "layernorm"
    """Normalisation in front of attention, feed-forward and head (paper, section 3.2). A list gives
    every block its own; the head has that of the last. Parts of one's own: `docs/parts.md`."""
    mixer: Annotated[_Mixer | tuple[_Mixer, ...], part_setting("mixer")] = "attention"
    """Part in which tokens look at each other: multi-head `attention`, one of `illama.parts`, or
    one's own. A list gives every block its own."""
    feed_forward: Annotated[
        _FeedForward | tuple[_FeedForward, ...], part_setting("feed_forward")
    ] = "gelu"
    """`gelu`: two linears, hidden width 4D. `swiglu`: three bias-free linears (paper, section
    3.1). Or a part, as for `mixer`."""
    multiple_of: _Size = 256
    """SwiGLU's hidden width is 2/3 of 4D rounded up to a multiple of this."""
    position: Annotated[_Position, part_setting("position")] = "learned"
    """Learned embedding added once, rotary embedding in every attention, or both (paper, section
    3.4). `rope` counts along the sequence as in the paper; `rope2d` turns half of the channels by
    the patch's row, the other half by its column. Or a part."""
    rope_theta: PositiveFloat = 10000.0
    """Base of the rotary frequencies."""
    rope_anchor: PositiveInt | None = None
    """Rows and columns that `rope2d` counts, whatever the image's size: positions are scaled by
    anchor / side (AS2DRoPE of VisionLLaMA, arXiv 2403.00522, section 3.2). None: it counts
    patches."""
    attention: AttentionKind | tuple[AttentionKind, ...] = "bidirectional"
    """`modified_causal` is causal with the first row open (paper, section 3.3, Figure 2). A list
    gives every block its own."""
    mask_form: Literal["multiplicative", "additive"] = "multiplicative"
    """`multiplicative`: softmax over all keys, then the mask, no renormalisation (the released
    code; paper, equation 2). `additive`: minus infinity before the softmax (LLaMA's own; paper,
    equation 1)."""
    class_token: Literal["first", "last", "none"] = "first"
    """The place of the class token among the patches; the head reads it there. `none`: the head
    reads the patches' mean."""

    readout: Annotated[Literal["token", "mean"] | Part, part_setting("readout")] = "token"
    """`token`: a linear on the class token, or on the patches' mean where there is none. `mean`: on
    the patches' mean in any case. Or a part."""
    qk_norm: bool = False
    """RMSNorm over the channels of each head's queries and keys, before they are turned (arXiv
    2010.04245)."""
    attention_bias: bool = True
    """True if the linears of the attention have biases; LLaMA's have none."""
    kv_heads: _Size | None = None
    """Grouped-query attention (LLaMA 2; arXiv 2305.13245): heads of keys and values, each shared by
    as many heads of queries. None: as many as `num_heads`."""
    layer_scale: PositiveFloat | None = None
    """Factor, learned for each channel, that both branches of a block start with (LayerScale of
    CaiT, arXiv 2103.17239). None: there is none."""
    registers: NonNegativeInt = Field(default=0, le=1000)
    """Learned tokens beside the class token that nothing is read from (arXiv 2309.16588): in front
    of the patches, or behind them where the class token stands last."""
    exits: tuple[PositiveInt, ...] = ()
    """Blocks, counted from 1, behind which a norm and a linear of their own read out as well, and
    are trained too (early exit; BranchyNet, arXiv 1709.01686). The last block has the head."""
    low_rank: Annotated[float, Field(ge=1)] | None = None
    """The linears of the built-in attention and feed-forwards are two factors with so many times
    fewer weights, and start from the singular vectors of the whole (PELA, arXiv 2310.10700). None:
    they are whole."""
    scan: Literal["raster", "reversed", "zigzag", "hilbert"] = "raster"
    """Order of the patches in the sequence: row by row, the same backwards, every other row
    backwards, or along Hilbert's curve."""

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in PRESETS:
            known = [*PRESETS, *NETWORKS]
            raise ValueError(
                f"there is no model {name!r}{did_you_mean(name, known) or '.'} "
                f"Allowed: {', '.join(known)}, or your own module:function"
            )
        return name

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        self._check_sizes()
        self._check_lists()
        self._check_position()
        self._check_exits()
        if "modified_causal" in self.attentions and self.class_token != "first":
            raise ValueError(
                "attention modified_causal opens the first row for a class token in first "
                f"position; with class_token {self.class_token} use attention causal"
            )
        if self.has_parts:
            from illama.config.part_placement import check_parts  # imports torch

            check_parts(self)
        return self

    def _check_sizes(self) -> None:
        for size in self.pixels:
            if size % self.patch_size:
                raise ValueError(
                    f"img_size {size} is not a multiple of patch_size {self.patch_size}"
                )
        if not self.num_classes and isinstance(self.readout, Part):
            raise ValueError(
                f"num_classes 0 leaves out the head, but readout {self.readout.text} is the head"
            )
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not a multiple of num_heads {self.num_heads}"
            )
        if self.kv_heads is not None and self.num_heads % self.kv_heads:
            raise ValueError(
                f"num_heads {self.num_heads} is not a multiple of kv_heads {self.kv_heads}"
            )
        rows, columns = self.grid
        if self.scan == "hilbert" and (rows != columns or rows & (rows - 1)):
            found = rows if rows == columns else f"{rows} x {columns}"
            raise ValueError(
                f"scan hilbert needs a square grid whose side is a power of two, found {found}"
            )

    def _check_lists(self) -> None:
        for name in ("attention", *BUILT_IN):
            listed = getattr(self, name)
            if isinstance(listed, tuple) and len(listed) != self.depth:
                raise ValueError(f"{name} lists {len(listed)} blocks, but depth is {self.depth}")
        for name in ("qk_norm", "kv_heads", "attention_bias"):
            if self.changes(name) and "attention" not in self.of_blocks("mixer"):
                raise ValueError(f"{name} is for mixer attention, which no block has")

    def _check_exits(self) -> None:
        if list(self.exits) != sorted(set(self.exits)) or max(self.exits, default=0) >= self.depth:
            raise ValueError(
                f"exits {list(self.exits)} must increase and come before the last of {self.depth} "
                "blocks"
            )
        has_part = isinstance(self.readout, Part) or isinstance(self.of_blocks("norm")[-1], Part)
        if self.exits and has_part:
            raise ValueError("exits need readout token or mean, and a built-in norm")
        if self.exits and not self.num_classes:
            raise ValueError("exits need the head's classes, but num_classes is 0")

    def _check_position(self) -> None:
        head_dim = self.embed_dim // self.num_heads
        divisor, pairs = 2, "pairs of channels"
        if self.rotates_by_place:
            divisor, pairs = 4, "pairs of channels for rows and as many for columns"
        if self.rotates and head_dim % divisor:
            raise ValueError(
                f"{self.position} rotates {pairs}: the head's width {head_dim} cannot be divided so"
            )
        if self.rope_anchor is not None and not self.rotates_by_place:
            raise ValueError("rope_anchor scales the positions of rope2d, which is not used")

    @property
    def attentions(self) -> tuple[AttentionKind, ...]:
        """The attention of every block, from the first to the last."""
        return self.of_blocks("attention")

    @property
    def masked(self) -> bool:
        """True if any block has a mask."""
        return set(self.attentions) != {"bidirectional"}

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width of the input."""
        if isinstance(self.img_size, tuple):
            return self.img_size
        return self.img_size, self.img_size

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        height, width = self.pixels
        return height // self.patch_size, width // self.patch_size

    @property
    def patches(self) -> int:
        """P: patches of an image."""
        rows, columns = self.grid
        return rows * columns

    @property
    def tokens(self) -> int:
        """N: patches, class token and registers."""
        return self.patches + (self.class_token != "none") + self.registers

    @property
    def learns_positions(self) -> bool:
        """True if an embedding of each position is added to the tokens."""
        return isinstance(self.position, str) and "learned" in self.position

    @property
    def rotates(self) -> bool:
        """True if `position` names a rotary one."""
        return isinstance(self.position, str) and "rope" in self.position

    @property
    def rotates_by_place(self) -> bool:
        """True if `position` names a rotary one by row and column."""
        return isinstance(self.position, str) and "2d" in self.position

    @property
    def has_parts(self) -> bool:
        """True if any part of it is not built in."""
        return any(isinstance(part, Part) for kind in BUILT_IN for part in self.choices(kind))

    @property
    def user_functions(self) -> frozenset[str]:
        """`module:function` of every part that does not come with this package."""
        parts = [part for kind in BUILT_IN for part in self.choices(kind)]
        return frozenset(
            part.function for part in parts if isinstance(part, Part) and not part.is_ours
        )

    def choices(self, kind: str) -> tuple[Any, ...]:
        """Return what is written under `kind`: one for all places, or one for each block."""
        choice = getattr(self, kind)
        if isinstance(choice, tuple):
            return choice
        return (choice,)

    def of_blocks(self, kind: str) -> tuple[Any, ...]:
        """`attention`, `mixer`, `feed_forward` or `norm` of every block, from the first to the
        last.
        """
        choice = getattr(self, kind)
        if isinstance(choice, tuple):
            return choice
        return (choice,) * self.depth

    def place(self, layer: int) -> Place:
        """Place of the parts of block `layer`; the last norm and the readout have that of
        `depth`.
        """
        return Place(
            dim=self.embed_dim,
            heads=self.num_heads,
            tokens=self.tokens,
            grid=self.grid,
            class_token=self.class_token,
            layer=layer,
            depth=self.depth,
            attention=self.attentions[min(layer, self.depth - 1)],
            mask_form=self.mask_form,
            registers=self.registers,
            classes=self.num_classes,
        )

    @property
    def identity(self) -> dict[str, Any]:
        """All of it that decides the numbers, without settings at their default."""
        science = self.model_dump(mode="python", exclude_defaults=True)
        del science["name"]
        for kind in science.keys() & BUILT_IN.keys():
            value = getattr(self, kind)
            science[kind] = identity_in(self.choices(kind)[0])
            if isinstance(value, tuple):
                science[kind] = [identity_in(part) for part in value]
        return science


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
