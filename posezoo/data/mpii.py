"""MPII Human Pose (Andriluka, Pishchulin, Gehler & Schiele, CVPR 2014).

Reads the annotations in either of the forms in which papers use them:

    mpii_human_pose_v1_u12_1.mat   the authors': all people, with head boxes and occlusions
    train.json, valid.json, ...    of Simple Baselines and HRNet: one record per person of the split

MPII has no validation set of its own. All papers use the 2,958 people of Tompson et al. (CVPR
2015), listed in the `detections.mat` that they published: it splits the .mat file; the json files
are split already.

A person is located by a rough centre and by `scale`, the height over 200 pixels. Papers crop around
them:

| paper | `center` | side of the crop | `PersonCrop(padding=...)` |
|---|---|---|---|
| Tompson et al. | "annotated" | 256 scale | 1.28 |
| Convolutional Pose Machines | "annotated" | 368 * 35/41 scale | 1.84 * 35/41 |
| Iterative Error Feedback | "annotated" | 200 scale, of which the middle 224/256 | 0.875 |
| Stacked Hourglass, Simple Baselines, HRNet, mmpose | "lowered" | 250 scale | 1.25 |

Coordinates in the files count pixels from 1, as MATLAB does; here they count from 0.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, default_collate

from posezoo.arrays import explained
from posezoo.data.files import field, file_names, load_mat, neighbours, numeric, read_image
from posezoo.foreign import load_json
from posezoo.skeletons import get_skeleton

NUM_KEYPOINTS = 16
PERSON_HEIGHT = 200  # pixels at scale 1
LOWERED = 15  # pixels at scale 1 by which the hourglass authors lower the centre, to have the feet in the crop
HEAD_SIZE = 0.6  # of the diagonal of the head's box: the unit of PCKh
FORM = "image, center (x, y), scale, joints (16, 2) and joints_vis (16,)"


class MPII(Dataset[dict[str, Any]]):
    """MPII's annotated people, one sample each.

    Args:
        root: the folder that holds `images/`.
        annotations: the .mat or .json file; a relative path starts at `root`.
        split: for the .mat file only. "validation": the people of `split_file`, in its order, which
            is that of valid.json and of gt_valid.mat. "train": all people in images without
            validation people, 22,246. "rest": all people who are not validation people, including
            those in the same images, as the authors of Convolutional Pose Machines trained.
            Defaults to every annotated person with a centre and a scale in the training images (the
            test images have no public keypoints).
        split_file: Tompson et al.'s detections.mat; relative to `root`.
        center: centre of the box. "annotated", as in the file; "lowered", by 15 `scale` pixels. See
            the table above. The box's side is 200 `scale` in both cases; `PersonCrop` adds the
            context.
        occluded: use of occluded joints. "keep": visible, as the papers train and evaluate on them.
            "mask": not visible; only the .mat file marks them.
        others: also yield `others` and `others_visible`, the keypoints of the other annotated
            people in the image, which are targets of the first stage of Convolutional Pose
            Machines. From the .mat file these are all; from json those in the same file, which are
            all for train.json but not for valid.json.
        head_boxes: gt_valid.mat beside valid.json, for `head_size`; relative to `root`. The .mat
            annotations hold the head boxes themselves.

    Yields samples as `posezoo.data` describes, in MPII-16 order, in pixels of the image, with

        index            the person's index in this data set; in the validation split also the row of gt_valid.mat
        center           (2,) float32, the middle of the box
        scale            () float32, the person's height over 200 pixels
        head_size        () float32 pixels, for PCKh: 0.6 times the diagonal of the head's box; NaN for a person without
                         one, and no such entry from json without `head_boxes`
        others           (P, 16, 2) float32, only with `others=True`; P differs, so that a `DataLoader` needs
                         `collate_fn=collate_others`
        others_visible   (P, 16) bool

    Raises:
        ValueError: a file is missing or malformed; names the file, the record and the fix.

    Examples:
        >>> import json, tempfile, PIL.Image
        >>> root = Path(tempfile.mkdtemp())
        >>> person = {"image": "1.jpg", "center": [61, 51], "scale": 0.4, "joints": [[11, 21]] * 16,
        ...           "joints_vis": [1] * 16}
        >>> _ = (root / "valid.json").write_text(json.dumps([person]))
        >>> (root / "images").mkdir(); PIL.Image.new("RGB", (120, 100)).save(root / "images" / "1.jpg")
        >>> sample = MPII(root, "valid.json")[0]
        >>> sample["image"].shape, sample["keypoints"][0].tolist(), sample["box"].tolist()
        (torch.Size([3, 100, 120]), [10.0, 20.0], [20.0, 10.0, 100.0, 90.0])
    """

    skeleton = get_skeleton("mpii16")

    @explained
    def __init__(
        self,
        root: str | Path,
        annotations: str | Path = "mpii_human_pose_v1_u12_1.mat",
        *,
        split: str | None = None,
        split_file: str | Path = "detections.mat",
        center: str = "annotated",
        occluded: str = "keep",
        others: bool = False,
        head_boxes: str | Path | None = None,
    ) -> None:
        self.root, path = Path(root), Path(root) / annotations
        if center not in ("annotated", "lowered"):
            raise ValueError(f'center: expected "annotated" or "lowered", got {center!r}')
        if occluded not in ("keep", "mask"):
            raise ValueError(f'occluded: expected "keep" or "mask", got {occluded!r}')
        if split not in (None, "train", "validation", "rest"):
            raise ValueError(f'split: expected "train", "validation", "rest" or None, got {split!r}')
        if path.suffix == ".mat":
            if head_boxes is not None:
                raise ValueError(f"head_boxes: {path} holds them already; leave the argument out")
            people = _read_mat(path)
            rows = _choose(people, split, self.root / split_file)
        elif path.suffix == ".json":
            if split is not None:
                raise ValueError(f"split: {path} is a split already; choose train.json, valid.json or trainval.json")
            if occluded == "mask":
                raise ValueError(f"occluded: {path} does not say who is occluded; the .mat file does")
            people = _read_json(path)
            rows = np.arange(len(people.names))
            if head_boxes is not None:
                people = people._replace(heads=_read_head_boxes(self.root / head_boxes, people))
        else:
            raise ValueError(
                f"{path}: expected MPII's .mat or a .json of Simple Baselines or HRNet; centres and scales in the "
                ".h5 files of the hourglass repositories are already lowered and enlarged"
            )

        self.names = [people.names[row] for row in rows]
        missing = sorted(set(self.names) - file_names(self.root / "images"))
        if missing:
            raise ValueError(
                f"{self.root / 'images' / missing[0]} is missing, like {len(missing)} of the {len(set(self.names))} "
                f"images of {path.name}; unpack all of mpii_human_pose_v1.tar.gz into {self.root}"
            )
        self._all_keypoints = torch.from_numpy((people.keypoints - 1).astype(np.float32))
        self._all_visible = torch.from_numpy(people.flags > (1 if occluded == "mask" else 0))
        self.keypoints, self.visible = self._all_keypoints[rows], self._all_visible[rows]
        centers, scales = people.centers[rows] - 1, people.scales[rows]
        centers[:, 1] += LOWERED * scales if center == "lowered" else 0
        self.centers = torch.from_numpy(centers.astype(np.float32))
        self.scales = torch.from_numpy(scales.astype(np.float32))
        self.head_sizes = None
        if path.suffix == ".mat" or head_boxes is not None:
            diagonals = np.hypot(*(people.heads[rows, 2:] - people.heads[rows, :2]).T)
            self.head_sizes = torch.from_numpy((HEAD_SIZE * diagonals).astype(np.float32))
        self._others = neighbours(people.names, rows) if others else None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        visible, center, scale = self.visible[index], self.centers[index], self.scales[index]
        half = PERSON_HEIGHT / 2 * scale
        sample = {
            "image": read_image(self.root / "images" / self.names[index]),
            "keypoints": torch.where(visible[:, None], self.keypoints[index], 0.0),
            "visible": visible,
            "box": torch.cat([center - half, center + half]),
            "index": index,
            "center": center,
            "scale": scale,
        }
        if self.head_sizes is not None:
            sample["head_size"] = self.head_sizes[index]
        if self._others is not None:
            others_visible = self._all_visible[self._others[index]]
            sample["others"] = torch.where(others_visible[..., None], self._all_keypoints[self._others[index]], 0.0)
            sample["others_visible"] = others_visible
        return sample


def collate_others(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collate samples with `others`, whose number differs; otherwise PyTorch's `default_collate`.

    Returns:
        The batch: `others` `(B, P, K, 2)` and `others_visible` `(B, P, K)` with the largest P of
        the batch, zero and not visible where an image has fewer.

    Examples:
        >>> samples = [{"index": n, "others": torch.ones(n, 16, 2), "others_visible": torch.ones(n, 16) > 0}
        ...            for n in (0, 2)]
        >>> batch = collate_others(samples)
        >>> batch["others"].shape, batch["others_visible"].any(dim=-1).tolist()
        (torch.Size([2, 2, 16, 2]), [[False, False], [True, True]])
    """
    ragged = {"others", "others_visible"}
    even: dict[str, Any] = default_collate([{key: sample[key] for key in sample.keys() - ragged} for sample in samples])
    return even | {key: pad_sequence([sample[key] for sample in samples], batch_first=True) for key in ragged}


