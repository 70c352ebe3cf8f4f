"""Other tools get the curves that the store has, point by point, as often as they are exported."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CommandLine = Callable[..., Any]
Curves = dict[str, dict[str, list[tuple[int, float, float]]]]
"""Of each trial, of each metric: iteration, seconds since 1970, value."""


def curves_in_store(zoo: Path) -> Curves:
    found: Curves = {}
    for path in zoo.glob("runs/zoo/trials/*/metrics.jsonl"):
        curves = found[path.parent.name.rpartition("-")[0]] = {}
        for line in map(json.loads, path.read_text().splitlines()):
            for name, value in line["metrics"].items():
                curves.setdefault(name, []).append((line["iteration"], line["time"], value))
    assert {name.rpartition("-")[0] for name in found} == {"baseline", "rmsnorm", "causal"}
    return found


def in_tensorboard(
    folder: Path,
) -> tuple[dict[str, list[tuple[int, float, float]]], dict[str, Any]]:
    """Curves and the HPARAMS tab's settings, read as TensorBoard itself reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    curves = {
        tag: [(e.step, e.wall_time, e.value) for e in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }
    plugin = events.SummaryMetadata("_hparams_/session_start_info").plugin_data
    hparams = HParamsPluginData.FromString(plugin.content).session_start_info.hparams
    return curves, {name: value.string_value for name, value in hparams.items()}


@pytest.mark.slow
def test_tensorboard_reads_what_the_store_has(zoo: Path, cli: CommandLine) -> None:
    output = zoo / "boards"
    finished = cli(
        "export", "zoo", "--store", zoo / "runs", "--format", "tensorboard", "--output", output
    )
    assert (finished.code, "wrote 6 trials" in finished.err) == (0, True), finished.err
    for name, expected in curves_in_store(zoo).items():
        curves, hparams = in_tensorboard(output / name)
        single = {
            tag: [(step, time, float(np.float32(value))) for step, time, value in of]
            for tag, of in expected.items()
        }
        assert curves == single
        assert (hparams["variant"], hparams["seed"]) == tuple(name.split("-seed"))
    assert in_tensorboard(output / "rmsnorm-seed0")[1]["model.norm"] == "rmsnorm"


def test_exporting_to_tensorboard_again_changes_no_file(zoo: Path, cli: CommandLine) -> None:
    arguments = (
        "export",
        "zoo",
        "--store",
        zoo / "runs",
        "--format",
        "tensorboard",
        "--output",
        zoo / "boards",
    )
    contents = []
    for _ in range(2):
        assert cli(*arguments).code == 0
        contents.append(
            {
                path.relative_to(zoo): path.read_bytes()
                for path in (zoo / "boards").rglob("*")
                if path.is_file()
            }
        )
    assert contents[0] == contents[1]
    assert len(contents[0]) == 6


def in_wandb(path: Path) -> Iterator[Any]:
    """The records of an offline run: 7 bytes of W&B's, then a LevelDB log (blocks of 32 KiB, 7
    bytes in front of each piece).
    """
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield Record.FromString(whole)
            whole = b""


@pytest.mark.slow
def test_an_offline_run_of_wandb_holds_what_the_store_has(zoo: Path, cli: CommandLine) -> None:
    pytest.importorskip("wandb")
    arguments = (
        "export",
        "zoo",
        "--store",
        zoo / "runs",
        "--format",
        "wandb",
        "--output",
        zoo / "offline",
    )
    finished = cli(*arguments)
    assert (finished.code, "wrote 6 trials" in finished.err) == (0, True), finished.err
    expected, found = curves_in_store(zoo), set()
    files = sorted((zoo / "offline").glob("wandb/offline-run-*/*.wandb"))
    for path in files:
        records = list(in_wandb(path))
        [run] = [record.run for record in records if record.WhichOneof("record_type") == "run"]
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        curves: dict[str, list[tuple[int, float, float]]] = {}
        for record in records:
            if record.WhichOneof("record_type") == "history":
                row = {
                    item.key or item.nested_key[0]: json.loads(item.value_json)
                    for item in record.history.item
                }
                for name in row.keys() - {"_step", "_timestamp", "_runtime"}:
                    curves.setdefault(name, []).append(
                        (row["_step"], row["_timestamp"], float(row[name]))
                    )
        assert curves == expected[run.display_name]
        assert (run.project, f"{run.run_group}-seed{config['seed']}") == ("zoo", run.display_name)
        assert run.host == "", "this machine is not where it was trained"
        found.add(run.display_name)
    assert found == expected.keys()
    assert cli(*arguments).code == 0
    assert sorted((zoo / "offline").glob("wandb/offline-run-*/*.wandb")) == files, (
        "nothing is new, so nothing is written"
    )


@pytest.mark.slow
def test_a_trial_that_went_on_replaces_its_earlier_export(zoo: Path, cli: CommandLine) -> None:
    pytest.importorskip("wandb")
    [metrics] = zoo.glob("runs/zoo/trials/rmsnorm-seed0-*/metrics.jsonl")
    whole = metrics.read_text()
    steps = []
    for content in (whole.splitlines(keepends=True)[0], whole):
        metrics.write_text(content)
        for form in ("tensorboard", "wandb"):
            assert (
                cli(
                    "export",
                    "zoo",
                    "--store",
                    zoo / "runs",
                    "--format",
                    form,
                    "--output",
                    zoo / form,
                ).code
                == 0
            )
        steps.append(
            [
                step
                for step, _, _ in in_tensorboard(zoo / "tensorboard" / "rmsnorm-seed0")[0][
                    "val/acc1"
                ]
            ]
        )
    assert steps == [[3], [3, 6]]
    assert len(list((zoo / "wandb").glob("wandb/offline-run-*"))) == 6


@pytest.mark.parametrize(("form", "library"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_what_is_not_installed_is_told(
    zoo: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch, form: str, library: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, library, None)
    finished = cli(
        "export", "zoo", "--store", zoo / "runs", "--format", form, "--output", zoo / "out"
    )
    assert (finished.code, f"pip install 'ablation-orchestrator[{form}]'" in finished.err) == (
        2,
        True,
    ), finished.err
