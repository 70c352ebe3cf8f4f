"""Copies of a trained network for other images and other classes, and how layers are fitted to
them.

A head is replaced, learned positions are interpolated; all other weights are those of the network.
"""

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.model import VisionTransformer
from illama.quantized import QuantisedLinear, quantise
from illama.weights.pretrained import differences, interpolate_positions

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)

_HEAD = "head."
_WEIGHT_DECAY = 0.01


def resized(
    network: VisionTransformer, side: int, classes: int | None = None, seed: int = 0
) -> VisionTransformer:
    """Copy of the network for images of `side` x `side` pixels, positions interpolated.

    With `classes` its head is an untrained one for so many. Raises `ValueError` where its other
    weights depend on the size.
    """
    wanted = {"img_size": side, "num_classes": classes or network.config.num_classes}
    settings = network.config.model_dump(mode="python") | wanted
    config = type(network.config).model_validate(settings)
    made = VisionTransformer(config, seed)
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    if made.pos_embed is not None:
        weights["pos_embed"] = interpolate_positions(
            weights["pos_embed"], config, network.config.grid
        )
    if classes is not None:
        kept = {name: value for name, value in weights.items() if not name.startswith(_HEAD)}
        drawn = {n: value for n, value in made.state_dict().items() if n.startswith(_HEAD)}
        weights = kept | drawn
    if problems := differences(made.state_dict(), weights):
        raise ValueError(f"the network cannot be adapted to {side} pixels: {'; '.join(problems)}")
    made.load_state_dict(weights)
    return same_grid(made.to(next(network.parameters()).device), network).eval()


def same_grid(made: AnyNetwork, like: nn.Module) -> AnyNetwork:
    """The network `made`, its layers quantised as those of `like` are, if they are."""
    layers = [layer for layer in like.modules() if isinstance(layer, QuantisedLinear)]
    return quantise(made, layers[0].settings if layers else None)


def with_new_head(network: nn.Module, classes: int, seed: int) -> nn.Module:
    """Copy of any network whose last linear layer is an untrained one for `classes`.

    Raises `ValueError` where it has no linear layer.
    """
    copied = copy.deepcopy(network)
    names = [name for name, layer in copied.named_modules() if isinstance(layer, nn.Linear)]
    if not names:
        raise ValueError("the network has no linear layer, so there is no head to replace")
    old = copied.get_submodule(names[-1])
    assert isinstance(old, nn.Linear)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        new = nn.Linear(old.in_features, classes, bias=old.bias is not None)
    parent, _, child = names[-1].rpartition(".")
    setattr(copied.get_submodule(parent), child, new.to(old.weight.device, old.weight.dtype))
    return copied


def fit(
    layers: nn.Module, pool: tuple[Tensor, Tensor], *, steps: int, lr: float, seed: int, batch: int
) -> None:
    """Train `layers` by AdamW on cross-entropy, `batch` examples drawn for each step.

    pool: what the layers are given, (n, ...), and labels, (n,) or (n, P) where they return logits
    (n, P, classes). The learning rate warms up to `lr` and decays by a cosine.
    """
    given, labels = pool
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(layers.parameters(), lr, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=max(steps, 2))
    for _ in range(steps):
        chosen = torch.randint(len(given), (batch,), generator=draw).to(given.device)
        logits = layers(given[chosen])  # (batch, classes) or (batch, P, classes)
        loss = F.cross_entropy(logits.flatten(0, -2), labels[chosen].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
