"""DeepPose against the paper's numbers and equations, and mmpose's regression against mmpose's
code, run elsewhere.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filling import fill
from torch import nn
from torch.testing import assert_close

import posezoo
from posezoo.geometry import denormalize_points, normalize_points
from posezoo.layers import local_response_norm
from posezoo.losses import keypoint_mse
from posezoo.models.deeppose import DeepPose
from posezoo.models.deeppose_resnet import DeepPoseRegression, inside
from posezoo.refinement import displacement_statistics, simulated_predictions, whole_image

NARROW = (4, 4, 6, 6, 4, 16, 16)
LSP = posezoo.get_skeleton("lsp14")
HIP, SHOULDER = LSP.index("right_hip"), LSP.index("left_shoulder")
OTHER_HIP, OTHER_SHOULDER = LSP.index("left_hip"), LSP.index("right_shoulder")


def meta(name, **kwargs):
    with torch.device("meta"):
        return posezoo.create(name, **kwargs)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def narrow(seed=0, **kwargs):
    """A small cascade in double precision whose stages predict a pose of their own, varied by
    what they see.
    """
    torch.manual_seed(seed)
    model = DeepPose(**{"num_stages": 3, "widths": NARROW, "dropout": 0.0, **kwargs}).double().eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    for head in model.heads:
        head.fc.weight.data *= 0.03
        head.fc.bias.data.uniform_(-0.3, 0.3)
    return model


def picture(batch=2, height=220, width=220, seed=1):
    """Smooth noise, so that neighbouring pixels are alike."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 12, 12, dtype=torch.float64, generator=generator)
    return F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)


def poses(batch=3, seed=2, low=40.0, high=180.0):
    generator = torch.Generator().manual_seed(seed)
    keypoints = low + (high - low) * torch.rand(batch, 14, 2, dtype=torch.float64, generator=generator)
    return keypoints, torch.ones(batch, 14, dtype=torch.bool)


# ------------------------------------------------------------------------------------------------- the paper's network


@pytest.mark.parametrize(
    ("kwargs", "parameters"),  # specs/models2d_a.md 1.1
    [
        ({"num_keypoints": 14}, 58_396_060),
        ({"num_keypoints": 7}, 58_338_702),
        ({"num_keypoints": 16}, 58_412_448),
        ({"groups": 2}, 56_982_940),
        ({"widths": (48, 128, 192, 192, 192, 4096, 4096)}, 46_268_188),
    ],
)
def test_size_is_as_computed_from_the_papers_text(kwargs, parameters):
    assert count(meta("deeppose", num_stages=1, **kwargs)) == parameters


def test_presets_are_the_papers():  # section 4.1
    lsp, flic = meta("deeppose"), meta("deeppose_flic")
    assert (lsp.num_stages, lsp.sigma, lsp.skeleton.name) == (3, 2.0, "lsp14")
    assert (flic.num_stages, flic.sigma, flic.skeleton.name) == (3, 1.0, "flic9")
    assert count(lsp) == 3 * 58_396_060  # each stage has weights of its own
    assert lsp.trunks[0].dropout.p == 0.6
    assert not lsp.keep_aspect


def test_layers_have_the_papers_shapes():  # section 3.1: 55 x 55 x 96, 27 x 27 x 256, 13 x 13 x 384, ...
    model, shapes = meta("deeppose", num_stages=1), {}

    def keep(name):
        return lambda _, __, output: shapes.update({name: tuple(output.shape)})

    for name, module in model.trunks[0].named_children():
        module.register_forward_hook(keep(name))
    assert model(model.example_input(2).to("meta")).shape == (2, 14, 2)
    assert {name: shape for name, shape in shapes.items() if name != "dropout"} == {
        "conv1": (2, 96, 55, 55),
        "conv2": (2, 256, 27, 27),
        "conv3": (2, 384, 13, 13),
        "conv4": (2, 384, 13, 13),
        "conv5": (2, 256, 13, 13),
        "fc6": (2, 4096),
        "fc7": (2, 4096),
    }
    assert model.trunks[0].fc6.in_features == 256 * 6 * 6


