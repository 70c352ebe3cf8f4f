"""Cue-conflict images: their published layout, their 16 classes, and the decisions made on them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_measure_networks import CPU, FewDigits, _network
from torch import Tensor, nn

from illama.data.cue_conflict import CATEGORIES, imagenet_classes, read
from illama.measures.shape_texture import decision, shape_texture

LISTS = {category: [10 * number, 10 * number + 1] for number, category in enumerate(CATEGORIES)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One image a class in the published layout, with the texture of the next class, and the
    lists.
    """
    for number, shape in enumerate(CATEGORIES):
        texture = CATEGORIES[(number + 1) % 16]
        (tmp_path / shape).mkdir()
        picture = Image.new("RGB", (16, 16), (10 * number, 0, 0))
        picture.save(tmp_path / shape / f"{shape}7-{texture}10.png")
    lists = "".join(f"    {name}_indices = {found}\n" for name, found in LISTS.items())
    source = f"import nowhere\n\nclass HumanCategories(object):\n{lists}"
    (tmp_path / "human_categories.py").write_text(source, "utf-8")
    return tmp_path


def test_a_file_s_name_says_shape_and_texture(folder: Path) -> None:
    pictures = read(folder)
    assert [picture.shape for picture in pictures] == list(range(16))
    assert [picture.texture for picture in pictures] == [*range(1, 16), 0]
    assert pictures[7].path.name == "cat7-chair10.png"


@pytest.mark.parametrize("name", ["cat1.png", "dog1-cat1.png", "cat1-zebra1.png"])
def test_a_file_of_another_name_is_refused(folder: Path, name: str) -> None:
    (folder / "cat" / name).write_bytes(b"")
    with pytest.raises(ValueError, match=rf"{name} should be called cat<number>-"):
        read(folder)


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="airplane is missing: cue-conflict images are"):
        read(tmp_path)


def test_the_16_classes_are_read_and_nothing_is_run(folder: Path) -> None:
    assert imagenet_classes(folder / "human_categories.py") == list(LISTS.values())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("airplane_indices = [404]", "has no list bear_indices"),
        ("airplane_indices = list(x)", "airplane_indices in .* is not a plain list"),
        ("airplane_indices = [1000]", "numbers from 0 to 999"),
        ("airplane_indices = []", "numbers from 0 to 999"),
        ("airplane_indices = [", "is not a Python file"),
    ],
)
def test_lists_of_another_form_are_refused(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "lists.py").write_text(source, "utf-8")
    with pytest.raises(ValueError, match=message):
        imagenet_classes(tmp_path / "lists.py")
    with pytest.raises(FileNotFoundError, match=r"read from human_categories\.py"):
        imagenet_classes(tmp_path / "none.py")


def test_the_mean_probability_decides_and_not_the_sum() -> None:
    probabilities = np.zeros(1000)
    probabilities[[0, 1, 2]] = 0.2
    probabilities[5] = 0.3
    assert decision(probabilities, [[0, 1, 2], [5]]) == 1
    with pytest.raises(ValueError, match="the network has 10"):
        decision(np.ones(10), [[0], [1]])


class ByRed(nn.Module):
    """Network that knows a picture of the fixture by its amount of red: it decides for the
    shape.
    """

    def forward(self, images: Tensor) -> Tensor:
        red = (images[:, 0].mean(dim=(1, 2)) * 0.229 + 0.485) * 255  # undoes the normalisation
        number = (red / 10).round().long()
        return 9 * nn.functional.one_hot(10 * number, 1000).float()


def test_a_network_that_sees_shapes_decides_by_them(folder: Path) -> None:
    found = shape_texture(ByRed(), FewDigits(), CPU, 0, folder=str(folder))
    assert found.values == {"shape_share": 100, "by_shape": 100, "by_texture": 0}


@pytest.mark.parametrize("options", [{}, {"load": "mine:f", "folder": "there"}])
def test_images_come_from_one_place(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="from one source: name a function that returns images"):
        shape_texture(_network(), FewDigits(), torch.device("cpu"), 0, **options)
