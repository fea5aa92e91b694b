"""Filters along time against plain loops and closed forms, and what they do to noise and to gaps."""

import math
import statistics

import pytest
import torch
from torch.testing import assert_close

from posezoo.data.filters import OneEuroStream, gaussian_filter, mean_filter, median_filter, one_euro_filter


@pytest.mark.parametrize(
    ("filtered", "reference"), [(mean_filter, statistics.mean), (median_filter, statistics.median)]
)
@pytest.mark.parametrize("frames", [1, 2, 4, 5, 11])
@pytest.mark.parametrize("width", [1, 3, 5])
def test_against_loops(filtered, reference, frames, width):
    torch.manual_seed(0)
    points = torch.randn(2, frames, 3, 2, dtype=torch.float64)
    ours = filtered(points, width)
    for b, t, k, d in torch.cartesian_prod(*map(torch.arange, points.shape)).tolist():
        window = [points[b, min(max(t + i, 0), frames - 1), k, d].item() for i in range(-(width // 2), width // 2 + 1)]
        assert ours[b, t, k, d].item() == pytest.approx(reference(window), abs=1e-12)


def test_the_window_is_five_frames_and_centred():
    points = torch.zeros(11, 1, 1)
    points[5] = 5.0
    assert mean_filter(points).flatten().nonzero().flatten().tolist() == [3, 4, 5, 6, 7]
    assert not median_filter(points).any()


def test_noise_shrinks_and_a_straight_line_stays():
    torch.manual_seed(0)
    line = torch.arange(1000.0).view(-1, 1, 1).expand(-1, 17, 3)
    noisy = line + 10 * torch.randn(1000, 17, 3)
    torch.testing.assert_close(mean_filter(line)[2:-2], line[2:-2])
    assert float((mean_filter(noisy) - line).std()) == pytest.approx(10 / 5**0.5, rel=0.05)
    # the median of five normal numbers has 1.2 times the deviation of their mean: 0.536 of a single one's
    assert float((median_filter(noisy) - line).std()) == pytest.approx(5.36, rel=0.05)


def test_videos_are_independent():
    points = torch.randn(3, 9, 4, 2)
    for filtered in (mean_filter, median_filter):
        torch.testing.assert_close(filtered(points), torch.stack([filtered(video) for video in points]))


@pytest.mark.parametrize(
    ("points", "width", "says"),
    [
        (torch.zeros(5, 1, 1), 4, "odd number"),
        (torch.zeros(5, 1, 1), 0, "odd number"),
        (torch.zeros(0, 1, 1), 5, "at least one frame"),
        (torch.zeros(5, 1), 5, r"\(\.\.\., T, K, D\)"),
        (torch.full((5, 1, 1), torch.nan), 5, "posezoo.lift"),
        (torch.zeros(5, 1, 1, dtype=torch.int), 5, "floats"),
    ],
)
def test_refused(points, width, says):
    for filtered in (mean_filter, median_filter):
        with pytest.raises(ValueError, match=says):
            filtered(points, width)


# ----------------------------------------------------------------------------------------------------------- Gaussian


def sequence(*values):
    """One keypoint with one coordinate, `(T, 1, 1)`."""
    return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1)


def impulse(frames, at):
    return torch.eye(frames, dtype=torch.float64)[at].view(-1, 1, 1)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_an_impulse_gives_the_gaussian(sigma):
    frames = 41
    weights = [math.exp(-((t - 20) ** 2) / (2 * sigma**2)) for t in range(frames)]
    expected = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    assert_close(gaussian_filter(impulse(frames, 20), sigma).flatten(), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("frames", [1, 2, 5, 30])
def test_gaussian_against_loops(frames):
    """With scores, gaps and both ends; every frame by itself, no further than four deviations."""
    torch.manual_seed(0)
    sigma, points, scores = 1.5, torch.randn(2, frames, 3, 2, dtype=torch.float64), torch.rand(2, frames, 3)
    points[torch.rand(2, frames, 3) < 0.2] = torch.nan
    ours = gaussian_filter(points, sigma, scores=scores)
    for b, t, k, d in torch.cartesian_prod(*map(torch.arange, points.shape)).tolist():
        if points[b, t, k, d].isnan():
            assert ours[b, t, k, d].isnan()
            continue
        total = mean = 0.0
        for u in range(max(0, t - 6), min(frames, t + 7)):
            if not points[b, u, k, d].isnan():
                weight = math.exp(-((t - u) ** 2) / (2 * sigma**2)) * scores[b, u, k].item()
                total, mean = total + weight, mean + weight * points[b, u, k, d].item()
        assert ours[b, t, k, d].item() == pytest.approx(mean / total, abs=1e-9)


def test_gaussian_keeps_constant_and_linear_motion():
    still = torch.full((30, 17, 2), 3.5)
    still[4:7, 3] = torch.nan
    assert_close(gaussian_filter(still, 2.0), still, equal_nan=True)  # up to the ends, and beside the gap
    line = torch.arange(60.0).view(-1, 1, 1).expand(-1, 17, 3)
    assert_close(gaussian_filter(line, 2.0)[8:-8], line[8:-8])


def test_gaussian_reduces_noise_by_the_documented_factor():
    torch.manual_seed(0)
    noise = torch.randn(1000, 17, 3)
    for sigma, deviation in ((1, 0.53), (2, 0.38)):
        assert float(gaussian_filter(noise, sigma).std()) == pytest.approx(deviation, rel=0.05)


def test_scores_are_weights():
    points = sequence(0, 0, 10, 0, 0)
    sure = gaussian_filter(points, 1.0, scores=torch.tensor([1.0, 1, 0, 1, 1])[:, None])
    assert not sure.any()  # the frame that nobody believes is made of its neighbours, and is not seen in them
    assert_close(gaussian_filter(points, 1.0, scores=torch.full((5, 1), 0.3)), gaussian_filter(points, 1.0))
    nobody = gaussian_filter(points, 1.0, scores=torch.full((5, 1), -0.1))
    assert_close(nobody, points)
    gap = sequence(1, math.nan, 3)
    assert gaussian_filter(gap, 1.0, scores=torch.tensor([[1.0], [torch.nan], [1.0]])).isfinite().sum() == 2


# -------------------------------------------------------------------------------------------------------------- 1 euro


@pytest.mark.parametrize(("cutoff", "fps"), [(1.0, 30.0), (0.3, 25.0), (5.0, 120.0)])
def test_one_euro_without_beta_is_exponential_smoothing(cutoff, fps):
    """The step response is 1 - (1 - alpha)^n with alpha = 1 / (1 + tau / Te), tau = 1 / (2 pi
    cutoff), Te = 1 / fps.
    """
    alpha = 1 / (1 + fps / (2 * math.pi * cutoff))
    step = sequence(0, *[1] * 40)
    expected = [1 - (1 - alpha) ** n for n in range(41)]
    ours = one_euro_filter(step, fps, min_cutoff=cutoff, beta=0)
    assert_close(ours.flatten(), torch.tensor(expected, dtype=torch.float64))


# Casiez, Roussel and Vogel's own code, the Python package OneEuroFilter 0.2.1:
# f = OneEuroFilter(freq=25, mincutoff=1.2, beta=0.05, dcutoff=0.8); [f(value, time) for time, value, _ in AUTHORS]
AUTHORS = [
    (0.5, 100.0, 100.0),
    (0.54, 101.5, 100.413421),
    (0.575, 99.25, 100.167589),
    (0.62, 104.0, 101.552117),
    (0.65, 120.5, 111.634721),
    (0.75, 160.0, 154.539816),
    (0.78, 158.75, 157.455118),
    (0.81, 161.0, 159.868157),
]


def test_one_euro_is_its_authors():
    stream, before = OneEuroStream(25, min_cutoff=1.2, beta=0.05, derivative_cutoff=0.8), None
    for time, value, expected in AUTHORS:
        seconds = None if before is None else time - before
        assert stream(sequence(value)[0], seconds=seconds).item() == pytest.approx(expected, abs=1e-6)
        before = time


def test_the_video_is_the_stream():
    torch.manual_seed(0)
    points = 50 * torch.randn(2, 20, 5, 2)
    points[torch.rand(2, 20, 5) < 0.3] = torch.nan
    stream = OneEuroStream(25, min_cutoff=0.5, beta=0.1)
    frames = [stream(frame) for frame in points.unbind(1)]
    video = one_euro_filter(points, 25, min_cutoff=0.5, beta=0.1)
    assert_close(video, torch.stack(frames, dim=1), equal_nan=True)
    assert torch.equal(video.isnan(), points.isnan())
    alone = one_euro_filter(points[1, :, 2:3], 25, min_cutoff=0.5, beta=0.1)
    assert_close(video[1, :, 2:3], alone, equal_nan=True)


def test_a_gap_is_one_longer_step():
    """Three frames at 30 per second without a keypoint, and then it: as one step of 4 / 30 of a
    second.
    """
    video = one_euro_filter(sequence(1, 2, *[math.nan] * 3, 5, 6), 30).flatten()
    stream = OneEuroStream(30)
    steps = [stream(sequence(value)[0], seconds=seconds / 30) for value, seconds in ((1, 1), (2, 1), (5, 4), (6, 1))]
    assert_close(video[[0, 1, 5, 6]], torch.cat(steps).flatten())
    assert video[2:5].isnan().all()
    late = one_euro_filter(sequence(math.nan, math.nan, 7, 8), 30)
    assert late[2].item() == 7  # the first sight is taken as it is


def test_fast_movement_is_followed_and_jitter_is_not():
    """A person of 300 pixels at 30 frames per second: standing with a jitter of 2 pixels, then
    running.
    """
    torch.manual_seed(0)
    still = 2 * torch.randn(300, 17, 2)
    assert float(one_euro_filter(still, 30)[30:].std()) < 0.5 * 2
    run = torch.arange(60.0).view(-1, 1, 1) * 20  # 600 pixels per second
    lag, lag_without = ((run - one_euro_filter(run, 30, beta=beta))[-1].item() for beta in (0.01, 0.0))
    assert lag < 25 < 80 < lag_without


def test_dtypes_stay():
    for dtype in (torch.float32, torch.float64):
        points = torch.randn(5, 3, 2, dtype=dtype)
        assert gaussian_filter(points, 1.0, scores=torch.rand(5, 3)).dtype == dtype
        assert one_euro_filter(points, 30).dtype == dtype


@pytest.mark.parametrize(
    ("points", "says"),
    [
        (torch.zeros(0, 1, 1), "at least one frame"),
        (torch.zeros(5, 1), r"\(\.\.\., T, K, D\)"),
        (torch.full((5, 1, 1), torch.inf), "finite or NaN"),
        (torch.zeros(5, 1, 1, dtype=torch.int), "floats"),
    ],
)
def test_refused_sequences(points, says):
    for filtered in (lambda points: gaussian_filter(points, 1.0), lambda points: one_euro_filter(points, 30)):
        with pytest.raises(ValueError, match=says):
            filtered(points)


def test_refused_settings():
    points = torch.zeros(5, 2, 2)
    for sigma in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="sigma: expected a positive number"):
            gaussian_filter(points, sigma)
    for scores in (torch.ones(5), torch.full((5, 2), torch.nan)):
        with pytest.raises(ValueError, match=r"scores: expected finite \(5, 2\)"):
            gaussian_filter(points, 1.0, scores=scores)
    for name in ("min_cutoff", "derivative_cutoff"):
        with pytest.raises(ValueError, match=f"{name}: expected a positive number, got 0"):
            OneEuroStream(30, **{name: 0})
    with pytest.raises(ValueError, match="fps: expected"):
        one_euro_filter(points, 0)
    with pytest.raises(ValueError, match="beta: expected"):
        OneEuroStream(30, beta=-1)
    stream = OneEuroStream(30)
    stream(points[0])
    with pytest.raises(ValueError, match=r"expected \(2, 2\) as before, got \(3, 2\)"):
        stream(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="seconds: expected a positive number, got 0"):
        stream(points[0], seconds=0)
