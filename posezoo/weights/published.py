"""The table of all published weights: architecture -> tag -> record.

A tag reads `<data>_<height>x<width>[_<codec or source>]`. `_dark` and `_udp` are codecs, `_v0`
files of mmpose's version 0, `_authors` the authors' own files. The first tag of an architecture is
its default. Records without a source have to be downloaded by hand from their `origin`, because
their licence or a missing checksum does not allow posezoo to fetch them.

The rows are in `published_lspet.py`, `published_image_networks.py`, `published_clip_networks.py`
and `published_lifters.py`. `posezoo.register_model` looks up the name of its function here, and
adds the records of plug-ins.
"""

import re
from dataclasses import replace

from posezoo.weights.published_clip_networks import CLIP_NETWORKS
from posezoo.weights.published_image_networks import IMAGE_NETWORKS
from posezoo.weights.published_lifters import LIFTERS
from posezoo.weights.published_lspet import LSPET_NETWORKS
from posezoo.weights.record import Weights

PUBLISHED: dict[str, dict[str, Weights]] = {}


def publish(architecture: str, records: dict[str, Weights]) -> None:
    """Set the records of an architecture by tag, the default first.

    Raises:
        ValueError: no records, or a tag with characters other than letters, digits, "_", "-", ".".
    """
    if not isinstance(records, dict) or not all(isinstance(record, Weights) for record in records.values()):
        raise ValueError(f"{architecture}: expected weights as {{tag: posezoo.Weights(...)}}, got {records!r:.200}")
    for tag in records:
        if not isinstance(tag, str) or not re.fullmatch(r"\w[\w.-]*", tag):
            raise ValueError(f"{architecture}: expected a tag of letters, digits, '_', '-' and '.', got {tag!r}")
    PUBLISHED[architecture] = {
        tag: replace(record, architecture=architecture, tag=tag) for tag, record in records.items()
    }


def published_record(name: str) -> Weights:
    """Return the record of `arch.tag`.

    Raises:
        ValueError: no such record.

    Examples:
        >>> published_record("martinez.cmu").skeleton
        'h36m17'
    """
    architecture, _, tag = name.partition(".")
    records = PUBLISHED.get(architecture, {})
    if tag not in records:
        known = ", ".join(f"{architecture}.{other}" for other in records)
        raise ValueError(
            f"there are no published weights {name!r}; {f'there are {known}' if known else 'see the tags'}"
        )
    return records[tag]


for _row in (*LSPET_NETWORKS, *IMAGE_NETWORKS, *CLIP_NETWORKS, *LIFTERS):
    PUBLISHED.setdefault(_row.architecture, {})[_row.tag] = _row
