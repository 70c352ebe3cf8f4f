"""Parts of the network that can be exchanged by name, a file for each: token mixers, feed-forwards,
positions.

A part is a function `f(place, **settings)` that returns a `torch.nn.Module`; `docs/parts.md` says
what is asked of it. Those in this folder have short names. A new one is a file and a line below.

Importing this package does not import torch.
"""

from collections.abc import Mapping

PARTS: Mapping[str, Mapping[str, str]] = {
    "mixer": {
        "activator": "illama.parts.activator:activator",
        "agent": "illama.parts.agent:agent",
        "bi_level_routing": "illama.parts.bi_level_routing:bi_level_routing",
        "differential": "illama.parts.differential:differential",
        "kan_attention": "illama.parts.kan_attention:kan_attention",
        "llama_adapter": "illama.parts.llama_adapter:llama_adapter",
        "lightning": "illama.parts.lightning:lightning",
        "linear_attention": "illama.parts.linear_attention:linear_attention",
        "mixture_of_heads": "illama.parts.mixture_of_heads:mixture_of_heads",
        "nalaformer": "illama.parts.nalaformer:nalaformer",
        "single_head": "illama.parts.single_head:single_head",
        "softplus": "illama.parts.softplus:softplus",
    },
    "feed_forward": {
        "eca": "illama.parts.eca:eca",
        "gated_linear_unit": "illama.parts.gated_linear_unit:gated_linear_unit",
        "kan": "illama.parts.kan:kan",
    },
    "norm": {},
    "position": {},
    "readout": {},
}
"""Short names of the parts in this folder and the functions behind them, by the setting that they
may stand in.
"""
