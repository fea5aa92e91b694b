"""Weights that depend only on a tensor's name and shape, so that anybody's implementation can have
the same.
"""

import zlib

import numpy as np
import torch


def fill(model, reference_key=lambda key: key):
    """Fill a model by the rule of the golden numbers: `reference_key` is a tensor's name in the
    authors' code.
    """
    for key, value in model.state_dict().items():
        leaf, shape = key.rpartition(".")[2], tuple(value.shape)
        if key.startswith("normalize.") or leaf == "num_batches_tracked":
            continue
        random = np.random.RandomState(zlib.crc32(reference_key(key).encode()))
        if leaf == "running_var" or (leaf == "weight" and len(shape) == 1):
            values = random.uniform(0.5, 1.5, shape)
        elif len(shape) == 1:
            values = 0.1 * random.standard_normal(shape)
        else:
            values = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        value.copy_(torch.from_numpy(np.asarray(values)))
    return model


def golden_forward(model, size, reference_key=lambda key: key):
    """Summary of the filled model's output for a fixed input: shape; mean, std, a corner, a middle; three
    argmaxes.
    """
    model = fill(model.double().eval(), reference_key)
    model.normalize.disable()
    image = torch.from_numpy(np.random.RandomState(0).standard_normal((1, 3, *size)))
    with torch.no_grad():
        output = model(image)
    keypoints, height, width = output.shape[1:]
    peaks = output.flatten(2)[0].argmax(dim=-1)
    numbers = (
        output.mean(),
        output.std(correction=0),
        output[0, 0, 0, 0],
        output[0, keypoints - 1, height // 2, width // 2],
    )
    return (
        tuple(output.shape),
        [float(number) for number in numbers],
        [int(peaks[k]) for k in (0, keypoints // 2, keypoints - 1)],
    )
