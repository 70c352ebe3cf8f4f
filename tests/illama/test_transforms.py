"""Pictures are those of timm and torchvision, whatever kind of file they come from."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")

from illama.config.train import TrainConfig  # noqa: E402
from illama.data import transforms  # noqa: E402  needs Pillow


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.RandomState(1).randint(256, size=(24, 40, 3)).astype(np.uint8))


def test_of_sixteen_bits_the_upper_eight_are_kept(tmp_path: Path) -> None:
    grey = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    read = np.asarray(transforms.read_image(tmp_path / "grey.png"))
    assert (read == np.arange(256).reshape(16, 16, 1)).all()


def test_transparent_colours_of_a_palette_are_read_without_a_warning(
    tmp_path: Path, picture: Image.Image
) -> None:
    palette = picture.quantize(16)
    palette.save(tmp_path / "palette.png", transparency=bytes(range(0, 256, 16)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (
            transforms.read_image(tmp_path / "palette.png").tobytes()
            == palette.convert("RGB").tobytes()
        )


def test_a_camera_s_note_how_to_turn_it_is_not_read(tmp_path: Path, picture: Image.Image) -> None:
    note = Image.Exif()
    note[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=note)
    assert transforms.read_image(tmp_path / "turned.png").tobytes() == picture.tobytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: Image.new("1", (20_000, 20_000)).save(path), "exceeds limit"),
        (
            lambda path: Image.fromarray(np.zeros((4, 4), np.float32)).save(path, "TIFF"),
            "pixels are numbers of 32 bits",
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


def test_from_384_on_the_whole_picture_is_warped(picture: Image.Image) -> None:
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


def test_posterize_keeps_down_to_no_bit(picture: Image.Image) -> None:
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
