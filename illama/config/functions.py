"""Models, data and trainings by users' functions: a function named `module:function`, its keyword
parameters as settings.

    model: {name: "mixer:create_mixer", depth: 4}   a network from images to logits
    data: {name: "shapes:load", size: 12}           images and labels to train on and to validate on
    train: {name: "charlm:train", depth: 2}         trains whatever it likes; its final metrics

Images are (B, channels, height, width).

What a sweep must know of them before it runs (sizes, images, whether the code is the same) is found
out when the spec is read, and kept in `UserModel`, `UserData` and `TrainingFunction`.
`illama.config.networks` builds the networks, `illama.training.user_training` runs a training.
"""

import inspect
import json
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from pydantic import ConfigDict, Field, NonNegativeInt, PydanticUserError, TypeAdapter, create_model
from pydantic_core import PydanticSerializationError

from illama.config.imports import (
    UserCodeError,
    blaming,
    function_of,
    identity_of,
    offered,
)
from illama.config.script_arguments import (
    fields_of,
    is_dict_config,
    namespace_of,
    namespace_parameter,
    open_section,
    parser_beside,
    to_container,
    to_dict_config,
)
from illama.config.sections import as_section
from illama.config.settings import Settings, is_finite
from illama.data.registry import source_of

if TYPE_CHECKING:
    from illama.dataset import Dataset

_ENTRY_POINTS = {
    "model": "illama.models",
    "data": "illama.datasets",
    "train": "illama.trainings",
    "measure": "illama.measures",
}
GIVEN: Mapping[str, tuple[str, ...]] = {
    "model": (),
    "data": ("data_dir",),
    "part": ("place",),
    "train": (
        *("seed", "log_metrics", "checkpoint_dir", "artifacts_dir"),
        *("should_stop", "device", "data_dir"),
    ),
    "measure": ("network", "data", "device", "seed"),
}
"""Parameters that are given to a function where it asks for them; they are no settings."""


class Named(Settings):
    """A user's function and its settings."""

    name: str
    """The function's name as the spec has it: `module:function`, or the name that an installed
    package offers under the entry point `illama.models`, `illama.datasets` or `illama.trainings`.
    """
    function: str
    """`module:function`."""
    options: dict[str, Any]
    """Every setting of the function, defaults included."""

    def written(self, name: str) -> Any:
        """Option of that name, beside which a spec writes only the function's."""
        return {**self.options, "name": self.name}.get(name)


class UserModel(Named):
    """A network that a user's function builds."""

    code: str
    """Identity of the code; see `illama.config.imports.identity_of`."""
    params: NonNegativeInt
    """Parameters."""
    macs: NonNegativeInt
    """Multiply-accumulates of one image's way forward, counted by torch."""
    masked: bool
    """True if it has a method `set_soft_mask_rate(alpha)`."""
    undecayed: tuple[str, ...] = ()
    """Parameters that weight decay left alone by their name alone from numerics version 4 on
    (`illama.config.networks.kept_from_decay`)."""

    offers: tuple[str, ...] = ()
    """Methods that it has, of those that a measure may need."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Values that decide the numbers."""
        return {"function": self.function, "code": self.code, "options": self.options}

    @property
    def img_size(self) -> int:
        """Height and width of its input: its option of that name."""
        return int(self.options["img_size"])

    @property
    def exits(self) -> tuple[int, ...]:
        """Empty: only built-in networks read out behind earlier blocks."""
        return ()


class UserData(Named):
    """Images that a user's function loads."""

    content: str
    """Digest of the images and labels: they are the data's identity, however they were loaded."""
    shape: tuple[int, int, int]
    """The shape of one image: channels, height, width."""
    num_classes: int
    has_test: bool = False
    """True if there are images for the report alone."""

    def __hash__(self) -> int:
        return hash(self.content)

    @property
    def in_memory(self) -> bool:
        """True: a user's function returns all images."""
        return True

    @property
    def resize(self) -> None:
        """None: the images are used as the function returns them."""
        return None


