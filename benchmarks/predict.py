"""Speed of prediction, targets, decoding and crops, as ratios against plain implementations, all measured in this run.

    python benchmarks/predict.py [ROW …] [--authors FOLDER] [--repeat 5] [--batches 1 8]

A ratio above 1 means that ours is faster. Runs of ours and of the reference alternate, and the medians are divided.
Times are the processor's, so that other work on the machine changes them little. Run with OMP_NUM_THREADS=1 for times
per core.

    networks   `model.predict` in float32 and in bfloat16, against the authors' networks, eager, with the same weights
               and our decoding. Also: the largest difference of the heatmaps, in units of their maximum (weights are
               random, and keypoints of such maps mean nothing). --authors names a folder with checkouts of
               leoxiaobin/deep-high-resolution-net.pytorch, microsoft/human-pose-estimation.pytorch and
               princeton-vl/pytorch_stacked_hourglass. Without it: against our own networks, eager
    photos     `posezoo.predict` of photographs with four people each, against the loop of HRNet's demo: decode, crop
               each person with OpenCV (Pillow where it is not installed), network, quarter offset by a loop in NumPy
    targets    Gaussian heatmaps, 1024 x 17 x 64 x 48, against HRNet's loop in NumPy, the authors' with --authors and
               OpenCV, which their module imports, else written from its description
    decoding   quarter offset of 256 x 17 heatmaps, against HRNet's function in NumPy, likewise; and DARK against
               mmpose's loop, written from its description, with OpenCV's blur where it is installed, else SciPy's
    crops      256 people, 640 x 480 to 256 x 192, against OpenCV's warpAffine in a loop, alone and with the conversion
               of its bytes to the floats that a network takes
    streaming  RPSM, a frame after 10 others against one after 10,000
    loading    decoding, cropping and augmenting an image for training, against the training step of the network
"""

import argparse
import functools
import importlib.util
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import posezoo
from posezoo import heatmaps
from posezoo.geometry import box_to_crop, crop, crop_matrix, invert, transform_points
from posezoo.prepared import EAGER_CALLS, run_prepared

PHOTO = Path(__file__).parents[1] / "docs" / "images" / "street.jpg"
NETWORKS = ("hrnet_w32", "simple_baseline_resnet50", "hourglass_2")
SOURCES = {
    "hrnet_w32": ("deep-high-resolution-net.pytorch/lib/models", "pose_hrnet"),
    "simple_baseline_resnet50": ("human-pose-estimation.pytorch/lib/models", "pose_resnet"),
    "hourglass_2": ("pytorch_stacked_hourglass", "models.posenet"),
}
GOALS = {"networks fp32": 1.5, "networks bf16": 2.5, "photos": 2, "targets": 10, "decoding": 10, "crops": 1,
         "streaming": 0.95, "loading": 2}  # fmt: skip


class Settings(dict[str, Any]):
    """A configuration whose values are items and attributes, as the authors' are."""

    __getattr__ = dict.__getitem__


def authors_network(name: str, folder: Path) -> torch.nn.Module:
    """The authors' network with random weights."""
    place, module_name = SOURCES[name]
    if not (folder / place).is_dir():
        raise FileNotFoundError(f"{folder / place}")
    own, sys.path[0] = sys.path[0], str(folder / place)  # not beside our own models.py
    module = importlib.import_module(module_name)
    sys.path[0] = own
    if name == "hourglass_2":
        return module.PoseNet(2, 256, 16).eval()
    extra = Settings(NUM_LAYERS=50, NUM_DECONV_LAYERS=3, NUM_DECONV_FILTERS=[256] * 3, NUM_DECONV_KERNELS=[4] * 3)
    extra.update(DECONV_WITH_BIAS=False, FINAL_CONV_KERNEL=1, PRETRAINED_LAYERS=["*"])
    for stage, modules in ((2, 1), (3, 4), (4, 3)):
        extra[f"STAGE{stage}"] = Settings(
            NUM_MODULES=modules, NUM_BRANCHES=stage, BLOCK="BASIC", FUSE_METHOD="SUM", NUM_BLOCKS=[4] * stage,
            NUM_CHANNELS=[32 * 2**branch for branch in range(stage)],
        )  # fmt: skip
    model = Settings(NUM_JOINTS=17, STYLE="pytorch", EXTRA=extra, INIT_WEIGHTS=False, PRETRAINED="")
    return module.get_pose_net(Settings(MODEL=model), is_train=False).eval()


