"""README and pages are correct: generated parts are up to date, commands are those of CI, links and
the nav resolve, the site builds, and a newcomer finds the usual answers in three clicks.
"""

import html
import re
import runpy
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from urllib.parse import unquote, urljoin

import fresh_process
import pytest

import posezoo

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


# what a newcomer looks for: page and section of the site, and what stands there
ANSWERS = {
    "keypoints of a photograph": ("quickstart/", r'people = posezoo\.predict\("photo\.jpg"\)'),
    "fine-tuning on 21 keypoints": ("own_keypoints/", r"21 keypoints.*The training"),
    "what RPSM.forward returns": ("api/models.rpsm/#posezoo.models.rpsm.RPSM.forward", r"Returns:.{,300}millimetres"),
    "commercial use": ("licences/#which-weights-may-be-used-commercially", r"Apache-2\.0 allowed"),
    "how to cite": ("licences/#how-to-cite", r"@software\{posezoo"),
}


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
            assert (page.parent / link).exists(), f"{link}; `python docs/pictures.py` draws missing pictures"


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


def targets(text):
    """Links, pictures and scripts of a page of the site, without those to other sites."""
    found = [html.unescape(link) for link in re.findall(r'\b(?:href|src)="([^"]*)"', text)]
    return [link for link in found if not re.match(r"(?:\w+:|//)", link)]


def broken_links(site):
    """The links of a built site that lead nowhere: to no file, or to no place in it."""
    texts = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html") if path.name != "404.html"}
    places = {path: set(re.findall(r'\b(?:id|name)="([^"]*)"', text)) for path, text in texts.items()}
    broken = []
    for path, text in texts.items():
        for link in targets(text):
            file, _, place = unquote(link).partition("#")
            target = (path.parent / file).resolve() if file else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (place and place not in places.get(target, {place})):
                broken.append(f"{path.relative_to(site)}: {link}")
    return broken


def clicks(site, most):
    """URL -> least number of clicks from the home page, on links in the texts of pages, up to `most`."""
    found, last = {"": 0}, [""]
    for count in range(1, most + 1):
        following = []
        for url in last:
            page = site / url.partition("#")[0] / "index.html"
            if not page.exists():
                continue
            article = re.search(r"<article.*?</article>", page.read_text(encoding="utf-8"), flags=re.DOTALL)
            for link in targets(article[0] if article else ""):
                target = urljoin(f"/{url}", link).lstrip("/")
                if target not in found:
                    found[target] = count
                    following.append(target)
        last = following
    return found


def text_at(site, url):
    """The text of a page from a place on, without markup."""
    page, _, place = url.partition("#")
    text = (site / page / "index.html").read_text(encoding="utf-8")
    text = text[text.index(f'id="{place}"') :] if place else text
    text = re.sub(r"</?span[^>]*>", "", text)  # the colours of code
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def test_broken_links_are_found(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text('<article><a href="a/#here">A</a><a href="https://b.c">B</a></article>')
    (tmp_path / "a" / "index.html").write_text('<article id="here"><a href="..">Home</a></article>')
    assert broken_links(tmp_path) == []
    assert clicks(tmp_path, 1) == {"": 0, "a/#here": 1}
    (tmp_path / "a" / "index.html").write_text('<img src="../gone.png"><a href="#nowhere">N</a>')
    assert broken_links(tmp_path) == ["index.html: a/#here", "a/index.html: ../gone.png", "a/index.html: #nowhere"]


def test_the_site_builds():
    """Signatures, docstrings and references parse, all links resolve, answers are three clicks away."""
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package, reason=f"the package {package} is not installed: pip install posezoo[docs]")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        site = Path(folder)
        assert broken_links(site) == []
        far = clicks(site, 3)
        for question, (url, answer) in ANSWERS.items():
            assert url in far, f"{question}: no link to {url} within three clicks"
            assert re.search(answer, text_at(site, url)), f"{question}: {url}: {text_at(site, url)[:2000]}"


def test_the_readme_of_the_package_index_has_absolute_links(monkeypatch):
    hook = types.ModuleType("hatchling.metadata.plugin.interface")
    hook.MetadataHookInterface = object
    monkeypatch.setitem(sys.modules, hook.__name__, hook)
    absolute = runpy.run_path(str(ROOT / "hatch_build.py"))["absolute"]
    address = "https://h.org/i/j"
    text = absolute("[a](docs/a.md#b) ![c](docs/c.jpg) [d](https://d.e) [f](#g)", address, "1.0")
    pages, files = f"{address}/blob/v1.0", f"{address}/raw/v1.0"
    assert text == f"[a]({pages}/docs/a.md#b) ![c]({files}/docs/c.jpg) [d](https://d.e) [f](#g)"
    readme = absolute((ROOT / "README.md").read_text(encoding="utf-8"), address, "1.0")
    assert set(re.findall(r"\]\((?!https://)[^)]+\)", readme)) == set()


def test_versions_and_addresses_agree():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    address = re.search(r'^repository = "(.*?)"', project, flags=re.MULTILINE)[1]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"version: {posezoo.__version__}\n" in citation
    released = re.search(r"^date-released: (\S+)$", citation, flags=re.MULTILINE)[1]
    assert f"## [{posezoo.__version__}] - {released}" in changes
    assert (f"repository-code: {address}" in citation) == bool(address)
    assert (f"repo_url: {address}" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")) == bool(address)


def test_the_texts_of_networks_have_their_number_of_parameters():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "models").glob("*.md"))
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) M \| .*?(?<!stages of) ([\d.]+) million", pages, flags=re.MULTILINE)
    assert len(rows) > 30
    assert [row for row in rows if row[1] != row[2]] == []


def test_the_results_have_the_numbers_of_the_records():
    """Each measured score of weights in the package stands in the texts of the results, by hand."""
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").partition("<!-- end of shipped -->")[2]
    missing = []
    for name in posezoo.list_pretrained():
        record = posezoo.get_pretrained_cfg(name)
        if not any(source.startswith("package:") for source in record.sources):
            continue
        for data, metrics in record.metrics.items():
            for metric, value in metrics.items():
                forms = f"{value:g}", f"{value:.1f}", f"{value:.3f}", f"{100 * value:.0f} %"
                if not any(re.search(rf"(?<![\d.]){re.escape(form)}(?![\d.]\d)", text) for form in forms):
                    missing.append(f"{name}: {data}: {metric} {value}")
    assert missing == []


def test_the_tree_in_the_readme_is_the_repository():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^  (\w+(?:\.pyi?|/))\s", readme, flags=re.MULTILINE))
    there = {path.name + "/" * path.is_dir() for path in (ROOT / "posezoo").iterdir() if path.name[0] != "_"}
    assert listed - {"__init__.py", "__main__.py"} == there - {"py.typed"}


@pytest.mark.parametrize("name", ["README.md", "docs/coordinates.md"])
def test_python_in_the_documentation_runs(name, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        fresh_process.run(block, folder=ROOT)
