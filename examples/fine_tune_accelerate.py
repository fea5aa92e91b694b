"""Fine-tune the shipped network to your own keypoints, with Accelerate, on one or more processes.

    python examples/fine_tune_accelerate.py
    accelerate launch examples/fine_tune_accelerate.py

Expect a mean error below 3 pixels (of 96) on new arrows, after about half a minute on two CPU
cores. `figures.py` has the data, the loss and the evaluation.
"""

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader

import posezoo

from figures import KEYPOINTS, Arrows, heatmap_loss, mean_error, options


def main(arguments: list[str] | None = None) -> float:
    args = options(__doc__, arguments)
    accelerator = Accelerator()
    set_seed(0)

    model = posezoo.create(args.model, pretrained=True, num_keypoints=len(KEYPOINTS), skeleton=KEYPOINTS).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.steps)
    batches = DataLoader(Arrows(args.steps * args.batch_size), batch_size=args.batch_size)
    network, optimizer, batches, schedule = accelerator.prepare(model, optimizer, batches, schedule)
    for step, batch in enumerate(batches):
        loss = heatmap_loss(network(batch["image"]), batch["keypoints"])
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            accelerator.print(f"step {step}: loss {loss.item():.3f}", flush=True)
    return mean_error(accelerator.unwrap_model(network))


if __name__ == "__main__":
    main()
