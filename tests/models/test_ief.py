"""Iterative Error Feedback against its paper, the authors' rendering and step loop, and Caffe's
GoogLeNet.
"""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filling import fill
from torch.testing import assert_close

import posezoo
from posezoo.data import PersonCrop
from posezoo.heatmaps import encode
from posezoo.layers import local_response_norm
from posezoo.losses import bounded_correction
from posezoo.models.ief import (
    CROP_PADDING,
    IEF,
    LRN,
    MARK,
    SIGMA,
    bounded,
    draw,
    fixed_path,
    person_box,
    shrink,
)


@pytest.fixture(scope="module")
def model():
    """Three keypoints; weights that move them by up to some 20 pixels a step."""
    model = fill(IEF(num_keypoints=3, skeleton=["left", "right", "top"]).eval())
    model.set_initial_pose(torch.tensor([[[60.0, 70.0], [160.0, 80.0], [110.0, 200.0]]]))
    return model


@pytest.fixture(scope="module")
def image():
    return torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------------------------------------- network


def test_size_is_the_papers():  # specs/models2d_a.md 4.2
    with torch.device("meta"):
        model = posezoo.create("ief")
    assert sum(parameter.numel() for parameter in model.parameters()) == 6_059_664
    assert model.skeleton.name == "mpii16"
    assert (model.num_steps, model.max_step) == (4, 20)


def test_blocks_have_googlenets_shapes():  # its Table 1; specs/models2d_a.md 4.2
    with torch.device("meta"):
        model = posezoo.create("ief")
        shapes = []
        convolutions = [model.conv1, model.feedback.conv1, model.conv2_reduce, model.conv2]
        blocks = [*model.inception3, *model.inception4, *model.inception5]
        for module in (*convolutions, *blocks, model.feedback.fc):
            module.register_forward_hook(lambda _, inputs, output: shapes.append((inputs[0].shape, output.shape)))
        model(torch.empty(2, 3, 224, 224), keypoints=torch.empty(2, 16, 2))
    assert [tuple(output[1:]) for _, output in shapes] == [
        (64, 112, 112), (64, 112, 112), (64, 56, 56), (192, 56, 56),
        (256, 28, 28), (480, 28, 28),
        (512, 14, 14), (512, 14, 14), (512, 14, 14), (528, 14, 14), (832, 14, 14),
        (832, 7, 7), (1024, 7, 7),
        (32,),
    ]  # fmt: skip
    assert [tuple(inputs[1:]) for inputs, _ in shapes[:4]] == [
        (4, 224, 224), (16, 224, 224), (64, 56, 56), (64, 56, 56),
    ]  # fmt: skip
    assert tuple(shapes[-1][0]) == (2, 1024)


def test_two_convolutions_are_the_papers_one_over_twenty_channels(model, image):
    pose = torch.tensor([[[30.0, 40.0], [100.0, 120.0], [250.0, -20.0]]]).expand(2, -1, -1)
    mark = draw(torch.tensor([[[112.0, 112.0]]])).expand(2, -1, -1, -1)
    pixels = image * 255 - torch.tensor([117.3785, 117.6438, 110.1771]).view(3, 1, 1)
    weight = torch.cat([model.conv1.weight[:, :3], model.feedback.conv1.weight, model.conv1.weight[:, 3:]], dim=1)
    one = F.conv2d(torch.cat([pixels, draw(pose), mark], dim=1), weight, model.conv1.bias, stride=2, padding=3)
    with torch.no_grad():
        two = model.first_layer(image) + model.feedback.conv1(draw(pose))
    assert_close(two, one, rtol=0, atol=1e-4 * float(one.detach().abs().max()))


def test_pooling_rounds_up_and_normalises_as_caffe():
    assert [shrink(torch.empty(1, 1, side, side)).shape[-1] for side in (112, 56, 28, 14)] == [56, 28, 14, 7]
    x = 300 * torch.randn(2, 9, 5, 4, dtype=torch.float64)
    assert_close(local_response_norm(x, **LRN), F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1))
    scale = 1 + 1e-4 / 5 * (x[0, 2:7, 1, 1] ** 2).sum()  # Caffe divides alpha by the number of channels
    assert_close(local_response_norm(x, **LRN)[0, 4, 1, 1], x[0, 4, 1, 1] / scale**0.75)


