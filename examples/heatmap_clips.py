"""Heatmaps of people in motions of CMU as a 2D network would predict them, for `train_rpsm.py`.

Nothing is rendered: virtual cameras project the keypoints of the body that `render_clips.py`
renders, and their Gaussians are disturbed as the heatmaps of a network are. This is a hundred times
faster than to render people and run the network, so that RPSM's stages see many more motions and
views. Images with their real heatmaps have to be among the training clips, too.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from posezoo.data import virtual_cameras
from posezoo.skeletons import Skeleton, convert, get_skeleton

from render_clips import IMAGE, Clips
from render_people import FACE, facing, posed_face

Batch = dict[str, Any]

SIGMA = (0.9, 1.3)  # of the Gaussians, cells
PEAK = (0.5, 1.05)  # heights of the Gaussians
BIAS, JITTER = 0.3, 0.25  # cells, standard deviations: of a keypoint in all frames of a clip, and in each frame
CONFUSED = 0.1  # probability that left and right are partly exchanged in a frame
BLOCK = 500  # motions per line of output


class HeatmapClips(Dataset[Batch]):
    """Heatmaps `(T, K, cells, cells)` and poses `(T, 17, 3)` mm, as `CachedClips`.

    Args:
        keypoints: `(N, T, K, 2)` in cells, pixel centres at integers.
        visible: `(N, T, K)`; the heatmaps of other keypoints are empty.
        pose3d: `(N, T, 17, 3)` mm of `h36m17`, relative to the pelvis.
        skeleton: of the keypoints.
        cells: side of the heatmaps.
        scale: factor on the heatmaps.
    """

    def __init__(
        self, keypoints: Tensor, visible: Tensor, pose3d: Tensor, skeleton: Skeleton, *, cells: int, scale: float = 1.0
    ) -> None:
        self.keypoints, self.visible, self.pose3d = keypoints, visible, pose3d
        self.flip_index, self.cells, self.scale = list(skeleton.flip_index), cells, scale

    def __len__(self) -> int:
        return len(self.keypoints)

    def __getitem__(self, index: int) -> Batch:
        points, visible = self.keypoints[index], self.visible[index]
        frames, count = visible.shape
        points = points + BIAS * torch.randn(1, count, 2) + JITTER * torch.randn(frames, count, 2)
        sigma = torch.empty(1, count, 1).uniform_(*SIGMA)
        peak = torch.empty(frames, count, 1).uniform_(*PEAK) * visible[..., None]
        grid = torch.arange(self.cells).float()
        columns, rows = (torch.exp(-0.5 * ((grid - points[..., k, None]) / sigma) ** 2) for k in (0, 1))
        maps = (self.scale * peak * rows)[..., None] * columns[..., None, :]
        share = 0.5 * torch.rand(frames, 1, 1, 1) * (torch.rand(frames, 1, 1, 1) < CONFUSED)
        if share.any():
            maps = torch.lerp(maps, maps[:, self.flip_index], share)
        return {"features": maps, "pose3d": self.pose3d[index]}


def heatmap_clips(
    clips: Clips, skeleton: Skeleton, *, cameras: int = 16, cells: int, scale: float = 1.0, folder: Path
) -> HeatmapClips:
    """Project the motions of `clips` by several cameras each, and store the result in a file.

    Args:
        clips: whose motions, bodies, cameras and crops are drawn; their images are not.
        skeleton: of the heatmaps.
        cameras: per motion.
        cells: side of the heatmaps.
        scale: factor on the heatmaps.
        folder: of the file. An existing file of the same name is read.
    """
    path = folder / f"keypoints_{clips.length}_{clips.seed}_{len(clips)}x{cameras}.pt"
    if not path.is_file():
        start, parts = time.perf_counter(), []
        for index in range(len(clips)):
            random = np.random.default_rng([clips.seed, index])
            parts.append(views(clips, random, cameras, skeleton))
            if (index + 1) % BLOCK == 0:
                print(f"{index + 1} motions, {time.perf_counter() - start:.0f} s", flush=True)
        names = ("keypoints", "visible", "pose3d")
        saved = {name: torch.cat(tensors) for name, tensors in zip(names, zip(*parts, strict=True), strict=True)}
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(saved, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)
    saved = torch.load(path)
    points = (saved["keypoints"] + 0.5) * cells - 0.5
    return HeatmapClips(points, saved["visible"], saved["pose3d"], skeleton, cells=cells, scale=scale)


def views(clips: Clips, random: np.random.Generator, count: int, skeleton: Skeleton) -> tuple[Tensor, Tensor, Tensor]:
    """Keypoints in crops, from -0.5 to 0.5, visibility, and poses of a motion seen by `count` cameras."""
    _, vertices, moves, world = clips.posed(random)
    face, directions = posed_face(clips.body, vertices, moves)
    generator = torch.Generator().manual_seed(int(random.integers(2**62)))
    camera = virtual_cameras(world, count, height=clips.height, size=(IMAGE, IMAGE), generator=generator)
    pose3d, face3d = camera.world_to_camera(world[None].double()), camera.world_to_camera(face[None].double())
    points = torch.cat([camera.project(pose3d), camera.project(face3d)], dim=2)  # (C, T, 22, 2)
    seen = facing(face3d.float(), directions @ camera.rotation.float()[:, None].mT)

    body = points[:, :, : pose3d.shape[2]].flatten(1, 2)
    low, high = body.amin(dim=1), body.amax(dim=1)
    padding = torch.from_numpy(random.uniform(*clips.padding, (count, 1)))
    side = (high - low).amax(dim=1, keepdim=True) * padding
    center = (low + high) / 2 + side * torch.from_numpy(random.uniform(-clips.shift, clips.shift, (count, 2)))
    points = (points - center[:, None, None]) / side[:, None, None]

    visible = torch.cat([torch.ones(pose3d.shape[:3], dtype=torch.bool), seen], dim=2)
    source = (*get_skeleton("h36m17").keypoints, *FACE)
    points, visible = convert(points, source, skeleton, visible)
    return points.float(), visible, (pose3d - pose3d[:, :, :1]).float()
