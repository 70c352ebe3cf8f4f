"""The training recipe as settings, with the paper's names. Knows no torch."""

import re
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from illama.config.settings import Settings


class SoftMaskConfig(Settings):
    """The way from bidirectional to causal attention during training (paper, section 3.6 and
    equation 2).
    """

    schedule: Literal["constant", "linear", "cosine"]
    """`constant`: `rate` until the cutoff, then 0. `linear` and `cosine` (not the paper's): from
    `rate` to 0 at the cutoff.
    """
    epochs: PositiveInt
    """The cutoff: from this epoch on the mask is fully causal."""
    rate: float = Field(default=1.0, gt=0, le=1)
    """alpha at the start."""
    floor: float = Field(default=0.0, ge=0, lt=1)
    """alpha that is left from the cutoff on, and never less before it (not the paper's). The
    network is measured at alpha 0 all the same, and as `val_soft/...` at the floor.
    """

    layers: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None
    """Factors of alpha in each block, from the first to the last (not the paper's): with
    `[1, 1, 0]` the last block is never softened. None: every block has alpha itself.
    """

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.floor >= self.rate:
            raise ValueError(f"floor {self.floor:g} must be below rate {self.rate:g}")
        return self


class InitConfig(Settings):
    """First weights from a file instead of a draw: fine-tuning (paper, Table 14) or weight
    selection (Table 18).
    """

    checkpoint: str
    """Our checkpoint, or a file as the paper's authors released it: its name inside
    `RuntimeConfig.data_dir`, or a whole path. Learned positions of another resolution are
    interpolated.
    """
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """The digest of the file, which identifies it. A plan finds it out where it is not given; where
    it is, another file is refused.
    """
    head: Literal["kept", "new"] = "kept"
    """`new`: the last linear is drawn afresh, for other classes."""
    source_heads: PositiveInt | None = None
    """Weight selection: the file has a larger network with so many attention heads, an iLLaMA or a
    LLaMA as Hugging Face keeps it (`pytorch_model.bin`, or the first part of one); evenly spaced
    elements of its first blocks are taken, all else is drawn.
    """

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.source_heads is not None and self.head == "new":
            raise ValueError(
                "weight selection (source_heads) always draws a new head: leave out head"
            )
        return self


class QuantizeConfig(Settings):
    """Quantization-aware training: the blocks' linear layers compute with rounded numbers from the
    first iteration on, and the network is measured so (paper, section 4.4: eight bits of each).
    """

    weights: int = Field(default=8, ge=2, le=16)
    """Bits of the weights, with a scale for each output channel."""
    activations: int | None = Field(default=8, ge=2, le=16)
    """Bits of what the layers are given, with a scale for each token; none: it is not rounded."""


