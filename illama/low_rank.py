"""Linear layers of low rank, which start from the singular vectors of whole ones (PELA, arXiv
2310.10700, section 3.1).

    W = U S V^T  ~  (U_r sqrt(S_r)) (sqrt(S_r) V_r^T),     r = in * out / (ratio * (in + out))

The two factors are two linears, the bias is the second one's; `ratio` is how many times fewer
weights they have. Which layers: the linears of the built-in attention and feed-forwards.

Left out of PELA: it goes on training the factors of a trained network with its features for targets
(distillation) and with small changes to them (feature perturbation). Here the network of low rank
is trained as any other; `train.init` takes a whole network's weights to factor.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from illama.config import ModelConfig
from illama.cost import rank_of


class LowRank(nn.Module):
    """A linear in two factors."""

    def __init__(self, inputs: int, outputs: int, rank: int, *, bias: bool) -> None:
        super().__init__()
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=bias)

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs, the shape of the whole weight."""
        return self.up.out_features, self.down.in_features

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., inputs); returns (..., outputs)."""
        up: Tensor = self.up(self.down(x))
        return up

    @torch.no_grad()
    def take(self, weight: Tensor) -> None:
        """Become the nearest to a whole weight (outputs, inputs) that this rank allows."""
        up, down = factors(weight, self.down.out_features)
        self.up.weight.copy_(up)
        self.down.weight.copy_(down)


def factors(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Two factors, (outputs, rank) and (rank, inputs), whose product is the nearest to `weight` of
    that rank.
    """
    u, sizes, v = torch.linalg.svd(weight.double(), full_matrices=False)
    halves = sizes[:rank].sqrt()
    return (u[:, :rank] * halves).type_as(weight), (halves[:, None] * v[:rank]).type_as(weight)


def linear(config: ModelConfig, inputs: int, outputs: int, *, bias: bool = True) -> nn.Module:
    """A linear of a block: whole, or of low rank where `model.low_rank` says so."""
    if config.low_rank is None:
        return nn.Linear(inputs, outputs, bias=bias)
    return LowRank(inputs, outputs, rank_of(config, inputs, outputs), bias=bias)


def low_rank_layers(network: nn.Module) -> Iterator[tuple[str, LowRank]]:
    """Layers of low rank by their names."""
    for name, layer in network.named_modules():
        if isinstance(layer, LowRank):
            yield name, layer


def factored(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a whole network, those that `network` has in low rank factored."""
    found = dict(weights)
    for name, layer in low_rank_layers(network):
        whole = found.get(f"{name}.weight")
        if whole is None or tuple(whole.shape) != layer.shape:
            continue  # named where all tensors are compared
        up, down = factors(found.pop(f"{name}.weight"), layer.down.out_features)
        found |= {f"{name}.up.weight": up, f"{name}.down.weight": down}
        if f"{name}.bias" in found:
            found[f"{name}.up.bias"] = found.pop(f"{name}.bias")
    return found
