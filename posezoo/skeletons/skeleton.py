"""`Skeleton`: names, bones, sigmas and mirror pairs of the keypoints of a pose."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from posezoo.arrays import explained
from posezoo.skeletons.sides import partners


@dataclass(frozen=True)
class Skeleton:
    """Names, bones and sizes of the keypoints of a pose, in the order of the array's K axis.

    Args:
        name: name for messages; registered skeletons are looked up by it with `get_skeleton`.
        keypoints: one unique name per keypoint. Left and right are read from the names in every
            usual spelling (`left_eye`, `mouth_right`, `leftEye`, `L_Eye`, `earL`; the table in
            `posezoo.skeletons.sides`).
        bones: pairs of indices, joined when drawing and used as limbs by metrics.
        sigmas: per-keypoint constants of OKS, as fractions of the square root of the person's area.
        pairs: pairs (left, right) of indices or names that are exchanged when the image is
            mirrored, instead of those read from the names; `()` for none.

    Raises:
        ValueError: for no names or repeated ones, bones or pairs that leave `0..K-1`, a keypoint in
            two pairs, or sigmas that are not K positive numbers.

    Examples:
        >>> skeleton = Skeleton("face", ("nose", "left_eye", "right_eye"), bones=((0, 1), (0, 2)))
        >>> len(skeleton), skeleton.flip_index, skeleton.index("left_eye")
        (3, (0, 2, 1), 1)
        >>> Skeleton("horse", ("near_hoof", "off_hoof"), pairs=[("near_hoof", "off_hoof")]).flip_index
        (1, 0)
    """

    name: str
    keypoints: tuple[str, ...]
    bones: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] | None = None
    pairs: tuple[tuple[int, int], ...] | None = None

    @explained
    def __post_init__(self) -> None:
        if isinstance(self.keypoints, str):
            raise ValueError(f"{self.name}: keypoints must be a sequence of names, got the string {self.keypoints!r}")
        # lists are welcome (JSON has no tuples); stored as tuples so that a skeleton stays hashable
        keypoints = tuple(self.keypoints)
        bones = tuple(tuple(bone) if isinstance(bone, Sequence) else (bone,) for bone in self.bones)
        object.__setattr__(self, "keypoints", keypoints)
        object.__setattr__(self, "bones", bones)

        if not keypoints or not all(isinstance(keypoint, str) and keypoint for keypoint in keypoints):
            raise ValueError(f"{self.name}: keypoints must be one or more non-empty names, got {keypoints!r}")
        repeated = sorted({keypoint for keypoint in keypoints if keypoints.count(keypoint) > 1})
        if repeated:
            raise ValueError(f"{self.name}: keypoint names must be unique, these repeat: {', '.join(repeated)}")
        for bone in bones:
            if len(bone) != 2 or bone[0] == bone[1] or not all(_is_index(end, len(keypoints)) for end in bone):
                raise ValueError(
                    f"{self.name}: a bone joins two different indices in 0..{len(keypoints) - 1}, got {bone!r}"
                )
        if self.sigmas is not None:
            sigmas = tuple(float(sigma) for sigma in self.sigmas)
            object.__setattr__(self, "sigmas", sigmas)
            if len(sigmas) != len(keypoints) or not all(0 < sigma < float("inf") for sigma in sigmas):
                raise ValueError(
                    f"{self.name}: sigmas must be {len(keypoints)} positive numbers, one per keypoint, got {sigmas!r}"
                )
        if self.pairs is not None:
            object.__setattr__(self, "pairs", tuple(self._as_pair(pair) for pair in self.pairs))
            ends = [end for pair in self.pairs for end in pair]
            if len(set(ends)) < len(ends):
                raise ValueError(f"{self.name}: a keypoint is in two of the pairs {self.pairs!r}")

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def flip_index(self) -> tuple[int, ...]:
        """Permutation that restores the order of mirrored keypoints, `flipped[..., flip_index, :]`.

        Raises:
            ValueError: when a name has a side, such as `left_`, and its mirror image is missing.
        """
        index = list(range(len(self.keypoints)))
        for left, right in self._sided():
            index[left], index[right] = right, left
        return tuple(index)

    @property
    def mirror_pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of indices that are exchanged when the image is mirrored, the lower index first.

        Raises:
            ValueError: when a name has a side, such as `left_`, and its mirror image is missing.
        """
        return tuple(sorted((min(pair), max(pair)) for pair in self._sided()))

    @property
    def sides(self) -> tuple[str, ...]:
        """Side of the body of each keypoint: "left", "right", or "" in the middle.

        Raises:
            ValueError: when a name has a side, such as `left_`, and its mirror image is missing.

        Examples:
            >>> Skeleton("face", ("nose", "mouth_left", "mouth_right")).sides
            ('', 'left', 'right')
        """
        side = dict.fromkeys(range(len(self.keypoints)), "")
        for left, right in self._sided():
            side[left], side[right] = "left", "right"
        return tuple(side.values())

    def index(self, keypoint: str) -> int:
        """Return the position of a keypoint on the K axis.

        Raises:
            ValueError: for an unknown name, with the closest names there are.
        """
        if keypoint not in self.keypoints:
            raise ValueError(f"{self.name} has no keypoint {keypoint!r}. {suggest(keypoint, self.keypoints)}")
        return self.keypoints.index(keypoint)

    def to_json(self) -> list[str] | dict[str, Any]:
        """Convert to JSON values for `get_skeleton`: the names, or all fields if more are given.

        Examples:
            >>> Skeleton("face", ("nose", "eyes")).to_json()
            ['nose', 'eyes']
            >>> Skeleton("horse", ("near", "off"), pairs=[(0, 1)]).to_json()
            {'name': 'horse', 'keypoints': ['near', 'off'], 'pairs': [[0, 1]]}
        """
        given: dict[str, Any] = {"bones": [list(bone) for bone in self.bones]} if self.bones else {}
        given |= {"sigmas": list(self.sigmas)} if self.sigmas else {}
        given |= {"pairs": [list(pair) for pair in self.pairs]} if self.pairs is not None else {}
        return {"name": self.name, "keypoints": list(self.keypoints), **given} if given else list(self.keypoints)

    def _sided(self) -> tuple[tuple[int, int], ...]:
        """Pairs (left, right) of indices: those given, or those the names tell."""
        return partners(self.name, self.keypoints) if self.pairs is None else self.pairs

    def _as_pair(self, pair: Any) -> tuple[int, int]:
        ends = tuple(pair) if isinstance(pair, Sequence) and not isinstance(pair, str) else ()
        ends = tuple(self.index(end) if isinstance(end, str) else end for end in ends)
        if len(ends) != 2 or ends[0] == ends[1] or not all(_is_index(end, len(self.keypoints)) for end in ends):
            raise ValueError(
                f"{self.name}: a pair is two different names or indices in 0..{len(self.keypoints) - 1}, left first, "
                f"got {pair!r}"
            )
        return ends


def suggest(name: str, known: Sequence[str]) -> str:
    """Return the end of a message about an unknown name: the closest names, and all there are.

    Examples:
        >>> suggest("noze", ("nose", "left_eye"))
        "Did you mean 'nose'? Known: nose, left_eye"
    """
    close = difflib.get_close_matches(str(name).lower(), known, n=3, cutoff=0.5)
    question = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{question}Known: {', '.join(known)}"


def _is_index(value: Any, length: int) -> bool:
    return isinstance(value, int) and 0 <= value < length
