"""Functions that take all their settings in one object: `main(args)` of a script, or a
`DictConfig`.

Of `args: argparse.Namespace`, or of a parameter that is only called `args`, the parser of the
function's module says which settings there are, with their types, choices and defaults. Nothing
else of the script is run for that: its parser is caught before it reads a command line.
"""

import inspect
import sys
from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

from pydantic import BeforeValidator, Field

from illama.config.imports import UserCodeError, blaming

_FACTORIES = (
    *("get_parser", "make_parser", "build_parser", "create_parser", "get_args_parser"),
    *("parse_args", "parse_arguments", "get_args", "get_arguments"),
)
"""Names of functions that make a parser, or that make one and parse with it."""
_GIVEN = ("seed", "device", "checkpoint_dir", "artifacts_dir", "data_dir")
"""Arguments of a script that are a trial's, and no settings."""
_PLACES = ("checkpoint_dir", "artifacts_dir")
"""Names that stand for the trial's own folders, in braces in an argument's text."""


class _Caught(BaseException):
    """Carries a parser out of the function that was about to parse with it."""

    def __init__(self, parser: ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def namespace_parameter(function: Any) -> str | None:
    """Name of the parameter that takes an `argparse.Namespace`; None where there is none."""
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        bare = (parameter.annotation, parameter.default) == (parameter.empty, parameter.empty)
        if parameter.annotation is Namespace or (parameter.name == "args" and bare):
            is_one = parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            return parameter.name if is_one else None
    return None


def parser_beside(function: Any) -> ArgumentParser | None:
    """Parser in the module of a function; None where it has none that can be found.

    Raises `UserCodeError` where the function that makes it raises.
    """
    module = sys.modules[function.__module__]
    for value in vars(module).values():
        if isinstance(value, ArgumentParser):
            return value
    for name in _FACTORIES:
        factory = getattr(module, name, None)
        if inspect.isfunction(factory) and factory.__module__ == module.__name__:
            with blaming(f"{module.__name__}:{name}"):
                parser = _caught(factory)
            if parser is not None:
                return parser
    return None


def _caught(factory: Any) -> ArgumentParser | None:
    def catch(self: ArgumentParser, *_: Any, **__: Any) -> Any:
        raise _Caught(self)

    original = ArgumentParser.parse_known_args
    ArgumentParser.parse_known_args = catch  # type: ignore[method-assign]
    try:
        made = factory()
    except _Caught as caught:
        return caught.parser
    finally:
        ArgumentParser.parse_known_args = original  # type: ignore[method-assign]
    return made if isinstance(made, ArgumentParser) else None


def fields_of(parser: ArgumentParser) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Destination of each argument, with its type and default as pydantic takes them."""
    for action in _arguments(parser):
        if action.dest in (*_GIVEN, "name"):
            continue
        kind, default = _kind_of(action), parser.get_default(action.dest)
        if isinstance(default, Path):
            default = str(default)
        if default is None and not action.required:
            kind = Optional[kind]  # noqa: UP045  which `|` cannot say of every kind
        required = default is None and action.required
        yield (
            action.dest,
            (kind, Field(default=... if required else default, alias=action.dest)),
        )


def _arguments(parser: ArgumentParser) -> Iterator[Action]:
    for action in parser._actions:
        if action.dest != SUPPRESS and action.default is not SUPPRESS:
            yield action


def _kind_of(action: Action) -> Any:
    if action.nargs == 0:
        return bool if isinstance(action.const, bool) else Any
    kind: Any = action.type or str
    if action.choices is not None:
        kind = Literal[tuple(action.choices)]
    elif kind is Path:
        kind = str
    elif kind not in (int, float, str):
        kind = Any  # the argument's own function reads it, as it reads a command line
    is_list = isinstance(action.nargs, int) or action.nargs in ("+", "*")
    return list[kind] if is_list else kind


def namespace_of(parser: ArgumentParser | None, settings: Mapping[str, Any]) -> Namespace:
    """The arguments as the script's own parser would give them, `settings` in place of its
    defaults.

    Raises `UserCodeError` for text that an argument's own function does not read.
    """
    if parser is None:
        return Namespace(**settings)
    found: dict[str, Any] = dict(parser._defaults)
    for action in _arguments(parser):
        value = settings.get(action.dest, parser.get_default(action.dest))
        found[action.dest] = _converted(action, value)
    return Namespace(**found)


def _converted(action: Action, value: Any) -> Any:
    read = action.type
    if not isinstance(value, str) or not callable(read):
        return value
    try:
        return read(value)
    except Exception as error:
        raise UserCodeError(f"argument '{action.dest}' cannot be '{value}': {error}") from error


def fill(arguments: Namespace, given: Mapping[str, Any]) -> None:
    """Put into a script's arguments what is a trial's: seed, device, folder.

    As text where a command line would have text. `{checkpoint_dir}` and `{artifacts_dir}` in a
    setting become the folders.
    """
    for name, value in vars(arguments).items():
        if isinstance(value, str | Path):
            setattr(arguments, name, type(value)(_placed(str(value), given)))
    for name in _GIVEN:
        if hasattr(arguments, name):
            value = given[name]
            setattr(arguments, name, value if name == "seed" else str(value))
    arguments.seed = given["seed"]


def _placed(text: str, given: Mapping[str, Any]) -> str:
    for place in _PLACES:
        text = text.replace(f"{{{place}}}", str(given[place]))
    return text


def is_dict_config(kind: Any) -> bool:
    """Tell whether an annotation is OmegaConf's `DictConfig`, without importing OmegaConf."""
    return getattr(kind, "__name__", "") == "DictConfig" and kind.__module__.startswith("omegaconf")


def to_container(config: Any) -> Any:
    """A `DictConfig` as plain mappings, its interpolations left as they are."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(config) if OmegaConf.is_config(config) else config


def to_dict_config(settings: Mapping[str, Any]) -> Any:
    """`settings` as OmegaConf has them."""
    from omegaconf import OmegaConf

    return OmegaConf.create(dict(settings))


def open_section(default: Any) -> Any:
    """Type of a section that takes any key, laid over a default where that is a mapping."""

    def over_default(value: Any) -> Any:
        both_are_mappings = isinstance(value, Mapping) and isinstance(default, Mapping)
        return _merged(default, value) if both_are_mappings else value

    return Annotated[dict[str, Any], BeforeValidator(over_default)]


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(under, value)
        else:
            merged[key] = value
    return merged
