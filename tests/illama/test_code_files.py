"""Identity of user code: every file that it imports counts, wherever it lies, but for what is
installed.
"""

from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from illama.config import code_files
from illama.config.command import command_files
from illama.config.imports import identity_of, import_from, sources


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    beside = tmp_path / "beside"
    beside.mkdir()
    import_from(beside)
    yield beside
    import_from(Path())  # forget it


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on Python's path, as an editable install or PYTHONPATH makes it."""
    root = tmp_path / "elsewhere"
    root.mkdir()
    monkeypatch.syspath_prepend(root)
    return root


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_a_package_that_gathers_its_own_modules_is_known_whole(folder: Path) -> None:
    write(
        folder,
        {
            "lab/__init__.py": "from .constants import SCALE\n",
            "lab/constants.py": "SCALE = 1\n",
            "lab/deep/__init__.py": "from ..constants import SCALE\nfrom .more import MORE\n",
            "lab/deep/more.py": "MORE = 2\n",
            "lab/deep/training.py": "def train(): ...\n",
        },
    )
    assert set(sources("lab.deep.training:train", folder)) == {
        "lab/__init__.py",
        "lab/constants.py",
        "lab/deep/__init__.py",
        "lab/deep/more.py",
        "lab/deep/training.py",
    }


def test_code_that_is_edited_elsewhere_counts_and_is_not_copied(
    folder: Path, elsewhere: Path
) -> None:
    write(folder, {"training.py": "import yaml, lab.net\ndef train(): ...\n"})
    write(elsewhere, {"lab/__init__.py": "", "lab/net.py": "from lab import inner\n"})
    write(elsewhere, {"lab/inner.py": "BIAS = 0\n", "lab/unused.py": "A = 1\n"})

    def identity(**edits: str) -> str:
        for name, text in edits.items():
            (elsewhere / "lab" / f"{name}.py").write_text(text)
        import_from(folder)
        return identity_of("training:train")

    before = identity()
    assert set(sources("training:train")) == {
        "training.py",
        "lab/__init__.py",
        "lab/net.py",
        "lab/inner.py",
    }
    assert set(sources("training:train", folder)) == {"training.py"}
    assert identity(unused="A = 2\n", inner="BIAS = 0  # words\n") == before
    assert identity(inner="BIAS = 1\n") != before


def test_what_an_installer_put_there_is_no_code_of_the_user(folder: Path, elsewhere: Path) -> None:
    write(folder, {"training.py": "import installed_lab\ndef train(): ...\n"})
    write(elsewhere, {"installed_lab.py": "", "installed_lab-1.0.dist-info/METADATA": ""})
    assert set(sources("training:train")) == {"training.py"}


def test_a_large_library_elsewhere_counts_by_all_its_files(
    folder: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_files, "_FILES_OF_A_PROJECT", 2)
    write(folder, {"training.py": "from large import one\ndef train(): ...\n"})
    write(elsewhere, {f"large/{name}.py": "" for name in ("one", "two", "three")})
    assert set(sources("training:train")) == {"training.py", "large"}
    before = identity_of("training:train")
    write(elsewhere, {"large/three.py": "A = 1\n"})
    import_from(folder)
    assert identity_of("training:train") != before


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import_module('lab.late')", {"lab/__init__.py", "lab/late.py"}),
        ("__import__('lab.late')", {"lab/__init__.py", "lab/late.py"}),
        ("importlib.import_module(f'lab.{name}')", {"lab/__init__.py", "lab/late.py"}),
        ("import_module(name)", set()),
    ],
)
def test_modules_that_are_imported_by_a_call_count(
    folder: Path, text: str, found: set[str]
) -> None:
    write(folder, {"training.py": f"def train(name):\n    return {text}\n"})
    write(folder, {"lab/__init__.py": "", "lab/late.py": ""})
    assert set(sources("training:train")) == {"training.py", *found}


def test_a_registry_that_imports_its_modules_by_computed_names_counts_with_them(
    folder: Path,
) -> None:
    registry = (
        "from importlib import import_module\n"
        "for name in ('one', 'two'):\n"
        "    import_module('.' + name, __name__)\n"
    )
    write(folder, {"training.py": "import nets\ndef train(): ...\n", "nets/__init__.py": registry})
    write(folder, {"nets/one.py": "", "nets/two.py": "", "nets/deep/three.py": ""})
    assert set(sources("training:train", folder)) == {
        "training.py",
        "nets/__init__.py",
        "nets/one.py",
        "nets/two.py",
        "nets/deep/three.py",
    }


def test_a_compiled_module_counts_by_its_bytes(folder: Path) -> None:
    compiled = f"kernel{EXTENSION_SUFFIXES[0]}"
    write(folder, {"training.py": "def train():\n    import kernel\n", compiled: "one"})
    before = identity_of("training:train")
    assert set(sources("training:train", folder)) == {"training.py", compiled}
    write(folder, {compiled: "another"})
    import_from(folder)
    assert identity_of("training:train") != before


