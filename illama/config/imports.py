"""Functions that others wrote, named `module:function`: found, imported, and identified by their
source.

Their folder comes behind the standard library and what is installed: a `statistics.py` or a
`torch.py` in it must not become what we and our libraries import by that name. Where the code of
others means such a file, its name is refused.

Importing a module runs it. What it prints goes to stderr, what it raises becomes a `UserCodeError`
that names the line.
"""

import importlib
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import cache
from hashlib import sha256
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points, packages_distributions, version
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from illama.config.code_files import (
    INSTALLED,
    OURS,
    CodeFile,
    edited_modules,
    files_of,
    forget,
    is_compiled,
    is_library,
    with_imports,
)
from illama.config.source import digests_of
from illama.spelling import did_you_mean

_BY_SYNTAX = "syntax-1 sha256:"
"""Begins an identity of code by its normal form; the number is that of the form's rules."""


class UserCodeError(ValueError):
    """Somebody's function cannot be imported or called, or returns something else than it must."""

    group = "model"
    """Group of settings that it is about: `model`, `data` or `train`."""
    setting = "name"
    """Setting of that group that it is about."""


class _Imported:
    """Modules beside a spec, as far as this process knows of them."""

    folder: Path | None = None
    is_open: bool = False
    """True if modules are taken from there."""
    is_on_path: bool = False
    """True if we put it there."""
    projects: set[str] = set()
    """Packages and modules that users' code imports from elsewhere, where they are edited."""


class _Beside:
    """Finds modules beside the spec before others of their name that are not installed, such as
    those on PYTHONPATH.
    """

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        folder = _Imported.folder
        if (
            path is not None
            or not folder
            or not _Imported.is_open
            or not any(files_of(folder, name))
        ):
            return None
        return None if _owner(name) else PathFinder.find_spec(name, [str(folder)])


def _owner(name: str) -> str | None:
    """Say whose the name of a module is; None where it is not taken."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return f"Python's own '{top}'"
    if top in OURS:
        return f"this package's own '{top}'"
    spec = PathFinder.find_spec(top, [entry for entry in sys.path if _is_installed(entry)])
    return f"the installed '{top}'" if spec and spec.origin else None


def _is_installed(entry: str) -> bool:
    return Path(entry).name in ("site-packages", "dist-packages")


def import_from(folder: Path, *, lazily: bool = False) -> None:
    """Look for modules in `folder`, too, from now on, and import all code of users again.

    What the modules keep is new for each trial then, so that no number depends on which trials the
    process has trained before, and an edit is not missed.

    `lazily` leaves Python alone until a function is asked for. Otherwise a process that is started
    before anything is imported inherits the path.
    """
    if _Imported.is_on_path and str(_Imported.folder) in sys.path:
        sys.path.remove(str(_Imported.folder))
    for beside in {_Imported.folder or folder, folder}:
        _forget_modules_of(beside)
    projects = {name for name in _Imported.projects if not is_compiled(name)}
    for project in projects | edited_modules():
        _forget_module(project)
    _Imported.folder = folder.resolve()
    _Imported.is_open = _Imported.is_on_path = False
    if not lazily:
        _open(_Imported.folder)
    importlib.invalidate_caches()
    forget()
    function_of.cache_clear()
    identity_of.cache_clear()
    identity_by_bytes.cache_clear()


def _forget_modules_of(folder: Path) -> None:
    """Forget modules of all names that there are in a folder, whoever imported them from wherever:
    a notebook that has imported the training before must not keep what an edit has changed.
    """
    found = folder.iterdir() if folder.is_dir() else ()
    for name in {entry.name.partition(".")[0] for entry in found} & sys.modules.keys():
        if name != "__main__" and not _owner(name):
            _forget_module(name)


def _forget_module(top: str) -> None:
    """Forget a package, but for a large library: its machine code cannot be loaded twice."""
    places = getattr(sys.modules.get(top), "__path__", ())
    if not any(is_library(Path(place)) for place in places):
        for name in [known for known in sys.modules if known.partition(".")[0] == top]:
            del sys.modules[name]


def import_again_from(folder: Path) -> None:
    """Import again as `import_from` does, where modules were looked for in another folder
    meanwhile; nothing otherwise.
    """
    if _Imported.folder != folder.resolve():
        import_from(folder, lazily=True)


def _open(folder: Path) -> None:
    """Take modules from `folder`: behind what is installed, before what else is on the path."""
    _Imported.is_open = True
    if str(folder) not in sys.path:
        places = [index for index, entry in enumerate(sys.path) if _is_installed(entry)]
        sys.path.insert(places[-1] + 1 if places else len(sys.path), str(folder))
        _Imported.is_on_path = True
    if _Beside not in sys.meta_path:
        sys.meta_path.insert(0, _Beside)


@contextmanager
def blaming(what: str) -> Iterator[None]:
    """Run code of others: `what` names it where it raises."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except UserCodeError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise UserCodeError(f"{what} raised {words_of(error)}{_place(error)}") from error