@pytest.mark.parametrize(("name", "k", "alpha"), [("alexnet", 2.0, 1e-4), ("caffe", 1.0, 1e-4 / 5)])
def test_normalisation_layers_are_alexnets(name, k, alpha):  # Krizhevsky et al. 2012, section 3.3, in plain loops
    x = 40 * torch.rand(2, 9, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 10
    expected = x.clone()
    for channel in range(9):
        total = sum(x[:, j] ** 2 for j in range(max(0, channel - 2), min(8, channel + 2) + 1))
        expected[:, channel] = x[:, channel] / (k + alpha * total) ** 0.75
    trunk = DeepPose(num_stages=1, widths=NARROW, lrn=name).trunks[0]
    assert_close(trunk.norm(x), expected, rtol=1e-14, atol=0)
    assert_close(local_response_norm(x, k=k, alpha=alpha), nn.LocalResponseNorm(5, 5 * alpha, 0.75, k)(x))


def test_normalisation_comes_before_pooling():
    torch.manual_seed(0)
    trunk = narrow(num_stages=1).trunks[0]
    x = torch.rand(2, 3, 220, 220, dtype=torch.float64)
    norm = nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)
    layers = nn.Sequential(
        *(trunk.conv1, nn.ReLU(), norm, nn.MaxPool2d(3, 2), trunk.conv2, nn.ReLU(), norm, nn.MaxPool2d(3, 2)),
        *(trunk.conv3, nn.ReLU(), trunk.conv4, nn.ReLU(), trunk.conv5, nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten()),
        *(trunk.fc6, nn.ReLU(), trunk.fc7, nn.ReLU()),
    )
    assert_close(trunk(x), layers(x))


def test_initialisation_is_alexnets():
    torch.manual_seed(0)
    model = DeepPose(num_stages=1, widths=(32, 64, 64, 64, 64, 256, 256))
    trunk = model.trunks[0]
    for layer, std, bias in [
        *((trunk.conv1, 0.01, 0.0), (trunk.conv2, 0.01, 0.1), (trunk.conv3, 0.01, 0.0), (trunk.conv5, 0.01, 0.1)),
        *((trunk.fc6, 0.005, 0.1), (trunk.fc7, 0.005, 0.1), (model.heads[0].fc, 0.01, 0.0)),
    ]:
        assert layer.weight.std().item() == pytest.approx(std, rel=0.05)
        assert (layer.bias == bias).all()


# ---------------------------------------------------------------------------------------------------------- the cascade


def test_a_step_of_the_cascade_in_numbers():  # specs/models2d_a.md 1.4
    model = DeepPose(num_stages=2, widths=NARROW, num_keypoints=9, sigma=1.0)
    flic = posezoo.get_skeleton("flic9")
    pose = torch.full((1, 9, 2), 120.0)
    pose[0, flic.index("left_shoulder")] = torch.tensor([100.0, 50.0])
    pose[0, flic.index("right_hip")] = torch.tensor([136.0, 98.0])
    pose[0, flic.index("left_wrist")] = torch.tensor([120.0, 80.0])
    assert model.pose_diameter(pose).item() == 60
    box = model.joint_boxes(pose)[0, flic.index("left_wrist")]
    assert_close(box, torch.tensor([90.0, 50, 150, 110]))
    assert_close(denormalize_points(torch.tensor([0.1, -0.05]), box), torch.tensor([126.0, 77.0]))


