"""The papers' recipes: one step of each on each of their data sets, schedules, crops and options."""

import pytest
import torch
from people_files import write_coco, write_flic, write_lsp, write_lspet, write_mpii
from running_examples import load_example

import posezoo
from posezoo.data import CROPS, PersonCrop
from posezoo.data.detector_boxes import fit_padding
from posezoo.geometry import transform_points

from data_sources import limb_boxes, open_data, source
from recipes import RECIPES, Drops, find, parse

WRITERS = {"lsp": write_lsp, "lspet": write_lspet, "mpii": write_mpii, "flic": write_flic, "coco": write_coco}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return {name: write(root / name) for name, write in WRITERS.items()}


# ---------------------------------------------------------------------------------------------------------------- data


def test_names_and_folders(data):
    assert source(f"mpii:{data['mpii']}") == ("mpii", data["mpii"])
    assert source(data["lsp"]).name == "lsp"
    assert source(str(data["lspet"])).name == "lspet"
    with pytest.raises(ValueError, match="NAME:FOLDER with a name among lsp, lspet, mpii, flic, coco"):
        source(f"mpi:{data['mpii']}")


def test_splits(data):
    def count(part, *names, **more):
        return len(open_data([source(f"{name}:{data[name]}") for name in names], part, **more))

    assert (count("train", "mpii"), count("test", "mpii")) == (4, 4)
    assert (count("train", "flic"), count("test", "flic")) == (2, 2)
    assert (count("train", "coco"), count("test", "coco")) == (3, 3)
    with pytest.raises(ValueError, match="for lsp and lspet only"):
        count("train", "mpii", images=(1, 2))
    with pytest.raises(ValueError, match="FIRST LAST of each range, got 1"):
        count("train", "lspet", images=(1,))


def test_joined_data_train_on_all_of_lspet_and_test_on_lsp(data, monkeypatch):
    monkeypatch.setattr("data_sources.LSP_TRAINING", (1, 4))
    monkeypatch.setattr("data_sources.LSP_TEST", (5, 6))
    both = [source(f"{name}:{data[name]}") for name in ("lsp", "lspet")]
    people, test = open_data(both, "train"), open_data(both, "test")
    assert (len(people), len(test)) == (4 + 12, 2)
    assert people.keypoints.shape == (16, 14, 2)
    assert torch.equal(people[4]["keypoints"][people.visible[4]], people.keypoints[4][people.visible[4]])
    assert torch.equal(people.some(range(4, 16))[0]["box"], people.boxes[4])


def test_joined_skeletons_are_the_first_ones(data):
    people = open_data([source(f"{name}:{data[name]}") for name in ("mpii", "flic")], "train")
    assert people.skeleton.name == "mpii16"
    assert people.keypoints.shape == (6, 16, 2)
    wrist, knee = people.skeleton.index("left_wrist"), people.skeleton.index("left_knee")
    assert people[5]["visible"][wrist]
    assert not people[5]["visible"][knee]
    assert people[0].keys() >= {"image", "keypoints", "visible", "box"}


@pytest.mark.parametrize("name", ["mpii", "flic", "coco"])
def test_boxes_are_those_of_the_samples(data, name):
    people = open_data([source(f"{name}:{data[name]}")], "train")
    for row in range(len(people)):
        assert torch.allclose(people.boxes[row], people.parts[0][row]["box"])


# ------------------------------------------------------------------------------------------------------------ schedules


def rate(script, model, data, step, *, steps=None, epochs=1):
    return find(script, "paper", model, [data]).schedule(step, steps or step + 1, epochs)


@pytest.mark.parametrize(
    ("model", "epochs", "drops"), [("simple_baseline_50", 140, (90, 120)), ("hrnet_w32", 210, (170, 200))]
)
@pytest.mark.parametrize("data_set", ["coco", "mpii"])
def test_top_down_rates_drop_twice(model, epochs, drops, data_set):
    recipe = find("heatmap", "paper", model, [data_set])
    assert (recipe.settings["epochs"], recipe.settings["lr"], recipe.settings["batch_size"]) == (epochs, 1e-3, 128)
    per_epoch = 1000
    steps = epochs * per_epoch
    for epoch, expected in zip((0, drops[0], drops[1]), (1, 0.1, 0.01), strict=True):
        assert recipe.schedule(epoch * per_epoch, steps, epochs) == pytest.approx(expected)
        if epoch:
            assert recipe.schedule(epoch * per_epoch - 1, steps, epochs) == pytest.approx(10 * expected)


