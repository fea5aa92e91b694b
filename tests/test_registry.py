"""The registry: names, tags, filters, prefixes, arguments, plug-ins, and what an import costs."""

import importlib
import re
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import fresh_process
import pytest
import torch
from torch import nn
from toy import Toy, randomize, same, scratch_registry, snapshot, toy, toy_wide

import posezoo
from posezoo import registry
from posezoo.registry import (
    create,
    get_pretrained_cfg,
    is_model,
    list_models,
    list_pretrained,
    model_entrypoint,
    register_model,
)
from posezoo.weights import Weights, save_pretrained


@pytest.fixture(autouse=True)
def _clean():
    with scratch_registry():
        yield


@pytest.fixture
def folder(tmp_path):
    """Weights of a 16-keypoint toy, on disk."""
    register_model(toy)
    model = randomize(create("toy", num_keypoints=16, skeleton="mpii16"))
    return save_pretrained(model, tmp_path / "weights")


@pytest.fixture
def toys(folder):
    """`toy` with two tags, the first the default; `toy_wide` with none."""
    record = Weights(
        sources=(f"local-dir:{folder}",), kwargs={"num_keypoints": 16, "skeleton": "mpii16"}, data="MPII", size=None
    )
    missing = Weights(sources=("local-dir:/nowhere",), kwargs={"num_keypoints": 17})
    register_model(weights={"mpii_64x64": record, "coco_64x64": missing})(toy)
    register_model(toy_wide)
    return folder


