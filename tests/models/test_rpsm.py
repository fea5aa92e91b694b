"""RPSM: the paper's and the code's sizes, the LSTM against torch's, streaming against whole clips,
the codec.

The authors' network is a Torch7 file that nothing here can run, so there are no golden numbers:
what is checked is the structure (specs/models3d.md 1.1, 1.6, 1.7), and the LSTM against
`torch.nn.LSTM`.
"""

import copy

import pytest
import torch
from torch.testing import assert_close

import posezoo
from posezoo.heatmaps import encode
from posezoo.losses import heatmap_mse, pose_sequence_mse
from posezoo.models.rpsm import RPSM, FeatureAdaption, PoseCodec, PoseTrunk, RecurrentPose, SpecialisedConvs

SIZE = (32, 32)
H36M_PARENTS = [0, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15]  # the authors' list (specs/models3d.md 1.6)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(build, **kwargs):
    with torch.device("meta"):
        return build(**kwargs)


def small(seed=0, **kwargs):
    """A network in double precision that is quick, with poses of some decimetres."""
    torch.manual_seed(seed)
    model = RPSM(**{"size": SIZE, "width": 8, "hidden": 16, "init": "torch7", **kwargs}).double().eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:  # Torch7's values let a signal fade on its way through so many layers
            parameter.data *= 2 if name.startswith("trunk.") else 3
    return model