def test_rates_by_iterations():
    assert [rate("cpm", None, "mpii", step) for step in (0, 136_105, 136_106, 599_999)] == pytest.approx(
        [1, 1, 0.333, 0.333**4]
    )
    assert [rate("hourglass", None, "mpii", step) for step in (799_999, 800_000)] == [1, 0.2]
    assert [rate("posernn", None, "mpii", step) for step in (0, 999, 1000, 9999)] == [1, 1, 0.5, 0.5**9]
    fast = find("cpm", "fast", None, ["lspet"]).schedule  # the same fractions of another length
    assert [fast(step, 600, 1) for step in (136, 137, 599)] == pytest.approx([1, 0.333, 0.333**4])
    fast = find("hourglass", "fast", None, ["lspet"]).schedule
    assert [fast(step, 100, 1) for step in (0, 89, 90)] == [1, 1, 0.2]


def test_warm_up():
    drops = Drops(factor=0.1, at=(5,), warmup=4)
    assert [drops(step, 100, 10) for step in (0, 3, 4, 49, 50)] == [0.25, 1, 1, 1, 0.1]


# ---------------------------------------------------------------------------------------------------------------- crops


@pytest.mark.parametrize(
    ("script", "data_set", "model", "side"),  # pixels of the image
    [
        ("cpm", "mpii", None, 368 * 35 / 41 * 0.45),
        ("ief", "mpii", None, 224 / 256 * 200 * 0.45),
        ("tompson", "mpii", None, 256 * 0.45),
        ("hourglass", "mpii", None, 250 * 0.45),
        ("heatmap", "mpii", "hrnet_w32", 250 * 0.45),
        ("cpm", "flic", None, 368 * 35 / 41 * 0.0110 * 40),
    ],
)
def test_sides_of_the_papers_crops(data, script, data_set, model, side):
    recipe = find(script, "paper", model, [data_set])
    people = open_data([source(f"{data_set}:{data[data_set]}")], "train", readers=recipe.readers)
    crop = recipe.person_crop(recipe.size(), people.skeleton).plain()
    matrix = crop(people[0])["matrix"]
    assert recipe.size()[1] / float(matrix[0, 0]) == pytest.approx(side, rel=1e-5)


def test_posernn_crops_the_joints_and_twenty_pixels(data):
    recipe = find("posernn", "paper", None, ["mpii"])
    people = open_data([source(f"mpii:{data['mpii']}")], "train", readers=recipe.readers)
    sample = recipe.person_crop(recipe.size(), people.skeleton)(people[0])
    low, high = people.keypoints[0].min(dim=0).values - 20, people.keypoints[0].max(dim=0).values + 20
    corners = transform_points(torch.stack([low, high]), sample["matrix"])
    assert torch.allclose(corners, torch.tensor([[0.0, 0.0], [224.0, 224.0]]), atol=1e-3)


def test_deeppose_crops_the_whole_image_of_lsp(data):
    recipe = find("deeppose", "paper", None, ["lsp", "lspet"])
    people = open_data([source(data["lspet"])], "train", images=(1, 2))
    sample = recipe.person_crop(recipe.size(), people.skeleton).plain()(people[0])
    corners = transform_points(torch.tensor([[0.0, 0.0], [110.0, 120.0]]), sample["matrix"])
    assert torch.allclose(corners, torch.tensor([[0.0, 0.0], [440.0, 440.0]]), atol=1e-3)


