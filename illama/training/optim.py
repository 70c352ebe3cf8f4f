"""AdamW or SGD with the paper's choice of what decays, and how fast each part of a network learns
when it is fine-tuned.
"""

from itertools import groupby

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from illama.config import TrainConfig
from illama.config.networks import NO_DECAY, kept_from_decay
from illama.config.trainable import is_trained


def decays(name: str, parameter: Tensor, kept: frozenset[str] = NO_DECAY) -> bool:
    """Tell whether weight decay pulls on a parameter: not on vectors, biases, position embedding
    and class token (paper, Table 12), nor on what else is in `kept`.
    """
    return parameter.ndim > 1 and not name.endswith("bias") and name not in kept


def distance_from_head(name: str, depth: int) -> int:
    """Blocks between a parameter and the head: 0 for head and last norm, `depth` + 1 for the
    embeddings.
    """
    if name.startswith("blocks."):
        return depth - int(name.split(".")[1])
    return 0 if name.startswith(("head", "norm")) else depth + 1


def make_optimizer(model: nn.Module, train: TrainConfig) -> Optimizer:
    """AdamW, or SGD, over the parameters of `model` that are trained; the learning rate of every
    iteration is set by `set_learning_rate`.
    """
    named = [item for item in model.named_parameters() if is_trained(item[0], train.trainable)]
    kept = kept_from_decay(model)
    depth = len({name.split(".")[1] for name, _ in named if name.startswith("blocks.")})

    def kind(item: tuple[str, Tensor]) -> tuple[int, bool]:
        name, parameter = item
        distance = distance_from_head(name, depth) if train.layer_decay is not None else 0
        return distance, not decays(name, parameter, kept)

    groups = [
        {
            "params": [parameter for _, parameter in members],
            "weight_decay": 0.0 if still else train.weight_decay,
            "lr_scale": (train.layer_decay or 1.0) ** distance,
        }
        for (distance, still), members in groupby(sorted(named, key=kind), kind)
    ]
    if train.optimizer == "sgd":
        return SGD(groups, lr=train.lr, momentum=train.momentum, nesterov=train.nesterov)
    return AdamW(groups, lr=train.lr, betas=train.betas, eps=train.eps, fused=True)


def freeze(model: nn.Module, train: TrainConfig) -> None:
    """Ask no gradients for the parameters that `train.trainable` leaves out."""
    for name, parameter in model.named_parameters():
        if not is_trained(name, train.trainable):
            parameter.requires_grad_(False)


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Use `lr` from the next iteration on, scaled per group where blocks learn at different
    speeds.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
