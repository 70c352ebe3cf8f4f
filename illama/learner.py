"""A network and what changes it: a batch goes in, the weights come out updated."""

from typing import Any

import torch
from torch import Tensor, nn

from illama.augment import Mixed, loss, mix
from illama.config import Config, RuntimeConfig
from illama.drop import draw_drop, part
from illama.model import VisionTransformer
from illama.optim import make_optimizer, set_learning_rate
from illama.schedules import learning_rate, soft_mask_rate


class Learner:
    """Model, optimiser and, where asked for, the moving average of the weights."""

    def __init__(self, config: Config, runtime: RuntimeConfig, device: torch.device, iterations_per_epoch: int) -> None:
        if config.train.precision == "float16" and device.type == "cpu":
            raise ValueError("train.precision float16 needs a GPU; on the CPU use bfloat16 or float32")
        self.config, self.device, self.iterations_per_epoch = config, device, iterations_per_epoch
        self.micro_batch = runtime.micro_batch_size or config.train.batch_size
        self.model = VisionTransformer(config.model, config.seed).to(device)
        self.network: nn.Module = torch.compile(self.model) if runtime.compile else self.model  # type: ignore[assignment]
        self.optimizer = make_optimizer(self.model, config.train)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.train.precision == "float16")
        self.average: VisionTransformer | None = None
        if config.train.ema is not None:
            self.average = VisionTransformer(config.model, config.seed).to(device)

    def update(self, iteration: int, images: Tensor, labels: Tensor) -> Tensor:
        """One iteration on a batch (B, channels, height, width) with labels (B,). Returns its loss, 0-d, on the device."""
        train = self.config.train
        set_learning_rate(self.optimizer, learning_rate(train, iteration, self.iterations_per_epoch))
        self.set_alpha(self.alpha(iteration))
        batch = mix(images, labels, train, self.config.seed, iteration)
        self.optimizer.zero_grad()
        total = self._backward(batch, iteration)
        if train.clip_grad is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), train.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None and train.ema is not None:
            pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
            with torch.no_grad():
                for average, current in pairs:
                    average.lerp_(current, 1 - train.ema)
        return total

    def _backward(self, batch: Mixed, iteration: int) -> Tensor:
        """Gradients of the batch's mean loss, added up over micro-batches."""
        count = len(batch.images)
        drop = draw_drop(self.config, iteration, self.iterations_per_epoch, self.device)
        total = torch.zeros((), device=self.device)
        for start in range(0, count, self.micro_batch):
            rows = slice(start, min(start + self.micro_batch, count))
            piece = Mixed(batch.images[rows], batch.labels[rows], batch.others[rows], batch.share)
            with self.autocast():
                logits = self.network(piece.images, part(drop, rows))
            value = loss(logits.float(), piece, self.config.train.label_smoothing) * (len(piece.labels) / count)
            self.scaler.scale(value).backward()  # type: ignore[no-untyped-call]
            total += value.detach()
        return total

    def autocast(self) -> torch.autocast:
        """Matrix products in `train.precision`."""
        dtype = getattr(torch, self.config.train.precision)
        return torch.autocast(self.device.type, dtype if dtype != torch.float32 else None, enabled=dtype != torch.float32)

    def alpha(self, iteration: int) -> float:
        """The soft-mask rate of an iteration."""
        return soft_mask_rate(self.config.train.soft_mask, iteration, self.iterations_per_epoch)

    def set_alpha(self, alpha: float) -> None:
        """Of the model and its average."""
        for model in (self.model, self.average):
            if model is not None and alpha != model.soft_mask_rate:
                model.set_soft_mask_rate(alpha)

    def broken(self) -> tuple[str, float] | None:
        """The first parameter that is not finite, and its value."""
        for name, parameter in self.model.named_parameters():
            finite = torch.isfinite(parameter)
            if not finite.all():
                return name, parameter[~finite][0].item()
        return None

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
        return state if self.average is None else state | {"average": self.average.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