def slow_cascade(model, image):
    """Section 3.2 for one image, one joint after the other, crops by PyTorch's bilinear sampler."""
    pixels = (image - model.normalize.mean.view(3, 1, 1)) / model.normalize.std.view(3, 1, 1)
    height, width = pixels.shape[-2:]
    block = F.avg_pool2d(pixels[None], (height // 220, width // 220))
    output = model.heads[0].fc(model.trunks[0](block)).view(14, 2)
    pose = [
        (float(z[0]) * width + (width - 1) / 2, float(z[1]) * height + (height - 1) / 2) for z in output
    ]  # the middle of pixels 0 to W - 1
    stages = [pose]
    for stage in range(1, model.num_stages):
        diameter = max(1.0, math.dist(pose[SHOULDER], pose[HIP]))
        side, refined = model.sigma * diameter, []
        for i, (x, y) in enumerate(pose):
            steps = (torch.arange(220, dtype=torch.float64) + 0.5) / 220 - 0.5
            v, u = torch.meshgrid(y + side * steps, x + side * steps, indexing="ij")
            grid = torch.stack([(2 * u + 1) / width - 1, (2 * v + 1) / height - 1], dim=-1)
            crop = F.grid_sample(pixels[None], grid[None], align_corners=False)
            dx, dy = model.heads[stage].fc(model.trunks[stage](crop)).view(14, 2)[i].tolist()
            refined.append((x + side * dx, y + side * dy))
        pose = refined
        stages.append(pose)
    return torch.tensor(stages, dtype=torch.float64)


@pytest.mark.parametrize(
    ("people", "height", "width", "sigma"), [(2, 220, 220, 2.0), (1, 440, 440, 1.0), (1, 220, 440, 1.0)]
)
def test_the_cascade_is_the_slow_one(people, height, width, sigma):
    model, image = narrow(sigma=sigma), picture(people, height, width)
    with torch.no_grad():
        stages = model(image, all_stages=True)
        expected = torch.stack([slow_cascade(model, one) for one in image], dim=1)
    assert len(stages) == 3
    sides = sigma * model.pose_diameter(torch.stack(stages))
    assert (sides < 220).all()  # larger squares are averaged, which the sampler above does not
    assert (expected[1:] - expected[:-1]).norm(dim=-1).mean() > 3
    assert_close(torch.stack(stages), expected, rtol=0, atol=1e-9)
    assert_close(model.predict(image)[0], stages[-1])


def test_squares_reach_beyond_the_image_where_it_is_of_mean_colour():
    model = narrow(num_stages=2)
    seen = watch(model)[1]
    boxes = torch.tensor([[-110.0, -30, 110, 190], [1000, 1000, 1100, 1100]], dtype=torch.float64)
    image = torch.ones(1, 3, 220, 220, dtype=torch.float64)
    with torch.no_grad():
        model(image, stage=2, boxes=boxes[torch.arange(14) % 2][None])
    white = ((1 - model.normalize.mean) / model.normalize.std).view(3, 1, 1)
    first, second = seen[0][0], seen[0][1]
    assert (second == 0).all()  # lies outside
    assert (first[:, :, :109] == 0).all()
    assert (first[:, :29] == 0).all()
    assert_close(first[:, 31:, 111:], white.expand(3, 220 - 31, 220 - 111))


@pytest.mark.parametrize(("stage", "zoom"), [(2, 2), (3, 1)])
def test_a_drawn_dot_lies_at_its_target(stage, zoom):
    """Draw a dot at every keypoint, simulate predictions, and look where the network of the stage
    sees the dot.
    """
    model = narrow(sigma=1.5)
    model.normalize.disable()
    seen = watch(model)
    keypoints, visible = poses(2, low=2.0 * zoom, high=216.0 * zoom)
    keypoints[:, SHOULDER], keypoints[:, HIP] = torch.tensor([90.0, 60]) * zoom, torch.tensor([110.0, 118]) * zoom
    model.measure(stage, *noisy(keypoints), visible.repeat(8, 1))
    boxes, target, weights = model.simulate(stage, keypoints, visible, draws=1)
    assert weights.all()
    assert ((boxes[..., :2] < 0) | (boxes[..., 2:] > 220 * zoom)).any()  # some leave the image
    found = []
    for first in range(0, 14, 3):  # three joints at a time, each in a colour of its own
        joints = [min(joint, 13) for joint in range(first, first + 3)]
        with torch.no_grad():
            model(dots(keypoints[:, joints], 220 * zoom, sigma=3.0 * zoom), stage=stage, boxes=boxes)
        crops = seen[stage - 1].pop().view(2, 1, 14, 3, 220, 220)
        for colour, joint in enumerate(joints):
            where = (target[:, :, joint] + 0.5) * 220 - 0.5
            whole = ((where > 45) & (where < 174)).all(dim=-1)  # the whole dot is in the crop, and in the image
            middle = keypoints[:, joint] / zoom
            whole &= ((middle > 12) & (middle < 208)).all(dim=-1)[:, None]
            found.append((centroid(crops[:, :, joint, colour]) - where).norm(dim=-1)[whole])
    errors = torch.cat(found)
    assert len(errors) > 10
    assert errors.max() < 0.01


class Watched(nn.Module):
    """In a network's place: keeps its inputs, and returns zeros."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, crops):
        self.seen.append(crops)
        return crops.new_zeros(len(crops), NARROW[-1])


def watch(model):
    """What each stage's network is shown from now on, a list per stage."""
    model.trunks = nn.ModuleList(Watched() for _ in model.trunks)
    return [trunk.seen for trunk in model.trunks]


def dots(where, size, sigma):
    """A Gaussian at each of three points, one per colour: `(B, 3, 2) -> (B, 3, size, size)`."""
    x = torch.arange(size, dtype=torch.float64)
    columns, rows = (torch.exp(-((x - where[..., axis, None]) ** 2) / (2 * sigma**2)) for axis in (0, 1))
    return rows[..., :, None] * columns[..., None, :]


def centroid(images):
    x = torch.arange(220, dtype=torch.float64)
    mass = images.sum(dim=(-1, -2))
    return torch.stack([(images.sum(-2) * x).sum(-1) / mass, (images.sum(-1) * x).sum(-1) / mass], dim=-1)


def noisy(keypoints, spread=6.0):
    """Predictions as a stage before might have made them, and the truth, eight for each pose."""
    truth = keypoints.repeat(8, 1, 1)
    return truth + spread * torch.randn(truth.shape, generator=torch.Generator().manual_seed(3)), truth


def test_later_stages_crop_more_detail_of_a_larger_image():
    model = narrow(num_stages=2)
    seen = []
    for trunk in model.trunks:
        trunk.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    large = torch.rand(1, 3, 440, 440, dtype=torch.float64)
    small = F.avg_pool2d(large, 2)
    with torch.no_grad():
        first = [model(image, all_stages=True)[0] for image in (large, small)]
    assert_close(seen[0], seen[2])  # stage 1 sees the same
    assert_close((first[0] + 0.5) / 2, first[1] + 0.5)  # and says the same, in pixels of each
    assert seen[1].std() > 1.1 * seen[3].std()


def test_the_mirror_image_is_predicted_mirrored():
    model = narrow(num_stages=2)
    first, second = watch(model)
    image, (keypoints, _) = picture(1), poses(1)
    mirrored = torch.stack([219 - keypoints[..., 0], keypoints[..., 1]], dim=-1)
    with torch.no_grad():
        for pixels, points in ((image, keypoints), (image.flip(-1), mirrored)):
            model(pixels, stage=1)
            model(pixels, stage=2, boxes=model.joint_boxes(points))
    assert_close(first[1], first[0].flip(-1))
    assert_close(second[1], second[0].flip(-1))


def test_no_gradient_goes_to_the_stage_before():
    model = narrow()
    first, second, third = model(picture(1), all_stages=True)
    second.sum().backward()
    reached = [any(p.grad is not None and p.grad.any() for p in trunk.parameters()) for trunk in model.trunks]
    assert reached == [False, True, False]
    (first.sum() + third.sum()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_crop_trains_its_own_joint_only():
    """The network regresses all keypoints in every crop; pair i counts in the crop around keypoint
    i (Equation 8).
    """
    model, image = narrow(num_stages=2).train(), picture(1)
    keypoints, visible = poses(1)
    model.measure(2, *noisy(keypoints), visible.repeat(8, 1))
    boxes, target, weights = model.simulate(2, keypoints, visible, draws=1)
    output = model(image, stage=2, boxes=boxes)
    for joint in range(14):
        only = weights & (torch.arange(14) == joint)
        loss = keypoint_mse(output.flatten(0, 1), target.flatten(0, 1), only.flatten(0, 1))
        (gradient,) = torch.autograd.grad(loss, model.heads[1].fc.bias, retain_graph=True)
        assert gradient.view(14, 2).any(dim=-1).nonzero().flatten().tolist() == [joint]
    with torch.no_grad():  # the network's whole answer to the crop around one joint holds that joint's
        elsewhere = model(image, stage=2, boxes=boxes[:, :, 3:4].expand(-1, -1, 14, -1))
    assert_close(elsewhere[:, :, 3], output[:, :, 3].detach())
    assert not torch.allclose(elsewhere[:, :, 4], output[:, :, 4].detach())


def test_training_of_a_batch_of_one():
    model = narrow(num_stages=2, dropout=0.6).train()
    stages = model(picture(1), all_stages=True)
    assert [tuple(stage.shape) for stage in stages] == [(1, 14, 2)] * 2
    sum(stage.square().mean() for stage in stages).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_empty_batches():
    model = narrow(num_stages=2)
    image = torch.zeros(0, 3, 220, 220, dtype=torch.float64)
    assert [len(stage) for stage in model(image, all_stages=True)] == [0, 0]
    assert model(image, stage=2, boxes=torch.zeros(0, 5, 14, 4, dtype=torch.float64)).shape == (0, 5, 14, 2)
    model.measure(2, *noisy(poses()[0]), poses()[1].repeat(8, 1))
    boxes, target, weights = model.simulate(2, torch.zeros(0, 14, 2), torch.zeros(0, 14).bool())
    assert (boxes.shape, target.shape, weights.shape) == ((0, 40, 14, 4), (0, 40, 14, 2), (0, 40, 14))


def test_poses_without_extent_keep_their_squares():
    model = narrow()
    for head in model.heads:
        nn.init.zeros_(head.fc.weight)
        nn.init.zeros_(head.fc.bias)
    with torch.no_grad():
        keypoints = model(picture(2))
    assert_close(keypoints, torch.full((2, 14, 2), 109.5, dtype=torch.float64))
    boxes = model.joint_boxes(keypoints)
    assert_close(boxes[..., 2:] - boxes[..., :2], torch.full((2, 14, 2), model.sigma * 1.0, dtype=torch.float64))
    truth, visible = poses(4)
    truth[0] = 50.0  # a labelled pose in one point
    model.measure(2, *noisy(truth), visible.repeat(8, 1))
    boxes, target, weights = model.simulate(2, truth, visible, draws=2)
    assert torch.isfinite(boxes).all()
    assert torch.isfinite(target).all()
    assert weights.all()


def test_standardised_crops():
    model = narrow(num_stages=2, standardize=True)
    with torch.no_grad():
        assert torch.isfinite(model(torch.zeros(1, 3, 220, 220, dtype=torch.float64))).all()  # of one colour
    seen = watch(model)[0]
    model(picture(2), stage=1)
    assert_close(seen[0].mean(dim=(-1, -2)), torch.zeros(2, 3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert_close(seen[0].var(dim=(-1, -2), correction=0), torch.ones(2, 3, dtype=torch.float64), rtol=0, atol=1e-3)


# ------------------------------------------------------------------------------------- the diameter, and missing joints


def test_the_diameter_is_the_torsos_diagonal():
    keypoints, visible = poses()
    expected = (keypoints[:, SHOULDER] - keypoints[:, HIP]).norm(dim=-1)
    mirrored = (keypoints[:, OTHER_SHOULDER] - keypoints[:, OTHER_HIP]).norm(dim=-1)
    model = narrow(num_stages=1)
    assert_close(model.pose_diameter(keypoints), expected)
    for missing in range(14):
        seen = visible.clone()
        seen[:, missing] = False
        assert_close(model.pose_diameter(keypoints, seen), mirrored if missing in (SHOULDER, HIP) else expected)
        seen[:, [SHOULDER, OTHER_HIP]] = False
        assert model.pose_diameter(keypoints, seen).isnan().all()
    other = narrow(num_stages=1, diameter=("right_shoulder", "left_hip"))
    assert_close(other.pose_diameter(keypoints), mirrored)


def test_keypoints_without_a_torso_have_the_diagonal_of_their_box():
    model = DeepPose(num_keypoints=3, skeleton=["left_a", "right_a", "b"], num_stages=2, widths=NARROW)
    pose = torch.tensor([[[1.0, 1], [4, 5], [100, 100]], [[1, 1], [1, 1], [1, 1]]])
    seen = torch.tensor([[True, True, False], [True, True, True]])
    assert model.pose_diameter(pose, seen).tolist() == [5.0, 1.0]
    assert model.pose_diameter(pose, ~seen)[1].isnan()
    with pytest.raises(ValueError, match="expected two of the keypoints left_a, right_a, b, got"):
        DeepPose(num_keypoints=3, skeleton=["left_a", "right_a", "b"], widths=NARROW, diameter=("left_a", "tail"))
    with pytest.raises(ValueError, match="names of two keypoints"):
        DeepPose(widths=NARROW, diameter=("left_hip",))


@pytest.mark.parametrize("missing", range(14))
def test_a_missing_joint_is_left_out_whatever_its_coordinates(missing):
    model = narrow(num_stages=2)
    keypoints, visible = poses()
    model.measure(2, *noisy(keypoints), visible.repeat(8, 1))
    visible[1, missing] = False
    results = []
    for nonsense in (0.0, 1e6, torch.nan):
        spoiled = keypoints.clone()
        spoiled[1, missing] = nonsense
        results.append(model.simulate(2, spoiled, visible, draws=2, generator=torch.Generator().manual_seed(0)))
    for boxes, target, weights in results:
        assert torch.equal(weights, visible[:, None].expand(-1, 2, -1))
        assert torch.isfinite(boxes).all()
        assert torch.isfinite(target).all()
        assert torch.equal(boxes, results[0][0])


def test_people_without_a_diameter_are_left_out():
    model = narrow(num_stages=2)
    keypoints, visible = poses()
    visible[0, [SHOULDER, OTHER_SHOULDER]] = False
    pred, truth = noisy(keypoints)
    model.measure(2, pred, truth, visible.repeat(8, 1))
    measured = model.heads[1].displacement_mean.clone()
    pred[::3] += 1e5  # of the person without shoulders
    model.measure(2, pred, truth, visible.repeat(8, 1))
    assert torch.equal(model.heads[1].displacement_mean, measured)
    boxes, _, weights = model.simulate(2, keypoints, visible, draws=2)
    assert not weights[0].any()
    assert weights[1:].all()
    assert torch.isfinite(boxes).all()


# ------------------------------------------------------------------------------------------------ simulated predictions


def test_statistics_are_those_of_plain_loops():
    target, visible = poses(20)
    pred = target + torch.randn(target.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    visible &= torch.rand(visible.shape, generator=torch.Generator().manual_seed(1)) > 0.3
    diameter = torch.linspace(20, 80, 20, dtype=torch.float64)
    diameter[4] = torch.nan
    mean, variance = displacement_statistics(
        pred.masked_fill(~visible[..., None], torch.nan), target, visible, diameter
    )
    for joint in range(14):
        for axis in range(2):
            seen = [
                (float(pred[n, joint, axis]) - float(target[n, joint, axis])) / float(diameter[n])
                for n in range(20)
                if visible[n, joint] and n != 4
            ]
            assert mean[joint, axis].item() == pytest.approx(np.mean(seen), rel=1e-9)
            assert variance[joint, axis].item() == pytest.approx(np.var(seen), rel=1e-9)
    visible[:, 3] = torch.arange(20) == 0
    with pytest.raises(ValueError, match="keypoint 3 is labelled 1 times"):
        displacement_statistics(pred, target, visible, diameter)


def test_simulated_predictions_scatter_as_measured():
    """Mean and variance of 4,000 draws, within five standard errors; x and y are drawn
    independently.
    """
    model = narrow(num_stages=2)
    keypoints, visible = poses(2)
    head = model.heads[1]
    generator = torch.Generator().manual_seed(0)
    head.displacement_mean.uniform_(-0.2, 0.2, generator=generator)
    head.displacement_variance.uniform_(0.01, 0.2, generator=generator)
    boxes, target, _ = model.simulate(2, keypoints, visible, draws=4000, generator=generator)
    middles, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    diameter = model.pose_diameter(keypoints)[:, None, None, None]
    assert_close(sides, (model.sigma * diameter).expand_as(sides))  # of the truth, not of a prediction
    delta = middles - keypoints[:, None]
    assert_close(target, -delta / (model.sigma * diameter))
    units = delta / diameter
    std = head.displacement_variance.sqrt()
    assert ((units.mean(dim=1) - head.displacement_mean).abs() < 5 * std / 4000**0.5).all()
    assert ((units.var(dim=1) / head.displacement_variance - 1).abs() < 5 * (2 / 4000) ** 0.5).all()
    scaled = (units - head.displacement_mean) / std
    assert (scaled[..., 0] * scaled[..., 1]).mean(dim=1).abs().max() < 5 / 4000**0.5
    assert (scaled[:, :, 0, 0] * scaled[:, :, 1, 0]).mean(dim=1).abs().max() < 5 / 4000**0.5
    assert 0.66 < (scaled.abs() < 1).double().mean() < 0.71  # a normal distribution: 0.683


def test_forty_draws_per_joint_and_a_seed_fixes_them():  # section 4.1
    model = narrow(num_stages=2)
    keypoints, visible = poses(2)
    model.measure(2, *noisy(keypoints), visible.repeat(8, 1))
    one, two, three = (
        model.simulate(2, keypoints, visible, generator=torch.Generator().manual_seed(seed))[0] for seed in (0, 0, 1)
    )
    assert one.shape == (2, 40, 14, 4)
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    still = simulated_predictions(keypoints, torch.ones(2), torch.zeros(14, 2), torch.zeros(14, 2))
    assert_close(still, keypoints[:, None].expand(-1, 40, -1, -1))


def test_measurements_travel_with_the_weights(tmp_path):
    model = posezoo.create("deeppose", widths=NARROW, num_stages=2, num_keypoints=5)
    model.heads[1].displacement_mean.uniform_(-1, 1)
    model.heads[1].displacement_variance.uniform_(0.1, 1)
    model.save_pretrained(tmp_path)
    loaded = posezoo.create(f"local-dir:{tmp_path}", pretrained=True)
    assert loaded.num_stages == 2
    for name in ("displacement_mean", "displacement_variance"):
        assert torch.equal(getattr(loaded.heads[1], name), getattr(model.heads[1], name))


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("size", [(219, 220), (220, 256), (110, 110), (660, 221)])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match=r"multiples of 220.*resize or pad"):
        meta("deeppose", num_stages=1)(torch.empty(1, 3, *size, device="meta"))


def test_stages_and_boxes_that_do_not_fit_are_refused():
    model, image = narrow(num_stages=2), picture(1)
    boxes = model.joint_boxes(poses(1)[0])
    for stage in (0, 3):
        with pytest.raises(ValueError, match="stage: expected 1 to 2"):
            model(image, stage=stage)
    with pytest.raises(ValueError, match="say which stage they are for"):
        model(image, boxes=boxes)
    with pytest.raises(ValueError, match="stage 1 takes the whole image"):
        model(image, stage=1, boxes=boxes)
    with pytest.raises(ValueError, match=r"stage 2 needs \(B, ..., 14, 4\).*got None; model.simulate"):
        model(image, stage=2)
    with pytest.raises(ValueError, match=r"got \(1, 13, 4\)"):
        model(image, stage=2, boxes=boxes[:, 1:])
    with pytest.raises(ValueError, match="for 2 images"):
        model(picture(2), stage=2, boxes=boxes)
    keypoints, visible = poses(1)
    with pytest.raises(ValueError, match=r"call model.measure\(2, "):
        model.simulate(2, keypoints, visible)
    for stage in (1, 3):
        with pytest.raises(ValueError, match="stage: expected 2 to 2"):
            model.simulate(stage, keypoints, visible)
        with pytest.raises(ValueError, match="stage: expected 2 to 2"):
            model.measure(stage, keypoints, keypoints, visible)


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"num_stages": 0}, "num_stages: expected 1 or more"),
        ({"sigma": 0.0}, "sigma: expected"),
        ({"widths": (4, 4, 4)}, "channels of 7 layers"),
        ({"lrn": "vgg"}, "expected one of alexnet, caffe"),
    ],
)
def test_impossible_arguments_are_refused(kwargs, says):
    with pytest.raises(ValueError, match=says):
        DeepPose(**{"widths": NARROW, **kwargs})


def test_without_a_head_there_is_one_stage():
    model = narrow()
    image = picture(2)
    with torch.no_grad():
        features = model.forward_features(image)
    assert features.shape == (2, 16)
    model.reset_head(0)
    assert not any(name.startswith(("trunks.1", "heads")) for name, _ in model.named_parameters())
    with torch.no_grad():
        assert_close(model(image), features)
    model.reset_head(5, ["left_a", "right_a", "left_b", "right_b", "c"])
    assert len(model.trunks) == len(model.heads) == 3
    assert model.double()(image).shape == (2, 5, 2)


# ------------------------------------------------------------------------------------------------- mmpose's regression


@pytest.mark.parametrize(
    ("depth", "keypoints", "parameters"),  # specs/models2d_a.md 1.5
    [
        (50, 17, 23_577_698),
        (50, 16, 23_573_600),
        (101, 17, 42_569_826),
        (101, 16, 42_565_728),
        (152, 17, 58_213_474),
        (152, 16, 58_209_376),
    ],
)
def test_size_is_mmposes(depth, keypoints, parameters):
    assert count(meta(f"deeppose_resnet{depth}", num_keypoints=keypoints)) == parameters


# mmpose's ResNet, GlobalAveragePooling, RegressionHead, flip_coordinates and RegressionLabel (commit 759b39c), run with
# stand-ins for mmcv and mmengine, filled as in tests/filling.py by the keys of its files, float64, on an image of
# RandomState(0).uniform(0, 1): mean and deviation of the keypoints, then [0, 0, x], [0, 0, y], [1, 9, x], [1, 16, y]
GOLDEN = [
    (50, (256, 192), False, 29.545042649395718, 1094.7524835447905,
     [754.0493737610473, -715.6249180218363, -19.693742420046163, 1385.5357631201969]),
    (50, (256, 192), True, 37.16505340803581, 705.5389802334284,
     [83.53042933106593, -705.5924337021481, -190.79682226527206, 1334.1002860863564]),
    (101, (64, 64), True, -102.38967806521488, 1127.7123670023402,
     [-10.696825364448728, -1773.5923053664947, 454.3089360864243, 534.7219156830057]),
    (152, (64, 96), True, -1453.4469747076416, 16106.859957597266,
     [-501.79367957582326, -4339.35651965019, -9246.405047031478, 8026.479332487918]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("depth", "size", "flip", "mean", "std", "values"),
    [pytest.param(*golden, marks=pytest.mark.slow) if golden[0] > 50 else golden for golden in GOLDEN],
)
def test_agrees_with_mmpose(depth, size, flip, mean, std, values):
    model = posezoo.create(f"deeppose_resnet{depth}").double().eval()
    # float32 constants would show in the seventh digit
    for buffer, exact in (
        (model.normalize.mean, (123.675, 116.28, 103.53)),
        (model.normalize.std, (58.395, 57.12, 57.375)),
    ):
        buffer.copy_(torch.tensor(exact, dtype=torch.float64) / 255)
    fill(model, lambda key: f"head.{key}" if key.startswith("fc.") else key)
    image = torch.from_numpy(np.random.RandomState(0).uniform(0, 1, (2, 3, *size)))
    keypoints, scores = model.predict(image, flip=flip)
    assert scores.eq(1).all()
    assert keypoints.mean().item() == pytest.approx(mean, rel=1e-6, abs=1e-6 * std)
    assert keypoints.std(correction=0).item() == pytest.approx(std, rel=1e-6)
    found = [keypoints[0, 0, 0], keypoints[0, 0, 1], keypoints[1, 9, 0], keypoints[1, 16, 1]]
    assert [float(value) for value in found] == pytest.approx(values, rel=1e-6, abs=1e-6 * std)


def test_targets_are_fractions_of_the_image():
    keypoints = torch.tensor([[[0.0, 0.0], [191.0, 255.0], [191.5, 3.0], [3.0, -0.5], [96.0, 128.0]]])
    visible = torch.tensor([[True, True, True, True, False]])
    assert inside(keypoints, visible, (256, 192)).tolist() == [[True, True, False, False, False]]
    model = DeepPoseRegression(backbone="resnet18", num_keypoints=5).eval()
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.copy_(torch.tensor([0.5, 0.25] * 5))
        assert_close(model(torch.rand(1, 3, 256, 192)), torch.tensor([96.0, 64.0]).expand(1, 5, 2))


@pytest.mark.parametrize("backbone", ["convnext_atto", "mobilenetv3_small_050", "swin_tiny_patch4_window7_224"])
def test_any_timm_backbone(backbone):
    size = 224 if "swin" in backbone else 64
    model = DeepPoseRegression(backbone=backbone, num_keypoints=3).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, size, size)).shape == (1, 3, 2)
        assert model.forward_features(torch.rand(1, 3, size, size)).shape == (1, model.num_features)


