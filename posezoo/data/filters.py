"""Temporal filters that reduce the jitter of single-frame predictions, per coordinate.

Hossain and Little (ECCV 2018, Table 1) compare their network with Martinez' baseline filtered by
`mean_filter` and `median_filter` over five frames. The position of the window and the treatment of
the ends are not published: here windows are centred, and the first and the last frame are repeated.

For keypoints with missing frames there are `gaussian_filter`, which is not causal, and the causal 1
euro filter of Casiez, Roussel and Vogel (CHI 2012): `one_euro_filter` for a video, `OneEuroStream`
for a camera. A keypoint with a NaN is missing. It stays NaN, and the filters skip its frame.

The filters take NumPy arrays or tensors and return the same kind. Smooth the predictions of
`posezoo.predict` for a video with

    points = np.stack([people.keypoints[0] for people in frames])                       # (T, K, 2)
    scores = np.stack([people.scores[0] for people in frames])
    smooth = gaussian_filter(points, sigma=1.5, scores=scores)
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from posezoo.arrays import Array, ArrayT, as_tensor, explained, same_kind

WIDTH = 5  # frames (section 4.2 of Hossain and Little)
REACH = 4  # standard deviations of the Gaussian; 6e-5 of its mass is beyond


@explained
def mean_filter(points: ArrayT, width: int = WIDTH) -> ArrayT:
    """Replace each frame by the mean of the `width` frames around it.

    Args:
        points: `(..., T, K, D)`, keypoints or poses in any unit, one video each; poses relative to
            their root.
        width: an odd number of frames.

    Raises:
        ValueError: an even width, no frame, or points that are not finite.

    Examples:
        >>> mean_filter(torch.tensor([0.0, 0.0, 10.0, 0.0, 0.0, 0.0]).view(6, 1, 1)).flatten().tolist()
        [2.0, 2.0, 2.0, 2.0, 2.0, 0.0]
    """
    return same_kind(points, _windows(as_tensor(points), width).mean(dim=-1))


@explained
def median_filter(points: ArrayT, width: int = WIDTH) -> ArrayT:
    """Replace each frame by the median of the `width` frames around it, per coordinate.

    Arguments and errors as for `mean_filter`.

    Examples:
        >>> median_filter(torch.tensor([0.0, 0.0, 10.0, 0.0, 1.0, 1.0]).view(6, 1, 1)).flatten().tolist()
        [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    """
    return same_kind(points, _windows(as_tensor(points), width).median(dim=-1).values)


@explained
def gaussian_filter(points: ArrayT, sigma: float, *, scores: Array | None = None) -> ArrayT:
    """Smooth with a Gaussian over time, weighted by the keypoints' scores.

    Weights are normalised by their sum over existing frames. Constant points are therefore
    unchanged everywhere, and points at constant velocity are unchanged away from gaps and ends.

    Args:
        points: `(..., T, K, D)`, keypoints or poses in any unit, one video each; NaN where missing.
        sigma: standard deviation in frames; seconds times frames per second. Independent noise is
            reduced to 0.53 of its standard deviation with 1, to 0.38 with 2.
        scores: `(..., T, K)`, weights of the keypoints; negative ones count as 0. A keypoint
            without positive weights around it is unchanged. Scores of missing keypoints are
            ignored. Defaults to equal weights.

    Returns:
        `(..., T, K, D)`; NaN where `points` are.

    Raises:
        ValueError: a sigma that is not positive, no frame, infinite points, or scores of another
            shape or not finite.

    Examples:
        >>> impulse = torch.tensor([0.0, 0.0, 0.0, 100.0, 0.0, torch.nan, 0.0]).view(7, 1, 1)
        >>> gaussian_filter(impulse, sigma=0.6).flatten().round().tolist()
        [0.0, 0.0, 17.0, 67.0, 20.0, nan, 0.0]
    """
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma: expected a positive number of frames, got {sigma}")
    frames = as_tensor(points)
    seen = _seen(frames)
    weights = seen.to(frames.dtype)
    if scores is not None:
        confidence = as_tensor(scores, frames)
        if confidence.shape != frames.shape[:-1] or not confidence[seen[..., 0]].isfinite().all():
            raise ValueError(
                f"scores: expected finite {tuple(frames.shape[:-1])}, one per keypoint, got {tuple(confidence.shape)}"
            )
        weights = weights * confidence.clamp(min=0).to(frames)[..., None].where(seen, 0)
    reach = max(1, min(math.ceil(REACH * sigma), frames.shape[-3] - 1))  # not beyond the video
    distance = torch.arange(-reach, reach + 1, dtype=frames.dtype, device=frames.device)
    kernel = (-(distance**2) / (2 * sigma**2)).exp().view(1, 1, -1)

    def blur(values: Tensor) -> Tensor:
        along = values.movedim(-3, -1)
        return F.conv1d(along.reshape(-1, 1, along.shape[-1]), kernel, padding=reach).view(along.shape).movedim(-1, -3)

    total = blur(weights)
    smooth = torch.where(total > 0, blur(weights * frames.where(seen, 0)) / total, frames)
    return same_kind(points, smooth.where(seen, torch.nan))


class OneEuroStream:
    """The 1 euro filter, frame by frame: strong smoothing at low speed, low latency at high speed.

    Each coordinate passes exponential smoothing with a cutoff frequency of `min_cutoff + beta *
    |speed|`, where the speed is smoothed likewise at `derivative_cutoff` (Casiez, Roussel, Vogel,
    CHI 2012, Algorithm 1; as in the authors' code, a speed is measured from the last smoothed
    value, and the first is 0). A gap counts as one longer time step.

    To choose the parameters: hold still and lower `min_cutoff` until the jitter is gone, then move
    fast and raise `beta` until the lag is (section "Tuning" of the paper).

    Args:
        fps: frames per second.
        min_cutoff: Hz.
        beta: Hz per unit of the points per second; 0 is plain exponential smoothing. The default is
            for pixels of a person some 300 pixels high; 0.002 is equivalent for millimetres.
        derivative_cutoff: Hz.

    Raises:
        ValueError: a number that is not positive, or a negative `beta`.

    Examples:
        >>> stream = OneEuroStream(fps=30)
        >>> for frame in torch.tensor([[[5.0, 5.0]], [[6.0, 5.0]], [[5.0, 5.0]]]):          # (K, 2) each
        ...     print([round(value, 2) for value in stream(frame).flatten().tolist()])
        [5.0, 5.0]
        [5.18, 5.0]
        [5.15, 5.0]
    """

    @explained
    def __init__(
        self, fps: float, *, min_cutoff: float = 1.0, beta: float = 0.01, derivative_cutoff: float = 1.0
    ) -> None:
        for name, value in (("fps", fps), ("min_cutoff", min_cutoff), ("derivative_cutoff", derivative_cutoff)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name}: expected a positive number, got {value}")
        if not 0 <= beta < math.inf:
            raise ValueError(f"beta: expected 0 or a positive number, got {beta}")
        self.fps, self.min_cutoff, self.beta, self.derivative_cutoff = fps, min_cutoff, beta, derivative_cutoff
        self._smooth: Tensor | None = None  # NaN before the first frame of a keypoint
        self._speed = self._waited = torch.zeros(())

    def __call__(self, points: ArrayT, *, seconds: float | None = None) -> ArrayT:
        """Filter the next frame.

        Args:
            points: `(..., K, D)`, of the same shape every time; NaN where missing.
            seconds: since the previous frame. Defaults to 1 / fps.

        Returns:
            `(..., K, D)`; NaN where `points` are.

        Raises:
            ValueError: points of another shape or infinite, or a time that is not positive.
        """
        frame = as_tensor(points)
        seen = _seen(frame[..., None, :, :]).squeeze(-3)
        if self._smooth is None:
            self._smooth, self._speed = torch.full_like(frame, torch.nan), torch.zeros_like(frame)
            self._waited = torch.zeros_like(frame[..., :1])
        if self._smooth.shape != frame.shape:
            raise ValueError(
                f"points: expected {tuple(self._smooth.shape)} as before, got {tuple(frame.shape)}; other people need "
                "a stream of their own"
            )
        step = 1 / self.fps if seconds is None else seconds
        if not 0 < step < math.inf:
            raise ValueError(f"seconds: expected a positive number, got {seconds}")
        elapsed = self._waited + step
        known = ~self._smooth.isnan()

        measured = (frame - self._smooth) / elapsed
        speed = self._speed + _share(self.derivative_cutoff, elapsed) * (measured - self._speed)
        speed = speed.where(known, 0)
        share = _share(self.min_cutoff + self.beta * speed.abs(), elapsed)
        smooth = (self._smooth + share * (frame - self._smooth)).where(known, frame)

        self._waited = torch.where(seen, 0, elapsed)
        self._speed, self._smooth = speed.where(seen, self._speed), smooth.where(seen, self._smooth)
        return same_kind(points, smooth.where(seen, torch.nan))


@explained
def one_euro_filter(
    points: ArrayT, fps: float, *, min_cutoff: float = 1.0, beta: float = 0.01, derivative_cutoff: float = 1.0
) -> ArrayT:
    """Filter a video with a new `OneEuroStream`.

    Args:
        points: `(..., T, K, D)`, one video each; NaN where missing.

    Other arguments and errors as there.

    Returns:
        `(..., T, K, D)`; NaN where `points` are.

    Examples:
        >>> one_euro_filter(torch.tensor([5.0, torch.nan, 6.0, 5.0]).view(4, 1, 1), fps=30).flatten().tolist()
        [5.0, nan, 5.30..., 5.25...]
    """
    frames = as_tensor(points)
    _seen(frames)
    stream = OneEuroStream(fps, min_cutoff=min_cutoff, beta=beta, derivative_cutoff=derivative_cutoff)
    return same_kind(points, torch.stack([stream(frame) for frame in frames.unbind(dim=-3)], dim=-3))


def _share(cutoff: Tensor | float, elapsed: Tensor) -> Tensor:
    """Weight of a new value in exponential smoothing, 1 / (1 + tau / Te); tau = 1 / 2 pi cutoff."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * elapsed))


def _seen(points: Tensor) -> Tensor:
    """Mask of keypoints without NaN: `(..., T, K, D) -> (..., T, K, 1)`."""
    if points.ndim < 3 or points.shape[-3] == 0:
        raise ValueError(f"points: expected (..., T, K, D) with at least one frame, got shape {tuple(points.shape)}")
    if not points.is_floating_point() or points.isinf().any():
        raise ValueError("points: expected floats, finite or NaN where a keypoint is missing")
    return ~points.isnan().any(dim=-1, keepdim=True)


def _windows(points: Tensor, width: int) -> Tensor:
    """`(..., T, K, D)` to `(..., T, K, D, width)`."""
    if width < 1 or width % 2 == 0:
        raise ValueError(f"width: expected an odd number of frames, which has a middle, got {width}")
    if points.ndim < 3 or points.shape[-3] == 0:
        raise ValueError(f"points: expected (..., T, K, D) with at least one frame, got shape {tuple(points.shape)}")
    if not points.is_floating_point() or not points.isfinite().all():
        raise ValueError(
            "points: expected finite floats; a gap would spread over its neighbours, posezoo.lift fills it"
        )
    frames, half = points.shape[-3], width // 2
    index = torch.arange(-half, frames + half, device=points.device).clamp(0, frames - 1)
    return points.index_select(-3, index).unfold(-3, width, 1)