def length_in(options: Mapping[str, Any]) -> int | None:
    """Iterations or epochs that options say, else those that the first section of them says."""
    for name in ("iterations", "epochs"):
        length = options.get(name)
        if type(length) is int and length > 0:
            return length
    sections = [value for value in options.values() if isinstance(value, Mapping)]
    for section in sections:
        length = length_in(section)
        if length is not None:
            return length
    return None


def function_behind(
    group: str, name: object, own: Mapping[str, Any] | tuple[str, ...]
) -> str | None:
    """The `module:function` that a name in the spec's `model`, `data` or `train` stands for; none
    for one of our `own`.
    """
    if not isinstance(name, str) or name in own:
        return None
    return name if ":" in name else offered(_ENTRY_POINTS[group], name)


def settings_of(group: str, function: str) -> type[Settings]:
    """The function's keyword parameters as settings, with their types and defaults; those that YAML
    cannot write are left out.

    Raises `UserCodeError` where it cannot be imported, or needs what no setting can give.
    """
    return _settings_of(group, function, function_of(function))


@cache
def _settings_of(group: str, target: str, function: Any) -> type[Settings]:
    with blaming(f"the signature of {target}"):
        parameters = inspect.signature(function, eval_str=True).parameters.values()
    # the alias is the name: no name of theirs can shadow one of pydantic's
    fields: dict[str, Any] = {"name_": (str, Field(alias="name"))}
    namespace = namespace_parameter(function) if group == "train" else None
    parser = parser_beside(function) if namespace else None
    for index, parameter in enumerate(parameters):
        if parameter.name == namespace:
            arguments = fields_of(parser) if parser else ()
            fields |= {f"argument_{i}": field for i, (_, field) in enumerate(arguments)}
        elif field := _option(parameter, group, target):
            fields[f"option_{index}"] = field
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    open_ended = open_ended or (namespace is not None and parser is None)

    class Options(Settings):
        model_config = ConfigDict(
            extra="allow" if open_ended else "forbid",
            ser_json_inf_nan="constants",
        )

    made: type[Settings] = create_model(target, __base__=Options, **fields)
    return made


def _option(parameter: inspect.Parameter, group: str, target: str) -> tuple[Any, Any] | None:
    """Type and default of a setting; None of a parameter that we give, or that has its default.

    Raises `UserCodeError` for one that nothing can give.
    """
    if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
        return None
    is_given = parameter.name in GIVEN[group]
    is_setting = not is_given and parameter.name != "name"
    if is_setting and parameter.kind is not parameter.POSITIONAL_ONLY:
        field = _field(parameter)
        if field is not None:
            return field
    if parameter.default is parameter.empty and not is_given:
        raise UserCodeError(
            f"{target} needs a parameter '{parameter.name}' whose type no setting can have; give "
            "it a default"
        )
    return None


def _field(parameter: inspect.Parameter) -> tuple[Any, Any] | None:
    """Type and default; none where it cannot stand in a spec."""
    default, kind = parameter.default, parameter.annotation
    if is_dict_config(kind):
        default = default if default is parameter.empty else to_container(default)
        kind = open_section(default)
    if kind is parameter.empty:
        kind = type(default) if isinstance(default, bool | int | float | str) else Any
    if default is None:
        kind = Optional[kind]  # noqa: UP045  which `|` cannot say of every kind of annotation
    try:
        adapter = TypeAdapter(kind)
        if default is not parameter.empty:
            adapter.dump_python(default, mode="json", warnings=False)
    except (PydanticUserError, PydanticSerializationError):
        return None
    kind = as_section(kind, default)
    return kind, Field(default=... if default is parameter.empty else default, alias=parameter.name)


def options_of(settings: Settings) -> dict[str, Any]:
    """The options as JSON has them, without the name and defaults that are not finite: the function
    has those. Raises `UserCodeError`.
    """
    options = settings.model_dump(mode="json", by_alias=True, warnings=False)
    del options["name"]
    defaults = settings.model_dump(by_alias=True, exclude=settings.model_fields_set)
    for name in [name for name, value in options.items() if not is_finite(value)]:
        if name not in defaults:
            raise UserCodeError(f"part of the default of '{name}' is not finite: set it as well")
        del options[name]
    return options


