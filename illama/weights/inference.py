"""A trained network as others use it: from pixels as the dataset has them to logits, the loader's
normalisation inside.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from illama import checkpoint
from illama.config import Config, DataConfig
from illama.data import image_folder
from illama.data.augment import resized
from illama.data.datasets import data_directory, load
from illama.quantized import network_of

EXAMPLES = 2
"""Images that stand for all others; one alone would fix the batch size of an exported network."""

Pixels = npt.NDArray[np.float32]


class Classifier(nn.Module):
    """Normalises pixels as the trainer's loader does, to the bit, and classifies."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        scale: float,
        mean: npt.ArrayLike,
        std: npt.ArrayLike,
        side: int | None = None,
    ) -> None:
        """The network sees `(pixels / scale - mean) / std`, `mean` and `std` one for each channel,
        resized to `side` x `side` where that is given.
        """
        super().__init__()
        self.network = network
        self.scale, self.side = scale, side
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(
                name, torch.from_numpy(np.array(values, np.float32))[:, None, None]
            )

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: (B, channels, height, width), float32, in the dataset's own range; returns logits
        (B, classes).
        """
        normalised = (pixels / self.scale - self.mean) / self.std
        logits: Tensor = self.network(resized(normalised, self.side))
        return logits


def load_classifier(
    directory: Path,
    data_dir: Path | None = None,
    of: checkpoint.FinishedTraining | None = None,
    *,
    use_ema: bool = False,
) -> tuple[Classifier, Pixels]:
    """The classifier whose weights are in the newest whole checkpoint of `directory`, at alpha 0,
    and a few of its images.

    With `use_ema` it has their moving average. The images are of the validation part, (n,
    channels, height, width): those of memory as they are, those of a folder cut to size. Raises
    `FileNotFoundError` where there is no whole checkpoint, or where the images are not in
    `data_dir`, and `ValueError` where there is no average, or where the checkpoint is not
    the last one `of` that training.
    """
    state = checkpoint.load_last(directory, of)
    config = Config.model_validate_json(state["config"])
    network = network_of(config)
    try:
        network.load_state_dict(checkpoint.weights_in(state, str(directory), use_ema=use_ema))
    except RuntimeError as error:  # of other shapes or names than its own settings say
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"the weights in the checkpoint in {directory} do not fit: {reason}"
        ) from error
    if not config.data.in_memory:
        from illama.data.transforms import IMAGENET_MEAN, IMAGENET_STD  # needs Pillow

        return Classifier(network, 255, IMAGENET_MEAN, IMAGENET_STD).eval(), _pictures(
            config, data_dir
        )
    data = load(config.data, config.model, data_dir)
    classifier = Classifier(network, 1, data.mean, data.std, config.data.resize).eval()
    return classifier, data.val_images[:EXAMPLES].astype(np.float32)


def _pictures(config: Config, data_dir: Path | None) -> Pixels:
    from illama.data.transforms import for_validation, read_image

    assert isinstance(config.data, DataConfig)
    listing = image_folder.read(data_directory(data_dir) / config.data.folder).parts["val"]
    examples = range(min(EXAMPLES, len(listing)))
    pictures = [
        for_validation(read_image(listing.path(index)), image_folder.side_of(config.model))
        for index in examples
    ]
    return np.stack([np.asarray(picture, np.float32).transpose(2, 0, 1) for picture in pictures])
