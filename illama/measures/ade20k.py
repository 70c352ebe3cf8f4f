"""Semantic segmentation of ADE20K: UPerNet on the network, trained and scored (paper, Table 10).

The network is fine-tuned with the head (`illama.evaluation.upernet`) on crops of `crop` pixels, its
positions interpolated to them: AdamW at `lr`, weight decay 0.01, a warmup of 1,500 iterations at
most, then a line to 0; cross-entropy, with 0.4 of the auxiliary head's. Iterations and batch are
not in the paper; here they are what is usual for UPerNet. Colours are not distorted. Scores are of
all validation images together, of windows that slide, at one scale and at six with mirrored
pictures.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PositiveFloat, PositiveInt

from illama.measures.base import OWN_BLOCKS, Data, Device, Findings, Network, Quantity, quantities

if TYPE_CHECKING:
    from pathlib import Path

    from illama.data.ade20k import Scene

NUMERICS_VERSION = 1

QUANTITIES = {
    "miou": Quantity("max", "%", 2, "mean intersection over union, one scale"),
    "accuracy": Quantity("max", "%", 2, "pixels given their class, one scale"),
    "miou_scales": Quantity("max", "%", 2, "mean intersection over union, six scales and mirrored"),
    "accuracy_scales": Quantity("max", "%", 2, "pixels given their class, six scales and mirrored"),
    "params": Quantity("min", "M", 2, "parameters of network and heads"),
}
_WEIGHT_DECAY = 0.01
_WARMUP = 1500
_AUXILIARY = 0.4


def _look(directory: "Path", options: Mapping[str, Any]) -> None:
    from illama.data.ade20k import read

    read(directory / options["folder"])


@quantities(QUANTITIES, needs=[OWN_BLOCKS], reads=_look)
def ade20k(
    network: Network,
    data: Data,
    device: Device,
    seed: int,
    *,
    folder: str = "ADEChallengeData2016",
    iterations: PositiveInt = 160_000,
    crop: Annotated[int, Field(ge=8, le=10_000)] = 512,
    batch: Annotated[int, Field(ge=2)] = 16,
    lr: PositiveFloat = 6e-5,
) -> Findings:
    """Mean intersection over union and accuracy of pixels."""
    import torch

    from illama.data.ade20k import CLASSES, read
    from illama.evaluation.adapted import resized
    from illama.evaluation.upernet import UperNet
    from illama.model import VisionTransformer

    if not isinstance(network, VisionTransformer):
        raise ValueError("ade20k needs a built-in network, because it reads its blocks")
    if network.config.in_chans != 3:
        raise ValueError(
            f"pictures have 3 channels, but the network takes {network.config.in_chans}"
        )
    scenes = read(data.directory / folder)
    torch.manual_seed(seed)
    model = UperNet(resized(network, crop), CLASSES).to(device)
    _fit(model, scenes["training"], data, (iterations, crop, batch, lr), seed)
    values = _scores(model.eval(), scenes["validation"], data, crop)
    values["params"] = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return Findings(values)


def _fit(
    model: Any,
    scenes: "Sequence[Scene]",
    data: Data,
    recipe: tuple[int, int, int, float],
    seed: int,
) -> None:
    import torch
    import torch.nn.functional as F

    from illama.evaluation.scenes import crops
    from illama.evaluation.segmentation import IGNORED

    iterations, crop, batch, lr = recipe
    device = next(model.parameters()).device
    mean, std = (values.to(device) for values in data.normalisation())
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=_WEIGHT_DECAY)
    warmup = min(_WARMUP, max(1, iterations // 10))

    def rate(done: int) -> float:
        return min((done + 1) / warmup, (iterations - done) / max(1, iterations - warmup))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    model.train()
    batches = crops(scenes, crop, batch, seed)
    for _ in range(iterations):
        pixels, classes = (values.to(device) for values in next(batches))
        main, beside = model.with_auxiliary((pixels - mean) / std)
        losses = [
            F.cross_entropy(logits.float(), classes, ignore_index=IGNORED, reduction="sum")
            for logits in (main, beside)
        ]
        known = (classes != IGNORED).sum().clamp(min=1)
        loss = (losses[0] + _AUXILIARY * losses[1]) / known
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def _scores(model: Any, scenes: "Sequence[Scene]", data: Data, crop: int) -> dict[str, float]:
    import torch

    from illama.data.ade20k import CLASSES, classes_of
    from illama.evaluation.scenes import SCALES, pixels_of, predicted
    from illama.evaluation.segmentation import confusion, mean_iou, pixel_accuracy

    mean, std = data.normalisation()
    device = next(model.parameters()).device
    kinds: dict[str, Any] = {"": {}, "_scales": {"scales": SCALES, "mirrored": True}}
    counts: dict[str, Any] = dict.fromkeys(kinds, 0)
    with torch.no_grad():
        for scene in scenes:
            labels = classes_of(scene.annotation)
            pixels = ((pixels_of(scene) - mean) / std).to(device)
            for kind, options in kinds.items():
                size = (labels.shape[0], labels.shape[1])
                found = predicted(model, pixels, size, crop, **options)
                counts[kind] = counts[kind] + confusion(found, labels, CLASSES)
    values = {f"miou{kind}": mean_iou(of_kind) for kind, of_kind in counts.items()}
    values |= {f"accuracy{kind}": pixel_accuracy(of_kind) for kind, of_kind in counts.items()}
    return {name: values[name] for name in QUANTITIES if name in values}
