"""Images per second in training on one GPU, side by side in one run, and the share of the chip's peak that they are.

    python benchmarks/gpu_throughput.py --peak-tflops 989 [--output benchmarks/results/gpu.json]

For T, S and B at 224 x 224: this package in bfloat16 and compiled, with the mask causal and soft; the published dense form of
`benchmarks/cpu_training_step.py`, eager, in float32 and under autocast; and, where timm is installed, its ViT of the same size,
compiled, in bfloat16. Nothing is claimed in advance: it has not run on a GPU yet, and on any other machine it refuses to start.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from cpu_training_step import PlainModel
from torch import nn

import illama
from illama.config import ModelConfig, TrainConfig, with_preset
from illama.cost import macs
from illama.optim import make_optimizer

BATCHES = {"tiny": 512, "small": 256, "base": 128}
SHAPES = {"tiny": (192, 3, 512), "small": (384, 6, 1024), "base": (768, 12, 2048)}
RECIPE = TrainConfig(epochs=1, batch_size=1, lr=1e-4)


def images_per_second(model: nn.Module, batch: int, dtype: torch.dtype | None, repeats: int) -> float:
    """Median over `repeats` training steps, after five to warm up (and to compile)."""
    optimizer = make_optimizer(model, RECIPE)
    images, labels = torch.randn(batch, 3, 224, 224, device="cuda"), torch.randint(1000, (batch,), device="cuda")
    seconds = []
    for turn in range(5 + repeats):
        torch.cuda.synchronize()
        started = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype, enabled=dtype is not None):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        torch.cuda.synchronize()
        if turn >= 5:
            seconds.append(time.perf_counter() - started)
    return batch / statistics.median(seconds)


def contenders(size: str) -> dict[str, tuple[Callable[[], Any], torch.dtype | None]]:
    """Name to (how to build it, autocast type)."""
    width, heads, hidden = SHAPES[size]

    def ours(alpha: float) -> Callable[[], nn.Module]:
        return lambda: torch.compile(illama.create_model(f"illama_{size}", soft_mask_rate=alpha).cuda())

    def plain() -> nn.Module:
        return PlainModel(width, heads, 12, hidden).cuda()

    chosen: dict[str, tuple[Callable[[], Any], torch.dtype | None]] = {
        "ours, causal": (ours(0.0), torch.bfloat16),
        "ours, soft": (ours(0.5), torch.bfloat16),
        "plain, float32": (plain, None),
        "plain, autocast": (plain, torch.bfloat16),
    }
    try:
        import timm
    except (ImportError, RuntimeError):
        return chosen
    name = f"vit_{size}_patch16_224"
    return chosen | {f"timm {name}": (lambda: torch.compile(timm.create_model(name).cuda()), torch.bfloat16)}


def main() -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak-tflops", type=float, required=True, help="dense bfloat16 peak of the chip, from its data sheet")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--output", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: torch finds no GPU here, and this benchmark is of nothing else", file=sys.stderr)
        return 2
    report: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "images_per_second": {}}
    for size, batch in BATCHES.items():
        config = ModelConfig.model_validate(with_preset({"name": f"illama_{size}"}))
        for name, (build, dtype) in contenders(size).items():
            torch.compiler.reset()
            speed = images_per_second(build(), batch, dtype, options.repeats)
            share = speed * 6 * macs(config) / (options.peak_tflops * 1e12)  # forward and backward: three times two operations
            report["images_per_second"][f"{size}: {name}"] = {"speed": round(speed), "share_of_bf16_peak": round(share, 3)}
            print(f"{size:6} {name:30} {speed:9.0f} images/s  {share:6.1%} of peak", flush=True)
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
