"""A training gives the same bits whatever interrupts it, stops where it is told, and says when
it breaks.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from illama import checkpoint
from illama.config import Config, RuntimeConfig
from illama.data.datasets import load
from illama.training.trainer import Diverged, Stopped, TrainResult, evaluate_checkpoint, train

Build = Callable[..., Config]
SOFT = {"train.soft_mask": {"schedule": "linear", "epochs": 2}}


class Journal(dict[int, dict[str, float]]):
    """Metrics by iteration; reporting an iteration again must give the same numbers."""

    def __call__(self, metrics: Mapping[str, float], iteration: int) -> None:
        kept = {name: value for name, value in metrics.items() if not name.startswith("time/")}
        assert self.setdefault(iteration, kept) == kept


def outcome(result: TrainResult) -> dict[str, Any]:
    """All of a result that must not depend on the clock and the machine's memory."""
    facts = asdict(result)
    del facts["seconds"], facts["peak_memory_bytes"]
    for name in ("final", "best"):
        facts[name] = {
            key: value for key, value in facts[name].items() if not key.startswith("time/")
        }
    return facts


def weights(directory: Path) -> dict[str, torch.Tensor]:
    state = checkpoint.load(directory)
    assert state is not None
    return dict(state["model"])


def run(
    config: Config, directory: Path | None = None, stops: tuple[int, ...] = (), every: float = 1e9
) -> tuple[Any, Journal]:
    """Train to the end, killed or stopped at every iteration in `stops` and started again."""
    journal, runtime = Journal(), RuntimeConfig(device="cpu", checkpoint_seconds=every)
    for stop in stops:
        asked = iter(range(10**9))
        with pytest.raises(Stopped):
            train(
                config,
                runtime=runtime,
                log_metrics=journal,
                checkpoint_dir=directory,
                should_stop=lambda asked=asked, stop=stop: next(asked) >= stop,
            )
    return train(config, runtime=runtime, log_metrics=journal, checkpoint_dir=directory), journal


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(small_config: Build) -> None:
    first, journal = run(small_config())
    again, same = run(small_config())
    other, different = run(small_config({"seed": 1}))
    assert outcome(first) == outcome(again)
    assert journal == same
    assert different != journal
    assert outcome(other) != outcome(first)


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_bits(
    small_config: Build, tmp_path: Path
) -> None:
    config = small_config(SOFT)
    whole, journal = run(config, tmp_path / "whole")
    torch.manual_seed(123)  # whatever the process did before
    parts, pieces = run(config, tmp_path / "parts", stops=(0, 1, 3, 2, 4, 1))
    assert outcome(parts) == outcome(whole)
    assert pieces == journal
    left, right = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(left[name], right[name]) for name in left)


EVERYTHING = {
    "train.mixup": 0.8,
    "train.cutmix": 1.0,
    "train.hflip": 0.5,
    "train.random_crop": 1,
    "train.reprob": 0.25,
    "train.drop_path": 0.3,
    "train.drop_mode": "early",
    "train.cutoff_epoch": 2,
    "train.drop_schedule": "linear",
    "train.ema": 0.9,
    "train.clip_grad": 1.0,
    "train.layer_decay": 0.8,
    "train.label_smoothing": 0.1,
    "train.warmup_epochs": 1,
    "train.soft_mask": {"schedule": "cosine", "epochs": 2},
}


def killed(config: Config, directory: Path, kills: list[int]) -> tuple[Any, Journal]:
    """Trained to the end, dying in the middle of work after each of so many further iterations."""
    journal, runtime = Journal(), RuntimeConfig(device="cpu", checkpoint_seconds=0)
    for kill in kills:
        questions = itertools.count()

        def should_stop(questions: Iterator[int] = questions, last: int = 2 * kill + 1) -> bool:
            if (
                next(questions) == last
            ):  # asked before each iteration and before each save: dies before an iteration's save
                raise KeyboardInterrupt
            return False

        with pytest.raises(KeyboardInterrupt):
            train(
                config,
                runtime=runtime,
                log_metrics=journal,
                checkpoint_dir=directory,
                should_stop=should_stop,
            )
    return train(config, runtime=runtime, log_metrics=journal, checkpoint_dir=directory), journal


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_with_every_randomness_on_a_killed_training_ends_with_the_same_bits(
    small_config: Build, tmp_path: Path, precision: str
) -> None:
    config = small_config({**EVERYTHING, "train.precision": precision})
    whole, journal = run(config, tmp_path / "whole")
    parts, pieces = killed(config, tmp_path / "parts", kills=[0, 2, 5, 1])
    assert outcome(parts) == outcome(whole)
    assert pieces == journal
    assert "val_ema/acc1" in parts.final
    left, right = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.slow
