"""One measure on one checkpoint: the network rebuilt from its settings, at alpha 0, and
measured.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from illama import checkpoint
from illama.config import Config, RuntimeConfig, data_directory
from illama.config.functions import arguments_of
from illama.config.imports import refuse_other_code
from illama.measures.base import Findings
from illama.measures.registry import Request, function_in
from illama.quantized import network_of
from illama.randomness import derive, reseed
from illama.training.device import autocast, pick_device, process_state
from illama.training.loader import Loader, make_loader

Curve = Sequence[Mapping[str, float]]


class LoadedData:
    """See `illama.measures.base.Data`."""

    def __init__(self, config: Config, loader: Loader, curve: Curve, directory: Path) -> None:
        self.config, self.part, self.directory = config, loader.parts[-1], directory
        self._loader, self._curve = loader, curve

    def held_out(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of the reported part."""
        return self._loader.held_out(self.part)

    def training(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of the training images."""
        return self._loader.held_out("train")

    def normalisation(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the images, (channels, 1, 1)."""
        return self._loader.normalisation()

    def curve(self) -> Curve:
        """Metrics of each epoch."""
        return self._curve


def measure_directory(
    request: Request,
    directory: Path,
    runtime: RuntimeConfig,
    *,
    of: checkpoint.FinishedTraining | None = None,
    use_ema: bool = False,
    curve: Curve = (),
) -> Findings:
    """Measure the newest whole checkpoint in `directory`; see `measure_state`.

    Raises `FileNotFoundError` where there is none, and `ValueError` where it is not the
    last one `of` that training.
    """
    try:
        state = checkpoint.load_last(directory, of)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}, but a measure needs the trained network") from error
    return measure_state(request, state, str(directory), runtime, use_ema=use_ema, curve=curve)


def measure_state(
    request: Request,
    state: Mapping[str, Any],
    where: str,
    runtime: RuntimeConfig,
    *,
    use_ema: bool = False,
    curve: Curve = (),
) -> Findings:
    """Run a measure on the network that a checkpoint's `state`, read from `where`, holds.

    With `use_ema` on the moving average of its weights. `curve` has the metrics of its training's
    epochs. Raises `ValueError` where the state is no checkpoint of a network, or the measure
    returns something else than finite numbers; what the measure raises passes through.
    """
    if "config" not in state:
        raise ValueError(f"{where} has no settings of a network, so the network cannot be rebuilt")
    config = Config.model_validate_json(state["config"])
    refuse_other_code(request.function, request.code)
    with process_state(runtime, config.train.deterministic):
        device = pick_device(runtime)
        loader = make_loader(config, runtime, device)
        network = network_of(config).to(device)
        network.load_state_dict(checkpoint.weights_in(state, where, use_ema=use_ema))
        seed = derive(config.seed, "measure", request.name)
        reseed(seed)
        torch.manual_seed(seed)
        options = arguments_of("measure", request.function, request.options)
        data = LoadedData(config, loader, curve, data_directory(runtime.data_dir))
        with autocast(device, config.train.precision):
            found = function_in(request)(network.eval(), data, device, seed, **options)
    return checked(found, request.name)


def checked(found: Any, name: str) -> Findings:
    """Turn what a measure returned into `Findings`. Raises `ValueError` where it is none."""
    findings = Findings(found) if isinstance(found, Mapping) else found
    if not isinstance(findings, Findings):
        raise ValueError(
            f"{name} returned {type(found).__name__}; expected numbers by name, or "
            "illama.measures.Findings"
        )
    values: dict[str, float] = {}
    for key, value in findings.values.items():
        try:
            values[str(key)] = float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} returned {key}: {value!r}, which is not a number") from error
        if not math.isfinite(values[str(key)]):
            raise ValueError(f"{name} returned {key}: {values[str(key)]}, which is not finite")
    return Findings(values, {str(key): str(text) for key, text in findings.pictures.items()})
