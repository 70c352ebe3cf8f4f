"""Rotations make scores depend on distance: along the sequence, or in rows and columns."""

import pytest
import torch
from torch import Tensor

from illama.config import ModelConfig, with_preset
from illama.rotary import rotate, rotations


def config(position: str, class_token: str = "last") -> ModelConfig:
    return ModelConfig.model_validate(
        with_preset({"name": "vit_digits", "position": position, "class_token": class_token})
    )


def scores(rotation: Tensor) -> Tensor:
    """Of one query and one key content, at every pair of positions: (N, N)."""
    q, k = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    rotated_q, rotated_k = (rotate(x.expand(len(rotation), 16), rotation) for x in (q, k))
    return rotated_q @ rotated_k.T


def test_rope_scores_depend_on_the_distance_alone() -> None:
    table = scores(rotations(config("rope")))
    for distance in range(len(table)):
        diagonal = table.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5, rtol=1e-5)


def test_rope2d_scores_depend_on_the_distance_in_rows_and_columns() -> None:
    table = scores(rotations(config("rope2d"))[:16]).reshape(
        4, 4, 4, 4
    )  # (row, column) of query and of key
    torch.testing.assert_close(table[0, 0, 2, 1], table[1, 2, 3, 3])
    assert (table[0, 0, 2, 1] - table[0, 0, 1, 2]).abs() > 1e-3


@pytest.mark.parametrize(("class_token", "place"), [("first", 0), ("last", -1)])
def test_rope2d_does_not_turn_the_class_token(class_token: str, place: int) -> None:
    rotation = rotations(config("rope2d", class_token))
    assert (rotation[place] == torch.tensor([1.0, 0.0])).all()
    assert len(rotations(config("rope2d", "none"))) == 16


def test_real_and_complex_arithmetic_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rotation, x = (
        rotations(config("rope")),
        torch.randn(2, 4, 17, 16, generator=torch.Generator().manual_seed(0)),
    )
    turned = rotate(x, rotation)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(rotate(x, rotation), turned)


def test_pairs_are_neighbouring_channels() -> None:
    x = torch.zeros(17, 16)
    x[..., 0] = 1
    turned = rotate(x, rotations(config("rope")))
    assert turned[1, :2].tolist() == pytest.approx([0.5403023, 0.8414710])  # cos 1, sin 1
    assert not turned[..., 2:].any()