def test_records_are_mmposes():
    names = posezoo.list_pretrained("deeppose_*")
    tags = [(50, "coco_256x192"), (50, "coco_256x192_v0"), (50, "mpii_256x256")]
    tags += [(depth, tag) for depth in (101, 152) for tag in ("coco_256x192", "mpii_256x256")]
    assert names == [f"deeppose_resnet{depth}.{tag}" for depth, tag in tags]
    fragments = ["72ef04f3", "f6de6c0e", "c63cd0b6", "2f247111", "87516a90", "7df89a88", "15f5e6f9"]
    assert [posezoo.get_pretrained_cfg(name).sha256 for name in names] == fragments
    assert all(posezoo.get_pretrained_cfg(name).license == "Apache-2.0" for name in names)


# ------------------------------------------------------------------------------------------------------------ learning

PEOPLE = ["left_shoulder", "right_shoulder", "left_hip", "right_hip", "left_wrist", "right_wrist"]


def figures(number, generator):
    """Six coloured dots in a body's places."""
    middle = 110 + 30 * (2 * torch.rand(number, 1, 2, generator=generator) - 1)
    body = torch.tensor([[20.0, -35], [-20, -35], [14, 25], [-14, 25], [45, 0], [-45, 0]])
    keypoints = middle + body + 8 * torch.randn(number, 6, 2, generator=generator)
    x = torch.arange(220.0)
    columns, rows = (torch.exp(-((x - keypoints[..., axis, None]) ** 2) / 32) for axis in (0, 1))
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]])
    return torch.einsum("nky,nkx,kc->ncyx", rows, columns, colours).clamp(0, 1), keypoints


