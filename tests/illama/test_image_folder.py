"""Image folders train end to end, with worker processes, and say which file is wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from illama.__main__ import main as illama_command
from illama.config import Config, DataConfig, RuntimeConfig
from illama.data import image_folder
from illama.data.datasets import dataset_digest
from illama.training.loader import make_loader
from illama.training.trainer import train

Image = pytest.importorskip("PIL.Image")
Build = Callable[..., Config]
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, red and blue, in pictures of different sizes and formats."""
    random = np.random.RandomState(0)
    for part, count in (("train", 16), ("val", 6)):
        for channel, name in ((0, "red"), (2, "blue")):
            (tmp_path / "colours" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.randint(60, size=(20 + number, 30, 3)).astype(np.uint8)
                pixels[:, :, channel] += 150
                suffix = "png" if number % 2 else "JPEG"
                Image.fromarray(pixels).save(
                    tmp_path / "colours" / part / name / f"{number}.{suffix}"
                )
    return tmp_path


def config(small_config: Build, **changes: Any) -> Config:
    settings = {
        "data": {"name": "image_folder", "folder": "colours"},
        "model.img_size": 16,
        "model.patch_size": 8,
    }
    settings |= {
        "model.in_chans": 3,
        "model.num_classes": 2,
        "train.batch_size": 8,
        "train.epochs": 4,
    }
    augmented = {
        "train.random_resized_crop": True,
        "train.hflip": 0.5,
        "train.aa": "rand-m9-mstd0.5-inc1",
        "train.reprob": 0.25,
    }
    return small_config(
        {
            **settings,
            **augmented,
            **{key.replace("__", "."): value for key, value in changes.items()},
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_trains_end_to_end(folder: Path, small_config: Build, workers: int) -> None:
    plain = config(small_config, train__aa=None, train__epochs=8)
    runtime = RuntimeConfig(device="cpu", data_dir=folder, data_workers=workers)
    result = train(plain, runtime=runtime, log_metrics=lambda metrics, iteration: None)
    assert result.final["val/acc1"] == 100


@pytest.mark.slow
def test_the_commands_train_on_a_folder(
    folder: Path,
    cli: Callable[..., Any],
    write_spec: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = {"name": "vit_digits", "embed_dim": 16, "depth": 2, "num_heads": 2}
    model |= {"img_size": 16, "patch_size": 8, "in_chans": 3, "num_classes": 2}
    recipe = {
        "epochs": 8,
        "batch_size": 8,
        "lr": 3e-3,
        "random_resized_crop": True,
        "hflip": 0.5,
        "reprob": 0.25,
    }
    settings = {
        "model": model,
        "data": {"name": "image_folder", "folder": "colours"},
        "train": recipe,
    }
    (folder / "recipe.yaml").write_text(json.dumps(settings))
    command = [
        "train",
        str(folder / "recipe.yaml"),
        "runtime.data_workers=1",
        f"runtime.data_dir={folder}",
        "--device",
        "cpu",
    ]
    assert illama_command([*command, "--output", str(folder / "out")]) == 0
    printed = capfd.readouterr().out
    assert [json.loads(line)["epoch"] for line in printed.splitlines()[:-1]] == list(range(1, 9))
    assert json.loads(printed.splitlines()[-2])["val/acc1"] == 100

    runtime = {"device": "cpu", "data_dir": str(folder)}
    spec = write_spec(baseline=settings, runtime=runtime)
    assert (
        cli("run", spec, "--store", folder / "runs", "--executor", "local", "--no-tracking").code
        == 0
    )
    [step] = cli("report", spec, "--store", folder / "runs", "--format", "json").json["steps"]
    assert (step["outcomes"], step["mean"]) == ({"finished": 1}, 100)


@pytest.mark.slow
def test_pictures_do_not_depend_on_workers_or_on_where_an_epoch_is_entered(
    folder: Path, small_config: Build
) -> None:
    settings = config(small_config)
    alone = make_loader(settings, RuntimeConfig(data_dir=folder), CPU)
    helped = make_loader(settings, RuntimeConfig(data_dir=folder, data_workers=2), CPU)
    whole = list(alone.batches(epoch=3, first=0))
    assert len(whole) == 4
    for expected, found in zip(whole[2:], helped.batches(epoch=3, first=2), strict=True):
        assert torch.equal(expected[0], found[0])
        assert torch.equal(expected[1], found[1])
    assert not torch.equal(next(alone.batches(epoch=4, first=0))[0], whole[0][0])


def test_validation_pictures_come_in_order_and_unchanged(folder: Path, small_config: Build) -> None:
    ((images, labels),) = make_loader(
        config(small_config), RuntimeConfig(data_dir=folder), CPU
    ).held_out("val")
    assert labels.tolist() == [0] * 6 + [1] * 6
    assert images.shape == (12, 3, 16, 16)
    assert (images[:6, 2].mean(dim=(1, 2)) > images[:6, 0].mean(dim=(1, 2))).all()


def test_a_damaged_picture_is_named(folder: Path, small_config: Build) -> None:
    path = folder / "colours" / "train" / "red" / "3.png"
    path.write_bytes(path.read_bytes()[:100])
    runtime = RuntimeConfig(device="cpu", data_dir=folder)
    with pytest.raises(ValueError, match=r"3\.png cannot be read as an image"):
        train(config(small_config), runtime=runtime, log_metrics=lambda metrics, iteration: None)


def test_a_damaged_picture_is_named_in_a_sentence_by_a_worker_process_too(
    folder: Path, small_config: Build
) -> None:
    (folder / "colours" / "val" / "red" / "3.png").write_bytes(b"no picture")
    loader = make_loader(config(small_config), RuntimeConfig(data_dir=folder, data_workers=1), CPU)
    with pytest.raises(ValueError, match="cannot be read as an image") as caught:
        list(loader.held_out("val"))
    assert str(caught.value).startswith(str(folder / "colours" / "val" / "red" / "3.png"))
    assert "\n" not in str(caught.value)


def test_images_are_listed_in_order_wherever_they_lie_below_their_class(folder: Path) -> None:
    root = folder / "colours"
    deeper = root / "train" / "red" / "more" / "still more"
    deeper.mkdir(parents=True)
    (root / "train" / "red" / "0.JPEG").rename(deeper / "ä.JPG")
    (root / "train" / "blue").rename(folder / "elsewhere")
    (root / "train" / "blue").symlink_to(folder / "elsewhere")
    found = image_folder.read(root)
    train, val, names = found.parts["train"], found.parts["val"], found.classes
    assert names == ["blue", "red"]
    paths = [train.path(index) for index in range(len(train))]
    assert paths == sorted(paths)
    assert deeper / "ä.JPG" in paths
    assert all(path.is_file() for path in paths)
    assert (
        train.labels.tolist()
        == [0] * 16 + [1] * 16
        == [names.index(path.relative_to(root / "train").parts[0]) for path in paths]
    )
    assert len(val) == 12


def test_what_a_file_manager_leaves_behind_is_not_seen(folder: Path) -> None:
    data, root = DataConfig(name="image_folder", folder="colours"), folder / "colours"
    before, listed = dataset_digest(data, folder), image_folder.read(root).parts["train"].names
    (root / ".DS_Store").write_bytes(b"strange")
    (root / "train" / ".ipynb_checkpoints").mkdir()
    (root / "train" / "red" / "._1.png").write_bytes(b"strange")
    (root / "train" / "red" / "Thumbs.db").write_bytes(b"strange")
    (root / "train" / "red" / ".hidden").mkdir()
    (root / "train" / "red" / ".hidden" / "2.png").write_bytes(b"strange")
    assert dataset_digest(data, folder) == before
    assert image_folder.read(root).parts["train"].names == listed


def test_a_folder_for_the_report_is_used_where_it_is_asked_for(
    folder: Path, small_config: Build
) -> None:
    root = folder / "colours"
    plain = DataConfig(name="image_folder", folder="colours")
    asked = DataConfig(name="image_folder", folder="colours", test="official")
    before = dataset_digest(plain, folder)
    with pytest.raises(FileNotFoundError, match=r"with data.test: official also test/<class>"):
        dataset_digest(asked, folder)
    shutil.copytree(root / "val", root / "test")
    shutil.rmtree(root / "val")
    shutil.copytree(root / "train", root / "val")
    assert "test" not in image_folder.read(root).parts
    runtime = RuntimeConfig(data_dir=folder)
    settings = config(small_config)
    with_test = settings.model_copy(update={"data": asked})
    loader = make_loader(with_test, runtime, CPU)
    assert (make_loader(settings, runtime, CPU).parts, loader.parts) == (("val",), ("val", "test"))
    counts = {part: sum(len(y) for _, y in loader.held_out(part)) for part in loader.parts}
    assert counts == {"val": 32, "test": 12}
    assert dataset_digest(asked, folder) not in (dataset_digest(plain, folder), before)
    shutil.rmtree(root / "test" / "red")
    with pytest.raises(ValueError, match="has no folder for the class red"):
        image_folder.read(root, test=True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda root: [path.unlink() for path in (root / "train" / "red").iterdir()],
            r"train.red is empty",
        ),
        (
            lambda root: (root / "val" / "red").rename(root / "elsewhere"),
            r"val has no folder for the class red",
        ),
        (
            lambda root: (root / "val" / "green").mkdir(),
            r"val.green is a class that .*train does not have",
        ),
        (lambda root: (root / "train").rename(root / "elsewhere"), r"train is missing"),
    ],
)
def test_a_wrong_layout_names_the_folder(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder / "colours")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        image_folder.read(folder / "colours")


def test_the_digest_changes_with_names_and_sizes_and_not_with_the_place(folder: Path) -> None:
    data = DataConfig(name="image_folder", folder="colours")
    before = dataset_digest(data, folder)
    (folder / "colours").rename(folder / "other")
    assert dataset_digest(DataConfig(name="image_folder", folder="other"), folder) == before
    path = folder / "other" / "val" / "red" / "1.png"
    path.rename(path.with_name("one.png"))
    renamed = dataset_digest(DataConfig(name="image_folder", folder="other"), folder)
    (folder / "other" / "val" / "red" / "one.png").write_bytes(b"longer or shorter")
    assert (
        len(
            {
                before,
                renamed,
                dataset_digest(DataConfig(name="image_folder", folder="other"), folder),
            }
        )
        == 3
    )


def test_a_model_of_other_classes_is_refused(folder: Path, small_config: Build) -> None:
    with pytest.raises(ValueError, match="in 2 classes, but the model takes 3 x 16 x 16 in 5"):
        make_loader(config(small_config, model__num_classes=5), RuntimeConfig(data_dir=folder), CPU)


def test_rand_augment_changes_pictures_and_keeps_their_size() -> None:
    from illama.data.transforms import OPERATIONS, rand_augment

    pixels = np.random.RandomState(1).randint(256, size=(24, 24, 3)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    for operation in OPERATIONS:
        for sign in (-1, 1):
            assert operation(picture, 0.9, sign).size == (24, 24)
    views = {
        rand_augment(picture, "rand-m9-mstd0.5-inc1", np.random.RandomState(seed)).tobytes()
        for seed in range(20)
    }
    assert 10 < len(views) <= 20


def test_timm_pictures_belong_to_their_seed_and_leave_the_process_alone() -> None:
    from illama.config.train import TrainConfig

    view = pytest.importorskip("illama.data.timm_transforms", exc_type=ImportError).view
    recipe = TrainConfig(
        epochs=1, batch_size=1, lr=1, hflip=0.5, random_resized_crop=True, aa="rand-m9-mstd0.5-inc1"
    )
    picture = Image.fromarray(
        np.random.RandomState(1).randint(256, size=(40, 40, 3)).astype(np.uint8)
    )
    state = torch.get_rng_state()
    first, again, other = (view(picture, 16, recipe, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
