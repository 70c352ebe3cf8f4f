"""Cue-conflict images of Geirhos et al. (ICLR 2019) in their published layout, and its 16 classes.

`<shape>/<shape><number>-<texture><number>.png`, such as `cat/cat7-elephant1.png`: 16 folders of 80
images, 1,280 in all. The classes of ImageNet behind each of the 16 are read from the file
`human_categories.py` that is published beside them, which is parsed and never run; no list stands
here, so that none can differ from it.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CATEGORIES = (
    *("airplane", "bear", "bicycle", "bird", "boat", "bottle", "car", "cat"),
    *("chair", "clock", "dog", "elephant", "keyboard", "knife", "oven", "truck"),
)
_NAME = re.compile(r"([a-z]+)\d+-([a-z]+)\d+\.png")
_IMAGENET = 1000


@dataclass(frozen=True)
class Picture:
    """Image file and the classes of its shape and its texture, as places among `CATEGORIES`."""

    path: Path
    shape: int
    texture: int


def read(folder: Path) -> list[Picture]:
    """All images below `folder`, in order.

    Raises `FileNotFoundError` without the folder or a class's, and `ValueError` naming the file
    whose name is of another form, or whose shape is not its folder's.
    """
    found = []
    for shape, category in enumerate(CATEGORIES):
        if not (folder / category).is_dir():
            raise FileNotFoundError(
                f"{folder / category} is missing: cue-conflict images are in one folder for each "
                f"of {', '.join(CATEGORIES)}, as <shape>/<shape>1-<texture>1.png; they are "
                "published in the repository "
                "rgeirhos/texture-vs-shape, under stimuli/style-transfer-preprocessed-512"
            )
        for path in sorted((folder / category).glob("*.png")):
            named = _NAME.fullmatch(path.name)
            if named is None or named[1] != category or named[2] not in CATEGORIES:
                raise ValueError(
                    f"{path} should be called {category}<number>-<texture><number>.png, the "
                    f"texture one of {', '.join(CATEGORIES)}"
                )
            found.append(Picture(path, shape, CATEGORIES.index(named[2])))
    if not found:
        raise ValueError(f"{folder} has no images: expected <shape>/<shape>1-<texture>1.png")
    return found


def imagenet_classes(path: Path) -> list[list[int]]:
    """Places, among ImageNet's 1,000 sorted classes, that stand for each of `CATEGORIES`.

    Read from the assignments `airplane_indices = [404]` and so on of `human_categories.py`. Raises
    `FileNotFoundError` without the file and `ValueError` naming what is missing or no such list.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the 16 classes are read from human_categories.py, as published "
            "with the cue-conflict images"
        )
    try:
        assigned = _assignments(ast.parse(path.read_text("utf-8")))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a Python file: {error}") from error
    return [_classes_of(assigned, category, path) for category in CATEGORIES]


def _assignments(module: ast.Module) -> dict[str, ast.expr]:
    """Values by the name that they are assigned to, anywhere in the file."""
    return {
        target.id: node.value
        for node in ast.walk(module)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _classes_of(assigned: Mapping[str, ast.expr], category: str, path: Path) -> list[int]:
    name = f"{category}_indices"
    if name not in assigned:
        raise ValueError(f"{path} has no list {name}")
    try:
        found = ast.literal_eval(assigned[name])
    except ValueError as error:
        raise ValueError(f"{name} in {path} is not a plain list of numbers") from error
    if not _are_classes(found):
        raise ValueError(
            f"{name} in {path} is {found!r}; expected a list of numbers from 0 to {_IMAGENET - 1}"
        )
    return list(found)


def _are_classes(found: object) -> bool:
    if not isinstance(found, Sequence) or not found:
        return False
    return all(isinstance(number, int) and 0 <= number < _IMAGENET for number in found)
