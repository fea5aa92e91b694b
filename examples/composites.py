"""Pictures of any number of people, composed of photographs of one person and of renders.

A canvas is split into tiles, each a part of a photograph with its person, or filled with a drawn
pattern; then rendered people are pasted by their masks, in numbers, sizes and overlaps. The boxes
are those of the people's visible parts.

Photographs of one person may hold others without labels. Their background is therefore marked as
doubtful: a detector that finds somebody there is neither right nor wrong.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import Dataset

from posezoo.person_detector import STRIDE

from data_sources import People
from render_clips import drawn_background

MOST = 24  # people of a canvas
MARGIN = 0.08  # of the longer side of the joints' box, up to the outline of the body
FEWEST = 11  # visible joints of a person whose box is known
TILES = ((1, 0.4), (2, 0.2), (3, 0.12), (4, 0.13), (6, 0.1), (9, 0.05))  # number and probability
SMALLEST = 14  # pixels of a person's longer side
PERSON_IN_TILE = (0.3, 1.5)  # longer side of a person, in units of the tile's shorter side
ENLARGED = 3.0  # at most, of a photograph
COVERED = 0.6  # probability that a photograph is enlarged to cover its tile
SHOWN = 0.35  # part of a person that has to be visible for a label
PATTERN = 0.15  # probability of a tile without a photograph
PASTED = 0.5  # probability of rendered people
MOST_PASTED = 6
CERTAIN, DOUBTFUL, IGNORED = 0, 1, 2


@dataclass
class Canvas:
    """A picture in the making: pixels, doubt, people, and the number of the person at each pixel."""

    pixels: np.ndarray
    doubt: np.ndarray
    owner: np.ndarray
    boxes: list[np.ndarray] = field(default_factory=list)  # without occlusion, may reach out
    outlined: list[bool] = field(default_factory=list)  # whether the owner map has the outline, or only the box
    sizes: list[float] = field(default_factory=list)  # pixels of the whole person


class Composites(Dataset[dict[str, Any]]):
    """Composed pictures of people.

    Args:
        people: one person per image.
        renders: folder of `examples/render_people.py`, or None.
        size: side of the square canvas, pixels.
        count: pictures per epoch.
        seed: of the pictures. Defaults to new ones in every epoch, by torch's random generator.

    Yields dictionaries of

        image   (3, size, size) float, RGB in [0, 1]
        boxes   (MOST, 4) pixels, NaN behind the last person
        doubt   (size / 8, size / 8) uint8: CERTAIN, DOUBTFUL, IGNORED
    """

    def __init__(self, people: People, renders: Path | None, *, size: int, count: int, seed: int | None = None) -> None:
        joints = people.visible.sum(dim=1)
        names = list(people.skeleton.keypoints)
        feet = people.visible[:, [names.index("left_ankle"), names.index("right_ankle")]].any(dim=1)
        self.rows = ((joints >= min(FEWEST, len(names))) & feet).nonzero()[:, 0].tolist()
        self.people, self.size, self.count, self.seed = people, size, count, seed
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
            np.full((self.size, self.size), -1, np.int16),
        )
        counts, shares = zip(*TILES, strict=True)
        for left, top, right, bottom in split(self.size, int(random.choice(counts, p=shares)), random):
            self._fill(canvas, (left, top, right, bottom), random)
        if self.images is not None and random.random() < PASTED:
            self._paste(canvas, random)
        boxes = labels(canvas)[:MOST]
        if random.random() < 0.1:
            canvas.pixels = np.asarray(Image.fromarray(canvas.pixels).convert("L").convert("RGB"))
        padded = torch.full((MOST, 4), torch.nan)
        if boxes:
            padded[: len(boxes)] = torch.from_numpy(np.stack(boxes)).float()
        middle = STRIDE // 2
        return {
            "image": torch.from_numpy(canvas.pixels.copy()).permute(2, 0, 1).float() / 255,
            "boxes": padded,
            "doubt": torch.from_numpy(canvas.doubt[middle::STRIDE, middle::STRIDE].copy()),
        }

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
        box = outline(person["box"].numpy(), photo.size)
        if random.random() < 0.5:
            photo = ImageOps.mirror(photo)
            box = np.array([photo.width - box[2], box[1], photo.width - box[0], box[3]])
        side = max(box[2:] - box[:2])
        low, high = PERSON_IN_TILE
        wanted = max(SMALLEST, min(width, height) * np.exp(random.uniform(np.log(low), np.log(high))))
        scale = wanted / side
        if random.random() < COVERED:
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
        canvas.doubt[place][v:v2, u:u2] = DOUBTFUL
        placed = (box - np.array([x, y, x, y])) * scale + np.array([left, top, left, top])
        add(canvas, placed, tile)

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


def add(canvas: Canvas, box: np.ndarray, tile: tuple[int, int, int, int]) -> None:
    """Add the person of a tile; around it the picture is certain, as the box has one person."""
    left, top, right, bottom = tile
    shown = np.clip(box, [left, top, left, top], [right, bottom, right, bottom])
    x1, y1, x2, y2 = shown.round().astype(int)
    if x2 <= x1 or y2 <= y1:
        return
    canvas.doubt[y1:y2, x1:x2] = CERTAIN
    canvas.owner[y1:y2, x1:x2] = len(canvas.boxes)
    canvas.boxes.append(shown)
    canvas.outlined.append(False)
    canvas.sizes.append(float(np.prod(box[2:] - box[:2])))


def labels(canvas: Canvas) -> list[np.ndarray]:
    """Boxes of the visible people; those of which too little is seen are ignored."""
    boxes = []
    for number, box in enumerate(canvas.boxes):
        mine = canvas.owner == number
        seen = mine.sum() / max(canvas.sizes[number], 1)
        rows, columns = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
        if not len(rows):
            continue
        visible = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=float)
        shown = visible if canvas.outlined[number] else box
        if seen >= SHOWN and max(visible[2:] - visible[:2]) >= SMALLEST / 2:
            boxes.append(shown)
        else:
            x1, y1, x2, y2 = visible.astype(int)
            canvas.doubt[y1:y2, x1:x2] = IGNORED
    return boxes
