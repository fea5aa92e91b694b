"""Test posezoo with the oldest versions that pyproject.toml allows, in a virtual environment of its own.

    python tools/oldest_versions.py --python python3.10 [--keep DIR] [tests/test_geometry.py …]

Every lower bound `>=` of the dependencies, and of the extras that the tests need, becomes `==`. Where a bound
names no patch version the first of it is taken. Exits with pytest's status.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ("tests/test_geometry.py", "tests/test_heatmaps.py", "tests/test_losses.py", "tests/test_registry.py",
         "tests/test_weights.py", "tests/test_hub.py", "tests/test_prediction.py", "tests/test_viz.py",
         "tests/models/test_hrnet.py", "tests/models/test_martinez.py",
         "tests/models/test_simple_baseline.py")  # fmt: skip


def oldest(requirements: list[str]) -> list[str]:
    """Turn lower bounds into exact versions.

    >>> oldest(["torch>=2.10", "numpy>=1.26.4", "mkdocs>=1.6,<2"])
    ['torch==2.10.0', 'numpy==1.26.4', 'mkdocs==1.6.0']
    """
    pinned = []
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+(?:\[\w+\])?)>=([\d.]+)(?:,.*)?", requirement)
        if match is None:
            raise SystemExit(f"pyproject.toml: expected name>=version, got {requirement!r}")
        version = match[2] + ".0" * (2 - match[2].count("."))
        pinned.append(f"{match[1]}=={version}")
    return pinned


def dependencies(text: str) -> list[str]:
    """Read the list `dependencies` of pyproject.toml; Python 3.10 has no tomllib."""
    block = re.search(r"^dependencies = \[(.*?)^\]", text, flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    return re.findall(r'"([^"]+)"', block[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", default=TESTS)
    parser.add_argument("--python", default=sys.executable, help="interpreter, the oldest supported is 3.10")
    parser.add_argument("--keep", type=Path, help="folder of the environment; defaults to a temporary one")
    parser.add_argument("--index-url", help="of torch and torchvision, for instance PyTorch's CPU wheels")
    parser.add_argument("--list", action="store_true", help="print the versions and stop")
    args = parser.parse_args()
    pinned = oldest(dependencies((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    print("\n".join(pinned), flush=True)
    if args.list:
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary) / "oldest"
        subprocess.run([args.python, "-m", "venv", folder], check=True)
        python = folder / "bin" / "python"
        pip = ["-m", "pip", "install", "-q"]
        index = ["--extra-index-url", args.index_url] if args.index_url else []
        subprocess.run([python, *pip, *index, *pinned, "pytest>=8", "pytest-xdist>=3.6"], check=True)
        subprocess.run([python, *pip, "--no-deps", ROOT], check=True)
        return subprocess.run([python, "-m", "pytest", "-q", *args.tests], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
