"""The metadata that depends on the repository's public address: project URLs, and the README.

A package index shows the README alone, so that its relative links and pictures would lead nowhere.
`[tool.hatch.metadata.hooks.custom] repository` in `pyproject.toml` is the address; "" leaves them.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


def absolute(text: str, repository: str, version: str) -> str:
    """Make the relative links and pictures of a Markdown text absolute, to the files of a version's tag."""

    def replace(match: "re.Match[str]") -> str:
        kind = "raw" if match[1].startswith("!") else "blob"
        return f"{match[1]}{repository}/{kind}/v{version}/{match[2]}"

    return re.sub(r"(!?\[[^\]]*\]\()(?!\w+:|#)([^)\s]+)", replace, text)


class ReadmeHook(MetadataHookInterface):  # type: ignore[misc]
    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        text = (root / "README.md").read_text(encoding="utf-8")
        repository = self.config.get("repository", "").rstrip("/")
        metadata["urls"] = {}
        if repository:
            source = (root / "posezoo" / "version.py").read_text(encoding="utf-8")
            text = absolute(text, repository, re.search(r'__version__ = "([^"]+)"', source)[1])
            metadata["urls"] = {
                "Homepage": repository,
                "Documentation": f"{repository}/blob/main/docs/index.md",
                "Changelog": f"{repository}/blob/main/CHANGELOG.md",
                "Issues": f"{repository}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
