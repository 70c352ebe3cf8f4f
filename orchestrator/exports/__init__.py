"""The curves for people who look at them elsewhere than in MLflow: written from the store, as often as asked, never read back."""

from orchestrator.exports.curves import Curve, curves_of
from orchestrator.exports.tensorboard import write_tensorboard
from orchestrator.exports.weights_and_biases import write_wandb

__all__ = ["Curve", "curves_of", "write_tensorboard", "write_wandb"]
