"""Torch7's, Caffe's and TensorFlow's files: read exactly, or refused; and the networks that were
published in them.
"""

import ast
import contextlib
import random
import re
import struct
import sys
from pathlib import Path

import foreign_files as files
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toy import randomize, same, snapshot

import posezoo
from posezoo.checkpoints.readers import caffe, protobuf, tensorflow, torch7
from posezoo.models.cpm import CPM
from posezoo.models.rpsm import RPSM
from posezoo.registry import load_checkpoint


def write(path, content):
    path.write_bytes(content)
    return path


def conv(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator)


# ---------------------------------------------------------------------------------------------------------------------
# Torch7


def test_torch7_values(tmp_path):
    matrix = conv(3, 4)
    content = files.Lua(
        "nn.Sequential", name="net", number=3.5, whole=2, yes=True, no=False, code=b"\x1bLJ\x01", matrix=matrix,
        part=matrix[:, 1:3], row=matrix[1], turned=matrix.T, halves=matrix.half(), longs=torch.tensor([1, -(2**40)]),
        bytes=torch.tensor([0, 255], dtype=torch.uint8), nothing=torch.empty(0),
        list=files.table(1, "two", files.Lua()),
    )  # fmt: skip
    content.entries["itself"] = content
    read = torch7.read(write(tmp_path / "a.t7", files.torch7(content)))
    assert read.kind == "nn.Sequential"
    assert read.get("itself") is read
    assert [read.get(key) for key in ("name", "number", "whole", "yes", "no")] == ["net", 3.5, 2, True, False]
    assert read.get("list").sequence()[:2] == [1, "two"]
    assert read.get("list").sequence()[2].entries == {}
    for name in ("matrix", "part", "row", "turned", "halves", "longs", "bytes", "nothing"):
        assert read.get(name).dtype == content.entries[name].dtype or name == "nothing"
        assert torch.equal(read.get(name), content.entries[name]), name
    assert read.get("part").untyped_storage().data_ptr() == read.get("matrix").untyped_storage().data_ptr()


@pytest.mark.parametrize("value", [None, True, 7, -0.5, "text", files.table(), conv(2, 2)])
def test_torch7_files_of_one_value(tmp_path, value):
    read = torch7.read(write(tmp_path / "a.t7", files.torch7(value)))
    if isinstance(value, torch.Tensor):
        assert torch.equal(read, value)
    elif isinstance(value, files.Lua):
        assert read.entries == {}
    else:
        assert read == value


def test_modules_come_in_the_order_of_use(tmp_path):
    """Of a graph, from its outputs back; of shared modules, the first time; of a matrix, as a
    convolution.
    """
    first, second, third, fourth = (files.convolution(torch.full((2, 2, 1, 1), float(n))) for n in range(4))
    start = files.node(files.module("nn.Identity"))
    left = files.node(files.module("nn.Sequential", first, files.module("nn.ReLU")), start)
    right = files.node(third, files.node(second, left))
    network = files.graph(files.node(fourth, files.node(files.module("nn.CAddTable"), left, right)))
    for content in (network, files.table(network, first), files.Lua("nn.DataParallelTable", module=network)):
        tensors = torch7.read_tensors(write(tmp_path / "a.t7", files.torch7(content)))
        assert list(tensors) == [f"{n}.SpatialConvolution.weight" for n in range(4)]
        assert [value.mean().item() for value in tensors.values()] == [0, 1, 2, 3]
    matrix = files.Lua("nn.SpatialConvolutionMM", weight=conv(4, 27), nOutputPlane=4, nInputPlane=3, kH=3, kW=3)
    norm = files.Lua("nn.SpatialBatchNormalization", running_mean=conv(4), running_std=conv(4).abs() + 1, eps=1e-3)
    tensors = torch7.read_tensors(write(tmp_path / "a.t7", files.torch7(files.module("nn.Sequential", matrix, norm))))
    assert torch.equal(tensors["0.SpatialConvolution.weight"], conv(4, 27).view(4, 3, 3, 3))
    assert list(tensors)[1:] == [f"1.SpatialBatchNormalization.running_{name}" for name in ("mean", "var")]
    std = 1 / (tensors["1.SpatialBatchNormalization.running_var"] + 1e-3).sqrt()
    torch.testing.assert_close(std, conv(4).abs() + 1)


