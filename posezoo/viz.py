"""Draw keypoints, heatmaps and attention maps on images, and 3D poses in front, side and top view.

Every function returns new uint8 arrays `(H, W, 3)` and does not modify its input. Positions are (x,
y) pixels of the image; the centre of the top-left pixel is (0, 0). Left, right and middle keypoints
differ in colour, in hues that are safe for colour-blind readers, over a dark outline that keeps
them legible on any background. Keypoints with low scores are faint. Views of 3D poses are
orthographic, so that lengths can be read off a grid.

Draw on the photograph or on the `[0, 1]` input of a model, not on an image normalised by mean and
std.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from posezoo.arrays import check_count, explained
from posezoo.images import load_image_uint8
from posezoo.skeletons import Skeleton, get_skeleton
from posezoo.writing import replacing

# Okabe & Ito, "Color Universal Design": sky blue and orange; near-white for what has no side
LEFT, RIGHT, CENTRE = (86, 180, 233), (230, 159, 0), (240, 240, 240)
SIDE_COLOURS = {"left": LEFT, "right": RIGHT}
RIM = (24, 24, 28)
PAPER, GRID = (38, 40, 46), (66, 69, 78)  # of the views in 3D
GRID_STEP = 500.0  # mm
FAINT = 0.35  # opacity of a keypoint at the threshold
OVERSHOOT = 0.05  # by which floats may exceed [0, 1]
# horizontal, vertical and depth axis of a view: axis of the camera frame (x right, y down, z forward) and its sign
VIEWS = {
    "front": ((0, 1), (1, 1), (2, 1)),  # from the camera
    "side": ((2, 1), (1, 1), (0, -1)),  # from the right of the image; the camera is on the left
    "top": ((0, 1), (2, -1), (1, 1)),  # from above; the camera is below
}
# heatmap colours at 0, 0.2 ... 1: dark violet to pale yellow, rising evenly in lightness
HEAT = np.array([(40, 11, 84), (114, 25, 110), (184, 50, 88), (232, 97, 50), (252, 165, 20), (252, 250, 160)])


@explained
def draw_keypoints(
    image: Any,
    keypoints: Any,
    skeleton: str | Skeleton | Sequence[str],
    *,
    scores: Any = None,
    threshold: float = 0.3,
    boxes: Any = None,
    line_width: float | None = None,
    radius: float | None = None,
    names: bool = False,
    legend: bool = False,
    labels: Sequence[str] | None = None,
) -> np.ndarray:
    """Draw the poses of one or more people, in pixels of the image, on a copy of it.

    Args:
        image: an image as `posezoo.predict` takes it: a path, a PIL image, an array or a tensor.
            The channels of arrays and tensors may come first or last.
        keypoints: `(K, 2)` or `(N, K, 2)` pixels. Points may lie outside the image; points that are
            not finite are not drawn.
        skeleton: a name, a `Skeleton` or a list of K names. Names determine the sides, a skeleton
            also the bones.
        scores: `(K,)` or `(N, K)`, or a mask as `posezoo.skeletons.convert` returns it. Defaults to
            drawing all.
        threshold: lowest score of a drawn keypoint. Bones are drawn between drawn keypoints only.
            Keypoints below twice the threshold are faint, and so are their bones.
        boxes: `(4,)` or `(M, 4)`, `x1 y1 x2 y2` in pixels, drawn as thin frames. Defaults to none.
        line_width: width of a bone in pixels. Defaults to a width that follows the image's and the
            person's size.
        radius: radius of a keypoint in pixels. Defaults to one line width.
        names: whether to write the name beside each drawn keypoint.
        legend: whether to explain the colours, in the bottom left corner.
        labels: a text for each of the N people, above their topmost drawn keypoint. Defaults to
            none.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: an image, keypoints, scores or boxes of other shapes or ranges.

    Examples:
        >>> pose = np.array([[30.0, 20.0], [10.0, 40.0], [50.0, 40.0]])
        >>> names = ["nose", "left_hand", "right_hand"]
        >>> picture = draw_keypoints(np.zeros((48, 64, 3), np.uint8), pose, names)
        >>> picture[20, 30].tolist(), picture[40, 10].tolist()
        ([240, 240, 240], [86, 180, 233])
    """
    canvas = _canvas(image)
    skeleton = get_skeleton(skeleton)
    people = _numbers("keypoints", keypoints, (len(skeleton), 2), f"(x, y) of each keypoint of {skeleton.name!r}")
    # a comparison with NaN is false, and a million pixels away a point is as good as infinite
    shown = (np.abs(people) < 1e6).all(axis=-1)
    opacity = np.ones(shown.shape)
    if scores is not None:
        values = _numbers("scores", scores, (len(skeleton),), f"one per keypoint of {skeleton.name!r}")
        if len(values) != len(people):
            raise ValueError(f"got keypoints of {len(people)} people and scores of {len(values)}; both need the same N")
        shown &= values >= threshold
        if threshold > 0:
            opacity = np.clip(FAINT + (1 - FAINT) * (np.nan_to_num(values) / threshold - 1), FAINT, 1)
    for name, size in (("line_width", line_width), ("radius", radius)):
        if size is not None and not 0 < size < math.inf:
            raise ValueError(f"{name} must be a positive number of pixels, got {size}")

    widest = max(1.5, 0.0075 * min(canvas.shape[:2]))
    if boxes is not None:
        frames = _numbers("boxes", boxes, (4,), "x1 y1 x2 y2 in pixels")
        if not (np.abs(frames) < 1e6).all():
            raise ValueError(f"boxes must be finite, got {frames.tolist()}; leave out the ones that are not")
        for x1, y1, x2, y2 in frames:
            corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
            sides = [(corners[i - 1], corners[i], 0.25 * widest, CENTRE, 1.0) for i in range(4)]
            _draw(canvas, sides, rim=0.2 * widest)

    colours = _side_colours(skeleton)
    for person, seen, sure in zip(people, shown, opacity, strict=True):
        if not seen.any():
            continue
        # thinner lines for small people, whom they would otherwise cover, down to a visible minimum
        extent = np.ptp(person[seen], axis=0).max()
        width = line_width or min(widest, max(1.5, widest / 3, 0.03 * extent))
        bones = [
            (person[a], person[b], width / 2, _bone_colour(colours[a], colours[b]), min(sure[a], sure[b]))
            for a, b in skeleton.bones
            if seen[a] and seen[b]
        ]
        dots = [(person[i], person[i], radius or width, colours[i], sure[i]) for i in np.flatnonzero(seen)]
        _draw(canvas, bones, rim=max(0.75, 0.3 * width))
        _draw(canvas, dots, rim=max(0.75, 0.25 * width))
    if names:
        named = [(person[i], skeleton.keypoints[i], colours[i]) for person, seen in zip(people, shown, strict=True)
                 for i in np.flatnonzero(seen)]  # fmt: skip
        canvas = _write(canvas, [((x + 1.5 * widest, y), text, colour) for (x, y), text, colour in named])
    if labels is not None:
        tops = [min(person[seen], key=lambda point: point[1], default=None) for person, seen in
                zip(people, shown, strict=True)]  # fmt: skip
        line = _text_size(canvas)
        canvas = _write(canvas, [((top[0], max(top[1] - 1.5 * line, 0.6 * line)), text, CENTRE)
                                 for top, text in zip(tops, labels, strict=True) if top is not None])  # fmt: skip
    if legend:
        meanings = {LEFT: "left of the person", RIGHT: "right of the person", CENTRE: "middle"}
        used = [(colour, text) for colour, text in meanings.items() if colour in colours]
        line = _text_size(canvas)
        lowest = canvas.shape[0] - 1.5 * line * (len(used) - 0.5)
        canvas = _write(canvas, [((line / 2, lowest + 1.5 * line * n), text, c) for n, (c, text) in enumerate(used)])
    return canvas


@explained
def draw_heatmaps(image: Any, heatmaps: Any, *, alpha: float = 0.7) -> np.ndarray:
    """Overlay the maximum of K heatmaps on the image.

    Cell i of a heatmap lies on pixel i * stride, with stride H/h down and W/w across, linear in
    between. Colours are relative to the highest value. The image is unchanged where values are 0 or
    less.

    Args:
        image: as in `draw_keypoints`.
        heatmaps: `(K, h, w)` or one `(h, w)`, array or tensor.
        alpha: opacity of the highest value, in `[0, 1]`.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: an invalid image, heatmaps of another shape or not finite, or an alpha outside
            `[0, 1]`.

    Examples:
        >>> heatmaps = np.zeros((17, 12, 16))
        >>> heatmaps[0, 5, 8] = 1.0
        >>> picture = draw_heatmaps(np.zeros((48, 64, 3), np.uint8), heatmaps)
        >>> divmod(int(picture.sum(-1).argmax()), 64)          # 5 and 8 times the stride of 4
        (20, 32)
    """
    canvas = _canvas(image)
    return _overlay(canvas, _heatmaps(heatmaps).max(axis=0), alpha)


@explained
def heatmap_grid(
    image: Any, heatmaps: Any, names: str | Skeleton | Sequence[str] | None = None, *, alpha: float = 0.7
) -> np.ndarray:
    """Draw the image under each of K heatmaps, relative to their maxima, as a contact sheet.

    Args:
        image: as in `draw_keypoints`.
        heatmaps: `(K, h, w)`, array or tensor, aligned as in `draw_heatmaps`.
        names: labels of the tiles: a skeleton or K names. Defaults to none.
        alpha: opacity of the highest value, in `[0, 1]`.

    Returns:
        uint8 `(rows * H, columns * W, 3)`, as nearly square as possible; unused tiles are black.

    Raises:
        ValueError: as in `draw_heatmaps`; another number of names than K.

    Examples:
        >>> heatmap_grid(np.zeros((48, 64, 3), np.uint8), np.zeros((17, 12, 16)), "coco17").shape
        (192, 320, 3)
    """
    canvas, maps = _canvas(image), _heatmaps(heatmaps)
    return contact_sheet([_overlay(canvas, heatmap, alpha) for heatmap in maps], _labels(names, len(maps)))


@explained
def contact_sheet(
    pictures: Iterable[Any], labels: Sequence[str] | None = None, *, columns: int | None = None
) -> np.ndarray:
    """Arrange images of one size in a grid, row by row.

    Args:
        pictures: one or more images, as in `draw_keypoints`.
        labels: one label per image. Defaults to none.
        columns: images per row. Defaults to a nearly square grid.

    Returns:
        uint8 `(rows * H, columns * W, 3)`; unused tiles are black.

    Raises:
        ValueError: no images, images of several sizes, another number of labels, or no columns.

    Examples:
        >>> contact_sheet([np.zeros((10, 20, 3), np.uint8)] * 5).shape
        (20, 60, 3)
    """
    tiles = [_canvas(picture) for picture in pictures]
    labels = [""] * len(tiles) if labels is None else labels
    if not tiles or {tile.shape for tile in tiles} != {tiles[0].shape} or len(labels) != len(tiles):
        sizes = ", ".join(sorted({f"{width} x {height}" for height, width, _ in (tile.shape for tile in tiles)}))
        raise ValueError(
            f"expected one or more pictures of one size with a label each, got {len(tiles)} pictures"
            f"{' of ' * bool(sizes)}{sizes} and {len(labels)} labels"
        )
    columns = math.ceil(math.sqrt(len(tiles))) if columns is None else columns
    check_count(columns, "columns")
    rows = math.ceil(len(tiles) / columns)
    height, width, _ = tiles[0].shape
    sheet = np.zeros((rows * height, columns * width, 3), dtype=np.uint8)
    for i, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        top, left = i // columns * height, i % columns * width
        sheet[top : top + height, left : left + width] = _label(tile, label)
    return sheet


@explained
def draw_attention(
    image: Any,
    weights: Any,
    names: str | Skeleton | Sequence[str] | None = None,
    *,
    keypoints: Any = None,
    alpha: float = 0.7,
) -> np.ndarray:
    """Draw a contact sheet of the attention maps of K keypoints, with the predicted keypoints.

    Cell i of a map covers the pixels from i * stride to (i + 1) * stride, with stride H/h down and
    W/w across. Values are interpolated linearly between the centres of cells. Colours are relative
    to the highest value of each map.

    Args:
        image: as in `draw_keypoints`; the input of the network.
        weights: attention maps `(K, h, w)` of one image, not negative, array or tensor, as
            `PoseAttentionLSTM.attend` returns them.
        names: labels of the tiles: a skeleton or K names. Defaults to none.
        keypoints: `(K, 2)` pixels of the image, each drawn as a dot on its own tile. Defaults to
            none.
        alpha: opacity of the highest value, in `[0, 1]`.

    Returns:
        uint8 `(rows * H, columns * W, 3)`, as nearly square as possible; unused tiles are black.

    Raises:
        ValueError: as in `draw_heatmaps`; another number of names or keypoints than K.

    Examples:
        >>> weights = np.zeros((16, 3, 4))
        >>> weights[:, 1, 2] = 1.0
        >>> image, keypoints = np.zeros((48, 64, 3), np.uint8), np.full((16, 2), 40.0)
        >>> sheet = draw_attention(image, weights, "mpii16", keypoints=keypoints)
        >>> sheet.shape
        (192, 256, 3)
    """
    canvas, maps = _canvas(image), _heatmaps(weights)
    tiles = [_overlay(canvas, cells, alpha, blocks=True) for cells in maps]
    if keypoints is not None:
        points = _numbers("keypoints", keypoints, (len(maps), 2), "(x, y) of each map's keypoint")
        if len(points) != 1:
            raise ValueError(f"keypoints must be those of one person, ({len(maps)}, 2), got {len(points)} people")
        tiles = [draw_keypoints(tile, point[None], ["keypoint"]) for tile, point in zip(tiles, points[0], strict=True)]
    return contact_sheet(tiles, _labels(names, len(tiles)))


@explained
def draw_pose3d(
    pose3d: Any,
    skeleton: str | Skeleton | Sequence[str],
    *,
    views: Sequence[str] = tuple(VIEWS),
    size: int = 256,
    bounds: Any = None,
) -> np.ndarray:
    """Draw a 3D pose in front, side and top view, side by side, over a grid in millimetres.

    Args:
        pose3d: `(K, 3)` or `(N, K, 3)` mm in the camera frame: x right, y down, z forward. Points
            that are not finite are not drawn.
        skeleton: as in `draw_keypoints`.
        views: some of "front", from the camera; "side", from the right of its image, with the
            camera on the left; "top", from above, with the camera at the bottom.
        size: height and width of a view in pixels.
        bounds: `(2, 3)` mm, lowest and highest coordinates shown; the views share their centre and
            scale. Defaults to those of the pose. Frames of a video need the bounds of the whole
            video to have one scale.

    Returns:
        uint8 `(size, len(views) * size, 3)`.

    Raises:
        ValueError: an invalid pose, view, size or bounds.

    Examples:
        >>> arm = Skeleton("arm", ("left_elbow", "left_wrist"), bones=((0, 1),))
        >>> picture = draw_pose3d([[0, 0, 0], [0, 250, 0]], arm, views=["front"], size=101)
        >>> picture[50, 50].tolist()                                            # between them
        [86, 180, 233]
    """
    skeleton = get_skeleton(skeleton)
    people = _numbers("pose3d", pose3d, (len(skeleton), 3), f"x y z in mm of each keypoint of {skeleton.name!r}")
    unknown = [view for view in views if view not in VIEWS]
    if unknown or not views:
        raise ValueError(f"views: expected some of {', '.join(VIEWS)}, got {', '.join(map(repr, unknown)) or 'none'}")
    if not isinstance(size, int) or size < 16:
        raise ValueError(f"size: expected a whole number of pixels, 16 or more, got {size!r}")
    low, high = _check_bounds(pose3d_bounds(people) if bounds is None else bounds)
    return np.concatenate([_view(people, skeleton, view, size, low, high) for view in views], axis=1)


@explained
def pose3d_bounds(poses: Any) -> np.ndarray:
    """Compute the lowest and highest finite coordinates `(2, 3)` of poses `(..., K, 3)`, or zeros.

    Examples:
        >>> pose3d_bounds([[0.0, 5, 0], [9, 1, np.nan], [2, -3, 4]]).tolist()
        [[0.0, -3.0, 0.0], [2.0, 5.0, 4.0]]
    """
    points = _to_numpy(poses).astype(np.float64)
    if points.ndim < 2 or points.shape[-1] != 3:
        raise ValueError(f"poses must be (..., K, 3), x y z in mm, got {points.shape}")
    points = points[(np.abs(points) < 1e9).all(axis=-1)]
    return np.stack([points.min(axis=0), points.max(axis=0)]) if len(points) else np.zeros((2, 3))


@explained
def pose3d_pictures(
    poses: Any,
    skeleton: str | Skeleton | Sequence[str],
    *,
    images: Iterable[Any] | None = None,
    views: Sequence[str] = tuple(VIEWS),
    size: int = 256,
    bounds: Any = None,
) -> Iterator[np.ndarray]:
    """Draw every frame of a video with `draw_pose3d`, in one scale.

    For `save_gif` and `contact_sheet`; the drawings are made one at a time.

    Args:
        poses: `(T, K, 3)` mm.
        skeleton: as in `draw_pose3d`.
        images: T images as in `draw_keypoints`, of any size, fitted into a square on the left of
            the views. Defaults to none.
        views: as in `draw_pose3d`.
        size: as in `draw_pose3d`.
        bounds: as in `draw_pose3d`. Defaults to those of the whole video.

    Yields:
        uint8 `(size, len(views) * size, 3)`, with `images` one square more.

    Raises:
        ValueError: as in `draw_pose3d`; another number of images than of poses.

    Examples:
        >>> video = np.random.default_rng(0).normal(0, 300, (5, 17, 3))
        >>> [picture.shape for picture in pose3d_pictures(video, "h36m17", size=64)]
        [(64, 192, 3), (64, 192, 3), (64, 192, 3), (64, 192, 3), (64, 192, 3)]
    """
    frames = _to_numpy(poses)
    if frames.ndim != 3:
        raise ValueError(f"poses must be (T, K, 3), x y z in mm of each frame, got {frames.shape}")
    limits = pose3d_bounds(frames) if bounds is None else _check_bounds(bounds)

    def draw() -> Iterator[np.ndarray]:
        shown = iter(()) if images is None else iter(images)
        for number, pose in enumerate(frames):
            picture = draw_pose3d(pose, skeleton, views=views, size=size, bounds=limits)
            if images is not None:
                image = next(shown, None)
                if image is None:
                    raise ValueError(f"got {number} images for {len(frames)} poses; pass one per frame")
                picture = np.concatenate([_fit(_canvas(image), size), picture], axis=1)
            yield picture
        if next(shown, None) is not None:
            raise ValueError(f"got more images than {len(frames)} poses; pass one per frame")

    return draw()


def save_gif(path: str | Path, pictures: Iterable[Any], *, fps: float = 25.0) -> Path:
    """Write an endlessly repeating animated GIF, with 256 colours per frame.

    Images are consumed one at a time. The file appears when it is complete, and not at all after an
    error.

    Args:
        path: the file to write.
        pictures: one or more images of one size, as in `draw_keypoints`.
        fps: frames per second. The format has a resolution of 0.01 s, and viewers play at most 50
            frames per second.

    Raises:
        ValueError: no images, images of several sizes, or an fps that is not positive.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> pictures = [np.full((20, 30, 3), grey, np.uint8) for grey in range(7)]
        >>> file = save_gif(Path(tempfile.mkdtemp(), "grey.gif"), pictures)
        >>> Image.open(file).n_frames
        7
    """
    from PIL import GifImagePlugin, Image, ImageChops

    if not 0 < fps < math.inf:
        raise ValueError(f"fps: expected a positive number, got {fps}")
    if not isinstance(pictures, Iterable):
        raise ValueError(f"pictures: expected several, got {type(pictures).__name__}")
    path, clock, before = Path(path), 0.0, None
    # frame by frame: Pillow's own writer collects all frames in memory
    with replacing(path) as part, part.open("wb") as file:
        for picture in map(Image.fromarray, map(_canvas, pictures)):
            if before is not None and picture.size != before.size:
                (width, height), (w, h) = before.size, picture.size
                raise ValueError(f"expected pictures of one size, {width} x {height}, got {w} x {h}")
            # the rounding error of a delay is carried over to the next frame, so that it does not add up
            clock += max(100 / fps, 2.0)
            delay = round(clock)
            clock -= delay
            # the part that changed, or one pixel for the time
            part_of = (0, 0, *picture.size) if before is None else ImageChops.difference(before, picture).getbbox()
            changed = picture.crop(part_of or (0, 0, 1, 1))
            # fifty times faster than the default method, at twice the error
            frame = changed.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
            if before is None:
                file.writelines(GifImagePlugin.getheader(frame, info={"loop": 0})[0])
            corner, own = (part_of or (0, 0))[:2], before is not None  # palette
            file.writelines(GifImagePlugin.getdata(frame, corner, duration=10 * delay, include_color_table=own))
            before = picture
        if before is None:
            raise ValueError("expected at least one picture, got none")
        file.write(b";")
    return path


Stroke = tuple[Any, Any, float, tuple[int, int, int], float]  # start, end, half width, colour, opacity


def _draw(canvas: np.ndarray, strokes: Sequence[Stroke], rim: float) -> None:
    """Draw strokes, all outlines first, so that none cuts through the colour of a neighbour."""
    for start, end, half_width, _, opacity in strokes:
        _stroke(canvas, start, end, half_width + rim, RIM, opacity)
    for start, end, half_width, colour, opacity in strokes:
        _stroke(canvas, start, end, half_width, colour, opacity)


def _stroke(
    canvas: np.ndarray, start: Any, end: Any, half_width: float, colour: tuple[int, int, int], opacity: float
) -> None:
    """Draw an anti-aliased line with round ends, or a disc where start is end."""
    start, end = sorted((np.asarray(start, dtype=float), np.asarray(end, dtype=float)), key=lambda point: point[1])
    dx, dy = end - start
    height, width, _ = canvas.shape
    reach = half_width + 1
    y0, y1 = np.clip([start[1] - reach, end[1] + reach + 1], 0, height).astype(int)
    # in bands of rows, each only as wide as the line there: the bounding box of a long slanted line is mostly empty
    for top in range(y0, y1, 64):
        bottom = min(top + 64, y1)
        ends = np.clip((np.array([top - reach, bottom + reach]) - start[1]) / max(dy, 1e-6), 0, 1) * dx + start[0]
        x0, x1 = np.clip([ends.min() - reach, ends.max() + reach + 1], 0, width).astype(int)
        x, y = np.arange(x0, x1) - start[0], np.arange(top, bottom)[:, None] - start[1]
        along = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
        distance = np.hypot(x - along * dx, y - along * dy)
        cover = opacity * np.clip(half_width + 0.5 - distance, 0, 1)[..., None]
        region = canvas[top:bottom, x0:x1]
        region[...] = np.rint(region + cover * (np.array(colour) - region))


def _side_colours(skeleton: Skeleton) -> list[tuple[int, int, int]]:
    try:
        sides: Sequence[str] = skeleton.sides
    except ValueError:  # a single arm lacks its mirror image; the names still tell the side
        sides = [keypoint.partition("_")[0] for keypoint in skeleton.keypoints]
    return [SIDE_COLOURS.get(side, CENTRE) for side in sides]


def _bone_colour(a: tuple[int, int, int], b: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the colour of a bone; one from the middle to a side belongs to that side."""
    sides = {a, b} - {CENTRE}
    return sides.pop() if len(sides) == 1 else CENTRE


