"""Hossain and Little's sequence to sequence network: the paper's facts, and the numbers of the
authors' code.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import posezoo
from posezoo.checkpoints import convert, infer
from posezoo.losses import smooth_pose_mse
from posezoo.models.seq2seq3d import Cell, Seq2Seq3D
from posezoo.registry import load_checkpoint
from posezoo.skeletons import get_skeleton


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def build(**kwargs):
    """A small network in double precision whose every tensor matters."""
    torch.manual_seed(0)
    model = Seq2Seq3D(**{"hidden_size": 12, **kwargs}).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[-1]) if parameter.ndim == 2 else 0.3)
    for cell in (model.encoder, model.decoder):
        if cell.gates.bias is None:
            cell.gate_norm.weight.data += 1
            cell.memory_norm.weight.data += 1
    video = keypoints(40)
    model.normalize.fit(video, 100 * torch.randn(1, 40, 17, 3).cumsum(dim=1) * (torch.arange(17) > 0)[:, None])
    return model


def keypoints(frames, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 500 + 40 * torch.randn(batch, frames, 17, 2, dtype=torch.float64, generator=generator).cumsum(dim=1)


# ---------------------------------------------------------------------------------------------------------------------
# The network once more, in NumPy and from the description alone


def by_hand(model, window, *, reverse=True):
    """One window `(T, K, 2)` to `(T, 16, 3)` mm, a scalar loop over frames; no dropout."""
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    normal = (window.numpy() - state["normalize.keypoints.mean"]) / state["normalize.keypoints.std"]
    frames = [normal[t][model.used].reshape(-1) for t in range(len(normal))]
    memory = hidden = np.zeros(model.hidden_size)
    for frame in reversed(frames) if reverse else frames:
        memory, hidden = step_by_hand(state, "encoder", frame, memory, hidden)
    pose, poses = np.ones(48), []
    for _ in frames:
        memory, hidden = step_by_hand(state, "decoder", pose, memory, hidden)
        change = state["output.weight"] @ hidden + state["output.bias"]
        pose = pose + change if model.residual else change
        poses.append(pose.reshape(16, 3))
    return np.stack(poses) * state["normalize.pose3d.std"][1:] + state["normalize.pose3d.mean"][1:]


def step_by_hand(state, cell, x, memory, hidden):
    def of(name):
        return state[f"{cell}.{name}"]

    def layer_norm(values, weight, bias):
        return (values - values.mean()) / np.sqrt(values.var() + 1e-12) * weight + bias

    def sigmoid(values):
        return 1 / (1 + np.exp(-values))

    u = of("project.weight") @ x + of("project.bias")
    gates = np.split(of("gates.weight") @ np.concatenate([u, hidden]), 4)
    if f"{cell}.gate_norm.weight" in state:
        scales, shifts = np.split(of("gate_norm.weight"), 4), np.split(of("gate_norm.bias"), 4)
        gates = [layer_norm(*each) for each in zip(gates, scales, shifts, strict=True)]
    else:
        gates = [gate + bias for gate, bias in zip(gates, np.split(of("gates.bias"), 4), strict=True)]
    i, g, f, o = gates
    memory = memory * sigmoid(f + 1) + sigmoid(i) * np.tanh(g)
    if f"{cell}.memory_norm.weight" in state:
        memory = layer_norm(memory, of("memory_norm.weight"), of("memory_norm.bias"))
    return memory, np.tanh(memory) * sigmoid(o)


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("kwargs", [{}, {"layer_norm": False}, {"residual": False}, {"neck": True}], ids=str)
def test_agrees_with_a_loop_by_hand(kwargs, frames):
    model, window = build(**kwargs), keypoints(frames, batch=3)
    expected = torch.from_numpy(np.stack([by_hand(model, each) for each in window]))
    with torch.no_grad():
        output = model(window)
    assert_close(output[:, :, 1:], expected, rtol=1e-8, atol=1e-8)
    assert not output[:, :, 0].any()


def test_the_encoder_reads_the_last_frame_first():
    model, window = build(), keypoints(5)
    with torch.no_grad():
        output, turned = model(window), model(window.flip(1))
    assert_close(turned[0, :, 1:], torch.from_numpy(by_hand(model, window[0], reverse=False)), rtol=1e-8, atol=1e-8)
    assert not torch.allclose(turned, output, rtol=0.01)


# ---------------------------------------------------------------------------------------------------------------------
# Size and start


@pytest.mark.parametrize(
    ("kwargs", "parameters"),  # TensorFlow's graph has 32,800 more: the encoder's output layer
    [
        ({}, 16_930_864),
        ({"layer_norm": False}, 16_951_376 - 32_800),
        ({"neck": True}, 16_930_864 + 2 * 1024),
        ({"num_keypoints": 0}, 33_792 + 8_388_608 + 10_240),
        ({"window": 9, "dropout": 0, "recurrent_dropout": 0, "residual": False}, 16_930_864),
    ],
)
def test_size(kwargs, parameters):
    with torch.device("meta"):
        assert count(Seq2Seq3D(**kwargs)) == parameters


def test_size_of_the_parts():
    with torch.device("meta"):
        model = posezoo.create("seq2seq3d")
    for cell, of_inputs in ((model.encoder, 33_792), (model.decoder, 50_176)):
        assert count(cell.project) == of_inputs
        assert count(cell.gates) == 8_388_608
        assert count(cell.gate_norm) + count(cell.memory_norm) == 10_240
        assert (cell.dropout.p, cell.recurrent_dropout.p) == (0.5, 0.5)
    assert count(model.output) == 49_200
    assert model.example_input(2).shape == (2, 5, 17, 2)
    assert get_skeleton("h36m17").index("neck_nose") not in model.used
    assert len(model.used) == 16


def test_starts_with_glorots_weights():
    torch.manual_seed(0)
    for layer in (module for module in Seq2Seq3D(hidden_size=128).modules() if isinstance(module, torch.nn.Linear)):
        limit = math.sqrt(6 / sum(layer.weight.shape))
        assert 0.98 * limit < float(layer.weight.detach().abs().max()) <= limit
        assert layer.bias is None or not layer.bias.any()


# ---------------------------------------------------------------------------------------------------------------------
# The authors' numbers


def cell_of_two(**kwargs):
    """TensorFlow's unit test of the cell: two units, every entry of the matrix 0.5, and the input
    as it is.
    """
    cell = Cell(2, size=2, **{"dropout": 0, "recurrent_dropout": 0, "layer_norm": True, **kwargs})
    cell.project.weight.data = torch.eye(2)
    torch.nn.init.constant_(cell.gates.weight, 0.5)
    return cell.eval()


def test_the_cell_is_tensorflows():
    """The variances are so small that the epsilon decides: with 1e-5 the memory would be
    0.99627869, not 1.
    """
    cell = cell_of_two()
    x, state = torch.ones(1, 2), (torch.tensor([[0.0, 0.1]]), torch.tensor([[0.2, 0.3]]))
    memory, hidden = cell(x, state)
    assert_close(memory, torch.tensor([[-1.0, 1.0]]), rtol=0, atol=1e-6)
    assert_close(hidden, torch.tensor([[-0.38079708, 0.38079708]]), rtol=0, atol=1e-6)


def test_the_cell_without_normalisation_is_tensorflows():  # two of them, one on top of the other
    cell = cell_of_two(layer_norm=False)
    torch.nn.init.constant_(cell.gates.bias, 0.5)
    first = cell(torch.ones(1, 2), (torch.tensor([[0.0, 0.1]]), torch.tensor([[0.2, 0.3]])))
    assert_close(first[0], torch.tensor([[0.8020075, 0.89599884]]), rtol=0, atol=1e-6)
    assert_close(first[1], torch.tensor([[0.56668288, 0.60858738]]), rtol=0, atol=1e-6)
    second = cell(first[1], (torch.tensor([[0.4, 0.5]]), torch.tensor([[0.6, 0.7]])))
    assert_close(second[0], torch.tensor([[1.17500675, 1.26892781]]), rtol=0, atol=1e-6)
    assert_close(second[1], torch.tensor([[0.70230919, 0.72581059]]), rtol=0, atol=1e-6)


def authors_weights(size=4):
    """The fixture of specs/models3d.md 11.3 A under TensorFlow's names."""
    state, number = {}, 0
    for wrapper, ends in (("output_projection_wrapper", 32), ("rnn_decoder/output_projection_wrapper", 48)):
        project = f"{wrapper}/input_projection_wrapper"
        cell = f"{project}/layer_norm_basic_lstm_cell"
        shapes = {f"{project}/kernel": (ends, size), f"{project}/bias": (size,), f"{cell}/kernel": (2 * size, 4 * size)}
        for gate in ("input", "transform", "forget", "output", "state"):
            shapes |= {f"{cell}/{gate}/{kind}": (size,) for kind in ("gamma", "beta")}
        for name, shape in {**shapes, f"{wrapper}/kernel": (size, ends), f"{wrapper}/bias": (ends,)}.items():
            value = 0.5 * np.sin(0.7 * np.arange(math.prod(shape)) + 0.3 * number)
            value = 1 + 0.2 * value if name.endswith("gamma") else value
            state[name] = torch.from_numpy(value.reshape(shape)).float()
            number += 1
    assert number == 30
    return state