def test_a_deep_graph_needs_no_deep_stack(tmp_path):
    data = files.node(files.convolution(conv(1)))
    for _ in range(300):  # as deep as a file gets whose writer recurses
        data = files.node(files.module("nn.ReLU"), data)
    depth = 4000
    chain = struct.pack("<iii", 3, 1, 1) + struct.pack("<id", 1, 1.0)
    nested = b"".join(struct.pack("<iii", 3, n, 1) + struct.pack("<id", 1, 1.0) for n in range(2, depth))
    write(tmp_path / "chain.t7", chain + nested + struct.pack("<i", 0))
    assert torch7.read(tmp_path / "chain.t7").get(1).get(1).kind == ""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)  # of the writer
    content = files.torch7(files.graph(data))
    sys.setrecursionlimit(limit)
    assert list(torch7.read_tensors(write(tmp_path / "a.t7", content))) == ["0.SpatialConvolution.weight"]


def integers(*values):
    return struct.pack(f"<{len(values)}i", *values)


TENSOR = integers(4, 1, 3) + b"V 1" + integers(17) + b"torch.FloatTensor"
STORAGE = integers(4, 2, 3) + b"V 1" + integers(18) + b"torch.FloatStorage"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"at byte 0: 4 bytes are asked for, and 0 are left"),
        (b"4\n1\n3\nV 1\n13\nnn.Sequential\n", "no value is of kind"),
        (integers(9), "no value is of kind 9"),
        (integers(2, 2**31 - 1) + b"abc", "2147483647 bytes are asked for, and 3 are left"),
        (integers(2, -5), "-5 bytes are asked for"),
        (integers(3, 1, 2**31 - 1), "a table of 2147483647 entries, where 0 bytes are left"),
        (integers(3, 1, -1), "a table of -1 entries"),
        (integers(3, 1, 1, 0, 0) + bytes(8), "a table with a key that is nil"),
        (STORAGE + struct.pack("<q", 2**60), "a storage of 1152921504606846976 elements, where 0 bytes are left"),
        (STORAGE + struct.pack("<q", -1), "a storage of -1 elements"),
        (TENSOR + integers(2**30), "a tensor of 1073741824 dimensions"),
        (TENSOR + integers(1) + struct.pack("<3q", 2**62, 0, 1) + STORAGE + struct.pack("<q", 0),
         "reaches beyond its storage of 0"),
        (TENSOR + integers(1) + struct.pack("<3q", 3, 1, 1) + STORAGE + struct.pack("<qff", 2, 0, 0),
         r"a tensor \(3,\) that reaches beyond its storage of 2"),
        (TENSOR + integers(1) + struct.pack("<3q", 2, 1, -1) + STORAGE + struct.pack("<qff", 2, 0, 0), "beyond its"),
        (TENSOR + integers(1) + struct.pack("<3q", 2, 1, 2) + STORAGE + struct.pack("<qff", 2, 0, 0), "beyond its"),
        (TENSOR + integers(1) + struct.pack("<3q", 2, -1, 2) + STORAGE + struct.pack("<qff", 2, 0, 0), "beyond its"),
        (TENSOR + integers(1) + struct.pack("<3q", 2, 1, 1) + integers(4, 1), "a tensor that holds itself"),
        (TENSOR + integers(1) + struct.pack("<3q", 2, 1, 1) + integers(3, 2, 0), "whose storage is something else"),
        (integers(4, 1, 3) + b"V 1" + integers(11) + b"torch.Timer" + integers(5, 1),
         "'torch.Timer' does not keep itself as a table"),
    ],
)  # fmt: skip
def test_torch7_files_that_are_refused(tmp_path, content, says):
    path = write(tmp_path / "broken.t7", content)
    with pytest.raises(ValueError, match=says) as caught:
        torch7.read(path)
    assert "broken.t7 is not a whole binary Torch7 file" in str(caught.value)


