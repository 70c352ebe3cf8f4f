"""Measures of a trained network beyond its accuracy: calibration, rank of attention, robustness.

A measure is a function of a network, its data, a device and a seed, which returns numbers by name
and, where it likes, pictures. Each built-in one is a file here and a line in
`illama.measures.registry`. A measure of a user is named `module:function`. `illama.measures.run`
runs one on a checkpoint.

Importing this package or any measure does not import torch: a plan reads their options.
"""

from illama.measures.base import OWN_BLOCKS, Findings, Quantity, quantities
from illama.measures.offered import has_attention_maps
from illama.measures.registry import (
    MEASURES,
    Request,
    labelled,
    missing_data,
    needs_of,
    read_request,
)

__all__ = [
    "MEASURES",
    "OWN_BLOCKS",
    "Findings",
    "Quantity",
    "Request",
    "has_attention_maps",
    "labelled",
    "missing_data",
    "needs_of",
    "quantities",
    "read_request",
]
