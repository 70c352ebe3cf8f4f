"""A YAML document whose every key and value knows its line and column.

PyYAML's safe loader, tightened to what people mean (YAML 1.2's core schema): `1e-3` is a number,
`no` and `2026-01-01` are strings, and a key given twice is a problem instead of a silent overwrite.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import Problem, SpecError
from orchestrator.spec.composition import extended, overridden, with_grids

Location = tuple[str | int, ...]
"""The keys and indices that lead to a value, from the document's root."""


class _CoreSchemaLoader(yaml.SafeLoader):
    """Resolves plain scalars by YAML 1.2's core schema instead of YAML 1.1."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


class _CoreSchemaDumper(yaml.SafeDumper):
    """Writes plain what the loader reads plain."""

    yaml_implicit_resolvers = _CoreSchemaLoader.yaml_implicit_resolvers


_NULL, _BOOL, _INT, _FLOAT = (
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float")
)
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MOST_LEVELS = 50
_LARGEST_INTEGER = 2**63 - 1
"""Largest integer that numpy, torch and a database can hold."""
_MARK_OF_KEYS = "[key]"
"""Stands in pydantic's places where a key is wrong instead of a value."""
_MOST_BYTES = 10**7
"""A device may have no end at all."""
_MOST_VALUES = 100_000
"""An alias counts wherever it is used: a few lines of aliases of aliases would fill the memory."""
for _tag, _pattern in (
    (_NULL, r"^(?:~|null|Null|NULL|)$"),
    (_BOOL, r"^(?:true|True|TRUE|false|False|FALSE)$"),
    (_INT, r"^[-+]?[0-9]+$"),
    (_FLOAT, r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
    (_FLOAT, r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"),
):
    _CoreSchemaLoader.add_implicit_resolver(_tag, re.compile(_pattern), None)


@dataclass
class Document:
    """The values of a YAML file, where each stands, and the problems found on the way."""

    path: str
    content: bytes
    value: Any = None
    problems: list[Problem] = field(default_factory=list)
    _keys: dict[Location, yaml.Mark] = field(default_factory=dict)
    _values: dict[Location, yaml.Mark] = field(default_factory=dict)
    _misread: set[tuple[str, int, int]] = field(default_factory=set)

    def add_problem(self, location: Location, message: str, *, at_key: bool = False) -> None:
        """Note that something is wrong with the value at `location`, or with its key; falls back to
        what surrounds it.
        """
        for end in range(len(location), -1, -1):
            here = location[:end]
            exact = end == len(location)
            mark = (self._keys if at_key or not exact else self._values).get(
                here
            ) or self._values.get(here)
            if mark and (mark.name, mark.line, mark.column) in self._misread:
                return  # what is wrong with it was told
            if mark:
                self.problems.append(_problem(mark, message))
                return
        self.problems.append(Problem(1, 1, message))

    def has(self, location: Location) -> bool:
        """Tell whether the file has a value there."""
        return location in self._values

    def value_at(self, location: Location) -> Any:
        """Return what the file has at `location`; None where it has nothing."""
        value = self.value
        for part in location:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def line(self, location: Location) -> int:
        """The line that the value at `location` begins on, from 1; 0 where there is no such
        value.
        """
        mark = self._keys.get(location) or self._values.get(location)
        return mark.line + 1 if mark and mark.name.startswith("<") else 0

    def raise_problems(self) -> None:
        """Raise `SpecError` with all problems, if there are any."""
        if self.problems:
            raise SpecError(self.path, self.problems)


def read_document(path: Path, overrides: Sequence[str] = ()) -> Document:
    """Read and parse a YAML file, with what it extends and the settings of the command line.

    Raises `SpecError` where a file cannot be read, is empty, or is not YAML.
    """
    content = _read(path)
    root = _composed(path, content)
    document = Document(str(path), content)

    def complain(mark: yaml.Mark | None, message: str) -> None:
        document.problems.append(_problem(mark, message))

    is_whole = not overrides and not _has_base(root)
    root = extended(root, path, lambda base: _composed(base, _read(base), str(base)), complain)
    root = overridden(root, overrides, _parsed, complain)
    if not is_whole:
        document.content = _content_of(root, path, overrides)
    with_grids(root, complain)
    document.value = _convert(document, root, (), ())
    return document


def _read(path: Path) -> bytes:
    def wrong(message: str) -> SpecError:
        return SpecError(str(path), [Problem(0, 0, message)])

    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise wrong(f"cannot read the spec: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise wrong(f"it has more than {_MOST_BYTES // 10**6} MB, which no spec needs")
    return content


def _composed(path: Path, content: bytes, name: str = "") -> yaml.Node:
    """The tree of a file's nodes; `name` is for the marks of a file that is not the spec itself."""

    def wrong(message: str, mark: yaml.Mark | None = None) -> SpecError:
        return SpecError(str(path), [replace(_problem(mark, message), path="")])

    try:
        root = _parsed(content.decode("utf-8-sig"), name)
    except UnicodeDecodeError as error:
        raise wrong(f"not a text file: byte {error.start} is not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        detail = " ".join(filter(None, (error.context, error.problem)))
        raise wrong(f"not YAML: {detail}", error.problem_mark or error.context_mark) from error
    except yaml.YAMLError as error:  # characters that YAML forbids
        raise wrong(f"not YAML: {' '.join(str(error).split())}") from error
    except (
        ValueError,
        OverflowError,
    ) as error:  # PyYAML checks neither the numbers of escapes nor of a %YAML line
        raise wrong(f"not YAML: {error}") from error
    except RecursionError as error:
        raise wrong("nested too deeply for a spec") from error
    if root is None:
        raise wrong("the file is empty; see sweeps/README.md for what a sweep needs")
    return root


def _parsed(text: str, name: str = "") -> yaml.Node | None:
    loader = _CoreSchemaLoader(text)
    loader.name = name or loader.name
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _has_base(root: yaml.Node) -> bool:
    return isinstance(root, yaml.MappingNode) and any(
        key.value == "extends" for key, _ in root.value
    )


def _content_of(root: yaml.Node, path: Path, overrides: Sequence[str]) -> bytes:
    """The spec as one text: what it extends and what the command line sets are written into it."""
    given = "".join(f" {text!r}" for text in overrides)
    text = yaml.serialize(root, Dumper=_CoreSchemaDumper, allow_unicode=True, width=100)
    return f"# {path.name}{given}, written out\n{text}".encode()


def _problem(mark: yaml.Mark | None, message: str) -> Problem:
    if mark is None:
        return Problem(1, 1, message)
    path = "" if mark.name.startswith("<") else mark.name
    return Problem(mark.line + 1, mark.column + 1, message, path)


def _convert(
    document: Document, node: yaml.Node, location: Location, parents: tuple[yaml.Node, ...]
) -> Any:
    document._values[location] = node.start_mark
    if len(document._values) > _MOST_VALUES:
        message = f"more than {_MOST_VALUES:,} values, each alias counted where it is used"
        raise SpecError(document.path, [*document.problems, _problem(node.start_mark, message)])
    if node in parents:
        document.problems.append(
            _problem(node.start_mark, "an alias inside the value it refers to")
        )
        return None
    if len(parents) > _MOST_LEVELS:
        raise SpecError(
            document.path,
            [*document.problems, _problem(node.start_mark, "nested too deeply for a spec")],
        )
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
        document.problems.append(
            _problem(node.start_mark, f"tag {node.tag} is not allowed in a spec")
        )
        return None
    if isinstance(node, yaml.MappingNode):
        return _convert_mapping(document, node, location, (*parents, node))
    if isinstance(node, yaml.SequenceNode):
        return [
            _convert(document, item, (*location, i), (*parents, node))
            for i, item in enumerate(node.value)
        ]
    return _convert_scalar(document, node)


def _convert_mapping(
    document: Document, node: yaml.MappingNode, location: Location, parents: tuple[yaml.Node, ...]
) -> Any:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value
        if not isinstance(key_node, yaml.ScalarNode) or any(
            "\ud800" <= letter <= "\udfff" for letter in key
        ):
            document.problems.append(_problem(key_node.start_mark, "a key must be a word"))
            continue
        if not key or key == _MARK_OF_KEYS:
            document.problems.append(_problem(key_node.start_mark, f"a key cannot be '{key}'"))
            continue
        if key == "<<" and key_node.style is None:  # in quotes it is a name like any other
            message = (
                "YAML 1.2 has no merge keys ('<<'); write the settings out, or give the "
                "whole mapping by its alias"
            )
            document.problems.append(_problem(key_node.start_mark, message))
            continue
        if key in result:
            first = document._keys[(*location, key)]
            message = f"key '{key}' is given twice, first on line {first.line + 1}"
            document.problems.append(_problem(key_node.start_mark, message))
            continue
        document._keys[(*location, key)] = key_node.start_mark
        result[key] = _convert(document, value_node, (*location, key), parents)
    return result


def _convert_scalar(document: Document, node: yaml.Node) -> Any:
    try:
        return _scalar(node.tag, node.value)
    except ValueError as error:
        document.problems.append(_problem(node.start_mark, str(error)))
        mark = node.start_mark
        document._misread.add((mark.name, mark.line, mark.column))
        return None


def _scalar(tag: str, text: str) -> Any:
    """Raises `ValueError` where an explicit tag does not suit the text."""
    match tag:
        case "tag:yaml.org,2002:str":
            text.encode()  # refuses half of a surrogate pair, which no terminal or file could show
            return text
        case tag if tag == _NULL:
            return None
        case tag if tag == _BOOL and text.lower() in ("true", "false"):
            return text.lower() == "true"
        case tag if tag == _INT:
            return _integer(text)
        case tag if tag == _FLOAT:
            return _finite(text)
        case tag if tag == _BOOL:
            raise ValueError(f"could not convert string to bool: '{text}'")
        case tag:
            raise ValueError(f"tag {tag} is not allowed in a spec")


def _integer(text: str) -> int:
    digits = len(text.lstrip("+-0"))
    if digits > len(str(_LARGEST_INTEGER)) or abs(int(text)) > _LARGEST_INTEGER:
        raise ValueError(
            f"a whole number of {digits} digits is too large; the largest is {_LARGEST_INTEGER}"
        )
    return int(text)


def _finite(text: str) -> float:
    """JSON and identities have no infinity and no NaN: it would become another value on the way to
    the training.
    """
    word = text.lstrip("+-").lower()
    number = math.inf if word in (".inf", ".nan") else float(text)
    if not math.isfinite(number):
        raise ValueError(f"a setting must be a finite number, found {text}")
    return number
