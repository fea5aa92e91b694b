"""The people of `--data NAME:FOLDER`: LSP, LSPET, MPII, FLIC, COCO, one or several joined; for tests
Image Parse and Buffy.

    python examples/train_deeppose.py --data lsp:lsp_dataset lspet:lspet_dataset --output runs/deeppose

| name | `FOLDER` holds | training | test |
|---|---|---|---|
| `lsp` | `joints.mat`, `images/` | images 1 to 1000 | 1001 to 2000 |
| `lspet` | `joints.mat`, `images/` | 1 to 7000; all images if joined to others | 7001 to 7500; none if joined |
| `mpii` | `images/`, the .mat and `detections.mat`, or `train.json`, `valid.json` | all but 2,958 people | these |
| `flic` | `examples.mat`, `images/` | 3,987 people | 1,016 |
| `coco` | `train2017/`, `val2017/`, `annotations/person_keypoints_*.json` | train2017 | val2017 |
| `parse` | `labels.mat`, images | none | 205 people of Image Parse |
| `buffy` | `data/`, `images/` | none | 748 people of Buffy Stickmen |

Without a name a folder is LSP or LSPET. Joined data have the skeleton of the first; keypoints that
others lack are not visible.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from posezoo.contract import CROP_SETTINGS
from posezoo.data import COCO, CROPS, FLIC, LSP, MPII, Buffy, ImageParse, PersonCrop
from posezoo.data.flic import CENTER_BELOW_TOP, SCALE_PER_TORSO
from posezoo.data.mpii import PERSON_HEIGHT
from posezoo.geometry import tight_box
from posezoo.skeletons import Skeleton, convert, get_skeleton

SKELETONS = {"lsp": "lsp14", "lspet": "lsp14", "mpii": "mpii16", "flic": "flic11", "coco": "coco17"}
NAMES = tuple(SKELETONS)
TESTS: dict[str, Callable[[Path], Any]] = {"parse": lambda root: ImageParse(root, split="test"), "buffy": Buffy}
VIDEO_NAMES = ("h36m", "humaneva")  # for `train_rpsm_video.py` and `train_seq2seq.py`
LSPET_TRAINING, LSPET_TEST = (1, 7000), (7001, 7500)
LSP_TRAINING, LSP_TEST = (1, 1000), (1001, 2000)
# the limbs that Convolutional Pose Machines compare, of `lsp14`; those of the left side are not the mirror images
LIMBS = tuple(
    (get_skeleton("lsp14").index(first), get_skeleton("lsp14").index(second))
    for first, second in (
        ("neck", "head_top"),
        ("right_ankle", "right_knee"), ("right_knee", "right_hip"), ("right_hip", "neck"),
        ("left_hip", "left_knee"), ("left_knee", "left_hip"), ("left_ankle", "neck"),
        ("right_wrist", "right_elbow"), ("right_elbow", "right_shoulder"), ("right_shoulder", "neck"),
        ("left_shoulder", "left_elbow"), ("left_elbow", "left_shoulder"), ("left_wrist", "neck"),
    )
)  # fmt: skip
HEAD, WIDEST = 35.0, 368 - 64  # pixels of a head in a person of 200, and of the joints in a crop of `cpm`
KEPT = ("image", "keypoints", "visible", "head_size", "others", "others_visible")  # of a sample


class Source(NamedTuple):
    """A value of `--data`."""

    name: str
    root: Path


def source(text: str | Path) -> Source:
    """Parse `NAME:FOLDER`, or the folder of LSP or LSPET.

    Raises:
        ValueError: no known name, and no folder of LSP or LSPET.
    """
    name, _, folder = str(text).partition(":")
    if name in (*NAMES, *TESTS, *VIDEO_NAMES) and folder:
        return Source(name, Path(folder))
    root = Path(text)
    if not (root / "joints.mat").is_file():
        raise ValueError(
            f"--data {text}: expected NAME:FOLDER with a name among {', '.join(NAMES)}, or the folder of LSP or LSPET, "
            "with joints.mat in it"
        )
    return Source("lspet" if LSP(root).extended else "lsp", root)


class People(Dataset[dict[str, Any]]):
    """People of one or several data sets.

    Args:
        parts: readers of `posezoo.data`.
        skeleton: of the keypoints. Defaults to that of the first part.

    Attributes:
        keypoints: `(N, K, 2)` pixels of the images.
        visible: `(N, K)` bool.
        boxes: `(N, 4)` pixels of the images, as the samples have them.
        torso: `(N,)` pixels, the diagonal of FLIC's boxes, the segment of Buffy; NaN for other data.
        skeleton: of the keypoints.

    Yields samples with the entries of `KEPT` that they have, and `box`.
    """

    def __init__(self, parts: Sequence[Any], skeleton: Skeleton | None = None) -> None:
        self.parts = list(parts)
        self.skeleton: Skeleton = skeleton or self.parts[0].skeleton
        pairs = [convert(part.keypoints, part.skeleton, self.skeleton, part.visible) for part in self.parts]
        self.keypoints, self.visible = (torch.cat(side) for side in zip(*pairs, strict=True))
        self.boxes = torch.cat([boxes_of(part) for part in self.parts])
        self.torso = torch.cat([torso_of(part) for part in self.parts])
        self.rows = torch.arange(len(self.keypoints))  # of the parts, one after the other

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = int(self.rows[range(len(self))[index]])
        for part in self.parts:
            if row < len(part):
                sample = part[row]
                break
            row -= len(part)
        sample = {key: sample[key] for key in KEPT if key in sample}
        if part.skeleton != self.skeleton:
            for points, mask in (("keypoints", "visible"), ("others", "others_visible")):
                if points in sample:
                    sample[points], sample[mask] = convert(sample[points], part.skeleton, self.skeleton, sample[mask])
        return sample | {"box": self.boxes[index], "torso": self.torso[index]}

    def some(self, rows: range) -> "People":
        """Return the people of some rows."""
        chosen = object.__new__(People)
        chosen.__dict__ |= self.__dict__
        for name in ("keypoints", "visible", "boxes", "torso", "rows"):
            setattr(chosen, name, getattr(self, name)[rows.start : rows.stop])
        return chosen


def lsp_people(root: Path, images: Sequence[int]) -> People:
    """People of LSP or LSPET in several ranges of images, as FIRST LAST of each.

    Raises:
        ValueError: an odd number of numbers.
    """
    if not images or len(images) % 2:
        raise ValueError(f"--train-images: expected FIRST LAST of each range, got {' '.join(map(str, images))}")
    return People([LSP(root, images=(first, last)) for first, last in zip(images[::2], images[1::2], strict=True)])


def open_data(
    sources: Sequence[Source],
    part: str,
    *,
    images: Sequence[int] | None = None,
    readers: Mapping[str, Mapping[str, Any]] | None = None,
) -> People:
    """Open the training or test people of `--data`.

    Args:
        sources: one or more.
        part: "train" or "test".
        images: ranges of images of LSP or LSPET, in place of those of the table above.
        readers: arguments of the readers by name of the data set, such as `{"mpii": {"center":
            "lowered"}}`; for lsp and lspet only `{"size": "limbs"}`, boxes of `limb_boxes`.

    Raises:
        ValueError: what the readers raise; ranges of images for data sets without numbers; no
            training people.
    """
    joined = len(sources) > 1
    if any(one.name in VIDEO_NAMES for one in sources):
        raise ValueError(f"--data: expected images of people, {', '.join(NAMES)}, got a data set of videos")
    if images is not None and not any(one.name in ("lsp", "lspet") for one in sources):
        raise ValueError("--train-images and --val-images: for lsp and lspet only; other data have splits of their own")
    parts: list[Any] = []
    for name, root in sources:
        if name == "lspet" and joined and part == "test":
            continue  # it has no test set of its own
        more = dict((readers or {}).get(name, {}))
        if name == "lsp":
            parts += lsp_people(root, images or (LSP_TRAINING if part == "train" else LSP_TEST)).parts
        elif name == "lspet":
            last = len(LSP(root)) if joined else LSPET_TRAINING[1]
            parts += lsp_people(root, images or ((1, last) if part == "train" else LSPET_TEST)).parts
        elif name in TESTS:
            if part == "train":
                raise ValueError(f"--data {name}: it is for tests only; train on another of {', '.join(NAMES)}")
            parts.append(TESTS[name](root))
        elif name == "mpii":
            parts.append(open_mpii(root, part, more))
        elif name == "flic":
            parts.append(FLIC(root, split=part, **more))
        else:
            images_of = {"train": "train2017", "test": "val2017"}[part]
            file = root / "annotations" / f"person_keypoints_{images_of}.json"
            parts.append(COCO(root / images_of, file, **more))
    if not parts:
        raise ValueError("--data: lspet has no test set; join it to lsp, or give --val-images")
    people = People(parts)
    of_lsp = [part for part in parts if isinstance(part, LSP)]
    if of_lsp and any((readers or {}).get(name, {}).get("size") == "limbs" for name in ("lsp", "lspet")):
        found = limb_boxes(of_lsp).split([len(part) for part in of_lsp])
        boxes = [found[of_lsp.index(part)] if part in of_lsp else boxes_of(part) for part in parts]
        people.boxes = torch.cat(boxes)
    return people


def limb_boxes(parts: Sequence[LSP]) -> Tensor:
    """Squares of people's heights by the lengths of their limbs, as Convolutional Pose Machines.

    A limb's length is divided by its median over all people, in units of the head's. The upper
    quartile of these is 35 of 200 pixels of a person's height; the joints fill at most 304 of the
    crop's 368 pixels. The middle is that of the image on LSP, of the joints on LSPET. Occluded
    joints of LSP count, unlike in the authors' code.

    Returns:
        `(N, 4)` pixels of the images.
    """
    keypoints, visible = (torch.cat([getattr(part, name) for part in parts]) for name in ("keypoints", "visible"))
    first, second = torch.tensor(LIMBS).T
    length = (keypoints[:, first] - keypoints[:, second]).norm(dim=-1)
    length = torch.where(visible[:, first] & visible[:, second], length, torch.nan)
    relative = length / (length / length[:, :1]).nanquantile(0.5, dim=0)
    head = torch.from_numpy(np.nanquantile(relative.numpy(), 0.75, axis=1, method="hazen"))  # as MATLAB's
    tight = torch.cat([boxes_of(part) for part in parts])
    longest = (tight[:, 2:] - tight[:, :2]).amax(dim=1)
    height = torch.fmax(PERSON_HEIGHT / HEAD * head, 368 / CROPS["cpm"]["padding"] / WIDEST * longest)
    middle = (tight[:, :2] + tight[:, 2:]) / 2
    start = 0
    for part in parts:
        if not part.extended:
            sizes = [part[row]["image"].shape[:0:-1] for row in range(len(part))]
            middle[start : start + len(part)] = torch.tensor(sizes) / 2
        start += len(part)
    half = height[:, None] / 2
    return torch.cat([middle - half, middle + half], dim=1)


def open_mpii(root: Path, part: str, more: dict[str, Any]) -> MPII:
    """MPII's split of Tompson et al., from the .mat file, or from json files if there are any."""
    training = more.pop("training", "train")  # or "rest", the split of Convolutional Pose Machines
    if (root / "train.json").is_file():
        scored = part == "test" and (root / "gt_valid.mat").is_file()
        return MPII(root, {"train": "train.json", "test": "valid.json"}[part],
                    head_boxes="gt_valid.mat" if scored else None, **more)  # fmt: skip
    return MPII(root, split=training if part == "train" else "validation", **more)