def test_a_command_is_made_of_what_its_script_imports(folder: Path, elsewhere: Path) -> None:
    write(
        folder, {"scripts/train.py": "import lab.net, helper\n", "helper.py": "import editable\n"}
    )
    write(folder, {"scripts/lab/net.py": "from lab.inner import X\n", "scripts/lab/inner.py": ""})
    write(elsewhere, {"editable.py": "A = 1\n", "other.py": "import editable\n"})
    assert set(command_files("python scripts/train.py --seed {seed}", (), folder)) == {
        "scripts/train.py",
        "scripts/lab/net.py",
        "scripts/lab/inner.py",
        "helper.py",
        "/editable.py",
    }
    script = elsewhere / "other.py"
    assert set(command_files(f"python {script} --seed {{seed}}", (), folder)) == {
        "/other.py",
        "/editable.py",
    }


def test_a_command_that_names_no_file_is_made_of_the_module_or_script_that_it_runs(
    folder: Path, elsewhere: Path
) -> None:
    write(elsewhere, {"lab/__init__.py": "", "lab/__main__.py": "from lab import net\n"})
    write(elsewhere, {"lab/net.py": "", "lab/fit.py": "import lab.net\n"})
    metadata = {
        "METADATA": "Metadata-Version: 2.1\nName: lab\nVersion: 1\n",
        "entry_points.txt": "[console_scripts]\nlab-train = lab.fit:main\n",
    }
    write(elsewhere, {f"lab.egg-info/{name}": text for name, text in metadata.items()})
    (elsewhere / "lab.egg-info" / "METADATA").rename(elsewhere / "lab.egg-info" / "PKG-INFO")
    for command, names in {
        "python -m lab --seed {seed}": ("__init__", "__main__", "net"),
        "python -m lab.fit --seed {seed}": ("__init__", "fit", "net"),
        "lab-train --seed {seed}": ("__init__", "fit", "net"),
    }.items():
        expected = {f"/lab/{name}.py" for name in names}
        assert set(command_files(command, (), folder)) == expected


def test_a_shell_script_counts_with_the_python_files_that_it_names(
    folder: Path, elsewhere: Path
) -> None:
    write(elsewhere, {"other.py": "A = 1\n"})
    script = f'cd "$(dirname "$0")"; python train.py "$@" && python {elsewhere}/other.py none.py\n'
    write(folder, {"jobs/run.sh": script, "jobs/train.py": "import net\n", "net.py": ""})
    assert set(command_files("sh jobs/run.sh {seed}", (), folder)) == {
        "jobs/run.sh",
        "jobs/train.py",
        "net.py",
        "/other.py",
    }


def test_a_computed_name_that_leads_to_a_neighbouring_package_counts_with_that_one(
    folder: Path,
) -> None:
    write(folder, {"lab/__init__.py": "", "lab/heads/__init__.py": "", "lab/heads/one.py": ""})
    write(folder, {"lab/nets/__init__.py": "", "unrelated/one.py": ""})
    source = "from importlib import import_module\n"
    source += "def train(*, head='one'): import_module(f'..heads.{head}', __package__)\n"
    write(folder, {"lab/nets/training.py": source})
    found = set(sources("lab.nets.training:train", folder))
    assert "lab/heads/one.py" in found
    assert "unrelated/one.py" not in found


def test_a_relative_name_outside_of_packages_finds_nothing(folder: Path) -> None:
    source = "from importlib import import_module\n"
    source += "def train(name='a'): import_module(f'..{name}'), import_module('..other')\n"
    source += f"def late(): import_module('{folder / 'other'}')\n"
    write(folder, {"training.py": source, "other.py": "", "unrelated/one.py": ""})
    assert set(sources("training:train", folder)) == {"training.py"}


def test_what_an_editor_keeps_beside_a_registrys_modules_is_no_part_of_it(folder: Path) -> None:
    source = "from importlib import import_module\n"
    source += "def train(*, name='one'): import_module(f'lab.{name}')\n"
    write(folder, {"lab/__init__.py": source, "lab/one.py": ""})
    write(folder, {"lab/.ipynb_checkpoints/one-checkpoint.py": "old"})
    (folder / "lab" / ".#one.py").symlink_to("somebody@somewhere.1234")
    (folder / "lab" / "gone.py").symlink_to("nowhere.py")
    assert set(sources("lab:train", folder)) == {"lab/__init__.py", "lab/one.py"}


def test_a_module_beside_the_spec_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    write(tmp_path, {"shared/training_v2.py": "import helper\ndef train(): ...\n"})
    write(folder, {"helper.py": "BIAS = 0\n"})
    (folder / "training.py").symlink_to(tmp_path / "shared" / "training_v2.py")
    assert set(sources("training:train", folder)) == {"training.py", "helper.py"}


def test_a_text_is_parsed_once_however_often_it_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, {"training.py": "import helper\ndef train(): ...\n", "helper.py": "ONCE = 1\n"})
    before = sources("training:train")
    monkeypatch.setattr("ast.parse", None)
    assert sources("training:train") == before
