"""Images per second in training on one GPU, side by side in one run, and the share of the chip's
peak that they are.

    python benchmarks/gpu_throughput.py [--attention flash triton] [--limit 540]
                                        [--output benchmarks/results/gpu_throughput.json]

For T, S and B at 224 x 224: this package in bfloat16 and compiled, while the mask is causal and
while it softens with every step; the published dense form of `benchmarks/cpu_training_step.py`,
eager, in float32 and under autocast; and, where timm is installed, its ViT of the same size,
compiled, in bfloat16, with its fused attention. All with the same batch, and the same fused AdamW.

`--attention` names what the multiplicative mask may run on, from
`benchmarks/attention_candidates.py`; each is measured. Every figure is written to `--output` at
once, and one that is there is not measured again: after a time limit the same command goes on.
Where one contender needs too much memory, all of that size go on with half the batch.

Nothing is claimed in advance: it has not run on a GPU. `--device cpu --sizes smoke` goes through
the code and measures nothing.
"""

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from attention_candidates import CANDIDATES, why_not
from cpu_training_step import PlainModel
from torch import Tensor, nn

import illama
import illama.blocks
from illama.attention import ALL, attend
from illama.config import ModelConfig, TrainConfig, with_preset
from illama.cost import hidden_width, macs
from illama.masks import Mask
from illama.training.optim import make_optimizer

BATCHES = {"tiny": 1024, "small": 512, "base": 256, "smoke": 8}
PRESETS: dict[str, dict[str, Any]] = {
    size: {"name": f"illama_{size}"} for size in ("tiny", "small", "base")
}
PRESETS["smoke"] = {"name": "illama_tiny", "embed_dim": 64, "num_heads": 1, "depth": 2}
RECIPE = TrainConfig(epochs=1, batch_size=1, lr=1e-4)
BLOCK, WARM_UP = 5, 1
"""Steps between two looks at the clock, and blocks before anything is timed (they compile)."""

