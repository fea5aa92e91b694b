"""The record of published weights, and the places its file may come from.

A record lists its sources in order of preference:

    package:NAME                             shipped with posezoo, in posezoo/pretrained/NAME/
    local-dir:/path                          a folder that `save_pretrained` wrote, or one file
    hf-hub:org/name[@revision][/file.ext]    the Hugging Face Hub; defaults to model.safetensors
    https://...                              any web server
"""

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any

from posezoo.foreign import printable
from posezoo.skeletons import get_skeleton

WEIGHTS_FILE = "model.safetensors"
HUB_SOURCE = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>refs/pr/\d+|[^/@]+))?(?:/(?P<file>[^@]+\.[A-Za-z]\w*))?"
)
DECODING: dict[str, dict[str, Any]] = {  # codec -> constructor arguments of the decoding that belongs to it
    "dark": {"decoding": "dark"},
    "udp": {"decoding": "udp", "flip_shift": False},
}


@dataclass(frozen=True)
class Weights:
    """One set of published weights: its file, network, scores and licence.

    Attributes:
        sources: places of the file, the preferred first (see the module's docstring).
        sha256: of the file, at least its first 8 hexadecimal digits. URLs require it.
        size: of the file, bytes.
        kwargs: constructor arguments of the network, without those of the codec's decoding.
        input_size: `(H, W)` in pixels.
        input: other settings of the model's input, see `PoseModel.input_settings`.
        skeleton: a name of `posezoo.list_skeletons()`.
        codec: encoding of the training heatmaps: "msra", rounded to cells; "gaussian", not rounded;
            "dark" and "udp", not rounded and with a decoding of their own; "": no heatmaps.
        channel_order: of the training images, "RGB" or "BGR". Loading folds BGR into RGB.
        flip_shift: whether the heatmaps of a mirrored image are shifted by one cell before
            averaging; None: no heatmaps.
        metrics: `{dataset: {metric: value}}`.
        metrics_by: who measured them: "authors", "mmpose" or "posezoo".
        protocol: how they were measured: person boxes, flip averaging.
        data: training data.
        data_license: terms of the training data.
        license: terms of the weights.
        paper: link to the paper.
        origin: URL of the first publication.
        keypoints: names of the head's rows in the file, where the network's skeleton is a selection
            or another order of them: loading selects rows by name. (): the skeleton's.
        base: `arch.tag` of another record, whose file has the tensors of the submodules `shared`.
        shared: names of submodules that are in the base's file and not in this one.
        format: of the file, a name in `posezoo.checkpoints.FORMATS`; "": posezoo's own.
        tag: of the weights, the part of the name behind the dot.
        architecture: of the network, the part of the name before the dot.

    Raises:
        ValueError: an unknown kind of source, a URL without sha256, a malformed sha256, an unknown
            channel order, a skeleton with keypoints that the file lacks, or `base` without
            `shared`.

    Examples:
        >>> from posezoo import Weights
        >>> record = Weights(sources=("hf-hub:someone/pose@v1",), kwargs={"num_keypoints": 16})
        >>> Weights.from_dict(record.to_dict()) == record
        True
    """

    sources: tuple[str, ...] = ()
    sha256: str = ""
    size: int | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    input_size: tuple[int, int] | None = None
    input: dict[str, Any] = field(default_factory=dict)
    skeleton: str = ""
    codec: str = ""
    channel_order: str = ""
    flip_shift: bool | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    metrics_by: str = ""
    protocol: str = ""
    data: str = ""
    data_license: str = ""
    license: str = ""
    paper: str = ""
    origin: str = ""
    keypoints: tuple[str, ...] = ()
    base: str = ""
    shared: tuple[str, ...] = ()
    format: str = ""
    tag: str = ""
    architecture: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.sources, str):
            raise ValueError(f"sources: expected a tuple, got the string {self.sources!r}; write ({self.sources!r},)")
        for field_ in dataclasses.fields(self):
            self._check(field_.name)
        for name in ("sources", "keypoints", "shared"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "sha256", self.sha256.lower())
        if self.input_size is not None:
            object.__setattr__(self, "input_size", tuple(self.input_size))
        if self.sha256 and not re.fullmatch(r"[0-9a-f]{8,64}", self.sha256):
            raise ValueError(f"sha256: expected 8 to 64 hexadecimal digits, got {self.sha256!r}")
        if self.channel_order not in ("", "RGB", "BGR"):
            raise ValueError(f"channel_order: expected 'RGB' or 'BGR', got {self.channel_order!r}")
        skeleton = self.kwargs.get("skeleton") or self.skeleton
        if self.keypoints and skeleton:
            absent = [name for name in get_skeleton(skeleton).keypoints if name not in self.keypoints]
            if absent:
                raise ValueError(
                    f"keypoints: the skeleton has {', '.join(absent)}, and the file's are {', '.join(self.keypoints)}"
                )
        if bool(self.base) != bool(self.shared):
            raise ValueError(
                f"base and shared: expected both, a record's name and the submodules that its file has, got "
                f"{self.base!r} and {self.shared}"
            )
        for source in self.sources:
            kind, rest = split_source(source)
            if kind in ("http", "https") and not self.sha256:
                raise ValueError(f"{source}: a web server's file needs its sha256 (`sha256sum FILE` prints it)")
            if kind == "hf-hub":
                parse_hub_source(rest)

    def _check(self, name: str) -> None:
        """Raise if a field is of another kind than its default, as in a damaged config.json."""
        value = getattr(self, name)
        if name in ("sources", "keypoints", "shared"):
            right, kind = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value), "texts"
        elif name == "input_size":
            sides = value if isinstance(value, list | tuple) and len(value) == 2 else [0]
            right, kind = value is None or all(type(side) is int and side > 0 for side in sides), "(H, W)"
        elif name == "size":
            right, kind = value is None or (type(value) is int and value >= 0), "a number of bytes"
        elif name == "flip_shift":
            right, kind = value is None or isinstance(value, bool), "true, false or None"
        elif name == "metrics":
            rows = list(value.values()) if isinstance(value, dict) else [None]
            right, kind = all(isinstance(row, dict) for row in rows), "{dataset: {metric: value}}"
        elif name in ("kwargs", "input"):
            right, kind = isinstance(value, dict) and all(isinstance(key, str) for key in value), "a dictionary"
        else:
            right, kind = isinstance(value, str), "a text"
        if not right:
            raise ValueError(f"{name} of a weights record: expected {kind}, got {printable(repr(value))}")

    @property
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments of the network, with the decoding of its codec.

        Examples:
            >>> from posezoo import Weights
            >>> Weights(codec="dark", kwargs={"num_keypoints": 16}).arguments
            {'decoding': 'dark', 'num_keypoints': 16}
        """
        return {**DECODING.get(self.codec, {}), **self.kwargs}

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are set, as JSON values."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
            if value not in ((), "", None, {})
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Weights":
        """Return the record that `to_dict` wrote.

        Raises:
            ValueError: unknown fields, or values of another kind.
        """
        unknown = [printable(name) for name in sorted(set(values) - {f.name for f in dataclasses.fields(cls)})]
        if unknown:
            raise ValueError(
                f"unknown fields of a weights record: {', '.join(unknown)}. A newer posezoo may have written them "
                "(pip install --upgrade posezoo); otherwise remove them"
            )
        return cls(**values)


def split_source(source: str) -> tuple[str, str]:
    """Split a source into its kind and the rest."""
    kind, colon, rest = source.partition(":")
    if not colon or not rest or kind not in ("package", "local-dir", "hf-hub", "http", "https"):
        raise ValueError(
            f"unknown source {source!r}: expected package:NAME, local-dir:/path, hf-hub:org/name or https://..."
        )
    return kind, rest


def parse_hub_source(rest: str) -> tuple[str, str | None, str]:
    """Split `org/name[@revision][/file.ext]` into repository, revision and file."""
    match = HUB_SOURCE.fullmatch(rest)
    if match is None:
        raise ValueError(f"hf-hub:{rest}: expected hf-hub:org/name[@revision][/file.ext]")
    return match["repo"], match["revision"], match["file"] or WEIGHTS_FILE
