"""Offers of a network to measures beside its answers, as far as its settings do not say them."""

from illama.config import ModelConfig

_IMAGES = 2


def has_attention_maps(config: ModelConfig) -> bool:
    """Tell whether every block leaves its attention maps; one with a mixer by name is tried."""
    if all(mixer == "attention" for mixer in config.choices("mixer")):
        return True
    import torch

    from illama.model import VisionTransformer
    from illama.randomness import generators_kept

    with torch.device("meta"), generators_kept(seed=0):
        network = VisionTransformer(config, seed=0)
        try:
            network.attention_maps(torch.zeros(_IMAGES, config.in_chans, *config.pixels))
        except ValueError:
            return False
    return True