@contextmanager
def about(group: str, setting: str = "name") -> Iterator[None]:
    """Say which section of the settings, `model`, `data` or `train`, a `UserCodeError` is about."""
    try:
        yield
    except UserCodeError as error:
        error.group, error.setting = group, setting
        raise


def words_of(error: BaseException) -> str:
    """Kind and message of an error of others, whose message may itself raise."""
    try:
        message = str(error)
    except BaseException as second:
        if isinstance(second, KeyboardInterrupt):
            raise
        message = "(its message cannot be read)"
    return f"{type(error).__name__}: {message}"


@cache
def function_of(target: str) -> Callable[..., Any]:
    """Import and return what `module:function` names. Raises `UserCodeError`."""
    module_name, _, path = target.partition(":")
    module = _module(module_name)
    try:
        function: Callable[..., Any] = attrgetter(path)(module)
    except AttributeError:
        known = [name for name, value in vars(module).items() if callable(value) and name[0] != "_"]
        raise UserCodeError(
            f"module '{module_name}' has no function '{path}'{did_you_mean(path, known)}"
        ) from None
    if not callable(function):
        raise UserCodeError(f"{target} is {function!r}, not a function")
    return function


def offered(group: str, name: str) -> str | None:
    """The `module:function` that an installed package offers as `name`, by an entry point of
    `group`.
    """
    return next(
        (f"{point.module}:{point.attr}" for point in entry_points(group=group, name=name)), None
    )


@cache
def identity_of(target: str) -> str:
    """Identify the code behind `module:function`, to tell whether it is the same as before.

    The module's own `NUMERICS_VERSION`, if it has one: its author then says when numbers change.
    Else a digest of the normal form (`illama.config.source`) of the module and of all that it
    imports (`illama.config.code_files`): comments, docstrings and formatting do not count. Of an
    installed package its version and the bytes of the module's file.
    """
    module = _module(target.partition(":")[0])
    declared = getattr(module, "NUMERICS_VERSION", None)
    if declared is not None:
        return f"NUMERICS_VERSION {declared}"
    if _root(module) in INSTALLED:
        return identity_by_bytes(target)
    digests = code_digests(target)
    return f"{_BY_SYNTAX}{sha256(repr(sorted(digests.items())).encode()).hexdigest()}"


@cache
def identity_by_bytes(target: str) -> str:
    """Identity of the same code as earlier versions knew it: every byte counts, comments too."""
    module = _module(target.partition(":")[0])
    package = ""
    if _root(module) in INSTALLED:
        top = module.__name__.partition(".")[0]
        package = "".join(
            f"{name} {version(name)} " for name in packages_distributions().get(top, [])
        )
    files = sorted(sources(target).items())
    return f"{package}sha256:{sha256(repr(files).encode()).hexdigest()}"


def code_digests(target: str) -> dict[str, str]:
    """Digest of the normal form of each file that the code behind `module:function` is made of."""
    return digests_of(dict(sources(target)))


def is_by_syntax(code: str) -> bool:
    """Tell whether an identity of code is that of its normal form."""
    return code.startswith(_BY_SYNTAX)


def refuse_other_code(target: str, code: str) -> None:
    """Raises `UserCodeError` where the code behind `module:function` is not what `identity_of` said
    of it: `code`.

    A trial that an earlier version began has the identity by bytes.
    """
    found = identity_of(target)
    if code == found or code == identity_by_bytes(target):
        return
    raise UserCodeError(f"the code of {target} ({found}) is not the code that was planned ({code})")