def random_clip(batch=1, frames=5, size=SIZE, seed=1):
    return torch.rand(batch, frames, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def random_poses(*shape, seed=2):
    return 300 * torch.randn(*shape, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------------------------------
# Sizes


@pytest.mark.parametrize(
    ("num_stages", "paper", "code"),
    [(1, 23_746_291, 37_283_571), (2, 24_188_915, 65_812_774), (3, 24_631_539, 94_341_977)],
)
def test_size(num_stages, paper, code):
    """The code's: specs/models3d.md 1.1. The paper's: its parts as below, a pair of 2D convolutions
    more per stage.
    """
    assert count(on_meta(posezoo.create, model_name="rpsm", num_stages=num_stages)) == paper
    assert count(on_meta(posezoo.create, model_name="rpsm_torch7", num_stages=num_stages)) == code


def test_the_three_stages_of_the_entry_points():
    for name, parameters in (("rpsm", 24_631_539), ("rpsm_torch7", 94_341_977)):
        model = on_meta(posezoo.create, model_name=name)
        assert count(model) == parameters
        assert (model.num_stages, model.num_keypoints, model.skeleton.name) == (3, 17, "h36m17")
        with torch.device("meta"):
            assert model.example_input(2).shape == (2, 5, 3, 368, 368)


def test_size_of_the_parts():
    """specs/models3d.md 1.1; the paper's adaption module is 2 x 409,728 and 4608 x 1024 + 1024
    (1.7).
    """
    trunk = on_meta(PoseTrunk)
    convolutions = [count(layer) for layer in trunk if isinstance(layer, torch.nn.Conv2d)]
    assert convolutions == [
        *(1_792, 36_928, 73_856, 147_584, 295_168, 590_080, 590_080, 590_080),
        *(1_180_160, 2_359_808, 1_179_904, 590_080, 590_080, 590_080, 295_040),
    ]
    assert count(trunk) == 9_110_720
    assert sum(isinstance(layer, torch.nn.MaxPool2d) for layer in trunk) == 3
    assert len(trunk) == 33
    assert count(on_meta(SpecialisedConvs, refines=False)) == 295_168
    assert count(on_meta(SpecialisedConvs)) == 442_624
    code, paper = on_meta(FeatureAdaption, design="code"), on_meta(FeatureAdaption)
    assert [count(layer) for layer in (code.conv1, code.conv2, code.fc)] == [409_728, 147_584, 18_875_392]
    assert [count(layer) for layer in (paper.conv1, paper.conv2, paper.fc)] == [409_728, 409_728, 4_719_616]
    assert count(on_meta(RecurrentPose, refines=False)) == 8_392_704 + 52_275
    assert count(on_meta(RecurrentPose)) == 8_601_600 + 52_275
    stages = on_meta(posezoo.create, model_name="rpsm_torch7").stages()
    assert [sum(map(count, stage)) for stage in stages] == [28_172_851, 28_529_203, 28_529_203]


@pytest.mark.parametrize(
    ("kwargs", "parameters"),
    [
        ({"temporal": "fc"}, 17_131_763),  # 1075 x 1024 + 1024 in place of 8,601,600
        ({"share_specialised": True}, 23_746_291),  # as one stage
        ({"adapt": "code"}, 24_631_539 - 5_539_072 + 19_432_704),
        ({"share_stages": False}, 94_341_977 - 3 * (19_432_704 - 5_539_072)),
        ({"num_keypoints": 14, "skeleton": "humaneva14"}, 24_631_539 - 9 * (4096 + 1025)),
    ],
)  # fmt: skip
def test_size_of_variants(kwargs, parameters):
    assert count(on_meta(RPSM, **kwargs)) == parameters


def test_shapes_on_the_way():
    """specs/models3d.md 1.1, and the paper's Figure 3."""
    for design, cells in (("paper", (23, 12)), ("code", (23, 23))):
        model = on_meta(RPSM, adapt=design)
        seen = {}

        def watch(key, seen=seen):
            return lambda _module, _input, output: seen.__setitem__(key, tuple(output.shape[1:]))

        adaption = model.adaption[0]
        for key in ("conv1", "conv2", "pool", "fc"):
            adaption.get_submodule(key).register_forward_hook(watch(key))
        for key in ("conv1_2", "conv2_2", "conv3_4", "conv4_2", "conv4_7_CPM"):
            model.trunk.get_submodule(key).register_forward_hook(watch(key))
        clip = torch.empty(2, 5, 3, 368, 368, device="meta")
        stages = model(clip, all_stages=True)
        assert [stage.shape for stage in stages] == [(2, 5, 17, 3)] * 3
        assert model.forward_features(clip).shape == (2, 5, 128, 46, 46)
        assert seen == {
            "conv1_2": (64, 368, 368),
            "conv2_2": (128, 184, 184),
            "conv3_4": (256, 92, 92),
            "conv4_2": (512, 46, 46),
            "conv4_7_CPM": (128, 46, 46),
            "conv1": (128, cells[0], cells[0]),
            "conv2": (128, cells[1], cells[1]),
            "pool": (128, 6, 6) if design == "paper" else (128, 12, 12),
            "fc": (1024,),
        }


@pytest.mark.parametrize("adapt", ["paper", "code"])
@pytest.mark.parametrize("size", [(8, 8), (24, 72), (64, 48)])
def test_other_sizes(size, adapt):
    model = small(size=size, adapt=adapt)
    assert model(random_clip(2, 3, size)).shape == (2, 3, 17, 3)


# ---------------------------------------------------------------------------------------------------------------------
# The modules


def test_zeros_and_absent_inputs_are_the_same_function():
    """The paper gives stage 1 zeros, the code no input at all: whatever weights the zeros meet,
    nothing changes.
    """
    code = small(share_stages=False, num_stages=1)
    paper = small(share_stages=True, num_stages=1, seed=5)
    state = paper.state_dict()
    for key, value in code.state_dict().items():
        if key == "specialised.0.conv1.weight":
            state[key][:, : value.shape[1]] = value
        else:
            state[key] = value
    paper.load_state_dict(state)
    assert count(paper) == count(code) + 8 * 8 * 9 + 51 * 64
    assert paper.recurrent[0].previous.weight.any()
    clip = random_clip(2)
    assert_close(paper(clip), code(clip), rtol=0, atol=1e-9)


@pytest.mark.parametrize("refines", [False, True])
def test_the_lstm_is_torchs(refines):
    """FastLSTM's gates come as input, candidate, forget, output, torch's as input, forget,
    candidate, output; and it
    has one bias where torch has two."""
    torch.manual_seed(0)
    ours = RecurrentPose(4, 8, refines=refines, init="torch7").double()
    theirs = torch.nn.LSTM(8 + 12 * refines, 8, batch_first=True).double()

    def reordered(matrix):
        enter, candidate, keep, leave = matrix.chunk(4)
        return torch.cat([enter, keep, candidate, leave])

    inputs = [ours.adapted.weight] + ([ours.previous.weight] if refines else [])
    theirs.load_state_dict(
        {
            "weight_ih_l0": reordered(torch.cat(inputs, dim=1)),
            "weight_hh_l0": reordered(ours.recurrent.weight),
            "bias_ih_l0": reordered(ours.adapted.bias),
            "bias_hh_l0": torch.zeros(32),
        }
    )
    f3d, previous = torch.randn(3, 7, 8).double(), torch.randn(3, 7, 12).double()
    hidden, (last, cell) = theirs(torch.cat([f3d, previous], dim=-1) if refines else f3d)
    pose, (our_last, our_cell) = ours(f3d, previous)
    assert_close(pose, ours.pose(hidden), rtol=0, atol=1e-12)
    assert_close(our_last, last[0], rtol=0, atol=1e-12)
    assert_close(our_cell, cell[0], rtol=0, atol=1e-12)
    first, state = ours(f3d[:, :3], previous[:, :3])
    second, _ = ours(f3d[:, 3:], previous[:, 3:], state)
    assert_close(torch.cat([first, second], dim=1), pose, rtol=0, atol=1e-12)


def test_stages_have_the_inputs_of_figure_3():
    """Equation 1 written out frame by frame and stage by stage, with the modules' own weights."""
    for kwargs in ({}, {"share_stages": False, "adapt": "code"}, {"share_specialised": True}, {"temporal": "fc"}):
        model = small(**kwargs)
        clip = random_clip(1, 4)
        shared = [model.trunk(clip[:, t] - 0.5) for t in range(4)]
        f2d = [torch.zeros_like(shared[0])] * 4
        pose = [torch.zeros(1, 1, 51, dtype=torch.float64)] * 4
        for k, output in enumerate(model(clip, all_stages=True)):
            specialised, adaption, recurrent = model.stages()[k]
            state = None
            for t in range(4):
                f2d[t] = specialised(shared[t], f2d[t])
                pose[t], state = recurrent(adaption(f2d[t])[:, None], pose[t], state)
                expected = 2000 * pose[t].view(17, 3) - 1000  # metres around the root, until the codec knows better
                assert_close(output[0, t, 1:], expected[1:], rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("design", "kernel", "stride"),
    [("paper", 5, 2), ("code", 3, 1)],
)
def test_the_modules_layer_by_layer(design, kernel, stride):
    """specs/models3d.md 1.1 and 1.7: a ReLU behind every convolution and behind the fully connected
    layer.
    """
    torch.manual_seed(0)
    shared, previous = torch.randn(2, 8, 9, 6), torch.randn(2, 8, 9, 6)
    special, adaption = SpecialisedConvs(8), FeatureAdaption((9, 6), 8, 16, design=design)
    x = torch.cat([shared, previous], dim=1)
    for layer in (special.conv1, special.conv2):
        x = torch.conv2d(x, layer.weight, layer.bias, padding=1).relu()
    assert_close(special(shared, previous), x)
    x = torch.conv2d(shared, adaption.conv1.weight, adaption.conv1.bias, stride=2, padding=2).relu()
    x = torch.conv2d(x, adaption.conv2.weight, adaption.conv2.bias, stride=stride, padding=kernel // 2).relu()
    x = torch.max_pool2d(x, 2, 2, ceil_mode=True).flatten(1)
    x = (x @ adaption.fc.weight.T + adaption.fc.bias).relu()
    assert_close(adaption(shared), x)
    assert (PoseTrunk(4)(torch.randn(1, 3, 16, 16)) >= 0).all()

    fully_connected = RecurrentPose(4, 8, temporal="fc")
    f3d, pose = torch.randn(2, 3, 8), torch.randn(2, 3, 12)
    weight = torch.cat([fully_connected.adapted.weight, fully_connected.previous.weight], dim=1)
    hidden = (torch.cat([f3d, pose], dim=-1) @ weight.T + fully_connected.adapted.bias).relu()
    assert_close(fully_connected(f3d, pose)[0], hidden @ fully_connected.pose.weight.T + fully_connected.pose.bias)


def test_shared_modules_are_one():
    shared, own = small(), small(share_stages=False)
    assert [len(set(map(id, part))) for part in zip(*shared.stages(), strict=True)] == [3, 1, 1]
    assert [len(set(map(id, part))) for part in zip(*own.stages(), strict=True)] == [3, 3, 3]
    assert [len(set(map(id, part))) for part in zip(*small(share_specialised=True).stages(), strict=True)] == [1, 1, 1]
    mixed = small(share_stages=False, share_specialised=True)
    assert [part.refines for part in mixed.specialised] == [True]
    assert [part.refines for part in mixed.recurrent] == [False, True, True]
    assert [part.refines for part in own.specialised] == [False, True, True]
    assert [part.refines for part in shared.specialised] == [True, True, True]


def test_later_stages_take_the_earlier_stages_poses():
    model = small()
    clip = random_clip()
    before = model(clip, all_stages=True)
    model.specialised[1].conv2.bias.data += 0.1
    after = model(clip, all_stages=True)
    assert torch.equal(before[0], after[0])
    assert (before[1] - after[1]).abs().max() > 1e-3
    assert (before[2] - after[2]).abs().max() > 1e-3
    assert len(small(num_stages=1)(clip, all_stages=True)) == 1


@pytest.mark.parametrize(("temporal", "sees_the_past"), [("lstm", True), ("fc", False)])
def test_only_the_lstm_carries_frames_over(temporal, sees_the_past):
    model = small(temporal=temporal)
    clip = random_clip(frames=6)
    moved = clip.clone()
    moved[:, 2] = 1 - moved[:, 2]
    changed = (model(moved) - model(clip)).abs().amax(dim=(0, 2, 3)) > 1e-6
    assert changed.tolist() == [False, False, True, *[sees_the_past] * 3]


def test_first_values():
    """Xavier: uniform, variance 2 / (fan in + fan out), no biases. Torch7: uniform to 1 / sqrt(fan
    in), biases too.
    """
    torch.manual_seed(0)
    for init in ("xavier", "torch7"):
        model = RPSM(size=(64, 64), width=32, hidden=64, init=init)
        for layer, fan_in, fan_out in (
            (model.trunk.conv4_7_CPM, 64 * 9, 32 * 9),
            (model.specialised[1].conv1, 64 * 9, 32 * 9),
            (model.adaption[0].conv1, 32 * 25, 32 * 25),
            (model.adaption[0].fc, 32, 64),
            (model.recurrent[0].adapted, 64 + 51, 256),
            (model.recurrent[0].previous, 64 + 51, 256),
            (model.recurrent[0].recurrent, 64, 256),
            (model.recurrent[0].pose, 64, 51),
        ):
            bound = (6 / (fan_in + fan_out)) ** 0.5 if init == "xavier" else fan_in**-0.5
            weight = layer.weight.detach()
            assert 0.97 * bound < weight.abs().max() <= bound
            assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.05)
            if layer.bias is not None:
                assert bool(layer.bias.any()) == (init == "torch7")
                assert layer.bias.abs().max() <= bound


def test_images_lose_their_grey():
    model = small()
    assert_close(model.normalize(torch.full((1, 1, 3, 8, 8), 0.5).double()), torch.zeros(1, 1, 3, 8, 8).double())
    assert_close(model.normalize(torch.ones(1, 1, 3, 8, 8).double()), torch.full((1, 1, 3, 8, 8), 0.5).double())


# ---------------------------------------------------------------------------------------------------------------------
# Streaming


@pytest.mark.parametrize("kwargs", [{}, {"share_stages": False, "adapt": "code"}, {"temporal": "fc"}])
@pytest.mark.parametrize("clip_length", [None, 5, 1, 100])
def test_streaming_is_the_whole_clip_at_once(kwargs, clip_length):
    model = small(**kwargs)
    clip = random_clip(2, 13)
    stream = model.stream(clip_length=clip_length)
    streamed = torch.stack([stream(frame) for frame in clip.unbind(dim=1)], dim=1)
    with torch.no_grad():
        expected = torch.cat([model.decode(model(part))[0] for part in clip.split(clip_length or 13, dim=1)], dim=1)
    assert_close(streamed, expected, rtol=0, atol=1e-3)  # mm; poses come in single precision
    assert_close(model.predict(clip, clip_length=clip_length)[0], expected, rtol=0, atol=1e-3)
    stream.reset()
    assert_close(stream.clip(clip), expected, rtol=0, atol=1e-3)


def test_a_reset_state_changes_the_predictions():
    model = small()
    clip = random_clip(1, 12)
    stateful, reset = model.predict(clip)[0], model.predict(clip, clip_length=5)[0]
    assert torch.equal(stateful[:, :5], reset[:, :5])
    assert ((stateful - reset)[:, 5:].abs().amax(dim=(0, 2, 3)) > 1).all()


def test_features_can_be_kept():
    """The stages on a trunk's features of before, frame after frame, predict as the whole network
    does.
    """
    model, clip = small(), random_clip(2, 6)
    features, expected = model.forward_features(clip), model(clip, all_stages=True)
    for stage, pose3d in zip(model.forward_head(features, all_stages=True), expected, strict=True):
        assert torch.equal(stage, pose3d)
    first, states = model.run_stages(features[:, :4])
    second = model.forward_head(features[:, 4:], states=states)
    assert_close(torch.cat([first[-1], second], dim=1), expected[-1], rtol=0, atol=1e-9)


def test_states_of_the_caller_stay_as_they_are():
    model, clip = small(), random_clip(2, 6)
    states = [None] * 3
    first = model(clip[:, :3], states=states)
    assert states == [None] * 3
    assert torch.equal(model(clip[:, :3], states=states), first)


def test_a_stream_carries_its_state_over_any_cut():
    model = small()
    clip = random_clip(1, 11)
    for clip_length in (None, 4):
        whole, cut = model.stream(clip_length=clip_length), model.stream(clip_length=clip_length)
        parts = torch.cat([cut.clip(clip[:, :3]), cut(clip[:, 3])[:, None], cut.clip(clip[:, 4:])], dim=1)
        assert_close(parts, whole.clip(clip), rtol=0, atol=1e-3)
        assert cut.seen == 11


def test_each_frame_costs_the_same_and_goes_through_the_trunk_once():
    model = small()
    trunk, later = [], []
    model.trunk.register_forward_hook(lambda _module, inputs, _output: trunk.append(len(inputs[0])))
    for part in model.recurrent:
        part.register_forward_hook(lambda _module, inputs, _output: later.append(inputs[0].shape[:2]))
    stream = model.stream()
    for seen, frame in enumerate(random_clip(2, 30).unbind(dim=1), start=1):
        pose3d = stream(frame)
        assert pose3d.shape == (2, 17, 3)
        assert not pose3d.requires_grad
        assert trunk == [2] * seen
        assert later == [(2, 1)] * 3 * seen  # once per stage
        kept = [tensor for state in stream.states for tensor in state]
        assert [tensor.shape for tensor in kept] == [(2, 16)] * 6
        assert not any(tensor.requires_grad for tensor in kept)


def test_predict_holds_few_frames_at_a_time():
    model = small()
    seen = []
    model.trunk.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    model.predict(random_clip(1, 21), flip=True)
    assert max(seen) == 8
    assert sum(seen) == 42
    seen.clear()
    model.predict(random_clip(3, 5))
    assert seen == [6, 6, 3]


def test_streams_are_independent():
    model = small()
    clip = random_clip(1, 4)
    one, other = model.stream(), model.stream()
    other(clip[:, 3])
    streamed = torch.stack([one(frame) for frame in clip.unbind(dim=1)], dim=1)
    assert_close(streamed, model.predict(clip)[0], rtol=0, atol=1e-3)


def test_errors_of_streams_name_the_fix():
    model = small()
    stream = model.stream()
    clip = random_clip(2)
    with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\), got \(3, 32, 32\).*frame\[None\]"):
        stream(clip[0, 0])
    with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\), got ndarray"):
        stream(clip[:, 0].numpy())
    stream(clip[:, 0])
    with pytest.raises(ValueError, match=r"began with 2 videos, got 1.*reset"):
        stream(clip[:1, 1])
    with pytest.raises(ValueError, match="resize or pad"):
        stream(clip[:, 1, :, :16])
    assert stream.seen == 1
    for length in (0, -1):
        with pytest.raises(ValueError, match="clip_length: expected 1 or more"):
            model.stream(clip_length=length)
    model.reset_head(0)
    with pytest.raises(ValueError, match=r"no head.*reset_head"):
        model.stream()


