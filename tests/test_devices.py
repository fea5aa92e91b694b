"""Every network on a device that nobody needs to have: shapes and devices without values, torch's FakeTensorMode.

A tensor on the wrong device, or a value that the host waits for, is an error there.
"""

import itertools
import json
import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import torch
from fresh_process import run_distributed
from torch._subclasses.fake_tensor import FakeTensorMode

import posezoo
from posezoo import codecs, heatmaps, losses, metrics

ROOT = Path(__file__).parents[1]
SMALL = {"DeepPose": {"widths": [8, 8, 8, 8, 8, 16, 16]}, "PoseCNN": {"fc_width": 32}, "RPSM": {"size": [64, 64]}}
QUICK = ("hrnet_w18", "simple_baseline_resnet18", "hourglass_2", "hourglass52", "cpm_vgg_6s", "deeppose",
         "deeppose_resnet50", "ief", "tompson_flic", "posernn_cnn", "posernn_lstm", "posernn_attention", "rpsm",
         "martinez", "temporal_conv_27", "seq2seq3d")  # fmt: skip
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in posezoo.list_models()]
# one network of each system, small enough for a CPU, with bfloat16 too, which few CPUs compute with
SYSTEMS = {
    "cpm_bn_6s": {"width": 8},
    "deeppose": SMALL["DeepPose"],
    "deeppose_resnet50": {"backbone": "test_resnet.r160_in1k"},
    "hourglass52": {"width": 16},
    "hourglass_1": {"width": 16},
    "hrnet_w18": {"width": 4},
    "ief": {"backbone": "test_resnet.r160_in1k", "neck_width": 8, "num_steps": 2},
    "martinez": {"linear_size": 64},
    "posernn_lstm": {"backbone": "test_resnet.r160_in1k", "neck_width": 8, "hidden": 16},
    "rpsm": {"size": [64, 64], "width": 8, "hidden": 16},
    "seq2seq3d": {"hidden_size": 32},
    "simple_baseline_resnet18": {"deconv_width": 16},
    "temporal_conv_27": {"channels": 32},
    "tompson_mpii": {"width": 8, "fc_width": 16},
}


def class_name(name):
    return typing.get_type_hints(posezoo.model_entrypoint(name))["return"].__name__


def test_one_network_of_each_class_is_in_the_default_suite():
    assert {class_name(name) for name in QUICK} == {class_name(name) for name in posezoo.list_models()}


def everything(model, given):
    """All that a network does on a batch; the tensors that come out."""
    output = model(given)
    stages = model(given, all_stages=True)
    tensors = [output, *stages, *model.decode(output), *model.predict(given), *model.predict(given, flip=True)]
    if model.stride is not None:
        keypoints = torch.rand(len(given), model.num_keypoints, 2)
        visible = torch.ones(len(given), model.num_keypoints, dtype=torch.bool)
        for stage, (target, weights) in zip(stages, model.encode_targets(keypoints, visible, stages), strict=True):
            tensors += [
                target,
                weights,
                losses.heatmap_mse(stage, target, weights),
                losses.ohkm(stage, target, weights, top_k=1),
            ]
    elif output.ndim == 3:
        tensors += [losses.keypoint_smooth_l1(output, torch.zeros_like(output))]
    else:
        tensors += [losses.pose_mse(output, torch.zeros_like(output)), losses.pose_distance(output, output)]
    return tensors


@pytest.mark.parametrize("name", NAMES)
def test_runs_on_a_device_without_waiting_for_it(name, monkeypatch):
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", lambda tensor, **_: tensor)  # draws until all are inside
    with FakeTensorMode(), torch.device("cuda"):
        model = posezoo.create(name, **SMALL.get(class_name(name), {})).eval()
        for tensor in everything(model, model.example_input(2)):
            assert tensor.device.type == "cuda"


def test_other_heads_run_on_a_device():
    with FakeTensorMode(), torch.device("cuda"):
        for head in ("simcc", "integral"):
            model = posezoo.create("hrnet_w18", head=head).eval()
            image = model.example_input(2)
            output = model(image)
            ((target, weights),) = model.encode_targets(torch.rand(2, 17, 2), torch.ones(2, 17), [output])
            for tensor in (target, weights, *model.decode(output), *model.predict(image, flip=True)):
                assert tensor.device.type == "cuda"