def read_mpii_evaluation(variables: Mapping[str, np.ndarray], *, predictions: bool = False) -> dict[str, np.ndarray]:
    """Return the arrays of an evaluation file of MPII, such as gt_valid.mat.

    | variable | shape | |
    |---|---|---|
    | `pos_gt_src` | (16, 2, N) | annotations |
    | `pos_pred_src` | (16, 2, N) | predictions |
    | `jnt_missing` | (16, N) | 1 where a joint is not annotated |
    | `headboxes_src` | (2, 2, N) | opposite corners of the head's box |

    Args:
        variables: arrays of a MATLAB file by name.
        predictions: return the predictions of a file that holds both. Defaults to the annotations.

    Returns:
        `keypoints` `(N, 16, 2)` in pixels counted from 1 as in the file; for annotations, as far as
        the file has them, `visible` `(N, 16)` and `headboxes` `(N, 2, 2)` corners. Empty for other
        files.

    Examples:
        >>> file = {"pos_gt_src": np.ones((16, 2, 5)), "jnt_missing": np.zeros((16, 5))}
        >>> arrays = read_mpii_evaluation(file)
        >>> arrays["keypoints"].shape, arrays["visible"].shape
        ((5, 16, 2), (5, 16))
    """
    name = "pos_pred_src" if predictions else "pos_gt_src"
    if name not in variables:
        return {}
    arrays = {"keypoints": np.moveaxis(variables[name], -1, 0)}
    if not predictions and "jnt_missing" in variables:
        arrays["visible"] = variables["jnt_missing"].T == 0
    if not predictions and "headboxes_src" in variables:
        arrays["headboxes"] = np.moveaxis(variables["headboxes_src"], -1, 0)
    return arrays


