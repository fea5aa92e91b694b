"""The people in an image: their keypoints, scores and boxes, to draw, convert and save."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from posezoo.images import load_image_uint8
from posezoo.skeletons import Skeleton, convert, get_skeleton
from posezoo.viz import draw_keypoints
from posezoo.writing import replacing, save_image

if TYPE_CHECKING:
    from posezoo.images import ImageLike


@dataclass(frozen=True, eq=False, repr=False)  # arrays have no single result of ==
class People:
    """The people in one image.

    `len(people)` is their number N. An index, a slice, a mask or a list of indices selects people;
    `people[0]` is `People` with one person, and a loop runs over such people. Iteration is over
    people, so unpacking is, too: `first, second = people` holds for two people. The arrays of all
    are `people.keypoints` and `people.scores`, or `keypoints, scores = people.unpack()`.

    Attributes:
        keypoints: `(N, K, 2)` float32, (x, y) pixels of the image. The centre of its top-left pixel
            is (0, 0).
        scores: `(N, K)` float32. Heatmap networks give the height of the peak, about 1 for a
            confident prediction.
        boxes: `(N, 4)` float32, (x1, y1, x2, y2) pixels, the boxes that were cropped, without their
            padding.
        skeleton: names and bones of the keypoints, or None where the model's keypoints have no
            names.
        image_size: (H, W) of the image.
        box_scores: `(N,)` float32, the detector's scores, or None where the boxes were given.
        image: the image as it was given to `posezoo.predict`, a path for instance, on which `draw`
            draws. None for people from elsewhere, and for frames of a video.
        ids: `(N,)` int64, the same for a person in all frames of a video, or None without tracking.
        time: seconds since the first frame of a video, or None.

    Examples:
        >>> import posezoo
        >>> photo = np.zeros((120, 90, 3), np.uint8)
        >>> people = posezoo.predict(photo, boxes=[[0, 0, 40, 110], [50, 0, 90, 110]])
        >>> people
        People(2 people, 17 keypoints of coco17, image of 90 x 120)
        >>> people[0].keypoints.shape, [len(person) for person in people]
        ((1, 17, 2), [1, 1])
    """

    keypoints: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    skeleton: Skeleton | None
    image_size: tuple[int, int]
    box_scores: np.ndarray | None = None
    image: Any = field(default=None)
    ids: np.ndarray | None = None
    time: float | None = None

    def __len__(self) -> int:
        """Return the number of people."""
        return len(self.keypoints)

    def __repr__(self) -> str:
        count, (height, width) = len(self), self.image_size
        named = f" of {self.skeleton.name}" if self.skeleton else ""
        return (
            f"People({count} {'person' if count == 1 else 'people'}, {self.keypoints.shape[1]} keypoints{named}, "
            f"image of {width} x {height})"
        )

    def __getitem__(self, index: Any) -> "People":
        """Select people by an index, a slice, a mask `(N,)` or a list of indices.

        Raises:
            IndexError: an index that is out of range.
        """
        if isinstance(index, int | np.integer) and not isinstance(index, bool | np.bool_):
            if not -len(self) <= index < len(self):
                raise IndexError(f"person {index}: there are {len(self)}, from 0 to {len(self) - 1}")
            index = [int(index)]
        elif not isinstance(index, slice):
            index = np.asarray(index)
            index = index.astype(int) if not index.size else index  # an empty list is one of floats
        return replace(
            self,
            keypoints=self.keypoints[index],
            scores=self.scores[index],
            boxes=self.boxes[index],
            box_scores=None if self.box_scores is None else self.box_scores[index],
            ids=None if self.ids is None else self.ids[index],
        )

    def __iter__(self) -> Iterator["People"]:
        return (self[number] for number in range(len(self)))

    def unpack(self) -> tuple[np.ndarray, np.ndarray]:
        """Return `keypoints` `(N, K, 2)` and `scores` `(N, K)`, as `model.predict` does.

        Examples:
            >>> people = People(np.ones((3, 2, 2)), np.ones((3, 2)), np.zeros((3, 4)), None, (10, 10))
            >>> keypoints, scores = people.unpack()
            >>> keypoints.shape, scores.shape
            ((3, 2, 2), (3, 2))
        """
        return self.keypoints, self.scores

    @property
    def edges(self) -> list[tuple[int, int]]:
        """Bones as pairs of keypoints counted from 1, as `supervision.EdgeAnnotator` takes them."""
        return [(start + 1, stop + 1) for start, stop in self.skeleton.bones] if self.skeleton else []

    def to(self, skeleton: str | Skeleton | Sequence[str]) -> "People":
        """Convert to another skeleton with `posezoo.skeletons.convert`.

        A keypoint that is the mean of others has the mean of their scores. Keypoints that cannot be
        converted are NaN, with a score of 0.

        Raises:
            ValueError: keypoints without names, or an unknown skeleton.

        Examples:
            >>> import posezoo
            >>> people = posezoo.predict(np.zeros((120, 90, 3), np.uint8), boxes=[[10, 10, 80, 110]])
            >>> people = people.to("lsp14")  # COCO has neither the neck nor the top of the head
            >>> people.keypoints.shape, int(np.isfinite(people.keypoints[0, :, 0]).sum())
            ((1, 14, 2), 12)
        """
        if self.skeleton is None:
            raise ValueError("to: the keypoints of these people have no names; give the model a skeleton")
        target = get_skeleton(skeleton)
        keypoints, valid = convert(self.keypoints, self.skeleton, target)
        scores, _ = convert(self.scores[..., None], self.skeleton, target)
        return replace(
            self,
            keypoints=np.where(valid[..., None], keypoints, np.nan).astype(np.float32),
            scores=np.where(valid, scores[..., 0], 0).astype(np.float32),
            skeleton=target,
        )

    def draw(
        self,
        image: "ImageLike | None" = None,
        *,
        threshold: float = 0.3,
        names: bool = False,
        legend: bool = False,
        boxes: bool = False,
    ) -> np.ndarray:
        """Draw the people on their image, with ids if known; see `posezoo.viz.draw_keypoints`.

        Args:
            image: an image as `posezoo.predict` takes it. Defaults to the one that `predict` was
                given; a path is read again.
            threshold: lowest score of a drawn keypoint. Keypoints up to twice as high are faint.
            names: whether to write the names beside the keypoints.
            legend: whether to explain the colours.
            boxes: whether to draw the boxes.

        Returns:
            uint8 `(H, W, 3)`.

        Raises:
            ValueError: no image, or one of another size than `image_size`.

        Examples:
            >>> import posezoo
            >>> people = posezoo.predict(np.zeros((120, 90, 3), np.uint8))
            >>> people.draw(names=True, boxes=True).shape
            (120, 90, 3)
        """
        source = self.image if image is None else image
        if source is None:
            raise ValueError("image: these people have no image of their own; pass it, draw(image)")
        pixels = load_image_uint8(source)
        if tuple(pixels.shape[1:]) != tuple(self.image_size):
            (height, width), (h, w) = self.image_size, pixels.shape[1:]
            raise ValueError(f"image: expected {width} x {height} pixels, the image of the keypoints, got {w} x {h}")
        return draw_keypoints(
            pixels,
            self.keypoints,
            self.skeleton or [f"keypoint {number}" for number in range(self.keypoints.shape[1])],
            scores=self.scores,
            threshold=threshold,
            boxes=self.boxes if boxes and len(self) else None,
            labels=None if self.ids is None else [str(number) for number in self.ids],
            names=names,
            legend=legend,
        )

    def save(self, path: str | Path, image: "ImageLike | None" = None, **options: Any) -> Path:
        """Write a drawing, or with the suffix `.json` the numbers of `to_dict`.

        The file is written beside its name and renamed when it is complete.

        Args:
            path: the file to write; its folder is created.
            image: as in `draw`.
            options: those of `draw`.

        Raises:
            ValueError: another suffix; what `draw` raises.

        Examples:
            >>> import posezoo, tempfile
            >>> people = posezoo.predict(np.zeros((120, 90, 3), np.uint8))
            >>> people.save(Path(tempfile.mkdtemp(), "people.json")).stat().st_size > 500
            True
        """
        path = Path(path)
        if path.suffix.lower() != ".json":
            return save_image(path, self.draw(image, **options))
        if image is not None or options:
            raise ValueError(f"{path}: numbers take no image and no {', '.join(options) or 'drawing'}")
        with replacing(path) as part:
            part.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        return path

    def to_dict(self) -> dict[str, Any]:
        """Convert to lists for JSON, with the names and bones of the keypoints.

        Keypoints that are not finite are None. Numbers are rounded to 3 digits.

        Examples:
            >>> arm = Skeleton("arm", ("elbow", "wrist"), bones=((0, 1),))
            >>> people = People(np.ones((1, 2, 2)), np.ones((1, 2)), np.zeros((1, 4)), arm, (10, 20))
            >>> people.to_dict()["people"]
            [{'keypoints': [[1.0, 1.0], [1.0, 1.0]], 'scores': [1.0, 1.0], 'box': [0.0, 0.0, 0.0, 0.0]}]
        """
        people = []
        for number in range(len(self)):
            points = np.round(self.keypoints[number].astype(float), 3)
            person = {
                "keypoints": [point.tolist() if np.isfinite(point).all() else None for point in points],
                "scores": np.round(self.scores[number].astype(float), 3).tolist(),
                "box": np.round(self.boxes[number].astype(float), 3).tolist(),
            }
            if self.box_scores is not None:
                person["box_score"] = round(float(self.box_scores[number]), 3)
            if self.ids is not None:
                person["id"] = int(self.ids[number])
            people.append(person)
        return {
            "file_name": str(self.image) if isinstance(self.image, str | Path) else None,
            "image_size": list(self.image_size),
            **({} if self.time is None else {"time": round(self.time, 6)}),
            "skeleton": self.skeleton.name if self.skeleton else None,
            "names": list(self.skeleton.keypoints) if self.skeleton else None,
            "bones": [list(bone) for bone in self.skeleton.bones] if self.skeleton else None,
            "people": people,
        }

    def to_coco(
        self, image_id: int = 0, category_id: int = 1, *, skeleton: str | Skeleton | Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """Convert to COCO's results format, one dictionary per person, with `track_id` if known.

        Keypoints are a flat list [x1, y1, score1, x2, …]. The score of a person is the mean of its
        keypoints' scores, times the box score of a detector.

        Args:
            image_id: of the image, as in the file of annotations.
            category_id: of people; 1 in COCO.
            skeleton: of the results. COCO's own tools expect "coco17". Keypoints that cannot be
                converted are 0, 0, 0, as COCO's are where nobody annotated them. Defaults to the
                skeleton of the people.

        Examples:
            >>> keypoints, scores, boxes = np.ones((1, 2, 2)), np.ones((1, 2)), np.zeros((1, 4))
            >>> people = People(keypoints, scores, boxes, None, image_size=(10, 10))
            >>> people.to_coco(image_id=7)[0]["keypoints"]
            [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
        """
        shown = self if skeleton is None else self.to(skeleton)
        points = np.concatenate([np.nan_to_num(shown.keypoints), shown.scores[..., None]], axis=2)
        box_scores = np.ones(len(self)) if self.box_scores is None else self.box_scores
        results = [
            {
                "image_id": image_id,
                "category_id": category_id,
                "keypoints": person.ravel().astype(float).tolist(),
                "score": float(scores.mean() * score),
                "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
            }
            for person, scores, (x1, y1, x2, y2), score in zip(points, self.scores, self.boxes, box_scores, strict=True)
        ]
        if self.ids is not None:
            results = [{**result, "track_id": int(number)} for result, number in zip(results, self.ids, strict=True)]
        return results

    def to_supervision(self) -> Any:
        """Convert to `supervision.KeyPoints`, for the annotators and trackers of that package.

        The scores are its confidences; `data` holds the boxes as `"xyxy"` `(N, 4)` and the bones of
        each person, counted from 1, as `"edges"`. `EdgeAnnotator(edges=people.edges)` draws them.

        Raises:
            ImportError: the package supervision is missing.

        Examples:
            >>> points = people.to_supervision()                                  # doctest: +SKIP
            >>> annotator = supervision.EdgeAnnotator(edges=people.edges)         # doctest: +SKIP
            >>> drawn = annotator.annotate(image, points)                         # doctest: +SKIP
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError("to_supervision needs the package supervision: pip install supervision") from error
        if not len(self):
            return supervision.KeyPoints.empty()
        # by position, because the name of the scores changes between releases: points, classes, scores
        points = supervision.KeyPoints(
            self.keypoints.astype(np.float32), np.zeros(len(self), dtype=int), self.scores.astype(np.float32),
            data={"xyxy": self.boxes.astype(np.float32), "edges": [self.edges for _ in range(len(self))]},
        )  # fmt: skip
        if hasattr(points, "detection_confidence"):  # older releases have none
            # without a detector, the score of a person is that of its keypoints, as in `to_coco`
            scores = self.scores.mean(axis=1) if self.box_scores is None else self.box_scores
            points.detection_confidence = scores.astype(np.float32)
        return points
