"""Efficiency: operations that attention needs, as the paper counts them and as they are done.

Table 2 of the paper gives, for N tokens of width D, self-attention 4 N D^2 + 2 N^2 D multiply-
accumulates without a mask, and 4 N D^2 + N^2 D + (floor(N^2 / 2) + 1) D under a causal one: half of
the product with the values is saved. The released code computes all products and then masks them,
so that nothing is saved; ours does the same below a few hundred tokens. Times are of this machine,
with whatever else runs on it.
"""

from illama.measures.base import Data, Device, Findings, Network, Quantity, quantities

NUMERICS_VERSION = 1

QUANTITIES = {
    "latency": Quantity("min", "ms", 2, "one image forward, median"),
    "throughput": Quantity("max", "images/s", 0, "largest of the batch sizes tried"),
    "latency_bidirectional": Quantity(
        None, "ms", 2, "one image through the same network without its mask"
    ),
    "attention_macs": Quantity("min", "M", 3, "of self-attention as Table 2 counts it, all layers"),
    "attention_macs_done": Quantity("min", "M", 3, "of self-attention as it is computed here"),
    "peak_memory": Quantity("min", "MB", 1, "of tensors on the GPU, forward; only there"),
}


@quantities(QUANTITIES)
def efficiency(
    network: Network,
    data: Data,
    device: Device,
    seed: int,
    *,
    repeats: int = 30,
    largest_batch: int = 256,
) -> Findings:
    """Latency at batch 1, throughput, memory on a GPU, and the counts of attention."""
    import torch

    from illama.cost import tokens
    from illama.measures.passes import first_images, median_seconds
    from illama.model import VisionTransformer, make_network
    from illama.quantized import quantise

    images, _ = first_images(data.held_out(), largest_batch)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    values = {"latency": 1e3 * median_seconds(network, images[:1], repeats)}
    sizes = [size for size in (8, 32, 128, 256, 512, 1024) if size <= len(images)]
    rates = [size / median_seconds(network, images[:size], 3) for size in sizes or [len(images)]]
    values["throughput"] = max(rates)
    if isinstance(network, VisionTransformer):
        config = network.config
        if config.masked:
            open_config = config.model_copy(update={"attention": "bidirectional"})
            control = quantise(make_network(open_config, seed), data.config.train.quantize)
            control = control.to(device).eval()
            values["latency_bidirectional"] = 1e3 * median_seconds(control, images[:1], repeats)
        size = tokens(network.config)
        causal = sum(kind != "bidirectional" for kind in config.attentions)
        width, layers = config.embed_dim, config.depth
        dense = attention_macs(size, width, causal=False)
        saved = attention_macs(size, width, causal=True)
        values["attention_macs"] = (causal * saved + (layers - causal) * dense) / 1e6
        values["attention_macs_done"] = layers * dense / 1e6
    if device.type == "cuda":
        values["peak_memory"] = torch.cuda.max_memory_allocated(device) / 1e6
    return Findings(values)


def attention_macs(tokens: int, width: int, *, causal: bool) -> int:
    """Multiply-accumulates of one layer's self-attention (paper, Table 2)."""
    projections, scores = 4 * tokens * width**2, tokens**2 * width
    return projections + scores + (tokens**2 // 2 + 1 if causal else tokens**2) * width