@pytest.mark.parametrize("attempts", [2, pytest.param(10, marks=pytest.mark.thorough)])
def test_random_kills_give_the_same_bits(
    small_config: Build, tmp_path: Path, attempts: int
) -> None:
    config = small_config({**EVERYTHING, "train.batch_size": 8})
    whole, journal = run(config, tmp_path / "whole")
    assert whole.iterations == 66
    left, random = weights(tmp_path / "whole"), np.random.RandomState(0)
    for attempt in range(attempts):  # five kills each, at random places of the way that is left
        kills = np.diff(np.concatenate(([0], np.sort(random.choice(65, size=5, replace=False)))))
        parts, pieces = killed(config, tmp_path / str(attempt), kills.tolist())
        assert outcome(parts) == outcome(whole)
        assert pieces == journal
        right = weights(tmp_path / str(attempt))
        assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.slow
def test_a_killed_training_goes_on_from_its_last_checkpoint(
    small_config: Build, tmp_path: Path
) -> None:
    config = small_config(SOFT)
    whole, journal = run(config)
    pieces = Journal()
    for kill in (2, 9, 17):

        def should_stop(left: Any = iter(range(kill, -1, -1))) -> bool:  # noqa: B008 (one countdown per kill is meant)
            if next(left) == 0:
                raise KeyboardInterrupt
            return False

        with pytest.raises(KeyboardInterrupt):
            train(
                config,
                runtime=RuntimeConfig(device="cpu", checkpoint_seconds=0),
                log_metrics=pieces,
                checkpoint_dir=tmp_path,
                should_stop=should_stop,
            )
    end = train(
        config, runtime=RuntimeConfig(device="cpu"), log_metrics=pieces, checkpoint_dir=tmp_path
    )
    assert outcome(end) == outcome(whole)
    assert pieces == journal


def test_what_should_stop_raises_passes_through_and_saves_nothing(
    small_config: Build, tmp_path: Path
) -> None:
    def lost() -> bool:
        raise PermissionError("the trial belongs to somebody else now")

    with pytest.raises(PermissionError, match="somebody else"):
        train(small_config(), log_metrics=Journal(), checkpoint_dir=tmp_path, should_stop=lost)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_trainings_one_after_another_do_not_touch_each_other(small_config: Build) -> None:
    alone, _ = run(small_config({"seed": 5}))
    run(small_config({"model.attention": "bidirectional", "seed": 2}))
    after, _ = run(small_config({"seed": 5}))
    assert outcome(after) == outcome(alone)


@pytest.mark.slow
def test_the_state_of_the_process_is_as_it_was(small_config: Build) -> None:
    torch.manual_seed(0)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    brief = small_config({"train.epochs": 1, "train.batch_size": 179})  # threads that spin are dear
    train(brief, runtime=RuntimeConfig(num_threads=threads + 1), log_metrics=Journal())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_a_finished_training_returns_its_result_again_without_training(
    small_config: Build, tmp_path: Path
) -> None:
    first, _ = run(small_config(), tmp_path)
    again, journal = run(small_config(), tmp_path)
    assert outcome(again) == outcome(first)
    assert journal == {}


@pytest.mark.slow
def test_metrics_are_complete_and_keyed_by_iteration(small_config: Build) -> None:
    config = small_config(SOFT)
    seen: dict[int, set[str]] = {}
    result = train(
        config, log_metrics=lambda metrics, iteration: seen.update({iteration: set(metrics)})
    )
    per_epoch = result.iterations // 3
    assert list(seen) == [per_epoch, 2 * per_epoch, 3 * per_epoch]
    always = {
        "epoch",
        "train/loss",
        "train/lr",
        "train/soft_mask_rate",
        "val/loss",
        "val/acc1",
        "val/acc5",
        "val/ece",
        "val/logit_std",
    }
    always |= {"time/epoch_seconds", "time/images_per_second"}
    assert seen[3 * per_epoch] == always
    assert seen[per_epoch] == always | {
        "val_soft/loss",
        "val_soft/acc1",
        "val_soft/acc5",
        "val_soft/ece",
    }
    assert set(result.final) == always
    assert always <= set(result.best)


