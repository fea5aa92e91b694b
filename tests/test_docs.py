"""README and pages are correct: generated parts are up to date, commands are those of CI, links and
the nav resolve.
"""

import re
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import fresh_process
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def links(page):
    """Relative and absolute links of a page, without those in code."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"\]\(([^)#\s]+)", text)


def test_generated_parts_are_up_to_date(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["docs/generate.py", "--check"])
    monkeypatch.syspath_prepend(ROOT / "docs")  # as Python does for the script
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "docs" / "generate.py"), run_name="__main__")
    assert not end.value.code, f"{capsys.readouterr().out}\nrun: python docs/generate.py"


def test_ci_installs_and_tests_as_the_readme_says():
    readme, ci = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", ".ci/run"))
    main_job, tests = (
        re.search(rf"^## {heading}\n.*?```bash\n(.*?)\n```", readme, flags=re.DOTALL | re.MULTILINE)[1]
        for heading in ("Install", "Tests")
    )
    install, run = tests.split(" && ")
    assert install.replace("pip install", "pip install --quiet") in ci
    assert ci.rstrip().endswith(run)
    assert main_job.split(" && ")[1].removesuffix(" --out poses") in ci


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_exist(page):
    for link in links(page):
        if not link.startswith(("http://", "https://")):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_links_of_a_page_stay_on_the_site(page):
    """What lies outside of `docs/` is not part of the built site."""
    for link in links(page):
        if not link.startswith(("http://", "https://")):
            assert (page.parent / link).resolve().is_relative_to(ROOT / "docs"), link


def test_the_nav_has_every_page():
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = re.findall(r"^ +- (?:.*: )?(\S+\.md)$", config, flags=re.MULTILINE)
    assert sorted(nav) == sorted(pages)


def test_the_site_builds():
    """Links between pages, anchors and cross-references resolve; signatures and docstrings parse."""
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package, reason=f"the package {package} is not installed: pip install posezoo[docs]")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_tree_in_the_readme_is_the_repository():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^  (\w+(?:\.py|/))\s", readme, flags=re.MULTILINE))
    there = {path.name + "/" * path.is_dir() for path in (ROOT / "posezoo").iterdir() if path.name[0] != "_"}
    assert listed - {"__init__.py", "__main__.py"} == there - {"py.typed"}


@pytest.mark.parametrize("name", ["README.md", "docs/coordinates.md"])
def test_python_in_the_documentation_runs(name, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        fresh_process.run(block, folder=ROOT)