@pytest.mark.slow
def test_the_second_stage_improves_on_the_first():
    """Eight drawn figures, trained stage by stage as in the paper: about 7 pixels after stage 1, 2
    after stage 2.
    """
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    image, keypoints = figures(8, generator)
    visible = torch.ones(8, 6, dtype=torch.bool)
    widths = (8, 16, 16, 16, 16, 64, 64)
    model = DeepPose(num_keypoints=6, skeleton=PEOPLE, num_stages=2, sigma=1.0, widths=widths, dropout=0.0)
    for trunk in model.trunks:  # AlexNet's initialisation wants AlexNet's widths
        for layer in trunk.children():
            if not isinstance(layer, nn.Dropout):
                nn.init.kaiming_normal_(layer.weight)

    def minimise(stage, steps, lr, loss):
        parameters = [*model.trunks[stage - 1].parameters(), *model.heads[stage - 1].parameters()]
        optimizer = torch.optim.Adam(parameters, lr=lr)
        for _ in range(steps):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

    def first_stage():
        target = normalize_points(keypoints, whole_image(image))
        return keypoint_mse(model(image, stage=1), target, visible)

    def second_stage():
        boxes, target, weights = (part.flatten(0, 1) for part in model.simulate(2, keypoints, visible, draws=1))
        return keypoint_mse(model(image, stage=2, boxes=boxes), target, weights)

    minimise(1, 30, 1e-3, first_stage)
    with torch.no_grad():
        model.measure(2, model(image, all_stages=True)[0], keypoints, visible)
    minimise(2, 120, 2e-3, second_stage)
    model.eval()
    with torch.no_grad():
        first = (model(image, all_stages=True)[0] - keypoints).norm(dim=-1).mean()
    second = (model.predict(image)[0] - keypoints).norm(dim=-1).mean()
    assert first < 12
    assert second < 4
    assert second < 0.6 * first


@pytest.mark.slow
def test_the_regression_learns_drawn_figures():
    torch.manual_seed(0)
    image, keypoints = figures(4, torch.Generator().manual_seed(0))
    image = F.avg_pool2d(image[..., 14:206, 14:206], 2)
    keypoints = (keypoints - 14 + 0.5) / 2 - 0.5
    model = DeepPoseRegression(backbone="resnet18", num_keypoints=6, skeleton=PEOPLE).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    weights = inside(keypoints, torch.ones(4, 6), (96, 96))
    for _ in range(60):
        loss = posezoo.losses.keypoint_smooth_l1(model(image) / 96, keypoints / 96, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    keypoints_found, _ = model.predict(image)  # in train mode: four images say little about running statistics
    assert (keypoints_found - keypoints)[weights].norm(dim=-1).mean() < 3
