"""The files that `orchestrator init` writes: a training that takes seconds, and a sweep over two of
its settings.
"""

_TRAIN = '''"""An example training function: replace it with yours. Steps change its keyword
parameters.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


def train(
    *,
    width: int = 16,
    dropout: float = 0.0,
    lr: float = 1e-2,
    epochs: int = 10,
    seed,  # from here on: values that the orchestrator passes in, not settings
    log_metrics,
    checkpoint_dir,
    should_stop,
):
    """Train a small network on scikit-learn's digits; go on from a checkpoint if there is one."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    train_x, train_y, val_x, val_y = x[:1000], y[:1000], x[1000:], y[1000:]

    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr)
    checkpoint, done, accuracy = checkpoint_dir / "last.pt", 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done, accuracy = state["epoch"], state["accuracy"]

    for epoch in range(done + 1, epochs + 1):
        torch.manual_seed(seed * 1000 + epoch)  # the same random numbers after an interruption
        model.train()
        for batch in torch.randperm(len(train_x)).split(50):
            loss = F.cross_entropy(model(train_x[batch]), train_y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            accuracy = 100 * (model(val_x).argmax(1) == val_y).float().mean().item()
        print(f"epoch {epoch}: {accuracy:.2f} %")
        log_metrics({"val/acc": accuracy, "train/loss": loss.item()}, epoch)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        unfinished = checkpoint.with_suffix(".tmp")
        torch.save(state | {"epoch": epoch, "accuracy": accuracy}, unfinished)
        unfinished.replace(checkpoint)
        if should_stop():
            return None
    return {"val/acc": accuracy}
'''

_SPEC = """# The effect of width and dropout on a small network. Train it with
# `orchestrator run sweep.yaml`.
name: first
metric: {name: val/acc, mode: max}
seeds: [0, 1, 2, 3]

baseline:
  train: {name: "train:train", epochs: 10}

steps:                            # each on top of the one before
  - name: wide
    change: {train.width: 64}
  - name: dropout
    change: {train.dropout: 0.3}
    side:                         # a side step: later steps do not build on it
      more_dropout: {train.dropout: 0.6}
"""

FILES = {"sweep.yaml": _SPEC, "train.py": _TRAIN}
"""Content by name."""