MAPS, POINTS, POSES = (2, 4, 8, 6), (2, 4, 2), (2, 5, 17, 3)  # heatmaps, keypoints, 3D poses of a video
LOSSES = {
    **dict.fromkeys(("heatmap_mse", "heatmap_sse", "euclidean", "heatmap_cross_entropy"), (MAPS, MAPS, (2, 4))),
    "ohkm": (MAPS, MAPS, (2, 4), {"top_k": 2}),
    "belief_loss": ([MAPS, MAPS], MAPS, MAPS),
    "coarse_to_fine_sse": ((MAPS, MAPS), (MAPS, MAPS), (2, 4)),
    "simcc_cross_entropy": ((2, 4, 28), (2, 4, 28), (2, 4), {"columns": 12}),
    **dict.fromkeys(("keypoint_l2", "keypoint_mse", "keypoint_smooth_l1"), (POINTS, POINTS, (2, 4))),
    "bounded_correction": (POINTS, POINTS, POINTS, (2, 4)),
    **dict.fromkeys(("pose_mse", "pose_distance", "smooth_pose_mse"), (POSES, POSES)),
    "pose_sequence_mse": ([POSES, POSES], POSES),
}


def tensors_of(shapes):
    """Random tensors in place of shapes."""
    if isinstance(shapes, dict) or (isinstance(shapes, tuple) and isinstance(shapes[0], int)):
        return shapes if isinstance(shapes, dict) else torch.rand(shapes)
    return type(shapes)(tensors_of(shape) for shape in shapes)


def test_losses_do_not_wait_for_a_device():
    public = {name for name, value in vars(losses).items() if getattr(value, "__module__", "") == losses.__name__}
    assert {name for name in public if not name.startswith("_")} == set(LOSSES)
    with FakeTensorMode(), torch.device("cuda"):
        for name, shapes in LOSSES.items():
            named = shapes[-1] if isinstance(shapes[-1], dict) else {}
            given = tensors_of(shapes[:-1] if named else shapes)
            assert getattr(losses, name)(*given, **named).device.type == "cuda", name


def test_every_codec_runs_on_a_device():
    with FakeTensorMode(), torch.device("cuda"):
        keypoints, visible = torch.rand(2, 4, 2), torch.ones(2, 4)
        encoded = [heatmaps.encode(keypoints, visible, size=(8, 6), method=method) for method in heatmaps.ENCODINGS]
        maps = encoded[0][0]
        decoded = [heatmaps.decode(maps, method=method) for method in (*heatmaps.DECODINGS, "udp")]
        simcc = codecs.encode_simcc(keypoints, visible, size=(32, 24))
        decoded += [codecs.decode_simcc(*simcc[:2], method=method) for method in codecs.DECODINGS]
        decoded += [codecs.encode_integral(keypoints, visible, size=(32, 24)), codecs.decode_integral(maps)]
        for tensor in itertools.chain(*encoded, *decoded, simcc):
            assert tensor.device.type == "cuda"


def pose_arrays(points):
    """Predictions and annotations of 4 people with 17 keypoints of 2 or 3 coordinates, and who is visible."""
    return torch.rand(4, 17, points), torch.rand(4, 17, points), torch.rand(4, 17) > 0.5


METRICS_2D = {
    "pck": lambda p, t, v: metrics.pck(p, t, torch.ones(4), visible=v),
    "pckh": lambda p, t, v: metrics.pckh(p, t, torch.ones(4), visible=v),
    "pck_curve": lambda p, t, v: metrics.pck_curve(p, t, torch.ones(4), [0.1, 0.5], visible=v),
    "pdj": lambda p, t, v: metrics.pdj(p, t, "coco17", visible=v),
    "rmse": lambda p, t, v: metrics.rmse(p, t, visible=v),
    "mean_pixel_error": lambda p, t, v: metrics.mean_pixel_error(p, t, visible=v),
    "heatmap_accuracy": lambda p, t, v: metrics.heatmap_accuracy(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)),
    "oks": lambda p, t, v: metrics.oks(p, t, torch.ones(4), "coco17", visible=v),
    "oks of crowds": lambda p, t, v: metrics.oks(p, t, torch.ones(4), "coco17", visible=v, boxes=torch.rand(4, 4)),
    "pcp": lambda p, t, v: metrics.pcp(p, t, [(0, 1), (2, 3)], visible=v),
    "torso_diameter": lambda p, t, v: metrics.torso_diameter(t, "coco17", visible=v),
    "counted_keypoints": lambda p, t, v: metrics.counted_keypoints(t, torch.ones(4), visible=v),
    "auc": lambda p, t, v: metrics.auc(torch.rand(3, 17), [0.1, 0.2, 0.3]),
    "oks_matrix": lambda p, t, v: metrics.oks_matrix(p, t, torch.ones(4), "coco17", visible=v),
}
METRICS_3D = {
    "mpjpe": lambda p, t, v: metrics.mpjpe(p, t, visible=v),
    "mpjpe, unaligned": lambda p, t, v: metrics.mpjpe(p, t, alignment="none"),
    "mpjpe, centroid": lambda p, t, v: metrics.mpjpe(p, t, alignment="centroid", visible=v),
    "limb_angle_error": lambda p, t, v: metrics.limb_angle_error(p, t, "coco17"),
    "n_mpjpe": lambda p, t, v: metrics.n_mpjpe(p, t),
    "mpjve": lambda p, t, v: metrics.mpjve(p, t),
    "acceleration_error": lambda p, t, v: metrics.acceleration_error(p, t),
    "pck3d": lambda p, t, v: metrics.pck3d(p, t, visible=v),
    "auc3d": lambda p, t, v: metrics.auc3d(p, t, visible=v),
    "bone_length_error": lambda p, t, v: metrics.bone_length_error(p, t, "coco17"),
}