# Caffe's bvlc_googlenet with 20 input channels and 32 outputs, run by OpenCV 4.14 (float32) on the weights of `fill`,
# inside the authors' step loop and rendering, written anew. After the first step three keypoints, after the fourth all
FIRST = {0: (182.5286, 179.1837), 3: (-43.8451, 247.7937), 15: (101.9001, 183.7364)}
LAST = [
    (182.4131, 151.3221), (44.5996, -21.3864), (228.7068, 128.1816), (-85.5788, 240.8316), (124.8212, 167.9837),
    (150.3343, 130.5355), (120.9328, 15.8827), (194.5396, 161.9707), (-64.1134, -0.047), (62.1093, 52.2392),
    (69.9922, 202.0516), (113.158, 94.6602), (98.9586, 214.4774), (152.9107, -26.6176), (224.2387, 155.8008),
    (131.7362, 238.7239),
]  # fmt: skip


def test_agrees_with_caffe_and_the_authors_loop():
    model = fill(IEF(num_keypoints=16, legacy_offset=True).double().eval())
    random = np.random.RandomState(0)
    pixels = torch.from_numpy(random.randint(0, 256, (224, 224, 3))).movedim(-1, 0)
    start = torch.from_numpy(random.uniform(30, 190, (2, 16)).T.copy())
    start[3] = torch.tensor([-30.0, 250.0])  # outside the image
    model.set_initial_pose(start[None])
    with torch.no_grad():
        stages = model(pixels[None].double() / 255, all_stages=True)
    for index, at in FIRST.items():
        assert_close(stages[0][0, index], torch.tensor(at, dtype=torch.float64), rtol=0, atol=2e-4)
    assert_close(stages[3][0], torch.tensor(LAST, dtype=torch.float64), rtol=0, atol=2e-4)


def test_starts_as_caffes_googlenet_and_with_noise_for_the_drawn_pose():
    torch.manual_seed(0)
    model = IEF()
    weight = model.inception4[2].conv3.weight
    assert float(weight.detach().std()) == pytest.approx((128 * 9) ** -0.5, rel=0.02)  # "xavier": 1 / fan-in
    assert (model.inception4[2].conv3.bias == 0.2).all()
    assert float(model.conv1.weight[:, :3].detach().std()) == pytest.approx((3 * 49) ** -0.5, rel=0.02)
    assert float(model.conv1.weight[:, 3].detach().var()) == pytest.approx(0.1, rel=0.1)
    assert float(model.feedback.conv1.weight.detach().var()) == pytest.approx(0.1, rel=0.02)
    assert not model.feedback.fc.bias.any()


# ------------------------------------------------------------------------------------------- drawn keypoints


@pytest.mark.parametrize(("distance", "value"), [(0, 50), (5, 47.531), (10, 40.484), (500**0.5, 10.653), (50, -41.792)])
def test_gaussian_has_the_authors_values(distance, value):  # specs/models2d_a.md 4.3
    maps = draw(torch.tensor([[[100 - distance, 70.0]]], dtype=torch.float64))
    assert float(maps[0, 0, 70, 100]) == pytest.approx(value, abs=5e-4)
    assert pytest.approx(22.3607, abs=5e-5) == SIGMA


def slow_draw(pose, height, width, sigma):
    maps = np.zeros((*pose.shape[:2], height, width))
    for person, points in enumerate(pose.tolist()):
        for k, (x, y) in enumerate(points):
            for row in range(height):
                for column in range(width):
                    squared = (column - x) ** 2 + (row - y) ** 2
                    maps[person, k, row, column] = 100 * math.exp(-squared / (2 * sigma**2)) - 50
    return torch.from_numpy(maps)


def test_drawing_agrees_with_a_loop_inside_and_outside_the_frame():
    pose = torch.tensor([[[3.25, 4.5], [-7.0, 2.0]], [[30.0, 11.75], [19.0, -40.0]]], dtype=torch.float64)
    assert_close(draw(pose, (12, 20), sigma=6.0), slow_draw(pose, 12, 20, 6.0), rtol=1e-12, atol=1e-12)


def test_a_keypoint_outside_shows_its_tail_only():
    maps = draw(torch.tensor([[[-30.0, 100.0], [1e6, -1e6], [253.0, 100.0]]]))[0]
    assert int(maps[0].argmax()) == 100 * 224  # the nearest pixel
    assert float(maps[0].max()) == pytest.approx(100 * math.exp(-0.001 * 900) - 50, abs=1e-4)
    assert (maps[1] == -50).all()
    assert_close(maps[2], maps[0].flip(-1))


