"""Fine-tune the shipped network to your own keypoints, in a plain training loop.

    python examples/fine_tune.py

Expect a mean error below 3 pixels (of 96) on new arrows, after about half a minute on two CPU
cores. `figures.py` has the data, the loss and the evaluation.
"""

import torch
from torch.utils.data import DataLoader

import posezoo

from figures import KEYPOINTS, Arrows, heatmap_loss, mean_error, options


def main(arguments: list[str] | None = None) -> float:
    args = options(__doc__, arguments)
    torch.manual_seed(0)

    # only the last layer is new; a warning lists the tensors of the file that were left out
    model = posezoo.create(args.model, pretrained=True, num_keypoints=len(KEYPOINTS), skeleton=KEYPOINTS).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.steps)
    batches = DataLoader(Arrows(args.steps * args.batch_size), batch_size=args.batch_size)
    for step, batch in enumerate(batches):
        loss = heatmap_loss(model(batch["image"]), batch["keypoints"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    return mean_error(model)


if __name__ == "__main__":
    main()
