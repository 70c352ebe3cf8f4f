"""The blocks of the network: attention and feed-forward behind norms, each a built-in one or a part
by name.

Shapes: B images, N tokens (patches, class token, registers), R tokens that are asked for, D
channels, H heads, C channels of a head.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.attention import ALL, attend
from illama.config import ModelConfig
from illama.config.parts import Part, make_part
from illama.cost import hidden_width
from illama.low_rank import linear
from illama.parts.place import Place, Where
from illama.randomness import derive, generators_kept
from illama.rotary import rotate

NORM_EPS = 1e-6


class Attention(nn.Module):
    """Multi-head self-attention; queries and keys are rotated by position where `rotation` is
    given.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, bias = config.embed_dim, config.attention_bias
        self.num_heads = config.num_heads
        self.kv_heads = config.kv_heads or config.num_heads
        head = width // config.num_heads
        self.qkv = linear(config, width, width + 2 * self.kv_heads * head, bias=bias)
        self.proj = linear(config, width, width, bias=bias)
        self.q_norm = self.k_norm = None
        if config.qk_norm:
            self.q_norm = nn.RMSNorm(head, eps=NORM_EPS)
            self.k_norm = nn.RMSNorm(head, eps=NORM_EPS)

    def forward(self, x: Tensor, where: Where) -> Tensor:
        """x: (B, N, D). Returns (B, R, D), the tokens in `where.rows`."""
        q, k, v = self.split(x)
        if where.rotation is not None:
            q, k = rotate(q, where.rotation), rotate(k, where.rotation)
        out = attend(q, k, v, where.mask, where.rows)  # (B, H, R, C)
        projected: Tensor = self.proj(out.transpose(1, 2).flatten(2))  # (B, R, D)
        return projected

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys before they are turned, and values. x: (B, N, D); each (B, H, N, C)."""
        q, k, v = self._grouped(x) if self.kv_heads < self.num_heads else self._per_head(x)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        return q, k, v

    def _per_head(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, H, N, C)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (B, N, 3, H, C)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).contiguous()
        return q, k, v

    def _grouped(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split as `_per_head` does; neighbouring heads of queries share keys and values."""
        qkv = self.qkv(x).unflatten(-1, (self.num_heads + 2 * self.kv_heads, -1)).transpose(1, 2)
        q, k, v = qkv.split((self.num_heads, self.kv_heads, self.kv_heads), dim=1)
        times = self.num_heads // self.kv_heads
        return q, k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)


class GeluMlp(nn.Module):
    """ViT's feed-forward: two linears, hidden width 4D."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = hidden_width(config, "gelu")
        self.fc1 = linear(config, config.embed_dim, hidden)
        self.fc2 = linear(config, hidden, config.embed_dim)

    def forward(self, x: Tensor, where: Where | None = None) -> Tensor:
        """x: (B, N, D); returns (B, N, D)."""
        down: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return down


class SwiGLU(nn.Module):
    """LLaMA's feed-forward: fc1 is the gate, fc3 the way up, fc2 the way down; no biases (paper,
    section 3.1).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = hidden_width(config, "swiglu")
        self.fc1 = linear(config, config.embed_dim, hidden, bias=False)
        self.fc2 = linear(config, hidden, config.embed_dim, bias=False)
        self.fc3 = linear(config, config.embed_dim, hidden, bias=False)

    def forward(self, x: Tensor, where: Where | None = None) -> Tensor:
        """x: (B, N, D); returns (B, N, D)."""
        down: Tensor = self.fc2(F.silu(self.fc1(x)) * self.fc3(x))
        return down