def test_torch7_files_without_a_network(tmp_path):
    with pytest.raises(ValueError, match="expected a network of Torch7, found float"):
        torch7.read_tensors(write(tmp_path / "a.t7", files.torch7(2.5)))
    loop = files.table()
    loop.entries[1] = loop
    with pytest.raises(ValueError, match="found a table without modules"):
        torch7.read_tensors(write(tmp_path / "a.t7", files.torch7(loop)))
    odd = files.Lua("nn.SpatialConvolutionMM", weight=conv(4, 27), nOutputPlane="4", nInputPlane=3, kH=3, kW=3)
    odd.entries |= {"running_std": torch.tensor([1, 2]), "eps": "small"}
    tensors = torch7.read_tensors(write(tmp_path / "a.t7", files.torch7(odd)))
    assert tensors["0.SpatialConvolution.weight"].shape == (4, 27)
    torn = files.Lua("nn.gModule", modules=files.table(files.convolution(conv(1))))
    with pytest.raises(ValueError, match=r"a\.t7: an nn\.gModule without its output node"):
        torch7.read_tensors(write(tmp_path / "a.t7", files.torch7(torn)))


# ---------------------------------------------------------------------------------------------------------------------
# Caffe

LAYERS = {"conv1": [conv(4, 3, 3, 3), conv(4, seed=1)], "fc": [conv(5, 8, seed=2), conv(5, seed=3)]}


@pytest.mark.parametrize(
    "options", [{}, {"old": True}, {"packed": False}, {"double": True}, {"old": True, "double": True}]
)
def test_caffe(tmp_path, options):
    tensors = caffe.read_tensors(write(tmp_path / "a.caffemodel", files.caffemodel(LAYERS, **options)))
    assert list(tensors) == ["conv1.weight", "conv1.bias", "fc.weight", "fc.bias"]
    assert all(torch.equal(tensors[f"{name}.weight"], weight) for name, (weight, _) in LAYERS.items())
    assert all(torch.equal(tensors[f"{name}.bias"], bias) for name, (_, bias) in LAYERS.items())


def layer(name, *blobs):
    return files.field(100, files.field(1, name) + b"".join(files.field(7, blob) for blob in blobs))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no .caffemodel with weights"),
        (files.field(1, "net") + layer("relu"), "no layer in it holds any"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not a whole .caffemodel"),
        (files.field(100, b"")[:-1] + b"\xff\xff\xff\xff\x0f", "field 100 is of 4294967295 bytes, and 0 are left"),
        (b"\xff" * 11, "a number of more than ten bytes"),
        (b"\x80", "it ends within a number"),
        (b"\x0b", "a field of the unknown kind 3"),
        (layer("a", files.blob(conv(2))) * 2, "two layers are called 'a'"),
        (layer("a", files.field(7, files.field(1, b"\x03")) + files.field(5, bytes(8))),
         r"layer 'a': a blob of shape \(3,\) has 2 numbers"),
        (layer("a", files.field(7, files.field(1, files.varint(2**62))) + files.field(5, bytes(8))), "has 2 numbers"),
        (layer("a", files.field(5, bytes(7))), "7 bytes are no whole list of numbers of 4"),
        (layer("a", files.field(5, 3)), "a number where bytes are expected"),
        (files.field(100, 3), "a number where bytes are expected"),
    ],
)  # fmt: skip
def test_caffe_files_that_are_refused(tmp_path, content, says):
    with pytest.raises(ValueError, match=says) as caught:
        caffe.read_tensors(write(tmp_path / "broken.caffemodel", content))
    assert "broken.caffemodel" in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# TensorFlow

VARIABLES = {
    **{f"a/name/that/is/shared/by/{n:02}": conv(2, n % 4, seed=n).numpy() for n in range(45)},
    **{"global_step": np.array(17), "double": conv(3).double().numpy(), "half": conv(5).half().numpy()},
}


@pytest.fixture
def checkpoint(tmp_path):
    return files.tensorflow(tmp_path / "checkpoint-17", VARIABLES)


@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_tensorflow(checkpoint, ending):
    tensors = tensorflow.read_tensors(checkpoint.with_name(f"checkpoint-17{ending}"))
    assert set(tensors) == set(VARIABLES)
    for name, value in VARIABLES.items():
        assert tensors[name].numpy().dtype == value.dtype
        np.testing.assert_array_equal(tensors[name].numpy(), value)


