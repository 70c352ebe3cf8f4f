"""Train, evaluate and describe models by hand, without any orchestration.

    python -m illama train recipe.yaml train.lr=1e-3 --output runs/mine
    python -m illama evaluate runs/mine
    python -m illama describe illama_tiny model.img_size=384

A recipe is a YAML file with the sections `model`, `data` and `train`, a `seed`, and `runtime` for
how to run it; see `illama.config`.
"""

import argparse
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from illama.config import (
    PRESETS,
    ModelConfig,
    RuntimeConfig,
    UserModel,
    explain,
    resolve,
    user_function,
    with_preset,
)
from illama.config.imports import UserCodeError
from illama.cost import macs, parameter_count, tokens
from illama.measures import MEASURES, Request, labelled, read_request


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 0 done, 1 the training failed, 2 the request was
    wrong, 130 interrupted.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s")
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except ValidationError as error:
        return _complain(explain(error))
    except (ValueError, OSError, ImportError, yaml.YAMLError) as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m illama", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="train|evaluate|describe")

    train = commands.add_parser(
        "train", help="train a model, or continue where an earlier call stopped"
    )
    train.add_argument(
        "settings",
        nargs="*",
        metavar="RECIPE.yaml|KEY=VALUE",
        help="a recipe, and settings that override it",
    )
    train.add_argument(
        "--output", type=Path, help="directory for the checkpoint; without it nothing is kept"
    )
    _add_runtime(train)
    train.set_defaults(command=_train)

    _add_evaluate(commands)
    describe = commands.add_parser("describe", help="show a model's settings and cost")
    describe.add_argument("name", help=f"one of: {', '.join(PRESETS)}; or your own module:function")
    about = (
        "settings that override the model's; for your own function also data.KEY=VALUE "
        "(default: digits)"
    )
    describe.add_argument("settings", nargs="*", metavar="model.KEY=VALUE", help=about)
    describe.set_defaults(command=_describe)
    return parser


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="measure a checkpoint on its validation images")
    evaluate.add_argument("checkpoint", type=Path, nargs="?", help="a checkpoint, or its directory")
    evaluate.add_argument(
        "--checkpoint", type=Path, dest="named", metavar="PATH", help="the same, as an option"
    )
    evaluate.add_argument(
        "--measure",
        action="append",
        default=[],
        metavar="NAME",
        help=f"{', '.join(MEASURES)}; your own module:function; or with options, as YAML: "
        "'{name: calibration, bins: 10}'. Default: loss and accuracy. Repeat it for several "
        "measures",
    )
    evaluate.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="folder for a measure's pictures"
    )
    evaluate.add_argument(
        "settings",
        nargs="*",
        metavar="runtime.KEY=VALUE",
        help="how to run it, such as runtime.data_dir=images",
    )
    evaluate.add_argument(
        "--use-ema",
        action="store_true",
        help="evaluate the moving average of the weights, which train.ema keeps",
    )
    _add_runtime(evaluate)
    evaluate.set_defaults(command=_evaluate)


