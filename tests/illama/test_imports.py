"""Functions of others are found beside a spec or among installed packages, and known by their
source.
"""

import importlib
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from illama.config import code_files
from illama.config.imports import (
    UserCodeError,
    function_of,
    identity_by_bytes,
    identity_of,
    import_from,
    refuse_other_code,
    sources,
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    import_from(tmp_path)
    yield tmp_path
    import_from(Path())  # forget it


def write(folder: Path, **modules: str) -> None:
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    import_from(folder)


def test_a_module_beside_the_spec_is_imported_and_forgotten_with_it(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write(folder, theirs="def make():\n    return 1\n")
    assert function_of("theirs:make")() == 1
    assert not (folder / "__pycache__").exists()
    write(folder, theirs="def make():\n    return 2\n")
    assert function_of("theirs:make")() == 2
    import_from(tmp_path_factory.mktemp("other"))
    assert "theirs" not in sys.modules
    with pytest.raises(UserCodeError, match="there is no module 'theirs' next to the spec"):
        function_of("theirs:make")


@pytest.mark.parametrize("imported_before", ["nothing", "theirs", "helper"])
def test_no_edit_is_missed_by_a_process_that_has_imported_the_modules_before(
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    imported_before: str,
) -> None:
    """A notebook that edits, loads and trains again; the training runs a copy."""
    written = {"theirs": "from helper import A\ndef f():\n    import lazy\n    return A + lazy.B\n"}
    write(folder, **written, helper="A = 1\n", lazy="B = 10\n")
    monkeypatch.syspath_prepend(folder)
    if imported_before != "nothing":
        importlib.import_module(imported_before)
    for added, expected in ((0, 11), (1, 13)):
        edited = {"helper": f"A = {1 + added}\n", "lazy": f"B = {10 + added}\n"}
        write(folder, **edited)
        identity_of("theirs:f")
        copy = tmp_path_factory.mktemp("copy")
        write(copy, **written, **edited)
        assert function_of("theirs:f")() == expected


def test_modules_of_a_package_without_a_file_of_its_own_are_forgotten(folder: Path) -> None:
    (folder / "lab").mkdir()
    write(folder / "lab", net="A = 1\n")
    write(folder, theirs="from lab import net\ndef f():\n    return net.A\n")
    assert function_of("theirs:f")() == 1
    write(folder / "lab", net="A = 20\n")
    write(folder)
    assert function_of("theirs:f")() == 20


def test_code_elsewhere_that_was_edited_is_imported_again(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "lab").mkdir()
    monkeypatch.syspath_prepend(elsewhere)
    (elsewhere / "lab" / "net.py").write_text("A = 1\n")
    write(folder, theirs="from lab import net\ndef f():\n    return net.A\n")
    assert function_of("theirs:f")() == 1
    (elsewhere / "lab" / "net.py").write_text("A = 20\n")
    write(folder)
    assert function_of("theirs:f")() == 20


@pytest.mark.parametrize("target", ["theirs:f", "lab.net:f"])
def test_what_a_module_keeps_is_new_each_time_wherever_it_lies(
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
) -> None:
    """A generator of a module must not go on from one trial to the next."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "lab").mkdir()
    monkeypatch.syspath_prepend(elsewhere)
    counts = "from itertools import count\nCOUNT = count()\ndef f():\n    return next(COUNT)\n"
    (elsewhere / "lab" / "net.py").write_text(counts)
    write(folder, theirs="from lab.net import f\n")
    identity_of(target)
    for _ in range(3):
        import_from(folder)
        assert function_of(target)() == 0
        identity_of(target)


def test_a_library_that_lies_beside_the_spec_is_not_imported_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spec in the folder of a library's own source, whose machine code cannot be loaded twice."""
    monkeypatch.setattr(code_files, "_FILES_OF_A_PROJECT", 1)
    (folder / "large").mkdir()
    write(folder / "large", __init__="", other="")
    write(folder, theirs="import large\ndef f():\n    return large\n")
    before = function_of("theirs:f")()
    write(folder)
    assert function_of("theirs:f")() is before


def test_a_folder_that_nothing_is_asked_of_is_not_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "asked_for.py").write_text("def make():\n    return 1\n")
    import_from(tmp_path, lazily=True)
    assert str(tmp_path.resolve()) not in sys.path
    assert function_of("asked_for:make")() == 1
    import_from(Path())  # forget it


def test_what_is_wrong_with_a_module_is_told_with_its_line(folder: Path) -> None:
    write(
        folder,
        raises="x = 1\nraise RuntimeError('no')\n",
        syntax="def f(:\n",
        exits="exit(3)\n",
        needs="import absent_package\n",
    )
    for name, expected in {
        "raises:f": r"importing 'raises' raised RuntimeError: no \(raises.py, line 2\)",
        "syntax:f": r"importing 'syntax' raised SyntaxError: .* \(syntax.py, line 1\)",
        "exits:f": r"importing 'exits' raised SystemExit: 3 \(exits.py, line 1\)",
        "needs:f": (
            r"importing 'needs' raised ModuleNotFoundError: No module named "
            r"'absent_package' \(needs.py, line 1\)"
        ),
        "rises:f": r"there is no module 'rises' next to the spec, in .*; did you mean 'raises'\?",
    }.items():
        with pytest.raises(UserCodeError, match=expected):
            function_of(name)


def test_a_function_that_is_not_there_is_told_with_the_nearest(folder: Path) -> None:
    write(folder, theirs="VALUE = 3\ndef make_mixer():\n    pass\n")
    with pytest.raises(
        UserCodeError,
        match="module 'theirs' has no function 'make_mixr'; did you mean 'make_mixer'",
    ):
        function_of("theirs:make_mixr")
    with pytest.raises(UserCodeError, match="theirs:VALUE is 3, not a function"):
        function_of("theirs:VALUE")


def test_a_module_that_another_one_hides_is_not_confused_with_it(folder: Path) -> None:
    write(folder, pathlib="def f(): ...\n")
    with pytest.raises(
        UserCodeError,
        match=r"module 'pathlib' next to the spec is hidden by Python's own 'pathlib'; "
        r"rename it",
    ):
        function_of("pathlib:f")


@pytest.mark.parametrize("name", ["statistics", "html", "yaml", "pydantic", "orchestrator"])
def test_a_module_with_a_name_that_is_taken_shadows_nobody(folder: Path, name: str) -> None:
    write(folder, theirs="def f(): ...\n", **{name: "raise RuntimeError('taken in')\n"})
    for module in [known for known in sys.modules if known.partition(".")[0] == "html"]:
        del sys.modules[module]
    function_of("theirs:f")
    assert importlib.import_module(name).__name__ == name
    assert set(sources("theirs:f")) == {"theirs.py"}


@pytest.mark.parametrize(
    ("name", "owner"), [("statistics", "Python's own"), ("yaml", "the installed")]
)
def test_code_that_means_such_a_module_is_told_to_rename_it(
    folder: Path, name: str, owner: str
) -> None:
    write(folder, theirs=f"import {name}\ndef f(): ...\n", **{name: "def g(): ...\n"})
    with pytest.raises(
        UserCodeError,
        match=f"{name}.py next to the spec, which .* imports, has the same name as {owner} "
        f"'{name}'; rename it",
    ):
        sources("theirs:f")


def test_a_module_beside_the_spec_comes_before_one_on_the_path(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers import the copy in the store, whatever PYTHONPATH says."""
    other = tmp_path_factory.mktemp("other")
    (other / "theirs.py").write_text("def make(): return 'other'\n")
    monkeypatch.syspath_prepend(other)
    write(folder, theirs="def make(): return 'beside'\n")
    assert function_of("theirs:make")() == "beside"


def test_what_a_module_prints_does_not_reach_stdout(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, loud="print('hello')\ndef f():\n    pass\n")
    function_of("loud:f")
    assert capsys.readouterr() == ("", "hello\n")


def test_the_identity_is_the_source_of_the_module_and_of_what_it_imports_from_its_folder(
    folder: Path,
) -> None:
    code = {
        "net": "from layers import block\nimport json\ndef f():\n    import lazy\n",
        "layers": "def block(): ...\n",
    }
    code |= {"lazy": "A = 1\n", "unused": "B = 1\n"}

    def identity(**changes: str) -> str:
        write(folder, **code | changes)
        return identity_of("net:f")

    before = identity()
    assert before.startswith("syntax-1 sha256:")
    assert set(sources("net:f")) == {"net.py", "layers.py", "lazy.py"}
    assert identity(unused="B = 2\n") == before
    for name in ("net", "layers", "lazy"):
        assert identity(**{name: code[name] + "# a comment\n"}) == before
        assert identity(**{name: code[name] + "C = 1\n"}) != before
    assert identity() == before


def test_packages_and_relative_imports_belong_to_the_source(folder: Path) -> None:
    (folder / "pack" / "deep").mkdir(parents=True)
    (folder / "pack" / "__init__.py").write_text("")
    (folder / "pack" / "deep" / "net.py").write_text(
        "from . import parts\nfrom ..shared import thing\ndef f(): ...\n"
    )
    (folder / "pack" / "deep" / "parts.py").write_text("")
    (folder / "pack" / "shared.py").write_text("thing = 1\n")
    import_from(folder)
    expected = {"pack/__init__.py", "pack/deep/net.py", "pack/deep/parts.py", "pack/shared.py"}
    assert set(sources("pack.deep.net:f", folder)) == expected
    assert sources("pack.deep.net:f", folder / "pack") == {}


def test_an_author_may_answer_for_the_code_with_a_version(folder: Path) -> None:
    write(folder, net="NUMERICS_VERSION = 4\ndef f(): ...\n")
    before = identity_of("net:f")
    write(folder, net="NUMERICS_VERSION = 4\ndef f(): ...  # only words\n")
    assert identity_of("net:f") == before == "NUMERICS_VERSION 4"
    write(folder, net="NUMERICS_VERSION = 5\ndef f(): ...\n")
    assert identity_of("net:f") != before


def test_an_installed_package_is_known_by_its_version_and_file() -> None:
    import yaml

    assert identity_of("yaml:safe_load").startswith(f"PyYAML {yaml.__version__} sha256:")
    assert set(sources("yaml:safe_load")) == {"__init__.py"}
    with pytest.raises(UserCodeError, match="module 'sys' has no file"):
        identity_of("sys:exit")


def test_a_trial_that_an_earlier_version_began_is_refused_only_where_a_byte_differs(
    folder: Path,
) -> None:
    write(folder, net="def f(): ...\n")
    earlier = (
        f"sha256:{sha256(repr([('net.py', b'def f(): ...' + bytes([10]))]).encode()).hexdigest()}"
    )
    assert identity_by_bytes("net:f") == earlier
    refuse_other_code("net:f", earlier)
    write(folder, net="def f(): ...  # only words\n")
    refuse_other_code("net:f", identity_of("net:f"))
    with pytest.raises(
        UserCodeError, match=r"the code of net:f .* is not the code that was planned"
    ):
        refuse_other_code("net:f", earlier)


def test_a_network_of_ours_does_not_make_this_package_code_that_is_imported_anew(
    folder: Path,
) -> None:
    ours = sys.modules["illama.config.imports"]
    sources("illama.networks.crossvit:crossvit")
    import_from(folder)
    assert sys.modules["illama.config.imports"] is ours