@pytest.mark.slow
def test_a_test_part_is_measured_beside_validation_and_changes_nothing_else(
    small_config: Build,
) -> None:
    changes = {"train.ema": 0.9, "data.test_fraction": 0.05}
    result, journal = run(small_config(changes))
    names = {name.partition("/")[0]: set() for name in result.final}  # type: ignore[var-annotated]
    for name in result.final:
        group, _, measure = name.partition("/")
        names[group].add(measure)
    assert names["test"] == names["test_ema"] == {"acc1", "acc5", "loss", "ece"}
    assert names["val"] == names["test"] | {"logit_std"}
    data = load(small_config(changes).data, small_config().model)
    unit = 100 / len(data.part("test")[1])
    assert all(
        metrics[name] / unit == pytest.approx(round(metrics[name] / unit))
        for metrics in journal.values()
        for name in ("test/acc1", "test_ema/acc1")
    )


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [0.0, 0.05])
def test_hits_are_those_of_the_last_measurement_whatever_interrupts(
    small_config: Build, tmp_path: Path, fraction: float
) -> None:
    config = small_config({"data.test_fraction": fraction})
    result, journal = run(config, tmp_path / "whole")
    found = result.predictions
    part = "test" if fraction else "val"
    data = load(config.data, config.model)
    assert (found.part, found.images) == (part, data.digest_of(part))
    assert len(found.hits) == len(data.part(part)[1])
    share = 100 * found.hits.count("1") / len(found.hits)
    assert share == pytest.approx(result.final[f"{part}/acc1"])
    last = max(journal)
    stopped, _ = run(
        config, tmp_path / "parts", stops=(1, last - 1)
    )  # then right behind the last measurement
    assert stopped.predictions == found
    again, _ = run(config, tmp_path / "parts")  # finished: nothing is measured any more
    assert again.predictions == found


def test_the_best_epoch_is_the_first_with_the_highest_accuracy(small_config: Build) -> None:
    result, journal = run(small_config())
    accuracies = [metrics["val/acc1"] for metrics in journal.values()]
    assert result.best_epoch == accuracies.index(max(accuracies)) + 1
    assert result.best["val/acc1"] == max(accuracies)
    assert result.final["val/acc1"] == accuracies[-1]


@pytest.mark.slow
def test_training_learns(small_config: Build) -> None:
    changes = {"train.epochs": 12, "train.lr": 1e-2, "data.val_fraction": 0.8}
    result, _ = run(small_config(changes))
    assert result.final["val/acc1"] > 40


def test_the_additive_mask_with_the_class_token_first_collapses(small_config: Build) -> None:
    changes = {"model.class_token": "first", "model.mask_form": "additive"}
    result, _ = run(small_config(changes))
    assert result.collapsed
    assert result.final["val/logit_std"] < 1e-6


@pytest.mark.slow
def test_the_multiplicative_mask_leaks_and_trains(small_config: Build) -> None:
    changes = {"train.epochs": 8, "train.lr": 1e-2, "data.val_fraction": 0.8}
    result, _ = run(small_config(changes | {"model.class_token": "first"}))
    assert not result.collapsed
    assert result.final["val/acc1"] > 15


def test_bad_training_is_not_collapse(small_config: Build) -> None:
    result, _ = run(small_config({"train.lr": 1e-5, "train.epochs": 1}))
    assert result.final["val/acc1"] < 30
    assert not result.collapsed


def test_a_loss_that_is_not_finite_stops_the_training_and_says_where(
    small_config: Build, tmp_path: Path
) -> None:
    config = small_config({"train.lr": 1e30})
    with pytest.raises(Diverged, match=r"is (nan|-?inf) after iteration \d+") as caught:
        run(config, tmp_path, every=0.0)
    assert caught.value.iteration > 0
    assert caught.value.tensor
    state = checkpoint.load(tmp_path)
    assert state is None or all(torch.isfinite(tensor).all() for tensor in state["model"].values())
    with pytest.raises(Diverged) as again:
        run(config, tmp_path, every=0.0)
    assert (again.value.iteration, again.value.tensor) == (
        caught.value.iteration,
        caught.value.tensor,
    )


