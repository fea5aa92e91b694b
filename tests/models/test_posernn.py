"""PoseRNN against its paper and what its code says: sizes, the order of the joints, the LSTM's
step, the attention.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

import posezoo
from posezoo.layers import DenseBNReLU, vgg16
from posezoo.losses import keypoint_l2
from posezoo.models.posernn import (
    SEQUENCE,
    LSTMCell,
    PoseAttentionLSTM,
    PoseLSTM,
    flatten,
)
from posezoo.skeletons import Skeleton
from posezoo.viz import draw_attention, draw_keypoints

CODE = {"layers": 1, "hidden": 256, "init": "slice"}  # LSTMModel.py


def build(name, **kwargs):
    torch.manual_seed(0)
    return posezoo.create(name, **kwargs).eval()


def small_lstm(**kwargs):
    """A PoseLSTM without the convolutions' weights, for what happens behind them."""
    torch.manual_seed(0)
    with torch.device("meta"):
        model = PoseLSTM(**kwargs)
    model.features = nn.Identity()
    model.to_empty(device="cpu")
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.05)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.5)
        elif isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()
    return model.double().eval()


def small_attention(**kwargs):
    torch.manual_seed(0)
    with torch.device("meta"):
        model = PoseAttentionLSTM(**kwargs)
    model.features = nn.Identity()
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model.double().eval()


def random_pool5(batch):
    return torch.rand(batch, 512 * 49, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def random_annotations(batch, height=3, width=4):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, 512, height, width, generator=generator, dtype=torch.float64).relu()


# ------------------------------------------------------------------------------------------------- the paper's numbers