def boxes_of(people: Any) -> Tensor:
    """Boxes `(N, 4)` of a reader's samples, without reading images."""
    if isinstance(people, COCO):
        return people.boxes
    if isinstance(people, LSP | ImageParse | Buffy):
        return torch.stack([tight_box(*pose) for pose in zip(people.keypoints, people.visible, strict=True)])
    if isinstance(people, FLIC):
        left, top, right, bottom = people.torsos.unbind(dim=1)
        centers = torch.stack([(left + right) / 2, top + CENTER_BELOW_TOP * (bottom - top)], dim=1)
        half = PERSON_HEIGHT / 2 * SCALE_PER_TORSO * (bottom - top)
    else:
        centers, half = people.centers, PERSON_HEIGHT / 2 * people.scales
    return torch.cat([centers - half[:, None], centers + half[:, None]], dim=1)


def torso_of(people: Any) -> Tensor:
    """Diagonals `(N,)` of FLIC's torso boxes, lengths of Buffy's torsos; NaN for other data."""
    if isinstance(people, Buffy):
        return people.torsos
    if isinstance(people, FLIC):
        return (people.torsos[:, 2:] - people.torsos[:, :2]).norm(dim=1)
    return torch.full((len(people),), torch.nan)


class Cropped(Dataset[dict[str, Any]]):
    """Apply a `PersonCrop` to people."""

    def __init__(self, people: People, crop: PersonCrop) -> None:
        self.people, self.crop = people, crop

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.crop(self.people[index])


