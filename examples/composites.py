"""Pictures of any number of people, composed of photographs and of renders.

A canvas is split into tiles, each a part of a photograph, or filled with a drawn pattern; mostly it
has one tile. Then rendered people are pasted by their masks, in numbers, sizes and overlaps, and
drawn patterns in front of people's lower parts, as tables are. The boxes are those of the people's
visible parts.

The photographs have one labelled person each, and others. Labels of everybody come from a detector
(`tools/label_people.py`): where it is sure there is a person, where it is in doubt the picture is
ignored, and elsewhere there is nobody. Without such labels all but the person is doubtful: a
detector that finds somebody there is neither right nor wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import Dataset

from posezoo.geometry import box_iou

from data_sources import People
from render_clips import drawn_background

CELL = 8  # pixels for each entry of the doubt
MOST = 40  # people of a canvas
MARGIN = 0.08  # of the longer side of the joints' box, up to the outline of the body
FEWEST = 11  # visible joints of a person whose box is known
TILES = ((1, 0.6), (2, 0.13), (3, 0.08), (4, 0.11), (6, 0.08))  # number and probability
SMALLEST = 14  # pixels of a person's longer side
PERSON_IN_TILE = (0.3, 2.0)  # longer side of a person, in units of the tile's shorter side
ENLARGED = 3.0  # at most, of a photograph
FILLED = 0.7  # probability that a photograph is enlarged to cover its tile
SHOWN = 0.25  # part of a person that has to be visible for a label
PATTERN = 0.06  # probability of a tile without a photograph
PASTED = 0.35  # probability of rendered people
MOST_PASTED = 6
COVERED = 0.25  # probability of patterns in front of people
SURE, UNSURE = 0.45, 0.2  # scores of the detector: a person, and doubt
SAME = 0.5  # intersection over union of the labelled person and the detector's
WITHIN = 0.7  # part of a doubtful box in a person's from which on it is not a second one
NOBODY = -1  # owner of the pixels of photographs and patterns
FRONT = -2  # owner of the pixels of patterns in front
CERTAIN, DOUBTFUL, IGNORED = 0, 1, 2


@dataclass
class Canvas:
    """A picture in the making: pixels, doubt, people, and the number of the person at each pixel."""

    pixels: np.ndarray
    doubt: np.ndarray
    owner: np.ndarray
    boxes: list[np.ndarray] = field(default_factory=list)  # without occlusion
    outlined: list[bool] = field(default_factory=list)  # whether the owner map has the outline
    sizes: list[float] = field(default_factory=list)  # pixels of the whole person


class Composites(Dataset[dict[str, Any]]):
    """Composed pictures of people.

    Args:
        people: one person per image.
        renders: folder of `examples/render_people.py`, or None.
        labels: files of `tools/label_people.py`; photographs that are not in them are left out.
        size: side of the square canvas, pixels.
        count: pictures per epoch.
        seed: of the pictures. Defaults to new ones in every epoch, by torch's random generator.

    Yields dictionaries of

        image   (3, size, size) float, RGB in [0, 1]
        boxes   (MOST, 4) pixels, NaN behind the last person
        doubt   (size / CELL, size / CELL) uint8: CERTAIN, DOUBTFUL, IGNORED
    """

    def __init__(
        self,
        people: People,
        renders: Path | None,
        labels: Sequence[Path] = (),
        *,
        size: int,
        count: int,
        seed: int | None = None,
    ) -> None:
        joints = people.visible.sum(dim=1)
        names = list(people.skeleton.keypoints)
        feet = people.visible[:, [names.index("left_ankle"), names.index("right_ankle")]].any(dim=1)
        self.rows = ((joints >= min(FEWEST, len(names))) & feet).nonzero()[:, 0].tolist()
        self.people, self.size, self.count, self.seed = people, size, count, seed
        self.numbers = [number for part in people.parts for number in part.numbers]
        self.everybody: dict[int, tuple[np.ndarray, np.ndarray]] | None = None
        if labels:
            self.everybody = {number: found for file in labels for number, found in read_labels(file).items()}
            self.rows = [row for row in self.rows if self._number(row) in self.everybody]
        self.images = self.masks = None
        if renders is not None:
            self.images = np.load(renders / "images.npy", mmap_mode="r")
            self.masks = np.load(renders / "masks.npy", mmap_mode="r")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        number = int(torch.randint(2**31, ())) if self.seed is None else self.seed
        random = np.random.default_rng([number, index])
        canvas = Canvas(
            np.zeros((self.size, self.size, 3), np.uint8),
            np.zeros((self.size, self.size), np.uint8),
            np.full((self.size, self.size), NOBODY, np.int16),
        )
        counts, shares = zip(*TILES, strict=True)
        for left, top, right, bottom in split(self.size, int(random.choice(counts, p=shares)), random):
            self._fill(canvas, (left, top, right, bottom), random)
        if self.images is not None and random.random() < PASTED:
            self._paste(canvas, random)
        if random.random() < COVERED:
            cover(canvas, random)
        boxes = labels(canvas)[:MOST]
        if random.random() < 0.1:
            canvas.pixels = np.asarray(Image.fromarray(canvas.pixels).convert("L").convert("RGB"))
        padded = torch.full((MOST, 4), torch.nan)
        if boxes:
            padded[: len(boxes)] = torch.from_numpy(np.stack(boxes)).float()
        middle = CELL // 2
        return {
            "image": torch.from_numpy(canvas.pixels.copy()).permute(2, 0, 1).float() / 255,
            "boxes": padded,
            "doubt": torch.from_numpy(canvas.doubt[middle::CELL, middle::CELL].copy()),
        }

    def _number(self, row: int) -> int:
        """Number of a person's photograph."""
        return self.numbers[int(self.people.rows[row])]

    def _people(self, row: int, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes `(N, 4)` of everybody in a photograph, and doubtful boxes `(M, 4)`."""
        if self.everybody is None:
            return own[None], np.array([[0.0, 0.0, *self.people[row]["image"].shape[:0:-1]]])
        boxes, scores = self.everybody[self._number(row)]
        return sorted_out(own, boxes, scores)

    def _fill(self, canvas: Canvas, tile: tuple[int, int, int, int], random: np.random.Generator) -> None:
        """Fill a tile with a part of a photograph, or with a pattern."""
        left, top, right, bottom = tile
        width, height = right - left, bottom - top
        place = np.s_[top:bottom, left:right]
        if random.random() < PATTERN:
            drawn = drawn_background(64, random).clamp(0, 1).permute(1, 2, 0).numpy()
            picture = Image.fromarray((drawn * 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
            canvas.pixels[place] = np.asarray(picture)
            return
        row = self.rows[int(random.integers(len(self.rows)))]
        person = self.people[row]
        photo = Image.fromarray(person["image"].permute(1, 2, 0).numpy())
        people, doubtful = self._people(row, outline(person["box"].numpy(), photo.size))
        if random.random() < 0.5:
            photo = ImageOps.mirror(photo)
            people, doubtful = (
                np.stack([photo.width - boxes[:, 2], boxes[:, 1], photo.width - boxes[:, 0], boxes[:, 3]], axis=1)
                for boxes in (people, doubtful)
            )
        box = people[int(random.integers(len(people)))] if random.random() < 0.3 else people[0]
        side = max(box[2:] - box[:2])
        low, high = PERSON_IN_TILE
        wanted = max(SMALLEST, min(width, height) * np.exp(random.uniform(np.log(low), np.log(high))))
        scale = wanted / side
        if random.random() < FILLED:
            scale = max(scale, width / photo.width, height / photo.height)
        scale = min(scale, ENLARGED)
        # where the photograph is larger than the tile a window is cut, otherwise it is padded
        start = []
        for axis, length in enumerate((width, height)):
            middle = (box[axis] + box[axis + 2]) / 2 - random.uniform(0.1, 0.9) * length / scale
            room = photo.size[axis] - length / scale
            start.append(np.clip(middle, min(0, room), max(0, room)))
        x, y = start
        inside = [max(x, 0), max(y, 0), min(x + width / scale, photo.width), min(y + height / scale, photo.height)]
        u, v, u2, v2 = (
            round((value - origin) * scale) for value, origin in zip(inside, (x, y, x, y), strict=True)
        )  # fmt: skip
        u2, v2 = max(u2, u + 1), max(v2, v + 1)
        part = photo.resize((u2 - u, v2 - v), Image.Resampling.BILINEAR, box=tuple(inside))
        filled = Image.new("RGB", (width, height), tuple(int(c) for c in padding_colour(part, random)))
        filled.paste(part, (u, v))
        canvas.pixels[place] = np.asarray(filled)
        shown = (left + u, top + v, left + u2, top + v2)
        people, doubtful = ((boxes - [x, y, x, y]) * scale + [left, top, left, top] for boxes in (people, doubtful))
        for other in doubtful:
            x1, y1, x2, y2 = clipped(other, shown)
            canvas.doubt[y1:y2, x1:x2] = DOUBTFUL if self.everybody is None else IGNORED
        for one in people:
            add(canvas, one, shown)

    def _paste(self, canvas: Canvas, random: np.random.Generator) -> None:
        """Paste rendered people, alone or in a row of similar sizes."""
        count = int(random.integers(1, MOST_PASTED + 1))
        size = np.exp(random.uniform(np.log(2 * SMALLEST), np.log(1.3 * self.size)))
        in_row = random.random() < 0.5
        base = random.uniform(0.1, 1.0, 2) * self.size
        step = random.uniform(0.2, 0.7) * size
        for number in range(count):
            index = int(random.integers(len(self.images)))
            mask = np.unpackbits(self.masks[index], axis=1)[:, : self.images.shape[-1]]
            if mask.sum() < 500:
                continue
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            cut = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            pixels = self.images[index].transpose(1, 2, 0)[cut]
            rgba = Image.fromarray(np.dstack([pixels, 255 * mask[cut]]).astype(np.uint8), "RGBA")
            if not in_row:
                size = np.exp(random.uniform(np.log(SMALLEST), np.log(1.2 * self.size)))
            scale = size * random.uniform(0.9, 1.1) / max(rgba.size)
            width, height = (max(2, round(length * scale)) for length in rgba.size)
            rgba = rgba.resize((width, height), Image.Resampling.BILINEAR)
            if random.random() < 0.5:
                rgba = ImageOps.mirror(rgba)
            if in_row:
                middle, foot = base + np.array([number * step, random.normal(0, 0.05) * size])
            else:
                middle, foot = random.uniform(0, 1, 2) * (self.size, 1.2 * self.size)
            left, top = round(middle - width / 2), round(foot - height)
            full = np.asarray(rgba)
            x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + width, self.size), min(top + height, self.size)
            if x2 - x1 < 2 or y2 - y1 < 2:
                continue
            seen = full[y1 - top : y2 - top, x1 - left : x2 - left].astype(np.float32)
            alpha = seen[..., 3:] / 255
            gain = random.uniform(0.7, 1.2)
            place = np.s_[y1:y2, x1:x2]
            mixed = alpha * np.clip(seen[..., :3] * gain, 0, 255) + (1 - alpha) * canvas.pixels[place]
            canvas.pixels[place] = mixed.astype(np.uint8)
            solid = alpha[..., 0] > 0.5
            canvas.owner[place][solid] = len(canvas.boxes)
            canvas.boxes.append(np.array([left, top, left + width, top + height], dtype=float))
            canvas.outlined.append(True)
            canvas.sizes.append(float((full[..., 3] > 127).sum()))


def outline(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge a box of joints `(4,)` to that of the body, within the photograph."""
    margin = MARGIN * max(box[2:] - box[:2])
    grown = box + margin * np.array([-1, -1, 1, 1])
    return np.clip(grown, 0, np.array([*size, *size], dtype=float))


def padding_colour(part: Image.Image, random: np.random.Generator) -> np.ndarray:
    """Grey, black, the photograph's mean colour or a random one."""
    kind = int(random.integers(4))
    if kind == 0:
        return np.full(3, 114)
    if kind == 1:
        return np.zeros(3)
    return np.asarray(part).mean(axis=(0, 1)) if kind == 2 else random.uniform(0, 255, 3)


def split(size: int, count: int, random: np.random.Generator) -> list[tuple[int, int, int, int]]:
    """Split a square into rectangles, always the largest one, across its longer side."""
    tiles = [(0, 0, size, size)]
    while len(tiles) < count:
        tiles.sort(key=lambda tile: (tile[2] - tile[0]) * (tile[3] - tile[1]))
        left, top, right, bottom = tiles.pop()
        share = random.uniform(0.3, 0.7)
        across = right - left > bottom - top if right - left != bottom - top else random.random() < 0.5
        if across:
            middle = left + round(share * (right - left))
            tiles += [(left, top, middle, bottom), (middle, top, right, bottom)]
        else:
            middle = top + round(share * (bottom - top))
            tiles += [(left, top, right, middle), (left, middle, right, bottom)]
    return tiles


def read_labels(path: Path) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Boxes `(N, 4)` and scores `(N,)` of everybody by the number of the photograph."""
    with np.load(path) as file:
        number, box, score, images = (file[name] for name in ("number", "box", "score", "images"))
    order = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[order], images)
    ends = np.searchsorted(number[order], images, side="right")
    return {
        int(image): (box[order[start:end]], score[order[start:end]])
        for image, start, end in zip(images, starts, ends, strict=True)
    }


def sorted_out(own: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes `(N, 4)` of people, the labelled one first, and boxes `(M, 4)` of which nobody knows.

    Args:
        own: box of the labelled person, `(4,)`, by the joints.
        boxes: `(K, 4)` of a detector.
        scores: `(K,)` of a detector.
    """
    overlap = box_iou(torch.from_numpy(own[None]).float(), torch.from_numpy(boxes).float()).numpy()
    same = overlap >= SAME
    sure = scores >= SURE
    if (same & sure).any():  # its box has the whole outline, that of the joints only a margin
        own = boxes[np.argmax(overlap * sure)].astype(float)
    people = np.concatenate([own[None], boxes[sure & ~same]]).astype(float)
    doubtful = boxes[~sure & (scores >= UNSURE) & ~same].astype(float)
    low = np.maximum(doubtful[:, None, :2], people[:, :2])
    high = np.minimum(doubtful[:, None, 2:], people[:, 2:])
    inside = (high - low).clip(0).prod(axis=-1) / (doubtful[:, 2:] - doubtful[:, :2]).prod(axis=-1)[:, None].clip(1)
    return people, doubtful[inside.max(axis=1) < WITHIN]


def clipped(box: np.ndarray, place: tuple[int, int, int, int]) -> list[int]:
    """The part of a box `(4,)` in a place, in whole pixels; empty outside."""
    low, high = np.clip(box[:2], place[:2], place[2:]), np.clip(box[2:], place[:2], place[2:])
    return [int(value) for value in np.concatenate([low, high]).round()]


def cover(canvas: Canvas, random: np.random.Generator) -> None:
    """Put drawn patterns in front of the lower parts of one or several neighbours."""
    if not canvas.boxes:
        return
    box = canvas.boxes[int(random.integers(len(canvas.boxes)))]
    height, width = canvas.doubt.shape
    top = box[1] + random.uniform(0.35, 0.9) * (box[3] - box[1])
    spread = random.uniform(0.3, 3) * (box[2] - box[0])
    middle = random.uniform(box[0], box[2])
    deep = random.uniform(0.3, 1.5) * (box[3] - box[1])
    x1, y1, x2, y2 = clipped(np.array([middle - spread, top, middle + spread, top + deep]), (0, 0, width, height))
    if x2 - x1 < 2 or y2 - y1 < 2:
        return
    drawn = drawn_background(64, random).clamp(0, 1).permute(1, 2, 0).numpy()
    picture = Image.fromarray((drawn * 255).astype(np.uint8)).resize((x2 - x1, y2 - y1), Image.Resampling.BICUBIC)
    canvas.pixels[y1:y2, x1:x2] = np.asarray(picture)
    canvas.owner[y1:y2, x1:x2] = FRONT
    canvas.doubt[y1:y2, x1:x2] = CERTAIN


def add(canvas: Canvas, box: np.ndarray, place: tuple[int, int, int, int]) -> None:
    """Add a person of a photograph, a part of which is shown in a place."""
    x1, y1, x2, y2 = clipped(box, place)
    if x2 <= x1 or y2 <= y1:
        return
    canvas.doubt[y1:y2, x1:x2] = CERTAIN
    canvas.boxes.append(np.array([x1, y1, x2, y2], dtype=float))
    canvas.outlined.append(False)
    canvas.sizes.append(float(np.prod(box[2:] - box[:2])))


def labels(canvas: Canvas) -> list[np.ndarray]:
    """Boxes of the visible people; those of which too little is seen are ignored."""
    boxes = []
    for number, box in enumerate(canvas.boxes):
        if canvas.outlined[number]:
            mine = canvas.owner == number
        else:  # only its box is known, in front of which are whatever was pasted later
            mine = np.zeros(canvas.owner.shape, bool)
            x1, y1, x2, y2 = box.astype(int)
            mine[y1:y2, x1:x2] = canvas.owner[y1:y2, x1:x2] == NOBODY
        seen = mine.sum() / max(canvas.sizes[number], 1)
        rows, columns = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
        if not len(rows):
            continue
        visible = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=float)
        if seen >= SHOWN and max(visible[2:] - visible[:2]) >= SMALLEST / 2:
            boxes.append(visible)
        else:
            x1, y1, x2, y2 = visible.astype(int)
            canvas.doubt[y1:y2, x1:x2] = IGNORED
    return boxes