@pytest.mark.parametrize(
    ("coordinate", "centre"), [(100.0, 101), (100.4, 101), (100.5, 102), (99.5, 101), (-1.5, -1), (-2.4, -1)]
)
def test_legacy_offset_is_the_authors_rounding(coordinate, centre):  # int(round(x + 1)) of Python 2
    legacy, ours = IEF(num_keypoints=1, legacy_offset=True), IEF(num_keypoints=1)
    pose = torch.tensor([[[coordinate, 50.0]]])
    assert_close(legacy.render(pose), draw(torch.tensor([[[float(centre), 51.0]]])))
    assert_close(ours.render(pose), draw(pose))


def test_marking_point_is_the_middle_of_the_crop():
    """MPII's objpos lands on it, and the person's height becomes 256 pixels, of which 224 are seen."""
    objpos, scale = torch.tensor([[301.0, 207.0]]), torch.tensor([1.5])
    sample = {
        "image": torch.zeros(3, 480, 640, dtype=torch.uint8),
        "keypoints": torch.cat([objpos, objpos + torch.tensor([[0.0, 200 * 1.5]])]),
        "visible": torch.tensor([True, True]),
        "box": person_box(objpos, scale)[0],
    }
    crop = PersonCrop(size=(224, 224), padding=CROP_PADDING)(sample)
    assert_close(crop["keypoints"], torch.tensor([MARK, (MARK[0], MARK[1] + 256)]))
    assert_close(posezoo.create("ief").initial_pose, torch.tensor([MARK]).expand(16, -1))


# ------------------------------------------------------------------------------------------------ corrections


def test_forward_is_a_loop_of_single_corrections(model, image):
    pose, by_hand = model.initial_pose.expand(2, -1, -1), []
    with torch.no_grad():
        for _ in range(4):
            pose = model(image, keypoints=pose)
            by_hand.append(pose)
        stages = model(image, all_stages=True)
        (only,) = model(image, keypoints=by_hand[2], all_stages=True)
    assert len(stages) == 4
    for ours, theirs in zip(stages, by_hand, strict=True):
        assert_close(ours, theirs, rtol=0, atol=0)
    assert_close(only, stages[3], rtol=0, atol=0)
    assert (stages[0][0] - stages[0][1]).abs().max() > 1e-3  # the images matter
    assert (stages[1] - stages[0] - (stages[0] - model.initial_pose)).abs().max() > 1e-3  # and so does the drawn pose


def test_number_of_steps_is_an_argument(image):
    model = fill(IEF(num_keypoints=3, num_steps=2).eval())
    with torch.no_grad():
        assert len(model(image[:1], all_stages=True)) == 2


def test_first_half_of_the_outputs_is_x_the_second_y(model, image):
    network = copy.deepcopy(model)
    torch.nn.init.zeros_(network.feedback.fc.weight)
    network.feedback.fc.bias.data = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    pose = torch.zeros(1, 3, 2)
    with torch.no_grad():
        moved = network(image[:1], keypoints=pose)
    assert_close(moved[0], torch.tensor([[2.0, 8.0], [4.0, 10.0], [6.0, 12.0]]))


def test_predictions_are_not_bounded(model, image):
    network = copy.deepcopy(model)
    torch.nn.init.constant_(network.feedback.fc.bias, 5.0)
    with torch.no_grad():
        steps = network(image[:1], keypoints=torch.zeros(1, 3, 2)).norm(dim=-1)
        keypoints, scores = network.predict(image[:1])
    assert (steps > 40).all()
    assert (keypoints > 224).any()
    assert (scores == 1).all()


def test_no_gradient_passes_through_the_drawn_pose(model, image):
    pose = torch.full((1, 3, 2), 100.0, requires_grad=True)
    model(image[:1], keypoints=pose).sum().backward()
    assert torch.equal(pose.grad, torch.ones(1, 3, 2))  # only what is added to it
    model.zero_grad()


def test_every_correction_has_a_gradient(model, image):
    stages = model(image[:1], all_stages=True)
    steps = [stages[0], *(after - before for before, after in itertools.pairwise(stages))]
    for step in steps:
        for weight in (model.conv1.weight, model.feedback.conv1.weight):
            (gradient,) = torch.autograd.grad(step.sum(), weight, retain_graph=True)
            assert gradient.any()


# --------------------------------------------------------------------------------------- bounded steps, the path


def test_worked_example():  # specs/models2d_a.md 4.1
    start, target = torch.tensor([[100.0, 100.0]]).double(), torch.tensor([[170.0, 60.0]]).double()
    path = fixed_path(start, target)
    assert path.shape == (5, 1, 2)
    for before, after in itertools.pairwise(path):
        assert (after - before)[0].tolist() == pytest.approx([17.3649, -9.9228], abs=5e-5)
        assert (bounded(target - before) / 20)[0].tolist() == pytest.approx([0.8682, -0.4961], abs=5e-5)
    assert path[-1, 0].tolist() == pytest.approx([169.4595, 60.3089], abs=5e-5)