def authors_model(**kwargs):
    model = Seq2Seq3D(hidden_size=4, dropout=0, recurrent_dropout=0, **kwargs).eval()
    statistics = {f"normalize.{name}": value for name, value in model.normalize.state_dict().items()}
    statistics["normalize.pose3d.std"] = torch.ones(17, 3)
    model.load_state_dict(convert(authors_weights(), "seq2seq3d") | statistics)
    return model


def authors_data(model, frames):
    window = torch.zeros(1, frames, 17, 2)
    window[:, :, model.used] = torch.from_numpy(np.sin(0.11 * np.arange(frames * 32))).float().view(1, frames, 16, 2)
    target = torch.from_numpy(np.cos(0.07 * np.arange(frames * 48))).float().view(1, frames, 16, 3)
    return window, target


def test_agrees_with_the_authors():  # specs/models3d.md 11.3 A, made with their code under TensorFlow 1.15
    model = authors_model()
    window, target = authors_data(model, 5)
    with torch.no_grad():
        output = model.double()(window.double())[:, :, 1:].float()
    first = [
        [1.5124611, 0.8610555, 0.2749977],
        [1.9373373, 0.6446308, -0.4809401],
        [2.324057, 0.40068322, -1.2408228],
        [2.706651, 0.15810071, -1.9944913],
        [3.1106799, -0.06217092, -2.7354662],
    ]
    assert_close(output[0, :, 0], torch.tensor(first), rtol=0, atol=1e-6)  # their last digits
    assert_close(output[0, 4, 15], torch.tensor([2.7543395, -0.43944496, -2.9562354]), rtol=0, atol=1e-6)
    assert float(output.sum()) == pytest.approx(230.74744, abs=3e-5)
    assert float(smooth_pose_mse(output, target)) == pytest.approx(10.965736, abs=1e-5)
    for training in (False, True):  # in single precision the four units of this fixture double errors each step
        with torch.no_grad():
            single = authors_model().train(training)(window)[:, :, 1:]
        assert_close(single, output, rtol=0, atol=3e-5)


