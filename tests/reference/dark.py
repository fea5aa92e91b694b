"""DARK's decoding in loops over NumPy arrays, from the formulas of its section 3.2; shares nothing
with the package.
"""

import math

import numpy as np


def smooth(heatmap: np.ndarray, width: int = 11, sigma: float = 2.0) -> np.ndarray:
    """Convolution with a `width x width` Gaussian of sum 1, zeros outside, scaled back to the old
    maximum (Eq. 11).
    """
    reach = width // 2
    kernel = [
        [math.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma)) for dx in range(-reach, reach + 1)]
        for dy in range(-reach, reach + 1)
    ]
    total = sum(map(sum, kernel))
    rows, columns = heatmap.shape
    result = np.zeros((rows, columns))
    for row in range(rows):
        for column in range(columns):
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    if 0 <= row + dy < rows and 0 <= column + dx < columns:
                        weight = kernel[dy + reach][dx + reach] / total
                        result[row, column] += weight * heatmap[row + dy, column + dx]
    return result * heatmap.max() / result.max()


def decode(heatmap: np.ndarray) -> tuple[float, float]:
    """(x, y) in cells: the highest cell plus one Newton step on the log of the smoothed map (Eq. 6
    to 8).

    First differences over two cells, second differences over four, as the authors take them; cells
    too near the border for those stay where they are.
    """
    rows, columns = heatmap.shape
    y, x = (int(i) for i in np.unravel_index(heatmap.argmax(), heatmap.shape))
    if not (1 < x < columns - 2 and 1 < y < rows - 2):
        return float(x), float(y)
    log = np.log(np.maximum(smooth(heatmap), 1e-10))
    gradient = np.array([log[y, x + 1] - log[y, x - 1], log[y + 1, x] - log[y - 1, x]]) / 2
    across = (log[y + 1, x + 1] - log[y - 1, x + 1] - log[y + 1, x - 1] + log[y - 1, x - 1]) / 4
    hessian = np.array(
        [
            [(log[y, x + 2] - 2 * log[y, x] + log[y, x - 2]) / 4, across],
            [across, (log[y + 2, x] - 2 * log[y, x] + log[y - 2, x]) / 4],
        ]
    )
    step = -np.linalg.solve(hessian, gradient)
    return float(x + step[0]), float(y + step[1])