def test_a_checksum_of_any_length_is_googles():
    assert files.crc32c(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF  # RFC 3720
    for length in (0, 1, 2, 3, 4, 5, 15, 16, 17, 99, 1000):
        content = random.Random(length).randbytes(length)
        assert tensorflow._checksum(np.frombuffer(content, np.uint8)) == files.crc32c(content)


def test_tensorflow_checkpoints_that_are_refused(tmp_path, checkpoint):
    data = checkpoint.with_name("checkpoint-17.data-00000-of-00001")
    content = data.read_bytes()
    with pytest.raises(ValueError, match=r"there is no file .*nowhere\.index"):
        tensorflow.read_tensors(tmp_path / "nowhere")
    write(data, content[:-4])
    with pytest.raises(ValueError, match=r"data-00000-of-00001 is cut off: half ends at byte"):
        tensorflow.read_tensors(checkpoint)
    write(data, content[:40] + bytes([content[40] ^ 1]) + content[41:])
    with pytest.raises(ValueError, match=r"is damaged: the checksum of a/name/that/is/shared/by/\d\d is wrong"):
        tensorflow.read_tensors(checkpoint)
    data.unlink()
    with pytest.raises(ValueError, match=r"there is no file .*data-00000-of-00001, which holds the values of"):
        tensorflow.read_tensors(checkpoint)
    write(checkpoint, b"version https://git-lfs.github.com/spec/v1\noid sha256:0123456789\nsize 8686\n")
    with pytest.raises(ValueError, match=r"not the whole index of a TensorFlow checkpoint \(it does not end as one"):
        tensorflow.read_tensors(checkpoint)


def entry(**changes):
    parts = {1: 1, 2: files.field(2, files.field(1, 3)), 5: 12, **{int(k[1:]): v for k, v in changes.items()}}
    return b"".join(files.field(number, value) for number, value in parts.items())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (entry(_5=8), r"the index gives 8 bytes to a variable of shape \(3,\)"),
        (entry(_2=files.field(2, files.field(1, 2**62))), "the index gives 12 bytes"),
        (entry(_4=2**60), "is cut off: x ends at byte 1152921504606846988 of"),
        (entry(_1=14), "x is of TensorFlow's type 14, which is not read here"),
        (entry(_3=1), "there is no file .*data-00001-of-00001"),
        (entry(_7=b"abc"), "a variable in several slices"),
        (entry(_6=b"ab"), "expected 4 bytes, got 2"),
    ],
)
def test_entries_of_an_index_that_are_refused(tmp_path, monkeypatch, content, says):
    path = files.tensorflow(tmp_path / "ck", {"x": conv(3).numpy()})
    monkeypatch.setattr(tensorflow, "_entries", lambda _: iter([(b"", memoryview(b"")), (b"x", memoryview(content))]))
    with pytest.raises(ValueError, match=says):
        tensorflow.read_tensors(path)


# ---------------------------------------------------------------------------------------------------------------------
# Whatever is in a file


def samples(tmp_path):
    network = files.graph(files.node(files.convolution(*LAYERS["conv1"]), files.node(files.module("nn.Identity"))))
    return {
        torch7.read_tensors: write(tmp_path / "a.t7", files.torch7(network)),
        caffe.read_tensors: write(tmp_path / "a.caffemodel", files.caffemodel(LAYERS)),
        tensorflow.read_tensors: files.tensorflow(tmp_path / "a", {"x": conv(3).numpy(), "y": conv(2).numpy()}),
    }


def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path):
    for read, path in samples(tmp_path).items():
        whole = path.read_bytes()
        layers_end = len(whole) - 1 if read is caffe.read_tensors else len(whole)
        for length in range(0, layers_end, 3):
            write(path, whole[:length])
            try:
                tensors = read(path)
            except ValueError as error:
                assert str(path) in str(error)  # noqa: PT017
            else:  # a whole number of layers is a whole file
                assert read is caffe.read_tensors, length
                assert len(tensors) in (2, 4)


def test_damaged_bytes_are_refused_or_change_numbers(tmp_path):
    chance = random.Random(0)
    for read, path in samples(tmp_path).items():
        whole = path.read_bytes()
        for _ in range(400):
            content = bytearray(whole)
            for _ in range(chance.randint(1, 4)):
                content[chance.randrange(len(content))] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
            write(path, bytes(content))
            with contextlib.suppress(ValueError):
                read(path)


@pytest.mark.parametrize("module", [caffe, protobuf, tensorflow, torch7], ids=lambda module: module.__name__)
def test_readers_run_nothing(module):
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"eval", "exec", "compile", "__import__", "getattr"}
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= {"math", "re", "struct", "numpy", "torch"}


# ---------------------------------------------------------------------------------------------------------------------
# Networks


