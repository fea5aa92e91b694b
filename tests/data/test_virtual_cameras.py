"""Virtual cameras: where they are, what they project, and noise on the keypoints."""

import math

import pytest
import torch
from torch.testing import assert_close

from posezoo.data import add_noise, virtual_cameras


def test_virtual_cameras_stand_where_they_should():
    pose3d = 300 * torch.randn(40, 17, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor(
        [3000.0, 900, -7000]
    )
    cameras = virtual_cameras(pose3d, 200, generator=torch.Generator().manual_seed(0), aim=0.0)
    floor, path = pose3d[..., 1].min(), pose3d.double().mean(dim=1)
    middle = (path.amin(dim=0) + path.amax(dim=0)) / 2
    away = cameras.translation - middle
    assert 2500 - 1 <= float(away.norm(dim=-1).min()) < 3000 < 6500 < float(away.norm(dim=-1).max()) <= 7000 + 1
    level = cameras.translation[:, 1] - floor
    assert 500 <= float(level.min()) < 700 < 2000 < float(level.max()) <= 2200
    assert 800 <= float(cameras.focal.min()) < 900 < 1700 < float(cameras.focal.max()) <= 1800
    azimuth = torch.atan2(away[:, 2], away[:, 0])
    assert (torch.histc(azimuth, 8, -math.pi, math.pi) > 8).all()  # all around
    assert_close(cameras.project(cameras.world_to_camera(middle.expand(200, 3))), torch.full((200, 2), 499.5).double())
    jittered = virtual_cameras(pose3d, 200, generator=torch.Generator().manual_seed(0))
    off = (jittered.project(jittered.world_to_camera(middle.expand(200, 3))) - 499.5).norm(dim=-1)
    assert 10 < float(off.median()) < 200


def test_virtual_cameras_keep_their_distance_and_repeat():
    walk = torch.linspace(-2500, 2500, 60)[:, None, None] * torch.tensor([1.0, 0, 0])
    pose3d = walk + 250 * torch.randn(60, 17, 3, generator=torch.Generator().manual_seed(0))

    def cameras(seed: int):
        return virtual_cameras(pose3d, 50, generator=torch.Generator().manual_seed(seed))

    depth = cameras(0).world_to_camera(pose3d[None])[..., 2]
    assert float(depth.min()) >= 1000
    assert_close(cameras(0).translation, cameras(0).translation)
    assert not torch.equal(cameras(0).translation, cameras(1).translation)
    with pytest.raises(ValueError, match="cut the video into shorter ones"):
        virtual_cameras(pose3d * 10, 4)
    with pytest.raises(ValueError, match="one or more frames"):
        virtual_cameras(pose3d[:0], 4)
    with pytest.raises(ValueError, match="finite"):
        virtual_cameras(torch.full((2, 17, 3), torch.nan), 4)


def test_noise():
    keypoints = torch.full((300, 17, 2), 7.0)
    noisy = add_noise(keypoints, 15.0, generator=torch.Generator().manual_seed(0))
    assert float(noisy.mean()) == pytest.approx(7, abs=0.5)
    assert float((noisy - 7).std()) == pytest.approx(15, rel=0.02)
    assert_close(noisy, add_noise(keypoints, 15.0, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(add_noise(keypoints, 0.0), keypoints)