def crop_of(model: Any) -> PersonCrop:
    """The crop that a network is evaluated with."""
    return PersonCrop(size=model.input_size, **{name: getattr(model, name) for name in CROP_SETTINGS})


def detected_boxes(
    people: People, detector: Callable[[list[Tensor]], Any], file: Path | None, *, every: int = 50
) -> tuple[Tensor, int]:
    """Find each person's box with a detector of faces or people, and store the boxes in a file.

    Of several boxes in an image the person's is the one whose middle is nearest to that of the
    annotated box, which selects the person in the papers, too. People without a detection keep
    their annotated box.

    Args:
        people: of one data set.
        detector: as in `posezoo.detectors`.
        file: `.pt`, read if it exists. None: not stored.
        every: images between two lines of progress.

    Returns:
        boxes `(N, 4)`, NaN without a detection, and the number of people without one.
    """
    if file and file.is_file():
        boxes = torch.load(file)
    else:
        found = []
        for number in range(len(people)):
            (candidates, _), *_ = detector([people[number]["image"].float() / 255])
            candidates = torch.as_tensor(candidates, dtype=torch.float32).reshape(-1, 4)
            middle = people.boxes[number].view(2, 2).mean(dim=0)
            distance = (candidates.view(-1, 2, 2).mean(dim=1) - middle).norm(dim=1)
            found.append(candidates[distance.argmin()] if len(candidates) else torch.full((4,), torch.nan))
            if number % every == 0:
                print(f"detector: {number} of {len(people)}", flush=True)
        boxes = torch.stack(found)
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.save(boxes, file)
    return boxes, int(boxes.isnan().any(dim=1).sum())


def use_detected(people: People, boxes: Tensor, padding: float) -> None:
    """Give people the boxes of `detected_boxes`, to be cropped with a fitted padding.

    People without a detection keep their annotated box, which gets a padding of 1.25 in all.
    """
    middle = (people.boxes[:, :2] + people.boxes[:, 2:]) / 2
    half = (people.boxes[:, 2:] - people.boxes[:, :2]) / 2 * (1.25 / padding)
    annotated = torch.cat([middle - half, middle + half], dim=1)
    people.boxes = torch.where(boxes.isnan(), annotated, boxes)
