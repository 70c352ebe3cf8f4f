"""Whole networks of other papers, a file for each, where no part of ours can take the place of what
they change.

Each is a function whose keyword parameters are the settings under `model`, as of a network of one's
own (`docs/foreign_models.md`). A new one is a file and a line below.

Importing this package does not import torch.
"""

from collections.abc import Mapping

NETWORKS: Mapping[str, str] = {
    "crossformer": "illama.networks.crossformer:crossformer",
    "crossvit": "illama.networks.crossvit:crossvit",
}
"""Short names of the networks in this folder and the functions behind them."""
