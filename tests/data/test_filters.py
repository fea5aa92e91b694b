"""Filters along time against plain loops, and what they do to noise."""

import statistics

import pytest
import torch

from posezoo.data.filters import mean_filter, median_filter


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


def test_videos_do_not_see_each_other():
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