class LayerScale(nn.Module):
    """A factor for each channel, which starts small (CaiT, arXiv 2103.17239, section 2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, N, D); returns (B, N, D)."""
        return x * self.gamma


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a residual connection."""

    def __init__(self, config: ModelConfig, layer: int, seed: int | None) -> None:
        super().__init__()
        path = f"blocks.{layer}"
        self.norm1 = make_norm(config, layer, f"{path}.norm1", seed)
        self.attn = make_mixer(config, layer, f"{path}.attn", seed)
        self.norm2 = make_norm(config, layer, f"{path}.norm2", seed)
        self.mlp = make_feed_forward(config, layer, f"{path}.mlp", seed)
        self.ls1, self.ls2 = make_scale(config), make_scale(config)
        self.feeds_all = bool(getattr(self.mlp, "needs_all_tokens", False))

    def forward(self, x: Tensor, where: Where, drop: Tensor | None) -> Tensor:
        """x: (B, N, D); drop: what each image's branches are multiplied by, (2, B). Returns (B, R,
        D), the tokens in `where.rows`.
        """
        rows = where.rows
        if self.feeds_all:
            where = where._replace(rows=ALL)
        attended = self.ls1(self.attn(self.norm1(x), where))
        x = x[:, where.rows] + _dropped(attended, drop, 0)
        fed = self.ls2(self.mlp(self.norm2(x), where))
        x = x + _dropped(fed, drop, 1)
        return x[:, rows] if self.feeds_all else x


def _dropped(branch: Tensor, drop: Tensor | None, index: int) -> Tensor:
    """A branch's output times what `drop` says of each image. branch: (B, R, D)."""
    if drop is None:
        return branch
    return branch * drop[index, :, None, None]


def make_mixer(config: ModelConfig, layer: int, name: str, seed: int | None) -> nn.Module:
    """The built-in attention, or a part."""
    kind = config.of_blocks("mixer")[layer]
    if isinstance(kind, Part):
        return seeded_part(kind, config.place(layer), name, seed)
    return Attention(config)


def make_feed_forward(config: ModelConfig, layer: int, name: str, seed: int | None) -> nn.Module:
    """ViT's, LLaMA's, or a part."""
    kind = config.of_blocks("feed_forward")[layer]
    if isinstance(kind, Part):
        return seeded_part(kind, config.place(layer), name, seed)
    return {"gelu": GeluMlp, "swiglu": SwiGLU}[kind](config)


def make_scale(config: ModelConfig) -> nn.Module:
    """LayerScale, or nothing."""
    if config.layer_scale is None:
        return nn.Identity()
    return LayerScale(config.embed_dim)


def make_norm(config: ModelConfig, layer: int, name: str, seed: int | None) -> nn.Module:
    """LayerNorm, RMSNorm as in LLaMA (paper, section 3.2), or a part; the last norm, of layer
    `depth`, is that of the last block.
    """
    kind = config.of_blocks("norm")[min(layer, config.depth - 1)]
    if isinstance(kind, Part):
        return seeded_part(kind, config.place(layer), name, seed)
    norm = nn.RMSNorm if kind == "rmsnorm" else nn.LayerNorm
    return norm(config.embed_dim, eps=NORM_EPS)


def make_head(config: ModelConfig, seed: int | None) -> nn.Module:
    """Linear from features to logits, nothing where there are no classes, or a part."""
    if isinstance(config.readout, Part):
        return seeded_part(config.readout, config.place(config.depth), "head", seed)
    if not config.num_classes:
        return nn.Identity()
    return nn.Linear(config.embed_dim, config.num_classes)


class Exit(nn.Module):
    """A norm and a linear that read out behind a block before the last (BranchyNet, arXiv
    1709.01686).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = make_norm(config, config.depth, "norm", None)
        self.head = nn.Linear(config.embed_dim, config.num_classes)

    def forward(self, tokens: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
        """tokens: (B, N, D), of which `pool` makes what is read out, (B, D); returns logits (B,
        classes).
        """
        logits: Tensor = self.head(pool(self.norm(tokens)))
        return logits


def seeded_part(part: Part, place: Place, name: str, seed: int | None) -> nn.Module:
    """The part, its first values drawn under a seed of its own name: whatever it draws, the rest of
    the network stays paired.
    """
    assert seed is not None
    with generators_kept(derive(seed, "init", name)):
        return make_part(part, place)
