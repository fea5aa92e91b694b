"""Fine-tune the shipped network to your own keypoints, with the Trainer of transformers.

    python examples/fine_tune_trainer.py

Expect a mean error below 3 pixels (of 96) on new arrows, after about half a minute on two CPU
cores. `figures.py` has the data, the loss and the evaluation.
"""

from typing import Any

from torch import Tensor, nn
from transformers import Trainer, TrainingArguments, set_seed

import posezoo

from figures import KEYPOINTS, Arrows, heatmap_loss, mean_error, options


class HeatmapTrainer(Trainer):
    """Trainer with the heatmap loss."""

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        heatmaps = model(inputs["image"])
        loss = heatmap_loss(heatmaps, inputs["keypoints"])
        return (loss, {"heatmaps": heatmaps}) if return_outputs else loss


def main(arguments: list[str] | None = None) -> float:
    args = options(__doc__, arguments)
    set_seed(0)
    model = posezoo.create(args.model, pretrained=True, num_keypoints=len(KEYPOINTS), skeleton=KEYPOINTS)
    settings = TrainingArguments(
        output_dir="runs/fine_tune_trainer",
        num_train_epochs=1,
        per_device_train_batch_size=args.batch_size,
        learning_rate=args.lr,
        lr_scheduler_type="cosine",
        warmup_steps=args.steps // 5,
        logging_steps=20,
        save_strategy="no",
        report_to="none",
        remove_unused_columns=False,  # keep the keypoints, which are no argument of the model
    )
    HeatmapTrainer(model, settings, train_dataset=Arrows(args.steps * args.batch_size)).train()
    return mean_error(model)


if __name__ == "__main__":
    main()