def with_reference(name: str, folder: Path | None) -> tuple[Any, Callable[[Tensor], Tensor], str]:
    """A network, the reference with the same weights, from images in [0, 1] to heatmaps, and the reference's name."""
    torch.manual_seed(0)
    if folder is None:
        model = posezoo.create(name).eval()
        return model, model, "our network, eager"
    theirs = authors_network(name, folder)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "authors.pth"
        torch.save(theirs.state_dict(), path)
        model = posezoo.load_checkpoint(posezoo.create(name), path).eval()
    if name == "hourglass_2":
        return model, lambda image: theirs(image.permute(0, 2, 3, 1))[:, -1], "the authors'"
    if name == "simple_baseline_resnet50":  # of BGR images, which `load_checkpoint` has folded into ours
        return model, lambda image: theirs(model.normalize(image).flip(1)), "the authors'"
    return model, lambda image: theirs(model.normalize(image)), "the authors'"


def ratio(
    ours: Callable[[], Any],
    reference: Callable[[], Any],
    repeat: int,
    clock: Callable[[], float] = time.process_time,
) -> tuple[float, float, float]:
    """Return medians of ours and of the reference in milliseconds, and their ratio; runs alternate."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeat + 1):
        for run, taken in zip((ours, reference), times, strict=True):
            start = clock()
            run()
            if turn:  # the first one warms up
                taken.append(1e3 * (clock() - start))
    own, other = statistics.median(times[0]), statistics.median(times[1])
    return own, other, other / own


def networks(args: argparse.Namespace) -> None:
    for name in args.networks:
        model, reference, called = with_reference(name, args.authors)
        for batch in args.batches:
            image = model.example_input(batch)

            def eager(model: Any = model, reference: Any = reference, image: Tensor = image) -> Any:
                with torch.no_grad():
                    return model.decode(reference(image))

            with torch.no_grad():
                expected = reference(image)
            for precision in args.precisions:

                def ours(model: Any = model, image: Tensor = image, mixed: bool = precision == "bf16") -> Any:
                    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                        return model.predict(image)

                for _ in range(EAGER_CALLS + 1):
                    ours()
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    apart = (run_prepared(model, image) - expected).abs().max() / expected.abs().max()
                note = f"{float(apart):.0e} apart"
                title = f"{name}, batch {batch}, {precision}"
                report(title, f"networks {precision}", *ratio(ours, eager, args.repeat), f"{called}; {note}")


def authors_function(folder: Path | None, module_name: str, name: str) -> Any:
    """A function of HRNet's authors; None without their checkout or OpenCV."""
    lib = None if folder is None else folder / "deep-high-resolution-net.pytorch" / "lib"
    if lib is None or importlib.util.find_spec("cv2") is None:
        return None
    before, sys.path = sys.path, [str(lib), str(lib / "dataset"), *sys.path]  # the package imports more than is needed
    found = functools.reduce(getattr, name.split("."), importlib.import_module(module_name))
    sys.path = before
    return found