def test_cpm_of_a_caffemodel(tmp_path):
    """The authors' layers by name, fed BGR; `tests/test_checkpoints.py` has the same layout as
    PyTorch's.
    """
    published = CPM(design="vgg", width=8, num_stages=3, num_keypoints=14).eval()
    for part in published.modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight)
    layers = {
        name.rpartition(".")[2]: [part.weight, part.bias]
        for name, part in published.named_modules()
        if isinstance(part, torch.nn.Conv2d)
    }
    for old in (False, True):
        path = write(tmp_path / "pose_iter.caffemodel", files.caffemodel(layers, old=old))
        model = load_checkpoint(None, path)
        assert (model.architecture, model.num_stages, model.skeleton.name) == ("cpm_vgg_6s", 3, "cpm14")
        published.normalize.disable()
        rgb = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            expected = published((255 * rgb.flip(1) - 128) / 256)
            torch.testing.assert_close(model(rgb), expected, atol=1e-4, rtol=1e-4)


def googlenet(model):
    """IEF's layers by GoogLeNet's names in Caffe, with an auxiliary classifier as training has one."""
    kernel = torch.cat([model.conv1.weight[:, :3], model.feedback.conv1.weight, model.conv1.weight[:, 3:]], dim=1)
    layers = {
        "conv1/7x7_s2": [kernel, model.conv1.bias],
        "conv2/3x3_reduce": [model.conv2_reduce.weight, model.conv2_reduce.bias],
        "conv2/3x3": [model.conv2.weight, model.conv2.bias],
        "cls1_fc": [conv(32, 1024), conv(32)],
        "cls3_fc": [model.feedback.fc.weight, model.feedback.fc.bias],
    }
    names = {"1x1": "conv1", "3x3_reduce": "conv3_reduce", "3x3": "conv3", "5x5_reduce": "conv5_reduce", "5x5": "conv5"}
    for number in (3, 4, 5):
        for letter, block in zip("abcde", getattr(model, f"inception{number}"), strict=False):
            for theirs, ours in {**names, "pool_proj": "pool_project"}.items():
                part = getattr(block, ours)
                layers[f"inception_{number}{letter}/{theirs}"] = [part.weight, part.bias]
    return layers


def test_ief_of_a_caffemodel(tmp_path, caplog):
    published = posezoo.create("ief").eval()
    published.set_initial_pose(200 * torch.rand(5, 16, 2))
    path = write(tmp_path / "ief-googlenet-dec2015.caffemodel", files.caffemodel(googlenet(published)))
    with caplog.at_level("INFO", "posezoo"):
        model = load_checkpoint(None, path)
    assert (model.architecture, model.num_keypoints, model.skeleton.name) == ("ief", 16, "mpii16")
    assert "left out: cls1_fc.weight (32, 1024) and 1 more (an auxiliary classifier" in caplog.text
    assert "has no initial pose" in caplog.text
    model.feedback.initial_pose.copy_(published.initial_pose)
    assert same(model.state_dict(), published.state_dict())
    # the authors' one convolution over 3 + 16 + 1 maps is the sum of our two
    image, drawn, mark = conv(1, 3, 224, 224), conv(1, 16, 224, 224, seed=1), conv(1, 1, 224, 224, seed=2)
    kernel, bias = googlenet(published)["conv1/7x7_s2"]
    theirs = F.conv2d(torch.cat([image, drawn, mark], dim=1), kernel, bias, 2, 3)
    ours = model.conv1(torch.cat([image, mark], dim=1)) + model.feedback.conv1(drawn)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_another_googlenet_is_no_ief(tmp_path):
    layers = googlenet(posezoo.create("ief"))
    layers["conv1/7x7_s2"][0] = conv(64, 3, 7, 7)
    path = write(tmp_path / "googlenet.caffemodel", files.caffemodel(layers))
    with pytest.raises(ValueError, match=r"expected a first layer of 7 x 7 over 20 channels.*got 3"):
        load_checkpoint(None, path)


def linear(layer, kind="nn.Linear"):
    return files.Lua(kind, weight=layer.weight, **({} if layer.bias is None else {"bias": layer.bias}))


def convolution(layer):
    return files.convolution(layer.weight, layer.bias)


def relu():
    return files.module("cudnn.ReLU", inplace=True)