def message(function: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(ValueError) as info:  # noqa: PT011 (the callers look at the text)
        function(*args, **kwargs)
    return str(info.value)


# names ----------------------------------------------------------------------------------------------------------------


def test_a_name_is_its_functions(toys):
    assert is_model("toy")
    assert is_model("toy.mpii_64x64")
    assert not is_model("toyy")
    assert model_entrypoint("toy") is model_entrypoint("toy.mpii_64x64") is toy
    assert posezoo.create_model is posezoo.create


def test_typos_get_suggestions(toys):
    assert "Did you mean 'toy_wide'" in message(create, "toy_wid")
    assert "list_models()" in message(model_entrypoint, "nothing_like_it")
    text = message(create, "toy.mpii_64x46")
    assert "'mpii_64x64'" in text
    assert "mpii_64x64, coco_64x64" in text
    text = message(create, "toy", num_keypoint=3)
    assert "'num_keypoint'" in text
    assert "'num_keypoints'" in text
    assert "skeleton" in text
    assert "nobody has published" in message(create, "toy_wide.coco")


@pytest.mark.parametrize("name", ["", "  ", None, 3, Path("x")])
def test_a_missing_name_is_refused(name):
    assert "expected a model's name" in message(create, name)


@pytest.mark.parametrize("name", ["org/name", "./weights", "/abs/weights", "org/name@v2", "..", r"C:\weights", "x:"])
def test_a_bare_path_is_refused_with_both_prefixes(name):
    text = message(create, name, pretrained=True)
    assert "hf-hub:" in text
    assert "local-dir:" in text


def test_prefixes():
    assert registry._parse_name("hf_hub:org/name") == ("hf-hub", "org/name")
    assert registry._parse_name("local-dir:C:\\weights") == ("local-dir", "C:\\weights")
    assert "unknown prefix 'https'" in message(create, "https://x.org/model.pth")
    assert "nothing follows" in message(create, "hf-hub:")
    assert "expected hf-hub:org/name" in message(create, "hf-hub:onlyname")


# registration ---------------------------------------------------------------------------------------------------------


def test_duplicates_name_both_modules(toys):
    def other() -> nn.Module:
        return nn.Identity()

    other.__name__ = "toy"
    other.__module__ = "somewhere.else"
    text = message(register_model, other)
    assert "somewhere.else" in text
    assert toy.__module__ in text
    assert model_entrypoint("toy") is toy
    assert "expected a named function" in message(register_model, lambda: None)
    assert "tag" in message(register_model(weights={"a tag": Weights()}), toy_wide)


def test_reload_registers_again(tmp_path, monkeypatch):
    (tmp_path / "reloaded_models.py").write_text(
        "from posezoo import register_model\nVALUE = 1\n@register_model\ndef reloaded():\n    return VALUE\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("reloaded_models")
    first = model_entrypoint("reloaded")
    importlib.reload(module)
    assert model_entrypoint("reloaded") is not first


def test_every_file_beside_models_is_imported():
    files = {path.stem for path in Path(posezoo.models.__file__).parent.glob("*.py")} - {"__init__"}
    assert files <= {name.rpartition(".")[2] for name in sys.modules if name.startswith("posezoo.models.")}


# lists ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def named():
    registry._REGISTRY.clear()
    record = Weights(sources=("hf-hub:a/b",))
    for module, name, tags in (
        ("pkg.net", "net_w32", ["coco_256x192", "mpii_256x256"]),
        ("pkg.net", "net_w8", []),
        ("pkg.net", "net_w100", ["coco_256x192"]),
        ("pkg.other", "other", []),
    ):
        function = types.FunctionType((lambda: None).__code__, {}, name)
        function.__module__ = module
        register_model(weights=dict.fromkeys(tags, record))(function)
    register_model(weights={"described": Weights(data="somewhere, unpublished")})(toy)


def test_lists(named):
    assert list_models() == ["net_w8", "net_w32", "net_w100", "other", "toy"]  # 8 < 32 < 100
    assert list_models("net*") == ["net_w8", "net_w32", "net_w100"]
    assert list_models(["*w8", "oth*"]) == ["net_w8", "other"]
    assert list_models("net*", exclude_filters=["*32", "*w8"]) == ["net_w100"]
    assert list_models(module="other") == ["other"]
    assert list_models(module=["net", "other"], exclude_filters="net_w?") == ["net_w32", "net_w100", "other"]
    assert list_models("NET*") == []
    assert list_models(include_tags=True, filter="net_w*") == [
        "net_w8",
        "net_w32.coco_256x192",
        "net_w32.mpii_256x256",
        "net_w100.coco_256x192",
    ]


def test_lists_of_weights(named):
    everything = ["net_w32.coco_256x192", "net_w32.mpii_256x256", "net_w100.coco_256x192"]
    assert list_pretrained() == list_models(pretrained=True) == everything
    assert list_models(pretrained=True, include_tags=False) == ["net_w32", "net_w100"]
    assert list_pretrained("*mpii*") == ["net_w32.mpii_256x256"]
    assert list_pretrained("net_w32", exclude_filters="*.coco*") == ["net_w32.mpii_256x256"]


def test_records(toys):
    default = get_pretrained_cfg("toy")
    assert (default.architecture, default.tag, default.data) == ("toy", "mpii_64x64", "MPII")
    assert get_pretrained_cfg("toy.coco_64x64").tag == "coco_64x64"
    assert get_pretrained_cfg("toy_wide") is None
    assert get_pretrained_cfg("unknown") is None
    assert "nobody has published" in message(get_pretrained_cfg, "toy_wide", allow_unregistered=False)
    assert "coco_64x64" in message(get_pretrained_cfg, "toy.nope")
    default.kwargs["num_keypoints"] = 99  # a copy: the zoo is not changed
    assert create("toy.mpii_64x64").num_keypoints == 16


# create ---------------------------------------------------------------------------------------------------------------


def test_pretrained_is_in_eval_mode_and_has_its_record(toys):
    model = create("toy", pretrained=True)
    assert not model.training
    assert (model.architecture, model.weights.tag, model.kwargs["num_keypoints"]) == ("toy", "mpii_64x64", 16)
    assert same(snapshot(model), snapshot(randomize(Toy(num_keypoints=16))))
    assert create("toy", pretrained=True, pretrained_cfg="mpii_64x64").weights.tag == "mpii_64x64"


def test_not_pretrained_is_random_and_in_train_mode(toys):
    model = create("toy")
    assert model.training
    assert model.weights is None  # what is trained from here on owes nothing to the record
    assert model.num_keypoints == 17  # nor do its arguments hold, whatever the default weights are
    assert create("toy.coco_64x64").num_keypoints == 17
    assert create("toy", num_keypoints=None, width=3).conv.out_channels == 3  # None is not given
    assert create("toy", num_keypoints=None).num_keypoints == 17


def test_weights_of_a_smaller_network_do_not_shrink_the_architecture(tmp_path):
    register_model(toy)
    folder = save_pretrained(create("toy", width=2, num_keypoints=16), tmp_path)
    record = Weights(sources=(f"local-dir:{folder}",), kwargs={"width": 2, "num_keypoints": 16})
    register_model(weights={"small": record})(toy)
    assert (create("toy").width, create("toy").num_keypoints) == (4, 17)
    asked_for = [{"pretrained": True}, {"pretrained_cfg": "small"}, {"pretrained_cfg_overlay": {"data": "MPII"}}]
    assert [create("toy", **how).width for how in asked_for] == [2, 2, 2]
    assert [create(name).width for name in ("toy.small", f"local-dir:{folder}")] == [2, 2]
    assert create("toy.small", width=3).width == 3


def test_without_weights_pretrained_is_a_short_error_that_names_the_nearest(toys):
    text = message(create, "toy_wide", pretrained=True)
    assert "nobody has published weights for toy_wide" in text
    assert "The nearest that posezoo can fetch: toy.mpii_64x64, " in text
    assert len(re.findall(r"\w+\.\w+_\d+x\d+|\.cmu|\.h36m", text)) == 3
    assert "posezoo.list_pretrained() lists all" in text
    assert "/nowhere/model.safetensors" in message(create, "toy.coco_64x64", pretrained=True)


def test_other_keypoints_drop_the_skeleton(toys):
    name = "toy.mpii_64x64"
    assert create(name).kwargs["skeleton"] == "mpii16"
    assert create(name, num_keypoints=21).kwargs.get("skeleton") is None
    assert create(name, num_keypoints=14, skeleton="lsp14").kwargs["skeleton"] == "lsp14"
    assert create(name, num_keypoints=16).kwargs["skeleton"] == "mpii16"
    model = create("toy", pretrained=True, num_keypoints=21)
    assert model(torch.rand(1, 3, 8, 8)).shape == (1, 21, 8, 8)
    assert torch.equal(model.conv.weight, create("toy", pretrained=True).conv.weight)


@pytest.mark.parametrize("siblings", ["hourglass_[1248]*", "simple_baseline_*", "hrnet_*", "deeppose_resnet*"])
def test_siblings_have_the_same_default_keypoints_whatever_weights_exist(siblings):
    with torch.device("meta"):
        models = [create(name) for name in list_models(siblings)]
    assert len(models) > 1
    assert len({(model.num_keypoints, model.skeleton.name) for model in models}) == 1


def test_a_codec_brings_its_decoding_to_networks_that_have_a_choice(toys):
    udp = Weights(codec="udp", kwargs={"num_keypoints": 16})
    with torch.device("meta"):
        model = create("hrnet_w32", pretrained_cfg=udp)
        assert (model.decoding, model.flip_shift) == ("udp", False)
        assert create("hrnet_w32", pretrained_cfg=udp, decoding="dark").decoding == "dark"
        assert create("hrnet_w32.coco_256x192_dark").decoding == "dark"
    assert "decoding" not in create("toy", pretrained_cfg=udp).kwargs
    with pytest.raises(ValueError, match="unexpected keyword argument 'decoding'"):
        create("toy", pretrained_cfg=Weights(kwargs={"decoding": "udp"}))


def test_an_argument_that_the_function_fixes_cannot_be_given(toys):
    with pytest.raises(ValueError, match=r"width=4 .*multiple values for keyword argument 'width'"):
        create("toy_wide", width=4)


def test_a_type_error_inside_the_model_is_the_cause():
    @register_model
    def breaks() -> nn.Module:
        return nn.Linear()  # type: ignore[call-arg]

    with pytest.raises(ValueError, match="TypeError: Linear") as info:
        create("breaks")
    assert isinstance(info.value.__cause__, TypeError)


def test_arguments_cannot_be_checked_without_a_type():
    @register_model
    def untyped(**kwargs):
        return nn.Linear(kwargs["size"], 1)

    assert create("untyped", size=3).in_features == 3


def test_normalize_false_survives_loading(toys):
    assert not torch.equal(create("toy", pretrained=True).normalize.mean, torch.zeros(3))
    model = create("toy", pretrained=True, normalize=False)
    assert torch.equal(model.normalize.mean, torch.zeros(3))
    assert torch.equal(model.normalize.std, torch.ones(3))
    assert "normalize" not in model.kwargs


def test_features_only_takes_the_head_away(toys):
    model = create("toy", pretrained=True, features_only=True)
    assert model(torch.rand(1, 3, 8, 8)).shape == (1, 4, 8, 8)
    assert model.kwargs["num_keypoints"] == 0

    @register_model
    def headless() -> nn.Module:
        return nn.Linear(2, 2)

    assert "no head" in message(create, "headless", features_only=True)


def test_initialisation_is_no_part_of_the_saved_arguments(toys):
    model = create("toy", pretrained_backbone=True)
    assert model.pretrained_backbone
    assert "pretrained_backbone" not in model.kwargs  # or loading what is saved would download the backbone


def test_other_records(toys, tmp_path):
    record = get_pretrained_cfg("toy")
    assert create("toy_wide", pretrained_cfg=Weights(kwargs={"num_keypoints": 5})).num_keypoints == 5
    model = create("toy", pretrained=True, pretrained_cfg=record.to_dict())
    assert model.weights == record
    overlay = {"sources": [f"local-dir:{toys}"], "kwargs": record.kwargs}
    assert create("toy.coco_64x64", pretrained=True, pretrained_cfg_overlay=overlay).num_keypoints == 16
    assert "unknown fields" in message(create, "toy", pretrained_cfg_overlay={"url": "x"})
    assert "expected a tag" in message(create, "toy", pretrained_cfg=3)


def test_checkpoint_path_is_read_as_load_checkpoint_does(toys):
    model = create("toy", checkpoint_path=toys / "model.safetensors", num_keypoints=16)
    assert same(snapshot(model), snapshot(randomize(Toy(num_keypoints=16))))
    assert not model.training
    assert message(create, "toy", checkpoint_path="none.pth") == "there is no file none.pth"


def test_a_new_head_leaves_the_model_in_train_mode_with_a_line_of_log(toys, caplog):
    assert create("toy", pretrained=True, num_keypoints=3).training
    assert create("toy", checkpoint_path=toys / "model.safetensors", num_keypoints=3).training
    assert [record.message.count("train mode") for record in caplog.records] == [0, 1, 0, 1]
    caplog.clear()
    assert not create("toy", pretrained=True, features_only=True).training
    assert not [record for record in caplog.records if "train mode" in record.message]


def test_former_names_warn_and_build_the_current_model(toys):
    registry.register_model_deprecations(__name__, {"old_toy": "toy", "older_toy": "toy.mpii_64x64", "gone": None})
    try:
        with pytest.warns(DeprecationWarning, match="now called 'toy'"):
            assert create("old_toy.coco_64x64").architecture == "toy"
        with pytest.warns(DeprecationWarning, match="mpii_64x64"):
            assert create("older_toy", pretrained=True).weights.tag == "mpii_64x64"
        assert "was removed" in message(create, "gone")
        assert "is the name of a model" in message(registry.register_model_deprecations, "me", {"toy": "toy_wide"})
        assert "toyy" in message(registry.register_model_deprecations, "me", {"new": "toyy"})
    finally:
        registry._DEPRECATED.clear()


def test_models_by_task_skeleton_and_weights(toys):
    assert "rpsm" in list_models(task="video-3d")
    assert not set(list_models(task="2d")) & set(list_models(task="lifting"))
    assert {"hrnet_w32", "toy"} <= set(list_models(task="2d"))
    assert set(list_models(skeleton="h36m17", pretrained=True, task="lifting")) > {"martinez.cmu"}
    assert not [name for name in list_models(skeleton="h36m17") if name.startswith("hrnet")]
    assert "expected one of 2d, lifting, video-3d" in message(list_models, task="3d")
    assert {"hrnet", "rpsm", "martinez"} <= set(registry.list_modules())
    assert registry.is_model_pretrained("toy")
    assert not registry.is_model_pretrained("toy.nobody")
    assert not registry.is_model_pretrained("toy_wide")
    assert registry.get_pretrained_cfg_value("toy", "data") == "MPII"
    assert registry.get_pretrained_cfg_value("toy", "nobody") is None


def test_local_dir(toys):
    model = create(f"local-dir:{toys}", pretrained=True)
    assert same(snapshot(model), snapshot(create("toy", pretrained=True)))
    assert not model.training
    random = create(f"local-dir:{toys}")
    assert random.training
    assert random.num_keypoints == 16
    assert create(f"local-dir:{toys}", pretrained=True, num_keypoints=3).num_keypoints == 3
    assert "Did you mean 'num_keypoints'" in message(create, f"local-dir:{toys}", numkeypoints=3)
    assert "config.json" in message(create, "local-dir:/nowhere")
    assert "brings its own record" in message(create, f"local-dir:{toys}", pretrained_cfg="x")
    del registry._REGISTRY["toy"]
    assert "'toy', which is not registered" in message(create, f"local-dir:{toys}")


# plug-ins -------------------------------------------------------------------------------------------------------------


def test_a_plugin_is_imported_on_first_need(tmp_path, monkeypatch):
    (tmp_path / "good_plugin.py").write_text(
        "from posezoo import register_model\n@register_model\ndef from_a_module():\n    return 1\n"
        "def setup():\n    @register_model\n    def from_a_callable():\n        return 2\n"
    )
    (tmp_path / "bad_plugin.py").write_text("import does_not_exist\n")
    info = tmp_path / "plugins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugins\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[posezoo.models]\na = bad_plugin\nb = good_plugin\nc = good_plugin:setup\nd = good_plugin:missing\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry._pending_plugins.cache_clear()
    with pytest.warns(RuntimeWarning) as warned:
        names = list_models("from_a*")
    assert names == ["from_a_callable", "from_a_module"]
    texts = sorted(str(w.message) for w in warned if "plug-in" in str(w.message))
    assert len(texts) == 2
    assert "a = bad_plugin" in texts[0]
    assert "does_not_exist" in texts[0]
    assert "d = good_plugin:missing" in texts[1]
    registry._pending_plugins.cache_clear()


def test_a_plugin_may_use_the_registry_but_not_its_names(monkeypatch):
    seen = []

    def curious() -> None:
        seen.append(list_models())

    def thief() -> None:
        def stolen() -> int:
            return 1

        stolen.__name__, stolen.__module__ = seen[0][0], "thief"
        register_model(stolen)

    register_model(toy)
    plugins = [EntryPoint("a", "curious", "g"), EntryPoint("b", "thief", "g")]
    found = {"curious": curious, "thief": thief}
    monkeypatch.setattr(EntryPoint, "load", lambda self: found[self.value])
    monkeypatch.setattr(registry, "_pending_plugins", lambda: plugins)
    # the second is loaded from inside the first, by whoever asks first: both are loaded once
    with pytest.warns(RuntimeWarning, match="b = thief was left out"):
        list_models()
    assert not plugins
    assert "toy" in seen[0]


# imports --------------------------------------------------------------------------------------------------------------


def test_imports_are_lazy_and_timm_may_be_broken():
    output = fresh_process.run(
        """
        import sys
        import torch
        before = set(sys.modules)
        class Broken:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("timm", "torchvision"):
                    raise ImportError("operator torchvision::nms does not exist")
        sys.meta_path.insert(0, Broken())
        heavy = ("timm", "torchvision", "huggingface_hub", "PIL", "safetensors")
        import posezoo
        print([name for name in heavy if name in sys.modules and name not in before])
        posezoo.Weights, posezoo.register_model
        print([name for name in heavy if name in sys.modules and name not in before])
        def hrnet_w32():
            "A name of the zoo's, taken before anything of the zoo was imported."
        try:
            posezoo.register_model(hrnet_w32)
        except ValueError as e:
            print("posezoo.models.hrnet" in str(e), posezoo.model_entrypoint("hrnet_w32").__module__)
        from toy import toy
        posezoo.register_model(toy)
        print(posezoo.create("toy", num_keypoints=3).num_keypoints)
        print([name for name in heavy if name in sys.modules and name not in before])
        """
    )
    assert output.splitlines() == ["[]", "[]", "True posezoo.models.hrnet", "3", "[]"]


def test_weights_that_have_to_be_downloaded_by_hand_are_named():
    """A record without sources: listed with all tags, not among the pretrained ones, and the error
    says where to go.
    """
    assert "hourglass_2.mpii_256x256" in list_models("hourglass_2", include_tags=True)
    assert "hourglass_2.mpii_256x256" not in list_pretrained()
    text = message(create, "hourglass_2", pretrained=True)
    assert "original_2hg/checkpoint.pt" in text
    assert "checkpoint_path=" in text
    assert "nobody has published weights" not in text
    assert get_pretrained_cfg("hourglass_2").license == "BSD-3-Clause"