@pytest.mark.parametrize(
    ("name", "kwargs", "parameters"),  # specs/models2d_b.md 5.3 to 5.5
    [
        ("posernn_cnn", {}, 134_391_648),
        ("posernn_cnn", {"affine": True}, 134_391_648 + 2 * (4224 + 2 * 4096)),  # channels of convolutions and layers
        ("posernn_cnn", {"fc_width": 256}, 21_211_488),
        ("posernn_cnn", {"fc_width": 256, "batch_norm": False, "bn_order": "conv_relu_bn"}, 21_211_488),
        ("posernn_lstm", {**CODE, "head": "mlp"}, 41_728_864),
        ("posernn_lstm", {**CODE, "head": "step", "batch_norm": False}, 40_676_192),
        ("posernn_lstm", {"head": "shared", "init": "zeros"}, 27_757_634),
        ("posernn_lstm", {"head": "shared"}, 27_757_634 + 25_088 * 512 + 512),  # a linear map to the first state
        # the code's last layer has 196 outputs, of which each location here has its own
        ("posernn_attention", {"layers": 1, "hidden": 512}, 17_003_300 - 195 * (128 + 1)),
        # a linear map to the first state, and two layers of 128 in place of one of 512
        ("posernn_attention", {}, 15_539_937),
    ],
)
def test_size_is_the_codes(name, kwargs, parameters):
    with torch.device("meta"):
        model = posezoo.create(name, **kwargs)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_layers_have_the_sizes_of_table_1():
    with torch.device("meta"):
        model = posezoo.create("posernn_cnn", num_keypoints=19)
    weights = [m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    convolutions = [1_728, 36_864, 73_728, 147_456, 294_912, 589_824, 589_824, 1_179_648, *[2_359_296] * 5]
    assert weights == [*convolutions, 102_760_448, 16_777_216, 4096 * 2 * 19]
    assert sum(weights[:-1]) + 4096 * 19 == 134_325_952  # the table's last layer has 19 outputs, not 19 points


@pytest.mark.parametrize("name", ["posernn_cnn", "posernn_lstm", "posernn_attention"])
def test_shapes_on_the_way(name):
    with torch.device("meta"):
        model = posezoo.create(name).eval()
        seen = []
        for layer in model.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.register_forward_hook(lambda *args: seen.append(tuple(args[2].shape[1:])))
        features = model.forward_features(torch.rand(2, 3, 224, 224))
        assert model(torch.rand(2, 3, 224, 224)).shape == (2, 16, 2)
    pools = [(64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (512, 7, 7)]
    if name == "posernn_attention":
        assert model.attend(torch.rand(2, 3, 224, 224, device="meta"))[1].shape == (2, 16, 14, 14)
        assert seen[:4] == pools[:4]
        assert features.shape == (2, 512, 14, 14)  # 196 annotations
    else:
        assert seen[:5] == pools
        assert features.shape == ((2, 4096) if name == "posernn_cnn" else (2, 512, 7, 7))


def test_input_is_raw_pixels_and_boxes_are_stretched():
    model = build("posernn_lstm", layers=1, hidden=8)
    image = torch.tensor([0.0, 1.0, 0.5]).view(1, 3, 1, 1)
    assert_close(model.normalize(image).flatten(), torch.tensor([0.0, 255.0, 127.5]))
    assert not model.keep_aspect


# --------------------------------------------------------------------------------------------------- the joints' order


def test_the_sequence_is_the_codes():
    names = posezoo.get_skeleton("mpii16").keypoints
    assert [names[index] for index in SEQUENCE] == [
        "head_top", "upper_neck", "right_wrist", "left_elbow", "right_shoulder", "left_shoulder", "thorax", "pelvis",
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_elbow", "left_wrist",
    ]  # fmt: skip
    with torch.device("meta"):
        assert posezoo.create("posernn_lstm").sequence == SEQUENCE
        assert posezoo.create("posernn_lstm").skeleton.name == "mpii16"
        assert posezoo.create("posernn_attention", num_keypoints=14, skeleton="lsp14").sequence == tuple(range(14))


@pytest.mark.parametrize("head", ["step", "mlp", "shared"])
@pytest.mark.parametrize("sequence", [None, [3, 0, 2, 15, *range(4, 15), 1]])
def test_each_step_predicts_its_keypoint(head, sequence):
    """Against PyTorch's LSTM, run over 16 copies of the input: step t is keypoint `sequence[t]`."""
    model = small_lstm(hidden=8, head=head, init="slice", sequence=sequence)
    order = sequence or SEQUENCE
    x = random_pool5(3)
    with torch.no_grad():
        outputs, _ = torch_lstm(model)(x.expand(16, -1, -1), starts(x, layers=2, hidden=8))
        answers = model.run_steps(x)
        for step, keypoint in enumerate(order):
            project = model.head[0 if head == "shared" else keypoint]
            assert_close(answers[:, keypoint], project(outputs[step]), rtol=1e-9, atol=1e-9)
        assert len({tuple(point.tolist()) for point in answers[0]}) == 16


def torch_lstm(model):
    """The same LSTM as `torch.nn.LSTM`, which adds a second bias."""
    layers = list(model.lstm)
    lstm = nn.LSTM(25_088, model.hidden, len(layers)).double()
    with torch.no_grad():
        for index, cell in enumerate(layers):
            getattr(lstm, f"weight_ih_l{index}").copy_(cell.input.weight)
            getattr(lstm, f"weight_hh_l{index}").copy_(cell.recurrent.weight)
            getattr(lstm, f"bias_ih_l{index}").copy_(cell.input.bias)
            getattr(lstm, f"bias_hh_l{index}").zero_()
    return lstm


def starts(x, layers, hidden):
    """The first numbers of x, c and h of one layer after another, as `torch.nn.LSTM` takes them:
    (h, c).
    """
    parts = x[:, : 2 * layers * hidden].reshape(len(x), layers, 2, hidden).permute(2, 1, 0, 3)
    return parts[1].contiguous(), parts[0].contiguous()


def test_a_sequence_must_have_every_keypoint_once():
    with torch.device("meta"):
        for wrong in ([*range(15), 14], list(range(17)), list(range(1, 17))):
            with pytest.raises(ValueError, match="each of the 16 keypoints once"):
                posezoo.create("posernn_attention", sequence=wrong)
        model = posezoo.create("posernn_attention", sequence=list(range(16)))
        assert model.kwargs["sequence"] == list(range(16))
        model.reset_head(14, "lsp14")
        assert model.sequence == tuple(range(14))
        assert model.kwargs["sequence"] is None
        model.reset_head(16)
        assert model.sequence == SEQUENCE


def test_a_sequence_is_saved_with_the_weights(tmp_path):
    model = build("posernn_attention", num_keypoints=3, sequence=[2, 0, 1])
    model.save_pretrained(tmp_path)
    assert posezoo.create(f"local-dir:{tmp_path}", pretrained=True).sequence == (2, 0, 1)


# ------------------------------------------------------------------------------------------------------------ the LSTM


def test_one_step_by_hand():
    cell = LSTMCell(2, 1).double()
    x, c, h = (0.5, -1.0), 0.3, -0.2
    # rows i, f, g, o; the last number of each is the one for h
    weights = [(0.1, 0.2, 0.3), (-0.4, 0.5, 0.6), (0.7, -0.8, 0.9), (1.0, 1.1, -1.2)]
    biases = (0.05, 1.0, -0.05, 0.2)
    with torch.no_grad():
        cell.input.weight.copy_(torch.tensor(weights)[:, :2])
        cell.recurrent.weight.copy_(torch.tensor(weights)[:, 2:])
        cell.input.bias.copy_(torch.tensor(biases))
        state = tuple(torch.tensor([[value]], dtype=torch.float64) for value in (c, h))
        next_c, next_h = cell(cell.input(torch.tensor([x], dtype=torch.float64)), state)
    # i: 0.05 - 0.2 - 0.06 + 0.05 = -0.16;  f: -0.2 - 0.5 - 0.12 + 1 = 0.18
    # g: 0.35 + 0.8 - 0.18 - 0.05 = 0.92;   o: 0.5 - 1.1 + 0.24 + 0.2 = -0.16
    i, f, o = (1 / (1 + math.exp(-value)) for value in (-0.16, 0.18, -0.16))
    expected_c = f * 0.3 + i * math.tanh(0.92)
    assert float(next_c) == pytest.approx(expected_c, rel=1e-6)
    assert float(next_h) == pytest.approx(o * math.tanh(expected_c), rel=1e-6)


def test_a_step_is_tensorflows_with_its_gate_order_and_forget_bias():
    """BasicLSTMCell of TensorFlow 0.8, in NumPy: one kernel on [x, h], gates i, j, f, o, 1 added to
    f.
    """
    random = np.random.default_rng(0)
    inputs, hidden, batch = 5, 3, 4
    kernel, bias = random.normal(size=(inputs + hidden, 4 * hidden)), random.normal(size=4 * hidden)
    x, c, h = (random.normal(size=(batch, size)) for size in (inputs, hidden, hidden))
    i, j, f, o = np.split(np.concatenate([x, h], axis=1) @ kernel + bias, 4, axis=1)
    expected_c = c * sigmoid(f + 1.0) + sigmoid(i) * np.tanh(j)
    expected_h = np.tanh(expected_c) * sigmoid(o)

    cell = LSTMCell(inputs, hidden).double()
    assert cell.input.bias.tolist() == [0.0] * 3 + [1.0] * 3 + [0.0] * 6  # the forget gates' lies second
    columns = np.arange(4 * hidden).reshape(4, hidden)[[0, 2, 1, 3]].ravel()  # i, j, f, o to i, f, j, o
    with torch.no_grad():
        cell.input.weight.copy_(torch.from_numpy(kernel[:inputs, columns].T))
        cell.recurrent.weight.copy_(torch.from_numpy(kernel[inputs:, columns].T))
        cell.input.bias += torch.from_numpy(bias[columns])  # on top of the forget bias
        next_c, next_h = cell(cell.input(torch.from_numpy(x)), (torch.from_numpy(c), torch.from_numpy(h)))
    np.testing.assert_allclose(next_c.numpy(), expected_c, rtol=1e-12)
    np.testing.assert_allclose(next_h.numpy(), expected_h, rtol=1e-12)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("init", ["learned", "zeros", "slice"])
def test_init_sets_the_first_state(init):
    model = small_lstm(hidden=128, layers=2, init=init)
    x = random_pool5(2)
    with torch.no_grad():
        states = model.initial_states(x)
    numbers = torch.cat([part for state in states for part in state], dim=1)  # c and h of layer 1, c and h of layer 2
    assert [tuple(part.shape) for state in states for part in state] == [(2, 128)] * 4
    if init == "zeros":
        assert not numbers.any()
    elif init == "slice":
        assert torch.equal(numbers, x[:, :512])
    else:
        assert_close(numbers, F.linear(x, model.first_state.weight, model.first_state.bias))
    assert (model.first_state is not None) == (init == "learned")


def test_the_codes_slice_is_the_corner_of_pool5():
    model = small_lstm(layers=1, hidden=256, init="slice", head="shared")
    maps = torch.rand(1, 512, 7, 7, dtype=torch.float64)
    ((c, h),) = model.initial_states(flatten(maps))
    assert torch.equal(c[0], maps[0, :256, 0, 0])
    assert torch.equal(h[0], maps[0, 256:, 0, 0])


def test_the_first_state_makes_a_difference_to_the_first_step_and_later_ones():
    answers = {}
    for init in ("learned", "zeros", "slice"):
        model = small_lstm(hidden=16, init=init, head="shared")
        torch.manual_seed(3)
        for parameter in (*model.lstm.parameters(), *model.head.parameters()):
            nn.init.normal_(parameter, std=0.02)
        answers[init] = model.run_steps(random_pool5(2))
    for one, other in (("learned", "zeros"), ("zeros", "slice"), ("slice", "learned")):
        assert ((answers[one] - answers[other]).abs().amin(dim=-1) > 0).all()


def test_unknown_choices_are_refused():
    for wrong in ({"init": "mean"}, {"head": "mpl"}, {"bn_order": "bn_conv_relu"}, {"layers": 0}, {"hidden": 0}):
        with pytest.raises(ValueError, match="expected"), torch.device("meta"):
            posezoo.create("posernn_lstm", **wrong)
    with pytest.raises(ValueError, match="25088 numbers"), torch.device("meta"):
        posezoo.create("posernn_lstm", init="slice", hidden=6400)


# ------------------------------------------------------------------------------------------------------- the attention


@torch.no_grad()
def test_attention_is_the_loops_of_the_paper():
    """Section 4.3, one person, one step and one location at a time."""
    model = small_attention(num_keypoints=3, sequence=[1, 2, 0], layers=1, hidden=512)
    features = random_annotations(2)
    keypoints, weights = model.run_steps(features)
    scorer, cell = model.attention, model.lstm
    first = torch.cat([scorer.annotation.weight, scorer.state.weight], dim=1)
    for person in range(2):
        annotations = [features[person, :, y, x] for y in range(3) for x in range(4)]
        c = h = sum(annotations) / 12
        for keypoint in (1, 2, 0):
            scores = []
            for annotation in annotations:
                hidden = (first @ torch.cat([annotation, h]) + scorer.annotation.bias).relu()
                hidden = (scorer.middle.weight @ hidden + scorer.middle.bias).relu()
                scores.append(float(scorer.score.weight[0] @ hidden + scorer.score.bias))
            alpha = [math.exp(score) / sum(map(math.exp, scores)) for score in scores]
            context = sum(share * annotation for share, annotation in zip(alpha, annotations, strict=True))
            gates = cell.input.weight @ context + cell.input.bias + cell.recurrent.weight @ h
            i, f, g, o = gates.split(512)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            assert_close(weights[person, keypoint].flatten(), torch.tensor(alpha, dtype=torch.float64))
            assert_close(keypoints[person, keypoint], model.head[keypoint].weight @ h + model.head[keypoint].bias)


def test_weights_are_shares():
    model = small_attention()
    _, weights = model.run_steps(10 * random_annotations(2, 5, 7))
    assert weights.shape == (2, 16, 5, 7)
    assert (weights >= 0).all()
    assert_close(weights.sum(dim=(-2, -1)), torch.ones(2, 16, dtype=torch.float64))


def test_attention_follows_its_locations():
    """Shuffled locations: shuffled weights, the same predictions."""
    model = small_attention()
    features = random_annotations(2)
    shuffled = features.flatten(2)[..., torch.randperm(12, generator=torch.Generator().manual_seed(4))]
    order = torch.randperm(12, generator=torch.Generator().manual_seed(4))
    keypoints, weights = model.run_steps(features)
    same, moved = model.run_steps(shuffled.unflatten(2, (3, 4)))
    assert_close(same, keypoints)
    assert_close(moved.flatten(2), weights.flatten(2)[..., order])
    assert weights.std() > 1e-3


@pytest.mark.parametrize("location", range(12))
def test_where_one_location_has_all_the_weight_the_context_is_its_annotation(location):
    model = small_attention(num_keypoints=2)
    features = random_annotations(1)
    features[:, 0] = 0
    features[0, 0].flatten()[location] = 1  # channel 0 marks it
    with torch.no_grad():
        for parameter in model.attention.parameters():
            parameter.zero_()
        model.attention.annotation.weight[0, 0] = 100.0
        model.attention.middle.weight[0, 0] = 1.0
        model.attention.score.weight[0, 0] = 1.0
        contexts = []
        model.lstm.input.register_forward_pre_hook(lambda module, inputs: contexts.append(inputs[0]))
        _, weights = model.run_steps(features)
    assert len(contexts) == 2
    for context in contexts:
        assert_close(context[0], features[0].flatten(1)[:, location], rtol=0, atol=1e-12)
    assert (weights.flatten(2)[..., location] > 1 - 1e-12).all()


def test_equal_scores_give_uniform_attention():
    model = small_attention(num_keypoints=2)
    nn.init.zeros_(model.attention.score.weight)
    _, weights = model.run_steps(random_annotations(1))
    assert_close(weights, torch.full_like(weights, 1 / 12))


def test_attend_returns_forwards_keypoints_and_attention():
    model = build("posernn_attention", num_keypoints=4)
    image = torch.rand(2, 3, 32, 48)
    runs = []
    model.features.register_forward_hook(lambda *_: runs.append(1))
    with torch.no_grad():
        keypoints, weights = model.attend(image)
        assert len(runs) == 1  # the convolutions run once
        assert_close(keypoints, model(image), rtol=0, atol=0)
    assert weights.shape == (2, 4, 2, 3)
    picture = draw_attention(image[0], weights[0], keypoints=keypoints[0])
    assert picture.shape == (64, 96, 3)
    model.reset_head(0)
    with pytest.raises(ValueError, match="no head"):
        model.attend(image)


# ----------------------------------------------------------------------------------------- people, training, bad input


@pytest.mark.parametrize("make", [small_lstm, small_attention])
def test_people_have_states_of_their_own(make):
    model = make(num_keypoints=5)
    x = random_pool5(3) if make is small_lstm else random_annotations(3)
    answer = (lambda x: model.run_steps(x)) if make is small_lstm else (lambda x: model.run_steps(x)[0])
    with torch.no_grad():
        together = answer(x)
        assert_close(answer(x), together, rtol=0, atol=0)  # nothing is left over from the call before
        for person in range(3):
            assert_close(answer(x[person : person + 1])[0], together[person])
        other = x.clone()
        other[1] = 7
        assert_close(answer(other)[[0, 2]], together[[0, 2]])
        assert (answer(other)[1] - together[1]).abs().max() > 1e-3


@pytest.mark.parametrize("missing", range(16))
def test_a_missing_joint_has_no_gradient_in_any_position(missing):
    model = small_lstm(hidden=8, layers=1, init="zeros").train()
    target = torch.full((2, 16, 2), 100.0, dtype=torch.float64)
    target[:, missing] = torch.nan
    seen = torch.ones(2, 16, dtype=torch.bool)
    seen[:, missing] = False
    keypoint_l2(model.run_steps(random_pool5(2)), target, seen, half=True).backward()
    for keypoint, project in enumerate(model.head):
        gradients = [parameter.grad for parameter in project.parameters()]
        assert any(gradient.any() for gradient in gradients) == (keypoint != missing)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_later_joints_follow_from_earlier_states_and_not_the_other_way_round():
    """What happens in the LSTM between step 3 and 4 leaves the joints of the first four steps
    alone.
    """
    model = small_lstm(hidden=8, layers=1, init="zeros", head="shared")
    calls = []

    def disturb(module, inputs, output):
        calls.append(1)
        return (output[0] + 1, output[1]) if len(calls) == 4 else output

    with torch.no_grad():
        plain = model.run_steps(random_pool5(1))
        model.lstm[0].register_forward_hook(disturb)
        disturbed = model.run_steps(random_pool5(1))
    changed = (plain != disturbed).any(dim=-1)[0]
    assert [bool(changed[keypoint]) for keypoint in SEQUENCE] == [False] * 4 + [True] * 12


def test_batch_norm_of_one_person_is_refused_in_training():
    cnn = build("posernn_cnn", fc_width=8, batch_norm=False).train()
    one = torch.rand(1, 3, 224, 224)
    with pytest.raises(ValueError, match=r"at least two people.*drop_last=True.*model\.eval\(\)"):
        cnn(one)
    for norm in cnn.modules():
        if isinstance(norm, nn.BatchNorm1d):
            norm.eval()  # frozen
    assert cnn(one).shape == (1, 16, 2)

    attention = build("posernn_attention", num_keypoints=1).train()
    with pytest.raises(ValueError, match="at least two people"):
        attention(torch.rand(1, 3, 16, 16))
    assert attention(torch.rand(1, 3, 32, 16)).shape == (1, 1, 2)
    assert attention.eval()(torch.rand(1, 3, 16, 16)).shape == (1, 1, 2)

    mlp = small_lstm(hidden=8, head="mlp").train()
    with pytest.raises(ValueError, match="at least two people"):
        mlp.run_steps(random_pool5(1))
    assert small_lstm(hidden=8, head="step").train().run_steps(random_pool5(1)).shape == (1, 16, 2)


def test_sizes_that_work_are_named():
    with torch.device("meta"):
        for name in ("posernn_cnn", "posernn_lstm"):
            with pytest.raises(ValueError, match=r"expected \(224, 224\), got \(256, 192\); sizes that work"):
                posezoo.create(name)(torch.rand(2, 3, 256, 192))
        with pytest.raises(ValueError, match=r"multiples of 16.*resize or pad, for instance to \(64, 48\)"):
            posezoo.create("posernn_attention")(torch.rand(2, 3, 60, 48))


# --------------------------------------------------------------------------------------------------------- overfitting


def figures(size):
    """Four drawn figures `(4, 3, size, size)` and where their keypoints are; the mean pose is 17
    pixels off at 224.
    """
    skeleton = Skeleton(
        "figure", ("head", "left_hand", "right_hand", "left_foot", "right_foot"), ((0, 1), (0, 2), (0, 3), (0, 4))
    )
    pose = np.array([[0.5, 0.2], [0.75, 0.45], [0.25, 0.45], [0.65, 0.8], [0.35, 0.8]])
    poses = size * (pose + np.random.default_rng(0).uniform(-0.12, 0.12, (4, 5, 2)))
    black = np.zeros((size, size, 3), np.uint8)
    images = np.stack([draw_keypoints(black, person, skeleton) for person in poses])
    return torch.from_numpy(images).movedim(-1, 1) / 255, torch.from_numpy(poses).float(), skeleton


def overfit(model, image, target, steps, rate, head_rate):
    """Adam with a linear decay, and a faster head, which counts in pixels: the paper takes 10,000
    steps.
    """
    head = {id(parameter) for parameter in model.head.parameters()}
    rest = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in head]
    optimizer = torch.optim.Adam([{"params": rest, "lr": rate}, {"params": model.head.parameters(), "lr": head_rate}])
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, steps)
    for _ in range(steps):
        loss = keypoint_l2(model(image), target, half=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()


@pytest.mark.slow
def test_the_whole_network_overfits_four_figures():
    image, target, skeleton = figures(64)
    torch.manual_seed(0)
    model = posezoo.create("posernn_attention", num_keypoints=5, skeleton=skeleton).train()
    overfit(model, image, target, 160, 1e-3, 0.3)
    keypoints, _ = model.predict(image)  # in train mode: four images say little about running statistics
    assert (keypoints - target).norm(dim=-1).max() < 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kwargs", "steps", "rate", "head_rate", "pixels"),
    [
        ("posernn_cnn", {"fc_width": 256}, 120, 1e-3, 1.0, 1),
        ("posernn_lstm", {**CODE, "head": "mlp"}, 120, 1e-3, 0.3, 1),
        ("posernn_lstm", {}, 160, 1e-3, 2.0, 10),
        ("posernn_attention", {}, 250, 1e-3, 0.3, 1),
    ],
)
def test_layers_after_the_convolutions_overfit_four_figures(name, kwargs, steps, rate, head_rate, pixels):
    """At the paper's size, with the convolutions as they start, which need to run only once."""
    image, target, skeleton = figures(224)
    torch.manual_seed(0)
    model = posezoo.create(name, num_keypoints=5, skeleton=skeleton, **kwargs).train()
    model.features.requires_grad_(False)
    with torch.no_grad():
        maps = model.convolve(image)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "convolve", lambda _: maps)
        overfit(model, image, target, steps, rate, head_rate)
    keypoints, _ = model.predict(image)
    assert (keypoints - target).norm(dim=-1).max() < pixels