def rpsm_stages(model):
    """As `models/rpsm/rpsm_pretrained.lua` of the authors connects it."""
    start = files.node(files.module("nn.Identity"))
    features, poses = [], []
    for k, (special, adapt, unit) in enumerate(zip(model.specialised, model.adaption, model.recurrent, strict=True)):
        layers = [convolution(special.conv1), relu(), convolution(special.conv2), relu()]
        inner = files.module("nn.Sequential", *([files.module("nn.JoinTable")] if k else []), *layers)
        inputs = [files.node(files.module("nn.Identity")) for _ in range(1 + bool(k))]
        seen = [start, features[-1]] if k else [start]
        features.append(files.node(files.graph(files.node(inner, *inputs)), *seen))

        layers = [convolution(adapt.conv1), relu(), convolution(adapt.conv2), relu()]
        layers += [files.module("cudnn.SpatialMaxPooling"), files.module("nn.View"), linear(adapt.fc), relu()]
        inner = files.module("nn.Sequential", *layers)
        adapted = files.node(files.graph(files.node(inner, files.node(files.module("nn.Identity")))), features[-1])

        matrix = torch.cat([unit.adapted.weight, unit.previous.weight], dim=1) if k else unit.adapted.weight
        into = files.Lua("nn.Linear", weight=matrix, bias=unit.adapted.bias)
        again = linear(unit.recurrent, "nn.LinearNoBias")
        gates = files.module(
            "nn.Sequential", files.module("nn.NarrowTable"), files.module("nn.ParallelTable", into, again)
        )
        cell = files.module("nn.Sequential", files.module("nn.ConcatTable", gates, files.module("nn.SelectTable")))
        lstm = files.module("nn.FastLSTM", cell, recurrentModule=cell, i2g=into, o2g=again)
        lstm.entries["sharedClones"] = files.table(cell)
        step = files.module("nn.Sequential", lstm, linear(unit.pose))
        recursor = files.module("nn.Recursor", step, recurrentModule=step, module=step)
        sequencer = files.module("nn.Sequencer", recursor, module=recursor)
        joined = files.node(files.module("nn.JoinTable"), adapted, poses[-1]) if k else adapted
        poses.append(files.node(sequencer, joined))
    return files.graph(*poses)


def rpsm_trunk(model):
    layers = [part for part in model.trunk if isinstance(part, torch.nn.Conv2d)]
    head = files.convolution(conv(4, 4, 1, 1), conv(4))  # of the pose machine, behind the trunk
    return files.module("nn.Sequential", *(part for each in layers for part in (convolution(each), relu())), head)


def test_rpsm_of_two_torch7_files(tmp_path, caplog):
    def create():
        return RPSM(size=(64, 64), width=16, hidden=32, share_stages=False, adapt="code", num_stages=3).eval()

    published, model = randomize(create()), create()
    stages = write(tmp_path / "rpsm.t7", files.torch7(rpsm_stages(published)))
    trunk = write(tmp_path / "shared.t7", files.torch7(rpsm_trunk(published)))
    before = snapshot(model)
    with caplog.at_level("INFO", "posezoo"):
        load_checkpoint(model, stages)
        assert "holds RPSM's stages, without the trunk" in caplog.text
        assert same({k: v for k, v in model.state_dict().items() if k.startswith("trunk.")},
                    {k: v for k, v in before.items() if k.startswith("trunk.")})  # fmt: skip
        load_checkpoint(model, trunk)
    assert "left out: 15.SpatialConvolution.weight (4, 4, 1, 1) and 1 more (it is behind the trunk)" in caplog.text
    expected = published.state_dict() | {k: v for k, v in before.items() if k.startswith(("normalize.", "codec."))}
    assert same(model.state_dict(), expected)
    with pytest.raises(ValueError, match=r"RPSM's stages without its trunk: model = posezoo\.create\('rpsm_torch7'\)"):
        load_checkpoint(None, stages)
    with pytest.raises(ValueError, match="a trunk, without heatmaps; give the model"):
        load_checkpoint(None, trunk)


