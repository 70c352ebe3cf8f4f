"""Pictures are those of timm and torchvision, whatever kind of file they come from."""

import importlib
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")

from illama.config.train import TrainConfig, parse_rand_augment  # noqa: E402
from illama.data import transforms  # noqa: E402  needs Pillow


@pytest.fixture
def picture() -> Any:
    return Image.fromarray(np.random.RandomState(1).randint(256, size=(24, 40, 3)).astype(np.uint8))


def test_of_sixteen_bits_the_upper_eight_are_kept(tmp_path: Path) -> None:
    grey = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    read = np.asarray(transforms.read_image(tmp_path / "grey.png"))
    assert (read == np.arange(256).reshape(16, 16, 1)).all()


def test_transparent_colours_of_a_palette_are_read_without_a_warning(
    tmp_path: Path, picture: Any
) -> None:
    palette = picture.quantize(16)
    palette.save(tmp_path / "palette.png", transparency=bytes(range(0, 256, 16)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (
            transforms.read_image(tmp_path / "palette.png").tobytes()
            == palette.convert("RGB").tobytes()
        )


def test_a_camera_s_note_how_to_turn_it_is_not_read(tmp_path: Path, picture: Any) -> None:
    note = Image.Exif()
    note[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=note)
    assert transforms.read_image(tmp_path / "turned.png").tobytes() == picture.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: Image.new("1", (20_000, 20_000)).save(path), "exceeds limit"),
        (
            lambda path: Image.fromarray(np.zeros((4, 4), np.float32)).save(path, "TIFF"),
            "pixels are 32-bit numbers",
        ),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_bytes(b""), "cannot identify image"),
    ],
)
def test_what_is_no_picture_is_named(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / "strange.png")
    with pytest.raises(ValueError, match=rf"strange\.png cannot be read as an image: .*{message}"):
        transforms.read_image(tmp_path / "strange.png")


@pytest.mark.parametrize(
    ("size", "resized", "corner"),
    [
        ((100, 67), (53, 36), (10, 2)),
        ((67, 100), (36, 53), (2, 10)),
        ((131, 85), (55, 36), (12, 2)),
        ((36, 36), (36, 36), (2, 2)),
    ],
)
def test_validation_pictures_are_torchvision_s(
    size: tuple[int, int], resized: tuple[int, int], corner: tuple[int, int]
) -> None:
    """Resize(36) cuts the longer side's fraction off, and CenterCrop(32) rounds half to even."""
    picture = Image.fromarray(
        np.random.RandomState(2).randint(256, size=(*size[::-1], 3)).astype(np.uint8)
    )
    left, top = corner
    expected = picture.resize(resized, Image.Resampling.BICUBIC).crop(
        (left, top, left + 32, top + 32)
    )
    assert transforms.for_validation(picture, 32).tobytes() == expected.tobytes()


def test_from_384_on_the_whole_picture_is_warped(picture: Any) -> None:
    expected = picture.resize((384, 384), Image.Resampling.BICUBIC)
    assert transforms.for_validation(picture, 384).tobytes() == expected.tobytes()


def test_a_random_crop_sees_nothing_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.new("RGB", (40, 40), "white")
    picture.paste("black", (5, 5, 25, 25))
    monkeypatch.setattr(transforms, "_crop_box", lambda width, height, random: (5, 5, 25, 25))
    recipe = TrainConfig(epochs=1, batch_size=1, lr=1, random_resized_crop=True)
    view = transforms.for_training(picture, 16, recipe, np.random.RandomState(0))
    assert view.size == (16, 16)
    assert not np.asarray(view).any()


