"""The spatial model of Tompson et al. (NIPS 2014; arXiv 1406.2984): a Markov random field.

Title of the paper: "Joint Training of a Convolutional Network and a Graphical Model for Human Pose
Estimation". The field takes the heatmaps of any network, removes peaks that do not fit the other
joints, and is trained with it.

    In   maps      (B, K, h, w)    heatmaps of a part detector
         context   (B, C, h, w)    maps that condition the field, such as that of the person's torso
    Out  energies  (B, K, h, w)    log energies; `softmax` makes them probabilities

Departures
    - Kernels are odd instead of 128 x 128. All joints are connected. Each pair has a scalar bias;
      `bias="map"` gives it a map.
    - SoftPlus applies to kernels and biases, so the initial histogram and bias are its outputs. As
      its inputs, every empty cell would become log(2) / beta and the histogram would vanish beside
      it.
    - Energies stay logarithms; the final exp is left out.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posezoo.layers import blur

UNIFORM = 1e-3  # of an initial kernel's mass, spread evenly, so that no displacement has a probability of zero
INITIAL_BIAS = 1e-5  # what comes out of the SoftPlus of the spatial model's bias


class SpatialModel(nn.Module):
    """A fully connected Markov random field over heatmaps (section 3.2).

    The log energy of joint A is the sum over all joints v, itself included, of
    `log(SoftPlus(kernel[A, v]) * max(map[v], epsilon) + SoftPlus(bias[A, v]))`, where `*` is a
    convolution and `kernel[A, v]` the learned energy of the displacement from v to A.

    With several people in an image, pass the map of a point on the target person, such as the
    torso's, as `context`.

    Args:
        num_keypoints: maps in input and output, K.
        radius: largest displacement in cells, one number or (y, x); kernels are `2 * radius + 1` on
            a side. `(h - 1, w - 1)` covers maps of `(h, w)` exactly. The paper's 128 x 128 is
            nearly 63.
        context: maps that are inputs only.
        bias: "scalar", one per pair of maps, or "map", one per pair and cell, a prior of people's
            place in the image.
        size: (h, w) of the maps, for `bias="map"`.
        beta: sharpness of SoftPlus, 1/2 to 2 in the paper.
        epsilon: minimum of a map, above 0 to 0.01 in the paper. Over thousands of cells 0.01 adds
            up to more than a joint's peak.

    Initial kernels are uninformative (`uniform_kernels`); `init_from_displacements` sets them to
    the statistics of a training set.

    Examples:
        >>> import posezoo
        >>> from posezoo.losses import heatmap_cross_entropy
        >>> detector, torso = posezoo.create("tompson_nips14", width=4, fc_width=8), torch.rand(2, 1, 60, 90)
        >>> spatial = SpatialModel(num_keypoints=7, radius=(59, 89), context=1)
        >>> training_poses = torch.rand(20, 8, 2) * 200                    # seven joints and the torso
        >>> _ = spatial.init_from_displacements(training_poses, stride=4)
        >>> maps = detector(detector.example_input(2))
        >>> energies = spatial(maps, torso)
        >>> ((target, visible),) = detector.encode_targets(training_poses[:2, :7], None, [maps], sigma=1.5)
        >>> heatmap_cross_entropy(energies, target, visible).backward()    # trains both
        >>> keypoints, probabilities = detector.decode(spatial.softmax(energies))
    """

    def __init__(
        self,
        *,
        num_keypoints: int,
        radius: int | tuple[int, int] = 63,
        context: int = 0,
        bias: str = "scalar",
        size: tuple[int, int] | None = None,
        beta: float = 1.0,
        epsilon: float = 1e-4,
    ) -> None:
        super().__init__()
        radius = (radius, radius) if isinstance(radius, int) else (radius[0], radius[1])
        if num_keypoints < 1 or context < 0 or min(radius) < 0:
            raise ValueError(
                f"expected num_keypoints of 1 or more, context and radius of 0 or more, got {num_keypoints}, {context} "
                f"and {radius}"
            )
        if bias not in ("scalar", "map"):
            raise ValueError(f'bias: expected "scalar" or "map", got {bias!r}')
        if (bias == "map") != (size is not None):
            raise ValueError(f'size: expected (h, w) of the maps with bias="map" and only then, got {size!r}')
        if not (beta > 0 and epsilon > 0):
            raise ValueError(f"beta and epsilon: expected positive numbers, got {beta} and {epsilon}")
        self.num_keypoints, self.num_maps, self.radius = num_keypoints, num_keypoints + context, radius
        self.size, self.beta, self.epsilon = size, beta, epsilon
        pairs = (num_keypoints, self.num_maps)
        self.weight = nn.Parameter(torch.empty(*pairs, 2 * radius[0] + 1, 2 * radius[1] + 1))
        self.bias = nn.Parameter(torch.empty(*pairs, *(size or (1, 1))))
        self.set_kernels(self.uniform_kernels())

    def forward(self, maps: Tensor, context: Tensor | None = None) -> Tensor:
        """Heatmaps `(B, K, h, w)` and context `(B, C, h, w)` to log energies `(B, K, h, w)`.

        Raises:
            ValueError: another number of maps, or with `bias="map"` maps of another size.
        """
        shapes = [tuple(given.shape) for given in (maps, context) if given is not None]
        counts = [count for count in (self.num_keypoints, self.num_maps - self.num_keypoints) if count]
        if maps.ndim != 4 or shapes != [(maps.shape[0], count, *maps.shape[2:]) for count in counts]:
            raise ValueError(
                f"expected heatmaps (B, {self.num_keypoints}, h, w) and {self.num_maps - self.num_keypoints} maps of "
                f"context of the same size, got {' and '.join(map(str, shapes))}"
            )
        everything = maps if context is None else torch.cat([maps, context.to(maps)], dim=1)
        if self.size is not None and everything.shape[-2:] != self.size:
            raise ValueError(
                f'maps: expected {self.size}, for which the model has biases (bias="map"), got '
                f'{tuple(everything.shape[-2:])}; bias="scalar" takes any size'
            )
        # energies are sums of K logarithms of small numbers, for which half precision is too coarse
        everything = everything if everything.dtype == torch.float64 else everything.float()
        kernels = F.softplus(self.weight.to(everything), self.beta)
        # epsilon keeps a gradient for each kernel, even where a detector's map is 0
        expected = convolve(everything.clamp(min=self.epsilon), kernels).clamp(min=0)  # rounding of the Fourier sums
        return (expected + F.softplus(self.bias.to(everything), self.beta)).log().sum(dim=2)

    @staticmethod
    def softmax(energies: Tensor) -> Tensor:
        """Turn log energies into probabilities, which sum to 1 over each map: `(B, K, h, w)`."""
        return energies.flatten(2).softmax(dim=-1).view_as(energies)

    @torch.no_grad()
    def init_from_displacements(
        self, keypoints: Tensor, visible: Tensor | None = None, *, stride: float, taps: int = 9
    ) -> Tensor:
        """Set each kernel to the normalised histogram of displacements from v to A in training.

        Pairs without displacements within the radius get uniform kernels. Biases are reset.

        Args:
            keypoints: `(N, K + C, 2)` pixels (x, y): the keypoints, then the points of the context
                maps.
            visible: `(N, K + C)` bool; None: all visible.
            stride: pixels per cell of the maps.
            taps: odd width of the binomial that smooths the histogram; 1: none.

        Returns:
            `(K, K + C)`, number of displacements of each kernel.

        Raises:
            ValueError: wrong shapes, no visible keypoint at all, or one that is not finite.
        """
        if keypoints.ndim != 3 or keypoints.shape[1:] != (self.num_maps, 2):
            raise ValueError(f"keypoints: expected (N, {self.num_maps}, 2) pixels, got {tuple(keypoints.shape)}")
        visible = torch.ones(keypoints.shape[:2], dtype=torch.bool) if visible is None else visible > 0
        if visible.shape != keypoints.shape[:2]:
            raise ValueError(f"visible: expected {tuple(keypoints.shape[:2])}, got {tuple(visible.shape)}")
        if taps < 1 or taps % 2 == 0:
            raise ValueError(f"taps: expected an odd number, 1 or more, got {taps}")
        visible = visible.to(keypoints.device)
        if not visible.any() or not torch.isfinite(keypoints[visible]).all():
            raise ValueError("keypoints: expected visible ones, all of them finite; mark missing ones in `visible`")

        points = torch.where(visible[..., None], keypoints, 0.0).double()
        # the convolution moves the map of v by its kernel to A, so that the displacement is A minus v
        cells = ((points[:, : self.num_keypoints, None] - points[:, None]) / stride).round().long().flip(-1)  # (y, x)
        radius = cells.new_tensor(self.radius)
        seen = visible[:, : self.num_keypoints, None] & visible[:, None] & (cells.abs() <= radius).all(dim=-1)
        kept_n, kept_a, kept_v = seen.nonzero(as_tuple=True)
        y, x = (cells[kept_n, kept_a, kept_v] + radius).unbind(-1)
        counts = torch.zeros(self.weight.shape, dtype=torch.float64, device=keypoints.device)
        counts.index_put_((kept_a, kept_v, y, x), counts.new_ones(()), accumulate=True)

        binomial = counts.new_tensor([math.comb(taps - 1, tap) for tap in range(taps)]) / 2 ** (taps - 1)
        histogram = blur(F.pad(counts, [taps // 2] * 4), binomial)
        mass = histogram.sum(dim=(-2, -1), keepdim=True)
        kernels = torch.where(mass > 0, histogram / mass.clamp(min=1e-12), self.uniform_kernels().to(counts))
        self.set_kernels(kernels)
        return counts.sum(dim=(-2, -1)).long()

    def uniform_kernels(self) -> Tensor:
        """Return kernels that keep a joint's own map and are uniform for all other pairs."""
        kernels = torch.full(self.weight.shape, 1 / math.prod(self.weight.shape[-2:]), dtype=torch.float64)
        joint = torch.arange(self.num_keypoints)
        kernels[joint, joint] = 0
        kernels[joint, joint, self.radius[0], self.radius[1]] = 1
        return kernels

    @torch.no_grad()
    def set_kernels(self, kernels: Tensor) -> None:
        """Set the parameters whose SoftPlus is `kernels` plus a uniform part, and the bias."""
        spread = (1 - UNIFORM) * kernels + UNIFORM / math.prod(kernels.shape[-2:])
        self.weight.copy_(inverse_softplus(spread, self.beta))
        self.bias.copy_(inverse_softplus(torch.full((), INITIAL_BIAS, dtype=torch.float64), self.beta))


