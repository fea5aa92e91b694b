"""Gradients of one step of examples/train_heatmap.py on four fixed images, for
tests/test_examples.py.

Run alone or by torchrun, with `examples/` on the path; every process takes its share of the images,
the main one saves the gradients.
"""

import sys

import torch
from accelerate import Accelerator

import posezoo

from train_heatmap import batch_loss


def main(output: str) -> None:
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(0)
    model = posezoo.create("hrnet_w32", width=4, num_keypoints=14, skeleton="lsp14")
    batch = {
        "image": torch.rand(4, 3, 64, 64),
        "keypoints": torch.rand(4, 14, 2) * 64,
        "visible": torch.rand(4, 14) > 0.3,
    }
    share = slice(accelerator.process_index, None, accelerator.num_processes)
    # batch statistics are each process's own, in every framework; the running ones make the comparison exact
    network, model = model, accelerator.prepare(model.eval())
    loss = batch_loss(model, {key: value[share] for key, value in batch.items()}, network=network, sigma=2.0)
    accelerator.backward(loss)
    if accelerator.is_main_process:
        network = accelerator.unwrap_model(model)
        gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
        torch.save({"processes": accelerator.num_processes, "gradients": gradients}, output)
    accelerator.end_training()


if __name__ == "__main__":
    main(sys.argv[1])
