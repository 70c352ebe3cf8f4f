"""The benchmark for a GPU goes through its code on a CPU, says that this measures nothing, and
loses no figure.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

SMOKE = ["--device", "cpu", "--sizes", "smoke", "--repeats", "1", "--eager"]
FIGURES = {
    "ours, flash attention, causal",
    "ours, flash attention, soft",
    "plain, float32",
    "plain, autocast",
}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import gpu_throughput

    monkeypatch.setattr(
        gpu_throughput, "find_spec", lambda name: None
    )  # whether timm is here or not
    monkeypatch.setitem(gpu_throughput.BATCHES, "smoke", 2)
    return gpu_throughput


def measured(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text())
    assert report["measures"] == "nothing"
    smoke: dict[str, Any] = report["sizes"]["smoke"]
    return smoke


@pytest.mark.slow
def test_it_goes_through_its_code_and_says_that_it_measures_nothing(
    benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*SMOKE, "--output", str(tmp_path / "figures.json")]
    assert benchmark.main([*command, "--limit", "-1"]) == 1
    assert "the time is over: the same command goes on" in capsys.readouterr().out
    assert benchmark.main(command) == 0
    assert "its figures measure nothing" in capsys.readouterr().out
    figures = measured(tmp_path / "figures.json")["figures"]
    assert figures.keys() == FIGURES
    assert all(figure["images_per_second"] > 0 for figure in figures.values())


def test_a_figure_that_is_there_is_not_measured_again(
    benchmark: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = []

    def measure(contender: Any, *_: Any) -> dict[str, tuple[float, float]]:
        calls.append(contender.name)
        if calls == ["ours, flash attention, ", "plain, float32"]:
            raise RuntimeError("a kernel\nis missing")
        return dict.fromkeys(contender.figures, (100.0, 1.0))

    monkeypatch.setattr(benchmark, "measure", measure)
    command = [*SMOKE, "--output", str(tmp_path / "figures.json"), "--peak-tflops", "100"]
    assert benchmark.main(command) == 1
    assert measured(tmp_path / "figures.json")["figures"]["plain, float32"] == {
        "failed": "RuntimeError: a kernel"
    }
    assert benchmark.main(command) == 0
    assert benchmark.main([*command, "--attention", "doubled"]) == 0
    assert calls == [
        "ours, flash attention, ",
        "plain, float32",
        "plain, autocast",
        "plain, float32",
        "ours, doubled attention, ",
    ]
    assert "'speed over plain, float32': 1.0" in capsys.readouterr().out
    assert benchmark.main([*command[:-1], "200"]) == 2
    assert "choose another --output" in capsys.readouterr().err


def test_where_one_needs_too_much_memory_all_of_a_size_have_half_the_batch(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []

    def measure(contender: Any, batch: int, *_: Any) -> dict[str, tuple[float, float]]:
        batches.append(batch)
        if batch > 2 and contender.name == "plain, float32":
            raise torch.OutOfMemoryError
        return dict.fromkeys(contender.figures, (float(batch), 1.0))

    monkeypatch.setattr(benchmark, "measure", measure)
    monkeypatch.setitem(benchmark.BATCHES, "smoke", 8)
    assert benchmark.main([*SMOKE, "--output", str(tmp_path / "figures.json")]) == 0
    assert batches == [8, 8, 4, 4, 2, 2, 2]
    smoke = measured(tmp_path / "figures.json")
    assert smoke["batch"] == 2
    assert {figure["images_per_second"] for figure in smoke["figures"].values()} == {2.0}


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
    ],
)
def test_the_peak_is_known_by_the_device(benchmark: Any, device: str, peak: int) -> None:
    assert next(value for name, value in benchmark.PEAKS.items() if name in device) == peak


def test_without_a_gpu_it_refuses(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert benchmark.main([]) == 2
    assert "torch finds no GPU here" in capsys.readouterr().err
