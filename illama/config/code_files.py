"""Files that user code is made of: those that it starts from, and all that they import.

Imports are read, not run, so one inside a function counts as well. A module is looked for below the
roots that are given first, then wherever Python finds it outside of the installed packages: an
editable install or a folder on PYTHONPATH is edited like the code itself.
"""

import ast
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import entry_points
from importlib.util import resolve_name
from itertools import islice
from os import sep
from pathlib import Path
from time import time
from types import ModuleType

_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
INSTALLED = {
    Path(folder).resolve()
    for folder in (
        *(sysconfig.get_path(kind) for kind in ("purelib", "platlib", "stdlib")),
        *(entry for entry in sys.path if Path(entry).name in _PACKAGE_FOLDERS),
    )
}
"""Folders of installed packages; an environment may have those of its system, or of another one."""
OURS = ("illama", "orchestrator")
_STARTED = time()
"""What was edited later may be another text than the one that this process has imported."""
_settled: set[str] = set()
"""Names of imported modules that nobody edits."""
_INSTALLED_FILES = tuple(f"{folder}{sep}" for folder in INSTALLED)
_SUFFIXES = (".py", *EXTENSION_SUFFIXES)
_IMPORTERS = ("import_module", "__import__")
_ALL_BELOW = "**"
"""In the place of a module's name: every module of the package."""
_FILES_OF_A_PROJECT = 500
"""A package outside of the code's folder with more files is taken whole, its imports not read: it
is a library that somebody has in an editable install, and reading it would take minutes."""
_KEPT_FILES = 4096
"""So many files' imports are kept in memory."""


@dataclass(frozen=True)
class CodeFile:
    """File that runs when a module is imported from `root`."""

    root: Path
    path: Path

    @property
    def name(self) -> str:
        """Path below the root, with slashes."""
        return self.path.relative_to(self.root).as_posix()

    @property
    def top(self) -> str:
        """Name of the package that it belongs to, or of the module itself."""
        return self.name.partition("/")[0].partition(".")[0]

    @property
    def package(self) -> str:
        """Package that its relative imports start from."""
        return ".".join(self.path.parent.relative_to(self.root).parts)

    def imports(self, source: bytes) -> Iterator[str]:
        """Every module that its text may import, whether there is one or not."""
        if self.path.suffix == ".py":
            yield from _read_imports(source, self.package, self.path.name)


def files_of(root: Path, name: str) -> Iterator[CodeFile]:
    """The files that run when `name` is imported: its packages' and its own, where they lie below
    `root`.
    """
    parts = name.split(".")
    if not all(parts) or sep in name:
        return
    for end, part in enumerate(parts, start=1):
        base = root.joinpath(*parts[:end])
        if part == _ALL_BELOW:
            found = _modules_in(base.parent) if end > 1 else ()
            yield from (CodeFile(root, path) for path in found)
            return
        names = (base / "__init__.py", *(base.with_name(base.name + end) for end in _SUFFIXES))
        yield from (CodeFile(root, path) for path in names if path.is_file())


def _modules_in(package: Path) -> list[Path]:
    """Python files below a package, without what editors keep beside them: hidden files and
    folders, and links to nowhere.
    """
    return sorted(
        path
        for path in package.rglob("*.py")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(package).parts)
    )


def run_as_module(root: Path, name: str) -> list[CodeFile]:
    """The files of `python -m name`, its `__main__` among them: below `root`, or wherever it is
    edited.
    """
    main = f"{name}.__main__"
    found = [*files_of(root, name), *files_of(root, main)] or [*_elsewhere(name), *_elsewhere(main)]
    return list(dict.fromkeys(found))


def run_by_name(word: str) -> list[CodeFile]:
    """The files of a script that a package offers as a command; none of an installed one."""
    points = entry_points(group="console_scripts", name=word)
    return [file for point in points for file in _elsewhere(point.module)]


def with_imports(start: Iterable[CodeFile], roots: Sequence[Path]) -> dict[CodeFile, bytes]:
    """Each file of `start` and of all that they import, with its content.

    A library that is taken whole stands there as one file of the digests of all its files. Raises
    `SyntaxError` for a file below `roots` that is no Python.
    """
    found: dict[Path, tuple[CodeFile, bytes]] = {}
    waiting = list(start)
    while waiting:
        file = waiting.pop()
        if file.path in found:
            continue
        content = _library(file.path) if file.path.is_dir() else file.path.read_bytes()
        found[file.path] = file, content
        try:
            names = list(file.imports(content))
        except SyntaxError:
            if file.root in roots:
                raise
            names = []
        for name in names:
            waiting += _below(roots, name) or _elsewhere(name)
    return dict(found.values())


