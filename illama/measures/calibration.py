"""Calibration: whether a classifier is as sure as it is right (paper, Table 8 and Figure 7).

Errors go by the probability p of the predicted class. With the images of bin b, n_b in number,

    ECE = sum over bins of n_b / n * |accuracy_b - mean p_b|
    MCE = the largest of these differences

(Naeini et al. 2015, Guo et al. 2017) in `bins` bins of equal width, 15 as in the paper, or of equal
counts for the adaptive error (Nguyen and O'Connor 2015). NLL is the mean of -log of the right
class's probability, in nats. The Brier score is the mean over images of the squared distance
between probabilities and the one-hot label, summed over classes: 0 to 2.

A temperature T divides the logits. It minimises the NLL on one half of the images, drawn by the
seed, and everything is measured on the other half with it (`..._scaled`) and without
(`..._unscaled`): temperature scaling, Guo et al. 2017, section 4.2.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import PositiveInt

from illama.measures.base import Data, Device, Findings, Network, Quantity, quantities

NUMERICS_VERSION = 1

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

_ERRORS = {
    "ece": Quantity("min", decimals=4, text="expected calibration error, bins of equal width"),
    "ace": Quantity("min", decimals=4, text="the same, bins of equal counts"),
    "mce": Quantity("min", decimals=4, text="largest error of a bin"),
    "nll": Quantity("min", "nats", 4, "negative log-likelihood"),
    "brier": Quantity("min", decimals=4, text="Brier score"),
}
_HALF = ("ece", "nll")
QUANTITIES = {
    **_ERRORS,
    "temperature": Quantity(None, decimals=3, text="that minimises the NLL on half of the images"),
    **{f"{name}_unscaled": _ERRORS[name] for name in _HALF},
    **{f"{name}_scaled": _ERRORS[name] for name in _HALF},
}
_COLDEST, _HOTTEST = -3.0, 3.0
"""Bounds of log T: from 1/20 to 20."""


@quantities(QUANTITIES)
def calibration(
    network: Network, data: Data, device: Device, seed: int, *, bins: PositiveInt = 15
) -> Findings:
    """Calibration errors, proper scores, and what one temperature would do for them."""
    from illama.measures.passes import outputs
    from illama.measures.pictures import reliability_diagram

    logits, labels = outputs(network, data.held_out())
    values = errors(logits, labels, bins)
    order = np.random.default_rng(seed).permutation(len(labels))
    fitted, tested = np.array_split(order, 2)
    temperature = best_temperature(logits[fitted], labels[fitted])
    before = errors(logits[tested], labels[tested], bins)
    after = errors(logits[tested] / temperature, labels[tested], bins)
    values["temperature"] = temperature
    values |= {f"{name}_unscaled": before[name] for name in _HALF}
    values |= {f"{name}_scaled": after[name] for name in _HALF}
    drawing = reliability_diagram(reliability(*_confidence(logits, labels), bins), values["ece"])
    return Findings(values, {"reliability": drawing})


def errors(logits: Floats, labels: Labels, bins: int = 15) -> dict[str, float]:
    """ECE, adaptive ECE, MCE, NLL and Brier score. logits: (images, classes); labels: (images,)."""
    confidence, is_right = _confidence(logits, labels)
    equal_width = reliability(confidence, is_right, bins)
    equal_count = _of_bins(confidence, is_right, _equal_counts(confidence, bins), bins)
    log_probabilities = _log_softmax(logits)
    probabilities = np.exp(log_probabilities)
    one_hot = np.eye(logits.shape[1])[labels]
    return {
        "ece": equal_width.expected_error,
        "ace": equal_count.expected_error,
        "mce": equal_width.largest_error,
        "nll": float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        "brier": float(((probabilities - one_hot) ** 2).sum(axis=1).mean()),
    }


@dataclass(frozen=True)
class Reliability:
    """Accuracy and confidence of the images of each bin, all (bins,); zeros in an empty one."""

    counts: npt.NDArray[np.int64]
    accuracy: Floats
    confidence: Floats

    @property
    def gaps(self) -> Floats:
        """|accuracy - mean confidence| of each bin."""
        gaps: Floats = np.abs(self.accuracy - self.confidence)
        return gaps

    @property
    def expected_error(self) -> float:
        """Mean of the gaps over the images."""
        return float((self.counts * self.gaps).sum() / self.counts.sum())

    @property
    def largest_error(self) -> float:
        """Largest gap of a bin that has images."""
        return float(self.gaps[self.counts > 0].max())


def reliability(confidence: Floats, is_right: Floats, bins: int) -> Reliability:
    """Bins of equal width between 0 and 1; an edge, and 1 itself, belongs to the bin below."""
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    return _of_bins(confidence, is_right, np.searchsorted(inner_edges, confidence), bins)


def best_temperature(logits: Floats, labels: Labels) -> float:
    """Temperature at which the NLL is smallest, between 1/20 and 20."""
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def nll(log_temperature: float) -> float:
        scaled = _log_softmax(logits / np.exp(log_temperature))
        return float(-scaled[rows, labels].mean())

    found = minimize_scalar(nll, bounds=(_COLDEST, _HOTTEST), method="bounded")
    return float(np.exp(found.x))


def _equal_counts(confidence: Floats, bins: int) -> npt.NDArray[np.int64]:
    """Bin of each image, where the images stand in order of confidence; equals stay in order."""
    place = np.empty(len(confidence), np.int64)
    place[np.argsort(confidence, kind="stable")] = np.arange(len(confidence))
    return place * bins // len(confidence)


def _of_bins(
    confidence: Floats, is_right: Floats, bin_of: npt.NDArray[np.int64], bins: int
) -> Reliability:
    counts = np.bincount(bin_of, minlength=bins)
    of_each = np.maximum(counts, 1)
    accuracy = np.bincount(bin_of, is_right, minlength=bins) / of_each
    return Reliability(counts, accuracy, np.bincount(bin_of, confidence, minlength=bins) / of_each)


def _confidence(logits: Floats, labels: Labels) -> tuple[Floats, Floats]:
    """Probability of the predicted class, and 1 where that is right, else 0; both (images,)."""
    probabilities = np.exp(_log_softmax(logits))
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == labels).astype(np.float64)


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