@pytest.mark.parametrize(
    ("frames", "first", "last", "total", "loss"),  # of the last frame; their code with its constant 5 made T
    [
        (1, [1.3568583, 0.80124706, 0.33911252], [1.2941121, 0.7356169, 0.30146533], 47.400074, None),
        (2, [1.7015302, 0.75003237, -0.08390188], [1.5965278, 0.63454884, -0.15555274], 94.97656, 4.948878),
        (10, [9.356615, 3.4992127, -3.533608], [8.8197365, 2.6502585, -4.2953615], 508.9068, 26.419823),
    ],
)
def test_other_lengths_are_the_authors(frames, first, last, total, loss):
    model = authors_model(window=frames).double()
    window, target = authors_data(model, frames)
    with torch.no_grad():
        output = model(window.double())[:, :, 1:]
    assert_close(output[0, -1, [0, 15]].float(), torch.tensor([first, last]), rtol=0, atol=1e-6 * frames)
    assert float(output.sum()) == pytest.approx(total, rel=1e-6)
    if loss:  # theirs is not a number for a single frame, ours has no temporal term then
        assert float(smooth_pose_mse(output, target.double())) == pytest.approx(loss, rel=1e-6)
    else:
        assert smooth_pose_mse(output, target) == (output - target).square().mean()