@pytest.mark.parametrize("name", [*METRICS_2D, *METRICS_3D])
def test_metrics_do_not_wait_for_a_device(name):
    with FakeTensorMode(), torch.device("cuda"):
        measure = METRICS_2D.get(name) or METRICS_3D[name]
        result = measure(*pose_arrays(3 if name in METRICS_3D else 2))
        assert result.device.type == "cuda"


DISTRIBUTED = """
import json, sys, torch, posezoo
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
systems = json.loads(sys.argv[1])
torch.set_num_threads(1)
dist.init_process_group("gloo")
for name, small in systems.items():
    for mixed in (False, True):
        torch.manual_seed(0)
        model = posezoo.create(name, **small).train()
        torch.manual_seed(1 + dist.get_rank())
        network = DistributedDataParallel(model)
        given = torch.rand_like(model.example_input(2))
        given = given[..., :128, :128] if given.shape[-1] in (192, 256, 368) else given
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = sum(stage.float().square().mean() for stage in network(given, all_stages=True))
        loss.backward()
        norms = torch.stack([loss.detach(), *(p.grad.norm() for p in model.parameters())])
        both = [torch.empty_like(norms) for _ in range(2)]
        dist.all_gather(both, norms)
        assert both[0][0] != both[1][0], f"{name}, mixed {mixed}: the same loss of different images"
        assert torch.equal(both[0][1:], both[1][1:]), f"{name}, mixed {mixed}: gradients differ"
        assert norms.isfinite().all() and norms[1:].any(), f"{name}, mixed {mixed}: {norms}"
        print(name, mixed)
dist.destroy_process_group()
"""


def test_one_network_of_each_system_is_there():
    systems = {posezoo.model_entrypoint(name).__module__ for name in posezoo.list_models()}
    assert {posezoo.model_entrypoint(name).__module__ for name in SYSTEMS} == systems
    assert len(SYSTEMS) == len(systems)


@pytest.mark.slow
def test_two_processes_have_the_same_gradients(tmp_path):
    """Of the mean over both, in full and in mixed precision."""
    program = tmp_path / "gradients.py"
    program.write_text(DISTRIBUTED)
    said = run_distributed(2, program, json.dumps(SYSTEMS))  # an error of either process is this test's
    assert len(said.splitlines()) == 2 * 2 * len(SYSTEMS)


BROKEN_TORCHVISION = """
import torch
load = torch.ops.load_library
def refuse(path):
    if "torchvision" in str(path):
        raise OSError("undefined symbol")
    return load(path)
torch.ops.load_library = refuse  # as the extension of a torchvision that was built for another torch
try:
    import timm
except RuntimeError as error:
    assert "torchvision::nms does not exist" in str(error), error
else:
    print("torchvision imports without its extension")
import sys
for name in [name for name in sys.modules if name.partition(".")[0] in ("torchvision", "timm")]:
    del sys.modules[name]
import posezoo
model = posezoo.create("simple_baseline_lite", pretrained=True)
print(model.predict(torch.rand(1, 3, 64, 64))[0].shape)
"""


def test_timm_backbones_build_beside_a_torchvision_for_another_torch():
    pytest.importorskip("torchvision")
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_TORCHVISION], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "torch.Size([1, 17, 2])"
