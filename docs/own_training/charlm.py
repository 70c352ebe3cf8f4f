"""A small language model (a causal Transformer) that reads characters, and the loop that trains it.

It is trained on the prose that ships inside Python: the topics of `help()`, about 700,000
characters. They differ between versions of Python, so their digest is a setting: what a training
reads belongs to its identity.
"""

import math
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from pydoc_data.topics import topics
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from illama import checkpoint

TEXT = "\n".join(topics[name] for name in sorted(topics)).encode("ascii", errors="replace")
TEXT_SHA256 = sha256(TEXT).hexdigest()
LETTERS = 128
EVERY = 50
"""Iterations between two looks at the held-out text."""


class Attention(nn.Module):
    """Causal; with `rope`, queries and keys are rotated by their place."""

    def __init__(self, dim: int, heads: int, rope: bool) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.heads, self.rope = heads, rope

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, dim)."""
        q, k, v = (
            self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )  # each (B, heads, T, dim / heads)
        if self.rope:
            q, k = rotated(q), rotated(k)
        x = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(x.transpose(1, 2).flatten(2))


def rotated(x: Tensor) -> Tensor:
    """Rotary position embedding (arXiv 2104.09864). x: (..., T, width)."""
    places, half = torch.arange(x.shape[-2], device=x.device), x.shape[-1] // 2
    angles = places[:, None] * 10_000.0 ** (
        -torch.arange(half, device=x.device) / half
    )  # (T, half)
    one, other = x.chunk(2, dim=-1)
    return torch.cat(
        (one * angles.cos() - other * angles.sin(), one * angles.sin() + other * angles.cos()),
        dim=-1,
    )


class FeedForward(nn.Module):
    """GELU, or SwiGLU (arXiv 2002.05202) with as many parameters."""

    def __init__(self, dim: int, kind: str) -> None:
        super().__init__()
        hidden = 4 * dim if kind == "gelu" else 8 * dim // 3
        self.gate = nn.Linear(dim, hidden, bias=False) if kind == "swiglu" else None
        self.up, self.down = nn.Linear(dim, hidden, bias=False), nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(
            F.gelu(self.up(x)) if self.gate is None else F.silu(self.gate(x)) * self.up(x)
        )


class Block(nn.Module):
    def __init__(
        self, dim: int, heads: int, norm: type[nn.Module], feed_forward: str, rope: bool
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(dim), norm(dim)
        self.attention, self.feed_forward = (
            Attention(dim, heads, rope),
            FeedForward(dim, feed_forward),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


class Decoder(nn.Module):
    """Compute the logits of the next characters (B, T, LETTERS) from characters (B, T)."""

    def __init__(
        self,
        depth: int,
        dim: int,
        context: int,
        norm: str,
        feed_forward: str,
        position: str,
        tied: bool,
    ) -> None:
        super().__init__()
        kind = {"layernorm": nn.LayerNorm, "rmsnorm": nn.RMSNorm}[norm]
        self.letters = nn.Embedding(LETTERS, dim)
        self.places = nn.Embedding(context, dim) if position == "learned" else None
        self.blocks = nn.Sequential(
            *(Block(dim, 4, kind, feed_forward, position == "rope") for _ in range(depth))
        )
        self.norm, self.head = kind(dim), nn.Linear(dim, LETTERS, bias=False)
        for weight in self.parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=0.02)
        if tied:
            self.head.weight = self.letters.weight

    def forward(self, letters: Tensor) -> Tensor:
        x = self.letters(letters)
        if self.places is not None:
            x = x + self.places.weight[: letters.shape[1]]
        return self.head(self.norm(self.blocks(x)))


def train(
    *,
    depth: int = 2,
    dim: int = 48,
    context: int = 32,
    norm: Literal["layernorm", "rmsnorm"] = "layernorm",
    feed_forward: Literal["gelu", "swiglu"] = "gelu",
    position: Literal["none", "learned", "rope"] = "learned",
    tied: bool = False,
    lr: float = 3e-3,
    batch_size: int = 16,
    iterations: int = 300,
    text_sha256: str = TEXT_SHA256,
    seed: int,
    log_metrics: Callable[[Mapping[str, float], int], None],
    checkpoint_dir: Path,
    should_stop: Callable[[], bool],
    device: torch.device,
) -> Mapping[str, float] | None:
    """Train, and return bits per character of the held-out end of the text. What stands before
    `seed` are the settings.
    """
    if text_sha256 != TEXT_SHA256:
        raise ValueError(
            "the topics of help() are other ones here: run all trials with one version of Python"
        )
    text = torch.tensor(list(TEXT), device=device)
    train_text, val_text = text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]
    # weights are drawn from the generator that is seeded before this function is called
    model = Decoder(depth, dim, context, norm, feed_forward, position, tied).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr, betas=(0.9, 0.95))
    iteration, loss_sum = 0, 0.0
    if state := checkpoint.load(checkpoint_dir):
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        iteration, loss_sum = state["iteration"], state["loss_sum"]

    def save() -> None:
        parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        checkpoint.save(checkpoint_dir, parts | {"iteration": iteration, "loss_sum": loss_sum})

    while iteration < iterations:
        if should_stop():
            save()
            return None
        warmup = min(1.0, (iteration + 1) / 30)
        decay = (1 + math.cos(math.pi * iteration / iterations)) / 2
        optimizer.param_groups[0]["lr"] = lr * warmup * decay
        # by the iteration: no state of it has to be saved
        draws = torch.Generator().manual_seed(seed * 1_000_003 + iteration)
        starts = torch.randint(len(train_text) - context, (batch_size,), generator=draws)
        letters = torch.stack(
            [train_text[start : start + context + 1] for start in starts.tolist()]
        )
        loss = F.cross_entropy(model(letters[:, :-1]).flatten(0, 1), letters[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        iteration, loss_sum = iteration + 1, loss_sum + loss.item()
        if iteration % EVERY == 0:
            metrics = {
                "train/bits_per_char": loss_sum / (EVERY * math.log(2)),
                "val/bits_per_char": bits_per_char(model, val_text, context),
            }
            log_metrics(metrics, iteration)
            loss_sum = 0.0
            save()  # after the metrics: what is behind a checkpoint is not logged again
    return {
        "val/bits_per_char": bits_per_char(model, val_text, context),
        "params": sum(p.numel() for p in model.parameters()),
    }


@torch.inference_mode()
def bits_per_char(model: nn.Module, text: Tensor, context: int, windows: int = 128) -> float:
    """Over windows that lie side by side, each beginning anew."""
    letters = text[: windows * (context + 1)].unflatten(0, (windows, context + 1))
    losses = [
        F.cross_entropy(model(part[:, :-1]).flatten(0, 1), part[:, 1:].flatten())
        for part in letters.split(32)
    ]
    return torch.stack(losses).mean().item() / math.log(2)
