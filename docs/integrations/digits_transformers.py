"""A perceptron on handwritten digits, trained by Hugging Face's Trainer: one trial of a sweep."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from transformers import Trainer, TrainingArguments, set_seed

from illama.integrations.hugging_face import SweepCallback


class Classifier(nn.Module):
    """One hidden layer; returns loss and logits, as the Trainer wants them."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(64, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 10)
        )

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Cross-entropy and logits of a batch."""
        logits = self.network(pixels)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def accuracy(prediction) -> dict[str, float]:
    """Accuracy in percent; the Trainer calls it `eval_acc`, the sweep `val/acc`."""
    hits = prediction.predictions.argmax(1) == prediction.label_ids
    return {"acc": 100 * float(hits.mean())}


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
    """Train to the end, going on from the last checkpoint."""
    set_seed(seed)
    images, labels = load_digits(return_X_y=True)
    examples = [
        {"pixels": torch.tensor(image).float() / 16, "labels": int(label)}
        for image, label in zip(images, labels, strict=True)
    ]
    callback = SweepCallback(log_metrics, checkpoint_dir, should_stop)
    trainer = Trainer(
        Classifier(width, dropout),
        TrainingArguments(
            output_dir=str(checkpoint_dir),
            num_train_epochs=epochs,
            learning_rate=lr,
            per_device_train_batch_size=64,
            per_device_eval_batch_size=400,
            eval_strategy="epoch",
            save_strategy="epoch",
            logging_strategy="epoch",
            save_total_limit=1,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            seed=seed,
        ),
        train_dataset=examples[400:],
        eval_dataset=examples[:400],
        compute_metrics=accuracy,
        callbacks=[callback],
    )
    trainer.train(resume_from_checkpoint=callback.checkpoint)
    return callback.result()
