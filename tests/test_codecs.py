"""SimCC and integral regression: loops over the papers' formulas, round trips, gradients."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from posezoo.codecs import DECODINGS, decode_integral, decode_simcc, encode_integral, encode_simcc

INPUT = (256, 192)


def scattered(*shape: int, margin: float = 20.0, seed: int = 0) -> Tensor:
    """Keypoints in the input, at least `margin` pixels from its border, `(*shape, 2)` float64."""
    generator = torch.Generator().manual_seed(seed)
    room = torch.tensor([INPUT[1], INPUT[0]]) - 1 - 2 * margin
    return margin + room * torch.rand(*shape, 2, dtype=torch.float64, generator=generator)


# ------------------------------------------------------------------------------------------------------------ SimCC


@pytest.mark.parametrize(
    ("split", "sigma", "rounded", "normalize"),
    [(2.0, 6.0, True, True), (2.0, (5.66, 4.9), True, False), (3.0, 2.0, False, True), (1.5, 1.0, False, False)],
)
def test_simcc_targets_are_those_of_loops(split, sigma, rounded, normalize):
    keypoints = scattered(2, 3, margin=-5)
    x, y, _ = encode_simcc(keypoints, size=INPUT, split=split, sigma=sigma, rounded=rounded, normalize=normalize)
    sigma_y, sigma_x = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    assert x.shape == (2, 3, round(INPUT[1] * split))
    assert y.shape == (2, 3, round(INPUT[0] * split))
    for b, k in np.ndindex(2, 3):
        for values, place, spread in ((x, keypoints[b, k, 0], sigma_x), (y, keypoints[b, k, 1], sigma_y)):
            middle = float(place) * split
            if rounded:
                middle = math.floor(middle + 0.5)
            for i in range(values.shape[-1]):
                expected = math.exp(-((i - middle) ** 2) / (2 * spread**2))
                if normalize:
                    expected /= math.sqrt(2 * math.pi) * spread
                assert values[b, k, i].item() == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_simcc_targets_sum_to_one():
    for values in encode_simcc(scattered(4, 5), size=INPUT)[:2]:
        assert_close(values.sum(dim=-1), torch.ones(4, 5).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("split", [1.0, 2.0, 3.0])
@pytest.mark.parametrize(
    ("rounded", "method", "bins"),
    [(True, "argmax", 0.5), (False, "argmax", 0.5), (True, "expectation", 0.5), (False, "expectation", 1e-6)],
)
def test_simcc_round_trip_error_is_bounded(split, rounded, method, bins):
    keypoints = scattered(8, 17, margin=30)
    x, y, _ = encode_simcc(keypoints, size=INPUT, split=split, sigma=3.0, rounded=rounded)
    found, scores = decode_simcc(x, y, split=split, method=method)
    error = (found - keypoints).abs().max() * split
    assert error <= bins + 1e-9
    assert error > 0.9 * bins or bins < 0.1  # the bound is the bound
    assert (scores > 0).all()


@pytest.mark.parametrize("method", DECODINGS)
@pytest.mark.parametrize("logits", [False, True])
def test_simcc_decoding_is_that_of_loops(method, logits):
    random = np.random.default_rng(0)
    x, y = random.random((2, 3, 24)), random.random((2, 3, 32))
    found, scores = decode_simcc(x, y, split=2.0, method=method, logits=logits)
    for b, k in np.ndindex(2, 3):
        place, maxima = [], []
        for values in (x[b, k], y[b, k]):
            chances = np.exp(values) / np.exp(values).sum() if logits else values
            if method == "argmax":
                place.append(int(np.argmax(chances)) / 2)
            else:
                place.append(sum(i * chance for i, chance in enumerate(chances)) / sum(chances) / 2)
            maxima.append(max(chances))
        np.testing.assert_allclose(found[b, k], place, rtol=1e-12)
        assert scores[b, k] == pytest.approx(min(maxima), rel=1e-12)


def test_simcc_leaves_out_invisible_and_outside_keypoints():
    keypoints = torch.tensor([[[50.0, 60.0], [math.nan, 0.0], [-12.0, 60.0], [50.0, 300.0], [-8.0, 60.0]]])
    visible = torch.tensor([[0.5, 0.0, 1.0, 1.0, 1.0]])
    x, y, weights = encode_simcc(keypoints, visible, size=INPUT)  # 3 sigma are 9 px
    assert weights.tolist() == [[0.5, 0, 0, 0, 1]]
    assert not x[0, 1:4].any()
    assert not y[0, 1:4].any()
    found, scores = decode_simcc(x, y)
    assert found[0].tolist() == [[50, 60], [0, 0], [0, 0], [0, 0], [0, 60]]
    assert (scores[0] > 0).tolist() == [True, False, False, False, True]


def test_simcc_expectation_is_differentiable():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(1, 2, n, dtype=torch.float64, generator=generator, requires_grad=True) for n in (6, 5))
    assert torch.autograd.gradcheck(lambda *bins: decode_simcc(*bins, method="expectation", logits=True)[0], (x, y))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode_simcc(torch.zeros(3, 2), size=INPUT), r"expected \(B, K, 2\) pixels, got shape \(3, 2\)"),
        (lambda: encode_simcc(torch.zeros(1, 3, 2), torch.ones(1, 4), size=INPUT), "visible: expected"),
        (lambda: encode_simcc(torch.full((1, 1, 2), math.nan), size=INPUT), "NaN or infinite"),
        (lambda: encode_simcc(torch.zeros(1, 3, 2), size=INPUT, split=0), "expected positive numbers"),
        (lambda: encode_simcc(torch.zeros(1, 3, 2), size=INPUT, sigma=(1.0, -1.0)), "expected positive numbers"),
        (lambda: decode_simcc(torch.zeros(1, 3, 9), torch.zeros(1, 4, 9)), "of the same people and keypoints"),
        (lambda: decode_simcc(torch.zeros(3, 9), torch.zeros(3, 9)), r"expected \(B, K, bins\)"),
        (lambda: decode_simcc(torch.zeros(1, 3, 9), torch.zeros(1, 3, 9), method="soft"), "method: expected one of"),
        (lambda: encode_integral(torch.zeros(1, 3, 3), size=INPUT), r"expected \(B, K, 2\)"),
        (lambda: decode_integral(torch.zeros(3, 9, 9)), r"expected \(B, K, h, w\), got shape \(3, 9, 9\)"),
        (lambda: decode_integral([[0.0]]), "expected a NumPy array or a torch tensor, got list"),
    ],
)
def test_codecs_refuse_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --------------------------------------------------------------------------------------------------------- integral


@pytest.mark.parametrize("sharpness", [1.0, 5.0])
def test_integral_decoding_is_that_of_loops(sharpness):
    heatmaps = np.random.default_rng(0).standard_normal((2, 3, 8, 6)) - 3  # logits, most of them negative
    found, scores = decode_integral(heatmaps, stride=(4.0, 5.0), offset=1.5, sharpness=sharpness)
    for b, k in np.ndindex(2, 3):
        chances = np.exp(sharpness * heatmaps[b, k])
        chances /= chances.sum()
        x = sum(j * chances[i, j] for i in range(8) for j in range(6))
        y = sum(i * chances[i, j] for i in range(8) for j in range(6))
        np.testing.assert_allclose(found[b, k], [5 * x + 1.5, 4 * y + 1.5], rtol=1e-12)
        assert scores[b, k] == pytest.approx(chances.max(), rel=1e-12)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_integral_round_trip_of_a_drawn_keypoint(sigma):
    """The softmax of the logarithm of a Gaussian is the Gaussian; its mean is the keypoint."""
    keypoints = scattered(4, 5, margin=40)
    y, x = torch.meshgrid(torch.arange(64).double(), torch.arange(48).double(), indexing="ij")
    center = keypoints[..., None, None] / 4
    logits = -((x - center[:, :, 0]) ** 2 + (y - center[:, :, 1]) ** 2) / (2 * sigma**2)
    found, _ = decode_integral(logits)
    assert (found - keypoints).abs().max() < 1e-3
    targets, weights = encode_integral(keypoints, size=INPUT)
    assert_close(encode_integral(found, size=INPUT)[0], targets, rtol=0, atol=1e-5)
    assert_close((targets + 0.5) * torch.tensor([INPUT[1], INPUT[0]]), keypoints)
    assert weights.all()


def test_integral_coordinates_span_the_input():
    keypoints = torch.tensor([[[0.0, 0.0], [192.0, 256.0], [96.0, 64.0], [math.nan, 1.0]]])
    coordinates, weights = encode_integral(keypoints, torch.tensor([[1, 1, 1, 0]]), size=INPUT)
    assert coordinates[0, :3].tolist() == [[-0.5, -0.5], [0.5, 0.5], [0.0, -0.25]]
    assert weights.tolist() == [[1, 1, 1, 0]]
    assert torch.isfinite(coordinates).all()


def test_a_loss_on_integral_coordinates_trains_a_map():
    target, _ = encode_integral(torch.tensor([[[90.0, 120.0]]]), size=INPUT)
    logits = torch.zeros(1, 1, 64, 48, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(100):
        optimizer.zero_grad()
        (encode_integral(decode_integral(logits)[0], size=INPUT)[0] - target).abs().sum().backward()
        optimizer.step()
    assert (decode_integral(logits)[0] - torch.tensor([90.0, 120.0])).abs().max() < 2


# ------------------------------------------------------------------------------------------------------------ NumPy


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_numpy_in_is_numpy_out_and_equals_torch(dtype):
    keypoints = scattered(2, 3).numpy().astype(dtype)
    maps = np.random.default_rng(0).integers(0, 9, (2, 3, 16, 12)).astype(dtype)
    bins = np.random.default_rng(0).integers(0, 9, (2, 3, 24)).astype(dtype)
    calls = [
        (lambda a: encode_simcc(a, size=INPUT), keypoints),
        (lambda a: encode_integral(a, size=INPUT), keypoints),
        (lambda a: decode_simcc(a, a, method="expectation"), bins),
        (decode_integral, maps),
    ]
    for call, array in calls:
        for ours, theirs in zip(call(array), call(torch.from_numpy(array)), strict=True):
            assert isinstance(ours, np.ndarray)
            assert ours.dtype == (np.float64 if dtype == np.float64 else np.float32)
            np.testing.assert_array_equal(ours, theirs.numpy())