def test_flip_averages_with_the_mirrored_clip():
    model = small()
    clip = random_clip(2, 9)
    index = list(model.skeleton.flip_index)
    straight, _ = model.predict(clip, clip_length=5)
    turned, _ = model.predict(clip.flip(-1), clip_length=5)
    turned = turned[..., index, :].clone()
    turned[..., 0] *= -1
    both, scores = model.predict(clip, flip=True, clip_length=5)
    assert_close(both, (straight + turned) / 2, rtol=0, atol=1e-3)
    assert (straight - turned).abs().max() > 1
    assert torch.equal(scores, torch.ones(2, 9, 17))
    mirrored, _ = model.predict(clip.flip(-1), flip=True, clip_length=5)
    assert_close(mirrored, both[..., index, :] * torch.tensor([-1.0, 1.0, 1.0]), rtol=0, atol=1e-3)


# ---------------------------------------------------------------------------------------------------------------------
# Clips


def test_clips_of_any_length_and_number():
    model = small()
    for batch, frames in ((1, 1), (2, 1), (1, 12), (0, 5)):
        pose3d, scores = model.predict(random_clip(batch, frames))
        assert pose3d.shape == (batch, frames, 17, 3)
        assert scores.shape == (batch, frames, 17)
    one = random_clip(1, 1)
    assert_close(model.predict(one)[0], model.decode(model(one))[0])