class TrainConfig(Settings):
    """The recipe. AdamW, linear warmup and cosine decay per iteration (paper, Table 12)."""

    epochs: PositiveInt
    """Passes over the training images."""
    batch_size: PositiveInt
    """Images per iteration; the remainder of an epoch is dropped."""
    lr: PositiveFloat
    """Peak learning rate."""
    min_lr: NonNegativeFloat = 1e-6
    """Learning rate that the cosine, or the line, ends at."""
    warmup_epochs: NonNegativeFloat = 0
    """Epochs of linear warmup from 0."""
    weight_decay: NonNegativeFloat = 0.05
    """Decay of the weights; 1-D tensors, biases, position embedding and class token have none."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's moment decays."""
    eps: PositiveFloat = 1e-8
    """AdamW's denominator term."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """`sgd` with `momentum` and `nesterov`; its weight decay is added to the gradient, as in torch.
    """
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """SGD's."""
    nesterov: bool = False
    """Nesterov's form of SGD's momentum."""
    lr_schedule: Literal["cosine", "linear", "step", "constant"] = "cosine"
    """Learning rate after the warmup: half a cosine, or a line, down to `min_lr`; falling by
    `lr_gamma` at each of `lr_milestones`; or constant."""
    lr_milestones: tuple[PositiveInt, ...] = ()
    """Epochs at whose end `step` multiplies the learning rate by `lr_gamma`."""
    lr_gamma: float = Field(default=0.1, gt=0, lt=1)
    """Factor of `step`."""
    layer_decay: float | None = Field(default=None, gt=0, le=1)
    """Fine-tuning: the learning rate shrinks by this factor with every block further from the head.
    """
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target spread evenly over the classes."""
    clip_grad: PositiveFloat | None = None
    """Largest norm of the gradient, or none."""
    trainable: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names of the tensors that are trained, * for anything, such as `["*.prompts", "head.*"]`: all
    others keep their first values, and the optimizer holds nothing for them. None: all are trained.
    """
    init: InitConfig | None = None
    """A file to start from, or none: all weights are drawn."""
    exit_weight: NonNegativeFloat = 1.0
    """Weight of the loss of each early exit (`model.exits`) beside that of the head; their sum is
    trained on and is `train/loss`."""
    soft_mask: SoftMaskConfig | None = None
    """The soft mask, or none: the mask is as `model.attention` says from the first iteration."""

    mixup: NonNegativeFloat = 0.0
    """Blend pairs of images with a share drawn from Beta(mixup, mixup); 0 is off."""
    cutmix: NonNegativeFloat = 0.0
    """Paste a rectangle of one image of a pair into the other, its area drawn from
    Beta(cutmix, cutmix); 0 is off. With both on, either is picked with probability 1/2.
    """
    mix_group: PositiveInt | None = None
    """Images that share one draw of mixup and cutmix, an even divisor of the batch; none: the whole
    batch. The paper's batches of 4096 came as 32 times 128, each with a draw of its own.
    """
    hflip: float = Field(default=0.0, ge=0, le=1)
    """Probability of mirroring an image left to right."""
    random_crop: int = Field(default=0, ge=0)
    """Pixels of padding around an image before a crop of its size is cut at a random place."""
    random_resized_crop: bool = False
    """Image folders: cut 8 to 100 % of the area, 3/4 to 4/3 as wide as high, and resize it."""
    aa: str | None = None
    """Image folders: RandAugment in timm's spelling, such as `rand-m9-mstd0.5-inc1`. `m` is the
    magnitude, `n` how many operations, `mstd` the magnitude's deviation (above 100: drawn evenly
    from 0 to `m`); with `inc1` a larger magnitude changes more, whatever the operation."""
    transforms: Literal["own", "timm"] = "own"
    """Image folders: whose code makes the training pictures. `timm`'s are the paper's; `own` ones
    need Pillow alone and equal them in distribution (`illama.data.transforms`).
    """
    reprob: float = Field(default=0.0, ge=0, le=1)
    """Random erasing: probability that a rectangle of an image becomes noise."""

    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Stochastic depth of the last block; those before have proportionally less."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """The dropout of the tokens that enter the first block."""
    drop_mode: Literal["standard", "early", "late"] = "standard"
    """`early`: drop only before `cutoff_epoch`; `late`: only from it on ("Dropout Reduces
    Underfitting", arXiv 2303.01500).
    """
    drop_schedule: Literal["constant", "linear"] = "constant"
    """The schedule of early drop: `linear` falls to 0 at the cutoff."""
    cutoff_epoch: int = Field(default=0, ge=0)
    """The epoch at which early drop ends and late drop begins."""

    quantize: QuantizeConfig | None = None
    """Training with the blocks' layers quantised, or none: all computes in full precision."""

    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, evaluated beside them as
    `val_ema/...`.
    """
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """The precision of matrix products (autocast); weights stay float32. float16 needs a GPU."""
    deterministic: bool = False
    """True if a GPU uses only kernels that give the same bits every time. The CPU's always do."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs} is longer than the training, {self.epochs} "
                "epochs"
            )
        if self.soft_mask and self.soft_mask.epochs > self.epochs:
            raise ValueError(
                f"soft_mask.epochs {self.soft_mask.epochs} is longer than the training, "
                f"{self.epochs} epochs"
            )
        self._check_optimizer()
        self._check_schedule()
        if self.mix_group is not None and (self.mix_group % 2 or self.batch_size % self.mix_group):
            raise ValueError(
                f"mix_group {self.mix_group} does not divide batch_size {self.batch_size} into "
                "groups of whole pairs"
            )
        if self.transforms == "timm" and not self.random_resized_crop:
            raise ValueError("transforms timm always uses random_resized_crop: set that as well")
        if self.drop_path and self.dropout:
            raise ValueError(
                "drop_path and dropout are both set, but they share one schedule: use only one of "
                "them"
            )
        if (self.drop_mode == "standard") != (self.cutoff_epoch == 0):
            raise ValueError(
                f"drop_mode is {self.drop_mode} and cutoff_epoch {self.cutoff_epoch}: early and "
                "late need a cutoff"
            )
        if self.drop_schedule == "linear" and self.drop_mode != "early":
            raise ValueError(
                "drop_schedule linear falls to 0 at the cutoff of drop_mode early, but drop_mode "
                f"is {self.drop_mode}"
            )
        return self

    @property
    def soft_mask_layers(self) -> tuple[float, ...] | None:
        """Factors of alpha by block; None where it is the same in all."""
        if self.soft_mask is None:
            return None
        return self.soft_mask.layers

    def _check_optimizer(self) -> None:
        """Raise `ValueError` for a setting that the chosen optimizer would not heed."""
        is_sgd = self.optimizer == "sgd"
        others, owner = (("betas", "eps"), "AdamW") if is_sgd else (("momentum", "nesterov"), "SGD")
        for name in others:
            if self.changes(name):
                raise ValueError(f"{name} is for {owner}, but optimizer is {self.optimizer}")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")

    def _check_schedule(self) -> None:
        """Raise `ValueError` for a setting that the chosen schedule would not heed."""
        if (self.lr_schedule == "step") != bool(self.lr_milestones):
            raise ValueError(
                f"lr_schedule is {self.lr_schedule} and lr_milestones {list(self.lr_milestones)}: "
                "step needs milestones, such as [10, 15], and the others take none"
            )
        if list(self.lr_milestones) != sorted({*self.lr_milestones}):
            raise ValueError(f"lr_milestones {list(self.lr_milestones)} must increase")
        if self.lr_milestones and self.lr_milestones[-1] >= self.epochs:
            raise ValueError(
                f"the milestone {self.lr_milestones[-1]} is not before the end, {self.epochs} "
                "epochs"
            )
        if self.lr_schedule != "step" and self.changes("lr_gamma"):
            raise ValueError(f"lr_gamma is for lr_schedule step, but that is {self.lr_schedule}")

    @field_validator("aa")
    @classmethod
    def _is_rand_augment(cls, aa: str | None) -> str | None:
        if aa is not None:
            parse_rand_augment(aa)
        return aa


