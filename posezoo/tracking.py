"""Tracking by detection: give the people found in each frame of a video ids that persist over time.

Each detection is compared with the people of earlier frames, whose last pose and box are moved on
at constant velocity. The similarity is the mean of the object keypoint similarity (OKS) of the
poses and the intersection over union (IoU) of the boxes. Pairs are assigned greedily, the most
similar ones first. People who were found in the previous frame take precedence over people who are
lost at the moment, as in the matching cascade of DeepSORT (Wojke et al., ICIP 2017).

Only positions are compared, not appearance. A person who comes back elsewhere, or after a cut, has
a new id; someone who appears where another person was lost less than `max_gap` ago inherits that
id.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from posezoo.arrays import check_number, explained
from posezoo.data.filters import OneEuroStream
from posezoo.geometry import box_iou
from posezoo.metrics import oks
from posezoo.people import People

SIGMA = 0.1  # of OKS, for every keypoint; COCO's sigmas of hips and shoulders are 0.107 and 0.079
BODY_OF_BOX = 0.53  # area of a person as a fraction of the box, where COCO's evaluation has no segment
DRIFT = 1.0  # per second since a person was last found: growth of the distances that count as near
VELOCITY_MEMORY = 0.2  # seconds; time constant of the velocity's exponential smoothing
ROUNDING = 1e-6  # seconds
BETA = 0.01  # Hz per pixel per second; the 1 euro filter's default
FILTERED_HEIGHT = 300.0  # pixels; height of a person for whom this `beta` is made


@dataclass
class _Person:
    """State of one id: the last detection, with velocity in pixels per second."""

    id: int
    keypoints: np.ndarray  # (K, 2)
    visible: np.ndarray  # (K,)
    box: np.ndarray  # (4,)
    time: float
    velocity: np.ndarray  # (2,)
    lost_since: float | None = None


class Tracker:
    """Assign ids to the people of successive frames, one frame at a time.

    The result does not depend on the order of the detections within a frame. Ids count from 0 and
    are never reused. New people of one frame are numbered from left to right. Duplicate detections
    of one person get two ids; remove them first, for instance with `posezoo.metrics.oks_nms`.

    Args:
        fps: frames per second, used where `update` has no time.
        max_gap: seconds for which a lost person keeps the id. 0 needs a detection in every frame.
        min_similarity: least similarity, above 0 and up to 1, at which a detection is given the id
            of an earlier person.
        min_score: keypoints with a lower score are not compared. Poses without a common keypoint
            are compared by their boxes alone.

    Raises:
        ValueError: for an `fps` that is not positive, a negative `max_gap`, or a `min_similarity`
            outside (0, 1].

    Examples:
        >>> def detect(*left):                                # people 40 pixels wide, at x = `left`
        ...     boxes = np.array([[x, 0.0, x + 40, 100] for x in left]).reshape(-1, 4)
        ...     return boxes.reshape(-1, 2, 2), np.ones((len(boxes), 2)), boxes
        >>> tracker = Tracker(fps=10)
        >>> tracker.update(*detect(100, 300))
        array([0, 1])
        >>> tracker.update(*detect(297, 105, 500))            # another order, and a third person
        array([1, 0, 2])
        >>> tracker.update(*detect())                         # nobody is found
        array([], dtype=int64)
        >>> tracker.update(*detect(115, 500))
        array([0, 2])
    """

    @explained
    def __init__(
        self, *, fps: float = 25.0, max_gap: float = 1.0, min_similarity: float = 0.3, min_score: float = 0.3
    ) -> None:
        if not 0 < fps < math.inf:
            raise ValueError(f"fps: expected a positive number of frames per second, got {fps}")
        if not max_gap >= 0:
            raise ValueError(f"max_gap: expected 0 seconds or more, got {max_gap}")
        if not 0 < min_similarity <= 1:
            raise ValueError(f"min_similarity: expected a number above 0 and up to 1, got {min_similarity}")
        check_number(min_score, "min_score", -math.inf)
        self.fps = fps
        self.max_gap = max_gap
        self.min_similarity = min_similarity
        self.min_score = min_score
        self._people: list[_Person] = []
        self._time = -math.inf
        self._next_id = 0
        self._num_keypoints: int | None = None

    @explained
    def update(self, keypoints: Any, scores: Any, boxes: Any, *, time: float | None = None) -> np.ndarray:
        """Ids of the people of the next frame.

        Args:
            keypoints: `(N, K, 2)` pixels; N may be 0. Keypoints that are not finite are not
                compared.
            scores: `(N, K)`.
            boxes: `(N, 4)` as (x1, y1, x2, y2) pixels.
            time: seconds, later than the previous frame's. Defaults to 1 / fps after the previous
                frame.

        Returns:
            `(N,)` int64, all different.

        Raises:
            ValueError: for other shapes, another K than before, a box that is not finite or has no
                area, or a time that does not increase. The tracker is unchanged then.
        """
        points, visible, corners, order = self._checked(keypoints, scores, boxes)
        self._time = self._next_time(time)
        if len(points):
            self._num_keypoints = points.shape[1]
        self._people = [
            person
            for person in self._people
            if person.lost_since is None or self._time - person.lost_since <= self.max_gap + ROUNDING
        ]

        matches = self._match(points, visible, corners)
        found = []
        for detection, (pose, seen, box) in enumerate(zip(points, visible, corners, strict=True)):
            person = matches.get(detection)
            if person is None:
                person = _Person(self._next_id, pose, seen, box, self._time, np.zeros(2))
                self._next_id += 1
                self._people.append(person)
            else:
                self._move(person, pose, seen, box)
            found.append(person.id)

        present = set(found)
        for person in self._people:
            if person.id not in present and person.lost_since is None:
                person.lost_since = self._time
        ids = np.empty(len(found), dtype=np.int64)
        ids[order] = found
        return ids

    def _checked(self, keypoints: Any, scores: Any, boxes: Any) -> tuple[np.ndarray, ...]:
        """Keypoints, visibility, boxes, sorted by their values; and the indices that sort them."""
        points, heights, corners = (
            torch.as_tensor(values).detach().cpu().double().numpy() for values in (keypoints, scores, boxes)
        )
        count = len(points)
        if (
            points.ndim != 3 or points.shape[2] != 2 or heights.shape != points.shape[:2]
            or corners.shape != (count, 4)
        ):  # fmt: skip
            raise ValueError(
                "expected keypoints (N, K, 2), scores (N, K) and boxes (N, 4), got "
                f"{points.shape}, {heights.shape} and {corners.shape}"
            )
        if count and self._num_keypoints not in (None, points.shape[1]):
            raise ValueError(
                f"keypoints: expected {self._num_keypoints} per person as in earlier frames, got {points.shape[1]}; "
                "use one tracker per skeleton"
            )
        bad = ~(np.isfinite(corners).all(axis=1) & (corners[:, 2:] > corners[:, :2]).all(axis=1))
        if bad.any():
            first = int(bad.argmax())
            raise ValueError(
                f"boxes: box {first} is {corners[first].tolist()}; expected finite (x1, y1, x2, y2) pixels with "
                "x2 > x1 and y2 > y1"
            )
        visible = np.isfinite(points).all(axis=2) & (heights >= self.min_score)
        points = np.where(visible[..., None], points, 0.0)
        values = np.concatenate([corners, points[..., 0], points[..., 1], visible], axis=1)
        order = np.lexsort(values.T[::-1])  # the last key counts first: the left edge
        return points[order], visible[order], corners[order], order

    def _next_time(self, time: float | None) -> float:
        if time is None:
            return self._time + 1 / self.fps if math.isfinite(self._time) else 0.0
        if not (math.isfinite(time) and time > self._time):
            raise ValueError(f"time: expected seconds after the previous frame's {self._time}, got {time}")
        return float(time)

    def _match(self, points: np.ndarray, visible: np.ndarray, boxes: np.ndarray) -> dict[int, _Person]:
        """Person of each matched detection, greedily by similarity; of equals the lowest id."""
        if not (len(points) and self._people):
            return {}
        elapsed = np.array([self._time - person.time for person in self._people])
        shifts = np.array([person.velocity for person in self._people]) * elapsed[:, None]
        similarity = self._similarity(points, visible, boxes, self._people, shifts, elapsed)

        # a lost person may have gone on, or stopped or turned back
        lost = np.array([person.lost_since is not None for person in self._people])
        if lost.any():
            waiting = [person for person in self._people if person.lost_since is not None]
            stopped = self._similarity(points, visible, boxes, waiting, np.zeros((len(waiting), 2)), elapsed[lost])
            similarity[:, lost] = np.maximum(similarity[:, lost], stopped)

        detections, people = np.nonzero(similarity >= self.min_similarity)
        # the last key counts first: people of the previous frame, then similarity, then ids
        ranking = np.lexsort((detections, people, -similarity[detections, people], lost[people]))
        matches: dict[int, _Person] = {}
        taken: set[int] = set()
        for detection, index in zip(detections[ranking].tolist(), people[ranking].tolist(), strict=True):
            if detection not in matches and index not in taken:
                matches[detection] = self._people[index]
                taken.add(index)
        return matches

    def _similarity(
        self, points: np.ndarray, visible: np.ndarray, boxes: np.ndarray, people: Sequence[_Person],
        shifts: np.ndarray, elapsed: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        """Mean of OKS and IoU of N detections and M shifted people: `(N, M)`."""
        tolerance = 1 + DRIFT * elapsed
        earlier = np.stack([person.box for person in people]) + np.tile(shifts, 2)
        overlap = box_iou(_enlarge(boxes[:, None], tolerance), _enlarge(earlier, tolerance))

        shape = (len(points), len(people))
        poses = np.stack([person.keypoints for person in people]) + shifts[:, None]
        both = visible[:, None] & np.stack([person.visible for person in people])
        areas = (_area(boxes)[:, None] + _area(earlier)) / 2 * BODY_OF_BOX * tolerance**2

        def flat(values: np.ndarray) -> np.ndarray:
            return np.broadcast_to(values, shape + values.shape[2:]).reshape(shape[0] * shape[1], *values.shape[2:])

        alike = oks(
            flat(points[:, None]), flat(poses[None]), flat(areas), [SIGMA] * points.shape[1], visible=flat(both)
        ).reshape(shape)
        return np.where(both.any(axis=2), (alike + overlap) / 2, overlap)

    def _move(self, person: _Person, pose: np.ndarray, visible: np.ndarray, box: np.ndarray) -> None:
        elapsed = self._time - person.time
        measured = ((box[:2] + box[2:]) - (person.box[:2] + person.box[2:])) / 2 / elapsed
        weight = 1 - math.exp(-elapsed / VELOCITY_MEMORY)  # exponential smoothing over uneven steps
        person.velocity = person.velocity + weight * (measured - person.velocity)
        person.keypoints, person.visible, person.box = pose, visible, box
        person.time, person.lost_since = self._time, None


def track(
    frames: Sequence[Any], *, times: Sequence[float] | None = None, tracker: Tracker | None = None
) -> list[np.ndarray]:
    """Ids of the people in every frame of a video.

    Args:
        frames: one result per frame with the attributes `keypoints`, `scores` and `boxes`, such as
            `posezoo.predict` returns. Frames without people are included.
        times: seconds of each frame, increasing. Defaults to constant steps at the tracker's `fps`.
        tracker: for other settings, or to go on after earlier frames. Defaults to `Tracker()`.

    Returns:
        One array `(N,)` of ids per frame.

    Raises:
        ValueError: as `Tracker.update`; another number of times than of frames.

    Examples:
        >>> from types import SimpleNamespace
        >>> box = np.array([[10.0, 10, 50, 90]])
        >>> pose = box.reshape(1, 2, 2)
        >>> frames = [SimpleNamespace(keypoints=pose + t, scores=np.ones((1, 2)), boxes=box + t)
        ...           for t in range(3)]
        >>> track(frames, tracker=Tracker(fps=30))
        [array([0]), array([0]), array([0])]
    """
    tracker = Tracker() if tracker is None else tracker
    if times is not None and len(times) != len(frames):
        raise ValueError(f"times: expected one per frame, {len(frames)}, got {len(times)}")
    return [
        tracker.update(frame.keypoints, frame.scores, frame.boxes, time=time)
        for frame, time in zip(frames, [None] * len(frames) if times is None else times, strict=True)
    ]


def with_ids(frames: Iterable[People], *, tracker: Tracker | None = None) -> Iterator[People]:
    """Yield the people of successive frames with `ids`, one frame at a time.

    Args:
        frames: `People` of each frame, with increasing `time`, or without times at constant steps.
        tracker: for other settings. Defaults to `Tracker()`.

    Raises:
        ValueError: as `Tracker.update`.

    Examples:
        >>> def detect(*left):
        ...     boxes = np.array([[x, 0.0, x + 40, 100] for x in left])
        ...     return People(boxes.reshape(-1, 2, 2), np.ones((len(boxes), 2)), boxes, None, (120, 400))
        >>> [people.ids.tolist() for people in with_ids([detect(100, 300), detect(297, 105)])]
        [[0, 1], [1, 0]]
    """
    tracker = Tracker() if tracker is None else tracker
    for people in frames:
        yield replace(people, ids=tracker.update(people.keypoints, people.scores, people.boxes, time=people.time))


def smoothed(frames: Iterable[People], *, fps: float = 25.0, max_gap: float = 1.0) -> Iterator[People]:
    """Filter keypoints of people with ids, frame by frame, by a `OneEuroStream` for each.

    Its `beta` is scaled to the height of the person's box in the first frame. A person who was lost
    for longer than `max_gap` begins anew.

    Args:
        frames: `People` of each frame, with `ids`, and with increasing `time` or without times.
        fps: frames per second, for frames without times.
        max_gap: seconds.

    Raises:
        ValueError: people without ids.

    Examples:
        >>> def at(x):
        ...     box, ids = np.array([[x, 0.0, x + 40, 300]]), np.array([0])
        ...     return People(box.reshape(1, 2, 2), np.ones((1, 2)), box, None, (400, 400), ids=ids)
        >>> [round(float(people.keypoints[0, 0, 0]), 1) for people in smoothed(map(at, (10, 12, 10, 12)))]
        [10.0, 10.4, 10.3, 10.7]
    """
    streams: dict[int, tuple[OneEuroStream, float]] = {}  # of each id, and the time when it was last found
    now = -1 / fps
    for people in frames:
        if people.ids is None:
            raise ValueError("frames: expected people with ids; with_ids(frames) gives them some")
        now = now + 1 / fps if people.time is None else people.time
        keypoints = people.keypoints.copy()
        for n, person in enumerate(people.ids.tolist()):
            stream, last = streams.get(person, (None, 0.0))
            if stream is None or now - last > max_gap + ROUNDING:
                height = max(1.0, float(people.boxes[n, 3] - people.boxes[n, 1]))
                stream, last = OneEuroStream(fps, beta=BETA * FILTERED_HEIGHT / height), now - 1 / fps
            points = torch.from_numpy(keypoints[n].astype(np.float64))
            keypoints[n] = stream(points, seconds=now - last).numpy()
            streams[person] = stream, now
        yield replace(people, keypoints=keypoints)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _enlarge(boxes: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Boxes that are `factor` times as wide and high around their centres."""
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    reach = (boxes[..., 2:] - boxes[..., :2]) / 2 * factor[:, None]
    return np.concatenate([center - reach, center + reach], axis=-1)