def test_steps_are_bounded_and_point_the_right_way():
    far = torch.from_numpy(np.random.RandomState(0).uniform(-100, 100, (500, 2)))
    step = bounded(far, 20.0)
    assert_close(step.norm(dim=-1), far.norm(dim=-1).clamp(max=20))
    assert_close(step * far.norm(dim=-1, keepdim=True), far * step.norm(dim=-1, keepdim=True))
    assert (step * far).sum(dim=-1).min() > 0
    near = far / 10  # up to 14 pixels: left as they are
    assert_close(bounded(near, 20.0), near)
    assert not bounded(torch.zeros(1, 2)).any()


def test_fixed_path_arrives_and_stays():
    random = np.random.RandomState(1)
    start, target = (torch.from_numpy(random.uniform(-20, 240, (6, 2))) for _ in range(2))
    needed = ((target - start).norm(dim=-1) / 20).ceil().long()
    path = fixed_path(start, target, num_steps=int(needed.max()))
    for k, steps in enumerate(needed.tolist()):
        assert_close(path[steps:, k], target[k].expand(len(path) - steps, -1), rtol=0, atol=1e-9)
        assert (path[steps - 1, k] - target[k]).norm() > 1e-9
    distance = (path - target).norm(dim=-1)
    assert (distance[1:] <= distance[:-1] + 1e-9).all()


@pytest.mark.parametrize("missing", range(4))
def test_missing_keypoints_stay_where_they_start(missing):
    start = torch.full((4, 2), 100.0)
    target = torch.full((3, 4, 2), 170.0)
    target[1, missing] = torch.nan
    visible = torch.ones(3, 4, dtype=torch.bool)
    visible[1, missing] = False
    path = fixed_path(start, target, visible)
    assert path.shape == (5, 3, 4, 2)
    assert torch.equal(path[:, 1, missing], start[missing].expand(5, -1))
    assert ((path[-1] - start).norm(dim=-1) > 79)[visible].all()


@pytest.mark.parametrize("missing", range(3))
def test_a_missing_keypoint_has_no_gradient(model, image, missing):
    """In any position: neither its row of the last layer nor its own prediction."""
    target = torch.full((1, 3, 2), 130.0)
    visible = torch.ones(1, 3, dtype=torch.bool)
    visible[0, missing] = False
    start = fixed_path(model.initial_pose, target, visible)[1]
    target[0, missing] = torch.nan
    pred = model(image[:1], keypoints=start)
    (gradient,) = torch.autograd.grad(bounded_correction(pred, start, target, visible), model.feedback.fc.weight)
    assert torch.equal(gradient.view(2, 3, -1).any(dim=-1), visible.expand(2, -1))
    assert torch.isfinite(gradient).all()


# ------------------------------------------------------------------------------------------------ initial pose


def test_initial_pose_is_the_median_over_labelled_people():
    random = np.random.RandomState(2)
    poses = torch.from_numpy(random.uniform(0, 224, (8, 5, 2)))
    visible = torch.from_numpy(random.uniform(size=(8, 5)) > 0.3)
    poses[~visible] = torch.nan
    model = IEF(num_keypoints=5).double()
    model.set_initial_pose(poses, visible)
    for k in range(5):
        assert model.initial_pose[k].tolist() == pytest.approx(np.median(poses[visible[:, k], k].numpy(), axis=0))


def test_initial_pose_travels_with_the_weights_but_not_to_other_keypoints(model, tmp_path):
    fresh = posezoo.create("ief", num_keypoints=3)
    fresh.set_initial_pose(model.initial_pose[None])
    fresh.save_pretrained(tmp_path)
    loaded = posezoo.create(f"local-dir:{tmp_path}", pretrained=True)
    assert torch.equal(loaded.initial_pose, model.initial_pose)
    other = posezoo.create(f"local-dir:{tmp_path}", pretrained=True, num_keypoints=5)
    assert torch.equal(other.initial_pose, torch.tensor([MARK]).expand(5, -1))
    assert torch.equal(other.conv1.weight, fresh.conv1.weight)


