"""A step's changes laid over settings, and what is wrong with them noted at its place in the
file.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from illama.config import (
    PART_KINDS,
    PRESETS,
    UserCodeError,
    Workload,
    explain,
    kind_of,
    resolve,
    schema_of,
    user_function,
)
from illama.config.settings import SectionOf, is_open, section_of
from orchestrator.errors import did_you_mean_one_of
from orchestrator.fingerprint import canonical_json
from orchestrator.spec.document import Document, Location
from orchestrator.spec.messages import add_validation_problems

_NAMED = ("model", "data", "train")
"""Groups that may name a user's function."""

GroupSettings = dict[str, Any]
"""`{"model": {...}, "data": {...}, "train": {...}}`, as the spec writes them."""


class Changer:
    """Applies changes; every problem with them becomes a problem of the document."""

    def __init__(self, document: Document, data_dir: Path | None = None) -> None:
        self.document = document
        self.data_dir = data_dir
        self._known: set[str] = set()
        self._sections: set[str] = set()
        """Dotted names of the settings of users that are sections."""
        self._open: set[str] = set()
        """Dotted names of what takes any key."""

    def baseline(self, baseline: Mapping[Any, Any]) -> tuple[GroupSettings, Workload | None]:
        """The settings before any change; no `Config` where they are wrong."""
        settings: GroupSettings = {group: deepcopy(values) for group, values in baseline.items()}
        self._meet(settings)
        return settings, self._resolve(settings, ("baseline",), {})

    def changed(
        self,
        settings: GroupSettings,
        changes: Mapping[str, Any],
        location: Location,
        before: Workload | None,
    ) -> Workload | None:
        """Apply `changes` to `settings` in place; none, and `settings` as they were, where
        something is wrong with them.

        `before` is what the change must differ from.
        """
        if not changes:
            if self.document.value_at(location) == {}:
                # anything else that is wrong with it was noted before
                self.document.add_problem(
                    location,
                    "this changes nothing: name at least one setting, such as 'model.norm'",
                )
            return None
        if not self.all_exist(changes, location):
            return None
        changed = laid_over(settings, changes)
        config = self._resolve(changed, location, changes)
        if (
            config is not None
            and before is not None
            and self._refused(config, before, changes, location)
        ):
            return None
        if config is not None and before is not None and same_science(config, before):
            self.document.add_problem(
                location,
                "this changes nothing: the settings are those of the step before",
                at_key=True,
            )
            return None
        if config is not None:
            settings.clear()
            settings.update(changed)
        return config

    def _refused(
        self, after: Workload, before: Workload, changes: Mapping[str, Any], location: Location
    ) -> bool:
        """Tell whether a value does not go with the one before it; noted at its place."""
        reasons = {key: after.refusal_of(key, before) for key in changes}
        for key, reason in reasons.items():
            if reason:
                self.document.add_problem(self._written(location, tuple(key.split("."))), reason)
        return any(reasons.values())

    def all_exist(self, changes: Mapping[str, Any], location: Location) -> bool:
        """Tell whether every key of `changes` is a setting; unknown ones become problems."""
        self._meet_named(changes)
        self._meet_parts(changes)
        return not [key for key in changes if not self._exists(key, (*location, key))]

    def _exists(self, key: str, location: Location) -> bool:
        if key in self._known or any(key.startswith(f"{name}.") for name in self._open):
            return True
        message = f"there is no setting '{key}'{did_you_mean_one_of(key, sorted(self._known))}"
        if key in ("model", "data", "train"):
            message = (
                f"'{key}' is a group of settings; name the setting itself, such as '{key}.name'"
            )
        self.document.add_problem(location, message, at_key=True)
        return False

    def _meet_named(self, changes: Mapping[str, Any]) -> None:
        """Learn the settings of the functions that changes name."""
        names = {group: changes.get(f"{group}.name") for group in _NAMED}
        if any(name is not None for name in names.values()):
            self._meet({group: {"name": name} for group, name in names.items() if name})

    def _meet_parts(self, changes: Mapping[str, Any]) -> None:
        """Learn the settings of the parts of a built-in network that changes name."""
        if "model.norm" not in self._known:
            return
        named = {kind: changes.get(f"model.{kind}.name") for kind in PART_KINDS}
        whole = {
            kind: changes[f"model.{kind}"] for kind in PART_KINDS if f"model.{kind}" in changes
        }
        parts = named | whole
        if any(parts.values()):
            self._meet({"model": parts})

    def _meet(self, settings: Mapping[str, Any]) -> None:
        """Learn what settings there are, those of the users' functions among them that these
        name.
        """
        try:
            schema = schema_of(settings)
        except UserCodeError:  # told where the settings are resolved
            return
        self._known |= set(_setting_names(schema))
        self._open |= set(_open_names(schema))
        self._sections |= set(_sections_of_users(schema))

    def _resolve(
        self, settings: Mapping[str, Any], location: Location, changes: Mapping[str, Any]
    ) -> Workload | None:
        has_network = "model" in kind_of(settings).groups
        model = settings.get("model", {}) if has_network else {}
        if problem := _two_spellings(settings):
            path, message = problem
            self.document.add_problem(self._place(path, location, changes), message, at_key=True)
            return None
        name = model.get("name")
        where = (*location, "model.name") if changes else (*location, "model", "name")
        if model and "name" not in model:
            # else each setting that a preset would have filled would be missing too
            message = (
                f"key 'name' is missing: the model to start from; allowed: {', '.join(PRESETS)}"
            )
            self.document.add_problem(where[:-1], message, at_key=True)
            return None
        if isinstance(name, str) and name not in PRESETS and not user_function("model", name):
            self.document.add_problem(
                where, f"there is no model '{name}'{did_you_mean_one_of(name, list(PRESETS))}"
            )
            return None
        try:
            return resolve(settings, self.data_dir)
        except UserCodeError as error:
            place = self._place((error.group, error.setting), location, changes)
            self.document.add_problem(place, str(error))
        except ValidationError as error:
            add_validation_problems(
                self.document,
                error,
                schema_of(settings),
                lambda path: self._place(path, location, changes),
            )
        return None

    def flattened(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """`changes` with each section of a user's settings taken apart into its own settings.

        `train.cfg: {optim: {lr: 0.2}}` changes `train.cfg.optim.lr` and leaves the rest of `cfg` as
        it is.
        """
        self._meet_named(changes)
        flat: dict[str, Any] = {}
        for key, value in changes.items():
            is_section = key in self._sections or any(
                key.startswith(f"{name}.") for name in self._open
            )
            if is_section and isinstance(value, dict) and value:
                flat |= self.flattened({f"{key}.{inner}": part for inner, part in value.items()})
            else:
                flat[key] = value
        return flat

    def _place(self, path: Location, location: Location, changes: Mapping[str, Any]) -> Location:
        """The place where the spec says what the setting at `path` is: in the change that set it,
        else in the step as a whole.
        """
        if not changes:
            return (*location, *path)
        for key in changes:
            parts = tuple(key.split("."))
            if path[: len(parts)] == parts:
                return (*self._written(location, parts), *path[len(parts) :])
        only = next(iter(changes))
        return self._written(location, tuple(only.split("."))) if len(changes) == 1 else location

    def _written(self, location: Location, parts: tuple[str, ...]) -> Location:
        """The place where a change of the setting `parts` stands: under its dotted name, or inside
        of a section.
        """
        for end in range(len(parts), 0, -1):
            place = (*location, ".".join(parts[:end]), *parts[end:])
            if self.document.has(place):
                return place
        return (*location, ".".join(parts))


def laid_over(settings: GroupSettings, *all_changes: Mapping[str, Any]) -> GroupSettings:
    """A copy of `settings` with every change made, one after the other.

    A user's network or data begins with its own settings, and leaves none to the next.
    """
    changed = deepcopy(settings)
    for changes in all_changes:
        for group in _NAMED:
            before, after = changed.get(group, {}).get("name"), changes.get(f"{group}.name")
            if after not in (None, before) and any(
                user_function(group, name) for name in (before, after)
            ):
                changed[group] = {}
        for kind in PART_KINDS:
            if f"model.{kind}.name" in changes and "model" in changed:
                changed["model"].pop(kind, None)  # another part begins with its own settings
            _make_room(changed.get("model", {}), kind, changes)
        for key, value in changes.items():
            _set(changed, key.split("."), value)
    return changed


def left_out(settings: GroupSettings, keys: Sequence[str]) -> GroupSettings:
    """A copy of `settings` in which these are not set, as if the spec were silent about them."""
    changed = deepcopy(settings)
    for key in keys:
        place = _place_of(changed, key)
        if place is not None:
            holder, name = place
            del holder[name]
    return changed


def is_set(settings: GroupSettings, key: str) -> bool:
    """Tell whether settings say something of a dotted one, or leave it at its default."""
    return _place_of(settings, key) is not None


def _place_of(settings: dict[str, Any], key: str) -> tuple[dict[str, Any], str] | None:
    """The mapping that has a dotted setting, and its name there."""
    if key in settings:
        return settings, key
    first, _, rest = key.partition(".")
    inner = settings.get(first)
    return _place_of(inner, rest) if rest and isinstance(inner, dict) else None


def tried(settings: GroupSettings, all_changes: Sequence[Mapping[str, Any]]) -> Workload | str:
    """The settings with every change made, or why they do not fit together."""
    try:
        return resolve(laid_over(settings, *all_changes))
    except UserCodeError as error:
        return str(error)
    except ValidationError as error:
        return explain(error).replace("\n", "; ")


def same_science(one: Workload, other: Workload) -> bool:
    """Tell whether two configurations train the same; a preset's name is only a label."""
    return _science(one) == _science(other)


def _science(config: Workload) -> str:
    """The settings in one spelling: to Python 1 and `true` are equal, to a user's code they are
    not.
    """
    return canonical_json(config.science)


def _two_spellings(settings: Mapping[str, Any]) -> tuple[Location, str] | None:
    """A key with a dot beside a section of its first word: two places for one setting."""
    for key, value in settings.items():
        section, dot, rest = key.partition(".")
        if dot and isinstance(settings.get(section), dict):
            message = f"'{key}' is set outside of the section '{section}', which is given too"
            return (key,), f"{message}: write it once, as '{rest}' inside that section"
        inner = _two_spellings(value) if isinstance(value, dict) else None
        if inner:
            return (key, *inner[0]), inner[1]
    return None


def _make_room(model: dict[str, Any], kind: str, changes: Mapping[str, Any]) -> None:
    """Write a part that is named alone as a mapping, where a change is about one of its
    settings.
    """
    is_changed = any(key.startswith(f"model.{kind}.") for key in changes)
    if is_changed and isinstance(model.get(kind), str):
        model[kind] = {"name": model[kind]}


def _set(settings: dict[str, Any], path: list[str], value: Any) -> None:
    flat = ".".join(path)
    if flat in settings:
        settings[flat] = deepcopy(value)  # a key that a function without named parameters takes
        return
    first, *rest = path
    if not rest:
        settings[first] = deepcopy(value)
        return
    if not isinstance(settings.get(first), dict):
        settings[first] = {}
    _set(settings[first], rest, value)


def _setting_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted name of every setting that a step may change: all but the three groups and the
    seed.
    """
    if prefix:
        yield from (prefix + (field.alias or name) for name, field in model.model_fields.items())
    for name, group in _groups(model):
        yield from _setting_names(group, f"{prefix}{name}.")


def _open_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted name of every setting that takes any key."""
    if model.model_config.get("extra") == "allow":
        yield prefix.removesuffix(".")
    for name, field in model.model_fields.items():
        if prefix and is_open(field):
            yield f"{prefix}{field.alias or name}"
    for name, group in _groups(model):
        yield from _open_names(group, f"{prefix}{name}.")


def _sections_of_users(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted name of every section that a user's function takes."""
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is None:
            continue
        here = f"{prefix}{field.alias or name}"
        if any(isinstance(mark, SectionOf) for mark in field.metadata):
            yield here
        yield from _sections_of_users(section, f"{here}.")


def _groups(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The settings that are groups of others, as a spec writes them."""
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is not None:
            yield field.alias or name, section
