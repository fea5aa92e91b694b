"""Cut videos into windows: inputs of sequence networks that stay within one video.

A video is a dictionary as `posezoo.data` describes. `Windows` cuts the entries that have one value
per frame, `FRAMEWISE`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from posezoo.arrays import check_count, explained

FRAMEWISE = ("keypoints", "pose3d", "visible", "boxes", "frames")


class Windows(Dataset[dict[str, Any]]):
    """Dataset of windows of consecutive frames, each within one video.

    | use | arguments |
    |---|---|
    | single frames (Martinez) | `length=1` |
    | sequences (Hossain & Little) | `length=5` |
    | a frame with its context (VideoPose3D) | `length=243, pad="edge"`; with `causal=True`, past context only |
    | disjoint clips (RPSM, test) | `length=5, stride=5, tail="keep"`: each frame once, in a clip of 1 to 5 frames |
    | clips from a random frame (RPSM, training) | `length=5, tail="keep"`, shuffled: clips of 1 to 5 frames |

    Args:
        videos: videos with the same entries of `FRAMEWISE`, one or more.
        length: frames per window.
        stride: frames from one window to the next.
        pad: "edge" has a window around every `stride`-th frame and repeats the first and the last
            frame beyond the ends. Defaults to windows within the video.
        causal: with `pad`, the window ends at its frame instead of being centred on it.
        tail: without `pad`, "keep" adds the windows that start less than `length` frames before the
            end, which are shorter.
        skip_short: leave out videos that are shorter than a window instead of raising.

    Item i is a dictionary with the window's frames `(length, ...)` of each entry, `video`, the
    index of its video, and `frame`, the index of its target frame: the middle one (for even lengths
    the later), or with `causal` the last. Item `[i, j, ...]`, a list or a tensor, is a batch of
    windows, gathered at once: give the `DataLoader` `batch_size=None` and a `BatchSampler`. Nothing
    is random; shuffling is left to the sampler. The attribute `videos` has the entries that are not
    per frame, such as cameras, by index of the video.

    Raises:
        ValueError: a video is empty or shorter than the window, its entries differ in length, or a
            frame is not finite (`valid_chunks` finds where to cut it); names the video.

    Examples:
        >>> videos = [{"keypoints": torch.arange(8.0).view(4, 1, 2)}, {"keypoints": torch.zeros(3, 1, 2)}]
        >>> windows = Windows(videos, length=3)
        >>> len(windows), windows[1]["keypoints"][:, 0, 0].tolist(), windows[[0, 2]]["video"].tolist()
        (3, [2.0, 4.0, 6.0], [0, 1])
        >>> Windows(videos, length=3, pad="edge")[0]["keypoints"][:, 0, 0].tolist()
        [0.0, 0.0, 2.0]
    """

    @explained
    def __init__(
        self,
        videos: Iterable[dict[str, Any]],
        *,
        length: int,
        stride: int = 1,
        pad: str | None = None,
        causal: bool = False,
        tail: str = "drop",
        skip_short: bool = False,
    ) -> None:
        check_count(length, "length")
        check_count(stride, "stride")
        if pad not in (None, "edge") or tail not in ("drop", "keep"):
            raise ValueError(f'expected pad None or "edge" and tail "drop" or "keep", got {pad!r} and {tail!r}')
        if pad and tail == "keep":
            raise ValueError('tail="keep" is for windows without pad=: padded ones already reach every frame')
        if causal and not pad:
            raise ValueError('causal=True needs pad="edge"; without padding a window has no frame of its own')
        self.videos = list(videos)
        if not self.videos:
            raise ValueError("videos: expected one or more, there is none")
        self.length = length
        self.entries = [key for key in FRAMEWISE if key in self.videos[0]]
        counts = [self._count(index) for index in range(len(self.videos))]
        firsts = torch.tensor([0, *counts[:-1]]).cumsum(dim=0)
        before = length - 1 if causal else length // 2
        starts, owners = [], []
        for index, count in enumerate(counts):
            if pad:
                own = torch.arange(0, count, stride) - before
            elif tail == "keep":
                own = torch.arange(0, count, stride)
            elif count >= length:
                own = torch.arange(0, count - length + 1, stride)
            elif skip_short:
                continue
            else:
                raise ValueError(
                    f"video {index} ({self._name(index)}) has {count} frames and the window {length}: choose a shorter "
                    'window, pad="edge", tail="keep", or skip_short=True to leave such videos out'
                )
            starts.append(own)
            owners.append(torch.full_like(own, index))
        if not starts:
            raise ValueError(f"no video is as long as a window of {length} frames; the longest has {max(counts)}")
        self.starts, self.owners = torch.cat(starts), torch.cat(owners)
        self.offset = before
        self.keeps_tail = tail == "keep"
        self.firsts, self.counts = firsts, torch.tensor(counts)
        # all videos concatenated, so that a batch is one indexing operation
        self.joined = {
            key: [path for video in self.videos for path in video[key]]
            if key == "frames"
            else torch.cat([video[key] for video in self.videos])
            for key in self.entries
        }
        self.videos = [{key: value for key, value in video.items() if key not in FRAMEWISE} for video in self.videos]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int | Sequence[int] | Tensor) -> dict[str, Any]:
        chosen = torch.as_tensor(index)
        if chosen.numel() and not bool(((chosen < len(self)) & (chosen >= -len(self))).all()):
            raise IndexError(f"there are {len(self)} windows, got {index}")
        owner, start = self.owners[chosen], self.starts[chosen]
        count, first = self.counts[owner], self.firsts[owner]
        length = self.length
        if self.keeps_tail and chosen.numel():
            lengths = (count - start).clamp_max(length)
            length = int(lengths.min())
            if length != int(lengths.max()):
                raise ValueError(
                    "windows at the ends of videos are shorter than others and do not fit in one batch; take them one "
                    "by one, or group them by `lengths`"
                )
        local = start[..., None] + torch.arange(length)
        frames = first[..., None] + local.clamp_min(0).minimum(count[..., None] - 1)
        window: dict[str, Any] = {
            key: _pick(values, frames) if isinstance(values, list) else values[frames]
            for key, values in self.joined.items()
        }
        middle = self.offset if not self.keeps_tail else length // 2
        return {**window, "video": owner, "frame": start + middle}

    @property
    def lengths(self) -> Tensor:
        """Frames per window, `(N,)`: `length`, or less at the end of a video with `tail="keep"`."""
        if not self.keeps_tail:
            return torch.full_like(self.starts, self.length)
        return (self.counts[self.owners] - self.starts).clamp_max(self.length)

    def _name(self, index: int) -> str:
        return str(self.videos[index].get("name", "without a name"))

    def _count(self, index: int) -> int:
        video = self.videos[index]
        found = {key: video[key] for key in FRAMEWISE if key in video}
        if not found or list(found) != self.entries:
            raise ValueError(
                f"video {index} ({self._name(index)}) has {', '.join(found) or 'none'} of {', '.join(FRAMEWISE)}, "
                f"the first one {', '.join(self.entries) or 'none'}"
            )
        lengths = {key: len(values) for key, values in found.items()}
        if len(set(lengths.values())) > 1 or not min(lengths.values()):
            raise ValueError(f"video {index} ({self._name(index)}): expected frames, as many of each, got {lengths}")
        for key, values in found.items():
            if isinstance(values, Tensor) and values.is_floating_point():
                bad = ~torch.isfinite(values).flatten(1).all(dim=1)
                if bad.any():
                    raise ValueError(
                        f"video {index} ({self._name(index)}): {key} of frame {int(bad.nonzero()[0])} is not finite; "
                        "cut the video into `valid_chunks`, or fill the gap"
                    )
        return min(lengths.values())


@explained
def valid_chunks(valid: Tensor) -> list[tuple[int, int]]:
    """Find runs of valid frames, as (first, last + 1), in a mask `(T,)`.

    Examples:
        >>> valid_chunks(torch.tensor([True, True, False, True]))
        [(0, 2), (3, 4)]
    """
    edges = torch.diff(valid.int(), prepend=torch.zeros(1, dtype=torch.int32), append=torch.zeros(1, dtype=torch.int32))
    return list(zip((edges > 0).nonzero()[:, 0].tolist(), (edges < 0).nonzero()[:, 0].tolist(), strict=True))


def _pick(items: list[Any], indices: Tensor) -> list[Any]:
    return [items[i] if isinstance(i, int) else [items[j] for j in i] for i in indices.tolist()]