@pytest.mark.parametrize("name", CROPS)
def test_predictions_get_the_named_crop(name):
    """`posezoo.predict` cuts the same pixels from a photograph as the training."""
    seen = []

    class Network(posezoo.contract.PoseModel):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.num_keypoints, self.skeleton = 1, None

        def predict(self, image, *, flip=False):
            seen.append(image)
            return torch.zeros(len(image), 1, 2), torch.ones(len(image), 1)

    model = Network()
    model.apply_input_settings(CROPS[name])
    photograph = torch.rand(3, 90, 120)
    box = torch.tensor([20.0, 10.0, 70.0, 80.0])
    posezoo.predict(photograph, model, boxes=box[None])
    points = torch.stack([box[:2], box[2:]])
    sample = {"image": (photograph * 255).round().to(torch.uint8), "keypoints": points, "box": box,
              "visible": torch.ones(2, dtype=torch.bool)}  # fmt: skip
    settings = {key: value for key, value in CROPS[name].items() if key != "input_size"}
    cut = PersonCrop(size=model.input_size, **settings)(sample)["image"]
    assert seen[0].shape[1:] == (3, *CROPS[name]["input_size"])
    assert (seen[0][0] - cut).abs().max() < 0.01


# ----------------------------------------------------------------------------------------------------------- one step

SMALL = {  # options that make a network tiny; none of them belongs to the recipe
    "heatmap": ["--size", "64", "64"],
    "hourglass": ["--model", "hourglass_1", "--width", "8", "--size", "64", "64"],
    "cpm": ["--width", "4", "--size", "64", "64"],
    "tompson": ["--width", "4", "--fc-width", "8", "--size", "64", "64", "--phase", "coarse"],
    "deeppose": ["--widths", "4", "4", "6", "6", "4", "8", "8", "--size", "220", "220", "--stages", "1"],
    "ief": ["--epochs-per-step", "1"],
    "posernn": ["--decoder", "attention", "--size", "32", "32"],
}
RUNS = [
    (script, recipe.models[0] or None, name)
    for script, names in RECIPES.items()
    for recipe in names["paper"]
    for name in recipe.data
    if name not in ("lsp", "lspet") or script == "cpm"
]


@pytest.mark.parametrize(("script", "model", "name"), RUNS)
def test_one_step_of_each_recipe(data, tmp_path, capsys, monkeypatch, script, model, name):
    if model == "hrnet":  # has no option for its width
        create = posezoo.create

        def narrow(name, **more):
            return create(name, **more, **({} if name.startswith("local") else {"width": 4}))

        monkeypatch.setattr(posezoo, "create", narrow)
    start = {"hrnet": "hrnet_w32", "simple_baseline": "simple_baseline_lite"}.get(model)
    small = [*SMALL[script], *(["--model", start] if start else [])]
    images = ["--train-images", "1", "4", "--val-images", "5", "6"] if name.startswith("lsp") else []
    if script != "ief":
        small += ["--iterations", "1"]
    load_example(f"train_{script}").main([
        "--recipe", "paper", "--data", f"{name}:{data[name]}", *images, *small, "--batch-size", "2", "--workers", "0",
        "--output", str(tmp_path / "run"),
    ])  # fmt: skip
    said = capsys.readouterr().out
    assert "departs from the recipe: batch_size is 2" in said
    assert "epoch 0: loss" in said
    folder = tmp_path / "run" / ("stage1/model" if script == "deeppose" else "model")
    trained = posezoo.create(f"local-dir:{folder}", pretrained=True)
    recipe = find(script, "paper", start, [name])
    crop = CROPS[recipe.crop]
    assert trained.padding == pytest.approx(crop["padding"])
    assert (trained.region, trained.margin) == (crop.get("region", "person"), crop.get("margin", 0.0))


def test_deeppose_trains_on_lsp_and_lspet_together(data, tmp_path, monkeypatch):
    monkeypatch.setattr("data_sources.LSP_TRAINING", (1, 4))
    monkeypatch.setattr("data_sources.LSP_TEST", (5, 6))
    reports = load_example("train_deeppose").main([
        "--recipe", "paper", "--data", f"lsp:{data['lsp']}", f"lspet:{data['lspet']}", *SMALL["deeppose"],
        "--iterations", "1", "--batch-size", "8", "--workers", "0", "--output", str(tmp_path / "run"),
    ])  # fmt: skip
    assert reports["stage 1"]["people"] == 2
    assert 0 <= reports["stage 1"]["pcp@0.5"] <= 1


