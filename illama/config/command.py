"""A training by a user's command, `train: {command: "python train.py --lr {lr}", lr: 0.1}`, as a
workload.

For scripts that cannot be imported. The settings are the placeholders of the command, whose words
are filled in one by one, without a shell. The script reports its metrics in lines that it prints
(`illama.training.command` says how).
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Formatter
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, create_model

from illama.config.code_files import CodeFile, run_as_module, run_by_name, with_imports
from illama.config.functions import length_in
from illama.config.imports import (
    UserCodeError,
    about,
    digest_of,
    files_beside,
    folder_of_spec,
    is_beside,
)
from illama.config.settings import Settings
from illama.config.user_training import refuse_other_sections
from illama.config.workload import Workload

GIVEN = (
    *("seed", "device", "checkpoint_dir", "artifacts_dir", "data_dir"),
    *("metrics_file", "settings_file"),
)
"""Placeholders that are a trial's, and no settings."""
_OWN = ("command", "files", "metrics_from")
"""Keys of `train` that are no settings of the script."""
MetricsFrom = Literal["mlflow", "tensorboard"] | None
"""Loggers whose files hold a command's metrics: `illama.training.metric_files` reads them."""
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_SCRIPT = re.compile(r"[\w./-]+\.py\b")


class CommandLine(Settings):
    """A user's command and its settings."""

    command: str
    """The command as the spec has it, placeholders included."""
    files: tuple[str, ...] = ()
    """Further files beside the spec that the script reads: part of what it is."""
    metrics_from: MetricsFrom = None
    """Files that its metrics are read from beside what it prints."""
    code: str
    """Digest of the script, of the modules that it imports, and of `files`."""
    options: dict[str, JsonValue]
    """Value of each placeholder; with `{settings_file}` whatever else that file holds."""

    def written(self, name: str) -> Any:
        """Setting of that name."""
        return getattr(self, name) if name in _OWN else self.options.get(name)