def test_finite_weights_that_nothing_can_be_computed_with_are_no_result(
    small_config: Build,
) -> None:
    one_iteration = {
        "train.lr": 1e30,
        "train.epochs": 1,
        "data.val_fraction": 0.9,
        "train.batch_size": 179,
    }
    with pytest.raises(Diverged, match="val/loss is nan after iteration 1"):
        run(small_config(one_iteration))


def test_a_checkpoint_of_other_settings_is_refused(small_config: Build, tmp_path: Path) -> None:
    run(small_config(), tmp_path)
    with pytest.raises(ValueError, match=r"model\.norm is rmsnorm there and layernorm here"):
        run(small_config({"model.norm": "layernorm"}), tmp_path)


def test_a_batch_larger_than_the_data_is_refused(small_config: Build) -> None:
    with pytest.raises(ValueError, match=r"batch_size 5000 is more than the \d+ training images"):
        run(small_config({"train.batch_size": 5000}))


def test_a_missing_gpu_is_said(small_config: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no GPU"):
        train(small_config(), runtime=RuntimeConfig(device="cuda"), log_metrics=Journal())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_final_weights_are_in_the_checkpoint(
    small_config: Build, tmp_path: Path, precision: str
) -> None:
    result, _ = run(small_config({"train.precision": precision}), tmp_path)
    measured = evaluate_checkpoint(tmp_path / "checkpoint.pt", runtime=RuntimeConfig(device="cpu"))
    assert measured == {
        name: result.final[f"val/{name}"] for name in ("loss", "acc1", "acc5", "ece", "logit_std")
    }


@pytest.mark.slow
def test_seconds_add_up_over_attempts(small_config: Build, tmp_path: Path) -> None:
    calls = iter(range(100))
    with pytest.raises(Stopped):
        train(
            small_config(),
            log_metrics=Journal(),
            checkpoint_dir=tmp_path,
            should_stop=lambda: next(calls) >= 4,
        )
    state = checkpoint.load(tmp_path)
    assert state is not None
    before = state["progress"]["seconds"]
    result, _ = run(small_config(), tmp_path)
    assert result.seconds > before > 0
    assert math.isfinite(result.final["time/images_per_second"])
    assert result.peak_memory_bytes > 1e7


@pytest.mark.slow
def test_a_training_goes_on_under_another_preset_with_the_same_settings(
    small_config: Build, tmp_path: Path
) -> None:
    config, often = small_config(), RuntimeConfig(device="cpu", checkpoint_seconds=0)
    renamed = config.model_copy(
        update={"model": config.model.model_copy(update={"name": "vit_digits"})}
    )
    begun = (tmp_path / "checkpoint.pt").exists
    with pytest.raises(Stopped):
        train(
            config, runtime=often, log_metrics=Journal(), checkpoint_dir=tmp_path, should_stop=begun
        )
    assert outcome(train(renamed, log_metrics=Journal(), checkpoint_dir=tmp_path)) == outcome(
        run(config)[0]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("every", "saves"), [(0, [*range(1, 16)]), (3, [3, 8, 13, 15]), (6, [6, 12, 15])]
)
def test_slow_checkpoints_are_written_less_often(
    small_config: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    every: float,
    saves: list[int],
) -> None:
    now, saved = [0.0], []

    def an_iteration_of_one_second() -> bool:
        now[0] += 1
        return False

    def a_checkpoint_of_a_quarter(directory: Path, state: Mapping[str, Any]) -> None:
        now[0] += 0.24
        saved.append(state["progress"]["iteration"])

    monkeypatch.setattr(checkpoint, "save", a_checkpoint_of_a_quarter)
    monkeypatch.setattr("illama.training.trainer.time.monotonic", lambda: now[0])
    runtime = RuntimeConfig(device="cpu", checkpoint_seconds=every)
    stop = an_iteration_of_one_second
    train(
        small_config(),
        runtime=runtime,
        log_metrics=Journal(),
        checkpoint_dir=tmp_path,
        should_stop=stop,
    )
    assert saved == saves
