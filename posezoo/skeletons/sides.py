"""Left and right in the names of keypoints: the mirror partner of each name.

A name is read word by word. Words end at anything but letters and digits, and where lower case or a
digit meets upper case (`leftEye`, `thumb1Left`, `LEye`). Case does not matter.

| In the name | Read as a side | Without a partner |
|---|---|---|
| the word `left` or `right`: `left_eye`, `mouth_right`, `Left Eye`, `leftEye`, `paw_front_left` | yes | error |
| a word that begins or ends with it: `lefteye`, `LEFTEYE`, `eyeright`, `left1` | yes | error |
| the word `l` or `r`: `L_Eye`, `LEye`, `lEye`, `earL`, `thigh.R` | yes | error |
| a word that begins or ends with the letter: `lsho`, `Rknee`, `L1`, `pawFL` | only beside its partner | no side |
| anything else: `lip`, `leg`, `line`, `rear`, `Lower`, `nose`, `face_3` | no | no side |

A partner has the same name with every side exchanged: `left_eye_right_corner` and
`right_eye_left_corner`. Spelt-out sides and letters do not pair with each other. A pair of the
upper rows takes precedence over one of the fourth: beside `left_ear` and `right_ear`, `rear` is no
ear. A name that is nothing but a side (`Left`, `R`) is that side. Two possible partners are an
error. Other languages and words (near and off, port and starboard) need `Skeleton(..., pairs=...)`.
"""

import functools
import re
from collections import defaultdict
from collections.abc import Iterator

# a word: capitals (and digits) that no small letter follows, or at most one capital and what is no capital
WORD = re.compile(r"[A-Z]+\d*(?![^\W\d_A-Z])|[A-Z]?[^\W_A-Z]+")
SPELT_OUT = re.compile(r"^(left|right)|(left|right)(?=\d*$)", re.IGNORECASE | re.ASCII)
CUT = re.compile(rf"{WORD.pattern}|[#*]")
EXCHANGE = str.maketrans("lrLR", "rlRL")

Span = tuple[int, int]
Reading = tuple[str, str]  # the sides of a name, such as "l", and the name without them, such as "# eye"


@functools.lru_cache(maxsize=256)
def partners(skeleton: str, keypoints: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Return the (left, right) pairs of indices whose names are each other's mirror image.

    Args:
        skeleton: name for messages.
        keypoints: unique names.

    Raises:
        ValueError: a name with a side has no partner, or more than one.

    Examples:
        >>> partners("face", ("nose", "LEye", "REye", "mouth_right", "mouth_left"))
        ((1, 2), (4, 3))
    """
    spans = [_sides(name) for name in keypoints]
    certain = [[_reading(name, found)] if found else [] for name, found in zip(keypoints, spans, strict=True)]
    pairs = _match(skeleton, keypoints, certain)
    paired = {index for pair in pairs for index in pair}
    # second, because "rear" is a right ear beside "lear", but not beside "left_ear" and "right_ear"
    rest = [
        [] if index in paired else certain[index] or [_reading(name, [span]) for span in _letters(name)]
        for index, name in enumerate(keypoints)
    ]
    pairs += _match(skeleton, keypoints, rest)
    paired = {index for pair in pairs for index in pair}
    for index, name in enumerate(keypoints):
        if certain[index] and index not in paired:
            raise ValueError(
                f"{skeleton}: {name!r} has no mirror image; add {_exchanged(name, spans[index])!r}, or give the pairs "
                "in Skeleton(..., pairs=...) if the name does not tell the side of the body"
            )
    return tuple(sorted(pairs))


def _sides(name: str) -> list[Span]:
    """Where a name says left or right: the upper three rows of the table."""
    spans = []
    for word in WORD.finditer(name):
        if word[0] in {"l", "r", "L", "R"}:
            spans.append(word.span())
        elif side := SPELT_OUT.search(word[0]):
            spans.append((word.start() + side.start(), word.start() + side.end()))
    return spans


def _letters(name: str) -> Iterator[Span]:
    """Where a name may say left or right: the first and the last letters of its words."""
    for word in WORD.finditer(name):
        for at in (word.start(), word.end() - 1):
            if name[at] in "lrLR":
                yield at, at + 1


def _reading(name: str, spans: list[Span]) -> Reading:
    """Sides of a name, and its words with a mark in place of each side."""
    sides, pieces, end = "", [], 0
    for start, stop in spans:
        pieces += [name[end:start], " * " if stop - start == 1 else " # "]
        sides, end = sides + name[start].lower(), stop
    return sides, " ".join(CUT.findall("".join([*pieces, name[end:]]))).lower()


def _match(skeleton: str, keypoints: tuple[str, ...], readings: list[list[Reading]]) -> list[tuple[int, int]]:
    """Pairs of indices (left, right) that differ in their sides alone."""
    holders: dict[Reading, list[int]] = defaultdict(list)
    for index, mine in enumerate(readings):
        for reading in mine:
            holders[reading].append(index)
    pairs = []
    for index, mine in enumerate(readings):
        found = {other: sides for sides, rest in mine for other in holders.get((sides.translate(EXCHANGE), rest), ())}
        if len(found) > 1:
            raise ValueError(
                f"{skeleton}: {keypoints[index]!r} has more than one mirror image, "
                f"{' and '.join(repr(keypoints[other]) for other in found)}; give the pairs in Skeleton(..., pairs=...)"
            )
        pairs += [(index, other) for other, sides in found.items() if sides[0] == "l"]
    return pairs


def _exchanged(name: str, spans: list[Span]) -> str:
    """The name with its sides exchanged, in its own capitals."""
    for start, stop in reversed(spans):
        side = name[start:stop]
        other = side.translate(EXCHANGE) if len(side) == 1 else {"l": "right", "r": "left"}[side[0].lower()]
        other = other.upper() if side.isupper() else other.capitalize() if side[0].isupper() else other
        name = name[:start] + other + name[stop:]
    return name
