"""Cameras, looked through and walked around, and the person frame."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from posezoo.geometry import Camera, look_at, person_frame


def real(*numbers: float | list[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def orbit(count: int, seed: int = 0) -> Camera:
    """Cameras around the origin, in a world with y up, with all the distortion there is."""
    generator = torch.Generator().manual_seed(seed)
    position = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    position = 4000 * position / position.norm(dim=-1, keepdim=True)
    seen = look_at(position, torch.zeros_like(position), focal=1145.0, size=(1002, 1000))
    return Camera(
        rotation=seen.rotation, translation=seen.translation, focal=real(1145, 1143), center=real(512, 515),
        radial=real(-0.2, 0.24, -0.003), tangential=real(-0.001, -0.002), lens="human36m",
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------- known numbers

LENS = {"focal": real(1145.04940459, 1143.78109572), "center": real(512.54150496, 515.45148698)}
RADIAL, TANGENTIAL = real(-0.20709891, 0.24777518, -0.00307515), real(-0.00142447, -0.00097570)
POINT = real(0.7, -0.9, 4.5)


@pytest.mark.parametrize(("lens", "order"), [("human36m", (0, 1)), ("videopose3d", (1, 0))])
def test_both_orders_of_the_tangential_coefficients_are_one_map(lens, order):  # specs/models3d.md 11.3 E
    camera = Camera(
        rotation=torch.eye(3), translation=torch.zeros(3), radial=RADIAL, tangential=TANGENTIAL[list(order)],
        lens=lens, **LENS,
    )  # fmt: skip
    assert_close(camera.project(POINT), real(688.4259003, 289.3681779), rtol=0, atol=5e-8)
    swapped = Camera(
        rotation=torch.eye(3), translation=torch.zeros(3), radial=RADIAL, tangential=TANGENTIAL[list(order)[::-1]],
        lens=lens, **LENS,
    )  # fmt: skip
    assert (swapped.project(POINT) - camera.project(POINT)).norm() > 0.01


def test_opencvs_lens_is_opencvs():
    """cv2.projectPoints (5.0) of these points, with identity pose and [k1, k2, p1, p2, k3]."""
    camera = Camera(
        rotation=torch.eye(3), translation=torch.zeros(3), radial=RADIAL, tangential=TANGENTIAL, lens="opencv", **LENS
    )
    points = torch.stack([POINT, real(-1.0, 0.5, 2.0), real(0.1, 0.2, 1.0)])
    golden = [[688.4496111924, 289.3377262169], [-37.2298157966, 789.3491478988], [625.7881884214, 741.7241141629]]
    assert_close(camera.project(points), real(*golden), rtol=0, atol=1e-9)


def test_a_point_straight_ahead_is_in_the_middle_and_the_axes_point_right_and_down():
    camera = look_at(real(0, 1000, 4000), real(0, 1000, 0), focal=1000.0, size=(480, 640))
    assert_close(camera.project(camera.world_to_camera(real(0, 1000, -777))), real(319.5, 239.5))
    # whoever looks along -z with y up has +x on the right
    assert_close(camera.world_to_camera(real(100, 1000, 0)), real(100, 0, 4000))
    assert_close(camera.world_to_camera(real(0, 1100, 0)), real(0, -100, 4000))
    assert camera.size == (480, 640)


def test_up_may_be_another_axis():
    camera = look_at(real(0, -4000, 1000), real(0, 0, 1000), focal=1000.0, size=(480, 640), up=(0, 0, 1))
    assert_close(camera.world_to_camera(real(100, 0, 1200)), real(100, -200, 4000))


# ------------------------------------------------------------------------------------------------------ properties


@pytest.mark.parametrize("seed", range(3))
def test_there_and_back(seed):
    cameras = orbit(5, seed)
    points = 800 * torch.randn(5, 7, 17, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    seen = cameras.world_to_camera(points)
    assert_close(cameras.camera_to_world(seen), points, rtol=0, atol=1e-9)
    assert_close((seen[..., 1, :] - seen[..., 0, :]).norm(dim=-1), (points[..., 1, :] - points[..., 0, :]).norm(dim=-1))
    assert_close(cameras.world_to_camera(cameras.translation), torch.zeros(5, 3, dtype=torch.float64))


def test_rotations_are_rotations():
    rotation = orbit(50).rotation
    assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3))
    assert_close(torch.linalg.det(rotation), torch.ones(50, dtype=torch.float64))
    assert_close(rotation[:, 0, 1], torch.zeros(50, dtype=torch.float64))  # the horizon is level
    assert (rotation[:, 1, 1] < 0).all()  # and the image upright


def test_a_batch_is_its_cameras_one_by_one():
    cameras = orbit(3)
    points = 500 * torch.randn(3, 2, 17, 3, dtype=torch.float64)
    together = cameras.project(cameras.world_to_camera(points))
    for i in range(len(cameras)):
        alone = cameras[i]
        assert_close(alone.project(alone.world_to_camera(points[i])), together[i])
        assert_close(cameras[i : i + 1].world_to_camera(points[i][None])[0], alone.world_to_camera(points[i]))
    same = cameras.world_to_camera(points[:1])  # one pose for all of them
    assert_close(same[2], cameras[2].world_to_camera(points[0]))


def test_depth_scales_out():
    camera = orbit(1)[0]
    assert_close(camera.project(POINT), camera.project(POINT * 1000))


def test_points_behind_the_camera_have_no_image_and_no_gradient():
    points = torch.tensor([[0.1, 0.2, 2.0], [0.1, 0.2, 0.0], [0.1, 0.2, -2.0]], requires_grad=True)
    pixels = orbit(1)[0].project(points)
    assert torch.isfinite(pixels).all(dim=-1).tolist() == [True, False, False]
    pixels[0].sum().backward(retain_graph=True)
    assert torch.isfinite(points.grad).all()
    assert points.grad[0].abs().max() > 0
    points.grad = None
    pixels.nansum().backward()  # NaN or not, points behind the camera get no gradient
    assert points.grad[0].abs().max() > 0
    assert points.grad[1:].tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_types_are_kept_and_integers_accepted(dtype):
    camera = orbit(1)[0]
    points = torch.tensor([[100, 200, 300]], dtype=dtype)
    for answer in (camera.world_to_camera(points), camera.camera_to_world(points), camera.project(points)):
        assert answer.dtype == (torch.float32 if dtype == torch.int64 else dtype)
    wide = camera.world_to_camera(points.double())
    assert_close(camera.world_to_camera(points), wide.to(camera.world_to_camera(points).dtype))


def test_wrong_cameras_are_refused():
    good = {"rotation": torch.eye(3), "translation": torch.zeros(3), "focal": torch.ones(2), "center": torch.ones(2)}
    for change, message in (
        ({"lens": "fisheye"}, "'opencv', 'human36m', 'videopose3d', got 'fisheye'"),
        ({"focal": torch.ones(3)}, r"focal is \(3,\), expected \(..., 2\)"),
        ({"rotation": torch.eye(4)}, "rotation is"),
        ({"rotation": torch.eye(3).expand(2, 3, 3), "focal": torch.ones(3, 2)}, "must broadcast to one batch"),
    ):
        with pytest.raises(ValueError, match=message):
            Camera(**{**good, **change})
    with pytest.raises(ValueError, match=r"points: expected \(..., 3\), got \(5, 2\)"):
        Camera(**good).project(torch.zeros(5, 2))
    with pytest.raises(ValueError, match="cameras, whose axes come first"):
        orbit(3).project(torch.zeros(4, 17, 3))
    with pytest.raises(ValueError, match=r"expected \(3, ..., 3\)"):
        orbit(3).project(torch.zeros(3))
    with pytest.raises(TypeError, match="single camera"):
        len(Camera(**good))


@pytest.mark.parametrize("position", [(0, 0, 0), (0, 10, 0), (0, -10, 0)])
def test_no_camera_at_its_target_or_straight_above_it(position):
    with pytest.raises(ValueError, match="straight up or down"):
        look_at(real(*position), real(0, 0, 0), focal=1.0, size=(1, 1))


# ---------------------------------------------------------------------------------------------------- person frame


def people(*shape: int, seed: int = 0) -> Tensor:
    return 100 * torch.randn(*shape, 17, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 300


def test_person_frame_undoes():
    keypoints = people(2, 9)
    relative, origin, scale = person_frame(keypoints)
    assert origin.shape == (2, 9, 1, 2)
    assert scale.shape == (2, 1, 1, 1)
    assert_close(relative * scale + origin, keypoints)
    assert relative[..., 0, :].abs().max() == 0
    size = relative.square().sum(dim=-1).mean(dim=-1).sqrt().mean(dim=-1)
    assert_close(size, torch.ones(2, dtype=torch.float64))


def test_person_frame_removes_place_and_scale_only():
    keypoints = people(1, 9)
    relative, _, _ = person_frame(keypoints)
    moved, _, _ = person_frame(7.5 * keypoints + torch.tensor([1000.0, -50.0]))
    assert_close(moved, relative)
    shrunk = keypoints.clone()
    shrunk[:, 4:] = keypoints[:, 4:, :1] + (keypoints[:, 4:] - keypoints[:, 4:, :1]) / 2  # crouches half the time
    relative, _, scale = person_frame(shrunk)
    assert relative[:, :4].norm() > 1.5 * relative[:, 4:].norm()
    assert scale < person_frame(keypoints)[2]


def test_person_frame_with_hidden_keypoints():
    keypoints, visible = people(2, 3), torch.rand(2, 3, 17, generator=torch.Generator().manual_seed(0)) < 0.7
    visible[..., 0] = True
    visible[1, 2, 0] = False
    visible[0, 1] = False  # a frame in which nobody is seen
    relative, origin, scale = person_frame(torch.where(visible[..., None], keypoints, torch.nan), visible)
    assert torch.isfinite(relative).all()
    assert torch.isfinite(origin).all()
    assert relative[~visible].abs().max() == 0
    assert_close((relative * scale + origin)[visible], keypoints[visible])
    assert_close(origin[1, 2, 0], keypoints[1, 2][visible[1, 2]].mean(dim=0))
    sizes = [relative[0, t][visible[0, t]].square().sum(-1).mean().sqrt() for t in (0, 2)]
    assert_close((sizes[0] + sizes[1]) / 2, torch.tensor(1.0, dtype=torch.float64))


def test_person_frame_of_nothing():
    for keypoints, visible in ((torch.full((1, 4, 17, 2), 5.0), None), (people(1, 4), torch.zeros(1, 4, 17).bool())):
        relative, _, scale = person_frame(keypoints, visible)
        assert relative.abs().max() == 0
        assert scale.item() == 1
    points = torch.full((1, 1, 3, 2), 5.0, requires_grad=True)
    person_frame(points)[0].sum().backward()
    assert torch.isfinite(points.grad).all()
    assert person_frame(people(0, 4))[0].shape == (0, 4, 17, 2)
    with pytest.raises(ValueError, match="add a time axis"):
        person_frame(torch.zeros(17, 2))
    with pytest.raises(ValueError, match="visible: expected"):
        person_frame(people(1, 4), torch.ones(4, 17))


def test_person_frame_takes_another_root_and_three_dimensions():
    pose = torch.randn(2, 5, 17, 3, dtype=torch.float64)
    relative, origin, _ = person_frame(pose, root=8)
    assert_close(origin, pose[..., 8:9, :])
    assert relative[..., 8, :].abs().max() == 0
    assert math.isclose(float(person_frame(pose * 1000)[2].sum()), 1000 * float(person_frame(pose)[2].sum()))