def hourglass_network(model):
    """As `src/models/hg.lua` of the authors connects it, with one residual in each place."""

    def norm(layer):
        values = {key: value for key, value in layer.state_dict().items() if key != "num_batches_tracked"}
        return files.Lua("nn.SpatialBatchNormalization", **values)

    def residual(part, before):
        block = [piece for n in (1, 2, 3) for piece in
                 (norm(getattr(part, f"bn{n}")), relu(), convolution(getattr(part, f"conv{n}")))]  # fmt: skip
        skip = getattr(part, "skip_layer", None)
        past = files.module("nn.Identity")
        if isinstance(skip, torch.nn.Conv2d):
            past = files.module("nn.Sequential", convolution(skip))
        both = files.module("nn.ConcatTable", files.module("nn.Sequential", *block), past)
        return files.node(files.module("nn.Sequential", both, files.module("nn.CAddTable")), before)

    def hourglass(part, depth, before):
        up1 = residual(part.up1[0], before)
        low1 = residual(part.low1[0], files.node(files.module("cudnn.SpatialMaxPooling"), before))
        low2 = hourglass(part.low2, depth - 1, low1) if depth > 1 else residual(part.low2[0], low1)
        low3 = residual(part.low3[0], low2)
        up2 = files.node(files.module("nn.SpatialUpSamplingNearest"), low3)
        return files.node(files.module("nn.CAddTable"), up1, up2)

    pre = model.pre
    before = files.node(convolution(pre[0].conv), files.node(files.module("nn.Identity")))
    before = residual(pre[1], files.node(relu(), files.node(norm(pre[0].bn), before)))
    before = residual(pre[4], residual(pre[3], files.node(files.module("cudnn.SpatialMaxPooling"), before)))
    outputs = []
    for stack in range(model.num_stacks):
        features = residual(model.features[stack][0][0], hourglass(model.hgs[stack], 4, before))
        head = model.features[stack][1]
        features = files.node(relu(), files.node(norm(head.bn), files.node(convolution(head.conv), features)))
        outputs.append(files.node(convolution(model.outs[stack]), features))
        if stack < model.num_stacks - 1:
            merged = files.node(convolution(model.merge_features[stack]), features)
            seen = files.node(convolution(model.merge_preds[stack]), outputs[-1])
            before = files.node(files.module("nn.CAddTable"), before, merged, seen)
    return files.graph(*outputs)


@pytest.mark.parametrize("stacks", [1, 2])
def test_the_hourglass_of_torch7(tmp_path, stacks):
    published = randomize(posezoo.create(f"hourglass_{stacks}", width=16, num_keypoints=16, skeleton="mpii16"))
    path = write(tmp_path / "umich-stacked-hourglass.t7", files.torch7(hourglass_network(published)))
    model = load_checkpoint(None, path)
    assert (model.architecture, model.skeleton.name) == (f"hourglass_{stacks}", "mpii16")
    theirs = {key: value for key, value in published.state_dict().items() if not key.endswith("tracked")}
    ours = {key: value for key, value in model.state_dict().items() if key in theirs}
    normalize = {"normalize.mean": torch.zeros(3), "normalize.std": torch.ones(3)}
    assert same(ours, theirs | normalize)


def test_hourglasses_of_another_size_are_refused(tmp_path):
    network = files.table(
        hourglass_network(posezoo.create("hourglass_1", width=16)), files.convolution(conv(1, 1, 1, 1))
    )
    with pytest.raises(ValueError, match=r"20 \+ 89 n layers, got 110"):
        load_checkpoint(None, write(tmp_path / "hg.t7", files.torch7(network)))


