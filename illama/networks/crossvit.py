"""CrossViT: two branches see an image in small and in large patches, and their class tokens look at
each other's patches (arXiv 2103.14899, section 3).

Each of `encoders` multi-scale encoders first passes each branch through blocks of its own. Then the
class token of each branch, projected to the other's width by f, attends to the other's patches and
itself, and comes back by g:

    x' = [ f(cls_l), patches_s ],    y = f(cls_l) + attention(norm(x')_cls, norm(x')),
    cls_l <- g(y)

and in the same way from the small branch to the large one, both from the same states. There is no
feed-forward behind it. Logits are the mean of two linears, one on each class token behind a norm.

f and g are a norm, GELU and a linear, as in the authors' code (IBM/CrossViT). Left out: images of
another size for each branch, and convolutions in the place of the patch embedding.
"""

import torch
from torch import Tensor, nn

from illama.networks.layers import NORM_EPS, CrossAttention, PlainBlock, small_weights

NUMERICS_VERSION = 1


class Branch(nn.Module):
    """Tokens of one patch size, (B, 1 + P, D), the class token first."""

    def __init__(self, img_size: int, in_chans: int, patch_size: int, dim: int) -> None:
        super().__init__()
        count = (img_size // patch_size) ** 2
        self.patches = nn.Conv2d(in_chans, dim, patch_size, patch_size)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + count, dim))

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, channels, height, width); returns (B, 1 + P, D)."""
        patches = self.patches(images).flatten(2).transpose(1, 2)
        token = self.cls_token.expand(images.shape[0], -1, -1)
        tokens: Tensor = torch.cat((token, patches), dim=1) + self.pos_embed
        return tokens


class Fusion(nn.Module):
    """The class token of a branch, which looks at the other branch's patches."""

    def __init__(self, dim: int, other: int, heads: int) -> None:
        super().__init__()
        self.there = projection(dim, other)
        self.norm = nn.LayerNorm(other, NORM_EPS)
        self.attn = CrossAttention(other, heads)
        self.back = projection(other, dim)

    def forward(self, own: Tensor, others: Tensor) -> Tensor:
        """own: (B, 1 + P, D); others: (B, 1 + P', D'). Returns the new class token, (B, 1, D)."""
        token = self.there(own[:, :1])
        normed = self.norm(torch.cat((token, others[:, 1:]), dim=1))
        token = token + self.attn(normed[:, :1], normed)
        came_back: Tensor = self.back(token)
        return came_back


def projection(inputs: int, outputs: int) -> nn.Module:
    """f or g: a norm, GELU and a linear."""
    return nn.Sequential(nn.LayerNorm(inputs, NORM_EPS), nn.GELU(), nn.Linear(inputs, outputs))


class MultiScaleEncoder(nn.Module):
    """Blocks of both branches, and both class tokens' look at the other branch."""

    def __init__(self, dims: tuple[int, int], depths: tuple[int, int], heads: int) -> None:
        super().__init__()
        small, large = dims
        self.small = nn.Sequential(*(PlainBlock(small, heads, 4) for _ in range(depths[0])))
        self.large = nn.Sequential(*(PlainBlock(large, heads, 4) for _ in range(depths[1])))
        self.small_asks = Fusion(small, large, heads)
        self.large_asks = Fusion(large, small, heads)

    def forward(self, small: Tensor, large: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens of both branches; each goes in and comes out as (B, 1 + P, D)."""
        small, large = self.small(small), self.large(large)
        of_small, of_large = self.small_asks(small, large), self.large_asks(large, small)
        return (
            torch.cat((of_small, small[:, 1:]), dim=1),
            torch.cat((of_large, large[:, 1:]), dim=1),
        )


class CrossViT(nn.Module):
    """Network from images to logits."""

    def __init__(self, branches: tuple[Branch, Branch], encoders: nn.ModuleList) -> None:
        super().__init__()
        self.branches, self.encoders = nn.ModuleList(branches), encoders
        self.norms, self.heads = nn.ModuleList(), nn.ModuleList()

    def read_by(self, dims: tuple[int, int], num_classes: int) -> None:
        """Give each branch a norm and a linear to logits."""
        for dim in dims:
            self.norms.append(nn.LayerNorm(dim, NORM_EPS))
            self.heads.append(nn.Linear(dim, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, channels, height, width); returns logits (B, classes)."""
        small, large = (branch(images) for branch in self.branches)
        for encoder in self.encoders:
            small, large = encoder(small, large)
        logits: list[Tensor] = [
            head(norm(tokens[:, 0]))
            for head, norm, tokens in zip(self.heads, self.norms, (small, large), strict=True)
        ]
        return (logits[0] + logits[1]) / 2


def crossvit(  # noqa: PLR0913  each is a setting
    *,
    img_size: int = 8,
    in_chans: int = 1,
    num_classes: int = 10,
    patch_sizes: tuple[int, int] = (2, 4),
    dims: tuple[int, int] = (24, 48),
    depths: tuple[int, int] = (1, 2),
    encoders: int = 1,
    heads: int = 3,
) -> nn.Module:
    """Two branches, `patch_sizes`, `dims` and `depths` of the small and of the large one.

    Raises `ValueError` where patches or heads do not divide the image or the widths.
    """
    if any(img_size % size for size in patch_sizes) or any(dim % heads for dim in dims):
        raise ValueError(
            f"patch_sizes {list(patch_sizes)} must divide img_size {img_size}, and heads {heads} "
            f"the dims {list(dims)}"
        )
    first, second = (
        Branch(img_size, in_chans, patch_size, dim)
        for patch_size, dim in zip(patch_sizes, dims, strict=True)
    )
    stages = nn.ModuleList(MultiScaleEncoder(dims, depths, heads) for _ in range(encoders))
    network = CrossViT((first, second), stages)
    network.read_by(dims, num_classes)
    return small_weights(network)