def test_features_are_those_of_the_image_before_a_pose_is_drawn(model, image):
    network = copy.deepcopy(model)
    network.reset_head(0)
    with torch.no_grad():
        features = model.forward_features(image)
        assert features.shape == (2, 1024)
        assert_close(network(image), features, rtol=0, atol=0)
        (only,) = network(image, all_stages=True)
        assert_close(only, features, rtol=0, atol=0)
        torch.nn.init.zeros_((unfed := copy.deepcopy(model)).feedback.conv1.weight)
        expected = 20 * unfed.feedback.fc(features).view(2, 2, 3).mT
        assert_close(unfed(image, keypoints=torch.zeros(2, 3, 2)), expected)
    with pytest.raises(ValueError, match="reset_head"):
        network.initial_pose  # noqa: B018


# --------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("size", [(64, 64), (256, 256), (224, 192), (448, 448)])
def test_other_sizes_are_refused(model, size):
    with pytest.raises(ValueError, match=r"resize or pad to \(224, 224\)"):
        model(torch.rand(1, 3, *size))


@pytest.mark.parametrize("shape", [(3, 2), (1, 3, 2), (2, 4, 2), (2, 3, 3)])
def test_a_pose_for_each_image(model, image, shape):
    with pytest.raises(ValueError, match=r"keypoints: expected a pose for each image, \(2, 3, 2\) pixels"):
        model(image, keypoints=torch.zeros(shape))


def test_poses_that_make_no_median_are_refused(model):
    poses = torch.zeros(4, 3, 2)
    seen = torch.ones(4, 3, dtype=torch.bool)
    seen[:, 1] = False
    with pytest.raises(ValueError, match="keypoint 1 is not labelled in any of the 4"):
        model.set_initial_pose(poses, seen)
    with pytest.raises(ValueError, match="keypoint 0 is not labelled in any of the 0"):
        model.set_initial_pose(poses[:0])
    with pytest.raises(ValueError, match=r"expected \(N, 3, 2\), got shape \(3, 2\)"):
        model.set_initial_pose(poses[0])
    with pytest.raises(ValueError, match=r"visible: expected \(4, 3\)"):
        model.set_initial_pose(poses, seen[0])
    with pytest.raises(ValueError, match="NaN or infinite; mark missing ones"):
        model.set_initial_pose(torch.full((4, 3, 2), torch.nan))
    with pytest.raises(ValueError, match="NaN or infinite; mark missing ones"):
        fixed_path(torch.zeros(3, 2), torch.full((4, 3, 2), torch.inf))
    with pytest.raises(ValueError, match=r"expected \(\.\.\., 3, 2\) as the initial pose, got shape \(4, 5, 2\)"):
        fixed_path(torch.zeros(3, 2), torch.zeros(4, 5, 2))


@pytest.mark.parametrize("argument", [{"num_steps": 0}, {"num_steps": 1.5}, {"max_step": 0}, {"sigma": -1.0}])
def test_impossible_arguments_are_refused(argument):
    with pytest.raises(ValueError, match=next(iter(argument))):
        IEF(**argument)


def test_weights_are_to_be_downloaded_by_hand():
    with pytest.raises(ValueError, match=r"Download http://.*models\.tar yourself and write create\('ief', checkpoint"):
        posezoo.create("ief.mpii_224x224", pretrained=True)
    assert "ief.mpii_224x224" not in posezoo.list_pretrained()


def test_batches_of_one_and_of_none_train(image):
    network = fill(IEF(num_keypoints=3))
    for batch in (1, 0):
        poses = network(image[:batch], all_stages=True)
        assert all(pose.shape == (batch, 3, 2) for pose in poses)
        start = torch.full((batch, 3, 2), 100.0)
        assert network(image[:batch], keypoints=start).shape == (batch, 3, 2)


# ------------------------------------------------------------------------------------------------- it learns


@pytest.mark.slow
def test_overfits_two_figures_in_four_steps():
    """Fixed path consolidation on two images with a coloured blob at each keypoint, up to 86 pixels
    from the start.
    """
    torch.manual_seed(0)
    model = IEF(num_keypoints=3).eval()  # without dropout: there is nothing to generalise to
    target = torch.tensor([[[50.0, 70.0], [160.0, 90.0], [110.0, 180.0]], [[90.0, 40.0], [190.0, 150.0], [60.0, 60.0]]])
    image, _ = encode(target, size=(224, 224), stride=1, sigma=12, method="gaussian")
    model.set_initial_pose(target)
    start = fixed_path(model.initial_pose, target)[:-1].flatten(0, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
    error = torch.inf
    for step in range(150):
        pred = model(image.repeat(4, 1, 1, 1), keypoints=start)
        loss = bounded_correction(pred, start, target.repeat(4, 1, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            error = float((model.predict(image)[0] - target).norm(dim=-1).max())
            if error < 4:
                break
    assert error < 4
