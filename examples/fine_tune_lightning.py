"""Fine-tune the shipped network to your own keypoints, with Lightning.

    python examples/fine_tune_lightning.py

Expect a mean error below 3 pixels (of 96) on new arrows, after about half a minute on two CPU
cores. `figures.py` has the data, the loss and the evaluation.
"""

from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import posezoo

from figures import KEYPOINTS, Arrows, heatmap_loss, mean_error, options


class FineTuning(lightning.LightningModule):
    """A model with its loss, optimiser and schedule."""

    def __init__(self, name: str, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = posezoo.create(name, pretrained=True, num_keypoints=len(KEYPOINTS), skeleton=KEYPOINTS)

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        loss = heatmap_loss(self.model(batch["image"]), batch["keypoints"])
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.hparams.lr)
        steps = self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.hparams.lr, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main(arguments: list[str] | None = None) -> float:
    args = options(__doc__, arguments)
    lightning.seed_everything(0)
    # Lightning keeps the mode of modules, and `create` returns eval mode
    module = FineTuning(args.model, args.lr).train()
    batches = DataLoader(Arrows(args.steps * args.batch_size), batch_size=args.batch_size)
    trainer = lightning.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.fit(module, batches)
    return mean_error(module.model)


if __name__ == "__main__":
    main()
