"""Plans and status as tables in the terminal."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from orchestrator.analysis.reading import figure_of
from orchestrator.errors import counted
from orchestrator.metrics import decimals_of
from orchestrator.outcomes import Outcome, State
from orchestrator.planning.budget import budget_of
from orchestrator.planning.causes import in_a_list, names_text
from orchestrator.planning.estimates import Estimate
from orchestrator.planning.plan import Action, Plan, PlannedTrial, actions_text, counts_by_action
from orchestrator.planning.status import SweepStatus
from orchestrator.report.fitting import FittedTable
from orchestrator.report.words import Column, change_text, search_text
from orchestrator.text import duration_text, first_of, tally, two_digits
from orchestrator.trial import KnownTrial, TrialRecord, TrialSpec

_PLAN_COLUMNS = (
    Column("variant"),
    Column("change", wraps=True),
    Column("params", is_number=True, rank=2),
    Column("FLOPs/image", is_number=True, rank=3),
    Column("trials", rank=1),
)


def plan_table(plan: Plan) -> RenderableType:
    """One line per variant: its change, its cost, and what `run` would do with its trials."""
    from illama.cost import flops_text, params_text, size_of

    lines = []
    for group in _by_variant(plan.trials):
        trial = group[0].trial
        label = trial.variant_label
        params, flops = size_of(trial.config)
        costs = [params_text(params, trial.config), flops_text(flops)]
        lines.append([label, change_text(trial.changes), *costs, _actions_text(group)])
    table = FittedTable(f"Plan of {plan.sweep}", _PLAN_COLUMNS, lines)
    warnings = [_warning_text(plan, index) for index in range(len(plan.warnings))]
    return Group(
        table,
        *_reason_texts(plan),
        *warnings,
        *_skipped_texts(plan),
        *search_lines(plan),
        Text(_estimate_text(plan)),
    )


_MOST_NAMED = 4
"""Variants that a reason is told of by name."""


def _reason_texts(plan: Plan) -> list[Text]:
    """Say why trials are new, where the store has results to compare with, and what failed that
    others wait for; equal reasons once.
    """
    groups: dict[str, dict[str, None]] = {}
    for planned in plan.trials:
        if planned.differs:
            groups.setdefault(planned.differs, {})[planned.trial.variant_label] = None
    lines = [
        Text(f"new, {_some(list(labels))}: {reason}", "cyan") for reason, labels in groups.items()
    ]
    waiting = [one.trial.name for one in plan.trials if one.waits_for_failed]
    if waiting:
        text = "the same training as a trial that failed, which `orchestrator resume` would retry"
        lines.append(Text(f"waiting, {_some(waiting)}: {text}", "red"))
    if plan.adoptable:
        results = counted(plan.adoptable, "result")
        text = (
            f"`orchestrator adopt` would keep {results}; use it if the code edits change no number"
        )
        lines.append(Text(text, style="cyan"))
    return lines


def _some(labels: Sequence[str]) -> str:
    return first_of(labels, _MOST_NAMED)


def search_lines(plan: Plan) -> list[Text]:
    """Say how far searches are, and how much follows from them."""
    lines = [
        Text(search_text(search), style="red" if search.held_up_by else "cyan")
        for search in plan.searches
    ]
    if plan.later:
        follow = counted(len(plan.later), "trial")
        lines.append(Text(f"about {follow} will follow once the searches are done", style="cyan"))
    return lines


def status_view(status: SweepStatus) -> RenderableType:
    """Counts, what runs, and what failed and why."""
    counts = tally(status.outcomes)
    lines: list[RenderableType] = [
        Text(f"{status.sweep}: {counted(len(status.trials), 'trial')}: {counts}", style="bold")
    ]
    unknown = "so results of other sweeps that it shares are not looked for"
    lines += [Text(f"{problem}; {unknown}", style="yellow") for problem in status.absent]
    if status.holder:
        lines.append(
            Text(f"driver: process {status.holder.pid} on {status.holder.host}", style="green")
        )
    lines.append(_steps_so_far(status))
    alike = {group.trials[0]: group.trials[1:] for group in status.causes}
    for known in status.trials:
        trial, record = known.spec, known.record
        if record.state is State.FAILED and trial.name not in alike:
            continue  # named beside the first that failed of the same cause
        if record.state in _WORTH_A_LINE:
            lines += _trial_lines(status, trial, record)
        if others := alike.get(trial.name):
            lines.append(_Indented(f"for the same reason: {names_text(others)}", 4, "red"))
        lines += _remarks(status, trial)
    if status.seconds_left:
        lines.append(Text(f"about {duration_text(status.seconds_left)} of compute left in total"))
    return Group(*lines, *_budget_lines(status))


def _steps_so_far(status: SweepStatus) -> FittedTable:
    """One line per variant: the states of its trials, and the mean of those that finished."""
    groups: dict[str, list[KnownTrial]] = {}
    for known in status.trials:
        groups.setdefault(known.spec.variant_label, []).append(known)
    columns = [
        Column("step"),
        Column("trials", rank=1),
        Column(f"{status.metric.name} so far", is_number=True, rank=2),
    ]
    return FittedTable("", columns, [_so_far(name, of, status) for name, of in groups.items()])


def _so_far(name: str, trials: Sequence[KnownTrial], status: SweepStatus) -> list[str]:
    counts = Counter(known.record.standing for known in trials)
    standing = tally(dict(sorted(counts.items())))
    finished = [known.record for known in trials if known.record.outcome is Outcome.FINISHED]
    figures = [figure_of(record, status.metric) for record in finished]
    values = [figure for figure in figures if figure is not None]
    mean = f"{fmean(values):.{decimals_of(status.metric.name, values)}f}" if values else ""
    return [name, standing, mean]


def _remarks(status: SweepStatus, trial: TrialSpec) -> list[RenderableType]:
    """Say what is unusual about a trial that runs."""
    silent, remarks = status.silent.get(trial.name), []
    if silent:
        remarks.append(f"no output or progress for {duration_text(silent)}")
    if trial.name in status.overdue:
        remarks.append(status.overdue[trial.name])
    return [_Indented(remark, 4, "bold yellow") for remark in remarks]


def _budget_lines(status: SweepStatus) -> list[Text]:
    if status.budget is None:
        return []
    return [Text(str(status.budget), style="yellow" if status.budget.is_spent else "")]


_WORTH_A_LINE = {State.RUNNING: "green", State.INTERRUPTED: "magenta", State.FAILED: "red"}


def _trial_lines(
    status: SweepStatus, trial: TrialSpec, record: TrialRecord
) -> list[RenderableType]:
    """Say how an unfinished trial stands and, where it raised, the line of code and the command
    that shows the rest.
    """
    style = _WORTH_A_LINE[record.state]
    on = f" on {', '.join(record.hosts)}" if record.hosts else ""
    reached = trial.reached_text(record.epoch)
    cause = f": {in_a_list(record.cause)}" if record.cause else ""
    text = f"{record.state}: {trial.name}, attempt {record.attempts}{on}, {reached}{cause}"
    lines: list[RenderableType] = [_Indented(text, 2, style)]
    frames = [line.strip() for line in record.traceback.splitlines() if line.startswith('  File "')]
    if frames:
        show = f"orchestrator show {trial.sweep}/{trial.name}{status.store_option}"
        lines.append(_Indented(frames[-1], 4, style))
        lines.append(Text(f"    traceback: {show}", style, no_wrap=True, overflow="ignore"))
    return lines


@dataclass(frozen=True)
class _Indented:
    """A paragraph whose every line is indented."""

    text: str
    columns: int
    style: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in Text(self.text).wrap(console, options.max_width - self.columns):
            line.rstrip()
            yield Text(" " * self.columns + line.plain, self.style)


def _by_variant(trials: Sequence[PlannedTrial]) -> list[list[PlannedTrial]]:
    groups: dict[tuple[str, str], list[PlannedTrial]] = {}
    for planned in trials:
        groups.setdefault((planned.trial.regime, planned.trial.variant), []).append(planned)
    return list(groups.values())


def _actions_text(group: Sequence[PlannedTrial]) -> str:
    return actions_text(counts_by_action(group))


def _warning_text(plan: Plan, index: int) -> Text:
    warning = plan.warnings[index]
    where = f" (line {warning.line})" if warning.line else ""
    text = Text(f"warning {warning.code}{where}: {warning.message}", style="yellow")
    if warning.control:
        text.append("\n  control: " + warning.control.replace("\n", "\n  "), style="not bold cyan")
    return text


def _skipped_texts(plan: Plan) -> list[Text]:
    return [Text(f"skipped {cell.label}: {cell.reason}", style="dim") for cell in plan.skipped]


def _estimate_text(plan: Plan) -> str:
    lines = []
    if plan.saved:
        lines.append(
            f"{counted(plan.saved, 'trial')} shared with identical ones elsewhere: no training "
            "needed"
        )
    lines.append(_cost_text(plan.estimate) + _retry_text(plan))
    lines += _measures_lines(plan)
    if budget := budget_of(plan.spec, [planned.known for planned in plan.trials]):
        lines.append(str(budget))
    estimate = plan.estimate
    if estimate.detectable_in_stds is not None:
        found = f"{two_digits(estimate.detectable_in_stds)} SDs of the differences between seeds"
        if estimate.detectable_difference is not None and estimate.detectable_range is not None:
            low, high = estimate.detectable_range
            bounds = f"{two_digits(low)} to {two_digits(high)}"
            size = two_digits(estimate.detectable_difference)
            found = f"{size} ({bounds}, depending on the step and on chance)"
        lines.append(
            f"80 % power for a difference of about {found}, corrected over "
            f"{counted(estimate.comparisons, 'comparison')}"
        )
    return "\n".join(lines)


def _measures_lines(plan: Plan) -> list[str]:
    """Say in one line how many measurements are left and of what; empty without measures."""
    if not plan.measures:
        return []
    left = sum(one.left for one in plan.measures)
    parts = [f"{one.label} {one.measured} of {one.wanted}" for one in plan.measures]
    failed = sum(one.failed for one in plan.measures)
    trouble = f"; {counted(failed, 'measurement')} failed" if failed else ""
    return [f"{counted(left, 'measurement')} to make; done so far: {', '.join(parts)}{trouble}"]


def _retry_text(plan: Plan) -> str:
    """Trials that `run` leaves as they failed."""
    failed = sum(planned.action is Action.RETRY for planned in plan.trials)
    if not failed:
        return ""
    return f"; `orchestrator resume` would retry {counted(failed, 'failed trial')}"


def _cost_text(estimate: Estimate) -> str:
    if not estimate.trials:
        return "nothing to train"
    if estimate.train_seconds is None:
        return f"{counted(estimate.trials, 'trial')} to train; {estimate.basis}"
    known = f"about {duration_text(estimate.train_seconds)} of training"
    if estimate.gpu_hours is not None:
        known += f", {estimate.gpu_hours:,.0f} GPU-hours"
    if estimate.price is not None:
        known += f", price {estimate.price:,.0f}"
    return f"{counted(estimate.trials, 'trial')} to train, {known} (from {estimate.basis})"
