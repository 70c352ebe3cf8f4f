"""A step's changes laid over settings, and what is wrong with them noted at its place in the file."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from illama.config import (
    PRESETS,
    UserCodeError,
    Workload,
    explain,
    kind_of,
    resolve,
    schema_of,
    user_function,
)
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
        self._open_ended: set[str] = set()

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
        """Apply `changes` to `settings` in place; none, and `settings` as they were, where something is wrong with them.

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

    def all_exist(self, changes: Mapping[str, Any], location: Location) -> bool:
        """Whether every key of `changes` is a setting; unknown ones become problems."""
        self._meet({group: {"name": changes.get(f"{group}.name")} for group in _NAMED})
        return not [key for key in changes if not self._exists(key, (*location, key))]

    def _exists(self, key: str, location: Location) -> bool:
        if key in self._known or key.partition(".")[0] in self._open_ended:
            return True
        message = f"there is no setting '{key}'{did_you_mean_one_of(key, sorted(self._known))}"
        if key in ("model", "data", "train"):
            message = (
                f"'{key}' is a group of settings; name the setting itself, such as '{key}.name'"
            )
        self.document.add_problem(location, message, at_key=True)
        return False

    def _meet(self, settings: Mapping[str, Any]) -> None:
        """Learn what settings there are, those of the users' functions among them that these name."""
        try:
            schema = schema_of(settings)
        except UserCodeError:  # told where the settings are resolved
            return
        self._known |= set(_setting_names(schema))
        self._open_ended |= {
            name for name, group in _groups(schema) if group.model_config.get("extra") == "allow"
        }

    def _resolve(
        self, settings: Mapping[str, Any], location: Location, changes: Mapping[str, Any]
    ) -> Workload | None:
        has_network = "model" in kind_of(settings).groups
        model = settings.get("model", {}) if has_network else {}
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
            self.document.add_problem(_place((error.group, "name"), location, changes), str(error))
        except ValidationError as error:
            add_validation_problems(
                self.document,
                error,
                schema_of(settings),
                lambda path: _place(path, location, changes),
            )
        return None


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
        for key, value in changes.items():
            _set(changed, key.split("."), value)
    return changed


def tried(settings: GroupSettings, all_changes: Sequence[Mapping[str, Any]]) -> Workload | str:
    """The settings with every change made, or why they do not fit together."""
    try:
        return resolve(laid_over(settings, *all_changes))
    except UserCodeError as error:
        return str(error)
    except ValidationError as error:
        return explain(error).replace("\n", "; ")


def same_science(one: Workload, other: Workload) -> bool:
    """Whether two configurations train the same; a preset's name is only a label."""
    return _science(one) == _science(other)


def _science(config: Workload) -> str:
    """In one spelling: to Python 1 and `true` are equal, to a user's code they are not."""
    return canonical_json(config.science)


def _place(path: Location, location: Location, changes: Mapping[str, Any]) -> Location:
    """Where the spec says what the setting at `path` is: in the change that set it, else in the step as a whole."""
    if not changes:
        return (*location, *path)
    for key in changes:
        parts = tuple(key.split("."))
        if path[: len(parts)] == parts:
            return (*location, key, *path[len(parts) :])
    return (*location, next(iter(changes))) if len(changes) == 1 else location


def _set(settings: dict[str, Any], path: list[str], value: Any) -> None:
    *parents, last = path
    for parent in parents:
        if not isinstance(settings.get(parent), dict):
            settings[parent] = {}
        settings = settings[parent]
    settings[last] = deepcopy(value)


def _setting_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted name of every setting that a step may change: all but the three groups and the seed."""
    if prefix:
        yield from (prefix + (field.alias or name) for name, field in model.model_fields.items())
    for name, group in _groups(model):
        yield from _setting_names(group, f"{prefix}{name}.")


def _groups(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The settings that are groups of others, as a spec writes them: the first of their types, others are not written."""
    for name, field in model.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        nested = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        yield from ((field.alias or name, group) for group in nested[:1])
