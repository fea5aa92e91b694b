"""The command line, called as a function; once as a program."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import fails, run
from PIL import Image

import posezoo
from posezoo.__main__ import main


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The name of a small network on disk."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    posezoo.create("hrnet_w32", width=2, num_keypoints=14, skeleton="lsp14").save_pretrained(folder)
    return f"local-dir:{folder}"


@pytest.fixture
def photo(tmp_path):
    """A photograph of 60 x 80, stored lying on its side."""
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", exif=exif)
    return tmp_path / "photo.jpg"


# ---------------------------------------------------------------------------------------------------------------------
# predict


def test_draws_the_upright_photo_and_writes_json(capsys, tmp_path, photo, model):
    drawn, results = tmp_path / "deep" / "out", tmp_path / "other" / "people.json"
    code, out, _ = run(
        capsys, "predict", photo, "--model", model, "--out", drawn, "--json", results, "--threshold", "0", "--flip",
        "--no-second-pass",
    )  # fmt: skip
    assert code == 0
    assert out == f"{photo}: 1 box, 14 of 14 keypoints, drawn in {drawn / 'photo.png'}\n"
    with Image.open(drawn / "photo.png") as picture, Image.open(photo) as stored:
        assert picture.size == (60, 80)
        upright = np.asarray(stored.transpose(Image.Transpose.ROTATE_270)).astype(int)
        changed = (np.abs(np.asarray(picture).astype(int) - upright) > 60).any(axis=-1).mean()
    assert 0 < changed < 0.7  # something is drawn, and not all over the picture
    (person,) = json.loads(results.read_text())
    assert person["file_name"] == str(photo)
    assert person["image_id"] == 0
    assert person["bbox"] == [0, 0, 60, 80]
    assert len(person["keypoints"]) == 3 * 14

    expected = posezoo.predict(photo, model, flip=True, second_pass=False)
    np.testing.assert_allclose(np.reshape(person["keypoints"], (14, 3))[:, :2], expected.keypoints[0], rtol=1e-6)


def test_json_on_the_standard_output_is_alone_there(capsys, tmp_path, photo, model):
    code, out, err = run(capsys, "predict", photo, photo, "--model", model, "--json", "-", "--out", tmp_path / "out")
    assert code == 0
    assert [person["image_id"] for person in json.loads(out)] == [0, 1]
    assert err.count(f"{photo}: 1 box") == 2
    assert not Path("-").exists()


def test_nothing_is_written_unasked(capsys, tmp_path, photo, model):
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = run(capsys, "predict", photo, "--model", model)
    assert code == 0
    assert out.startswith(f"{photo}: 1 box")
    assert "drawn" not in out
    assert sorted(tmp_path.rglob("*")) == before


def test_several_boxes(capsys, photo, model):
    code, out, err = run(
        capsys, "predict", photo, "--model", model, "--json", "-", "--box", 5, 5, 50, 70, "--box", -9, 0, 20.5, 30
    )
    assert code == 0
    assert [person["bbox"] for person in json.loads(out)] == [[5, 5, 45, 65], [-9, 0, 29.5, 30]]
    assert "2 boxes" in err
    assert "of 28 keypoints" in err


def test_a_detector(capsys, tmp_path, photo, model, monkeypatch):
    def detector(images):
        height, width = images[0].shape[1:]
        return [([[5, 5, width, height]], [0.5]), ([], [])]

    monkeypatch.setattr("posezoo.prediction.load_detector", lambda name, device: {"people.onnx": detector}[name])
    code, out, err = run(
        capsys, "predict", photo, photo, "--model", model, "--detector", "people.onnx", "--json", "-", "--out", tmp_path
    )
    assert code == 0
    (person,) = json.loads(out)
    assert person["bbox"] == [5, 5, 55, 75]
    assert err.splitlines()[0].startswith(f"{photo}: 1 box, ")
    assert err.splitlines()[1].startswith(f"{photo}: 0 boxes, 0 of 0 keypoints, drawn in ")


def test_an_invalid_detector_is_refused(capsys, photo, model):
    assert "expected FILE.onnx" in fails(capsys, "predict", photo, "--model", model, "--detector", "yolo")
    assert "no such file" in fails(capsys, "predict", photo, "--model", model, "--detector", "yolo.onnx")
    with pytest.raises(SystemExit):
        main(["predict", str(photo), "--detector", "yolo.onnx", "--box", "1", "2", "3", "4"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_the_threshold_decides_what_is_drawn(capsys, tmp_path, photo, model):
    code, out, _ = run(capsys, "predict", photo, "--model", model, "--out", tmp_path / "out", "--threshold", "1")
    assert code == 0
    assert "0 of 14 keypoints" in out
    with Image.open(tmp_path / "out" / "photo.png") as picture, Image.open(photo) as stored:
        np.testing.assert_array_equal(picture, stored.transpose(Image.Transpose.ROTATE_270))


def test_files_of_the_same_name_are_kept_apart(capsys, tmp_path, photo, model):
    images = []
    for number, folder in enumerate(("a", "b", "c")):
        (tmp_path / folder).mkdir()
        images.append(tmp_path / folder / "photo.png")
        Image.new("RGB", (20 + number, 30)).save(images[-1])
    images.append(tmp_path / "photo-2.png")
    Image.new("RGB", (40, 30)).save(images[-1])
    code, _, _ = run(capsys, "predict", *images, "--model", model, "--out", tmp_path / "out", "--threshold", "1")
    assert code == 0
    sizes = {path.name: Image.open(path).width for path in (tmp_path / "out").iterdir()}
    assert sizes == {"photo.png": 20, "photo-2.png": 21, "photo-3.png": 22, "photo-2-2.png": 40}


def test_no_photograph_is_drawn_over(capsys, tmp_path, model, monkeypatch):
    Image.new("RGB", (20, 30)).save(tmp_path / "photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    monkeypatch.chdir(tmp_path)
    for image, folder in ((tmp_path / "photo.png", "."), ("photo.png", tmp_path)):
        code, out, _ = run(capsys, "predict", image, "--model", model, "--out", folder)
        assert code == 0
        assert "photo-2.png" in out
        assert (tmp_path / "photo.png").read_bytes() == before


def test_keypoints_without_names_are_drawn_too(capsys, tmp_path, photo):
    posezoo.create("hrnet_w32", width=2, num_keypoints=3).save_pretrained(tmp_path / "model")
    code, out, _ = run(
        capsys, "predict", photo, "--model", f"local-dir:{tmp_path / 'model'}", "--out", tmp_path, "--threshold", "0"
    )
    assert code == 0
    assert "of 3 keypoints, drawn" in out


def test_mistakes_are_one_line(capsys, tmp_path, photo, model):
    assert "there is no such image" in fails(capsys, "predict", tmp_path / "nowhere.jpg", "--model", model)
    (tmp_path / "text.jpg").write_text("hello")
    assert "is damaged" in fails(capsys, "predict", tmp_path / "text.jpg", "--model", model)
    for threshold in ("2", "-0.1", "nan"):
        assert "from 0 to 1" in fails(capsys, "predict", photo, "--model", model, "--threshold", threshold)
    assert "--batch-size: expected a whole number" in fails(
        capsys, "predict", photo, "--model", model, "--batch-size", 0
    )
    assert "--device: 'nowhere' is not" in fails(capsys, "predict", photo, "--model", model, "--device", "nowhere")
    assert "--json: expected a file" in fails(capsys, "predict", photo, "--model", model, "--json", tmp_path)
    assert "no file has such a name" in fails(capsys, "predict", tmp_path / "*.webp", "--model", model)
    (tmp_path / "empty").mkdir()
    assert "no images in this folder" in fails(capsys, "predict", tmp_path / "empty", "--model", model)
    assert "Did you mean 'hrnet_w32'" in fails(capsys, "predict", photo, "--model", "hrnet_w33")
    assert "--box is for one image" in fails(capsys, "predict", photo, photo, "--box", 1, 2, 3, 4, "--model", model)
    assert "lies outside" in fails(capsys, "predict", photo, "--box", 100, 0, 120, 9, "--model", model)
    assert "x2 = x + w" in fails(capsys, "predict", photo, "--box", 50, 50, 20, 20, "--model", model)
    assert "text.jpg" in fails(capsys, "predict", photo, "--model", model, "--out", tmp_path / "text.jpg")
    assert "text.jpg" in fails(capsys, "predict", photo, "--model", model, "--json", tmp_path / "text.jpg" / "a.json")
    assert "nothing follows" in fails(capsys, "predict", photo, "--model", "local-dir:")
    assert "config.json" in fails(capsys, "predict", photo, "--model", f"local-dir:{tmp_path}")


@pytest.mark.parametrize("arguments", [["predict"], ["nonsense"], ["predict", "a.jpg", "--box", "1", "2"]])
def test_usage(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: posezoo" in capsys.readouterr().err


def test_folders_patterns_and_lists(capsys, tmp_path, photo, model, monkeypatch):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("10.png", "9.png", "notes.txt"):
        (folder / name).write_bytes(b"") if name == "notes.txt" else Image.new("RGB", (20, 30)).save(folder / name)
    expected = [str(folder / "9.png"), str(folder / "10.png")]

    def names(*arguments):
        code, out, _ = run(capsys, "predict", *arguments, "--model", model, "--json", "-", "--quiet")
        assert code == 0
        return [person["file_name"] for person in json.loads(out)]

    assert names(folder) == expected
    assert names(tmp_path / "*" / "*.png") == sorted(expected)
    assert names(folder, photo) == [*expected, str(photo)]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join([*expected, ""])))
    assert names("-") == expected
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert "no paths on the standard input" in fails(capsys, "predict", "-", "--model", model)


def test_a_damaged_image_does_not_cost_the_others(capsys, tmp_path, photo, model):
    (tmp_path / "bad.jpg").write_bytes(photo.read_bytes()[:700])
    images = [photo, tmp_path / "bad.jpg", tmp_path / "nowhere.jpg", photo]
    table, out = tmp_path / "people.json", tmp_path / "out"
    code, said, err = run(capsys, "predict", *images, "--model", model, "--json", table, "--out", out)
    assert code == 1
    assert [person["image_id"] for person in json.loads(table.read_text())] == [0, 3]
    assert [path.name for path in out.iterdir()] == ["photo.png"]
    assert said.count("drawn in") == 2
    assert err.splitlines()[0].startswith(f"posezoo: {tmp_path / 'bad.jpg'} is damaged")
    assert err.splitlines()[1].startswith(f"posezoo: {tmp_path / 'nowhere.jpg'}: there is no such image")
    assert err.splitlines()[2] == "posezoo: 2 of 4 images could not be read"


def test_quiet(capsys, photo, model):
    assert run(capsys, "predict", photo, "--model", model, "--quiet", "--device", "cpu") == (0, "", "")


def test_results_in_another_skeleton(capsys, photo):
    code, out, _ = run(capsys, "predict", photo, "--skeleton", "coco17", "--json", "-", "--precision", "bf16")
    assert code == 0
    assert len(json.loads(out)[0]["keypoints"]) == 51


# ---------------------------------------------------------------------------------------------------------------------
# help, completion, list, info, --version


def test_help_alone(capsys):
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    assert "usage: posezoo" in out
    assert "posezoo predict photo.jpg --out drawn" in out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(capsys, tmp_path, shell):
    code, out, _ = run(capsys, "completion", shell)
    assert code == 0
    assert "martinez.cmu" in out
    assert "precision" in out
    program = shutil.which(shell)
    if program and shell == "bash":
        (tmp_path / "script").write_text(out)
        for words, expected in {"pre": "predict", "predict --prec": "--precision", "info martinez.c": "martinez.cmu",
                                "predict --precision b": "bf16"}.items():  # fmt: skip
            ask = f"COMP_WORDS=(posezoo {words}); COMP_CWORD={len(words.split())}; _posezoo; echo ${{COMPREPLY[@]}}"
            done = subprocess.run([program, "-c", f"source {tmp_path}/script; {ask}"], capture_output=True, text=True)
            assert (done.stdout, done.stderr) == (f"{expected}\n", "")


def test_list_is_as_wide_as_the_terminal(capsys, monkeypatch):
    monkeypatch.setattr("posezoo.catalogue.terminal_width", lambda: 80)
    out = run(capsys, "list", "--pretrained")[1]
    assert max(map(len, out.splitlines())) <= 80
    assert "…" in out


def test_info_as_json(capsys):
    code, out, _ = run(capsys, "info", "martinez.cmu", "--json")
    assert code == 0
    known = json.loads(out)
    assert known["record"]["tag"] == "cmu"
    assert known["flops"] == pytest.approx(2 * known["parameters"], rel=0.02)  # of linear layers
    assert known["example"] == "posezoo lift keypoints.json --model martinez.cmu"
    assert "1705.03098" in known["paper"]


def test_a_pipe_that_closes_early():
    environment = {**os.environ, "PYTHONPATH": str(Path(posezoo.__file__).parents[1])}
    done = subprocess.run(
        f"{sys.executable} -m posezoo list --pretrained | head -1", env=environment, shell=True,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.startswith("WEIGHTS")
    assert done.stderr == ""


def test_list(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    header, *lines = out.splitlines()
    assert header.split() == ["MODEL", "WEIGHTS", "DESCRIPTION"]
    assert [line.split()[0] for line in lines] == posezoo.list_models()
    assert [line.split()[0] for line in run(capsys, "list", "hrnet_w*")[1].splitlines()[1:]] == [
        "hrnet_w18",
        "hrnet_w32",
        "hrnet_w48",
    ]


def test_list_pretrained(capsys):
    """The names of all records, with what is known of them; of those to be downloaded by hand too."""
    code, out, _ = run(capsys, "list", "--pretrained")
    assert code == 0
    known = [name for name in posezoo.list_models(include_tags=True) if "." in name]
    assert [line.split()[0] for line in out.splitlines()] == ["WEIGHTS", *known]
    assert not [line for line in out.splitlines() if line != line.rstrip()]
    lines = {line.split()[0]: line for line in out.splitlines()}
    words = lines["hrnet_w32.coco_256x192_udp"].split("  ")
    assert [word.strip() for word in words if word.strip()] == [
        *("hrnet_w32.coco_256x192_udp", "256 x 192", "coco17", "udp", "COCO val2017 AP 0.762", "Apache-2.0"),
        "8 digits of sha256",
        "to be downloaded",
    ]
    assert lines["simple_baseline_lite.coco17_192x192"].endswith("  shipped")
    by_hand = [name for name, line in lines.items() if line.endswith("  by hand, see `posezoo info`")]
    assert set(by_hand) == set(known) - set(posezoo.list_pretrained())
    assert run(capsys, "list", "hrnet_w48*", "--pretrained")[1].count("\n") == 1 + len(
        [name for name in known if name.startswith("hrnet_w48.")]
    )


def test_list_of_nothing(capsys):
    assert "no model matches 'nobody*'" in fails(capsys, "list", "nobody*")
    assert "no model with weights matches 'nobody*'" in fails(capsys, "list", "nobody*", "--pretrained")


@pytest.mark.parametrize(
    ("name", "parameters"), [("hrnet_w32", "28,536,113"), ("simple_baseline_resnet50", "33,999,697")]
)
def test_info_counts_the_papers_parameters(capsys, name, parameters):
    code, out, _ = run(capsys, "info", name)
    assert code == 0
    assert f"{name}: {posezoo.model_entrypoint(name).__doc__}" in out
    assert f"parameters  {parameters}\n" in out
    assert "17 (coco17)" in out
    assert posezoo.model_entrypoint(name).__module__ in out
    for published in posezoo.list_pretrained(name):
        assert published in out


def test_info_shows_a_tags_record(capsys):
    published = posezoo.list_pretrained("hrnet_w32")
    if not published:
        pytest.skip("hrnet_w32 has no published weights")
    code, out, _ = run(capsys, "info", published[0])
    assert code == 0
    record = posezoo.get_pretrained_cfg(published[0])
    for value in (*record.sources, record.codec, record.protocol, record.channel_order, record.license, "flip_shift"):
        assert value in out


def test_info_of_an_unknown_model(capsys):
    assert "unknown model 'hrnet_w33'. Did you mean 'hrnet_w32'" in fails(capsys, "info", "hrnet_w33")
    assert "no tag 'nonsense'" in fails(capsys, "info", "hrnet_w32.nonsense")


def test_version_as_a_program():
    environment = {**os.environ, "PYTHONPATH": str(Path(posezoo.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "posezoo", "--version"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"posezoo {posezoo.__version__}\n", "")


def test_an_error_as_a_program():
    environment = {**os.environ, "PYTHONPATH": str(Path(posezoo.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "posezoo", "info", "nobody"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("posezoo: unknown model 'nobody'")
    assert "Traceback" not in done.stderr


def test_the_installed_script():
    script = shutil.which("posezoo", path=str(Path(sys.executable).parent))
    if script is None:
        pytest.skip("posezoo is not installed in this environment")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("posezoo ")
