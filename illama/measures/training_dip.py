"""Training dip: what the end of the soft mask costs for a moment (paper, section 3.6, Figure 3).

While the mask is soft, networks are validated at the current alpha (`val_soft/...`) and at alpha 0
(`val/...`). Read from the curves of the training: nothing is computed again. A training without a
soft mask has no such numbers.
"""

from collections.abc import Mapping, Sequence

from illama.measures.base import Data, Device, Findings, Network, Quantity, quantities

NUMERICS_VERSION = 1

QUANTITIES = {
    "dip": Quantity(
        "min",
        "%",
        2,
        "accuracy at the last soft epoch minus that of the next epoch at alpha 0; negative where "
        "it rises",
    ),
    "gap": Quantity(
        "min", "%", 2, "at the last soft epoch, accuracy at its alpha minus at alpha 0"
    ),
    "recovery": Quantity(
        "min", "epochs", 0, "from there until the accuracy is reached again; the rest if never"
    ),
}

Curve = Sequence[Mapping[str, float]]


@quantities(QUANTITIES)
def training_dip(network: Network, data: Data, device: Device, seed: int) -> Findings:
    """Drop, gap and time of recovery of the accuracy where the soft mask ends."""
    curve = data.curve()
    values = dip_of(curve)
    if not values:
        return Findings({})
    from illama.measures.pictures import lines

    soft = [line for line in curve if "val_soft/acc1" in line]
    series = {
        "alpha 0": ([line["epoch"] for line in curve], [line["val/acc1"] for line in curve]),
        "current alpha": (
            [line["epoch"] for line in soft],
            [line["val_soft/acc1"] for line in soft],
        ),
    }
    word = "rise" if values["dip"] < 0 else "dip"
    drawing = lines(series, f"{word} of {abs(values['dip']):.1f} points", "epoch", "val/acc1, %")
    return Findings(values, {"curve": drawing})


def dip_of(curve: Curve) -> dict[str, float]:
    """Numbers of a training's curve; empty where it never had a soft mask, or ends with one."""
    soft = [index for index, line in enumerate(curve) if "val_soft/acc1" in line]
    if not soft or soft[-1] + 1 == len(curve):
        return {}
    last = soft[-1]
    before = curve[last]["val_soft/acc1"]
    later = [line["val/acc1"] for line in curve[last + 1 :]]
    reached = [index for index, value in enumerate(later) if value >= before]
    return {
        "dip": before - later[0],
        "gap": before - curve[last]["val/acc1"],
        "recovery": float(reached[0] + 1 if reached else len(later)),
    }