def default_options(group: str, function: str) -> dict[str, Any]:
    """Defaults of the function's parameters as `options_of` has them. Raises `UserCodeError`."""
    fields = settings_of(group, function).model_fields.values()
    defaults = {str(field.alias): field.default for field in fields if not field.is_required()}
    plain: dict[str, Any] = TypeAdapter(dict[str, Any]).dump_python(
        defaults, mode="json", warnings=False
    )
    return plain


def arguments_of(group: str, function: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as the function takes them: JSON has neither tuples nor enums."""
    checked = settings_of(group, function).model_validate({"name": function, **options})
    fields = type(checked).model_fields
    values = {
        str(field.alias): getattr(checked, name)
        for name, field in fields.items()
        if field.alias != "name"
    }
    values |= checked.model_extra or {}
    return _as_taken(function_of(function), values) if group == "train" else values


def _as_taken(function: Any, values: dict[str, Any]) -> dict[str, Any]:
    """`values` with those that the function takes in one object put into that: `args`, a
    `DictConfig`.
    """
    parameters = inspect.signature(function, eval_str=True).parameters
    for name, parameter in parameters.items():
        if name in values and is_dict_config(parameter.annotation):
            values[name] = to_dict_config(values[name])
    namespace = namespace_parameter(function)
    if namespace is None:
        return values
    own = {name: value for name, value in values.items() if name in parameters}
    others = {name: value for name, value in values.items() if name not in parameters}
    return {**own, namespace: namespace_of(parser_beside(function), others)}


def described_data(
    name: str, function: str, options: Mapping[str, Any], data_dir: Path | None = None
) -> UserData:
    """Load the images once to see what they are. Raises `UserCodeError`."""
    found = _described(function, identity_of(function), json.dumps(options), data_dir)
    return UserData(name=name, function=function, options=dict(options), **found)


@cache
def _described(function: str, code: str, options: str, data_dir: Path | None) -> Mapping[str, Any]:
    """Load the images and return what `UserData` says of them."""
    with blaming(function):
        data = _loaded(function, json.loads(options), data_dir)
    return {
        "content": data.digest,
        "shape": data.shape,
        "num_classes": data.num_classes,
        "has_test": data.has_test,
    }


def load_images(data: UserData, data_dir: Path | None) -> "Dataset":
    """The images again. Raises `UserCodeError` where they are not those that the sweep was planned
    with.
    """
    found = _loaded(data.function, data.options, data_dir)
    if found.digest != data.content:
        raise UserCodeError(
            f"{data.function} returned other images or labels than when the sweep was planned; it "
            "must return the same ones each time: use a generator with a fixed seed, and plan "
            "again if its files or code have changed"
        )
    return found


def _loaded(function: str, options: Mapping[str, Any], data_dir: Path | None) -> "Dataset":
    from illama.dataset import checked  # numpy

    loader = function_of(function)
    arguments = arguments_of("data", function, options)
    if "data_dir" in inspect.signature(loader).parameters:
        arguments["data_dir"] = data_dir
    found = _called(loader, arguments)
    try:
        return checked(found)
    except ValueError as error:
        raise UserCodeError(f"{function} {error}") from error


def _called(loader: Any, arguments: Mapping[str, Any]) -> Any:
    """Call the function, with the same draws each time, and return what it returns."""
    from illama.randomness import generators_kept

    seeded = "torch" in sys.modules
    with generators_kept(seed=0):
        found = loader(**arguments)
    return (
        found if seeded or "torch" not in sys.modules else _called(loader, arguments)
    )  # it imported torch itself: once more


def image_shape(data: str, options: Mapping[str, Any]) -> tuple[tuple[int, int, int], int | None]:
    """Channels, height and width of our own data sets, and their classes where these are known
    before they are read.

    Of an image folder the network's option `img_size` says how large its images are cut.

    Raises `UserCodeError` for data that take their shape from a network of ours.
    """
    source = source_of(data)
    if source.shape:
        return source.shape, source.num_classes
    is_folder = source.read is None
    if is_folder and isinstance(size := options.get("img_size"), int):
        return (3, size, size), None
    needs = "an option img_size" if is_folder else "settings that only built-in networks have"
    raise UserCodeError(
        f"data {data} takes the size of its images from {needs}, which this function has not"
    )