# ------------------------------------------------------------------------------------------------------- normalisation


def test_batch_norm_comes_before_or_after_the_relu():
    code, paper = vgg16(affine=False), vgg16(affine=False, bn_order="conv_relu_bn")
    kinds = [[type(layer).__name__ for layer in trunk[:7]] for trunk in (code, paper)]
    assert kinds[0] == ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["MaxPool2d"]
    assert kinds[1] == ["Conv2d", "ReLU", "BatchNorm2d"] * 2 + ["MaxPool2d"]
    assert [type(layer).__name__ for layer in vgg16(4, batch_norm=False)[-2:]] == ["Conv2d", "ReLU"]

    x = torch.randn(64, 5)
    with torch.no_grad():
        code, paper = (
            DenseBNReLU(5, 7, bn_order=order, affine=False, eps=1e-6).train()(x)
            for order in ("conv_bn_relu", "conv_relu_bn")
        )
    assert (code >= 0).all()
    assert_close(paper.mean(dim=0), torch.zeros(7), rtol=0, atol=1e-5)  # the norm is the last thing that happens
    assert_close(paper.var(dim=0, correction=0), torch.ones(7), rtol=1e-3, atol=1e-3)


def test_lstm_output_has_one_mean_and_one_variance():  # moments over batch and width together, as in the code
    model = small_lstm(num_keypoints=2, hidden=8).train()
    norm = model.head[0][0]
    x = torch.randn(4, 8, dtype=torch.float64) * torch.arange(1, 9) + 3
    expected = (x - x.mean()) / (x.var(correction=0) + 1e-6).sqrt()
    assert_close(norm(x), expected)
    assert not [*norm.parameters()]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_imagenet_trunk_is_timms(batch_norm, tmp_path, monkeypatch):
    import timm
    from safetensors.torch import save_file

    name = "vgg16_bn" if batch_norm else "vgg16"
    torch.manual_seed(0)
    theirs = timm.create_model(name, features_only=True).eval()
    with torch.device("meta"):
        published = timm.create_model(name).state_dict()
    state = {key.replace("features_", "features."): value for key, value in theirs.state_dict().items()}
    assert {key for key in published if key.startswith("features.")} == set(state)
    file = tmp_path / "model.safetensors"
    save_file(state, file)
    asked = []
    monkeypatch.setattr("posezoo.backbones.find", lambda record, *_: asked.append(record.sources[0]) or file)
    norms = {"affine": True, "bn_order": "conv_bn_relu"} if batch_norm else {}
    ours = build("posernn_attention", pretrained_backbone=True, batch_norm=batch_norm, **norms)
    assert asked == [f"hf-hub:timm/{name}.tv_in1k"]
    assert ours.normalize.mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert "pretrained_backbone" not in ours.kwargs
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = theirs(ours.normalize(image))[-2]  # before the last pooling
        assert_close(ours.forward_features(image), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_imagenet_trunk_needs_the_same_norms():
    for wrong in ({}, {"affine": True, "bn_order": "conv_relu_bn"}):
        with torch.device("meta"), pytest.raises(ValueError, match="batch_norm=False"):
            posezoo.create("posernn_lstm", pretrained_backbone=True, **wrong)