def test_videos_in_a_batch_are_independent():
    model = small()
    clip = random_clip(3)
    assert_close(model(clip), torch.cat([model(one[None]) for one in clip]), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("spoil", "fix"),
    [
        (lambda clip: clip[0], r"clip\[None\]"),
        (lambda clip: clip[:, 0], r"image\[:, None\]"),
        (lambda clip: clip[:, :, :1], "repeat"),
        (lambda clip: clip.movedim(2, -1), "movedim"),
        (lambda clip: (clip * 255).to(torch.uint8), r"float\(\) / 255"),
        (lambda clip: clip[..., :24], r"\(32, 32\), got \(32, 24\); resize or pad.*sizes that work"),
        (lambda clip: clip[..., :0], "resize or pad"),
        (lambda clip: clip[:, :0], "at least one frame"),
        (lambda clip: clip.numpy(), r"torch\.as_tensor"),
    ],
    ids=["no batch", "no time", "grey", "channels last", "uint8", "narrow", "no width", "no frames", "numpy"],
)
@pytest.mark.parametrize("call", ["forward", "predict"])
def test_errors_about_clips_name_the_fix(spoil, fix, call):
    with pytest.raises(ValueError, match=fix):
        getattr(small(), call)(spoil(random_clip()))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"size": (30, 32)}, r"size: expected \(H, W\), multiples of 8.*got \(30, 32\)"),
        ({"size": (0, 32)}, "size"),
        ({"size": (32,)}, "size"),
        ({"num_stages": 0}, "num_stages: expected 1 or more, got 0"),
        ({"clip_length": 0}, "clip_length"),
        ({"hidden": 0}, "hidden"),
        ({"width": 7}, "width: expected an even number"),
        ({"temporal": "gru"}, "temporal: expected one of lstm, fc, got 'gru'"),
        ({"adapt": "torch7"}, "adapt: expected one of paper, code"),
        ({"init": "paper"}, "init: expected one of xavier, torch7"),
    ],
)
def test_wrong_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        RPSM(**kwargs)


