"""Martinez' baseline: the paper's facts, and the numbers of the authors' code."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import posezoo
from posezoo.losses import pose_mse
from posezoo.models.martinez import FOURTEEN, Linear, Martinez
from posezoo.skeletons import get_skeleton


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("kwargs", "parameters"),
    [
        ({}, 4_291_632),  # TensorFlow's graph and the ports agree
        ({"neck": True}, 4_291_632 + 2 * 1024),
        ({"num_keypoints": 14, "skeleton": FOURTEEN}, 4_291_632 - (48 - 42) * 1025),
        ({"num_keypoints": 0}, 4_291_632 - 48 * 1025),
    ],
)
def test_size(kwargs, parameters):
    with torch.device("meta"):
        assert count(Martinez(**kwargs)) == parameters


def test_layers():
    with torch.device("meta"):
        model = posezoo.create("martinez")
    assert (model.w1.in_features, model.w2.out_features) == (32, 48)
    assert len(model.used) == 16
    assert get_skeleton("h36m17").index("neck_nose") not in model.used
    assert len(model.linear_stages) == 2
    assert model.dropout.p == 0.5
    assert model.batch_norm1.eps == 1e-5
    assert set(get_skeleton("h36m17").keypoints) - set(FOURTEEN) == {"pelvis", "spine", "neck_nose"}


def authors_order(model):
    """The tensors of the golden numbers in their order: matrices, biases, batch normalisations."""
    layers = [(model.w1, model.batch_norm1)]
    layers += [(getattr(b, f"w{i}"), getattr(b, f"batch_norm{i}")) for b in model.linear_stages for i in (1, 2)]
    for linear, norm in layers:
        yield from (linear.weight.T, linear.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    yield from (model.w2.weight.T, model.w2.bias)


@pytest.mark.parametrize(
    ("max_norm", "first", "total"),  # specs/models3d.md 11.3 B, made with the authors' code under TensorFlow 1.15
    [
        (
            True,
            [
                [0.08678873, -0.24177462, -0.45662755, -0.45672145],
                [0.0847657, -0.24206145, -0.4550433, -0.4540112],
            ],
            -1.3427219,
        ),
        (
            False,
            [
                [0.27811307, -0.05115418, -0.3563628, -0.4939685],
                [0.22924742, -0.06968756, -0.33584735, -0.44405293],
            ],
            -0.4137888,
        ),
    ],
)
def test_agrees_with_the_authors(max_norm, first, total):
    model = Martinez(linear_size=6, max_norm=max_norm, batch_norm="tensorflow").eval()
    tensors = list(authors_order(model))
    assert len(tensors) == 32
    for number, tensor in enumerate(tensors):
        value = 0.5 * np.sin(0.7 * np.arange(tensor.numel()) + 0.3 * number)
        if number < 30 and number % 6 in (2, 5):  # gamma and variance
            value = 1 + 0.2 * value
        tensor.data.copy_(torch.from_numpy(value).view(tensor.shape))
    keypoints = torch.zeros(2, 1, 17, 2)
    keypoints[:, :, model.used] = torch.from_numpy(np.sin(0.11 * np.arange(64))).float().view(2, 1, 16, 2)
    with torch.no_grad():
        output = model(keypoints)[:, 0, 1:].flatten(1) / 1000
    assert_close(output[:, :4], torch.tensor(first), rtol=0, atol=1e-7)
    assert float(output.sum()) == pytest.approx(total, abs=2e-6)


def test_max_norm_scales_the_whole_matrix_and_its_gradient():
    layer = Linear(4, 3, max_norm=True).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    for norm, scale in ((0.5, 1.0), (1.0, 1.0), (8.0, 1 / 8)):
        with torch.no_grad():
            layer.weight *= norm / layer.weight.norm()
        stored = layer.weight.clone()
        assert_close(layer(x), x @ (stored * scale).T + layer.bias)
        assert torch.equal(layer.weight, stored)
    # above the norm the length of the weights does not matter, so the gradient has no part along them
    layer(x).square().sum().backward()
    assert layer.weight.grad.norm() > 1e-3
    assert abs(float((layer.weight.grad * layer.weight.detach()).sum())) < 1e-9


def test_batch_norms_of_two_frameworks():
    for name, epsilon, momentum in (("torch", 1e-5, 0.1), ("tensorflow", 1e-3, 0.01)):
        norms = [m for m in Martinez(batch_norm=name, linear_size=4).modules() if isinstance(m, torch.nn.BatchNorm1d)]
        assert len(norms) == 5
        assert {(m.eps, m.momentum) for m in norms} == {(epsilon, momentum)}
    with pytest.raises(ValueError, match="torch, tensorflow, got 'caffe'"):
        Martinez(batch_norm="caffe")


def test_starts_as_the_authors_do():  # truncated normal times sqrt(2 / inputs), for biases sqrt(2 / length)
    torch.manual_seed(0)
    model = Martinez()
    deviation = 0.8796 * (2 / 1024) ** 0.5  # of a normal distribution that is cut at two deviations
    assert float(model.linear_stages[0].w1.weight.detach().std()) == pytest.approx(deviation, rel=0.01)
    assert float(model.linear_stages[0].w1.bias.std()) == pytest.approx(deviation, rel=0.1)
    assert float(model.w1.weight.abs().max()) <= 2 * (2 / 32) ** 0.5


def test_inputs_of_the_network():
    model = Martinez(linear_size=16).eval()
    keypoints = 1000 * torch.rand(2, 3, 17, 2)
    with torch.no_grad():
        before = model(keypoints)
        for name in ("neck_nose", "pelvis"):
            moved = keypoints.clone()
            moved[:, :, model.input_skeleton.index(name)] += 50
            assert torch.equal(model(moved), before) == (name == "neck_nose")
        assert not torch.equal(Martinez(linear_size=16, neck=True).eval()(moved), before)


def test_frames_are_independent():
    for frame in ("pixels", "person"):
        model = Martinez(linear_size=16, frame=frame).eval()
        keypoints = 1000 * torch.rand(2, 7, 17, 2)
        with torch.no_grad():
            alone = model(keypoints.flatten(0, 1)[:, None]).view(2, 7, 17, 3)
            assert_close(model(keypoints), alone, rtol=1e-4, atol=1e-3)


def test_the_persons_frame_does_not_depend_on_the_camera():
    model = Martinez(linear_size=16, frame="person").eval()
    pose = 100 * torch.randn(2, 1, 17, 2)
    with torch.no_grad():
        expected = model(pose)
        assert_close(model(3.5 * pose + 700), expected, rtol=1e-3, atol=1e-2)
        assert not torch.allclose(model(pose * torch.tensor([1.0, 1.2])), expected, rtol=0.01)
    with pytest.raises(ValueError, match="pixels, person, got 'screen'"):
        Martinez(frame="screen")


def test_fourteen_and_sixteen_keypoints():
    model = Martinez(num_keypoints=14, skeleton=FOURTEEN, linear_size=8).eval()
    assert model.w2.out_features == 42
    assert model.root is None
    assert model.predict(model.example_input(2), flip=True)[0].shape == (2, 1, 14, 3)
    sixteen = [name for name in get_skeleton("h36m17").keypoints if name != "neck_nose"]
    detector = Martinez(input_keypoints=sixteen, linear_size=8).eval()
    assert detector.w1.in_features == 32
    full = Martinez(linear_size=8).eval()
    state = {k: v for k, v in full.state_dict().items() if not k.startswith("normalize.keypoints")}
    detector.load_state_dict(state, strict=False)
    keypoints = full.example_input(2)
    with torch.no_grad():
        assert_close(detector(keypoints[:, :, full.used]), full(keypoints))


def test_one_frame_is_no_batch_to_train_on():
    model = Martinez(linear_size=8)
    with pytest.raises(ValueError, match="at least two people or frames in training"):
        model(model.example_input(1))
    assert model(model.example_input(1).repeat(1, 2, 1, 1)).shape == (1, 2, 17, 3)


def test_float64_keypoints_are_accepted():  # what NumPy makes
    model = Martinez(linear_size=8).eval()
    keypoints = model.example_input(2)
    assert_close(model.predict(keypoints.double())[0], model.predict(keypoints)[0])


@pytest.mark.parametrize("frame", ["pixels", "person"])
def test_overfits_random_poses(frame):
    """32 poses, one each, with the paper's loss: a network that learns at all knows them by heart,
    to 5 mm.
    """
    torch.manual_seed(0)
    pose3d = 300 * torch.randn(32, 1, 17, 3)
    pose3d -= pose3d[:, :, :1].clone()
    away = torch.tensor([0.0, 0.0, 5000.0])
    keypoints = 1100 * pose3d[..., :2] / (pose3d + away)[..., 2:] + 500
    model = Martinez(linear_size=128, dropout=0, frame=frame, max_norm=False)
    model.normalize.fit(keypoints, pose3d)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(200):
        loss = pose_mse(model(keypoints), pose3d, model.normalize.pose3d.std)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pose, _ = model.predict(keypoints)  # in train mode, with the statistics of the batch
    assert (pose - pose3d).norm(dim=-1).mean() < 5
