"""The network, top to bottom: a ViT whose parts can be exchanged one by one for those of LLaMA (arXiv 2404.06773).

Parameter names are those of the authors' released iLLaMA models, and for the plain ViT those of timm.
Shapes: B images, P patches, N tokens (patches and class token), R tokens that are asked for, D channels, H heads, C channels of
a head.
"""

from collections.abc import Callable
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.attention import ALL, attend, maps_recorded
from illama.config import ModelConfig, UserModel
from illama.config.networks import build
from illama.cost import hidden_width, macs, tokens
from illama.drop import Drop, drop_elements
from illama.masks import Mask, exact
from illama.randomness import derive
from illama.rotary import rotate, rotations

NORM_EPS = 1e-6
INIT_STD = 0.02
"""Of the truncated normal that linears, class token and position embedding start from (released code; the paper has 0.2)."""


class PatchEmbed(nn.Module):
    """Cuts images into patches and projects each: a strided convolution, computed as one matrix product."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.takes = config.in_chans, config.img_size, config.img_size
        self.proj = nn.Conv2d(
            config.in_chans, config.embed_dim, config.patch_size, config.patch_size
        )

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, channels, height, width); returns (B, P, D), patches row by row. Raises `ValueError` for another shape."""
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


class Attention(nn.Module):
    """Multi-head self-attention; queries and keys are rotated by position where `rotation` is given."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)

    def forward(self, x: Tensor, rotation: Tensor | None, mask: Mask | None, rows: slice) -> Tensor:
        """x: (B, N, D); rotation: (N, C / 2, 2). Returns (B, R, D), the tokens in `rows`."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (B, N, 3, H, C)
        qk, v = qkv.permute(2, 0, 3, 1, 4).contiguous().split((2, 1))  # (2 and 1, B, H, N, C)
        q, k = qk if rotation is None else rotate(qk, rotation)  # each (B, H, N, C)
        v = v.squeeze(0)
        out = attend(q, k, v, mask, rows)  # (B, H, R, C)
        projected: Tensor = self.proj(out.transpose(1, 2).flatten(2))  # (B, R, D)
        return projected


class GeluMlp(nn.Module):
    """ViT's feed-forward: two linears, hidden width 4D."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.embed_dim, hidden_width(config))
        self.fc2 = nn.Linear(hidden_width(config), config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, N, D); returns (B, N, D)."""
        down: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return down


class SwiGLU(nn.Module):
    """LLaMA's feed-forward: fc1 is the gate, fc3 the way up, fc2 the way down; no biases (paper, section 3.1)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = hidden_width(config)
        self.fc1 = nn.Linear(config.embed_dim, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, config.embed_dim, bias=False)
        self.fc3 = nn.Linear(config.embed_dim, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, N, D); returns (B, N, D)."""
        down: Tensor = self.fc2(F.silu(self.fc1(x)) * self.fc3(x))
        return down


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a residual connection."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = make_norm(config)
        self.attn = Attention(config)
        self.norm2 = make_norm(config)
        self.mlp = SwiGLU(config) if config.feed_forward == "swiglu" else GeluMlp(config)

    def forward(
        self,
        x: Tensor,
        rotation: Tensor | None,
        mask: Mask | None,
        drop: Tensor | None,
        rows: slice = ALL,
    ) -> Tensor:
        """x: (B, N, D); drop: what each image's branches are multiplied by, (2, B). Returns (B, R, D), the tokens in `rows`."""
        attended = self.attn(self.norm1(x), rotation, mask, rows)
        x = x[:, rows] + (attended if drop is None else attended * drop[0, :, None, None])
        fed = self.mlp(self.norm2(x))
        x = x + (fed if drop is None else fed * drop[1, :, None, None])
        return x


class VisionTransformer(nn.Module):
    """From images to class logits. `soft_mask_rate` is alpha of the paper's equation 2: 0 at first and always for inference."""

    rotation: Tensor | None

    def __init__(self, config: ModelConfig, seed: int | None = None) -> None:
        """Weights start from `seed`; without one, from torch's global random state."""
        super().__init__()
        self.config = config
        count = tokens(config)
        self.patch_embed = PatchEmbed(config)
        self.cls_token = (
            nn.Parameter(torch.empty(1, 1, config.embed_dim))
            if config.class_token != "none"
            else None
        )
        self.pos_embed = (
            nn.Parameter(torch.empty(1, count, config.embed_dim))
            if "learned" in config.position
            else None
        )
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = make_norm(config)
        self.head = nn.Linear(config.embed_dim, config.num_classes)

        self.register_buffer("rotation", None, persistent=False)
        if "rope" in config.position:
            self.rotation = rotations(config).to(torch.get_default_device())
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

    def set_soft_mask_rate(self, alpha: float) -> None:
        """Blend the masks with full attention in every block: alpha 1 is bidirectional, 0 the masks of `config.attention`.

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
        readout = {"first": slice(0, 1), "last": slice(-1, None), "none": ALL}[
            self.config.class_token
        ]
        features = self.norm(self.forward_features(images, drop, readout))  # (B, 1 or N, D)
        logits: Tensor = self.head(
            features.mean(dim=1) if self.cls_token is None else features[:, 0]
        )
        return logits

    def forward_features(
        self, images: Tensor, drop: Drop | None = None, rows: slice = ALL
    ) -> Tensor:
        """images: (B, channels, height, width); returns (B, R, D), the tokens in `rows` as the last block leaves them."""
        x: Tensor = self.patch_embed(images)  # (B, P, D)
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
        if drop is not None and drop.inputs is not None:
            x = drop_elements(x, *drop.inputs)
        for index, (block, kind) in enumerate(
            zip(self.blocks, self.config.attentions, strict=True)
        ):
            mask = cast(Mask, self.masks[kind]) if kind != "bidirectional" else None
            paths = None if drop is None or drop.paths is None else drop.paths[index]
            x = block(x, self.rotation, mask, paths, rows if index == len(self.blocks) - 1 else ALL)
        return x


def make_network(config: ModelConfig | UserModel, seed: int) -> nn.Module:
    """Ours, or what somebody else's function builds; both from images (B, channels, height, width) to logits (B, classes)."""
    return build(config, seed) if isinstance(config, UserModel) else VisionTransformer(config, seed)


def make_norm(config: ModelConfig) -> nn.Module:
    """LayerNorm, or RMSNorm as in LLaMA (paper, section 3.2)."""
    norm = nn.RMSNorm if config.norm == "rmsnorm" else nn.LayerNorm
    return norm(config.embed_dim, eps=NORM_EPS)


@torch.no_grad()
def init_weights(model: VisionTransformer, seed: int) -> None:
    """Give every parameter its first values: the only place where that happens.

    Norms start as the identity and biases at 0; the patch projection as torch's convolution does, uniform within
    1 / sqrt(inputs); all else from a truncated normal. Each tensor draws from a generator of its own name, so variants of a model
    that share a tensor and a seed also share its first values, and a comparison between them is not one of luck at the start.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_meta:  # it has no values
            continue
        generator = torch.Generator("cpu").manual_seed(derive(seed, "init", name))
        value = torch.empty(parameter.shape, device="cpu")
        if name.startswith("patch_embed"):
            bound = model.patch_embed.proj.weight[0].numel() ** -0.5
            value.uniform_(-bound, bound, generator=generator)
        elif "norm" in name:
            value.fill_(name.endswith("weight"))
        elif name.endswith("bias"):
            value.zero_()
        else:
            nn.init.trunc_normal_(value, std=INIT_STD, generator=generator)
        parameter.copy_(value)