def test_gradients_are_the_authors():
    """Norms of the same fixture's gradients, TensorFlow 1.15: they flow through every pose that is
    fed back.
    """
    model = authors_model().train()
    window, target = authors_data(model, 5)
    smooth_pose_mse(model(window)[:, :, 1:], target).backward()
    norms = {name: float(parameter.grad.norm()) for name, parameter in model.named_parameters()}
    expected = {
        "encoder.project.weight": 210.90721,
        "encoder.project.bias": 44.925461,
        "encoder.gates.weight": 151.92646,
        "encoder.memory_norm.weight": 18.770283,
        "encoder.memory_norm.bias": 23.481057,
        "decoder.project.weight": 38.049274,
        "decoder.project.bias": 4.5571454,
        "decoder.gates.weight": 14.348428,
        "decoder.gate_norm.weight": math.hypot(0.41538998, 1.1703967, 0.085837898, 1.5476543),
        "decoder.gate_norm.bias": math.hypot(0.30758166, 2.3210445, 0.22446076, 1.7260774),
        "decoder.memory_norm.bias": 5.3760857,
        "output.weight": 13.225374,
        "output.bias": 13.711516,
    }
    assert {name: norms[name] for name in expected} == pytest.approx(expected, rel=2e-5)


def test_a_file_with_tensorflows_names(tmp_path, caplog):
    """The whole graph: with the output layer of the encoder, the optimiser's tensors, and counters."""
    published = authors_weights()
    others = {f"{name}/{slot}": value for name, value in published.items() for slot in ("Adam", "Adam_1")}
    others |= {"global_step": torch.tensor(1_798_202), "beta1_power": torch.tensor(0.0)}
    torch.save(published | others, tmp_path / "published.pth")
    model = load_checkpoint(None, tmp_path / "published.pth")
    assert (model.architecture, model.hidden_size, model.skeleton.name) == ("seq2seq3d", 4, "h36m17")
    assert "has no statistics" in caplog.text
    ours = authors_model()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), ours.parameters(), strict=True))
    plain = Seq2Seq3D(layer_norm=False, neck=True, hidden_size=8)
    assert infer(plain.state_dict()) == (
        "seq2seq3d",
        {"hidden_size": 8, "neck": True, "layer_norm": False, "num_keypoints": 17, "skeleton": "h36m17"},
    )
    with pytest.raises(ValueError, match="17 keypoints in and 5 out are not those of the paper"):
        infer(Seq2Seq3D(num_keypoints=5, neck=True, hidden_size=8).state_dict())
    del published["rnn_decoder/output_projection_wrapper/kernel"]
    torch.save(published, tmp_path / "cut.pth")
    with pytest.raises(ValueError, match=r"output\.weight"):
        load_checkpoint(model, tmp_path / "cut.pth")


# ---------------------------------------------------------------------------------------------------------------------
# Ablations


def test_every_switch_of_table_4_changes_its_part():
    window = keypoints(5, batch=2)
    states = {}
    for name, kwargs in {
        "full": {},
        "no dropout": {"dropout": 0, "recurrent_dropout": 0},
        "no residual": {"residual": False},
        "no layer norm": {"layer_norm": False},
    }.items():
        torch.manual_seed(0)
        states[name] = Seq2Seq3D(hidden_size=12, **kwargs).double()
    full = states["full"].eval()
    with torch.no_grad():
        expected = full(window)
        for name in ("no dropout", "no residual"):
            other = states[name].eval()
            assert all(torch.equal(a, b) for a, b in zip(full.parameters(), other.parameters(), strict=True))
            assert torch.equal(other(window), expected) == (name == "no dropout")
        poses = full.normalize.pose3d(expected) - full.normalize.pose3d(torch.zeros(17, 3))
        # the first step knows no earlier pose but START: without the residual its pose is the change alone
        alone = states["no residual"](window)[:, 0, 1:] / 1000
        assert_close(poses[:, 0, 1:], alone + 1)
    # other parameters: biases of the gates in place of the norms, the rest the same
    plain = states["no layer norm"]
    names = {name for name, _ in full.named_parameters()}
    norms = {name for name in names if "norm" in name}
    others = {name for name, _ in plain.named_parameters()}
    assert names - others == norms
    assert others - names == {"encoder.gates.bias", "decoder.gates.bias"}
    plain.load_state_dict({k: v for k, v in full.state_dict().items() if k not in norms}, strict=False)
    with torch.no_grad():
        assert not torch.allclose(plain.eval()(window), expected, rtol=0.1)


def seen_by_dropout(model, run):
    """Inputs and outputs of every call of a dropout, by the module's name, in `run`."""
    calls, handles = {}, []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout):
            calls[name] = []
            hook = lambda _module, given, out, name=name: calls[name].append((given[0].detach(), out.detach()))  # noqa: E731
            handles.append(module.register_forward_hook(hook))
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return calls


