"""Track one person through the frames of a video.

Detections of consecutive frames are linked to tracks by their distance. The person is the track
with the largest extent, summed over its frames. Where this track has no detection, before it and
after it, other tracks continue it: a camera cut, a long occlusion or a false first detection ends a
track, but not the person. The time is linear in the number of frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

MEMORY = 100  # frames without a detection after which a track ends
DECAY = 0.98  # per detection, of a track's size: one that shows few keypoints does not make the person small
SMALLEST = 0.1  # size of a continuing track relative to the person's
OVERLAP = 0.1  # share of a continuing track's frames that another one may cover


@dataclass
class _Track:
    last: np.ndarray
    size: float = 0.0
    frames: list[int] = field(default_factory=list)
    people: list[np.ndarray] = field(default_factory=list)
    extents: list[float] = field(default_factory=list)

    def add(self, frame: int, keypoints: np.ndarray) -> None:
        self.last = keypoints
        self.frames.append(frame)
        self.people.append(keypoints)
        self.extents.append(_extent(keypoints))
        self.size = max(self.extents[-1], DECAY * self.size)


def track_person(frames: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Track one person through a video.

    Args:
        frames: people of each frame, `(K, 3)` x, y, score; keypoints with a score of 0 or NaN
            coordinates are missing.

    Returns:
        `(T, K, 3)`; NaN in frames without the person.

    Raises:
        ValueError: people with different numbers of keypoints, or no people.

    Examples:
        >>> person, other = np.array([[[0, 0, 1], [0, 90, 1]], [[500, 0, 1], [500, 70, 1]]])
        >>> track_person([[person], [], [other, person + (5, 0, 0)]])[:, 0, 0].tolist()
        [0.0, nan, 5.0]
    """
    counts = {len(keypoints) for people in frames for keypoints in people}
    if len(counts) != 1:
        expected = f"people with equally many keypoints, got {sorted(counts)}" if counts else "people; there is nobody"
        raise ValueError(f"expected {expected}")
    tracks = _link(frames)
    video = np.full((len(frames), counts.pop(), 3), np.nan)
    if not tracks:
        return video
    tracks.sort(key=lambda track: -sum(track.extents))  # stable: of equal ones the earliest
    smallest = SMALLEST * float(np.median(tracks[0].extents))
    covered = np.zeros(len(frames), bool)
    for track in tracks:
        span = slice(track.frames[0], track.frames[-1] + 1)
        free = ~covered[track.frames]
        if (~free).mean() <= OVERLAP and np.median(track.extents) >= smallest:
            for frame, keypoints, chosen in zip(track.frames, track.people, free, strict=True):
                if chosen:
                    video[frame] = keypoints
            covered[span] = True
    return video


def _link(frames: Sequence[Sequence[np.ndarray]]) -> list[_Track]:
    """Join detections to tracks, the nearest first, at most one size of the person apart."""
    tracks: list[_Track] = []
    active: list[_Track] = []
    for frame, people in enumerate(frames):
        found = [keypoints for keypoints in people if _known(keypoints).any()]
        active = [track for track in active if frame - track.frames[-1] <= MEMORY]
        pairs: list[tuple[float, int, int]] = []
        if active and found:
            distances = _distances(np.stack([track.last for track in active]), np.stack(found))
            near = distances <= np.array([track.size for track in active])[:, None]
            pairs = [(float(distances[a, b]), int(a), int(b)) for a, b in np.argwhere(near)]
        taken: set[int] = set()
        joined: set[int] = set()
        for _, at, number in sorted(pairs):
            if at not in joined and number not in taken:
                active[at].add(frame, found[number])
                joined.add(at)
                taken.add(number)
        for number, keypoints in enumerate(found):
            if number not in taken:
                track = _Track(keypoints)
                track.add(frame, keypoints)
                tracks.append(track)
                active.append(track)
    return tracks


def _known(people: np.ndarray) -> np.ndarray:
    known: np.ndarray = (people[..., 2] > 0) & np.isfinite(people[..., 0]) & np.isfinite(people[..., 1])
    return known


def _extent(keypoints: np.ndarray) -> float:
    """The diagonal of the box around the keypoints that are there, `(K, 3)`."""
    return float(np.linalg.norm(np.ptp(keypoints[_known(keypoints), :2], axis=0)))


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distances `(A, B)` of people: mean over common keypoints, or distance of the centroids."""
    known = _known(first), _known(second)
    a, b = (np.where(mask[..., None], people[..., :2], 0) for mask, people in zip(known, (first, second), strict=True))
    both = known[0][:, None] & known[1][None]
    apart = np.linalg.norm(a[:, None] - b[None], axis=-1)
    common = both.sum(axis=-1)
    middles = [points.sum(axis=1) / mask.sum(axis=1, keepdims=True) for points, mask in zip((a, b), known, strict=True)]
    between = np.linalg.norm(middles[0][:, None] - middles[1][None], axis=-1)
    return np.where(common > 0, (apart * both).sum(axis=-1) / np.maximum(common, 1), between)