# ------------------------------------------------------------------------------------------------ the annotation files


class _People(NamedTuple):
    """N people in the order of a file; coordinates count from 1, NaN where the file has none."""

    names: list[str]  # of the images
    numbers: np.ndarray  # (N, 2) index of the image and of the person in it, from 1
    keypoints: np.ndarray  # (N, 16, 2)
    flags: np.ndarray  # (N, 16): 0 not annotated, 1 occluded, 2 visible
    centers: np.ndarray  # (N, 2)
    scales: np.ndarray  # (N,)
    heads: np.ndarray  # (N, 4): opposite corners of the head's box


def _read_mat(path: Path) -> _People:
    """Read the people with keypoints in the training images."""
    release = field(
        load_mat(path, "expected MPII's annotations, unpacked from mpii_human_pose_v1_u12_2.zip"), "RELEASE"
    )
    images, for_training = (field(release, name) for name in ("annolist", "img_train"))
    if images is None or for_training is None or np.size(images) != np.size(for_training):
        raise ValueError(
            f"{path}: expected a struct RELEASE with as many annolist as img_train; is it MPII's "
            "mpii_human_pose_v1_u12_1.mat?"
        )
    names, rows = [], []
    for number_of_image in np.flatnonzero(np.atleast_1d(for_training)):
        image = np.atleast_1d(images)[number_of_image]
        people = field(image, "annorect")
        for number, person in enumerate(np.atleast_1d(people) if people is not None else ()):
            try:
                row = _read_person(person)
            except (AttributeError, IndexError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}: person {number + 1} of image {number_of_image + 1} (as in annolist) is malformed "
                    f"({error}); download the file again"
                ) from error
            if row is not None:
                names.append(str(image.image.name))
                rows.append(((number_of_image + 1, number + 1), *row))
    if not rows:
        raise ValueError(f"{path}: no person in it has keypoints; download the file again")
    return _People(names, *map(np.array, zip(*rows, strict=True)))


def _read_person(person: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, np.ndarray] | None:
    """Read keypoints, flags, centre, scale and head of one `annorect`; None without keypoints."""
    points = field(field(person, "annopoints"), "point")
    if points is None:
        return None
    keypoints, flags = np.zeros((NUM_KEYPOINTS, 2)), np.zeros(NUM_KEYPOINTS, int)
    for point in np.atleast_1d(points):
        if not 0 <= int(point.id) < NUM_KEYPOINTS:
            raise ValueError(f"joint id {point.id}, expected 0 to {NUM_KEYPOINTS - 1}")
        keypoints[point.id] = float(point.x), float(point.y)
        # `is_visible` is a number, a letter, or missing, for the ends of the head
        flags[point.id] = 1 if numeric(point, "is_visible") == 0 else 2
    if not np.isfinite(keypoints).all():
        raise ValueError("a coordinate is not finite")
    center, scale = field(person, "objpos"), numeric(person, "scale")
    if scale <= 0:
        raise ValueError(f"scale {scale}, expected above 0")
    corners = [numeric(person, name) for name in ("x1", "y1", "x2", "y2")]
    return keypoints, flags, np.array([numeric(center, "x"), numeric(center, "y")]), scale, np.array(corners)


