"""Parts of the network that can be exchanged by name, a file for each: token mixers, feed-forwards, positions.

A part is a function `f(place, **settings)` that returns a `torch.nn.Module`; `docs/parts.md` says what is asked of it. Those in
this folder have short names. A new one is a file and a line below.

Importing this package does not import torch.
"""

from collections.abc import Mapping

PARTS: Mapping[str, Mapping[str, str]] = {
    "mixer": {},
    "feed_forward": {},
    "norm": {},
    "position": {},
    "readout": {},
}
"""Short names of the parts in this folder and the functions behind them, by the setting that they may stand in."""
