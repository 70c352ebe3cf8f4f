"""Ablation sweeps that report what each step did.

    import orchestrator

    sweep = orchestrator.load("sweeps/llamafy.yaml", store="runs")
    sweep.run(executor="local")
    sweep.report().to_frame()

See `docs/python.md`. Names are imported when they are first used, so that workers and `--help` do
not import more than they need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import Report, StoredSweeps, Sweep, load, read
    from orchestrator.cli.run_view import ConsoleView
    from orchestrator.running.view import RunView, Silent

__all__ = [
    "ConsoleView",
    "Report",
    "RunView",
    "Silent",
    "StoredSweeps",
    "Sweep",
    "load",
    "read",
]

_HOME = {
    "ConsoleView": "orchestrator.cli.run_view",
    "RunView": "orchestrator.running.view",
    "Silent": "orchestrator.running.view",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'orchestrator' has no attribute '{name}'")
    return getattr(import_module(_HOME.get(name, "orchestrator.api")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