def _add_runtime(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")


def _train(options: argparse.Namespace) -> int:
    settings = _settings(options.settings)
    runtime = _runtime(options, settings.pop("runtime", {}))
    config = resolve(settings, runtime.data_dir)
    # torch takes seconds to import; wrong settings are reported before that
    from illama.training.trainer import Diverged, ProcessLost, Stopped, train

    def show(metrics: Mapping[str, float], iteration: int) -> None:
        print(json.dumps({"iteration": iteration, **metrics}), flush=True)

    try:
        with _asked_to_stop() as should_stop:
            result = train(
                config,
                runtime=runtime,
                log_metrics=show,
                checkpoint_dir=options.output,
                should_stop=should_stop,
            )
    except Stopped as stopped:
        print(
            f"{stopped}; "
            f"{'the same command continues there' if options.output else 'nothing is kept'}",
            file=sys.stderr,
        )
        return 130
    except (Diverged, ProcessLost) as error:
        print(
            f"error: {'the training diverged: ' if isinstance(error, Diverged) else ''}{error}",
            file=sys.stderr,
        )
        return 1
    if not config.can.has_known_metrics:
        print(", ".join(f"{name} {value:g}" for name, value in result.final.items()))
        return 0
    print(
        f"{result.final['val/acc1']:.2f} % in the last epoch, {result.best['val/acc1']:.2f} % in "
        f"the best ({result.best_epoch})"
    )
    if result.collapsed:
        print("collapsed: the output does not depend on the image")
    return 0


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Tell whether Ctrl-C, or whoever else ends processes, has asked to stop: the training then
    does so when it is saved.
    """
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _evaluate(options: argparse.Namespace) -> int:
    given = [path for path in (options.checkpoint, options.named) if path is not None]
    if len(given) != 1:
        raise ValueError("evaluate takes one checkpoint: a path, or --checkpoint PATH")
    requests = labelled([read_request(yaml.safe_load(text)) for text in options.measure])
    if any(request.every for request in requests.values()):
        raise ValueError(
            "the option 'every' is for sweeps, which measure during training; a checkpoint has "
            "one epoch"
        )
    settings = _settings(options.settings)
    runtime = _runtime(options, settings.pop("runtime", {}))
    if settings:
        raise ValueError(f"{min(settings)} is fixed by the checkpoint; allowed: runtime.KEY")
    path = given[0] / "checkpoint.pt" if given[0].is_dir() else given[0]
    if requests:
        print(json.dumps(_measured(requests, path, runtime, options), indent=2))
        return 0
    from illama.training.trainer import evaluate_checkpoint

    print(json.dumps(evaluate_checkpoint(path, runtime=runtime, use_ema=options.use_ema), indent=2))
    return 0


def _measured(
    requests: Mapping[str, Request], path: Path, runtime: RuntimeConfig, options: argparse.Namespace
) -> dict[str, Mapping[str, float]]:
    """Numbers of each measure of a checkpoint; their pictures go to a folder, if one is named."""
    from illama import checkpoint
    from illama.measures.run import measure_state

    state, found = checkpoint.read(path), {}
    for label, request in requests.items():
        findings = measure_state(request, state, str(path), runtime, use_ema=options.use_ema)
        found[label] = findings.values
        if options.pictures is not None:
            options.pictures.mkdir(parents=True, exist_ok=True)
            for name, picture in findings.pictures.items():
                (options.pictures / f"{request.name}-{name}.svg").write_text(picture, "utf-8")
    return found


def _describe(options: argparse.Namespace) -> int:
    settings = _settings([f"model.name={options.name}", *options.settings])
    is_foreign = user_function("model", options.name) is not None
    allowed = ["model", "data"] if is_foreign else ["model"]
    if strange := sorted(settings.keys() - set(allowed)):
        raise ValueError(
            f"{strange[0]} is not a setting of this model; allowed: "
            f"{', '.join(f'{name}.KEY' for name in allowed)}"
            + (
                f"; did you mean model.{strange[0]}?"
                if strange[0] in ModelConfig.model_fields
                else ""
            )
        )
    model = _network_of_a_function(settings) if is_foreign else _built_in_network(settings)
    assert model is not None
    facts = (
        model.options
        if isinstance(model, UserModel)
        else {**model.model_dump(), "tokens": tokens(model)}
    )
    facts = {
        **facts,
        "parameters": f"{parameter_count(model):,}",
        "MACs": f"{macs(model):,} per image",
    }
    for key, value in facts.items():
        print(f"{key:14} {value}")
    return 0


def _built_in_network(settings: dict[str, Any]) -> ModelConfig:
    return ModelConfig.model_validate(with_preset(settings["model"]))


def _network_of_a_function(settings: dict[str, Any]) -> UserModel | ModelConfig | None:
    """Return a user's network, built for the images of `data`: those of digits where none are
    named, which is said where it does not take them.
    """
    data = {"name": "digits", **settings.get("data", {})}
    train = {"epochs": 1, "batch_size": 1, "lr": 1.0}
    try:
        return resolve({"model": settings["model"], "data": data, "train": train}).network
    except UserCodeError as error:
        if "data" in settings or not isinstance(error.__cause__, RuntimeError):
            raise
        hint = "it was given digits, images of 1 channel and 8 x 8 pixels: name other data"
        raise ValueError(
            f"{error}; {hint}, such as data.name=cifar10 or data.name=module:function"
        ) from error


def _runtime(options: argparse.Namespace, section: Any = None) -> RuntimeConfig:
    """Build the runtime from the options; a recipe's `section` overrides them."""
    if not isinstance(section, dict | None):
        raise ValueError(f"runtime is {section!r}, not a section")
    return RuntimeConfig.model_validate(
        {"device": options.device, "num_threads": options.threads, **(section or {})}
    )


def _settings(arguments: Sequence[str]) -> dict[str, Any]:
    """A recipe's sections with `section.key=value` laid over them."""
    settings: dict[str, Any] = {}
    for argument in arguments:
        if "=" not in argument:
            recipe = yaml.safe_load(Path(argument).read_text("utf-8"))
            if not isinstance(recipe, dict):
                raise ValueError(
                    f"{argument} is not a recipe: expected the sections model, data and train"
                )
            settings |= recipe
            continue
        path, _, text = argument.partition("=")
        *sections, key = path.split(".")
        group = settings
        for section in sections:
            group = group.setdefault(section, {})
            if not isinstance(group, dict):
                raise ValueError(f"{path} cannot be set: {section} is {group!r}, not a section")
        group[key] = yaml.safe_load(text)
    return settings


def _complain(message: str) -> int:
    for line in message.splitlines():
        print(f"error: {line}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