def test_places_of_the_dropouts():
    torch.manual_seed(0)
    model = Seq2Seq3D(hidden_size=256).train()
    calls = seen_by_dropout(model, lambda: model(1000 * torch.rand(4, 5, 17, 2)))
    places = {"encoder.dropout", "encoder.recurrent_dropout", "decoder.dropout", "decoder.recurrent_dropout", "dropout"}
    assert set(calls) == places
    for name, each in calls.items():
        assert len(each) == 5, name  # one mask for each step
        masks = []
        for given, kept in each:
            assert given.shape == (4, 256)
            mask = kept != 0
            masks.append(mask)
            assert_close(kept[mask], 2 * given[mask])
        masks = torch.stack(masks).float()
        assert abs(float(masks.mean()) - 0.5) < 0.03
        assert all(not torch.equal(a, b) for a, b in pairwise(masks))
        agreement = (masks[0] == masks[1]).float().mean()
        assert abs(float(agreement) - 0.5) < 0.08


def test_each_dropout_drops_its_inputs():
    """Dropout is on the input, the candidate and the head's input, not on recurrent output and
    memory.
    """
    torch.manual_seed(0)
    model = Seq2Seq3D(hidden_size=64).train()
    states = []
    model.decoder.register_forward_hook(lambda _module, given, out: states.append((given[1], out)))
    window = 1000 * torch.rand(2, 5, 17, 2)
    calls = seen_by_dropout(model, lambda: model(window))
    for (_, before), (given, _) in pairwise(states):
        assert torch.equal(given[0], before[0])
        assert torch.equal(given[1], before[1])
        assert before[1].ne(0).all()
    assert all(torch.equal(out[1], seen) for (_, out), (seen, _) in zip(states, calls["dropout"], strict=True))
    assert all(seen.abs().max() <= 1 for seen, _ in calls["decoder.recurrent_dropout"])  # behind the tanh


def test_one_dropout_at_a_time():
    window = 1000 * torch.rand(2, 5, 17, 2)
    for kwargs, off in (
        ({"recurrent_dropout": 0}, ("encoder.recurrent_dropout", "decoder.recurrent_dropout")),
        ({"dropout": 0}, ("encoder.dropout", "decoder.dropout", "dropout")),
    ):
        model = Seq2Seq3D(hidden_size=32, **kwargs).train()
        for name, each in seen_by_dropout(model, lambda model=model: model(window)).items():
            whole = all(torch.equal(given, kept) for given, kept in each)
            assert whole == (name in off), name
    quiet = Seq2Seq3D(hidden_size=32).eval()
    assert torch.equal(quiet(window), quiet(window))


def test_poses_flow_back_into_the_decoder():
    """A push on the first pose moves all later ones, and the last pose's gradient reaches the
    first.
    """
    model, window = build(), keypoints(5)
    seen = []
    hook = model.decoder.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    output = model(window)
    hook.remove()
    assert len(seen) == 5
    assert (seen[0] == 1).all()  # START
    normal = (output - model.normalize.pose3d.mean) / model.normalize.pose3d.std
    assert_close(torch.stack(seen[1:], dim=1), normal[:, :-1, 1:].flatten(2))  # also in training: self-fed
    gradients = torch.autograd.grad(output[0, 4, 7, 1], seen[1:])
    assert all(gradient.abs().max() > 1e-6 for gradient in gradients)


# ---------------------------------------------------------------------------------------------------------------------
# Videos


def predict_by_hand(model, video):
    """Section 4: all poses of the first window, then the last one of each that follows."""
    windows = [video[start : start + model.window] for start in range(len(video) - model.window + 1)]
    answers = [by_hand(model, window) for window in windows]
    return np.concatenate([answers[0], *(answer[-1:] for answer in answers[1:])])


@pytest.mark.parametrize("window", [2, 3, 4, 5, 7, 10])
def test_predict_slides_over_the_video(window):
    model = build(window=window)
    for frames in (window, window + 1, window + 6):
        video = keypoints(frames, batch=2, seed=frames)
        pose3d, scores = model.predict(video)
        assert pose3d.shape == (2, frames, 17, 3)
        assert scores.shape == (2, frames, 17)
        for each, poses in zip(video, pose3d, strict=True):
            expected = torch.from_numpy(predict_by_hand(model, each)).float()
            assert_close(poses[:, 1:], expected, rtol=1e-5, atol=1e-4)