def sources(target: str, below: Path | None = None) -> Mapping[str, bytes]:
    """The files that the module and all that it imports are made of, by their paths below the
    folders that they were found in; with `below`, only those in that folder.
    """
    module = _module(target.partition(":")[0])
    root = _root(module)
    own = Path(str(module.__file__))
    if root in INSTALLED:
        return {} if below else {own.name: own.read_bytes()}
    start = list(files_of(root, module.__name__)) or [CodeFile(own.parent, own)]
    with blaming(f"reading the code of {target}"):
        found = with_imports(start, [root])
    for file in found:
        _refuse_taken_name(file, target)
        if file.top not in OURS and file.root != _Imported.folder and file.path.is_file():
            _Imported.projects.add(file.top)
    folder = below.resolve() if below else None
    return {file.name: content for file, content in found.items() if folder in (None, file.root)}


def _refuse_taken_name(file: CodeFile, target: str) -> None:
    if file.root == _Imported.folder and (owner := _owner(file.top)):
        raise UserCodeError(
            f"{file.path.name} next to the spec, which {target} imports, has the same name as "
            f"{owner}; rename it"
        )


def _module(name: str) -> ModuleType:
    folder = _Imported.folder
    if folder:
        _open(folder)
    no_bytecode = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # the folder is not ours
    try:
        with blaming(f"importing '{name}'"):
            module = importlib.import_module(name)
        if folder and any(files_of(folder, name.partition(".")[0])) and _root(module) != folder:
            raise UserCodeError(
                f"module '{name}' next to the spec is hidden by "
                f"{_owner(name) or module.__file__}; rename it"
            )
        return module
    except UserCodeError as error:
        if isinstance(error.__cause__, ModuleNotFoundError) and error.__cause__.name in (
            name,
            name.partition(".")[0],
        ):
            known = [path.stem for path in folder.glob("*.py")] if folder else []
            where = (
                f"next to the spec, in {folder}, or among"
                if folder
                else "in the current folder or among"
            )
            message = (
                f"there is no module '{name}' {where} the installed "
                f"packages{did_you_mean(name, known)}"
            )
            raise UserCodeError(message) from None
        raise
    finally:
        sys.dont_write_bytecode = no_bytecode


def _root(module: ModuleType) -> Path:
    """The folder that the module's whole name is found in."""
    if not getattr(module, "__file__", None):
        raise UserCodeError(
            f"module '{module.__name__}' has no file, so a change to it could not be noticed"
        )
    file = Path(str(module.__file__)).absolute()
    levels = module.__name__.count(".") + (file.name == "__init__.py")
    root = file.parents[levels].resolve()
    # a link there leads to where the code is edited
    return file.resolve().parents[levels] if root in INSTALLED else root


def files_beside(names: Iterable[str], folder: Path) -> dict[str, bytes]:
    """Further files beside the spec that `train.files` names. Raises `UserCodeError` for one that
    is not there.
    """
    found = {}
    for name in names:
        path = folder / name
        if not is_beside(path, folder):
            raise UserCodeError(
                f"'{name}' in train.files is not a file next to the spec, in {folder}"
            )
        found[name] = path.read_bytes()
    return found


def is_beside(path: Path, folder: Path) -> bool:
    """Tell whether there is such a file in a folder, or below it."""
    return path.is_file() and path.resolve().is_relative_to(folder.resolve())


def digest_of(files: Mapping[str, bytes]) -> str:
    """Digest of files and of their names."""
    return f"sha256:{sha256(repr(sorted(files.items())).encode()).hexdigest()}"


def folder_of_spec() -> Path:
    """Folder that users' modules are looked for in: the spec's, else the current one."""
    return _Imported.folder or Path.cwd()


def _place(error: BaseException) -> str:
    """The line of their code that it comes from."""
    if isinstance(error, SyntaxError):
        return ""  # it says so itself
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<")
    ]
    theirs = [
        frame
        for frame in frames
        if not ({*INSTALLED, Path(__file__).parents[1]} & set(Path(frame.filename).parents))
    ]
    return f" ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else ""