def _view(
    people: np.ndarray, skeleton: Skeleton, view: str, size: int, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Draw one view of `draw_pose3d`."""
    canvas = np.full((size, size, 3), PAPER, dtype=np.uint8)
    axes, signs = (np.array(part) for part in zip(*VIEWS[view], strict=True))
    scale = 0.84 * size / max(float((high - low).max()), 1.0)
    placed = ((people - (low + high) / 2) * scale)[..., axes] * signs
    placed[..., :2] += (size - 1) / 2
    origin = (-(low + high) / 2 * scale)[axes] * signs + (size - 1) / 2

    step = GRID_STEP
    while size / (step * scale) > 12:
        step *= 10
    for lines, start in ((canvas.swapaxes(0, 1), origin[0]), (canvas, origin[1])):  # columns, then rows
        lines[np.rint(np.arange(start % (step * scale), size - 0.5, step * scale)).astype(int)] = GRID
        lines[-1] = RIM  # separates the views
    canvas = np.array(_label(canvas, f"{view}, grid {step / 1000:g} m"))

    width = max(2.0, 0.014 * size)
    colours = _side_colours(skeleton)
    strokes = []
    for person in placed:
        there = (np.abs(person) < 1e6).all(axis=-1)  # false for NaN
        for a, b in skeleton.bones:
            if there[a] and there[b]:
                colour = _bone_colour(colours[a], colours[b])
                strokes.append((person[a, 2] + person[b, 2], (person[a, :2], person[b, :2], width / 2, colour, 1.0)))
        for k in np.flatnonzero(there):
            # nearer than the bones that end in it, so that they do not cover it
            strokes.append((2 * person[k, 2] - width, (person[k, :2], person[k, :2], 0.8 * width, colours[k], 1.0)))
    strokes.sort(key=lambda stroke: -stroke[0])  # near strokes cover far ones
    _draw(canvas, [stroke for _, stroke in strokes], rim=0.3 * width)
    return canvas


def _check_bounds(bounds: Any) -> np.ndarray:
    limits = _to_numpy(bounds).astype(np.float64)
    if limits.shape != (2, 3) or not np.isfinite(limits).all() or (limits[0] > limits[1]).any():
        raise ValueError(f"bounds must be (2, 3), the lowest and the highest x y z in mm, got {limits.tolist()}")
    return limits


def _fit(picture: np.ndarray, size: int) -> np.ndarray:
    """Scale an image to fit into a square of `size` and centre it there."""
    from PIL import Image

    height, width, _ = picture.shape
    factor = size / max(height, width)
    fitted = Image.fromarray(picture).resize((max(1, round(width * factor)), max(1, round(height * factor))))
    square = Image.new("RGB", (size, size), PAPER)
    square.paste(fitted, ((size - fitted.width) // 2, (size - fitted.height) // 2))
    return np.array(square)


def _labels(names: str | Skeleton | Sequence[str] | None, count: int) -> Sequence[str]:
    labels = get_skeleton(names).keypoints if names is not None else ("",) * count
    if len(labels) != count:
        raise ValueError(f"got {len(labels)} names for {count} heatmaps; pass one name per heatmap")
    return labels


def _overlay(canvas: np.ndarray, heatmap: np.ndarray, alpha: float, *, blocks: bool = False) -> np.ndarray:
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    peak = heatmap.max()
    if peak <= 0:
        return canvas.copy()
    height, width, _ = canvas.shape
    value = _resize_rows(np.clip(heatmap / peak, 0, 1), height, blocks)
    value = _resize_rows(value.T, width, blocks).T
    knots = np.linspace(0, 1, len(HEAT))
    colour = np.stack([np.interp(value, knots, channel) for channel in HEAT.T], axis=-1)
    # the square root makes the flanks of a Gaussian visible
    cover = alpha * np.sqrt(value)[..., None]
    return np.rint(canvas + cover * (colour - canvas)).astype(np.uint8)


def _resize_rows(values: np.ndarray, length: int, blocks: bool) -> np.ndarray:
    """Interpolate linearly along the first axis, with cell i at i * stride.

    Constant beyond the last cell. With `blocks` cell i is at the centre of the pixels from there to
    the next cell.
    """
    offset = (length / len(values) - 1) / 2 if blocks else 0.0
    position = np.clip((np.arange(length) - offset) * (len(values) / length), 0, len(values) - 1)
    below = position.astype(int)
    above = np.minimum(below + 1, len(values) - 1)
    fraction = (position - below)[:, None]
    return values[below] * (1 - fraction) + values[above] * fraction


def _label(picture: np.ndarray, text: str) -> np.ndarray:
    if not text:
        return picture
    from PIL import Image, ImageDraw

    tile = Image.fromarray(picture)
    ImageDraw.Draw(tile).text((4, 2), text, fill=CENTRE, stroke_width=1, stroke_fill=RIM)
    return np.asarray(tile)


def _text_size(canvas: np.ndarray) -> int:
    return max(10, round(0.022 * min(canvas.shape[:2])))


def _write(canvas: np.ndarray, texts: Sequence[tuple[Any, str, tuple[int, int, int]]]) -> np.ndarray:
    """Write texts, each centred vertically on its position `(x, y)`, with a dark outline."""
    from PIL import Image, ImageDraw, ImageFont

    picture, size = Image.fromarray(canvas), _text_size(canvas)
    try:
        font: Any = ImageFont.load_default(size)
    except TypeError:  # Pillow 10.0 has one size only
        font = ImageFont.load_default()
    pen = ImageDraw.Draw(picture)
    for (x, y), text, colour in texts:
        pen.text((x, y - 0.6 * size), text.replace("_", " "), fill=colour, font=font, stroke_width=1, stroke_fill=RIM)
    return np.array(picture)


def _canvas(image: Any) -> np.ndarray:
    """Load an image as a new uint8 array `(H, W, 3)`; channels may come first or last."""
    if isinstance(image, np.ndarray | torch.Tensor) and 0 not in image.shape:
        if image.ndim == 4:
            raise ValueError(f"image: expected one, got a batch of shape {tuple(image.shape)}; draw image[i]")
        # where both layouts fit, `load_image` takes channels last for an array and first for a tensor
        first, last = image.ndim == 3 and image.shape[0] == 3, image.shape[-1] == 3
        if isinstance(image, np.ndarray) and first and not last:
            image = np.moveaxis(image, 0, -1)
        elif isinstance(image, torch.Tensor) and last and not first:
            image = image.movedim(-1, 0)
        # resampling overshoots a little; larger values are 0 to 255, or normalised, and an error of `load_image`
        floating = image.dtype.kind == "f" if isinstance(image, np.ndarray) else image.is_floating_point()
        if floating and image.min() >= -OVERSHOOT and image.max() <= 1 + OVERSHOOT:
            image = image.clip(0, 1)
    # a copy, as grey images share one channel and others may share the caller's memory
    return load_image_uint8(image).movedim(0, -1).numpy().copy()


def _numbers(name: str, values: Any, shape: tuple[int, ...], meaning: str) -> np.ndarray:
    """Convert to float64 `(N, *shape)`, where a single `shape` is N = 1."""
    array = _to_numpy(values).astype(np.float64)
    if array.shape == shape:
        array = array[None]
    if array.shape[1:] != shape:
        sizes = ", ".join(map(str, shape))
        single = f"({sizes},)" if len(shape) == 1 else f"({sizes})"
        raise ValueError(f"{name} must be {single} or (N, {sizes}), {meaning}; got {array.shape}")
    return array


def _heatmaps(heatmaps: Any) -> np.ndarray:
    maps = _to_numpy(heatmaps).astype(np.float64)
    if maps.ndim == 2:
        maps = maps[None]
    if maps.ndim != 3 or 0 in maps.shape:
        raise ValueError(f"heatmaps must be (K, h, w) of one image, got {maps.shape}; of a batch draw heatmaps[i]")
    if not np.isfinite(maps).all():
        raise ValueError("heatmaps must be finite, these hold NaN or infinity; check the weights and the input")
    return maps


def _to_numpy(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        # NumPy has no bfloat16
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    array = np.asarray(values)
    if array.dtype.kind == "c":
        raise ValueError(f"expected real numbers, got {array.dtype}")
    return array
