"""Differences between a trial and a result that the store has: settings, files of code, packages.

They say why a trial is new, and whether its result may be adopted from one that other code gave.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from illama.config import PART_KINDS, TrainingFunction, UserData, UserModel, Workload
from illama.config.functions import default_options
from illama.config.imports import code_digests
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import TrialSpec

_DERIVED = {
    "seed",
    *(f"{group}.{name}" for group in ("model", "data", "train") for name in ("function", "code")),
    *(f"model.{name}" for name in ("params", "macs", "masked", "undecayed")),
    *(f"model.{kind}.{name}" for kind in PART_KINDS for name in ("function", "params", "macs")),
    *(f"data.{name}" for name in ("shape", "num_classes", "has_test")),
}
"""Keys of `trial.json` that follow from the others, or are told in another way."""
_LONGEST_VALUE = 40
_ABSENT = object()


class Kind(StrEnum):
    """Part of an identity that differs."""

    SETTING = "setting"
    PARAMETER = "parameter"
    """A parameter that the function did not have, left at its default."""
    CODE = "code"
    PACKAGE = "package"
    VERSION = "version"
    """The `NUMERICS_VERSION` of the user's module, raised by its author."""
    DATA = "data"
    SEED = "seed"


HARMLESS = (Kind.CODE, Kind.PARAMETER, Kind.PACKAGE)
"""Differences that somebody may answer for: the numbers may be the same across them."""


@dataclass(frozen=True)
class Difference:
    """One part of a trial's identity that is another one in a result."""

    kind: Kind
    text: str
    """`train.lr: 0.1 -> 0.2`, or `own.py changed`."""


def differences(trial: TrialSpec, earlier: TrialSpec, digests: Any = None) -> list[Difference]:
    """Return what `trial` has otherwise than `earlier`, settings first.

    `digests` are those of each file of code that `earlier` was trained with, by function.
    """
    found = [
        *_settings(trial.config, earlier.config),
        *_code(trial.config, earlier.config, digests),
    ]
    if trial.seed != earlier.seed:
        found.append(Difference(Kind.SEED, f"seed {trial.seed}"))
    if found or trial.fingerprint == earlier.fingerprint:
        return found
    what = "the images differ, or what this version of the program computes from them"
    return [Difference(Kind.DATA, what)]


def code_of(spec: SweepSpec) -> dict[str, dict[str, str]]:
    """Digest of each file of user code that the sweep's trainings and networks are made by."""
    functions = dict.fromkeys(
        function for variant in spec.road for function, _ in _functions(variant.config)
    )
    return {function: code_digests(function) for function in functions}


def _settings(config: Workload, earlier: Workload) -> Iterable[Difference]:
    now, before = _flat(config), _flat(earlier)
    defaults = _defaults(config)
    new = now.keys() - before.keys()
    at_default = {name for name in new & defaults.keys() if defaults[name] == now[name]}
    for name in sorted(now.keys() | before.keys()):
        if name in at_default:
            text = f"new parameter {name}, left at its default {_short(now[name])}"
            yield Difference(Kind.PARAMETER, text)
        elif _is_alike(now.get(name, _ABSENT), before.get(name, _ABSENT)):
            continue
        elif name == "data.content":
            yield Difference(Kind.DATA, "the images that the data's function loads differ")
        elif name == "train.content":
            yield Difference(Kind.DATA, "the files of train.files differ")
        else:
            yield Difference(Kind.SETTING, _setting_text(name, now, before))


def _is_alike(one: object, other: object) -> bool:
    """Tell whether two values are the same: `true` is not 1."""
    return (type(one), one) == (type(other), other)


def _setting_text(name: str, now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Words for a setting that is another, was not set, or is no longer set."""
    if name not in before:
        return f"{name}: {_short(now[name])}, was not set"
    if name not in now:
        return f"{name}: was {_short(before[name])}, is no longer set"
    return f"{name}: {_short(before[name])} -> {_short(now[name])}"


def _code(config: Workload, earlier: Workload, digests: Any) -> Iterable[Difference]:
    before = dict(_functions(earlier))
    for function, code in _functions(config):
        old = before.get(function, code)
        if old != code:
            yield _difference_of_code(function, code, old, digests)


def _difference_of_code(function: str, code: str, old: str, digests: Any) -> Difference:
    if "NUMERICS_VERSION" in code and "NUMERICS_VERSION" in old:
        text = f"{old} -> {code.rpartition(' ')[2]} of {function}"
        return Difference(Kind.VERSION, text)
    now, before = _package(code), _package(old)
    if now != before:
        return Difference(Kind.PACKAGE, f"package {before or 'none'} -> {now or 'none'}")
    files = None
    if isinstance(digests, Mapping):
        files = digests.get(function)
    return Difference(Kind.CODE, _changed_files(function, files))


def _changed_files(function: str, before: Any) -> str:
    now = code_digests(function)
    if not isinstance(before, Mapping) or before == now:
        return f"the code of {function} changed"
    words = []
    for word, names in _changes(now, before).items():
        if names:
            words.append(f"{', '.join(map(str, names))} {word}")
    return ", ".join(words)


def _changes(now: Mapping[str, str], before: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of files by what happened to them, in the order in which they are told."""
    changed = [name for name in now if before.get(name, now[name]) != now[name]]
    return {
        "changed": changed,
        "added": [name for name in now if name not in before],
        "removed": [name for name in before if name not in now],
    }


def _package(code: str) -> str:
    """`PyYAML 6.0`, of the code of an installed package."""
    package, _, _ = code.rpartition("sha256:")
    if package.startswith("syntax"):
        return ""
    return package.strip()


def _functions(config: Workload) -> Iterable[tuple[str, str]]:
    """Each user function whose code is part of the identity, and what identifies it."""
    for part in (config.network, getattr(config, "train", None)):
        if isinstance(part, UserModel | TrainingFunction):
            yield part.function, part.code


def _defaults(config: Workload) -> dict[str, Any]:
    """Default of each parameter of the user's functions, by its dotted name."""
    groups = {
        "train": getattr(config, "train", None),
        "model": config.network,
        "data": config.images,
    }
    return {
        name: value
        for group, part in groups.items()
        if isinstance(part, TrainingFunction | UserModel | UserData)
        for name, value in _flattened(default_options(group, part.function), f"{group}.")
    }


def _flat(config: Workload) -> dict[str, Any]:
    """Every setting by the name that a spec gives it."""
    settings = config.science
    for group in ("model", "data", "train"):
        part = settings.get(group)
        if isinstance(part, dict) and "options" in part:
            options = part.pop("options")
            settings[group] = {**part, **options}
    return {name: value for name, value in _flattened(settings) if name not in _DERIVED}


def _flattened(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _short(value: Any) -> str:
    text = str(value)
    if len(text) <= _LONGEST_VALUE:
        return text
    return f"{text[: _LONGEST_VALUE - 3]}..."