def test_wrong_arguments_of_the_parts_are_refused():
    with pytest.raises(ValueError, match="design: expected one of paper, code, got 'torch7'"):
        FeatureAdaption(design="torch7")
    with pytest.raises(ValueError, match="temporal: expected one of lstm, fc, got 'gru'"):
        RecurrentPose(temporal="gru")
    with pytest.raises(ValueError, match="init: expected one of xavier, torch7, got 'paper'"):
        RecurrentPose(init="paper")


def test_the_authors_weights_are_to_be_downloaded_by_hand():
    with pytest.raises(ValueError, match=r"Download https://pan.*yourself"):
        posezoo.create("rpsm_torch7", pretrained=True)


# ---------------------------------------------------------------------------------------------------------------------
# Learning


@pytest.mark.parametrize("kwargs", [{}, {"share_stages": False, "adapt": "code"}, {"temporal": "fc"}])
def test_gradients_reach_every_part(kwargs):
    model = small(**kwargs).train()
    stages = model(random_clip(2), all_stages=True)
    pose_sequence_mse(stages, torch.zeros_like(stages[0]), model.codec.scale).backward()
    assert not [name for name, parameter in model.named_parameters() if not parameter.grad.any()]


def test_a_frozen_trunk_does_not_change_in_training():
    model = small().train()
    model.freeze_trunk()
    output = model.forward_features(random_clip())
    assert not output.requires_grad  # its activations are not kept
    model(random_clip()).square().mean().backward()
    assert all(parameter.grad is None for parameter in model.trunk.parameters())
    others = [parameter for name, parameter in model.named_parameters() if not name.startswith("trunk.")]
    assert all(parameter.grad.any() for parameter in others)
    model.freeze_trunk(False)
    assert model.forward_features(random_clip()).requires_grad


