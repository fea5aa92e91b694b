"""No public name comes, goes or changes its arguments unnoticed."""

import json

from api_surface import SNAPSHOT, surface


def test_public_names_are_those_of_the_snapshot():
    known, found = json.loads(SNAPSHOT.read_text(encoding="utf-8")), surface()
    assert found == known, "the public API changed; if on purpose, run `python tests/api_surface.py` and commit"
