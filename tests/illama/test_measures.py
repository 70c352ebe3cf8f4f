"""Measures by name: their options, what they return, and how one runs on a checkpoint."""

from pathlib import Path

import pytest

from illama.config import RuntimeConfig, resolve
from illama.measures import Findings, labelled, read_request
from illama.measures.registry import MEASURES, function_in, needs_of, quantities_of
from illama.measures.run import checked, measure_directory
from illama.training.trainer import train


def test_options_that_are_not_given_have_their_defaults() -> None:
    assert read_request("calibration").options == {"bins": 15}
    assert read_request({"name": "calibration", "bins": 10}).options == {"bins": 10}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("calibrtion", "there is no measure 'calibrtion'.*did you mean 'calibration'"),
        ({"name": "calibration", "bin": 3}, "no option 'bin'; it takes bins; did you mean 'bins'"),
        ({"name": "calibration", "bins": 0}, "bins: .*greater than 0, found 0"),
        (7, "a measure should be a name"),
        ("no_such_module:probe", "there is no module 'no_such_module'"),
    ],
)
def test_what_is_wrong_with_a_request_is_told(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_request(value)


def test_a_measure_asked_for_twice_is_labelled_by_its_options() -> None:
    plain, fine = read_request("calibration"), read_request({"name": "calibration", "bins": 30})
    assert list(labelled([plain, fine])) == ["calibration", "calibration (bins=30)"]
    with pytest.raises(ValueError, match="calibration is listed twice"):
        labelled([plain, plain])


@pytest.mark.parametrize("name", MEASURES)
def test_every_built_in_measure_can_be_asked_for_by_name_alone(name: str) -> None:
    request = read_request(name)
    assert request.code.startswith("NUMERICS_VERSION")
    assert quantities_of(request), "what its numbers are is said before it runs"
    assert isinstance(needs_of(request), tuple)
    assert function_in(request).__doc__


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (3.0, "returned float; expected numbers by name"),
        ({"a": "x"}, "returned a: 'x', which is not a number"),
        ({"a": float("nan")}, "returned a: nan, which is not finite"),
    ],
)
def test_what_is_no_finite_number_is_refused(found: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked(found, "mine:probe")
    assert checked({"a": 1}, "mine:probe") == Findings({"a": 1.0})


def test_a_folder_without_a_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="a measure needs the trained network"):
        measure_directory(read_request("calibration"), tmp_path, RuntimeConfig())


@pytest.mark.slow
def test_a_measure_sees_the_network_that_was_trained(tmp_path: Path) -> None:
    model = {"name": "vit_digits", "embed_dim": 16, "depth": 1, "num_heads": 1}
    recipe = {"epochs": 1, "batch_size": 64, "lr": 4e-3}
    config = resolve({"model": model, "data": {"name": "digits"}, "train": recipe})
    result = train(config, log_metrics=lambda metrics, iteration: None, checkpoint_dir=tmp_path)
    found = measure_directory(read_request("calibration"), tmp_path, RuntimeConfig())
    assert found.values["ece"] == pytest.approx(result.final["val/ece"], abs=1e-9)
    assert found.values["nll"] == pytest.approx(result.final["val/loss"], abs=1e-9)
    assert found.pictures["reliability"].startswith("<?xml")
    again = measure_directory(read_request("calibration"), tmp_path, RuntimeConfig())
    assert again == found, "the same numbers and pictures each time"
