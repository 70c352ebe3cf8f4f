"""Rotary position embedding: queries and keys turn with their position, so that scores depend on
the distance between tokens.
"""

import torch
from torch import Tensor

from illama.config import ModelConfig
from illama.cost import tokens
from illama.scans import order_of


def rotations(config: ModelConfig, dtype: torch.dtype = torch.float32) -> Tensor:
    """Cosine and sine for each position and pair of channels: (N, C / 2, 2), C channels of a head.

    They are on the CPU, so that every device gets the same bits.

    `rope`: positions follow the sequence, the class token included, and the frequencies are
    theta^(-2k / C) (the released code). `rope2d`: the first half of the pairs turns with the
    patch's row, the other with its column, each with theta^(-4k / C); the class token and
    registers, which stand nowhere, are not turned. With `rope_anchor` rows and columns are scaled
    by anchor / side (VisionLLaMA, arXiv 2403.00522, section 3.2).
    """
    head_dim = config.embed_dim // config.num_heads
    with torch.device("cpu"):
        if config.rotates_by_place:
            angles = _angles_of_places(config, head_dim, dtype)  # (N, C / 2)
        else:
            positions = torch.arange(tokens(config), dtype=dtype)
            angles = torch.outer(positions, _frequencies(config.rope_theta, head_dim, dtype))
        return torch.stack((angles.cos(), angles.sin()), dim=-1)


def _angles_of_places(config: ModelConfig, head_dim: int, dtype: torch.dtype) -> Tensor:
    """Angles by row and column: (N, C / 2), 0 for a class token."""
    rows, columns = config.grid
    frequencies = _frequencies(config.rope_theta, head_dim // 2, dtype)
    by_row, by_column = (
        torch.outer(_steps(count, config.rope_anchor, dtype), frequencies) for count in config.grid
    )  # (rows, C / 4), (columns, C / 4)
    angles = torch.cat(
        (by_row.repeat_interleave(columns, 0), by_column.repeat(rows, 1)), dim=1
    )  # (P, C / 2)
    angles = angles[order_of(config.scan, rows, columns)]
    still = torch.zeros(tokens(config) - len(angles), head_dim // 2, dtype=dtype)
    return torch.cat((angles, still) if config.class_token == "last" else (still, angles))


def _steps(count: int, anchor: int | None, dtype: torch.dtype) -> Tensor:
    """Positions of `count` rows or columns, scaled to those of `anchor` where there is one."""
    steps = torch.arange(count, dtype=dtype)
    return steps if anchor is None else steps * (anchor / count)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn neighbouring channels (0, 1), (2, 3), ... as complex numbers, as fine as `rotation` is.

    x: (..., N, C); returns its shape and type.
    """
    pairs = x.to(rotation.dtype).reshape(*x.shape[:-1], x.shape[-1] // 2, 2)  # (..., N, C / 2, 2)
    if torch.compiler.is_compiling():
        # the compiler fuses real numbers only; without it, complex ones take a single pass
        (a, b), (cos, sin) = pairs.unbind(-1), rotation.unbind(-1)
        return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2).type_as(x)
    return (
        torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(rotation))
        .flatten(-2)
        .type_as(x)
    )


def _frequencies(theta: float, channels: int, dtype: torch.dtype) -> Tensor:
    return theta ** (-torch.arange(0, channels, 2, dtype=dtype) / channels)