def _read_json(path: Path) -> _People:
    """Read all people; a record without joints, as in test.json, has no visible keypoint."""
    records = load_json(path, "expected train.json, valid.json or trainval.json of Simple Baselines or HRNet")
    if not isinstance(records, list) or not records:
        raise ValueError(f"{path}: expected a list of records with {FORM}, got {type(records).__name__}")
    rows = []
    for number, record in enumerate(records):
        try:
            joints, visible = record.get("joints", np.zeros((16, 2))), record.get("joints_vis", np.zeros(16))
            keypoints = np.array(joints, float).reshape(NUM_KEYPOINTS, 2)
            flags = np.where(np.array(visible, float).reshape(NUM_KEYPOINTS) > 0, 2, 0)
            center, scale = np.array(record["center"], float).reshape(2), float(record["scale"])
            image = Path(record["image"]).name
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: record {number} (from 0) is malformed ({error!r}); expected {FORM}, as in the files of "
                "Simple Baselines and HRNet"
            ) from error
        if not (scale > 0 and np.isfinite([*center, scale]).all()):
            raise ValueError(
                f"{path}: record {number} (from 0) has center {center.tolist()} and scale {scale}, so there is no box "
                "to crop; remove the record"
            )
        keypoints[flags == 0] = 0
        if not np.isfinite(keypoints).all():
            raise ValueError(f"{path}: record {number} (from 0) has a visible joint that is not finite; remove it")
        rows.append((image, (0, 0), keypoints, flags, center, scale, np.full(4, np.nan)))
    names, *arrays = zip(*rows, strict=True)
    return _People(list(names), *map(np.array, arrays))


def _read_head_boxes(path: Path, people: _People) -> np.ndarray:
    """Read the corners `(N, 4)` of the head boxes of the people of valid.json."""
    file = load_mat(path, "expected gt_valid.mat, which comes with valid.json")
    count = len(people.names)
    try:
        boxes, points = file["headboxes_src"].reshape(4, -1), file["pos_gt_src"].reshape(NUM_KEYPOINTS, 2, -1)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: expected headboxes_src (2, 2, N) and pos_gt_src (16, 2, N) ({error}); is it gt_valid.mat?"
        ) from error
    if boxes.shape[1] != count or points.shape[2] != count:
        raise ValueError(f"{path} has {boxes.shape[1]} head boxes for {count} people; the files do not belong together")
    # one equal keypoint is enough: 13 of gt_valid.mat's 44,240 have a coordinate 0 that the annotations do not have
    known = people.flags > 0
    same = known & (np.abs(points.transpose(2, 0, 1) - people.keypoints).max(axis=-1) < 1)
    wrong = known.any(axis=1) & ~same.any(axis=1)
    if wrong.any():
        raise ValueError(
            f"{path}: the keypoints of record {int(wrong.argmax())} (from 0) are not those of the json file; the files "
            "do not belong together, or one is in another order"
        )
    return boxes.T.astype(np.float64)


def _choose(people: _People, split: str | None, path: Path) -> np.ndarray:
    """Return the rows of the people of a split."""
    usable = np.isfinite(people.centers).all(axis=1) & np.isfinite(people.scales)
    if split is None:
        return np.flatnonzero(usable)
    file = load_mat(
        path, "MPII's validation split is defined by detections.mat of Tompson et al.'s predictions; give split_file="
    )
    try:
        listed = np.stack([np.atleast_1d(file[f"RELEASE_{part}_index"]) for part in ("img", "person")], axis=1)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: expected RELEASE_img_index and RELEASE_person_index of one length ({error}); is it Tompson et "
            "al.'s detections.mat?"
        ) from error
    row_of = {tuple(number): row for row, number in enumerate(people.numbers.tolist()) if usable[row]}
    chosen = [row_of.get(tuple(number), -1) for number in listed.astype(int).tolist()]
    if -1 in chosen:
        image, person = listed[chosen.index(-1)]
        raise ValueError(
            f"{path}: entry {chosen.index(-1) + 1} is person {person} of image {image}, who has no annotation; is the "
            "other file mpii_human_pose_v1_u12_1.mat?"
        )
    if split == "validation":
        return np.array(chosen)
    if split == "train":
        return np.flatnonzero(usable & ~np.isin(people.numbers[:, 0], listed[:, 0]))
    usable[chosen] = False
    return np.flatnonzero(usable)