def test_a_window_of_one_frame_depends_on_that_frame_only():
    model, video = build(window=1), keypoints(6)
    together, _ = model.predict(video)
    alone = torch.cat([model.predict(video[:, [frame]])[0] for frame in range(6)], dim=1)
    assert_close(together, alone)


def test_a_video_shorter_than_the_window_begins_with_its_first_frame():
    model = build(window=5)
    for frames in (1, 2, 4):
        video = keypoints(frames)
        padded = torch.cat([video[:, :1]] * (5 - frames) + [video], dim=1)
        assert_close(model.predict(video)[0], model.predict(padded)[0][:, 5 - frames :])


def test_outputs_depend_on_their_receptive_field_only():
    model, video = build(), keypoints(20)
    before, _ = model.predict(video)
    for moved, expected in ((12, range(12, 17)), (2, range(7)), (19, [19])):
        other = video.clone()
        other[:, moved] += 5.0
        changed = (model.predict(other)[0] - before).abs().amax(dim=(0, 2, 3)) > 1e-6
        assert changed.nonzero().flatten().tolist() == list(expected)


def test_long_videos_are_taken_in_parts(monkeypatch):
    model, video = build(), keypoints(60, batch=2)
    expected, _ = model.predict(video)
    for windows in (1, 7, 56, 112, 1000):
        monkeypatch.setattr("posezoo.models.seq2seq3d.WINDOWS_TOGETHER", windows)
        assert_close(model.predict(video)[0], expected)


@pytest.mark.parametrize(
    "kwargs", [{}, {"window": 2}, {"window": 10}, {"frame": "person"}, {"layer_norm": False}], ids=str
)
@pytest.mark.parametrize("flip", [False, True])
def test_streaming_is_predicting(kwargs, flip):
    model, video = build(**kwargs), keypoints(16, batch=2)
    stream = model.stream(flip=flip)
    poses = torch.stack([stream(frame) for frame in video.unbind(1)], dim=1)
    assert poses.shape == (2, 16, 17, 3)
    whole, _ = model.predict(video, flip=flip)
    assert_close(poses[:, model.window - 1 :], whole[:, model.window - 1 :], rtol=1e-6, atol=1e-4)
    for frames in range(1, 17):  # and before, too, when the video so far is all there is
        so_far, _ = model.predict(video[:, :frames], flip=flip)
        assert_close(poses[:, frames - 1], so_far[:, -1], rtol=1e-6, atol=1e-4)
    assert stream.seen.shape == (2, model.window, 17, 2)  # whatever the length of the video
    assert not poses.requires_grad


def test_streams_are_independent():
    model, video = build(), keypoints(8, batch=2)
    first, second = model.stream(), model.stream()
    for frame in video.unbind(1):
        poses = first(frame[:1]), second(frame[1:])
    whole, _ = model.predict(video)
    assert_close(torch.stack([pose[0] for pose in poses]), whole[:, -1], rtol=1e-6, atol=1e-4)


def test_a_stream_refuses_other_shapes():
    stream = build().stream()
    frame = keypoints(1)[:, 0]
    with pytest.raises(ValueError, match=r"one frame \(B, 17, 2\), got shape \(17, 2\).*keypoints\[None\]"):
        stream(frame[0])
    with pytest.raises(ValueError, match=r"model\.predict"):
        stream(frame[None])
    with pytest.raises(ValueError, match=r"posezoo\.lift"):
        stream(frame.where(frame > frame.min(), torch.nan))
    with pytest.raises(ValueError, match=r"torch\.as_tensor"):
        stream(frame.numpy())
    assert stream(frame).shape == (1, 17, 3)
    with pytest.raises(ValueError, match="expected 1 videos as in the frame before, got 2"):
        stream(frame.repeat(2, 1, 1))
    with pytest.raises(ValueError, match="reset_head"):
        Seq2Seq3D(num_keypoints=0, hidden_size=8).stream()
    assert build().stream()(frame[:0]).shape == (0, 17, 3)


def test_the_persons_frame_does_not_depend_on_the_camera():
    model, video = build(frame="person"), keypoints(9)
    assert_close(model.predict(3.5 * video + 700)[0], model.predict(video)[0], rtol=1e-3, atol=1e-2)


