"""A sweep over a command: what is wrong is told at its place, and a trial is trained like any
other.
"""

from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from orchestrator.spec.sweep_spec import SweepSpec, load_spec

SCRIPT = "import sys\nprint('metric acc=%s epoch=1' % (float(sys.argv[1]) + int(sys.argv[2])))\n"
HEAD = "name: commanded\nmetric: {name: acc, mode: max}\nseeds: [0, 1]\n"
TRAIN = '{command: "python script.py {lr} {seed}", lr: 0.5}'


def spec_of(folder: Path, train: str = TRAIN, change: str = "{train.lr: 1}") -> SweepSpec:
    (folder / "script.py").write_text(SCRIPT)
    path = folder / "commanded.yaml"
    steps = f"steps:\n  - {{name: more, change: {change}}}\n"
    path.write_text(f"{HEAD}baseline:\n  train: {train}\n{steps}")
    return load_spec(path)


@pytest.mark.slow
def test_the_script_travels_with_the_sweep(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    assert spec.code == {"script.py": SCRIPT.encode()}
    assert [variant.config.setting("train.lr") for variant in spec.road] == [0.5, 1.0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("train", "change", "place", "message"),
    [
        (
            TRAIN,
            "{train.lr: big}",
            "7:37",
            "train.lr: it should have the type of its previous value 0.5",
        ),
        (TRAIN, "{train.lrr: 1}", "7:27", "did you mean 'train.lr'?"),
        (TRAIN.replace("lr: 0.5", "lrr: 1"), "{}", "5:52", "unknown key 'lrr'"),
        (TRAIN.replace(" {seed}", ""), "{}", "5:20", "the command has no {seed}"),
        (TRAIN.replace("script", "gone"), "{}", "5:20", "there is no 'gone.py' next to the spec"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(
    tmp_path: Path, train: str, change: str, place: str, message: str
) -> None:
    with pytest.raises(SpecError) as raised:
        spec_of(tmp_path, train, change)
    told = [one for one in str(raised.value).splitlines() if message in one]
    assert told, str(raised.value)
    assert f"commanded.yaml:{place}: " in told[0]
