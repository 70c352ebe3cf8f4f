"""Learning rate, soft-mask rate and drop rate as functions of the iteration. Pure Python: a planner
can draw them without torch.

Both follow the released training code value by value: its schedules are arrays over all iterations
of the training, and these functions give their elements.
"""

import math

from illama.config.train import SoftMaskConfig, TrainConfig


def learning_rate(train: TrainConfig, iteration: int, iterations_per_epoch: int) -> float:
    """Learning rate of `iteration` (counted from 0): linear warmup from 0, then as `lr_schedule`
    says.

    Both ends of the warmup are included, so the very first iteration has learning rate 0 and the
    last one of the warmup the peak. Half a cosine or a line starts at the peak and would reach
    `min_lr` one iteration after the last; steps fall at the end of each epoch of `lr_milestones`.
    """
    warmup = int(train.warmup_epochs * iterations_per_epoch)
    if iteration < warmup:
        return _line(0.0, train.lr, iteration, warmup)
    decay = train.epochs * iterations_per_epoch - warmup
    progress = (iteration - warmup) / decay
    if train.lr_schedule == "constant":
        return train.lr
    if train.lr_schedule == "linear":
        return train.lr + (train.min_lr - train.lr) * progress
    if train.lr_schedule == "step":
        epoch = iteration // iterations_per_epoch
        return float(train.lr * train.lr_gamma ** sum(epoch >= end for end in train.lr_milestones))
    return train.min_lr + 0.5 * (train.lr - train.min_lr) * (1 + math.cos(math.pi * progress))


def soft_mask_rate(
    soft_mask: SoftMaskConfig | None, iteration: int, iterations_per_epoch: int
) -> float:
    """alpha of `iteration` (counted from 0): 1 is bidirectional, 0 fully causal (paper, section 3.6
    and equation 2).

    `linear` and `cosine` include both ends: the last iteration before the cutoff has alpha 0
    already. It never falls below `floor`.
    """
    if soft_mask is None:
        return 0.0
    return max(soft_mask.floor, _softness(soft_mask, iteration, iterations_per_epoch))


def _softness(soft_mask: SoftMaskConfig, iteration: int, iterations_per_epoch: int) -> float:
    """alpha without the floor."""
    cutoff = soft_mask.epochs * iterations_per_epoch
    if iteration >= cutoff:
        return 0.0
    if soft_mask.schedule == "constant":
        return soft_mask.rate
    if soft_mask.schedule == "cosine":
        return soft_mask.rate * 0.5 * (1 + math.cos(math.pi * _line(0.0, 1.0, iteration, cutoff)))
    return _line(soft_mask.rate, 0.0, iteration, cutoff)


def drop_rate(train: TrainConfig, rate: float, iteration: int, iterations_per_epoch: int) -> float:
    """Return what is left of `rate` (train.drop_path or train.dropout) at `iteration`: all of it,
    or only early or late in training.
    """
    cutoff = train.cutoff_epoch * iterations_per_epoch
    if train.drop_mode == "standard":
        return rate
    if train.drop_mode == "late":
        return 0.0 if iteration < cutoff else rate
    if iteration >= cutoff:
        return 0.0
    return _line(rate, 0.0, iteration, cutoff) if train.drop_schedule == "linear" else rate


def _line(start: float, end: float, index: int, count: int) -> float:
    """Element `index` of `count` evenly spaced values from `start` to `end`, both included; a
    single value is `start`.
    """
    return start if count == 1 else start + (end - start) * (index / (count - 1))