def test_saving_memory_changes_nothing():
    plain = small().train()
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    clip = random_clip(2)
    calls = []
    saving.trunk.conv1_1.register_forward_hook(lambda *_: calls.append(1))
    for model in (plain, saving):
        model(clip).square().mean().backward()
    assert len(calls) == 2  # forward, and again for the backward pass
    for ours, theirs in zip(plain.parameters(), saving.parameters(), strict=True):
        assert_close(theirs.grad, ours.grad)


@pytest.mark.parametrize(("design", "parameters"), [("paper", 128 * 14 + 14), ("cpm", 128 * 512 + 512 + 512 * 14 + 14)])
def test_heads_for_2d_pre_training(design, parameters):
    assert count(on_meta(PoseTrunk).heatmap_head(14, design=design)) == parameters
    model = small().float()
    network = torch.nn.Sequential(model.normalize, model.trunk, model.trunk.heatmap_head(14, design=design))
    image, keypoints = torch.rand(2, 3, *SIZE), 32 * torch.rand(2, 14, 2)
    target, weights = encode(keypoints, size=(4, 4), stride=8, offset=3.5, sigma=1)
    output = network(image)
    assert output.shape == target.shape
    heatmap_mse(output, target, weights).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert not [key for key in model.state_dict() if "head" in key]  # the head is thrown away
    with pytest.raises(ValueError, match="design: expected one of paper, cpm, got 'hourglass'"):
        model.trunk.heatmap_head(14, design="hourglass")


def test_a_trunk_comes_from_another_network():
    """A Convolutional Pose Machine's, whose parts have these names (`cpm_vgg_6s`), an RPSM's, or a
    bare trunk.
    """
    model, other = small(), small(seed=3, share_stages=False)
    other.normalize.mean.fill_(128 / 255)
    pose_machine = {**other.state_dict(), "stage1.conv5_1_CPM.weight": torch.ones(3)}
    for source, mean in (
        (pose_machine, 128 / 255),
        (other, 128 / 255),
        (other.trunk.state_dict(), 0.5),
        (other.trunk, 0.5),
    ):
        copied = copy.deepcopy(model)
        copied.load_trunk(source)
        for key, value in copied.state_dict().items():
            origin = other if key.startswith("trunk.") else model
            assert key == "normalize.mean" or torch.equal(value, origin.state_dict()[key])
        assert_close(copied.normalize.mean, torch.full((3,), mean).double(), rtol=0, atol=1e-7)


def test_a_pose_machines_trunk_has_the_same_features():
    torch.manual_seed(0)
    pose_machine = posezoo.create("cpm_vgg_6s", num_stages=2, width=8).double().eval()
    for layer in pose_machine.trunk:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
            torch.nn.init.normal_(layer.bias, std=0.1)
    model, clip = small(), random_clip(batch=2)
    before = model.forward_features(clip)
    model.load_trunk(pose_machine)
    features = model.forward_features(clip)
    assert_close(features.flatten(0, 1), pose_machine.forward_features(clip.flatten(0, 1)), rtol=0, atol=1e-9)
    assert features.std() > 0.1
    assert (features - before).abs().max() > 0.1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: {},
        lambda state: {key: value for key, value in state.items() if key != "trunk.conv4_7_CPM.bias"},
        lambda state: {**state, "trunk.conv4_8_CPM.bias": torch.ones(8)},
        lambda state: {**state, "trunk.conv4_7_CPM.bias": torch.ones(16)},
    ],
    ids=["empty", "one missing", "one more", "another width"],
)
def test_another_trunk_is_refused_whole(spoil):
    model = small()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"trunk of a cpm_vgg_6s or an RPSM of width 8.*conv"):
        model.load_trunk(spoil(small(seed=3).state_dict()))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_other_keypoints_keep_the_lstm():
    model = small()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.reset_head(14, "humaneva14")
    model.double()
    after = model.state_dict()
    changed = {key for key in before if before[key].shape != after[key].shape}
    assert changed == {
        *("recurrent.0.previous.weight", "recurrent.0.pose.weight", "recurrent.0.pose.bias"),
        *("codec.minimum", "codec.maximum", "codec.bone_lengths"),
    }
    assert all(torch.equal(after[key], value) for key, value in before.items() if key not in changed)
    assert model.predict(random_clip())[0].shape == (1, 5, 14, 3)
    model.reset_head(0)
    assert model(random_clip()).shape == (1, 5, 8, 4, 4)
    assert count(model) == count(model.trunk)
    model.reset_head(17)
    assert model.double()(random_clip()).shape == (1, 5, 17, 3)


def drawn_clips():
    """Two people of dots in different colours who move for five frames: `(2, 5, 3, 32, 32)` and
    their poses in mm.
    """
    generator = torch.Generator().manual_seed(0)
    still = 300 * torch.randn(2, 1, 17, 3, generator=generator)
    motion = 100 * torch.randn(2, 1, 17, 3, generator=generator)
    pose3d = still + torch.linspace(-1, 1, 5).view(1, 5, 1, 1) * motion
    pose3d = pose3d - pose3d[:, :, :1]
    dots, _ = encode((16 + pose3d[..., :2] / 64).flatten(0, 1), size=SIZE, stride=1, sigma=1, method="gaussian")
    image = torch.einsum("nkhw,kc->nchw", dots, torch.rand(17, 3, generator=generator)).clamp(0, 1)
    return image.unflatten(0, (2, 5)), pose3d


