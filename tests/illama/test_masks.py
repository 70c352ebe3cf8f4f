"""Masks are what the paper draws."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch

from illama.config.model import AttentionKind
from illama.masks import KINDS, Mask, soften, visible


def test_causal_lets_a_token_see_itself_and_what_is_before() -> None:
    assert visible("causal", 3).tolist() == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_modified_causal_opens_only_the_first_row() -> None:
    assert visible("modified_causal", 3).tolist() == [
        [True, True, True],
        [True, True, False],
        [True, True, True],
    ]


def test_bidirectional_hides_nothing() -> None:
    assert visible("bidirectional", 4).all()


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_the_soft_mask_is_alpha_where_the_mask_hides_and_one_elsewhere(alpha: float) -> None:
    mask = visible("causal", 4)
    soft = soften(mask, alpha)
    assert torch.equal(soft[mask], torch.ones(10))
    assert torch.equal(soft[~mask], torch.full((6,), alpha))


def test_an_additive_mask_holds_logarithms() -> None:
    mask = Mask("causal", "additive", 3)
    assert mask.matrix[0].tolist() == [0, -torch.inf, -torch.inf]
    mask.set_alpha(0.5)
    torch.testing.assert_close(mask.matrix[0].exp(), torch.tensor([1, 0.5, 0.5]))


def test_a_mask_keeps_its_tensor_when_alpha_moves() -> None:
    mask = Mask("causal", "multiplicative", 3)
    before = mask.matrix
    mask.set_alpha(0.25)
    assert mask.matrix is before
    assert before[0, 2] == 0.25


def test_settings_know_every_kind_of_mask() -> None:
    assert set(get_args(AttentionKind)) == KINDS.keys()


@pytest.mark.parametrize("make", [visible, lambda kind, tokens: Mask(kind, "additive", tokens)])
def test_a_kind_that_is_not_there_is_refused(make: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="'sliding_window'; allowed: bidirectional, causal, mod"):
        make("sliding_window", 4)
