"""Rendered clips for `train_rpsm.py`: at several frame rates, features cached, heatmaps augmented.

Features of a frozen trunk are computed once and stored in half precision, `CHUNK` videos per file,
so that an interrupted run continues with the next file.
"""

import hashlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from posezoo.models.rpsm import RPSM
from posezoo.skeletons import Skeleton, get_skeleton

from render_clips import Clips, read_takes
from rendering import Take

Batch = dict[str, Any]
Recordings = Sequence[tuple[Sequence[Take], Sequence[Take]]]  # of training and of held-out subjects, per frame rate

CHUNK = 250  # videos per file
# crops as of a detector, truncated ones among them, and cameras at all heights, for `--backgrounds`
VARIED: dict[str, Any] = {
    "padding": (0.95, 1.5), "shift": 0.1, "height": (200.0, 3000.0), "occluders": 0.2, "mixed": 0.3,
}  # fmt: skip
PHOTOGRAPHED = 0.5  # share of the clips with a photograph in the background
TURN, ZOOM = 15.0, (0.8, 1.2)  # degrees, standard deviation, and range, of all frames of a video
MOVE, SHAKE = 2.0, 1.0  # cells: maximal shift of all frames of a video, and of single frames
CONFIDENCE = (0.5, 1.2)  # factor on the heatmaps of a keypoint, range
LOST = 0.03  # probability that a keypoint has an empty heatmap in all frames


def split(motions: Iterable[Path], fps: float, held_out: Sequence[str]) -> tuple[list[Take], list[Take]]:
    """Read the recordings; return those of training and those of held-out subjects."""
    takes = read_takes(motions, fps)
    known = [take for take in takes if take.subject not in held_out]
    return known, [take for take in takes if take.subject in held_out]


def photographs(folder: Path, images: Sequence[int]) -> list[Path]:
    """Return the images of a folder in the ranges FIRST LAST of their sorted names, counted from 1."""
    paths = sorted(folder.glob("*.jpg"))
    return [path for first, last in zip(images[::2], images[1::2], strict=True) for path in paths[first - 1 : last]]


def features_of(model: RPSM, batch: Batch) -> Tensor:
    """Features of each frame of each video, `(B, V, num_features, h, w)`."""
    device = model.normalize.mean.device
    if "features" in batch:
        return batch["features"].to(device).float()
    with torch.no_grad():
        return model.forward_features(batch["clip"].to(device).float() / 255).float()


class CachedClips(Dataset[Batch]):
    """Features `(V, num_features, h, w)` and poses `(V, 17, 3)` of videos, in memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        parts = [torch.load(path) for path in paths]
        self.features, self.pose3d = (torch.cat([part[name] for part in parts]) for name in ("features", "pose3d"))

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> Batch:
        return {"features": self.features[index], "pose3d": self.pose3d[index]}


@torch.no_grad()
def cached(model: RPSM, clips: Clips, folder: Path, *, workers: int, bf16: bool) -> CachedClips:
    """Compute the features of all videos once, and store them in files.

    The files' names begin with a hash of the trunk and the videos.

    Args:
        model: network with the trunk, in evaluation mode.
        clips: the videos.
        folder: created if it does not exist.
        workers: processes that render.
        bf16: compute in bfloat16.
    """
    device = model.normalize.mean.device
    settings = (clips.size, clips.length, clips.seed, clips.sampling, clips.padding, clips.shift, clips.height)
    more = (clips.occluders, clips.mixed, clips.photographed, [Path(path).name for path in clips.backgrounds])
    digest = hashlib.sha256(repr((*settings, *more)).encode())
    trunk = [*model.normalize.buffers(), *(p for part in model.trunk_modules() for p in part.parameters())]
    for tensor in (*trunk, clips.body.vertices, *(take.pelvis for take in clips.takes)):
        digest.update(tensor.cpu().numpy().tobytes())
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for first in range(0, len(clips), CHUNK):
        chunk = range(first, min(first + CHUNK, len(clips)))
        path = folder / f"{digest.hexdigest()[:12]}_{first:06d}_{len(chunk)}.pt"
        paths.append(path)
        if path.is_file():
            continue
        start, rows = time.perf_counter(), []
        for batch in DataLoader(Subset(clips, chunk), batch_size=1, num_workers=workers):
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                rows.append({"features": features_of(model, batch).half().cpu(), "pose3d": batch["pose3d"].float()})
        torch.save({name: torch.cat([row[name] for row in rows]) for name in rows[0]}, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)
        print(f"features of {len(chunk)} videos in {path}, {time.perf_counter() - start:.0f} s", flush=True)
    return CachedClips(paths)


def augmented(heatmaps: Tensor, pose3d: Tensor, keypoints: Skeleton) -> tuple[Tensor, Tensor]:
    """Mirror half of the videos, turn, zoom and shift all, and vary the heights of the peaks.

    Args:
        heatmaps: `(B, V, K, h, w)` of the 2D network, square.
        pose3d: `(B, V, 17, 3)` of `h36m17`, mirrored and turned about the optical axis alike.
        keypoints: of the heatmaps.
    """
    batch, frames, count = heatmaps.shape[:3]
    mirror = (torch.rand(batch, 1, 1, 1) < 0.5).to(heatmaps.device)
    mirrored = pose3d[:, :, list(get_skeleton("h36m17").flip_index)] * pose3d.new_tensor([-1.0, 1.0, 1.0])
    pose3d = torch.where(mirror, mirrored, pose3d)
    heatmaps = torch.where(mirror[..., None], heatmaps[:, :, list(keypoints.flip_index)].flip(-1), heatmaps)
    height = torch.empty(batch, 1, count).uniform_(*CONFIDENCE) * (torch.rand(batch, 1, count) >= LOST)
    heatmaps = heatmaps * height[..., None, None].to(heatmaps)

    angle = torch.deg2rad(TURN * torch.randn(batch))
    turn = torch.eye(3).repeat(batch, 1, 1)
    turn[:, 0, 0], turn[:, 1, 1] = angle.cos(), angle.cos()
    turn[:, 0, 1], turn[:, 1, 0] = -angle.sin(), angle.sin()
    shift = MOVE * (2 * torch.rand(batch, 1, 2) - 1) + SHAKE * (2 * torch.rand(batch, frames, 2) - 1)
    # from cells of the new maps to those of the old ones, in units of half a map
    back = turn[:, None, :2, :2].mT / torch.empty(batch, 1, 1, 1).uniform_(*ZOOM)
    theta = torch.cat([back.expand(-1, frames, -1, -1), -back @ shift[..., None] * 2 / heatmaps.shape[-1]], dim=-1)
    grid = F.affine_grid(theta.flatten(0, 1).to(heatmaps), list(heatmaps.flatten(0, 1).shape), align_corners=False)
    heatmaps = F.grid_sample(heatmaps.flatten(0, 1), grid, align_corners=False).unflatten(0, (batch, frames))
    return heatmaps, pose3d @ turn[:, None].mT.to(pose3d)