# ---------------------------------------------------------------------------------------------------------------------
# Heads, arguments, learning


def test_a_new_head_keeps_the_recurrent_weights():
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.reset_head(5)
    assert model.decoder.project.in_features == model.output.out_features == 15
    after = model.state_dict()
    kept = [name for name in before if name.startswith(("encoder.", "decoder.gate", "decoder.memory"))]
    assert len(kept) == 12
    assert all(torch.equal(after[name], before[name]) for name in kept)
    model.reset_head(0)
    assert not any(name.startswith(("decoder.", "output.")) for name in model.state_dict())
    features = model(keypoints(5, batch=2))
    assert features.shape == (2, 24)
    model.reset_head(17, "h36m17")
    assert set(model.state_dict()) == set(before)


def test_a_trunk_without_decoder_loads_from_the_whole_network(tmp_path):
    whole = posezoo.create("seq2seq3d", hidden_size=12)
    whole.save_pretrained(tmp_path)
    trunk = posezoo.create(f"local-dir:{tmp_path}", pretrained=True, num_keypoints=0)
    window = keypoints(5).float()
    with torch.no_grad():
        assert_close(trunk(window), whole.eval().forward_features(window))
    other = posezoo.create(f"local-dir:{tmp_path}", pretrained=True, num_keypoints=5)
    assert torch.equal(other.decoder.gates.weight, whole.decoder.gates.weight)


def test_sixteen_keypoints_of_a_detector():
    sixteen = [name for name in get_skeleton("h36m17").keypoints if name != "neck_nose"]
    full = build()
    detector = Seq2Seq3D(hidden_size=12, input_keypoints=sixteen).double().eval()
    assert detector.encoder.project.in_features == full.encoder.project.in_features == 32
    state = full.state_dict()
    detector.load_state_dict(
        {key: value[full.used] if "normalize.keypoints" in key else value for key, value in state.items()}
    )
    video = keypoints(7)
    assert_close(detector.predict(video[:, :, full.used])[0], full.predict(video)[0])
    moved = video.clone()
    moved[:, :, get_skeleton("h36m17").index("neck_nose")] += 50
    assert torch.equal(full.predict(moved)[0], full.predict(video)[0])


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"window": 0}, "window: expected a whole number, 1 or more, got 0"),
        ({"window": 2.5}, "window: expected a whole number, 1 or more, got 2.5"),
        ({"hidden_size": 1}, "hidden_size: expected a whole number, 2 or more, got 1"),
        ({"dropout": 1.5}, "dropout"),
    ],
)
def test_arguments_that_make_no_network(kwargs, says):
    with pytest.raises(ValueError, match=says):
        Seq2Seq3D(**{"hidden_size": 8, **kwargs})


def test_empty_batch_and_float64():
    model = Seq2Seq3D(hidden_size=8).eval()
    assert model.predict(torch.rand(0, 9, 17, 2))[0].shape == (0, 9, 17, 3)
    video = 1000 * torch.rand(1, 9, 17, 2)
    assert_close(model.predict(video.double())[0], model.predict(video)[0])


@pytest.mark.parametrize("frame", ["pixels", "person"])
def test_overfits_random_walks(frame):
    """Four windows of persistent random walks, the loss without smoothing: learnt by heart to 5 mm."""
    torch.manual_seed(0)
    velocity = 20 * torch.randn(4, 1, 17, 3) + 2 * torch.randn(4, 5, 17, 3).cumsum(dim=1)
    pose3d = 250 * torch.randn(4, 1, 17, 3) + velocity.cumsum(dim=1)
    pose3d -= pose3d[:, :, :1].clone()
    still = (pose3d - pose3d.mean(dim=1, keepdim=True)).norm(dim=-1).mean()
    assert still > 40  # the error of a network that answers each window with one pose
    window = 1100 * pose3d[..., :2] / (pose3d + torch.tensor([0.0, 0.0, 5000.0]))[..., 2:] + 500
    model = Seq2Seq3D(hidden_size=64, dropout=0, recurrent_dropout=0, frame=frame)
    model.normalize.fit(window, pose3d)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for _ in range(500):
        loss = smooth_pose_mse(model(window), pose3d, temporal_weight=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    error = (model.eval().predict(window)[0] - pose3d).norm(dim=-1).mean()
    assert error < 5
