"""A perceptron on handwritten digits, trained by Lightning: one trial of a sweep."""

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from illama.integrations.lightning import SweepCallback


class Classifier(lightning.LightningModule):
    """One hidden layer; logs `train/loss` and `val/acc`."""

    def __init__(self, width: int, lr: float, dropout: float) -> None:
        super().__init__()
        self.lr = lr
        self.network = nn.Sequential(
            nn.Linear(64, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 10)
        )

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        """Cross-entropy of one batch."""
        loss = nn.functional.cross_entropy(self.network(batch[0]), batch[1])
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        """Accuracy in percent."""
        hits = (self.network(batch[0]).argmax(1) == batch[1]).float()
        self.log("val/acc", 100 * hits.mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def train(
    *,
    width: int = 32,
    lr: float = 1e-2,
    dropout: float = 0.0,
    epochs: int = 5,
    seed,
    log_metrics,
    checkpoint_dir,
    should_stop,
) -> dict[str, float] | None:
    """Train to the end, going on from the last epoch that was saved."""
    lightning.seed_everything(seed, verbose=False)
    images, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
    dataset = TensorDataset(images.float() / 16, labels)
    val = torch.utils.data.Subset(dataset, range(400))
    rest = torch.utils.data.Subset(dataset, range(400, len(dataset)))
    callback = SweepCallback(log_metrics, checkpoint_dir, should_stop, seed)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(
        Classifier(width, lr, dropout),
        DataLoader(rest, batch_size=64, shuffle=True),
        DataLoader(val, batch_size=400),
        ckpt_path=callback.checkpoint,
        weights_only=True,
    )
    return callback.result()
