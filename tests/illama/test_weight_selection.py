"""Weights selected from a larger model keep heads and rotary pairs whole."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import illama
from illama.config.train import InitConfig
from illama.model import VisionTransformer
from illama.rotary import rotate
from illama.weights.pretrained import start_from
from illama.weights.weight_selection import from_llama, select_weights


def llama(depth: int, width: int, heads: int, hidden: int) -> dict[str, Tensor]:
    """Random blocks in Hugging Face's names and order of channels."""
    generator = torch.Generator().manual_seed(0)
    shapes = {f"self_attn.{part}_proj": (width, width) for part in "qkvo"}
    shapes |= {
        "mlp.gate_proj": (hidden, width),
        "mlp.up_proj": (hidden, width),
        "mlp.down_proj": (width, hidden),
    }
    weights = {"model.embed_tokens.weight": torch.zeros(7, width)}
    for block in range(depth):
        for name, shape in shapes.items():
            weights[f"model.layers.{block}.{name}.weight"] = torch.randn(shape, generator=generator)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{block}.{name}.weight"] = torch.randn(width, generator=generator)
    return weights


def small(**settings: object) -> VisionTransformer:
    shape = {"embed_dim": 16, "num_heads": 2, "depth": 2, "multiple_of": 8, **settings}
    return illama.create_model("illama_digits", **shape)


def hugging_face_scores(q: Tensor, k: Tensor) -> Tensor:
    """Rotary scores as that library computes them: pairs are channels i and i + C / 2. q, k: (N,
    C).
    """
    count, width = q.shape
    frequencies = 10000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.outer(torch.arange(count), frequencies).repeat(1, 2)

    def turn(x: Tensor) -> Tensor:
        rotated = torch.cat((-x[:, width // 2 :], x[:, : width // 2]), dim=1)
        return x * angles.cos() + rotated * angles.sin()

    return turn(q) @ turn(k).T


def test_q_and_k_score_as_in_the_source() -> None:
    source = llama(depth=1, width=16, heads=2, hidden=48)
    model = small(depth=1, multiple_of=48)
    select_weights(model, from_llama(source, num_heads=2), source_heads=2)
    x = torch.randn(17, 16, generator=torch.Generator().manual_seed(1))
    qkv = x @ model.blocks[0].attn.qkv.weight.T
    ours = rotate(
        qkv.reshape(17, 3, 2, 8).permute(1, 2, 0, 3), model.rotation
    )  # (q, k and v; heads; tokens; channels)
    for head in range(2):
        rows = slice(8 * head, 8 * head + 8)
        q, k = (
            x @ source[f"model.layers.0.self_attn.{part}_proj.weight"].T[:, rows] for part in "qk"
        )
        torch.testing.assert_close(
            ours[0, head] @ ours[1, head].T, hugging_face_scores(q, k), atol=1e-4, rtol=1e-4
        )


def test_smaller_heads_get_whole_pairs_with_their_own_frequencies() -> None:
    width, heads = 64, 2  # heads of 32 channels for heads of 8: every fourth pair
    marked = torch.arange(width).float()[:, None].expand(width, width)  # every row says its number
    ours = {
        name: value
        for name, value in from_llama(llama(2, width, heads, 192), heads).items()
        if not name.endswith("qkv.weight")
    }
    ours |= {
        f"blocks.{block}.attn.qkv.weight": torch.cat((marked, marked, marked)) for block in range(2)
    }
    model = small()
    filled = select_weights(model, ours, source_heads=heads)
    rows = model.blocks[0].attn.qkv.weight[:, 0].reshape(3, 2, 8).tolist()
    assert rows[0] == rows[1] == [[0, 1, 8, 9, 16, 17, 24, 25], [32, 33, 40, 41, 48, 49, 56, 57]]
    assert rows[2] == [[0, 4, 8, 12, 16, 20, 24, 28], [32, 36, 40, 44, 48, 52, 56, 60]]
    assert {name.split(".", 2)[2] for name in filled} == {
        *("norm1.weight", "norm2.weight", "attn.qkv.weight", "attn.proj.weight"),
        *("mlp.fc1.weight", "mlp.fc2.weight", "mlp.fc3.weight"),
    }


def test_the_output_projection_takes_the_channels_that_v_brings() -> None:
    width, heads = 64, 2
    source = from_llama(llama(2, width, heads, 192), heads)
    source["blocks.0.attn.proj.weight"] = torch.arange(width).float().expand(width, width)
    model = small()
    select_weights(model, source, source_heads=heads)
    assert model.blocks[0].attn.proj.weight[0].tolist() == [*range(0, 32, 4), *range(32, 64, 4)]


def test_a_larger_model_of_ours_is_a_source_too() -> None:
    large, model = small(embed_dim=32, depth=3), small()
    before = model.head.weight.clone()
    filled = select_weights(model, large.state_dict(), source_heads=2)
    assert "blocks.1.attn.qkv.bias" in filled
    assert torch.equal(model.blocks[1].mlp.fc1.weight[0], large.blocks[1].mlp.fc1.weight[0, ::2])
    assert torch.equal(model.head.weight, before)


def test_a_source_that_is_too_small_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"no blocks\.1\.norm1\.weight: it needs at least 2 blocks"
    ):
        select_weights(small(), small(depth=1).state_dict(), source_heads=2)
    with pytest.raises(
        ValueError, match=r"has 16 elements in dimension 0 of the source, but the model needs 32"
    ):
        select_weights(small(embed_dim=32), small().state_dict(), source_heads=2)


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        (3, "cannot be split into that many heads"),
        (32, "heads of even width"),
        (1, "1 heads of 32 channels"),
    ],
)
def test_heads_that_the_source_cannot_have_are_refused(heads: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_weights(small(), small(embed_dim=32).state_dict(), source_heads=heads)


def test_training_starts_from_the_first_part_of_a_llama_that_is_kept_in_several(
    tmp_path: Path,
) -> None:
    source = llama(depth=3, width=32, heads=4, hidden=96)
    del source["model.layers.2.self_attn.v_proj.weight"]  # where the part ends
    torch.save(source, tmp_path / "pytorch_model-00001-of-00002.bin")
    model, expected = small(), small()
    select_weights(expected, from_llama(source, 4), 4)
    start_from(
        model, InitConfig(checkpoint="pytorch_model-00001-of-00002.bin", source_heads=4), tmp_path
    )
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value) or name.split(".")[0] != "blocks"
    with pytest.raises(ValueError, match=r"no blocks\.2\.norm1\.weight"):
        start_from(
            small(depth=3),
            InitConfig(checkpoint="pytorch_model-00001-of-00002.bin", source_heads=4),
            tmp_path,
        )


def test_grouped_queries_are_refused() -> None:
    weights = llama(1, 16, 2, 48)
    weights["model.layers.0.self_attn.k_proj.weight"] = torch.zeros(8, 16)
    with pytest.raises(ValueError, match="grouped queries are not supported"):
        from_llama(weights, num_heads=2)