def test_posterize_keeps_down_to_no_bit(picture: Any) -> None:
    for bits in range(1, 9):
        assert (
            transforms.posterize(picture, bits).tobytes()
            == ImageOps.posterize(picture, bits).tobytes()
        )
    assert not np.asarray(transforms.posterize(picture, 0)).any()
    strongest = [operation(picture, 1.0, 1) for operation in transforms.OPERATIONS]
    assert sum(not np.asarray(changed).any() for changed in strongest) == 1, (
        "timm's increasing posterize is black at magnitude 10"
    )


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("rand-m9-mstd0.5-inc1", (9, 2, 0.5, True)),
        ("rand-m8-inc1-mstd0.5", (8, 2, 0.5, True)),
        ("rand-m9-mstd0.5", (9, 2, 0.5, False)),
        ("rand-n3-m7.5", (7.5, 3, 0, False)),
        ("rand-inc1-mstd101-m9", (9, 2, 101, True)),
    ],
)
def test_the_parts_of_a_policy_come_in_any_order(
    policy: str, expected: tuple[float, int, float, bool]
) -> None:
    assert parse_rand_augment(policy) == expected


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ("strong", "'strong' is not rand"),
        ("rand-mstd0.5", "the magnitude is missing"),
        ("rand-m9-m8", "m is there twice"),
        ("rand-m9-w0", "'w0' is not allowed in it"),
        ("rand-m9-inc0", "'inc0' is not inc1; timm takes any other number for 1 as well"),
        ("rand-m9-n0", "'n0' is not n and how many"),
        ("rand-m9-mstd", "'mstd' is not mstd and a deviation"),
    ],
)
def test_what_is_no_policy_is_told_with_the_part(policy: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        parse_rand_augment(policy)


def test_a_deviation_above_100_draws_magnitudes_evenly(
    picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: list[float] = []

    def note(image: Any, level: float, sign: int) -> Any:
        levels.append(10 * level)
        return image

    monkeypatch.setattr(transforms, "OPERATIONS", (note,))
    for seed in range(400):
        transforms.rand_augment(picture, "rand-m8-mstd101-inc1", np.random.RandomState(seed))
    assert np.quantile(levels, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx([0, 2, 4, 6, 8], abs=0.7)


def test_without_inc1_a_larger_magnitude_posterizes_less(picture: Any) -> None:
    increasing, other = transforms.OPERATIONS[4], transforms.NOT_INCREASING[4]
    assert increasing(picture, 0.25, 1).tobytes() == other(picture, 0.75, 1).tobytes()
    darker, brighter = (transforms.NOT_INCREASING[9](picture, level, 1) for level in (0.0, 1.0))
    assert np.asarray(darker).mean() < np.asarray(picture).mean() < np.asarray(brighter).mean()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What timm is asked for, by a timm that is none."""
    asked: dict[str, Any] = {}
    augment = types.SimpleNamespace(NAME_TO_OP={})

    def create_transform(size: int, **options: Any) -> Callable[..., torch.Tensor]:
        asked.update(options)
        return lambda image: torch.zeros(3, size, size)

    data = types.ModuleType("timm.data")
    vars(data).update(auto_augment=augment, create_transform=create_transform)
    monkeypatch.setitem(sys.modules, "timm", types.ModuleType("timm"))
    monkeypatch.setitem(sys.modules, "timm.data", data)
    monkeypatch.delitem(sys.modules, "illama.data.timm_transforms", raising=False)
    yield asked
    sys.modules.pop("illama.data.timm_transforms", None)


@pytest.mark.parametrize("aa", [None, "rand-m9-mstd0.5"])
def test_timm_is_asked_for_no_more_than_the_recipe_says(
    asked: dict[str, Any], aa: str | None, picture: Any
) -> None:
    view = importlib.import_module("illama.data.timm_transforms").view
    recipe = TrainConfig(epochs=1, batch_size=1, lr=1, random_resized_crop=True, aa=aa)
    view(picture, 16, recipe, 0)
    assert (asked["auto_augment"], asked["color_jitter"]) == (aa, None)


def test_timm_leaves_a_grey_picture_grey_as_our_own_code_does() -> None:
    timm = pytest.importorskip("illama.data.timm_transforms", exc_type=ImportError)
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    recipe = TrainConfig(epochs=1, batch_size=1, lr=1, random_resized_crop=True)
    means = [timm.view(grey, 32, recipe, seed).mean().item() for seed in range(20)]
    assert np.std(means) < 1e-6