class CommandTraining(Workload):
    """All that decides the numbers of one training by a user's command."""

    trainer: ClassVar[str] = "illama.training.command:train_by_command"

    train: CommandLine
    seed: int = Field(default=0, ge=0)
    """Seed that the command is given."""

    @classmethod
    def is_meant_by(cls, settings: Mapping[Any, Any]) -> bool:
        """Tell whether there is a command and no function."""
        train = settings.get("train")
        return isinstance(train, Mapping) and "command" in train and train.get("name") is None

    @classmethod
    def titled(cls, settings: Mapping[Any, Any]) -> str:
        """The script's name, else the command's first word."""
        words = str(settings["train"]["command"]).split() or ["the command"]
        scripts = (word for word in words if word.endswith((".py", ".sh")))
        return next(scripts, words[0])

    @classmethod
    def schema_of(cls, settings: Mapping[str, Any]) -> type[Settings]:
        """Placeholders as settings, each of the type that its first value has."""
        with about("train", "command"):
            placeholders = placeholders_of(settings["train"]["command"])
        is_open = "settings_file" in placeholders
        written = settings["train"]
        fields: dict[str, Any] = {"command": (str, ...), "files": (tuple[str, ...], ())}
        fields["metrics_from"] = (MetricsFrom, None)
        if not is_open:
            names = dict.fromkeys(name.partition(".")[0] for name in placeholders)
            for index, name in enumerate(name for name in names if name not in GIVEN):
                kind = JsonValue if name not in written else _kind_of(written[name])
                fields[f"option_{index}"] = (kind, Field(alias=name))

        extra: Literal["allow", "forbid"] = "allow" if is_open else "forbid"

        class Options(Settings):
            model_config = ConfigDict(extra=extra)

        made = create_model(cls.titled(settings), __base__=Options, **fields)
        sections: Any = {"train": (made, ...)}
        schema: type[Settings] = create_model(
            made.__name__, __base__=Settings, **sections, seed=(int, Field(default=0, ge=0))
        )
        return schema

    @classmethod
    def resolved(cls, settings: Mapping[str, Any], data_dir: Path | None) -> Self:
        """The command, its settings, and a digest of the files that it is made of."""
        command = settings["train"]["command"]
        checked: Any = cls.schema_of(settings).model_validate(
            {key: value for key, value in settings.items() if value != {}}
        )
        refuse_other_sections(settings, cls.groups, "settings of a command are its placeholders")
        options = checked.train.model_dump(mode="json", by_alias=True)
        files = tuple(options.pop("files"))
        del options["command"]
        metrics_from = options.pop("metrics_from")
        with about("train", "command"):
            code = digest_of(command_files(command, files, folder_of_spec()))
            line = CommandLine(
                command=command,
                files=files,
                metrics_from=metrics_from,
                code=code,
                options=options,
            )
            filled(line, dict.fromkeys(GIVEN, "x"))
        return cls(train=line, seed=checked.seed)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The command, the content of its files and its settings."""
        line = self.train
        found = {"command": line.command, "code": line.code, "options": line.options}
        if line.metrics_from:
            found["metrics_from"] = line.metrics_from
        return {"train": found}

    @property
    def length(self) -> int | None:
        """Iterations, where an option says how many there will be."""
        return length_in(self.train.options)

    def refusal_of(self, key: str, before: Workload) -> str | None:
        """Reason why a setting cannot be what it is here: it was of another type before."""
        old, new = before.setting(key), self.setting(key)
        if old is None or new is None or _are_alike(old, new):
            return None
        return f"{key}: it should have the type of its previous value {old!r}, found {new!r}"

    def sources(self, folder: Path) -> Mapping[str, bytes]:
        """The script, the modules beside it that it imports, and the further files."""
        found = command_files(self.train.command, self.train.files, folder)
        return {name: content for name, content in found.items() if not name.startswith("/")}


def _are_alike(old: object, new: object) -> bool:
    """Tell whether two values have one type, or are both numbers."""
    kinds = {type(old), type(new)}
    return len(kinds) == 1 or kinds == {int, float}


def placeholders_of(command: Any) -> tuple[str, ...]:
    """Names in braces, in order. Raises `UserCodeError` for a command that says nothing of the
    seed.
    """
    if not isinstance(command, str) or not command.strip():
        raise UserCodeError(f"the command is {command!r}; write one, such as 'python train.py'")
    names = [name for word in words_of(command) for _, name, _, _ in _parsed(word) if name]
    if not {"seed", "settings_file"} & set(names):
        raise UserCodeError(
            "the command has no {seed}, so all seeds would train the same; add '--seed {seed}', "
            "or the script's name for it"
        )
    return tuple(dict.fromkeys(names))


def words_of(command: str) -> list[str]:
    """Words of a command, quotes taken off, placeholders still in it."""
    try:
        return shlex.split(command)
    except ValueError as error:
        raise UserCodeError(f"the command cannot be split into words: {error}") from error


def _parsed(word: str) -> Iterator[tuple[str, str | None, str, str | None]]:
    try:
        parts = [
            (text, name, flag or "", conversion)
            for text, name, flag, conversion in Formatter().parse(word)
        ]
    except ValueError as error:
        message = f"'{word}' of the command: {error}; a brace itself is written twice, '{{{{'"
        raise UserCodeError(message) from error
    for part in parts:
        if part[1] is not None and not _NAME.fullmatch(part[1]):
            raise UserCodeError(f"'{word}' of the command: '{{{part[1]}}}' names no setting")
        yield part


def filled(line: CommandLine, given: Mapping[str, str]) -> list[str]:
    """Words of the command with every placeholder filled in.

    A list is as many words where it is a word of its own. `{amp:--amp}` is `--amp` where the
    setting is true, and no word where it is false or null. Raises `UserCodeError` for a value that
    cannot be a word.
    """
    return [word for template in words_of(line.command) for word in _filled(template, line, given)]


def _filled(template: str, line: CommandLine, given: Mapping[str, str]) -> list[str]:
    parts = list(_parsed(template))
    if len(parts) == 1:
        [(before, only, flag, _)] = parts
        if only and not before:
            return _whole_words(only, flag, _value(line, only, given))
    word = ""
    for text, name, _, _ in parts:
        word += text
        if name:
            word += _text(name, _value(line, name, given))
    return [word]


def _whole_words(name: str, flag: str, value: Any) -> list[str]:
    """Words of a placeholder that stands alone."""
    if flag:
        return _flag(name, flag, value)
    if isinstance(value, list):
        return [_text(name, item) for item in value]
    return [_text(name, value)]


def _value(line: CommandLine, name: str, given: Mapping[str, str]) -> Any:
    if name in given:
        return given[name]
    value: Any = line.options
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise UserCodeError(f"the command has {{{name}}}, but there is no setting of that name")
        value = value[part]
    return value


def _flag(name: str, flag: str, value: Any) -> list[str]:
    if value is not None and not isinstance(value, bool):
        raise UserCodeError(f"{{{name}:{flag}}} needs a flag: {name} must be true or false")
    if value:
        return [flag]
    return []


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    kinds: dict[type, str] = {list: "a list", dict: "a mapping"}
    found = kinds.get(type(value), "null")
    raise UserCodeError(
        f"setting '{name}' is {found}, which cannot be part of a word; a list may be a word by "
        "itself, and {settings_file} can hold anything"
    )


def command_files(command: str, files: tuple[str, ...], folder: Path) -> dict[str, bytes]:
    """Files that a command is made of, by their paths from `folder`; those of files that lie
    elsewhere begin with a slash.

    The files that its words name, the modules that Python files import, and `files`. Raises
    `UserCodeError` for one that is not there.
    """
    found: dict[str, bytes] = {}
    for word, start in _file_words(command, folder):
        roots = [file.root for file in start]
        own = None if Path(word).is_absolute() else folder
        made_of = _with_imports(start, [*roots, own] if own else roots)
        for file, content in made_of.items():
            found[_name_from(own, file)] = content
    return found | files_beside(files, folder)


def _with_imports(start: list[CodeFile], roots: list[Path]) -> dict[CodeFile, bytes]:
    try:
        return with_imports(start, roots)
    except SyntaxError as error:
        message = f"{error.filename}, line {error.lineno}: {error.msg}"
        raise UserCodeError(message) from error


def _name_from(folder: Path | None, file: CodeFile) -> str:
    if folder and file.path.is_relative_to(folder):
        return file.path.relative_to(folder).as_posix()
    return f"/{file.name}"


def _file_words(command: str, folder: Path) -> Iterator[tuple[str, list[CodeFile]]]:
    """Words that name code, and the files that it begins with."""
    words = words_of(command)
    for before, word in zip(["", *words], words, strict=False):
        if "{" in word:
            continue
        if before == "-m":
            yield word, run_as_module(folder, word)
        if not before:
            yield word, run_by_name(word)
        path = folder / word
        if is_beside(path, folder) or _is_script_elsewhere(word):
            yield word, [CodeFile(path.parent, path)]
            yield from _scripts_in(path, folder)
        elif word.endswith(".py"):
            where = "" if Path(word).is_absolute() else f" next to the spec, in {folder}"
            raise UserCodeError(f"there is no '{word}'{where}")


def _scripts_in(path: Path, folder: Path) -> Iterator[tuple[str, list[CodeFile]]]:
    """Python files that a shell script names, where they are there."""
    if path.suffix != ".sh":
        return
    for word in _SCRIPT.findall(path.read_text(errors="replace")):
        for script in dict.fromkeys((path.parent / word, folder / word)):
            if is_beside(script, folder) or _is_script_elsewhere(word):
                yield word, [CodeFile(script.parent, script)]


def _is_script_elsewhere(word: str) -> bool:
    return word.endswith((".py", ".sh")) and Path(word).is_absolute() and Path(word).is_file()


def _kind_of(value: Any) -> Any:
    """Type that all values of a setting have: that of the baseline's; a whole number may be any."""
    kinds: dict[type, Any] = {bool: bool, int: int | float, float: float, str: str}
    kinds |= {dict: dict[str, JsonValue], list: list[JsonValue]}
    return kinds.get(type(value), JsonValue)