def quarter_offset(maps: np.ndarray) -> np.ndarray:
    """HRNet's decoding: the highest cell of each map, and a quarter of a cell from there, map by map."""
    flat = maps.reshape(*maps.shape[:2], -1)
    index, height, width = flat.argmax(axis=2), *maps.shape[2:]
    found = np.stack([index % width, index // width], axis=-1).astype(np.float32)
    found *= flat.max(axis=2, keepdims=True) > 0
    for person, poses in enumerate(maps):
        for keypoint, heat in enumerate(poses):
            x, y = (int(np.floor(value + 0.5)) for value in found[person, keypoint])
            if 1 < x < width - 1 and 1 < y < height - 1:
                step = np.array([heat[y][x + 1] - heat[y][x - 1], heat[y + 1][x] - heat[y - 1][x]])
                found[person, keypoint] += 0.25 * np.sign(step)
    return 4 * found


def photos(args: argparse.Namespace) -> None:
    from PIL import Image

    try:
        import cv2
    except ImportError:
        cv2 = None
    model, reference, called = with_reference("simple_baseline_resnet50", args.authors)
    boxes = np.array([[100.0 * n + 40, 20.0, 100.0 * n + 240, 420.0] for n in range(4)], np.float32)
    height, width = model.input_size
    center, extent = box_to_crop(boxes, (height, width))
    matrices = crop_matrix(center, extent, (height, width))
    with tempfile.TemporaryDirectory() as folder:
        picture = picture_of_street()
        paths = [Path(folder) / f"{n}.jpg" for n in range(args.photos)]
        for path in paths:
            picture.save(path)

        def person(photo: np.ndarray, number: int) -> Tensor:
            if cv2 is not None:
                part = cv2.warpAffine(photo, matrices[number], (width, height), flags=cv2.INTER_LINEAR)
            else:
                inverse = tuple(invert(matrices[number]).ravel())
                image = Image.fromarray(photo)
                part = np.asarray(image.transform((width, height), Image.Transform.AFFINE, inverse, Image.BILINEAR))
            return torch.from_numpy(np.ascontiguousarray(part.transpose(2, 0, 1))).float() / 255

        def loop() -> None:
            for path in paths:
                photo = np.asarray(Image.open(path).convert("RGB")) if cv2 is None else cv2.imread(str(path))[..., ::-1]
                people = torch.stack([person(np.ascontiguousarray(photo), number) for number in range(len(boxes))])
                with torch.no_grad():
                    quarter_offset(reference(people).numpy())

        for precision in args.precisions:

            def ours(precision: str = precision) -> None:
                posezoo.predict(paths, model, [boxes] * len(paths), progress=False, precision=precision)

            for _ in range(-(-16 * (EAGER_CALLS + 1) // (len(boxes) * len(paths)))):  # batches of 16 until the copy
                ours()
            report(f"{len(paths)} photos of 4 people, {precision}", "photos", *ratio(ours, loop, args.repeat), called)


def targets(args: argparse.Namespace) -> None:
    points = np.random.default_rng(0).uniform(0, 190, (1024, 17, 2)).astype(np.float32)
    tensor = torch.from_numpy(points)

    def person(pose: np.ndarray) -> np.ndarray:
        maps = np.zeros((17, 64, 48), np.float32)
        for keypoint, (x, y) in enumerate(pose):
            left, top = int(x / 4 + 0.5) - 6, int(y / 4 + 0.5) - 6
            if left >= 48 or top >= 64 or left + 13 < 0 or top + 13 < 0:
                continue
            at = np.arange(0, 13, 1, np.float32)  # for every keypoint, as HRNet's code has it
            patch = np.exp(-((at - 6) ** 2 + (at[:, None] - 6) ** 2) / (2 * 2**2))
            columns, rows = (max(0, -left), min(left + 13, 48) - left), (max(0, -top), min(top + 13, 64) - top)
            part = patch[rows[0] : rows[1], columns[0] : columns[1]]
            maps[keypoint, top + rows[0] : top + rows[1], left + columns[0] : left + columns[1]] = part
        return maps

    theirs, called = authors_function(args.authors, "JointsDataset", "JointsDataset.generate_target"), "written"
    if theirs is not None:
        sizes = {"heatmap_size": np.array([48, 64]), "image_size": np.array([192, 256])}
        kind = {"target_type": "gaussian", "use_different_joints_weight": False}
        settings = types.SimpleNamespace(num_joints=17, sigma=2, **sizes, **kind)
        seen, called = np.ones((17, 1), np.float32), "the authors'"
        person = lambda pose: theirs(settings, pose, seen)[0]  # noqa: E731

    def loop() -> np.ndarray:
        return np.stack([person(pose) for pose in points])  # HRNet makes those of one person in a call

    def ours() -> Tensor:
        return heatmaps.encode(tensor, size=(64, 48))[0]

    apart = np.abs(ours().numpy() - loop()).max()
    report("targets, 1024 x 17 x 64 x 48", "targets", *ratio(ours, loop, args.repeat), f"{called}; {apart:.0e} apart")


def decoding(args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    maps, _ = heatmaps.encode(188 * torch.rand(256, 17, 2), size=(64, 48), method="gaussian")
    array = maps.numpy()
    try:
        import cv2

        blur, called = lambda padded: cv2.GaussianBlur(padded, (11, 11), 0), "OpenCV's blur"
    except ImportError:
        from scipy.ndimage import gaussian_filter

        blur, called = lambda padded: gaussian_filter(padded, 2.0, radius=5), "SciPy's blur"

    def dark() -> np.ndarray:
        """mmpose's: blur each map, and a Newton step on its logarithm, keypoint by keypoint."""
        found = np.zeros((*array.shape[:2], 2), np.float32)
        for person, poses in enumerate(array):
            index = poses.reshape(len(poses), -1).argmax(axis=1)
            for keypoint, heat in enumerate(poses):
                y, x = divmod(int(index[keypoint]), heat.shape[1])
                padded = np.zeros((heat.shape[0] + 10, heat.shape[1] + 10), np.float32)
                padded[5:-5, 5:-5] = heat
                smooth = blur(padded)[5:-5, 5:-5]
                log = np.log(np.maximum(smooth * (heat.max() / smooth.max()), 1e-10))
                found[person, keypoint] = x, y
                if 1 < x < heat.shape[1] - 2 and 1 < y < heat.shape[0] - 2:
                    slope = np.array([[log[y, x + 1] - log[y, x - 1]], [log[y + 1, x] - log[y - 1, x]]]) / 2
                    xx = (log[y, x + 2] - 2 * log[y, x] + log[y, x - 2]) / 4
                    yy = (log[y + 2, x] - 2 * log[y, x] + log[y - 2, x]) / 4
                    xy = (log[y + 1, x + 1] - log[y - 1, x + 1] - log[y + 1, x - 1] + log[y - 1, x - 1]) / 4
                    if xx * yy - xy**2 != 0:
                        found[person, keypoint] -= (np.linalg.inv(np.array([[xx, xy], [xy, yy]])) @ slope)[:, 0]
        return 4 * found

    quarter, by, matrices = lambda: quarter_offset(array), "written", None
    theirs = authors_function(args.authors, "core.inference", "get_final_preds")
    if theirs is not None:  # with the way back into the image, here one as large as the crop
        settings, middle = Settings(TEST=Settings(POST_PROCESS=True)), np.tile(np.float32([96, 128]), (256, 1))
        quarter, by = lambda: theirs(settings, array, middle, middle / 100)[0], "the authors', into the image"
        matrices = crop_matrix(torch.from_numpy(middle), torch.from_numpy(2 * middle), (256, 192))
    for method, loop, note, back in (("quarter", quarter, by, matrices), ("dark", dark, called, None)):

        def ours(method: str = method, back: Tensor | None = back) -> Tensor:
            keypoints = heatmaps.decode(maps, method=method)[0]
            return keypoints if back is None else transform_points(keypoints, invert(back))

        apart = f"{np.abs(ours().numpy() - loop()).max():.0e} px apart"
        title = f"decoding of 256 x 17 maps, {method}"
        report(title, "decoding", *ratio(ours, loop, args.repeat), "; ".join(filter(None, (note, apart))))


def crops(args: argparse.Namespace) -> None:
    try:
        import cv2
    except ImportError:
        print("crops: left out, OpenCV is not installed: pip install opencv-python-headless")
        return
    photo = np.asarray(picture_of_street())
    image = torch.from_numpy(photo).movedim(-1, 0).float() / 255
    boxes = torch.tensor([[100.0, 50.0, 300.0, 400.0]]).repeat(256, 1) + 40 * torch.rand(256, 4)
    center, extent = box_to_crop(boxes, (256, 192), padding=1.25)
    matrices = crop_matrix(center, extent, (256, 192))

    def loop() -> list[np.ndarray]:
        return [cv2.warpAffine(photo, matrix.numpy(), (192, 256), flags=cv2.INTER_LINEAR) for matrix in matrices]

    def loop_of_floats() -> Tensor:
        return torch.stack([torch.from_numpy(part).movedim(-1, 0).float() / 255 for part in loop()])

    def ours() -> Tensor:
        return crop(image, matrices, (256, 192))

    apart = f"{float((ours() - loop_of_floats()).abs().max()):.3f} apart"
    report("crops of 256 people", "crops", *ratio(ours, loop, args.repeat), "warpAffine, bytes")
    report("crops of 256 people", "crops", *ratio(ours, loop_of_floats, args.repeat), f"and to floats; {apart}")


def picture_of_street() -> Any:
    from PIL import Image

    return Image.open(PHOTO).convert("RGB").resize((640, 480))


def streaming(args: argparse.Namespace) -> None:
    model = posezoo.create("rpsm", size=[64, 64], width=16, hidden=64).eval()
    frame = torch.rand(1, 3, 64, 64)
    early, late = model.stream(), model.stream()
    for _ in range(10):
        early(frame)
    for _ in range(args.frames):
        late(frame)
    times = ratio(lambda: late(frame), lambda: early(frame), 20 * args.repeat)
    report(f"RPSM, frame 10 over frame {args.frames:,}", "streaming", *times)


def loading(args: argparse.Namespace) -> None:
    from posezoo.data import PersonCrop
    from posezoo.images import load_image_uint8

    model = posezoo.create("simple_baseline_resnet50")
    person = {"keypoints": 400 * torch.rand(17, 2), "visible": torch.ones(17, dtype=torch.bool),
              "box": torch.tensor([100.0, 50.0, 300.0, 400.0])}  # fmt: skip
    transform = PersonCrop(size=(256, 192), skeleton=model.skeleton, scale=0.35, rotation=45.0, flip=0.5)
    image = torch.rand(8, 3, 256, 192)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        picture_of_street().save(path)

        def load() -> Tensor:
            return torch.stack([transform({"image": load_image_uint8(path), **person})["image"] for _ in range(8)])

        def train() -> None:
            model(image).square().mean().backward()

        report("loading 8 images, against training", "loading", *ratio(load, train, args.repeat))


def report(title: str, goal: str, own: float, reference: float, times: float, note: str = "") -> None:
    print(f"{title:42} {own:9.1f} ms {reference:9.1f} ms {times:7.2f} {GOALS[goal]:6.2f}  {note}", flush=True)


ROWS = {function.__name__: function for function in (networks, photos, targets, decoding, crops, streaming, loading)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; defaults to all")
    parser.add_argument("--authors", type=Path, help="folder with checkouts of the authors' code")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=(1, 8))
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=("fp32", "bf16"))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--frames", type=int, default=10_000, help="of the long stream")
    args = parser.parse_args()
    unknown = set(args.rows) - set(ROWS)
    if unknown:
        parser.error(f"unknown rows {', '.join(sorted(unknown))}; known are {', '.join(ROWS)}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'row':42} {'ours':>12} {'reference':>12} {'ratio':>7} {'goal':>6}")
    for row in args.rows or ROWS:
        print(f"-- python benchmarks/predict.py {row}")
        ROWS[row](args)


if __name__ == "__main__":
    main()