def _below(roots: Sequence[Path], name: str) -> list[CodeFile]:
    return [file for root in dict.fromkeys(roots) for file in files_of(root, name)]


def _elsewhere(name: str) -> list[CodeFile]:
    """Files of a module that lies neither beside the code nor among the installed packages."""
    top = name.partition(".")[0]
    root = _root_elsewhere(top)
    if root is None:
        return []
    if is_library(root / top):
        return [CodeFile(root, root / top)]
    return list(files_of(root, name))


@cache
def _root_elsewhere(top: str) -> Path | None:
    """Folder that holds what Python would import by that name; None of what is installed or
    ours.
    """
    if top in sys.stdlib_module_names or top in OURS:
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ())
    if spec.has_location and spec.origin:
        places.append(spec.origin)
    roots = [Path(place).resolve().parent for place in places]
    return next((root for root in roots if not _is_installed(root)), None)


def _is_installed(root: Path) -> bool:
    """Tell whether packages come there by an installer, which nobody edits."""
    return bool(INSTALLED & {root, *root.parents}) or any(root.glob("*.dist-info"))


@cache
def is_library(package: Path) -> bool:
    """Tell whether a package is larger than what somebody writes for a sweep."""
    files = islice(package.rglob("*.py"), _FILES_OF_A_PROJECT + 1)
    return sum(1 for _ in files) > _FILES_OF_A_PROJECT


def _library(package: Path) -> bytes:
    """Names and digests of all files of a package."""
    paths = _modules_in(package)
    digests = [sha256(path.read_bytes()).hexdigest() for path in paths]
    names = [path.relative_to(package).as_posix() for path in paths]
    return repr(list(zip(names, digests, strict=True))).encode()


def edited_modules() -> set[str]:
    """Packages, and modules outside of any, that are not installed and of which a file is newer
    than this process.
    """
    names = sys.modules.keys() - _settled
    _settled.update(name for name in names if _is_settled(name))
    return {name.partition(".")[0] for name in names - _settled if _is_edited(sys.modules[name])}


def is_compiled(top: str) -> bool:
    """Tell whether a package has modules in machine code, which cannot be imported twice."""
    files = [
        str(getattr(module, "__file__", ""))
        for name, module in sys.modules.items()
        if name.partition(".")[0] == top
    ]
    return any(file.endswith(tuple(EXTENSION_SUFFIXES)) for file in files)


def _is_settled(name: str) -> bool:
    """Tell whether a module is one that nobody edits."""
    file = getattr(sys.modules[name], "__file__", None)
    is_theirs = isinstance(file, str) and not file.startswith(_INSTALLED_FILES)
    return not is_theirs or name.partition(".")[0] in (*OURS, "__main__")


def _is_edited(module: ModuleType) -> bool:
    try:
        return Path(str(module.__file__)).stat().st_mtime > _STARTED
    except OSError:
        return False


def forget() -> None:
    """Look again where modules are."""
    _root_elsewhere.cache_clear()
    is_library.cache_clear()


@lru_cache(_KEPT_FILES)
def _read_imports(source: bytes, package: str, name: str) -> tuple[str, ...]:
    """Imports of a text, which is parsed once however often a plan asks for it."""
    return tuple(_imports(source, package, name))


def _imports(source: bytes, package: str, name: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source, name)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, level=level, names=names):
                base = _absolute("." * level + (module or ""), package)
                yield from (f"{base}.{alias.name}" for alias in names)
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[what, *_]):
                if called in _IMPORTERS:
                    yield from _called(what, package)


def _called(what: ast.expr, package: str) -> Iterator[str]:
    """Modules that a call of `import_module` may mean.

    Of a computed name those of the package that its text begins with, else of the package that
    calls: a registry that imports all its modules.
    """
    match what:
        case ast.Constant(value=str(name)):
            yield _absolute(name, package)
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]) if text.rpartition(".")[0]:
            yield _absolute(f"{text.rpartition('.')[0]}.{_ALL_BELOW}", package)
        case _ if package:
            yield f"{package}.{_ALL_BELOW}"


def _absolute(name: str, package: str) -> str:
    """The module's whole name; a relative one that leads out of the package finds nothing."""
    try:
        return resolve_name(name, package)
    except ImportError:
        return name
