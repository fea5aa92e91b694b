r"""Render images of single people from all sides, with labels of body and face.

    python examples/render_people.py --body body --motions asfamc.zip bvh.zip cmu_actions_bvh.zip
        --output renders \ --backgrounds lspet/images --count 12000 --size 224

Writes `images.npy` (N, 3, size, size) uint8, to be memory-mapped; `masks.npy` (N, size, size / 8),
the visible pixels of the person, packed by `np.packbits`; and `labels.npz`: `keypoints` (N, 22, 2)
in pixels and `visible` (N, 22), of `h36m17`, nose, left and right eye, left and right ear;
`subject` (N,); and `pose3d` (N, 17, 3) mm. A part of the face is not visible when it is turned away
from the camera. With `--backgrounds` half of the images have a photograph behind the person.
Recordings are drawn in proportion to the square root of their length: most of the longest show one
man on a climbing frame.
"""

import argparse
import contextlib
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from render_clips import Clips, draw, occluded, photographed, random_look, read_takes
from rendering import Body

FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
FACING = {"nose": -0.1, "left_eye": 0.0, "right_eye": 0.0, "left_ear": -0.2, "right_ear": -0.2}  # cosine, at least


def face_points(body: Body, vertices: Tensor) -> tuple[Tensor, Tensor]:
    """Return nose, eyes and ears `(5, 3)` of a body at rest, in mm, and the directions `(5, 3)`
    that they face.
    """
    head = (body.skin.argmax(dim=1) == body.bones.index("Head")) & in_group(body, "body")
    skull = torch.where(head[:, None], vertices, torch.nan)
    eyes = [vertices[body.groups[f"helper-{side}-eye"].unique()].mean(dim=0) for side in "lr"]
    nose = vertices[int(skull[:, 2].nan_to_num(-1e9).argmax())]
    at_eyes = (skull[:, 1] - eyes[0][1]).abs() < 30  # mm: the ears lie at the height of the eyes
    across = torch.where(at_eyes, skull[:, 0], torch.nan)
    ears = [vertices[int(across.nan_to_num(-1e9).argmax())], vertices[int((-across).nan_to_num(-1e9).argmax())]]
    forward = torch.tensor([0.0, 0.0, 1.0])
    out = torch.tensor([[0.25, 0.0, 1.0], [-0.25, 0.0, 1.0], [1.0, 0.0, 0.15], [-1.0, 0.0, 0.15]])
    directions = torch.cat([forward[None], out / out.norm(dim=1, keepdim=True)])
    return torch.stack([nose, *eyes, *ears]), directions


def posed_face(body: Body, vertices: Tensor, moves: Tensor) -> tuple[Tensor, Tensor]:
    """Return nose, eyes and ears `(T, 5, 3)` of a posed body in the world, and their directions."""
    points, directions = face_points(body, vertices)
    head = moves[:, body.bones.index("Head")]
    return points @ head[..., :3].mT + head[:, None, :, 3], directions @ head[..., :3].mT


def facing(points: Tensor, directions: Tensor) -> Tensor:
    """Return whether parts of the face `(..., 5, 3)` in a camera's frame are turned to it: `(..., 5)`."""
    cosine = -(directions * points / points.norm(dim=-1, keepdim=True)).sum(dim=-1)
    return cosine > torch.tensor([FACING[name] for name in FACE])


def in_group(body: Body, group: str) -> Tensor:
    mask = torch.zeros(len(body.vertices), dtype=torch.bool)
    mask[body.groups[group].unique()] = True
    return mask


class People(Clips):
    """Single frames of `Clips`, with labels of the face."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        random = np.random.default_rng([self.seed, index])
        take, vertices, moves, world = self.posed(random)
        face, directions = posed_face(self.body, vertices, moves)
        camera = self._camera(world, random)
        pose3d, face3d = camera.world_to_camera(world), camera.world_to_camera(face)
        seen = facing(face3d, directions @ camera.rotation.float().T)[0]
        clip, _, fragments = draw(self.body, vertices, moves, camera, random_look(random), self._background(random))
        mask = torch.zeros(self.size * self.size, dtype=torch.bool)
        mask[fragments.pixel] = True
        mask = mask.view(self.size, self.size)
        if random.random() < self.occluders:
            free, clip = clip, occluded(clip, random)
            mask &= (clip == free).all(dim=1)[0]
        return {
            "image": photographed(clip, random)[0],
            "mask": np.packbits(mask.numpy(), axis=1),
            "keypoints": torch.cat([camera.project(pose3d), camera.project(face3d)], dim=1)[0].float(),
            "visible": torch.cat([torch.ones(pose3d.shape[1], dtype=torch.bool), seen]),
            "pose3d": (pose3d - pose3d[:, :1])[0].float(),
            "subject": take.subject or "",
        }


_people: list[People] = []


def render(index: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    return {key: np.asarray(value) for key, value in _people[index % len(_people)][index].items()}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--body", type=Path, required=True, help="folder of the base mesh")
    parser.add_argument("--motions", type=Path, nargs="+", required=True, help="files that posezoo.data.CMU reads")
    parser.add_argument("--skip", nargs="*", default=(), help="subjects to hold out")
    parser.add_argument("--backgrounds", type=Path, help="folder of photographs, behind every second person")
    parser.add_argument("--background-images", type=int, default=7000, help="use the first ones only")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=12000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--fps", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args(arguments)

    photographs = sorted(args.backgrounds.glob("*.jpg"))[: args.background_images] if args.backgrounds else []
    takes, body = read_takes(args.motions, args.fps, skip=args.skip), Body(args.body)
    more = {"size": args.size, "length": 1, "count": args.count, "seed": args.seed, "padding": (1.2, 1.7)}
    _people[:] = [People(takes, body, **more)]
    if photographs:
        _people.append(People(takes, body, backgrounds=photographs, **more))
    args.output.mkdir(parents=True, exist_ok=True)
    shape = (args.count, 3, args.size, args.size)
    images = np.lib.format.open_memmap(args.output / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
    packed = (args.count, args.size, -(-args.size // 8))
    masks = np.lib.format.open_memmap(args.output / "masks.npy", mode="w+", dtype=np.uint8, shape=packed)
    labels: list[dict[str, Any]] = []
    with Pool(args.processes) if args.processes > 1 else contextlib.nullcontext() as pool:
        rendered = pool.imap(render, range(args.count), chunksize=16) if pool else map(render, range(args.count))
        for index, person in enumerate(rendered):
            images[index], masks[index] = person.pop("image"), person.pop("mask")
            labels.append(person)
            if index % 1000 == 0:
                print(f"{index} of {args.count}", flush=True)
    images.flush()
    masks.flush()
    arrays: dict[str, Any] = {key: np.stack([one[key] for one in labels]) for key in labels[0]}
    np.savez_compressed(args.output / "labels.npz", **arrays)


if __name__ == "__main__":
    main()
