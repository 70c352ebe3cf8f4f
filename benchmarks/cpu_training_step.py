"""One training step of iLLaMA-T (224 x 224, batch 8) on the CPU: this package beside the published
form written out plainly.

    python benchmarks/cpu_training_step.py

It writes `benchmarks/results/cpu_training_step.json` and `.md` in half a minute.

The plain form is what the paper's equations and its released code do: a strided convolution,
RMSNorm in float32, RoPE in complex numbers, softmax over an N x N matrix and the mask on top of it,
every token through every block, and torch's AdamW as it comes. Both start from the same weights,
see the same images, and take turns in one process, so that whatever else the machine does hits
both; reported are medians, best times, and the median of the ratios of neighbouring turns. Before
anything is timed, the two losses are compared.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import illama
from illama.config import TrainConfig
from illama.training.optim import make_optimizer

RESULTS = Path(__file__).parent / "results"
BATCH = 8


class PlainBlock(nn.Module):
    """Multi-head attention with its N x N matrix, and SwiGLU."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = PlainNorm(width), PlainNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc3 = (
            nn.Linear(width, hidden, bias=False),
            nn.Linear(width, hidden, bias=False),
        )
        self.fc2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, turns: Tensor, mask: Tensor) -> Tensor:
        batch, count, width = x.shape
        qkv = (
            self.qkv(self.norm1(x)).reshape(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )
        q, k, v = qkv[0], qkv[1], qkv[2]  # (B, H, N, C)
        q, k = turn(q, turns), turn(k, turns)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(
            dim=-1
        ) * mask  # (B, H, N, N)
        x = x + self.proj((weights @ v).transpose(1, 2).reshape(batch, count, width))
        h = self.norm2(x)
        return x + self.fc2(F.silu(self.fc1(h)) * self.fc3(h))


class PlainNorm(nn.Module):
    """RMSNorm, in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        normed = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)
        return normed.type_as(x) * self.weight


class PlainModel(nn.Module):
    """iLLaMA-T as the paper describes it."""

    def __init__(
        self, width: int = 192, heads: int = 3, depth: int = 12, hidden: int = 512, count: int = 197
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, count, width))
        self.blocks = nn.ModuleList(PlainBlock(width, heads, hidden) for _ in range(depth))
        self.norm, self.head = PlainNorm(width), nn.Linear(width, 1000)
        channels = width // heads
        angles = torch.outer(
            torch.arange(count), 10000.0 ** (-torch.arange(0, channels, 2) / channels)
        )
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles))
        self.register_buffer("mask", torch.ones(count, count).tril())

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat((x, self.token.expand(len(x), -1, -1)), dim=1) + self.positions
        for block in self.blocks:
            x = block(x, self.turns, self.mask)
        return self.head(self.norm(x)[:, -1])


def turn(x: Tensor, turns: Tensor) -> Tensor:
    """RoPE on (B, H, N, C)."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(3).type_as(x)


def plain_twin(ours: nn.Module) -> PlainModel:
    """A plain model with the weights of ours: the same tensors in the same order, under other
    names.
    """
    plain, renamed = (
        PlainModel(),
        {"patch_embed.proj": "patches", "cls_token": "token", "pos_embed": "positions"},
    )
    weights = {}
    for name, value in ours.state_dict().items():
        for ours_name, plain_name in renamed.items():
            name = name.replace(ours_name, plain_name)
        weights[name.replace("attn.", "").replace("mlp.", "")] = value.clone()
    plain.load_state_dict(weights, strict=False)
    if missing := set(dict(plain.named_parameters())) - weights.keys():
        raise RuntimeError(f"the plain model misses {missing}")
    return plain


def stepper(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> Callable[[], float]:
    """A function that makes one training step and returns the loss."""

    def step() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def measure(steps: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each step, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            times[name].append(1000 * (time.perf_counter() - started))
    return times


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=25)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(BATCH, 3, 224, 224, generator=generator), torch.arange(BATCH)
    ours = illama.create_model("illama_tiny")
    plain = plain_twin(ours)
    recipe = TrainConfig(epochs=1, batch_size=BATCH, lr=1e-4)
    steps = {
        "plain": stepper(
            plain, torch.optim.AdamW(plain.parameters(), lr=1e-4, weight_decay=0.05), images, labels
        ),
        "ours": stepper(ours, make_optimizer(ours, recipe), images, labels),
    }
    losses = {name: step() for name, step in steps.items()}
    if abs(losses["plain"] - losses["ours"]) > 1e-4:
        raise RuntimeError(f"the two are not the same model: {losses}")
    measure(steps, 2)
    times = measure(steps, options.repeats)
    ratios = [
        plain_ms / ours_ms for plain_ms, ours_ms in zip(times["plain"], times["ours"], strict=True)
    ]
    report = {
        "step": f"iLLaMA-T, 224 x 224, batch {BATCH}, float32, {options.threads} threads",
        "machine": f"{platform.machine()}, torch {torch.__version__}",
        "turns": options.repeats,
        **{
            f"{name}_ms": {"median": round(statistics.median(t), 1), "best": round(min(t), 1)}
            for name, t in times.items()
        },
        "speedup": {
            "median": round(statistics.median(ratios), 2),
            "least": round(min(ratios), 2),
            "most": round(max(ratios), 2),
        },
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cpu_training_step.json").write_text(json.dumps(report, indent=2) + "\n")
    (RESULTS / "cpu_training_step.md").write_text(to_markdown(report))
    print((RESULTS / "cpu_training_step.md").read_text(), end="")


def to_markdown(report: Mapping[str, Any]) -> str:
    """The figures as a table."""
    plain, ours, speedup = report["plain_ms"], report["ours_ms"], report["speedup"]
    lines = [
        "# A training step on the CPU",
        "",
        f"{report['step']}; {report['machine']}",
        (
            "(`python benchmarks/cpu_training_step.py`). In turns in one process, "
            f"{report['turns']} of each."
        ),
        "",
        "| | median, ms | best, ms |",
        "|---|--:|--:|",
        f"| the published form written out plainly | {plain['median']} | {plain['best']} |",
        f"| this package | {ours['median']} | {ours['best']} |",
        "",
        (
            f"Faster by {speedup['median']} (median of neighbouring turns; {speedup['least']} to "
            f"{speedup['most']})."
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