def convolve(maps: Tensor, kernels: Tensor) -> Tensor:
    """Convolve every map with every joint's kernel, zero padded.

    `(B, V, h, w), (K, V, 2 ry + 1, 2 rx + 1) -> (B, K, V, h, w)`, by Fourier transforms, which at
    the size of these kernels take a tenth of the time of sums.
    """
    sizes = (maps.shape[-2], maps.shape[-1])
    if not len(maps):  # which some Fourier libraries refuse
        return maps.new_zeros(0, *kernels.shape[:2], *sizes)
    reach = [min(kernels.shape[axis] // 2, size - 1) for axis, size in zip((-2, -1), sizes, strict=True)]
    middle = [kernels.shape[axis] // 2 for axis in (-2, -1)]
    y, x = (slice(m - r, m + r + 1) for m, r in zip(middle, reach, strict=True))  # no map has longer displacements
    # the shortest periods in which what wraps around stays out of the part that is kept
    period = [fast_length(size + r) for size, r in zip(sizes, reach, strict=True)]
    spectrum = torch.fft.rfft2(maps, s=period)[:, None] * torch.fft.rfft2(kernels[..., y, x], s=period)
    wrapped = torch.fft.irfft2(spectrum, s=period)
    return wrapped[..., reach[0] : reach[0] + sizes[0], reach[1] : reach[1] + sizes[1]]


def fast_length(length: int) -> int:
    """Return the next length without prime factors above 5."""
    rest = length
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    return length if rest == 1 else fast_length(length + 1)


def inverse_softplus(x: Tensor, beta: float) -> Tensor:
    """Invert softplus for positive `x`."""
    return x + torch.log(-torch.expm1(-beta * x)) / beta
