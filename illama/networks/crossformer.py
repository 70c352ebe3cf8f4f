"""CrossFormer: patches of several sizes in one embedding, and attention among near and among far
tokens in turn (arXiv 2108.00154, section 3).

A cross-scale embedding has a convolution for each kernel size, all of one stride; of D channels the
smallest kernel gives D / 2, the next D / 4, and so on, the last as much as the one before it. One
stands in front of every stage. Within a stage, blocks alternate: attention in groups of `group` x
`group` neighbours (SDA), and in groups of as many tokens that stand S / `group` apart in a grid of
S x S (LDA). To the scores comes a learned function of the distance of two tokens in their group
(dynamic position bias): three linears, each behind a norm and ReLU, on rows and columns, D / 4
wide. Where a grid is no larger than a group, all tokens are one group. Logits are a linear on the
mean of the normed tokens.

The norm in front of each further embedding is that of the authors' code (cheerss/CrossFormer);
their bias is D / 16 wide, ours as the paper says.
"""

import torch
from torch import Tensor, nn

from illama.networks.layers import NORM_EPS, PlainBlock, small_weights

NUMERICS_VERSION = 1


class CrossScaleEmbedding(nn.Module):
    """Patches of several sizes around the same places."""

    def __init__(self, inputs: int, dim: int, kernels: tuple[int, ...], stride: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, width, kernel, stride, padding=(kernel - stride) // 2)
            for width, kernel in zip(shares(dim, len(kernels)), kernels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, inputs, height, width); returns (B, dim, height / stride, width / stride)."""
        return torch.cat([convolution(x) for convolution in self.convolutions], dim=1)


def shares(dim: int, count: int) -> list[int]:
    """Channels of each of `count` kernels, the smallest first: D / 2, D / 4, ..., the last as many
    as the one before.
    """
    halves = [dim // 2 ** (index + 1) for index in range(count - 1)]
    return [*halves, dim - sum(halves)]


class PositionBias(nn.Module):
    """A number for each head and each distance in a group."""

    steps: Tensor
    which: Tensor

    def __init__(self, dim: int, heads: int, group: int) -> None:
        super().__init__()
        width = dim // 4
        self.enter = nn.Linear(2, width)
        self.layers = nn.Sequential(
            *(_behind_norm(width, outputs) for outputs in (width, width, heads))
        )
        distances = torch.arange(1 - group, group)
        steps = torch.cartesian_prod(distances, distances).float()  # ((2 G - 1)^2, 2)
        self.register_buffer("steps", steps, persistent=False)
        places = torch.cartesian_prod(torch.arange(group), torch.arange(group))
        apart = places[:, None] - places[None, :] + group - 1  # (G^2, G^2, 2), from 0
        which = apart[..., 0] * (2 * group - 1) + apart[..., 1]
        self.register_buffer("which", which, persistent=False)

    def forward(self) -> Tensor:
        """The bias of each head, (H, G^2, G^2)."""
        values: Tensor = self.layers(self.enter(self.steps))  # (distances, H)
        return values[self.which].permute(2, 0, 1)


def _behind_norm(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(inputs, NORM_EPS), nn.ReLU(), nn.Linear(inputs, outputs))


class GroupedBlock(nn.Module):
    """A block whose attention stays within groups of near tokens, or of far ones."""

    def __init__(self, dim: int, heads: int, group: int, *, far: bool) -> None:
        super().__init__()
        self.group, self.far = group, far
        self.block, self.bias = PlainBlock(dim, heads, 4), PositionBias(dim, heads, group)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, rows, columns, D); returns the same shape."""
        rows, columns = x.shape[1:3]
        cut = torch.unflatten(x, 1, self._cut(rows))
        cut = torch.unflatten(cut, 3, self._cut(columns))  # (B, ., ., ., ., D)
        order = (0, 2, 4, 1, 3, 5) if self.far else (0, 1, 3, 2, 4, 5)
        grouped = cut.permute(order)  # (B, groups, groups, G, G, D)
        groups = grouped.shape[1:3]
        tokens = grouped.flatten(3, 4).flatten(0, 2)  # (B * groups, G^2, D)
        done = torch.unflatten(self.block(tokens, self.bias()), 0, (-1, *groups))
        done = torch.unflatten(done, 3, (self.group, self.group))
        back = (0, 3, 1, 4, 2, 5) if self.far else (0, 1, 3, 2, 4, 5)
        return done.permute(back).flatten(3, 4).flatten(1, 2)

    def _cut(self, side: int) -> tuple[int, int]:
        """Neighbours are cut into groups; far ones are cut so that each group has one of each."""
        count = side // self.group
        return (self.group, count) if self.far else (count, self.group)


class Stage(nn.Module):
    """An embedding and its blocks."""

    def __init__(self, embedding: nn.Module, blocks: list[GroupedBlock]) -> None:
        super().__init__()
        self.embedding, self.blocks = embedding, nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, rows, columns, inputs); returns (B, rows / stride, columns / stride, D)."""
        embedded = self.embedding(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = self.blocks(embedded)
        return out


class CrossFormer(nn.Module):
    """Network from images to logits."""

    def __init__(self, stages: list[Stage], dims: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.norms = nn.ModuleList(nn.LayerNorm(dim, NORM_EPS) for dim in dims)
        self.head = nn.Linear(dims[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, channels, height, width); returns logits (B, classes)."""
        x = images.permute(0, 2, 3, 1)
        for stage, norm in zip(self.stages, self.norms, strict=True):
            x = norm(stage(x))  # in front of the next embedding, and of the head
        logits: Tensor = self.head(x.mean((1, 2)))
        return logits


def crossformer(  # noqa: PLR0913  each is a setting
    *,
    img_size: int = 8,
    in_chans: int = 1,
    num_classes: int = 10,
    kernels: tuple[int, ...] = (2, 4),
    dims: tuple[int, ...] = (32, 56),
    depths: tuple[int, ...] = (2, 1),
    heads: tuple[int, ...] = (2, 4),
    group: int = 2,
) -> nn.Module:
    """Stages of `dims`, `depths` and `heads`, each of which halves the grid; `kernels` grow by
    steps of 2 from 2.

    Raises `ValueError` where lists differ in length, or a grid cannot be halved or grouped.
    """
    if not len(dims) == len(depths) == len(heads):
        raise ValueError(f"dims, depths and heads have {len(dims)}, {len(depths)}, {len(heads)}")
    if any(kernel % 2 for kernel in kernels):
        raise ValueError(f"kernels {list(kernels)} must be even: their stride is 2")
    stages, side, inputs = [], img_size, in_chans
    for dim, depth, of_heads in zip(dims, depths, heads, strict=True):
        if side % 2 or side < 2:
            raise ValueError(f"a grid of {side} x {side} cannot be halved: use fewer stages")
        side //= 2
        size = min(group, side)  # a small grid is one group
        if side % size:
            raise ValueError(f"a grid of {side} x {side} cannot be cut into groups of {size}")
        blocks = [
            GroupedBlock(dim, of_heads, size, far=bool(number % 2) and side > size)
            for number in range(depth)
        ]
        stages.append(Stage(CrossScaleEmbedding(inputs, dim, kernels, 2), blocks))
        inputs = dim
    return small_weights(CrossFormer(stages, dims, num_classes))
