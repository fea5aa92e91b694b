"""Temporal convolutions: the paper's facts, and the numbers of the authors' code."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import posezoo
from posezoo.losses import pose_distance
from posezoo.models.temporal_conv import TemporalConv


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def random_network(**kwargs):
    torch.manual_seed(0)
    model = TemporalConv(**{"channels": 16, **kwargs}).double()
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 1.5)
    return model.eval()


def video(frames, batch=1):
    return torch.randn(batch, frames, 17, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(frames))


@pytest.mark.parametrize(
    ("name", "frames", "parameters"),  # the authors' network
    [("temporal_conv_27", 27, 8_555_571), ("temporal_conv_81", 81, 12_753_971), ("temporal_conv_243", 243, 16_952_371)],
)
def test_size(name, frames, parameters):
    with torch.device("meta"):
        model = posezoo.create(name)
    assert count(model) == parameters
    assert model.receptive_field == frames
    assert model.example_input(2).shape == (2, frames, 17, 2)
    assert model.dropout.p == 0.25


@pytest.mark.parametrize(
    ("kwargs", "parameters"),
    [
        ({"filter_widths": [1, 1, 1]}, 4_291_635),
        ({"num_keypoints": 15}, 8_549_421),
        ({"num_keypoints": 15, "input_keypoints": "humaneva15", "skeleton": "humaneva15"}, 8_537_133),
    ],
)
def test_size_of_variants(kwargs, parameters):
    with torch.device("meta"):
        assert count(TemporalConv(**kwargs)) == parameters


@pytest.mark.parametrize(
    ("causal", "expected", "total"),  # specs/models3d.md 11.3 C, made with the authors' code
    [
        (
            False,
            {
                (0, 0): [0.5686643, 0.2751113, 0.2930593],
                (0, 1): [-0.4189513, -0.2589797, -0.6569701],
                (2, 16): [-0.4793181, -0.2191950, -0.7235060],
            },
            -0.8738016,
        ),
        (True, {(0, 0): [0.6059580, 0.2244831, 0.3511716]}, -0.8384947),
    ],
)
def test_agrees_with_the_authors(causal, expected, total):
    model = TemporalConv(channels=4, causal=causal).eval()
    norms = [model.expand_bn, *model.layers_bn]
    parts = [[norm.weight, norm.bias, norm.running_mean, norm.running_var] for norm in norms]
    tensors = [*parts[0], model.shrink.weight, model.shrink.bias, model.expand_conv.weight]
    tensors += [convolution.weight for convolution in model.layers_conv]
    tensors += [tensor for part in parts[1:] for tensor in part]
    assert len(tensors) == 27
    around_one = {id(tensor) for part in parts for tensor in (part[0], part[3])}
    for number, tensor in enumerate(tensors):
        value = 0.5 * np.sin(0.7 * np.arange(tensor.numel()) + 0.3 * number)
        value = 1 + 0.2 * value if id(tensor) in around_one else value
        tensor.data.copy_(torch.from_numpy(value).view(tensor.shape))
    keypoints = torch.from_numpy(np.sin(0.11 * np.arange(29 * 34))).float().view(1, 29, 17, 2)
    with torch.no_grad():
        output = model(keypoints) / 1000  # metres
    assert output.shape == (1, 3, 17, 3)
    for (frame, keypoint), numbers in expected.items():
        assert_close(output[0, frame, keypoint], torch.tensor(numbers), rtol=0, atol=1e-7)
    assert float(output.sum()) == pytest.approx(total, abs=2e-6)


def test_keys_are_the_published_ones():
    keys = {key for key in TemporalConv(channels=4).state_dict() if not key.startswith("normalize.")}
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"expand_conv.weight", "shrink.weight", "shrink.bias", *(f"expand_bn.{name}" for name in norm)}
    for layer in range(4):
        expected |= {f"layers_conv.{layer}.weight", *(f"layers_bn.{layer}.{name}" for name in norm)}
    assert keys == expected


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("widths", [[3, 3, 3], [3, 5, 1, 3], [1, 1], [7]])
def test_strided_and_dilated_are_one_network(widths, causal):
    """A window of exactly the receptive field takes the strided way, a frame more the dilated one."""
    model = random_network(filter_widths=widths, causal=causal)
    frames = model.receptive_field
    keypoints = video(frames + 3, batch=2)
    with torch.no_grad():
        dilated = model(keypoints)
        strided = torch.cat([model(keypoints[:, start : start + frames]) for start in range(4)], dim=1)
    assert_close(strided, dilated, rtol=0, atol=1e-9)


def test_a_window_computes_only_its_one_output():
    model = random_network(filter_widths=[3, 3, 3, 3])
    seen = []
    for layer in (model.expand_conv, *model.layers_conv):
        layer.register_forward_hook(lambda _layer, _input, output: seen.append(output.shape[2]))
    with torch.no_grad():
        model(video(81))
        assert seen == [27, 9, 9, 3, 3, 1, 1]
        seen.clear()
        model(video(82))
        assert seen == [80, 74, 74, 56, 56, 2, 2]


@pytest.mark.parametrize("causal", [False, True])
def test_predict_slides_over_the_padded_video(causal):
    model = random_network(causal=causal)
    keypoints = video(40)
    before = 26 if causal else 13
    padded = torch.cat([keypoints[:, :1]] * before + [keypoints] + [keypoints[:, -1:]] * (26 - before), dim=1)
    with torch.no_grad():
        expected = torch.cat([model(padded[:, start : start + 27]) for start in range(40)], dim=1)
    predicted, _ = model.predict(keypoints)
    assert_close(predicted[:, :, 1:], expected[:, :, 1:].float(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("frame", ["pixels", "person"])
@pytest.mark.parametrize("causal", [False, True])
def test_outputs_depend_on_their_receptive_field_only(causal, frame):
    model = random_network(causal=causal, frame=frame)
    keypoints = video(80)
    before, _ = model.predict(keypoints)
    moved = keypoints.clone()
    moved[:, 40, 1:] += 5.0
    changed = (model.predict(moved)[0] - before).abs().amax(dim=(0, 2, 3)) > 1e-6
    first, last = (40, 66) if causal else (27, 53)
    assert changed.nonzero().flatten().tolist() == list(range(first, last + 1))


def test_too_short_a_window_names_the_way():
    model = TemporalConv(channels=4).eval()
    with pytest.raises(ValueError, match=r"at least 27 frames.*got 26; model\.predict"):
        model(torch.rand(1, 26, 17, 2))
    assert model.predict(torch.rand(1, 1, 17, 2))[0].shape == (1, 1, 17, 3)
    assert model(model.pad(torch.rand(1, 26, 17, 2))).shape == (1, 26, 17, 3)


def test_even_filters_are_refused():
    for widths in ([3, 4, 3], [], [0]):
        with pytest.raises(ValueError, match="filter_widths: expected odd numbers"):
            TemporalConv(filter_widths=widths)


def test_one_window_is_no_batch_to_train_on():
    model = TemporalConv(channels=4)
    with pytest.raises(ValueError, match="at least two people or frames in training"):
        model(model.example_input(1))
    assert model(torch.rand(1, 28, 17, 2)).shape == (1, 2, 17, 3)


def test_the_root_is_predicted_by_the_network_and_zero_by_definition():
    model = random_network()
    with torch.no_grad():
        output = model(video(27))
    assert output[0, 0, 0].abs().min() > 0
    pose3d, _ = model.decode(output)
    assert not pose3d[0, 0, 0].any()
    assert_close(pose3d[:, :, 1:], output[:, :, 1:].float())


def test_screen_coordinates_are_statistics():  # the authors': x / width * 2 - [1, height / width]
    model = random_network()
    pixels = 1000 * torch.rand(1, 27, 17, 2, dtype=torch.float64)
    height, width = 1002, 1000
    screen = pixels / width * 2 - torch.tensor([1.0, height / width], dtype=torch.float64)
    with torch.no_grad():
        expected = model(screen)
        model.normalize.fit_image((height, width))
        assert_close(model(pixels), expected)
        mirrored = model.normalize.mirror(pixels, model.input_skeleton.flip_index)
    assert_close(mirrored[..., 0], width - pixels[..., list(model.input_skeleton.flip_index), 0])


def test_overfits_random_windows():
    """32 windows, each with its pose, with the paper's loss: to 5 mm."""
    torch.manual_seed(0)
    pose3d = 300 * torch.randn(32, 1, 17, 3)
    pose3d -= pose3d[:, :, :1].clone()
    keypoints = 500 + 100 * torch.randn(32, 27, 17, 2)
    model = TemporalConv(channels=64, dropout=0)
    model.normalize.fit_image((1000, 1000))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(250):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / 250)
        loss = pose_distance(model(keypoints), pose3d)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pose, _ = model.decode(model(keypoints))  # in train mode, with the statistics of the batch
    assert (pose - pose3d).norm(dim=-1).mean() < 5
