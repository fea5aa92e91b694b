"""Virtual cameras around motion capture: 2D keypoints for 3D poses, and noise on them."""

import math
from typing import Any

import torch
from torch import Tensor

from posezoo.arrays import check_count, check_number, explained
from posezoo.geometry import Camera, look_at

DRAWS = 100  # of cameras, before giving up


@explained
def virtual_cameras(
    pose3d: Tensor,
    count: int,
    *,
    distance: tuple[float, float] = (2500.0, 7000.0),
    height: tuple[float, float] = (500.0, 2200.0),
    focal: tuple[float, float] = (0.8, 1.8),
    size: tuple[int, int] = (1000, 1000),
    aim: float = 200.0,
    near: float = 1000.0,
    generator: torch.Generator | None = None,
) -> Camera:
    """Sample cameras around a person, directed at points near the middle of the person's path.

    Azimuth, distance, height and focal length are uniform. The cameras are static, so that the
    person may leave the image. Cameras that the person comes closer to than `near` are drawn again.

    Args:
        pose3d: `(T, K, 3)` mm in a world with y up.
        count: number of cameras.
        distance: range, mm from the point that the camera is directed at.
        height: range, mm above the floor, which is at the lowest keypoint.
        focal: range of the focal length in units of the image's longer side (1.15 in Human3.6M).
        size: (H, W) of the image.
        aim: standard deviation, mm per coordinate, of the target point around the middle of the
            person's path.
        near: mm, minimum depth of any keypoint in any frame.
        generator: random generator. Defaults to torch's global one.

    Returns:
        a batch of `count` cameras.

    Raises:
        ValueError: no such cameras were found, since the person's path is too long.

    Examples:
        >>> pose3d = torch.randn(20, 17, 3) * 300
        >>> cameras = virtual_cameras(pose3d, 4, generator=torch.Generator().manual_seed(0))
        >>> len(cameras), cameras.project(cameras.world_to_camera(pose3d[None])).shape
        (4, torch.Size([4, 20, 17, 2]))
    """
    check_count(count, "count")
    points = pose3d.reshape(-1, 3).double()
    if not len(points) or not bool(torch.isfinite(points).all()):
        raise ValueError("virtual_cameras: expected one or more frames of finite keypoints (T, K, 3)")
    floor = float(points[:, 1].min())
    path = pose3d.double().mean(dim=1)
    middle = (path.amin(dim=0) + path.amax(dim=0)) / 2

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)

    accepted: list[tuple[Tensor, Tensor, Tensor]] = []  # positions, targets and focal lengths
    for _ in range(DRAWS):
        target = middle + aim * torch.randn(count, 3, generator=generator, dtype=torch.float64)
        azimuth, reach, level = uniform(0, 2 * math.pi), uniform(*distance), floor + uniform(*height)
        lengths = uniform(*focal) * max(size)
        rise = level - target[:, 1]
        # the horizontal part of the distance; a camera higher above its target than that is directly over it
        aside = (reach.square() - rise.square()).clamp_min(1.0).sqrt()
        position = target + torch.stack([azimuth.cos() * aside, rise, azimuth.sin() * aside], dim=-1)
        forward = look_at(position, target, focal=lengths, size=size).rotation[:, 2]
        depth = forward @ points.T - (forward * position).sum(dim=1, keepdim=True)
        good = depth.amin(dim=1) >= near
        accepted.append((position[good], target[good], lengths[good]))
        if sum(len(positions) for positions, _, _ in accepted) >= count:
            break
    else:
        raise ValueError(
            f"virtual_cameras: {DRAWS * count} draws did not give {count} cameras {near:g} mm from the person or more; "
            f"the path is {[round(v) for v in (path.amax(dim=0) - path.amin(dim=0)).tolist()]} mm long: cut the video "
            "into shorter ones, or give a greater distance="
        )
    position, target, lengths = (torch.cat(parts)[:count] for parts in zip(*accepted, strict=True))
    return look_at(position, target, focal=lengths, size=size)


@explained
def project_videos(video: dict[str, Any], cameras: Camera) -> list[dict[str, Any]]:
    """Project the 3D poses of a video with each camera: one video per camera.

    Args:
        video: with `name` and `pose3d` `(T, K, 3)` mm in the world.
        cameras: a batch.

    Returns:
        videos with the entries of `video`, where `pose3d` is in the camera's frame, and
        additionally `keypoints` `(T, K, 2)` pixels, `camera` and `view`, the camera's index, which
        is appended to `name`.

    Raises:
        ValueError: a keypoint is behind a camera.

    Examples:
        >>> video = {"name": "02_01", "pose3d": torch.randn(20, 17, 3) * 300}
        >>> videos = project_videos(video, virtual_cameras(video["pose3d"], 2))
        >>> videos[1]["name"], videos[1]["keypoints"].shape
        ('02_01.1', torch.Size([20, 17, 2]))
    """
    pose3d = cameras.world_to_camera(video["pose3d"][None])
    keypoints = cameras.project(pose3d)
    hidden = ~torch.isfinite(keypoints).flatten(1).all(dim=1)
    if hidden.any():
        raise ValueError(
            f"project_videos: in {video['name']} the person goes behind camera {int(hidden.nonzero()[0])}; expected "
            "cameras in front of the person in all frames, as `virtual_cameras` samples them"
        )
    return [
        {**video, "name": f"{video['name']}.{i}", "view": i, "camera": cameras[i],
         "pose3d": pose3d[i], "keypoints": keypoints[i]}
        for i in range(len(cameras))
    ]  # fmt: skip


@explained
def add_noise(keypoints: Tensor, sigma: float, *, generator: torch.Generator | None = None) -> Tensor:
    """Add independent Gaussian noise to keypoints, as in the papers' robustness tables.

    Args:
        keypoints: `(..., K, 2)` pixels.
        sigma: standard deviation, pixels, of x and of y.
        generator: random generator on the CPU. Defaults to torch's global one.

    Examples:
        >>> noisy = add_noise(torch.zeros(5000, 17, 2), 5.0, generator=torch.Generator().manual_seed(0))
        >>> round(float(noisy.std()), 1)
        5.0
    """
    check_number(sigma, "sigma")
    noise = torch.randn(keypoints.shape, generator=generator, dtype=keypoints.dtype)
    return keypoints + sigma * noise.to(keypoints.device)
