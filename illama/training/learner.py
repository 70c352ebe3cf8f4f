"""A network and what changes it: a batch goes in, the weights come out updated."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from illama.config import Config, ModelConfig, RuntimeConfig
from illama.data.augment import Mixed, loss, mix
from illama.drop import Drop, draw_drop, part
from illama.quantized import network_of
from illama.randomness import derive, reseed
from illama.schedules import learning_rate, soft_mask_rate
from illama.training.device import autocast
from illama.training.distributed import Ranks
from illama.training.optim import freeze, make_optimizer, set_learning_rate
from illama.weights.pretrained import start_from


class Learner:
    """Model, optimiser and, where asked for, the moving average of the weights."""

    def __init__(
        self,
        config: Config,
        runtime: RuntimeConfig,
        device: torch.device,
        iterations_per_epoch: int,
        ranks: Ranks | None = None,
    ) -> None:
        if config.train.precision == "float16" and device.type == "cpu":
            raise ValueError(
                "train.precision float16 needs a GPU; on the CPU use bfloat16 or float32"
            )
        self.config, self.device, self.iterations_per_epoch = config, device, iterations_per_epoch
        self.ranks = ranks or Ranks()
        self.micro_batch = runtime.micro_batch_size or config.train.batch_size
        self.model = network_of(config).to(device)
        if self.ranks.size > 1 and any(
            isinstance(inner, nn.modules.batchnorm._BatchNorm) for inner in self.model.modules()
        ):
            raise ValueError(
                "batch normalization needs whole batches, but several processes each have only a "
                "part: use one process"
            )
        self._alpha = 0.0
        self.exits = config.model.exits
        self.has_user_code, self.with_losses = True, []
        if isinstance(config.model, ModelConfig):
            self.has_user_code = config.model.has_parts
            modules = self.model.modules()
            self.with_losses = [module for module in modules if hasattr(module, "auxiliary_loss")]
        freeze(self.model, config.train)
        self.network: nn.Module = torch.compile(self.model) if runtime.compile else self.model  # type: ignore[assignment]
        self.optimizer = make_optimizer(self.model, config.train)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.train.precision == "float16")
        self.average: nn.Module | None = None
        if config.train.ema is not None:
            self.average = network_of(config).to(device)

    def update(self, iteration: int, images: Tensor, labels: Tensor) -> Tensor:
        """Train one iteration on a batch (B, channels, height, width) with labels (B,), or of
        several processes on this one's rows.

        Returns the whole batch's loss, 0-d, on the device.
        """
        train = self.config.train
        set_learning_rate(
            self.optimizer, learning_rate(train, iteration, self.iterations_per_epoch)
        )
        self.set_alpha(self.alpha(iteration))
        batch = mix(
            images, labels, train, self.config.seed, iteration, self.ranks.rows(train.batch_size)
        )
        self.optimizer.zero_grad()
        total = self._backward(batch, iteration)
        if train.clip_grad is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), train.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None and train.ema is not None:
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self.average.parameters()), list(self.model.parameters()), 1 - train.ema
                )
                for copy, buffer in zip(self.average.buffers(), self.model.buffers(), strict=True):
                    copy.copy_(buffer)  # a batch normalisation's statistics are averages already
        return total

    def _backward(self, batch: Mixed, iteration: int) -> Tensor:
        """Gradients of the batch's mean loss, added up over micro-batches and processes."""
        count = self.config.train.batch_size
        drop = part(
            draw_drop(self.config, iteration, self.iterations_per_epoch, self.device),
            self.ranks.rows(count),
        )
        total = torch.zeros((), device=self.device)
        for start in range(0, len(batch.images), self.micro_batch):
            rows = slice(start, min(start + self.micro_batch, len(batch.images)))
            piece = batch.part(rows)
            if self.has_user_code:  # it may draw, and must draw the same when resumed
                seed = derive(self.config.seed, "forward", iteration, self.ranks.rank, start)
                reseed(seed)
                torch.manual_seed(seed)  # of a GPU as well
            with autocast(self.device, self.config.train.precision):
                logits = self._logits(piece.images, part(drop, rows))
            value = self._loss(logits, piece) * (len(piece.labels) / count)
            for module in self.with_losses:
                value = value + module.auxiliary_loss() * (len(piece.labels) / count)  # type: ignore[operator]
            self.scaler.scale(value).backward()  # type: ignore[no-untyped-call]
            total += value.detach()
        self._fill_gradients()
        gradients = [
            parameter.grad for parameter in self.model.parameters() if parameter.grad is not None
        ]
        self.ranks.add_up([*gradients, total])
        return total

    def _logits(self, images: Tensor, drop: Drop | None) -> Tensor:
        """Logits (B, classes), or (exits + 1, B, classes) of a network with early exits."""
        # a user's network takes images alone
        given: dict[str, Any] = {}
        if drop is not None:
            given["drop"] = drop
        if self.exits:
            given["with_exits"] = True
        kept: Tensor = self.network(images, **given)
        return kept

    def _loss(self, logits: Tensor, piece: Mixed) -> Tensor:
        """Mean loss of the images; of a network with early exits the weighted sum over its
        heads.
        """
        smoothing = self.config.train.label_smoothing
        if not self.exits:
            return loss(logits.float(), piece, smoothing)
        *early, last = (loss(of_head.float(), piece, smoothing) for of_head in logits)
        weight = self.config.train.exit_weight
        return last + weight * torch.stack(early).sum()

    def _fill_gradients(self) -> None:
        """Give every process a gradient, of zeros, for what any other has one for; what nobody
        used keeps none.

        A network or part of others may use a parameter for some images alone, as a mixture of
        experts or an early exit does: processes that add up different parameters would add one to
        another. Ours use all of theirs for every image.
        """
        if self.ranks.size == 1 or not self.has_user_code:
            return
        parameters = list(self.model.parameters())
        used = torch.tensor(
            [float(parameter.grad is not None) for parameter in parameters], device=self.device
        )
        self.ranks.add_up([used])
        for parameter, count in zip(parameters, used.tolist(), strict=True):
            if count and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def alpha(self, iteration: int) -> float:
        """The soft-mask rate of an iteration."""
        return soft_mask_rate(self.config.train.soft_mask, iteration, self.iterations_per_epoch)

    def set_alpha(self, alpha: float) -> None:
        """Set alpha of the model and its average; a network that has no soft mask is never asked
        for one.
        """
        if alpha == self._alpha:
            return
        rate: float | list[float] = alpha
        layers = self.config.train.soft_mask_layers
        if layers is not None:
            rate = [alpha * factor for factor in layers]
        for model in (self.model, self.average):
            if model is not None:
                model.set_soft_mask_rate(rate)  # type: ignore[operator]
        self._alpha = alpha

    def broken(self) -> tuple[str, float] | None:
        """The first parameter that is not finite, and its value."""
        for name, parameter in self.model.named_parameters():
            finite = torch.isfinite(parameter)
            if not finite.all():
                return name, parameter[~finite][0].item()
        return None

    def start(self, data_dir: Path | None) -> None:
        """Take the first weights from the file of `train.init`, if there is one
        (`illama.weights.pretrained.start_from`).
        """
        if self.config.train.init is not None:
            start_from(self.model, self.config.train.init, data_dir)
            if self.average is not None:
                self.average.load_state_dict(self.model.state_dict())

    def weights(self) -> dict[str, Any]:
        """The network's weights, and their moving average where there is one."""
        found = {"model": self.model.state_dict()}
        return found if self.average is None else found | {"average": self.average.state_dict()}

    def state(self) -> dict[str, Any]:
        """Return the states that a checkpoint holds."""
        beside = {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
        return self.weights() | beside

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