def test_hossain_and_littles_checkpoint(tmp_path, caplog):
    published = randomize(posezoo.create("seq2seq3d", hidden_size=8))
    variables = {"global_step": np.array(1798202), "beta1_power": np.array(0.9, np.float32)}
    for ours, wrapper in (
        ("encoder", "output_projection_wrapper"),
        ("decoder", "rnn_decoder/output_projection_wrapper"),
    ):
        part = getattr(published, ours)
        project = f"{wrapper}/input_projection_wrapper"
        cell = f"{project}/layer_norm_basic_lstm_cell"
        variables |= {f"{project}/kernel": part.project.weight.T, f"{project}/bias": part.project.bias}
        variables |= {f"{cell}/kernel": part.gates.weight.T, f"{cell}/kernel/Adam_1": torch.zeros(16, 32)}
        for name, gamma in (("gamma", "weight"), ("beta", "bias")):
            chunks = getattr(part.gate_norm, gamma).chunk(4)
            for gate, values in zip(("input", "transform", "forget", "output"), chunks, strict=True):
                variables[f"{cell}/{gate}/{name}"] = values
            variables[f"{cell}/state/{name}"] = getattr(part.memory_norm, gamma)
        out = published.output if ours == "decoder" else torch.nn.Linear(8, 32)
        variables |= {f"{wrapper}/kernel": out.weight.T, f"{wrapper}/bias": out.bias}
    arrays = {key: value.detach().numpy() if torch.is_tensor(value) else value for key, value in variables.items()}
    path = files.tensorflow(tmp_path / "checkpoint-1798202", arrays)
    with caplog.at_level("INFO", "posezoo"):
        model = load_checkpoint(None, path.with_suffix(""))
    assert (model.architecture, model.kwargs["hidden_size"]) == ("seq2seq3d", 8)
    theirs = {key: value for key, value in published.state_dict().items() if not key.startswith("normalize.")}
    assert same({key: model.state_dict()[key] for key in theirs}, theirs)
    assert re.search(r"left out: beta1_power \(\) and 3 more \(it belongs to the optimiser\)", caplog.text)
    assert "left out: output_projection_wrapper/bias (32,) and 1 more (no output depends on it" in caplog.text
    assert "has no statistics of keypoints and poses" in caplog.text


def test_martinez_checkpoint(tmp_path, caplog):
    """The variables of src/linear_model.py, with the optimiser's beside them."""
    published = randomize(posezoo.create("martinez", linear_size=12, num_blocks=3, batch_norm="tensorflow"))
    variables = {"global_step": np.array(7), "learning_rate": np.array(1e-3, np.float32), "beta2_power": np.ones(())}
    layers = {("w1", "b1", "batch_normalization"): (published.w1, published.batch_norm1)}
    layers |= {("w4", "b4", ""): (published.w2, None)}
    for number, block in enumerate(published.linear_stages):
        scope = f"two_linear_{number}/"
        for layer, (linear, norm) in enumerate([(block.w1, block.batch_norm1), (block.w2, block.batch_norm2)], 1):
            names = (f"w{layer + 1}_{number}", f"b{layer + 1}_{number}", f"batch_normalization{layer}{number}")
            layers[tuple(scope + name for name in names)] = (linear, norm)
    for (weight, bias, name), (linear, norm) in layers.items():
        variables |= {f"linear_model/{weight}": linear.weight.T, f"linear_model/{bias}": linear.bias}
        variables |= {f"linear_model/{weight}/Adam": linear.weight.T, f"linear_model/{weight}/Adam_1": linear.weight.T}
        if norm is not None:
            variables |= {f"linear_model/{name}/gamma": norm.weight, f"linear_model/{name}/beta": norm.bias}
            variables[f"linear_model/{name}/moving_mean"] = norm.running_mean
            variables[f"linear_model/{name}/moving_variance"] = norm.running_var
    arrays = {key: np.asarray(value.detach() if torch.is_tensor(value) else value) for key, value in variables.items()}
    path = files.tensorflow(tmp_path / "checkpoint-4874200", arrays)
    with caplog.at_level("INFO", "posezoo"):
        model = load_checkpoint(None, path.with_suffix(""))
    assert (model.architecture, len(model.linear_stages), model.num_features) == ("martinez", 3, 12)
    assert (model.max_norm, model.batch_norm1.eps) == (True, 1e-3)  # of the authors' code
    theirs = {key: value for key, value in published.state_dict().items() if not key.startswith("normalize.")}
    counted = {key: value for key, value in theirs.items() if not key.endswith("num_batches_tracked")}
    assert same({key: model.state_dict()[key] for key in counted}, counted)
    model.normalize.load_state_dict(published.normalize.state_dict())
    keypoints = model.example_input(2)
    with torch.no_grad():
        assert torch.equal(model(keypoints), published.eval()(keypoints))
    assert "(it belongs to the optimiser)" in caplog.text
    assert "has no statistics of keypoints and poses" in caplog.text
    del arrays["linear_model/two_linear_1/b3_1"]
    arrays["linear_model/w5"] = np.zeros(3, np.float32)
    path = files.tensorflow(tmp_path / "checkpoint-1", arrays)
    with pytest.raises(ValueError, match=r"missing: linear_stages\.1\.w2\.bias .*not in the model: linear_model/w5"):
        load_checkpoint(None, path.with_suffix(""))
