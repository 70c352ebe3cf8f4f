"""A network with a part of somebody's own goes through MLflow to where neither that part nor our
code is.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from illama.weights.inference import load_classifier
from orchestrator.driver import Job, register_network, run_sweep
from orchestrator.executors.local import run_locally
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.store import Store

PART = '''
"""Every token becomes a learned share of the mean of all."""
import torch
from torch import nn


class Mean(nn.Module):
    masks = ("bidirectional", "causal")

    def __init__(self, place):
        super().__init__()
        self.share = nn.Parameter(torch.ones(place.dim))

    def forward(self, x, where):
        counts = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        return (self.share * x.cumsum(1) / counts)[:, where.rows]


def running_mean(place, *, gain: float = 1.0):
    return Mean(place)
'''
SPEC = """name: own_part
metric: {name: val/acc1, mode: max}
seeds: [0]
baseline:
  model: {name: illama_digits, embed_dim: 12, depth: 2, num_heads: 3}
  data: {name: digits, val_fraction: 0.9}
  train: {epochs: 1, batch_size: 64, lr: 1e-3}
steps:
  - name: own
    change:
      model.mixer: ["own_mean:running_mean", lightning]
      model.feed_forward: [swiglu, kan]
      model.exits: [1]
"""
SERVED = """
import sys, mlflow, numpy
mlflow.set_tracking_uri(sys.argv[1])
served = mlflow.pyfunc.load_model("models:/own/1")
images = numpy.load(sys.argv[2])["images"]
logits = numpy.asarray(served.predict(images))
assert not {"illama", "orchestrator", "own_mean"} & {name.split(".")[0] for name in sys.modules}
numpy.savez(sys.argv[3], logits=logits)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_pyfunc_answers_with_a_part_that_is_not_there(
    tmp_path: Path, store_path: Path, new_mlflow: "object"
) -> None:
    assert callable(new_mlflow)
    uri = new_mlflow()
    (tmp_path / "own_mean.py").write_text(PART)
    (tmp_path / "own_part.yaml").write_text(SPEC)
    spec, store = load_spec(tmp_path / "own_part.yaml"), Store(store_path)
    run_sweep(Job(spec, store, run_locally, tracking_uri=uri))
    address, chosen = register_network(spec, store, uri, "own", "0", "own")
    assert address == "models:/own/1"
    classifier, examples = load_classifier(Path(chosen.record.path))
    images = np.concatenate([examples, examples * 0.5, examples[:1]])
    np.savez(tmp_path / "images.npz", images=images)
    away = tmp_path / "away"
    away.mkdir()
    arguments = [uri, str(tmp_path / "images.npz"), str(tmp_path / "answers.npz")]
    done = subprocess.run(
        [sys.executable, "-c", SERVED, *arguments],
        cwd=away,
        env=os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = classifier(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "answers.npz")["logits"], expected, atol=1e-4)
