r"""Train the default network of `posezoo.predict` on photographs of LSPET and on renders, body and
face.

    torchrun --nproc_per_node 2 examples/train_default.py --data lspet --teacher landmarks.npz
        --renders renders \ --output runs/default_128 --init simple_baseline_lite.lsp14_192x192
        --size 128 128
    torchrun --nproc_per_node 2 examples/train_default.py … --output runs/default_192 --init
        runs/default_128/model \ --size 192 192

Simple Baselines with 19 keypoints: LSP's 14, labelled in the photographs, and COCO's nose, eyes and
ears. The face is labelled by a teacher (`tools/label_with_teacher.py`), where its landmarks agree
with LSPET's labels, and in renders (`examples/render_people.py`), whose left and right are correct
from every side. Parts of the face that are turned away have an empty heatmap as target, so that
they get low scores. The network is saved three times: with all 19 keypoints, and as `lsp14` and
`coco17`, which differ in their last layer.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, WeightedRandomSampler

import posezoo
from posezoo.data import LSP, PersonCrop, cutout, jitter_colour
from posezoo.geometry import tight_box
from posezoo.heatmaps import encode
from posezoo.skeletons import convert, get_skeleton
from posezoo.weights import select_keypoints

from data_sources import Cropped, People, lsp_people
from train_heatmap import keep_depthwise_in_float32, warm_cosine
from training import options, train

FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
BODY_AND_FACE = (*get_skeleton("lsp14").keypoints, *FACE)
TRAINING, HELD_OUT = (1, 7000, 7501, 9500), (7001, 7500)  # images of LSPET
MEDIAPIPE = (0, 2, 5, 7, 8)  # nose, left and right eye, left and right ear among its 33 landmarks
# right ankle, knee, hip, left hip, knee, ankle, right wrist, elbow, shoulder, left shoulder, elbow, wrist of LSP
MEDIAPIPE_BODY = (28, 26, 24, 23, 25, 27, 16, 14, 12, 11, 13, 15)
AGREEMENT = 0.25  # of the torso: median distance of the teacher's body joints from the labels, at most
# cosine between the outward direction of a part of the face and the way to the camera: labelled above, empty map below
TOWARDS, AWAY = 0.0, -0.3


class Photographs(Dataset[dict[str, Any]]):
    """LSPET with the faces that the teacher found.

    Args:
        root: of LSPET.
        images: first and last number of each range.
        landmarks: file of `tools/label_with_teacher.py`.
        near: crop around the person.
        far: crop with the person small and off the centre, as in a whole image.
        share: of `far`.

    Yields `image`, `keypoints`, `visible`, and `absent`, which marks parts of the face that are
    turned away.
    """

    def __init__(
        self, root: Path, images: Sequence[int], landmarks: Path, near: PersonCrop, far: PersonCrop, share: float
    ) -> None:
        self.people, self.near, self.far, self.share = lsp_people(root, images), near, far, share
        ranges = zip(images[::2], images[1::2], strict=True)
        rows = np.concatenate([np.arange(first - 1, last) for first, last in ranges])
        with np.load(landmarks) as file:
            points = torch.from_numpy(file["landmarks"][rows])
            towards = facing(torch.from_numpy(file["world"][rows]))
        trusted = agreement(points[:, list(MEDIAPIPE_BODY)], self.people) < AGREEMENT
        self.face = points[:, list(MEDIAPIPE)].nan_to_num()
        self.visible = trusted[:, None] & (towards > TOWARDS)
        self.absent = trusted[:, None] & (towards < AWAY)

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self.people[index]
        absent = torch.cat([torch.zeros(len(LSP.skeleton), dtype=torch.bool), self.absent[index]])
        sample["keypoints"] = torch.cat([sample["keypoints"], self.face[index]])
        sample["visible"] = torch.cat([sample["visible"], self.visible[index]])
        return cropped(sample, absent, self.far if torch.rand(()) < self.share else self.near)


class Renders(Dataset[dict[str, Any]]):
    """The images of `examples/render_people.py`."""

    def __init__(self, folder: Path, crop: PersonCrop) -> None:
        self.images, self.crop = np.load(folder / "images.npy", mmap_mode="r"), crop
        with np.load(folder / "labels.npz") as file:
            keypoints, visible = torch.from_numpy(file["keypoints"]), torch.from_numpy(file["visible"])
        source = (*get_skeleton("h36m17").keypoints, *FACE)
        self.keypoints, known = convert(keypoints, source, BODY_AND_FACE, torch.ones_like(visible))
        _, self.visible = convert(keypoints, source, BODY_AND_FACE, visible)
        self.absent = known & ~self.visible
        self.absent[:, : len(LSP.skeleton)] = False

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        keypoints, visible = self.keypoints[index], self.visible[index]
        image = torch.from_numpy(np.array(self.images[index]))
        sample = {"image": image, "keypoints": keypoints, "visible": visible, "box": tight_box(keypoints, visible)}
        return cropped(sample, self.absent[index], self.crop)


def cropped(sample: dict[str, Any], absent: Tensor, crop: PersonCrop) -> dict[str, Any]:
    """Crop a sample, and mirror `absent` where the crop mirrors."""
    made = crop(sample)
    mirrored = torch.linalg.det(made["matrix"][:, :2]) < 0
    absent = absent[list(crop.skeleton.flip_index)] if mirrored and crop.skeleton else absent
    return {key: made[key] for key in ("image", "keypoints", "visible")} | {"absent": absent}


def facing(world: Tensor) -> Tensor:
    """Return cosines `(N, 5)` between the outward directions of nose, eyes and ears and the way to
    the camera.
    """
    nose, _, _, left, right = world[:, list(MEDIAPIPE)].unbind(dim=1)
    unit = torch.nn.functional.normalize
    forward, side = unit(nose - (left + right) / 2, dim=-1), unit(left - right, dim=-1)
    outward = [forward, forward + 0.25 * side, forward - 0.25 * side, side + 0.15 * forward, 0.15 * forward - side]
    return -torch.stack([unit(direction, dim=-1)[:, 2] for direction in outward], dim=1)


def agreement(found: Tensor, people: People) -> Tensor:
    """Return the median distance `(N,)` of the teacher's body joints from the labels, in torso
    lengths; inf without.
    """
    visible = people.visible[:, : found.shape[1]]
    torso = (people.keypoints[:, 9] - people.keypoints[:, 2]).norm(dim=-1)  # left shoulder to right hip
    torso = torch.where(people.visible[:, 9] & people.visible[:, 2] & (torso > 1), torso, torch.nan)
    distance = (found - people.keypoints[:, : found.shape[1]]).norm(dim=-1) / torso[:, None]
    distance = torch.where(visible, distance, torch.nan)
    return distance.nanmedian(dim=1).values.nan_to_num(torch.inf)


def batch_loss(model: torch.nn.Module, batch: dict[str, Any], *, sigma: float) -> Tensor:
    """Mean squared error against Gaussians, and against empty maps for parts of the face that are
    turned away.
    """
    heatmaps = model(batch["image"]).float()
    h, w = heatmaps.shape[-2:]
    stride = batch["image"].shape[-2] / h
    target, weights = encode(batch["keypoints"], batch["visible"], size=(h, w), stride=stride, sigma=sigma)
    weights = torch.maximum(weights, batch["absent"].to(weights))
    return 500 * ((heatmaps - target).square().mean(dim=(-2, -1)) * weights).sum() / weights.numel()


def sliced(model: Any, skeleton: str) -> Any:
    """Return the network with the keypoints of `skeleton` only."""
    names = get_skeleton(skeleton).keypoints
    part = posezoo.create("simple_baseline_lite", **{**model.kwargs, "num_keypoints": len(names), "skeleton": skeleton})
    part.load_state_dict(select_keypoints(model.state_dict(), model.head_keys, model.skeleton.keypoints, names))
    return part


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = options(
        __doc__, model="simple_baseline_lite", size=(128, 128), epochs=20, batch_size=32, lr=7e-4,
        mixed_precision="bf16", eval_every=4, workers=1, train_images=TRAINING, val_images=HELD_OUT,
    )  # fmt: skip
    parser.add_argument("--teacher", type=Path, required=True, help="landmarks.npz of tools/label_with_teacher.py")
    parser.add_argument("--renders", type=Path, required=True, help="folder of examples/render_people.py")
    parser.add_argument("--share", type=float, default=0.2, help="of renders among the training crops")
    parser.add_argument(
        "--far", type=float, default=0.15, help="share of the photographs with a small person off centre"
    )
    parser.add_argument("--init", required=True, help="a name, or local-dir:FOLDER; its 14 joints are kept")
    parser.add_argument("--epoch-images", type=int, default=8192)
    parser.add_argument("--weight-decay", type=float, default=1e-2)
    parser.add_argument("--warmup", type=float, default=0.05, help="fraction of the steps")
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the weight average that is evaluated")
    parser.add_argument("--sigma", type=float, default=2.0, help="of the target Gaussians, in heatmap cells")
    args = parser.parse_args(arguments)

    torch.manual_seed(args.seed)
    model = posezoo.create("simple_baseline_lite", num_keypoints=len(BODY_AND_FACE), skeleton=BODY_AND_FACE)
    start = posezoo.create(args.init, pretrained=True)
    state = start.state_dict()
    for key in ("final_layer.weight", "final_layer.bias"):
        fresh = model.state_dict()[key].clone()
        fresh[: len(state[key])] = state[key]
        state[key] = fresh
    model.load_state_dict(state)
    if not torch.cuda.is_available():
        keep_depthwise_in_float32(model)

    skeleton = get_skeleton(BODY_AND_FACE)
    size = tuple(args.size)
    near = PersonCrop(
        size=size, skeleton=skeleton, scale=0.3, rotation=40, flip=0.5, translation=0.1, half_body=0.2, truncation=0.3
    )
    far = PersonCrop(size=size, skeleton=skeleton, scale=(1.0, 2.2), rotation=20, flip=0.5, translation=0.4)
    photographs = Photographs(args.data[0].root, args.train_images, args.teacher, near, far, args.far)
    renders = Renders(args.renders, near)
    known, hidden = (mask.float().mean(dim=0) for mask in (photographs.visible, photographs.absent))
    print(f"faces: {known.tolist()} labelled, {hidden.tolist()} turned away", flush=True)

    together: Any = ConcatDataset([photographs, renders])
    together.people = photographs.people  # for the mean pose
    count = len(photographs)
    weights = [*[(1 - args.share) / count] * count, *[args.share / len(renders)] * len(renders)]
    sampler = WeightedRandomSampler(weights, args.epoch_images)
    loader = DataLoader(
        together, batch_size=args.batch_size, sampler=sampler, num_workers=args.workers, drop_last=True,
        persistent_workers=args.workers > 0,
    )  # fmt: skip
    held_out = Cropped(lsp_people(args.data[0].root, args.val_images), PersonCrop(size=size))
    val_loader = DataLoader(held_out, batch_size=args.batch_size, num_workers=args.workers)
    report = train(
        args,
        model,
        torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay),
        partial(batch_loss, sigma=args.sigma),
        (loader, val_loader),
        schedule=partial(warm_cosine, warmup=args.warmup),
        augment=lambda images: cutout(jitter_colour(images)),
        ema=args.ema,
        flip=True,
    )
    if (args.output / "model").is_dir():
        final = posezoo.create(f"local-dir:{args.output / 'model'}", pretrained=True)
        for name in ("lsp14", "coco17"):
            sliced(final, name).save_pretrained(args.output / name)
    return report


if __name__ == "__main__":
    main()
