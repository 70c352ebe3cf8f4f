"""The network, top to bottom: a ViT whose parts can be exchanged one by one for those of LLaMA
(arXiv 2404.06773).

Parameter names are those of the authors' released iLLaMA models, and for the plain ViT those of
timm. Shapes: B images, P patches, N tokens (patches and class token), R tokens that are asked for,
D channels, H heads, C channels of a head.
"""

from collections.abc import Callable
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.attention import ALL, maps_recorded
from illama.blocks import Block, make_norm, seeded_part
from illama.config import ModelConfig, UserModel
from illama.config.networks import build
from illama.config.parts import Part
from illama.cost import macs, tokens
from illama.drop import Drop, drop_elements
from illama.masks import Mask, exact
from illama.parts.place import Where
from illama.randomness import derive
from illama.rotary import rotations
from illama.scans import order_of

INIT_STD = 0.02
"""The standard deviation of the truncated normal that linears, class token and position embedding
start from (released code; the paper has 0.2).
"""


class PatchEmbed(nn.Module):
    """Cuts images into patches and projects each: a strided convolution, computed as one matrix
    product.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.takes = config.in_chans, config.img_size, config.img_size
        self.proj = nn.Conv2d(
            config.in_chans, config.embed_dim, config.patch_size, config.patch_size
        )

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, channels, height, width); returns (B, P, D), patches row by row. Raises
        `ValueError` for another shape.
        """
        if images.shape[1:] != self.takes:
            raise ValueError(
                f"the model takes images of {self.takes} (channels, height, width), not {tuple(images.shape[1:])}"
            )
        p = self.patch_size
        batch, channels, height, width = images.shape
        grid = images.reshape(batch, channels, height // p, p, width // p, p)
        count = (height // p) * (width // p)  # written out: of no image, it cannot be inferred
        patches = grid.permute(0, 2, 4, 1, 3, 5).reshape(
            batch, count, channels * p * p
        )  # (B, P, channels * p * p)
        return F.linear(patches, torch.flatten(self.proj.weight, 1), self.proj.bias)


class VisionTransformer(nn.Module):
    """A network from images to class logits. `soft_mask_rate` is alpha of the paper's equation 2: 0
    at first and always for inference.
    """

    rotation: Tensor | None
    order: Tensor

    def __init__(self, config: ModelConfig, seed: int | None = None) -> None:
        """Weights start from `seed`; without one, from torch's global random state."""
        super().__init__()
        self.config = config
        if seed is None and config.has_parts:  # they are drawn while they are made
            seed = int(torch.randint(2**31, (), device="cpu"))
        count = tokens(config)
        self.patch_embed = PatchEmbed(config)
        self.cls_token = (
            nn.Parameter(torch.empty(1, 1, config.embed_dim))
            if config.class_token != "none"
            else None
        )
        self.pos_embed = (
            nn.Parameter(torch.empty(1, count - config.registers, config.embed_dim))
            if config.learns_positions
            else None
        )
        self.registers = (
            nn.Parameter(torch.empty(1, config.registers, config.embed_dim))
            if config.registers
            else None
        )
        self.position = (
            seeded_part(config.position, config.place(0), "position", seed)
            if isinstance(config.position, Part)
            else None
        )
        self.blocks = nn.ModuleList(Block(config, layer, seed) for layer in range(config.depth))
        self.norm = make_norm(config, config.depth, "norm", seed)
        self.head = (
            seeded_part(config.readout, config.place(config.depth), "head", seed)
            if isinstance(config.readout, Part)
            else nn.Linear(config.embed_dim, config.num_classes)
        )

        self.register_buffer("rotation", None, persistent=False)
        if config.rotates:
            self.rotation = rotations(config).to(torch.get_default_device())
        order = torch.tensor(order_of(config.scan, config.side))
        self.register_buffer("order", order, persistent=False)
        kinds = dict.fromkeys(kind for kind in config.attentions if kind != "bidirectional")
        self.masks = nn.ModuleDict({kind: Mask(kind, config.mask_form, count) for kind in kinds})
        self.soft_mask_rate = 0.0
        if seed is None:
            seed = int(torch.randint(2**31, (), device="cpu"))
        init_weights(self, seed)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast the weights; rotations are computed afresh, for they must not be rounded
        with them.
        """
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.rotation is not None:
            finely = rotations(self.config, exact(self.rotation.dtype))
            self.rotation = finely.to(self.rotation.device)
        return self

    @property
    def macs_per_image(self) -> int:
        """Multiply-accumulates as the paper counts them, with all tokens of the last block."""
        return macs(self.config)

    def no_weight_decay(self) -> set[str]:
        """Names of own parameters that weight decay leaves alone beside those that it leaves alone
        in every network.
        """
        return {"registers"}

    def set_soft_mask_rate(self, alpha: float) -> None:
        """Blend the masks with full attention in every block: alpha 1 is bidirectional, 0 the masks
        of `config.attention`.

        Raises `ValueError` when alpha is outside 0 to 1, or above 0 in a model without a mask.
        """
        if not 0 <= alpha <= 1:
            raise ValueError(
                f"soft_mask_rate is {alpha}; it must be between 0 (the mask as it is) and 1 (bidirectional)"
            )
        if not self.config.masked and alpha > 0:
            raise ValueError(
                "soft_mask_rate softens a mask, but attention is bidirectional; leave it at 0"
            )
        self.soft_mask_rate = float(alpha)
        for mask in self.masks.values():
            cast(Mask, mask).set_alpha(self.soft_mask_rate)

    def attention_maps(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Attention maps of every block, before and after the mask, each (B, H, N, N).

        images: (B, channels, height, width), normalised. Raises `ValueError` where a block has
        another mixer than attention.
        """
        with maps_recorded() as maps:
            self.forward_features(images)
        if len(maps) != len(self.blocks):
            raise ValueError(f"{len(maps)} of {len(self.blocks)} blocks have attention maps")
        return maps

    def forward(self, images: Tensor, drop: Drop | None = None) -> Tensor:
        """images: (B, channels, height, width), normalised; returns logits (B, classes).

        Where a class token is read out, the last block computes no other token.
        """
        features = self.norm(self.forward_features(images, drop, self._read_rows()))  # (B, R, D)
        if isinstance(self.config.readout, Part):
            read: Tensor = self.head(features)
            return read
        if self.config.readout == "mean" or self.cls_token is None:
            if self.config.tokens > self.config.side**2:
                features = features[:, self.config.place(0).patches]
            features = features.mean(dim=1)
        else:
            features = features[:, 0]
        logits: Tensor = self.head(features)
        return logits

    def _read_rows(self) -> slice:
        """Tokens that the readout looks at; the last block computes no other."""
        if isinstance(self.config.readout, Part):
            rows: slice = getattr(self.head, "rows", ALL)
            return rows
        if self.config.readout == "mean":
            return ALL
        return {"first": slice(0, 1), "last": slice(-1, None), "none": ALL}[self.config.class_token]

    def forward_features(
        self, images: Tensor, drop: Drop | None = None, rows: slice = ALL
    ) -> Tensor:
        """images: (B, channels, height, width); returns (B, R, D), the tokens in `rows` as the last
        block leaves them.
        """
        x: Tensor = self.patch_embed(images)  # (B, P, D)
        if self.config.scan != "raster":
            x = x[:, self.order]
        x = x.type_as(
            self.patch_embed.proj.weight
        )  # the residual stream is as fine as the weights, whatever autocast rounds
        if self.cls_token is not None:
            token = self.cls_token.expand(
                x.shape[0], -1, -1
            )  # len(x) would fix the batch size of an exported network
            x = torch.cat(
                (token, x) if self.config.class_token == "first" else (x, token), dim=1
            )  # (B, N, D)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        x, rotation = self._positioned(x)
        if drop is not None and drop.inputs is not None:
            x = drop_elements(x, *drop.inputs)
        for index, (block, kind) in enumerate(
            zip(self.blocks, self.config.attentions, strict=True)
        ):
            mask = cast(Mask, self.masks[kind]) if kind != "bidirectional" else None
            paths = None if drop is None or drop.paths is None else drop.paths[index]
            asked = rows if index == len(self.blocks) - 1 else ALL
            x = block(x, Where(asked, rotation, mask), paths)
        return x

    def _positioned(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens with the position of a part and with registers, and the rotation. x: (B, N -
        registers, D).
        """
        rotation = self.rotation
        if self.position is not None:
            x = self.position(x)
            turned = getattr(self.position, "rotation", None)
            rotation = None if turned is None else turned()
        if self.registers is None:
            return x, rotation
        registers = self.registers.expand(x.shape[0], -1, -1)
        first, last = self.config.class_token == "first", self.config.class_token == "last"
        before, rest = x[:, :first], x[:, first : x.shape[1] - last]
        behind = x[:, x.shape[1] - last :]
        tokens = (rest, registers, behind) if last else (before, registers, rest)
        return torch.cat(tokens, dim=1), rotation  # (B, N, D)


def make_network(config: ModelConfig | UserModel, seed: int) -> nn.Module:
    """Ours, or what somebody else's function builds; both from images (B, channels, height, width)
    to logits (B, classes).
    """
    return build(config, seed) if isinstance(config, UserModel) else VisionTransformer(config, seed)


_OF_ATTENTION = ("attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias")
_OF_FEED_FORWARD = tuple(
    f"mlp.fc{number}.{kind}" for number in (1, 2, 3) for kind in ("weight", "bias")
)
_PAIRED = frozenset({*_OF_ATTENTION, *_OF_FEED_FORWARD, "head.weight", "head.bias"})
"""Tensors that a part may share with the built-in one by its name: they start with the same values.
"""


def _is_parts_own(model: VisionTransformer, name: str) -> bool:
    """Whether a parameter keeps the first values that a part's constructor gave it."""
    config = model.config
    if name.startswith("blocks."):
        _, layer, inner = name.split(".", 2)
        kinds = {"attn": "mixer", "mlp": "feed_forward", "norm1": "norm", "norm2": "norm"}
        kind = kinds.get(inner.partition(".")[0])
        is_part = kind is not None and isinstance(config.of_blocks(kind)[int(layer)], Part)
        return is_part and inner not in _PAIRED
    top = name.partition(".")[0]
    if top == "norm":
        return isinstance(config.of_blocks("norm")[-1], Part)
    if top == "head":
        return isinstance(config.readout, Part) and name not in _PAIRED
    return top == "position"


@torch.no_grad()
def init_weights(model: VisionTransformer, seed: int) -> None:
    """Give every parameter its first values: the only place where that happens, but for those that
    parts draw themselves.

    Norms start as the identity and biases at 0; the patch projection as torch's convolution does,
    uniform within 1 / sqrt(inputs); LayerScale at `layer_scale`; all else from a truncated normal.
    Each tensor draws from a generator of its own name, so variants of a model that share a tensor
    and a seed also share its first values, and a comparison between them is not one of luck at the
    start.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_meta or _is_parts_own(model, name):  # it has no values, or its own
            continue
        generator = torch.Generator("cpu").manual_seed(derive(seed, "init", name))
        value = torch.empty(parameter.shape, device="cpu")
        if name.startswith("patch_embed"):
            bound = model.patch_embed.proj.weight[0].numel() ** -0.5
            value.uniform_(-bound, bound, generator=generator)
        elif name.endswith(".gamma"):
            value.fill_(model.config.layer_scale or 1.0)
        elif "norm" in name:
            value.fill_(name.endswith("weight"))
        elif name.endswith("bias"):
            value.zero_()
        else:
            nn.init.trunc_normal_(value, std=INIT_STD, generator=generator)
        parameter.copy_(value)
