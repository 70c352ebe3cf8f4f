"""Specs put together from several texts, as trees of YAML nodes whose marks say where each stands.

`extends: other.yaml` lays a spec over another, settings of the command line are laid over both, and
`grid` stands for a side step for each combination of its values.
"""

import re
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import yaml

Compose = Callable[[Path], yaml.Node]
"""Reads a file. Raises `SpecError`."""
Parse = Callable[[str], yaml.Node | None]
"""Parses the text of one value. Raises `yaml.YAMLError`."""
Complain = Callable[[yaml.Mark, str], None]
"""Notes what is wrong at a mark."""

COMMAND_LINE = "command line"
"""Begins the name of a mark that is in no file."""
_GROUPS = ("model", "data", "train")
_OF_DOTTED_KEYS = ("regimes", "recipes")
"""Keys of a spec below which, for each name, settings are written with dots."""
_MOST_SIDES = 200
_MOST_BASES = 10
_OVERRIDE = re.compile(r"(?P<sign>\+{0,2}|~)(?P<key>[\w.-]+)(?:(?P<is>=)(?P<value>.*))?", re.DOTALL)


def extended(root: yaml.Node, path: Path, compose: Compose, complain: Complain) -> yaml.Node:
    """Lay a spec over the one that its `extends` names: mappings are merged, all else is
    replaced.
    """
    for _ in range(_MOST_BASES):
        base_node = _taken(root, "extends")
        if base_node is None:
            return root
        if not isinstance(base_node, yaml.ScalarNode) or not base_node.value:
            message = "extends: it should be the path of another spec, from this file's folder"
            complain(base_node.start_mark, message)
            return root
        base = path.parent / base_node.value
        if not base.is_file():
            complain(base_node.start_mark, f"extends: there is no file {base}")
            return root
        path = base
        root = _laid_over(compose(base), root)
    complain(
        root.start_mark, f"extends: more than {_MOST_BASES} files, or a file that extends itself"
    )
    return root


def overridden(
    root: yaml.Node, overrides: Sequence[str], parse: Parse, complain: Complain
) -> yaml.Node:
    """Lay settings of the command line over a spec: `train.epochs=2`, `seeds=[0]`, `~cost`."""
    for text in overrides:
        mark = yaml.Mark(f"{COMMAND_LINE}: '{text}'", 0, -1, -1, None, 0)
        found = _OVERRIDE.fullmatch(text)
        if found is None or (found["is"] is None) != (found["sign"] == "~"):
            complain(mark, "a setting is written as key=value, such as train.epochs=2 or seeds=[0]")
            continue
        path = _path_of(found["key"])
        if found["sign"] == "~":
            _remove(root, path, mark, complain)
            continue
        try:
            value = parse(_with_spaces(found["value"])) if found["value"].strip() else _text("")
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or str(error)
            complain(mark, f"the value is not YAML: {problem}")
            continue
        _set(root, path, _marked(value or _text(""), mark), complain)
    return root


def with_grids(root: yaml.Node, complain: Complain) -> None:
    """Write the side steps out that each step's `grid` stands for, one for each combination."""
    steps = _value_of(root, "steps")
    if not isinstance(steps, yaml.SequenceNode):
        return
    for step in steps.value:
        grid = _taken(step, "grid")
        if grid is not None:
            _write_sides(step, grid, complain)


def _write_sides(step: yaml.MappingNode, grid: yaml.Node, complain: Complain) -> None:
    name = _value_of(step, "name")
    axes = grid.value if isinstance(grid, yaml.MappingNode) else []
    if not axes or not all(isinstance(values, yaml.SequenceNode) for _, values in axes):
        message = (
            "grid: it should have a list of values for each setting, such as {train.lr: "
            "[1e-3, 3e-3]}"
        )
        complain(grid.start_mark, message)
        return
    cells = list(product(*(values.value for _, values in axes)))
    if len(cells) > _MOST_SIDES:
        complain(grid.start_mark, f"grid: {len(cells):,} side steps, more than {_MOST_SIDES}")
        return
    sides = []
    for cell in cells:
        parts = [str(name.value) if name else "grid"]
        for (key, values), value in zip(axes, cell, strict=True):
            parts.append(f"{key.value.rpartition('.')[2]}_{_word(value, values)}")
        change = [(key, value) for (key, _), value in zip(axes, cell, strict=True)]
        mark = cell[0].start_mark
        sides.append((_text("_".join(parts), mark), _mapping(change, mark)))
    old = _value_of(step, "side")
    if old is None:
        step.value.append((_text("side", grid.start_mark), _mapping(sides, grid.start_mark)))
    elif isinstance(old, yaml.MappingNode):
        old.value.extend(sides)