@pytest.mark.slow
def test_overfits_two_drawn_clips():
    clip, pose3d = drawn_clips()
    torch.manual_seed(0)
    model = RPSM(size=SIZE, width=8, hidden=64)
    for layer in model.trunk:  # a trunk that is pre-trained lets the image through, one with Xavier's values hardly
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    model.codec.fit(pose3d)
    target = model.codec.target(pose3d)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    steps = 500
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, 2 * (1 - step / steps))
        loss = pose_sequence_mse(model(clip, all_stages=True), target, model.codec.scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pose, _ = model.predict(clip)
    assert (pose - target).norm(dim=-1).mean() < 20
    stream = model.stream()
    assert_close(torch.stack([stream(frame) for frame in clip.unbind(1)], dim=1), pose, rtol=0, atol=1e-1)


# ---------------------------------------------------------------------------------------------------------------------
# The codec


def test_bones_are_the_authors():
    codec = small().codec
    assert codec.parents.tolist() == H36M_PARENTS
    assert codec.rescale_bones


def rescaled_in_a_loop(pose, lengths, parents):
    """specs/models3d.md 1.6, from the root outwards: new child = new parent + (child - parent) mean
    / length.
    """
    new = [pose[0] - pose[0]]
    for child in range(1, len(parents)):
        bone = pose[child] - pose[parents[child]]
        new.append(new[parents[child]] + bone * lengths[child] / bone.norm())
    return torch.stack(new)


def test_bones_are_rescaled_as_in_a_loop():
    codec = small().codec
    poses = random_poses(4, 3, 17)
    codec.fit(poses)
    flat = poses.flatten(0, 1)
    lengths = [float((flat[:, k] - flat[:, parent]).norm(dim=-1).mean()) for k, parent in enumerate(H36M_PARENTS)]
    assert_close(codec.bone_lengths, torch.tensor(lengths, dtype=torch.float64))
    expected = torch.stack([rescaled_in_a_loop(pose, lengths, H36M_PARENTS) for pose in flat])
    assert_close(codec.target(poses).flatten(0, 1), expected, rtol=0, atol=1e-9)
    assert_close(codec.minimum[1:], expected.amin(dim=0)[1:])
    assert_close(codec.maximum[1:], expected.amax(dim=0)[1:])
    again = codec.bones(codec.target(poses)).norm(dim=-1)
    assert_close(again, codec.bone_lengths.expand_as(again))


def test_without_rescaling_poses_only_lose_their_root():
    codec = small(rescale_bones=False).codec
    poses = random_poses(4, 3, 17)
    codec.fit(poses)
    assert_close(codec.target(poses), poses - poses[..., :1, :])
    assert not codec.bone_lengths.any()
    rescaling = small().codec
    rescaling.fit(poses)
    assert (rescaling.target(poses) - codec.target(poses)).abs().max() > 10


def test_the_root_is_always_zero():
    """Its maximum is 1e-4, its minimum 0 (specs/models3d.md 1.6): what the network predicts for it is
    next to nothing.
    """
    model = small()
    for fitted in (False, True):
        if fitted:
            model.codec.fit(random_poses(10, 5, 17) + 4000)
        assert_close(model.codec.minimum[0], torch.zeros(3).double())
        assert_close(model.codec.maximum[0], torch.full((3,), 1e-4).double(), rtol=0, atol=1e-9)
        with torch.no_grad():
            output = model(random_clip())
        assert 0 < output[:, :, 0].abs().max() < 1e-3
        assert not model.predict(random_clip())[0][:, :, 0].any()
        assert not model.predict(random_clip(), flip=True)[0][:, :, 0].any()
    assert not model.codec.encode(random_poses(2, 5, 17) - 900)[..., :3].any()


def test_units_come_back_as_millimetres():
    codec = small().codec
    poses = random_poses(20, 5, 17)
    codec.fit(poses)
    units = codec.encode(poses)
    assert units.shape == (20, 5, 51)
    assert (units.amin(dim=(0, 1))[3:] == 0).all()
    assert_close(units.amax(dim=(0, 1))[3:], torch.ones(48).double())
    assert_close(codec.decode(units), codec.target(poses), rtol=0, atol=1e-9)
    assert_close(codec.decode(codec.encode(1.1 * poses + 500)), codec.target(poses), rtol=0, atol=1e-9)
    assert_close(codec.scale, codec.maximum - codec.minimum)


def test_the_loss_in_millimetres_is_the_authors_in_units():
    """Mean over 51 coordinates of the codec's units, the root's three included, sum over frames and
    stages.
    """
    model = small()
    pose3d = random_poses(1, 5, 17)
    model.codec.fit(random_poses(30, 5, 17, seed=4))
    units = []
    for part in model.recurrent:
        part.register_forward_hook(lambda _module, _input, output: units.append(output[0]))
    stages = model(random_clip(), all_stages=True)
    target = model.codec.encode(pose3d)
    expected = sum((stage - target).square().mean(dim=-1).sum() for stage in units)
    loss = pose_sequence_mse(stages, model.codec.target(pose3d), model.codec.scale)
    assert_close(loss, expected)


def test_statistics_have_the_published_magnitude():
    """A body of Human3.6M's proportions in every attitude has the extremes of specs/models3d.md
    1.6: one bone from the root, hips and spine, 134 and 238 mm in x, y and z alike; knees 134 + 454
    at most, which few poses come near.
    """
    lengths = torch.tensor([0, 134, 454, 446, 134, 454, 446, 238, 257, 117, 115, 149, 283, 249, 149, 283, 249]).double()
    directions = torch.nn.functional.normalize(random_poses(20_000, 17), dim=-1)
    torch.manual_seed(0)
    bones = directions * lengths[:, None] * (0.95 + 0.1 * torch.rand(20_000, 17, 1, dtype=torch.float64))
    poses = torch.zeros_like(bones)
    for child in range(1, 17):
        poses[:, child] = poses[:, H36M_PARENTS[child]] + bones[:, child]
    codec = small().codec
    codec.fit(poses[:, None])
    assert_close(codec.bone_lengths, lengths, rtol=2e-3, atol=0)
    for keypoint, extreme in ((1, 134), (4, 134), (7, 238)):
        assert_close(codec.maximum[keypoint], torch.full((3,), extreme).double(), rtol=5e-3, atol=0)
        assert_close(codec.minimum[keypoint], torch.full((3,), -extreme).double(), rtol=5e-3, atol=0)
    for keypoint, published in ((2, 534), (3, 943), (5, 542), (6, 964), (8, 493), (10, 690), (13, 944), (16, 955)):
        assert 0.85 < float(codec.maximum[keypoint].max()) / published < 1.15


def test_statistics_travel_with_the_weights(tmp_path):
    model = posezoo.create("rpsm", size=[32, 32], width=8, hidden=16).eval()
    model.codec.fit(random_poses(10, 5, 17).float())
    model.save_pretrained(tmp_path)
    loaded = posezoo.create(f"local-dir:{tmp_path}", pretrained=True)
    clip = random_clip().float()
    assert torch.equal(loaded.predict(clip)[0], model.predict(clip)[0])
    assert torch.equal(loaded.codec.bone_lengths, model.codec.bone_lengths)
    assert loaded.codec.bone_lengths.any()


@pytest.mark.parametrize(
    ("kwargs", "tree"), [({"num_keypoints": 14, "skeleton": "humaneva14"}, True), ({"num_keypoints": 5}, False)]
)
def test_poses_without_a_pelvis_are_from_their_mean(kwargs, tree):
    """HumanEva's 14 have bones, from the neck; unnamed keypoints have none."""
    model = small(**kwargs)
    codec, poses = model.codec, random_poses(6, 5, model.num_keypoints)
    assert codec.rescale_bones == tree
    codec.fit(poses)
    target = codec.target(poses)
    assert_close(target.mean(dim=-2), torch.zeros(6, 5, 3).double(), rtol=0, atol=1e-9)
    if not tree:
        assert_close(target, poses - poses.mean(dim=-2, keepdim=True))
    assert_close(codec.decode(codec.encode(poses)), target, rtol=0, atol=1e-9)
    assert model.predict(random_clip())[0].shape == (1, 5, model.num_keypoints, 3)


def test_bones_that_are_no_tree_keep_their_lengths():
    assert PoseCodec(4, root=0, bones=((0, 1), (1, 2), (2, 0))).rescale_bones is False  # a ring, and one apart
    assert PoseCodec(4, root=0, bones=((0, 1), (1, 2))).rescale_bones is False
    codec = PoseCodec(4, root=2, bones=((0, 1), (1, 2), (3, 1)))
    assert codec.parents.tolist() == [1, 2, 2, 1]


def test_bones_without_length_stay_so():
    codec = small().codec
    poses = random_poses(3, 2, 17)
    codec.fit(poses)
    poses[0, 0, 3] = poses[0, 0, 2]
    target = codec.target(poses)
    assert target.isfinite().all()
    assert torch.equal(target[0, 0, 3], target[0, 0, 2])


def test_coordinates_that_never_vary_do_not_divide_by_zero():
    codec = small().codec
    still = random_poses(1, 1, 17).expand(4, 5, 17, 3)
    codec.fit(still)
    assert codec.encode(still).isfinite().all()
    assert_close(codec.decode(codec.encode(still)), codec.target(still), rtol=0, atol=1e-9)


def test_errors_about_poses_name_the_fix():
    codec = small().codec
    poses = random_poses(3, 2, 17)
    with pytest.raises(ValueError, match=r"model\.codec\.fit.*rescale_bones=False"):
        codec.target(poses)
    with pytest.raises(ValueError, match=r"expected \(\.\.\., 17, 3\) in mm, got shape \(3, 2, 16, 3\)"):
        codec.fit(poses[:, :, 1:])
    with pytest.raises(ValueError, match="got none"):
        codec.fit(poses[:0])
    poses[1, 1, 4] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        codec.fit(poses)
