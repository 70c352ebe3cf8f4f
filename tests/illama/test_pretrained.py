"""Released files load, at any resolution; wrong ones are refused by name; nothing in a file can
run.
"""

import argparse
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import illama
from illama.config import ModelConfig, with_preset
from illama.weights.pretrained import (
    export_weights,
    interpolate_positions,
    load_weights,
    read_weights,
)


def tiny(**settings: Any) -> Any:
    return illama.create_model("illama_tiny", **{"depth": 1, "num_classes": 10, **settings})


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A file as the authors' `save_model` writes it; their schedules are arrays, so the
    optimiser's rates are numpy's.
    """
    model = tiny()
    rates = {
        "lr": np.linspace(0, 4e-3, 5)[3] * 1.0,
        "weight_decay": np.full(2, 0.05)[1],
        "lr_scale": 1.0,
    }
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [rates]}
    args = argparse.Namespace(
        model="illama_tiny", lr=4e-3, data_path="/somewhere", nested=[1, None]
    )
    average = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer,
        "epoch": 299,
        "scaler": {"scale": 65536.0},
        "args": args,
    }
    path = tmp_path / "released.pth"
    torch.save(content | {"model_ema": average}, path)
    return path


def test_a_released_file_with_its_command_line_inside_loads(released: Path) -> None:
    model = tiny(checkpoint_path=released)
    saved = read_weights(released)
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())


def test_a_released_file_may_be_written_by_an_older_numpy(released: Path) -> None:
    with zipfile.ZipFile(released) as file:
        content = {name: file.read(name) for name in file.namelist()}
    pickled = next(name for name in content if name.endswith("data.pkl"))
    assert b"numpy._core.multiarray" in content[pickled] or np.__version__ < "2"
    content[pickled] = content[pickled].replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    with zipfile.ZipFile(released, "w") as file:
        for name, part in content.items():
            file.writestr(name, part)
    assert tiny(checkpoint_path=released).state_dict().keys() == read_weights(released).keys()


def test_export_is_what_the_authors_read(released: Path, tmp_path: Path) -> None:
    model = tiny(checkpoint_path=released)
    export_weights(model, tmp_path / "exported.pth")
    exported = torch.load(tmp_path / "exported.pth", weights_only=True)["model"]
    assert exported.keys() == read_weights(released).keys()
    assert all(torch.equal(exported[name], value) for name, value in read_weights(released).items())


def test_another_resolution_interpolates_patches_and_keeps_the_class_token(released: Path) -> None:
    model = tiny(img_size=384, checkpoint_path=released)
    before = read_weights(released)["pos_embed"]
    assert model.pos_embed.shape == (1, 577, 192)
    assert torch.equal(model.pos_embed[:, -1], before[:, -1])
    grid = before[:, :-1].reshape(1, 14, 14, 192).permute(0, 3, 1, 2)
    expected = (
        torch.nn.functional.interpolate(grid, (24, 24), mode="bicubic")
        .permute(0, 2, 3, 1)
        .flatten(1, 2)
    )
    torch.testing.assert_close(model.pos_embed[:, :-1].detach(), expected)


@pytest.mark.parametrize(("class_token", "row"), [("first", 0), ("last", -1), ("none", None)])
def test_the_class_tokens_row_is_where_the_model_has_it(class_token: str, row: int | None) -> None:
    config = ModelConfig.model_validate(
        with_preset({"name": "vit_digits", "class_token": class_token, "img_size": 12})
    )
    embedding = torch.ones(1, 16 + (row is not None), 64)
    if row is not None:
        embedding[:, row] = 7
    stretched = interpolate_positions(embedding, config)
    assert stretched.shape == (1, 36 + (row is not None), 64)
    assert [index for index in range(stretched.shape[1]) if stretched[0, index, 0] > 2] == (
        [] if row is None else [row % stretched.shape[1]]
    )


def test_a_wrong_file_is_refused_naming_the_tensors(released: Path) -> None:
    with pytest.raises(ValueError, match=r"blocks\.1\.attn\.proj\.bias is missing"):
        tiny(depth=2, checkpoint_path=released)
    with pytest.raises(
        ValueError, match=r"mlp\.fc1\.bias is missing.*mlp\.fc3\.weight is not part of it"
    ):
        tiny(feed_forward="gelu", checkpoint_path=released)
    with pytest.raises(ValueError, match=r"head\.weight is \(10, 192\) instead of \(1000, 192\)"):
        tiny(num_classes=1000, checkpoint_path=released)


class Harm:
    def __reduce__(self) -> Any:
        return os.system, ("echo harm",)


def test_a_file_that_wants_to_run_a_program_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": tiny().state_dict(), "args": Harm()}, tmp_path / "harm.pth")
    with pytest.raises(
        ValueError, match=r"cannot be read as weights: unsupported GLOBAL (?!.*weights_only)"
    ):
        tiny(checkpoint_path=tmp_path / "harm.pth")
    assert "harm" not in capfd.readouterr().out


def test_what_else_is_refused_comes_without_advice_to_run_it(tmp_path: Path) -> None:
    torch.save({"model": tiny().state_dict(), "args": np.ones(3)}, tmp_path / "array.pth")
    with pytest.raises(
        ValueError, match=r"Unsupported global: .* not an allowed global by default$"
    ):
        tiny(checkpoint_path=tmp_path / "array.pth")


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", b"\x80\x02.", b"\x80\x02h\x01.", None]
)
def test_what_holds_no_weights_says_so(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "file.pth"
    torch.save({"model": 3}, path) if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=r"file\.pth (cannot be read as weights|has no weights)"):
        load_weights(tiny(), path)


def test_the_average_in_a_released_file_can_be_had(released: Path) -> None:
    model = tiny(checkpoint_path=released, use_ema=True)
    assert all(not value.any() for value in model.state_dict().values())
    assert all(not value.any() for value in read_weights(released, use_ema=True).values())