def _word(value: yaml.Node, values: yaml.SequenceNode) -> str:
    """Part of a side step's name that stands for a value: as it is written, or its number."""
    if isinstance(value, yaml.ScalarNode) and re.fullmatch(r"[\w.+-]{1,24}", value.value):
        return str(value.value).replace("+", "").lstrip("-") or "0"
    return str(values.value.index(value))


def _laid_over(base: yaml.Node, top: yaml.Node) -> yaml.Node:
    if not isinstance(base, yaml.MappingNode) or not isinstance(top, yaml.MappingNode):
        return top
    pairs, seen = list(base.value), set()
    places = {key.value: index for index, (key, _) in enumerate(base.value)}
    for key, value in top.value:
        index = None if key.value in seen else places.get(key.value)
        seen.add(key.value)
        if index is None:  # a key that is given twice stays so, and is told
            pairs.append((key, value))
        else:
            pairs[index] = (key, _laid_over(pairs[index][1], value))
    return yaml.MappingNode(top.tag, pairs, top.start_mark, top.end_mark)


def _path_of(key: str) -> list[str]:
    """Keys that lead to a setting: `train.lr` is in the baseline."""
    parts = key.split(".")
    if parts[0] in _GROUPS:
        return ["baseline", *parts]
    if parts[0] in _OF_DOTTED_KEYS and len(parts) > 2:
        return [*parts[:2], ".".join(parts[2:])]
    return parts


def _set(node: yaml.Node, path: Sequence[str], value: yaml.Node, complain: Complain) -> None:
    *parents, last = path
    mark = value.start_mark
    for parent in parents:
        if not isinstance(node, yaml.MappingNode):
            break
        below = _value_of(node, parent)
        if below is None or _is_null(below):
            below = _mapping([], mark)
            _put(node, parent, below, mark)
        node = below
    if isinstance(node, yaml.MappingNode):
        _put(node, last, value, mark)
    else:
        whole = ".".join(path[:-1]).removeprefix("baseline.")
        complain(mark, f"'{whole}' has no keys: give the whole value, such as seeds=[0, 1]")


def _put(node: yaml.MappingNode, key: str, value: yaml.Node, mark: yaml.Mark) -> None:
    pairs = [(old, item) for old, item in node.value if old.value != key]
    index = next((i for i, (old, _) in enumerate(node.value) if old.value == key), len(pairs))
    pairs.insert(index, (_text(key, mark), value))
    node.value[:] = pairs


def _remove(root: yaml.Node, path: Sequence[str], mark: yaml.Mark, complain: Complain) -> None:
    node: yaml.Node | None = root
    for parent in path[:-1]:
        node = _value_of(node, parent) if node else None
    if node is None or _taken(node, path[-1]) is None:
        complain(mark, "there is no such key to remove")


def _value_of(node: yaml.Node, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for old, value in node.value if old.value == key), None)


def _taken(node: yaml.Node, key: str) -> yaml.Node | None:
    """The value at `key`, which is taken out."""
    value = _value_of(node, key)
    if value is not None:
        node.value[:] = [(old, item) for old, item in node.value if old.value != key]
    return value


def _is_null(node: yaml.Node) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def _text(value: str, mark: yaml.Mark | None = None) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", value, mark, mark)


def _mapping(
    pairs: Sequence[tuple[yaml.Node, yaml.Node]], mark: yaml.Mark | None
) -> yaml.MappingNode:
    return yaml.MappingNode("tag:yaml.org,2002:map", list(pairs), mark, mark)


def _marked(node: yaml.Node, mark: yaml.Mark) -> yaml.Node:
    """The node, said to stand at `mark` with all that is in it."""
    node.start_mark = node.end_mark = mark
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _marked(key, mark)
            _marked(value, mark)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _marked(item, mark)
    return node


def _with_spaces(text: str) -> str:
    """`{schedule:linear}`, as Hydra takes it, with the space that YAML wants behind the colon."""
    if not text.startswith(("{", "[")):
        return text
    return re.sub(
        r"([\w'\"]):(?=[^\s/:\\])(?=[^'\"]*(?:(?:'[^']*'|\"[^\"]*\")[^'\"]*)*$)", r"\1: ", text
    )
