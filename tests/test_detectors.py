"""Detectors: suppression against loops and torchvision, and drawn boxes that come back from where
they were drawn.

The networks here see: `rectangle` measures the red rectangle in what it is given, so that what a
detector says can be compared with what was drawn.
"""

import sys
import time
import types

import numpy as np
import pytest
import torch
from torch import nn

import posezoo
from posezoo.detectors import OnnxDetector, TransformersDetector, box_nms, load_detector
from posezoo.geometry import letterbox, transform_points

GREY = 114 / 255


def draw(height, width, box):
    """A red rectangle on grey, its edges exact to a fraction of a pixel: `(3, H, W)`."""
    x1, y1, x2, y2 = box
    across, down = (
        (torch.minimum(torch.arange(length) + 1, torch.tensor(high)) - torch.arange(length).clamp(min=low)).clamp(0, 1)
        for length, low, high in ((width, x1, x2), (height, y1, y2))
    )
    inside = down[:, None] * across
    return GREY + inside * (torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1) - GREY)


def rectangle(red):
    """The rectangle in `(H, W)`, 1 inside and 0 outside: (x1, y1, x2, y2) at the edges of pixels."""
    corners = []
    for axis in (0, 1):
        profile = red.amax(dim=axis)
        profile = profile / profile.max()
        middle = (profile * (torch.arange(len(profile)) + 0.5)).sum() / profile.sum()
        corners += [middle - profile.sum() / 2, middle + profile.sum() / 2]
    return torch.stack([corners[0], corners[2], corners[1], corners[3]])