PEAKS = {"H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "H200 NVL": 836, "H200": 989, "A100": 312}
"""Dense bfloat16 TFLOP/s by what is in the device's name, the most special first. From NVIDIA's
data sheets of the H100, H200 and A100; those of the H chips are printed there with sparsity,
which is twice that.
"""

Phase = Callable[[int], float]
"""alpha of a step."""


@dataclass(frozen=True)
class Contender:
    """A network in training."""

    name: str
    build: Callable[[], nn.Module]
    dtype: torch.dtype | None = torch.bfloat16
    """Of autocast."""
    compiled: bool = True
    phases: tuple[tuple[str, Phase | None], ...] = (("", None),)
    """What is measured of it, one after the other."""
    attention: str = "dense"
    """Of our own networks: the candidate."""

    @property
    def figures(self) -> list[str]:
        """Names of its figures."""
        return [self.name + phase for phase, _ in self.phases]


def contenders(size: str, attentions: list[str]) -> list[Contender]:
    """All of one size."""
    settings = PRESETS[size]
    config = ModelConfig.model_validate(with_preset(settings))
    phases: tuple[tuple[str, Phase], ...] = (
        ("causal", lambda step: 0.0),
        ("soft", lambda step: 1 / (1 + step)),
    )

    def plain() -> nn.Module:
        return PlainModel(config.embed_dim, config.num_heads, config.depth, hidden_width(config))

    def ours() -> nn.Module:
        return illama.create_model(**settings)

    found = [
        *(
            Contender(f"ours, {name} attention, ", ours, phases=phases, attention=name)
            for name in attentions
        ),
        Contender("plain, float32", plain, dtype=None, compiled=False),
        Contender("plain, autocast", plain, compiled=False),
    ]
    if find_spec("timm") is None:
        print("timm is not installed, and left out")
        return found
    import timm

    shape = {"embed_dim": config.embed_dim, "num_heads": config.num_heads, "depth": config.depth}
    name = f"vit_{'tiny' if size == 'smoke' else size}_patch16_224"
    return [*found, Contender("timm ViT", lambda: timm.create_model(name, **shape))]


@contextmanager
def attention_by(name: str) -> Iterator[None]:
    """The package with a candidate for the multiplicative mask over all rows."""

    def chosen(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None, rows: slice = ALL) -> Tensor:
        if mask is None or mask.additive or rows != ALL:
            return attend(q, k, v, mask, rows)
        return CANDIDATES[name](q, k, v, mask)

    before, illama.blocks.attend = illama.blocks.attend, chosen
    try:
        yield
    finally:
        illama.blocks.attend = before


def measure(
    contender: Contender, batch: int, device: str, repeats: int, compiled: bool
) -> dict[str, tuple[float, float]]:
    """Images per second (median over `repeats` blocks of steps) and peak memory in GiB of each
    of its figures.
    """
    torch.compiler.reset()
    model = contender.build().to(device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    network = torch.compile(model) if contender.compiled and compiled else model
    optimizer = make_optimizer(model, RECIPE)
    images, labels = (
        torch.randn(batch, 3, 224, 224, device=device),
        torch.randint(1000, (batch,), device=device),
    )

    with (
        torch.no_grad(),
        torch.autocast(device, contender.dtype, enabled=contender.dtype is not None),
    ):
        model(images[:1])  # a candidate may make something once, which is not to be compiled

    def step(alpha: float | None) -> None:
        if alpha is not None:
            model.set_soft_mask_rate(alpha)  # type: ignore[operator]
        optimizer.zero_grad()
        with torch.autocast(device, contender.dtype, enabled=contender.dtype is not None):
            logits = network(images)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    found = {}
    for name, (_, phase) in zip(contender.figures, contender.phases, strict=True):
        seconds = [_seconds(step, phase, block, device) for block in range(WARM_UP + repeats)][
            WARM_UP:
        ]
        memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
        found[name] = batch * BLOCK / statistics.median(seconds), memory
    return found


def _seconds(
    step: Callable[[float | None], None], phase: Phase | None, block: int, device: str
) -> float:
    """Time one block of steps as a training runs them: nobody waits for the GPU between two."""
    started = time.perf_counter()
    for index in range(block * BLOCK, (block + 1) * BLOCK):
        step(None if phase is None else phase(index))
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


class Report:
    """The figures so far, in a file that another run goes on with."""

    def __init__(self, path: Path | None, about: dict[str, Any]) -> None:
        self.path, self.about = path, about
        self.sizes: dict[str, dict[str, Any]] = {}
        if path is None or not path.exists():
            return
        before = json.loads(path.read_text("utf-8"))
        self.sizes = before.pop("sizes")
        if before != about:
            raise ValueError(
                f"{path} has figures of {before}, this would be {about}: choose another --output"
            )

    def size(self, name: str) -> dict[str, Any]:
        """`batch` and `figures` of a size."""
        return self.sizes.setdefault(name, {"batch": BATCHES[name], "figures": {}})

    def save(self) -> None:
        """Write it all."""
        if self.path is not None:
            self.path.write_text(
                json.dumps(self.about | {"sizes": self.sizes}, indent=2) + "\n", "utf-8"
            )


def measure_size(report: Report, size: str, options: argparse.Namespace, deadline: float) -> bool:
    """Measure what is missing. False when the time is over."""
    waiting = contenders(size, options.attention)
    while waiting:
        contender, entry = waiting.pop(0), report.size(size)
        if all("images_per_second" in entry["figures"].get(name, {}) for name in contender.figures):
            continue
        if time.monotonic() > deadline:
            return False
        found = tried(contender, entry["batch"], options)
        if found is None:
            entry |= {"batch": entry["batch"] // 2, "figures": {}}
            print(
                f"{size:6} {contender.name} needs too much memory; all go on with batch "
                f"{entry['batch']}",
                flush=True,
            )
            waiting = contenders(size, options.attention)
            continue
        for name, figure in found.items():
            if (peak := report.about["peak_tflops"]) and "failed" not in figure:
                work = 6 * macs(
                    ModelConfig.model_validate(with_preset(PRESETS[size]))
                )  # three times two operations
                figure["share_of_bf16_peak"] = round(
                    figure["images_per_second"] * work / (peak * 1e12), 3
                )
            print(f"{size:6} batch {entry['batch']:4} {name:35} {figure}", flush=True)
        entry["figures"] |= found
        report.save()
    return True


def tried(
    contender: Contender, batch: int, options: argparse.Namespace
) -> dict[str, dict[str, Any]] | None:
    """Its figures, or what it failed with; None where the memory is too small for the batch."""
    try:
        with attention_by(contender.attention):
            found = measure(contender, batch, options.device, options.repeats, not options.eager)
    except torch.OutOfMemoryError:
        if batch == 1:
            raise
        return None
    except Exception as error:  # noqa: BLE001  the others are still to be measured
        return {
            name: {"failed": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
            for name in contender.figures
        }
    return {
        name: {"images_per_second": round(speed, 1), "peak_memory_gib": round(memory, 2)}
        for name, (speed, memory) in found.items()
    }


def ratios(figures: dict[str, dict[str, float]], attention: str) -> dict[str, float]:
    """Compare this package with the others, with one candidate."""
    speed = {
        name: figure["images_per_second"]
        for name, figure in figures.items()
        if "images_per_second" in figure
    }
    ours, soft = (
        speed.get(f"ours, {attention} attention, {phase}") for phase in ("causal", "soft")
    )
    if ours is None or soft is None:
        return {}
    others = ("plain, float32", "plain, autocast", "timm ViT")
    return {
        f"speed over {name}": round(ours / speed[name], 2) for name in others if name in speed
    } | {"time of a soft step over a causal one": round(ours / soft, 3)}


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit code: 1 where something failed or is still to be
    measured.
    """
    options = _parse(arguments)
    on_gpu = options.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        return _refuse(
            "torch finds no GPU here; --device cpu --sizes smoke goes through the code, and "
            "measures nothing"
        )
    for name in options.attention:
        if reason := why_not(name, options.device):
            return _refuse(f"--attention {name}: {reason}")
    try:
        report = Report(options.output, _about(options))
    except ValueError as error:
        return _refuse(str(error))
    deadline = time.monotonic() + options.limit
    whole = all([measure_size(report, size, options, deadline) for size in options.sizes])
    for size, name in itertools.product(options.sizes, options.attention):
        print(f"{size}, {name} attention: {ratios(report.size(size)['figures'], name)}")
    if not whole:
        print("the time is over: the same command goes on")
    failed = any(
        "failed" in figure
        for size in options.sizes
        for figure in report.size(size)["figures"].values()
    )
    return int(failed or not whole)


def _about(options: argparse.Namespace) -> dict[str, Any]:
    """Fields that every figure of a report has in common."""
    on_gpu = options.device == "cuda"
    device = torch.cuda.get_device_name() if on_gpu else "cpu"
    peak = options.peak_tflops or next(
        (peak for name, peak in PEAKS.items() if name in device), None
    )
    if not on_gpu:
        print("on a CPU this goes through the code; its figures measure nothing")
    elif peak is None:
        print(
            f"the bfloat16 peak of {device} is not known here: give --peak-tflops for the share "
            "of it"
        )
    versions = {
        name: version(name) for name in ("torch", "timm", "triton") if find_spec(name) is not None
    }
    return {
        "device": device,
        "measures": "training steps" if on_gpu else "nothing",
        "peak_tflops": peak,
        **versions,
    }


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=BATCHES, default=["tiny", "small", "base"])
    parser.add_argument("--attention", nargs="+", choices=CANDIDATES, default=["flash"])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--peak-tflops",
        type=float,
        help="dense bfloat16 peak of the chip, where its name says nothing",
    )
    parser.add_argument("--repeats", type=int, default=10, help=f"timed blocks of {BLOCK} steps")
    parser.add_argument(
        "--limit", type=float, default=float("inf"), help="begin nothing after so many seconds"
    )
    parser.add_argument("--eager", action="store_true", help="compile nothing")
    parser.add_argument("--output", type=Path, help="the figures, kept from one run to the next")
    return parser.parse_args(arguments)


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