def test_cpm_sizes_of_people_follow_their_limbs(data):
    torch.manual_seed(0)
    pose = torch.rand(14, 2) * 20 + 40  # of everybody, at several sizes
    (people,) = open_data([source(f"lspet:{data['lspet']}")], "train", images=(1, 4)).parts
    people.keypoints = pose * torch.tensor([1.0, 2.0, 0.5, 1.0])[:, None, None]
    people.visible = torch.ones(4, 14, dtype=torch.bool)
    people.visible[0, [0, 13]] = False  # neither a head nor a right shin, which does not matter
    people.keypoints[3, 3] += torch.tensor([0.0, 900.0])  # one limb differs, and the joints would not fit in the crop
    boxes = limb_boxes([people])
    sides = boxes[:, 2:] - boxes[:, :2]
    assert torch.allclose(sides[:, 0], sides[:, 1])
    head = (pose[13] - pose[12]).norm()
    assert torch.allclose(sides[:3, 0], 200 / 35 * head * torch.tensor([1.0, 2.0, 0.5]), rtol=1e-4)
    height = people.keypoints[3, :, 1].max() - people.keypoints[3, :, 1].min()
    assert 368 * height / (CROPS["cpm"]["padding"] * sides[3, 0]) == pytest.approx(304)  # pixels of the crop

    recipe = find("cpm", "paper", None, ["lsp"])
    people = open_data([source(f"lsp:{data['lsp']}")], "train", images=(1, 4), readers=recipe.readers)
    middles = people.boxes.view(-1, 2, 2).mean(dim=1)
    assert torch.allclose(middles, torch.tensor([55.0, 60.0]))  # of the images
    assert torch.equal(people[2]["box"], people.boxes[2])


def test_recipes_refuse_other_models_and_data(data, tmp_path, capsys):
    for more, message in (
        (
            ["--data", f"coco:{data['coco']}", "--model", "hourglass52"],
            "a model that starts with simple_baseline, hrnet",
        ),
        (["--data", f"lspet:{data['lspet']}"], "choose --recipe fast"),
    ):
        with pytest.raises(SystemExit):
            load_example("train_heatmap").main(["--recipe", "paper", "--output", str(tmp_path), *more])
        assert message in capsys.readouterr().err


def test_cpm_targets_of_stage_1_have_everybody(data):
    recipe = find("cpm", "paper", None, ["mpii"])
    example = load_example("train_cpm")
    people = open_data([source(f"mpii:{data['mpii']}")], "train", readers=recipe.readers)
    assert people[0]["others"].shape == (1, 16, 2)
    keypoints, visible = torch.full((1, 3, 2), 16.0), torch.ones(1, 3, dtype=torch.bool)
    batch = {"image": torch.zeros(1, 3, 64, 64), "keypoints": keypoints, "visible": visible}
    alone, crowd = [], batch | {"others": keypoints[:, None] + 30, "others_visible": visible[:, None]}
    for one in (batch, crowd):
        stages = [torch.zeros(1, 4, 8, 8, requires_grad=True) for _ in range(3)]
        example.batch_loss(lambda image, all_stages, stages=stages: stages, one).backward()
        alone.append([stage.grad for stage in stages])
    assert not torch.equal(alone[0][0], alone[1][0])
    assert torch.equal(alone[0][1], alone[1][1])


def test_deeppose_crops_a_detectors_boxes_on_flic(data, tmp_path, capsys, monkeypatch):
    example = load_example("train_deeppose")
    boxes = torch.tensor([[5.0, 5.0, 9.0, 9.0], [50.0, 40.0, 70.0, 60.0]])  # the second is nearer to the person
    monkeypatch.setattr(
        example, "load_detector", lambda name: lambda images: [(boxes, torch.tensor([0.9, 0.8])) for _ in images]
    )
    args, recipe = parse(example.parser(None), "deeppose", [
        "--recipe", "paper", "--data", f"flic:{data['flic']}", "--detector", "faces", "--output", str(tmp_path),
    ])  # fmt: skip
    train, test = example.people_of(args, recipe)
    assert "contain the training people's keypoints" in capsys.readouterr().out
    assert torch.equal(train.people.boxes, boxes[1:].expand(2, 4))
    assert (
        test.crop.padding
        == train.crop.padding
        == fit_padding(train.people.boxes, train.people.keypoints, train.people.visible)
    )
    for index in range(len(train)):
        sample = test.crop(train.people[index])
        inside = (sample["keypoints"] > -0.5) & (sample["keypoints"] < 660.5)
        assert inside[sample["visible"]].all()