def random_cases(count, seed=0):
    """Images' sizes and boxes in them, of 30 pixels and more."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        height, width = random.integers(60, 500, 2).tolist()
        low = random.uniform(0, 1, 2) * (np.array([width, height]) - 30)
        high = low + 30 + random.uniform(0, 1, 2) * (np.array([width, height]) - 30 - low)
        yield height, width, [*low.tolist(), *high.tolist()]


# ------------------------------------------------------------------------------------------------------- suppression


def greedy(boxes, scores, threshold):
    """The rule, box by box."""
    kept = []
    for index in sorted(range(len(boxes)), key=lambda index: -scores[index]):
        x1, y1, x2, y2 = boxes[index]
        for a1, b1, a2, b2 in (boxes[other] for other in kept):
            common = max(0.0, min(x2, a2) - max(x1, a1)) * max(0.0, min(y2, b2) - max(y1, b1))
            if common > threshold * ((x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - common):
                break
        else:
            kept.append(index)
    return kept


def crowd(count, seed):
    """Boxes that overlap a lot; every tenth score is that of its neighbour."""
    generator = torch.Generator().manual_seed(seed)
    low = 60 * torch.rand(count, 2, generator=generator)
    boxes = torch.cat([low, low + 20 + 60 * torch.rand(count, 2, generator=generator)], dim=1)
    scores = torch.rand(count, generator=generator)
    scores[1::10] = scores[: len(scores[1::10]) * 10 : 10]
    return boxes, scores


@pytest.mark.parametrize("count", [0, 1, 2, 7, 60, 300])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.65, 1.0])
def test_nms_is_greedy(count, threshold):
    for seed in range(3):
        boxes, scores = crowd(count, seed)
        assert box_nms(boxes, scores, threshold=threshold).tolist() == greedy(
            boxes.tolist(), scores.tolist(), threshold
        )


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.65])
def test_nms_is_torchvisions(threshold):
    ops = pytest.importorskip("torchvision.ops", reason="torchvision is not installed")
    for count in (0, 1, 50, 1000):
        boxes, scores = crowd(count, seed=count)
        assert torch.equal(box_nms(boxes, scores, threshold=threshold), ops.nms(boxes, scores, threshold))


def test_nms_of_a_chain_and_of_touching_boxes():
    """Each suppresses the next, so every other one stays, however long the chain; touching is not
    overlapping.
    """
    shifts = torch.arange(9.0)[:, None]
    chain = torch.tensor([[0.0, 0, 3, 10]]) + shifts * torch.tensor([1.0, 0, 1, 0])
    assert box_nms(chain, -shifts[:, 0], threshold=0.4).tolist() == [0, 2, 4, 6, 8]
    touching = torch.tensor([[0.0, 0, 3, 10], [3, 0, 6, 10], [1, 1, 1, 1]])
    assert box_nms(touching, torch.ones(3), threshold=0).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("boxes", "scores", "says"),
    [
        (torch.zeros(2, 4), torch.zeros(3), r"\(2, 4\) and \(3,\)"),
        (torch.zeros(4), torch.zeros(1), r"boxes \(N, 4\)"),
        (torch.full((1, 4), torch.nan), torch.zeros(1), "finite"),
        (torch.zeros(1, 4), torch.full((1,), torch.inf), "finite"),
    ],
)
def test_nms_refuses(boxes, scores, says):
    with pytest.raises(ValueError, match=says):
        box_nms(boxes, scores)


# -------------------------------------------------------------------------------------------------------- letterboxes


@pytest.mark.parametrize("align", ["center", "corner", "stretch"])
def test_a_letterboxed_rectangle_lies_at_its_transformed_corners(align):
    for height, width, box in random_cases(20):
        boxed, matrix = letterbox(draw(height, width, box), (320, 256), align=align, fill=GREY)
        assert boxed.shape == (3, 320, 256)
        found = rectangle((boxed[0] - GREY) / (1 - GREY)).view(2, 2)
        expected = transform_points(torch.tensor(box).view(2, 2) - 0.5, matrix) + 0.5
        assert (found - expected).abs().max() < 0.75  # pixels of the box; interpolation skips some of larger images
        corners = transform_points(torch.tensor([[-0.5, -0.5], [width - 0.5, height - 0.5]]), matrix) + 0.5
        margins = torch.cat([corners[0], torch.tensor([256.0, 320.0]) - corners[1]]).round(decimals=3)
        if align == "stretch":
            assert not margins.any()
        else:  # one pair of edges touches, and the image lies in the middle or at the top left
            assert 0 in margins[:2] + margins[2:]
            assert (margins[:2] == 0).all() if align == "corner" else (margins[:2] - margins[2:]).abs().max() <= 1


def test_letterbox_of_the_same_size_is_the_image():
    image = torch.rand(3, 20, 30)
    boxed, matrix = letterbox(image, (20, 30))
    assert torch.equal(boxed, image)
    assert matrix.tolist() == [[1, 0, 0], [0, 1, 0]]
    with pytest.raises(ValueError, match="expected center, corner or stretch, got 'left'"):
        letterbox(image, (20, 30), align="left")


# --------------------------------------------------------------------------------------------------------- ONNX files


class Session:
    """An onnxruntime session as far as a detector needs it, around a function from `(1, 3, H, W)`
    to the outputs.
    """

    def __init__(self, network, outputs, size=(320, 256), inputs=(), kind="tensor(float)", shape=None):
        named = types.SimpleNamespace
        self.network = network
        self.inputs = [named(name="images", shape=shape or [1, 3, *size], type=kind)]
        self.inputs += [named(name=name, shape=[1, 2], type="tensor(int64)") for name in inputs]
        self.outputs = [named(name=name, shape=shape) for name, shape in outputs.items()]

    def get_inputs(self):
        return self.inputs

    def get_outputs(self):
        return self.outputs

    def run(self, names, feed):
        assert names == [output.name for output in self.outputs]
        assert feed.keys() == {given.name for given in self.inputs}
        self.feed = feed
        answer = self.network(torch.from_numpy(feed["images"]))
        return [value.numpy() for value in answer]


def anchors(size, strides=(8, 16, 32)):
    return sum((size[0] // stride) * (size[1] // stride) for stride in strides)


def centre_and_extent(box):
    return torch.cat([(box[:2] + box[2:]) / 2, box[2:] - box[:2]])


def yolox(image, strides=(8, 16, 32)):
    """Of every stride the cell under the box's middle predicts the box; BGR, 0 to 255."""
    x, y, w, h = centre_and_extent(rectangle((image[0, 2] - 114) / (255 - 114))).tolist()
    rows = []
    for stride in strides:
        grid = torch.zeros(image.shape[2] // stride, image.shape[3] // stride, 5 + 2)
        column, row = int(x // stride), int(y // stride)
        offset = [x / stride - column, y / stride - row]
        grid[row, column] = torch.tensor([*offset, np.log(w / stride), np.log(h / stride), 0.9, 1.0 - stride / 100, 1])
        rows.append(grid.flatten(0, 1))
    return [torch.cat(rows)[None]]


def yolov8(image):
    """RGB, 0 to 1; two of the anchors say the box, the others nothing of interest."""
    box = centre_and_extent(rectangle((image[0, 0] - GREY) / (1 - GREY)))
    output = torch.zeros(1, 4 + 3, anchors(image.shape[2:]))
    output[0, :4, 5], output[0, :4, 9] = box, box + 1
    output[0, 4, [5, 9]] = torch.tensor([0.8, 0.6])
    output[0, 5, 11] = 0.99  # something else, of another class
    return [output]


def mmdeploy(image):
    box = rectangle((image[0, 2] - 114) / (255 - 114))
    dets = torch.stack([torch.cat([box, torch.tensor([score])]) for score in (0.9, 0.8, 0.3)])
    return [dets[None], torch.tensor([[0, 7, 0]])]


def boxes(image):
    box = rectangle((image[0, 0] - GREY) / (1 - GREY))
    return [torch.tensor([[3, 0, 0]]), box.expand(1, 3, 4), torch.tensor([[0.9, 0.8, 0.3]])]


SIZE = (320, 256)
SESSIONS = {
    "yolox": lambda size=SIZE: Session(yolox, {"output": [1, anchors(size), 7]}, size),
    "yolov8": lambda size=SIZE: Session(yolov8, {"output0": [1, 7, anchors(size)]}, size),
    "mmdeploy": lambda size=SIZE: Session(mmdeploy, {"dets": [1, "n", 5], "labels": [1, "n"]}, size),
    "boxes": lambda size=SIZE: Session(
        boxes, {"labels": [1, 3], "boxes": [1, 3, 4], "scores": [1, 3]}, size, inputs=["orig_target_sizes"]
    ),
}


@pytest.mark.parametrize("layout", SESSIONS)
@pytest.mark.parametrize("size", [SIZE, (320, 320)])
def test_a_drawn_box_comes_back(layout, size):
    """Through every layout's letterbox, channels, numbers and suppression; the layout is
    recognised.
    """
    session = SESSIONS[layout](size)
    detector = OnnxDetector(session)
    for height, width, box in random_cases(10):
        ((found, scores),) = detector([draw(height, width, box)])
        assert len(found) == len(scores) == 1
        assert scores[0] == pytest.approx({"yolox": 0.9 * 0.92}.get(layout, 0.8 if layout != "mmdeploy" else 0.9))
        pixel = max(1.0, height / size[0], width / size[1])  # of the network's input, in those of the image
        assert (found[0] - torch.tensor(box)).abs().max() < 0.75 * pixel
    if layout == "boxes":
        assert session.feed["orig_target_sizes"].tolist() == [[size[1], size[0]]]


@pytest.mark.parametrize("layout", SESSIONS)
def test_a_magnified_box_comes_back_to_a_tenth_of_a_pixel(layout):
    """Nothing is lost in an image that is smaller than the input, so that half a pixel would be
    seen.
    """
    detector = OnnxDetector(SESSIONS[layout]())
    for height, width, box in [(60, 41, [5.25, 8.5, 30.75, 50.0]), (33, 64, [20.0, 4.5, 57.5, 28.25])]:
        ((found, _),) = detector([draw(height, width, box)])
        assert (found[0] - torch.tensor(box)).abs().max() < 0.1


def test_images_of_any_kind_one_by_one():
    detector = OnnxDetector(SESSIONS["yolov8"]())
    image = draw(100, 150, [20.0, 30.0, 90.0, 80.0])
    array = (image.movedim(0, -1) * 255).round().to(torch.uint8).numpy()
    for found, _ in detector([image, array, draw(50, 400, [200.0, 3.0, 300.0, 40.0])])[:2]:
        assert (found[0] - torch.tensor([20.0, 30, 90, 80])).abs().max() < 0.75
    assert detector([]) == []


def test_yolox_for_large_images_has_a_fourth_grid():
    strides = (8, 16, 32, 64)
    session = Session(lambda image: yolox(image, strides), {"output": [1, anchors(SIZE, strides), 7]})
    ((found, _),) = OnnxDetector(session)([draw(400, 300, [50.0, 60.0, 200.0, 300.0])])
    assert (found[0] - torch.tensor([50.0, 60, 200, 300])).abs().max() < 1


def test_thresholds_and_classes():
    image = draw(320, 256, [50.0, 60.0, 200.0, 300.0])
    session = SESSIONS["yolov8"]()
    assert [len(b) for b, _ in OnnxDetector(session, threshold=0.9)([image])] == [0]
    assert [len(b) for b, _ in OnnxDetector(session, threshold=0.5, overlap=1.0)([image])] == [2]
    assert OnnxDetector(session, person=1)([image])[0][1].tolist() == []  # its box has no area
    with pytest.raises(ValueError, match="class from 0 to 2, got 80"):
        OnnxDetector(session, person=80)([image])
    session = SESSIONS["mmdeploy"]()
    assert OnnxDetector(session, threshold=0.2)([image])[0][1].tolist() == pytest.approx([0.9, 0.3])
    assert OnnxDetector(session, person=7)([image])[0][1].tolist() == pytest.approx([0.8])


def test_the_image_can_be_prepared_otherwise():
    """RTMDet's mean and deviation, in the file's order of channels, and half precision."""
    mean, std = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]
    session = SESSIONS["mmdeploy"]()
    session.network = lambda image: [torch.zeros(1, 0, 5), torch.zeros(1, 0)]
    image = torch.rand(3, 320, 256)
    OnnxDetector(session, mean=mean, std=std)([image])
    expected = (255 * image.flip(0) - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(torch.from_numpy(session.feed["images"][0]), expected)

    session.inputs[0].type = "tensor(float16)"
    OnnxDetector(session, bgr=False, align="stretch", std=[255.0] * 3)([image[:, :50]])
    assert session.feed["images"].dtype == np.float16
    torch.testing.assert_close(
        torch.from_numpy(session.feed["images"][0]).float(),
        letterbox(image[:, :50], SIZE, align="stretch")[0],
        atol=1e-3,
        rtol=0,
    )


def test_boxes_are_clipped_and_those_outside_left_out():
    dets = torch.tensor([[-20.0, -9, 400, 999, 0.9], [-50, 10, -5, 60, 0.8], [10, 20, 30, 40, 0.7]])
    session = SESSIONS["mmdeploy"]()
    session.network = lambda image: [dets[None], torch.zeros(1, 3)]
    ((found, scores),) = OnnxDetector(session)([torch.zeros(3, 320, 256)])
    assert found.tolist() == [[0, 0, 256, 320], [10, 20, 30, 40]]
    assert scores.tolist() == pytest.approx([0.9, 0.7])


def test_unfit_files_are_refused(tmp_path):
    def refused(says, session, **options):
        with pytest.raises(ValueError, match=says):
            OnnxDetector(session, **options)([torch.zeros(3, 90, 90)])

    refused("not recognised from the outputs a .*, b", Session(None, {"a": [1, 2], "b": [1, 3]}))
    refused("not recognised", Session(None, {"a": [1, "rows", "columns"]}))
    refused("'yolox' does not fit the outputs dets", SESSIONS["mmdeploy"](), layout="yolox")
    refused("'boxes' does not fit", SESSIONS["yolox"](), layout="boxes")
    refused("'yolo' does not fit .* one of yolox, yolov8", SESSIONS["yolox"](), layout="yolo")
    refused(r"one input \(1, 3, H, W\)", Session(None, {"a": [1, 99, 7]}, shape=[1, 320, 256, 3]))
    refused(r"got images \(4, 3, 320, 256\)", Session(None, {"a": [1, 99, 7]}, shape=[4, 3, 320, 256]))
    refused("images .*, mask", Session(None, {"a": [1, 99, 7]}, inputs=["mask"]))
    refused(r"types tensor\(float\)", Session(None, {"a": [1, 99, 7]}, kind="tensor(uint8)"))
    refused("leaves its input's size open", Session(None, {"a": [1, 99, 7]}, shape=["n", 3, "h", "w"]))
    refused("leave it out", SESSIONS["yolox"](), size=(64, 64))
    few = Session(lambda image: [torch.zeros(1, 99, 7)], {"a": [1, 99, 7]})
    refused(r"expected 1680 anchors for an input of 320 x 256, got an output of \(99, 7\)", few)
    decoded = SESSIONS["yolox"]()
    decoded.network = lambda image: [torch.full((1, anchors(SIZE), 7), 200.0)]
    refused("decoded already", decoded)
    with pytest.raises(ValueError, match="there is no such file"):
        OnnxDetector(tmp_path / "none.onnx")


def test_open_sizes_are_given():
    session = Session(yolov8, {"output0": [1, 7, "anchors"]}, shape=["batch", 3, "h", "w"])
    detector = OnnxDetector(session, size=(320, 256), layout="yolov8")
    ((found, _),) = detector([draw(200, 300, [50.0, 60.0, 200.0, 150.0])])
    assert session.feed["images"].shape == (1, 3, 320, 256)
    assert (found[0] - torch.tensor([50.0, 60, 200, 150])).abs().max() < 1


def test_a_file_in_onnxruntime(tmp_path):
    """A network whose boxes are constants, in a real file."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    found = np.array([[[8.0, 16, 40, 56, 0.75], [0, 0, 9, 9, 0.1]]], np.float32)
    kind, tensors = onnx.TensorProto, (("dets", found), ("labels", np.zeros((1, 2), np.int64)))
    # the boxes depend on the image, if only by adding 0 times its largest pixel
    nodes = [
        onnx.helper.make_node("ReduceMax", ["images"], ["most"], keepdims=0),
        onnx.helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        onnx.helper.make_node("Add", ["found", "nothing"], ["dets"]),
        onnx.helper.make_node("Identity", ["classes"], ["labels"]),
    ]
    values = {"zero": np.zeros((), np.float32), "found": found, "classes": tensors[1][1]}
    graph = onnx.helper.make_graph(
        nodes,
        "detector",
        [onnx.helper.make_tensor_value_info("images", kind.FLOAT, [1, 3, 64, 64])],
        [
            onnx.helper.make_tensor_value_info("dets", kind.FLOAT, [1, 2, 5]),
            onnx.helper.make_tensor_value_info("labels", kind.INT64, [1, 2]),
        ],
        [onnx.numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    path = tmp_path / "detector.onnx"
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())

    detector = load_detector(path, device="cpu")
    ((boxes, scores),) = detector([torch.zeros(3, 128, 96)])
    assert boxes.tolist() == [[16, 32, 80, 112]]  # twice as large, and the image at the top left
    assert scores.tolist() == [0.75]
    people = posezoo.predict(torch.zeros(3, 128, 96), detector=str(path))
    assert people.boxes.tolist() == boxes.tolist()
    assert people.box_scores.tolist() == [0.75]

    path.write_bytes(b"text")
    with pytest.raises(ValueError, match="damaged, or not an ONNX file"):
        OnnxDetector(path)


def test_without_onnxruntime(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "a.onnx").touch()
    with pytest.raises(ImportError, match=r"pip install posezoo\[detect\]"):
        OnnxDetector(tmp_path / "a.onnx")


# ------------------------------------------------------------------------------------------------------- transformers


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="the package transformers is not installed")


LABELS = {0: "N/A", 1: "person", 2: "bicycle"}


@pytest.fixture(scope="module")
def yolos(transformers):
    """A small YOLOS with random weights, to which some of anything are people, and its image
    processor.
    """
    torch.manual_seed(2)
    config = transformers.YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=[64, 64],
        patch_size=16,
        num_detection_tokens=20,
        id2label=LABELS,
        label2id={name: index for index, name in LABELS.items()},
    )
    model = transformers.YolosForObjectDetection(config).eval()
    for parameter in model.parameters():  # its own initialisation would make all detections the same
        nn.init.normal_(parameter, std=0.5)
    nn.init.normal_(model.vit.embeddings.detection_tokens, std=9)
    return model, transformers.YolosImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})


def test_a_network_of_transformers(yolos, tmp_path):
    """Its people, as transformers' own processing has them, in the image; the same from a folder of
    its files.
    """
    model, processor = yolos
    images = [torch.rand(3, height, width) for height, width in [(80, 60), (80, 60), (70, 90)]]
    answers = TransformersDetector(model, processor, threshold=0.3)(images)
    for image, (boxes, scores) in zip(images, answers, strict=True):
        pixels = [(255 * image).round().to(torch.uint8)]
        with torch.no_grad():
            outputs = model(**processor(images=pixels, return_tensors="pt"))
        (raw,) = processor.post_process_object_detection(outputs, threshold=0.3, target_sizes=[image.shape[1:]])
        person = raw["labels"] == 1
        assert 0 < person.sum() < len(person)
        height, width = image.shape[1:]
        limits = torch.tensor([width, height, width, height])
        torch.testing.assert_close(scores, raw["scores"][person])
        torch.testing.assert_close(boxes, raw["boxes"][person].clamp(min=0).minimum(limits), atol=1e-3, rtol=0)
        assert (scores >= 0.3).all()

    model.save_pretrained(tmp_path / "detector")
    processor.save_pretrained(tmp_path / "detector")
    detector = load_detector(f"local-dir:{tmp_path / 'detector'}", device="cpu")
    detector.threshold = 0.3
    for (boxes, _), (expected, _) in zip(detector(images), answers, strict=True):
        torch.testing.assert_close(boxes, expected)


def test_a_randomly_initialised_network_gives_people(yolos):
    detector = TransformersDetector(*yolos, threshold=0.3)
    image = torch.rand(3, 90, 70, generator=torch.Generator().manual_seed(1))
    ((boxes, scores),) = detector([image])
    people = posezoo.predict(image, detector=detector)
    assert len(people) == len(boxes) > 0
    np.testing.assert_array_equal(people.boxes, boxes)
    np.testing.assert_array_equal(people.box_scores, scores)


class Eye(nn.Module):
    """A model of transformers that detects the red rectangle: normalised boxes and logits, as DETR
    gives them.
    """

    config = types.SimpleNamespace(id2label=LABELS)
    device, dtype = torch.device("cpu"), torch.float32

    def forward(self, pixel_values, pixel_mask=None):
        found = []
        for index, image in enumerate(pixel_values):
            grey, red = ((value - 0.485) / 0.229 for value in (GREY, 1.0))
            mask = torch.ones(image.shape[1:]) if pixel_mask is None else pixel_mask[index]
            height, width = int(mask.sum(dim=0).max()), int(mask.sum(dim=1).max())
            box = rectangle((image[0, :height, :width] - grey).clamp(min=0) / (red - grey))
            found.append(centre_and_extent(box) / torch.tensor([width, height] * 2))
        logits = torch.tensor([[-9.0, 9, -9, -9], [-9, -9, 9, -9]]).expand(len(found), 2, 4)
        return types.SimpleNamespace(logits=logits, pred_boxes=torch.stack(found)[:, None].expand(-1, 2, -1))


def test_a_drawn_box_comes_back_through_detr(transformers):
    """Through DETR's resizing, normalisation and padding; images of several sizes at once."""
    cases = list(random_cases(6))
    processor = transformers.DetrImageProcessor(size={"shortest_edge": 300, "longest_edge": 500})
    detector = TransformersDetector(Eye(), processor)
    answers = detector([draw(height, width, box) for height, width, box in cases])
    for (found, scores), (_, _, box) in zip(answers, cases, strict=True):
        assert scores.tolist() == pytest.approx([1], abs=1e-6)  # the bicycle is left out
        assert (found[0] - torch.tensor(box)).abs().max() < 1.5


def test_labels_are_found_by_name(yolos):
    model, processor = yolos
    assert TransformersDetector(model, processor, label="Bicycle").labels == [2]
    with pytest.raises(ValueError, match=r"label 'horse'.*N/A, person, bicycle"):
        TransformersDetector(model, processor, label="horse")
    with pytest.raises(ValueError, match="belongs to the YolosForObjectDetection"):
        TransformersDetector(model)


def test_a_detector_that_is_not_in_the_cache(transformers, monkeypatch, tmp_path):
    """Offline: one sentence, at once."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"127.0.0.1:9 cannot be reached.*hf download someone/detector --local-dir"):
        load_detector("hf-hub:someone/detector")
    assert time.monotonic() - start < 2


def test_without_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install posezoo\[detect\]"):
        load_detector("hf-hub:someone/detector")


@pytest.mark.parametrize("name", ["yolox", "hf-hub:", "detector.pt", "https://example.org/detector", ""])
def test_names_of_unknown_form_are_refused(name):
    with pytest.raises(ValueError, match=r"expected default, FILE\.onnx, hf-hub:org/name or local-dir:/path"):
        load_detector(name)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="there is no such folder"):
        load_detector(f"local-dir:{tmp_path / 'nowhere'}")