class RandAugment(NamedTuple):
    """A policy of RandAugment, as timm reads it."""

    magnitude: float
    """The magnitude, from 0 to 10."""
    operations: int
    """The number of operations for each picture."""
    deviation: float
    """The deviation of the magnitude, which is drawn for each operation."""
    increasing: bool
    """True if a larger magnitude changes more for every operation; else some of them change
    less."""

    @property
    def is_uniform(self) -> bool:
        """True if it is drawn evenly from 0 to `magnitude`: timm's meaning of deviations above
        100.
        """
        return self.deviation > 100


_RAND_AUGMENT = {
    "m": (r"\d+(\.\d+)?", "m and a magnitude"),
    "n": (r"[1-9]\d*", "n and how many operations"),
    "mstd": (r"\d+(\.\d+)?", "mstd and a deviation"),
    "inc": ("1", "inc1; timm takes any other number for 1 as well: leave it out"),
}
"""The parts of a policy: what follows each, and the same in words."""


def parse_rand_augment(policy: str) -> RandAugment:
    """Read a policy such as `rand-m9-mstd0.5-inc1`: its parts in any order, of which only the
    magnitude must be there. Raises `ValueError` when it is not of that form.
    """
    kind, *parts = policy.split("-")
    if kind != "rand":
        raise _not_rand_augment(policy, f"{kind!r} is not rand")
    found: dict[str, str] = {}
    for part in parts:
        name = part.rstrip("0123456789.")
        if name not in _RAND_AUGMENT:
            raise _not_rand_augment(policy, f"{part!r} is not allowed in it")
        if name in found:
            raise _not_rand_augment(policy, f"{name} is there twice")
        pattern, words = _RAND_AUGMENT[name]
        found[name] = part[len(name) :]
        if not re.fullmatch(pattern, found[name]):
            raise _not_rand_augment(policy, f"{part!r} is not {words}")
    if "m" not in found:
        raise _not_rand_augment(policy, "the magnitude is missing")
    operations, deviation = int(found.get("n", 2)), float(found.get("mstd", 0))
    return RandAugment(float(found["m"]), operations, deviation, "inc" in found)


def _not_rand_augment(policy: str, why: str) -> ValueError:
    return ValueError(
        f"train.aa is {policy!r}: {why}; expected the form rand-m9-mstd0.5-inc1: rand, and m, n, "
        "mstd and inc1 in any order"
    )
