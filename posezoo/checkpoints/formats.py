"""The formats of published checkpoints, a row each: keys, conversion, network, missing tensors.

A format is recognised by its keys, never by the name of a file. Conversion renames, completes and
folds tensors, so that the result loads strictly. Beside the published tensors our models hold their
image normalisation.

    posezoo          written by `save_pretrained`
    mmpose           mmpose 0.x and 1.x, PoseResNet, HRNet or a ResNet that regresses coordinates
                     (DeepPose), under `backbone.` and `head.` or `keypoint_head.`; a head for
                     visibility is left out
    pose_resnet      Microsoft's Simple Baselines and the HRNet authors' pose_resnet files; fed BGR
    hrnet            the HRNet authors' pose network
    pytorchcv        its SimplePose with a ResNet-18, 50b, 101b or 152b
    princeton        the hourglass authors' PyTorch files; residuals hold unused convolutions
    bearpaw          hourglasses of bearpaw/pytorch-pose and anibali/pytorch-stacked-hourglass
    mmpose_hourglass mmpose's hourglass52; holds an unused block
    mmpose_cpm       mmpose's Convolutional Pose Machine with batch normalisation
    mmpose_lifter    mmpose's VideoPose3D, and its SimpleBaseline3D with the statistics of that
                     one's configuration
    caffe_cpm        the authors' Convolutional Pose Machines, each tensor under its Caffe layer's
                     name; fed BGR, the background last (other training code may have it first,
                     which keys do not tell)
    caffe_ief        the authors' Iterative Error Feedback; has no initial pose
    torch7_hourglass the authors' stacked hourglass of Torch7, a graph
    torch7_rpsm      the stages of the authors' RPSM; has neither trunk nor extremes of poses
    torch7_trunk     the trunk of the authors' RPSM; fed RGB, as in their code
    videopose3d      the authors' VideoPose3D, alone or as "model_pos"; has no statistics
    martinez         PyTorch ports of Martinez' baseline; has no statistics
    martinez_tensorflow the variables of Martinez' TensorFlow code; has no statistics
    seq2seq3d        the variables of Hossain and Little's TensorFlow code; has no statistics
    imagenet_hrnet   timm's or the authors' classifier: a trunk, no heatmaps
    imagenet_resnet  timm's or torchvision's classifier: a trunk, no heatmaps
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from posezoo.checkpoints import image_networks as images, lifters
from posezoo.checkpoints.state import State, complete, has
from posezoo.foreign import printable

Network = tuple[str, dict[str, Any]]  # architecture, constructor arguments

COUNTERS = ("n_averaged", "steps")  # beside the weights of an average: of AveragedModel, of mmengine
BESIDE = 0.01  # of a checkpoint's numbers may be no network's: weights of a loss, counts of a metric
COMPILED = "_orig_mod."  # torch.compile puts it in front of the keys of the module it is called for


@dataclass(frozen=True)
class MissingTensors:
    """Tensors that a format lacks, so that a model keeps its own.

    Attributes:
        prefixes: of their keys, or a function of the model that returns these.
        note: the reason, and the way to set them.
    """

    prefixes: tuple[str, ...] | Callable[[Any], tuple[str, ...]]
    note: str

    def keys(self, model: Any) -> list[str]:
        """Return the keys of the model's tensors that the format lacks."""
        prefixes = self.prefixes(model) if callable(self.prefixes) else self.prefixes
        return [key for key in model.state_dict() if key.startswith(prefixes)]


@dataclass(frozen=True)
class Unused:
    """Tensors of a format that a model does not take.

    Attributes:
        keys: their prefixes, or a function of key and state dict.
        reason: for leaving them out.
    """

    keys: tuple[str, ...] | Callable[[str, State], bool]
    reason: str

    def of(self, state: State) -> list[str]:
        """Return the keys of a state dict that are left out."""
        if callable(self.keys):
            return [key for key in state if self.keys(key, state)]
        return [key for key in state if key.startswith(self.keys)]


@dataclass(frozen=True)
class Format:
    """One row of the table.

    Attributes:
        keys: prefixes that the keys of a file must have; of a tuple, one.
        convert: from the file's keys, without the unused ones, to posezoo's.
        network: finds architecture and constructor arguments of a converted state dict.
        unused: tensors of the file to leave out.
        missing: tensors of the model that the file lacks, or None.
    """

    keys: tuple[str | tuple[str, ...], ...]
    convert: Callable[[State], State]
    network: Callable[[State], Network]
    unused: tuple[Unused, ...] = ()
    missing: MissingTensors | None = None


# the first network whose keys are all there is taken
NETWORKS: tuple[tuple[tuple[str, ...], Callable[[State], Network]], ...] = (
    (("stages.0.beliefs.",), images.find_cpm),
    (("outs.0.weight", "pre.3.conv1.weight"), images.find_hourglass),
    (("final_layer.weight",), images.find_heatmaps),
    (("fc.weight",), images.find_regression),
    (("feedback.fc.weight",), images.find_ief),
    (("expand_conv.weight",), lifters.find_temporal_conv),
    (("linear_stages.0.w1.weight",), lifters.find_martinez),
    (("encoder.gates.weight",), lifters.find_seq2seq3d),
    # no network is inferred from these: their files lack a part, so the caller gives the model
    (("recurrent.0.pose.weight", "trunk.conv1_1.weight"), images.refuse_trunk),
    (("recurrent.0.pose.weight",), images.refuse_rpsm),
    ((), images.refuse_trunk),
)


def infer(state: State) -> Network:
    """Find the architecture and the constructor arguments of a network under posezoo's keys.

    Raises:
        ValueError: the tensors belong to no known network, or to a trunk without a head.

    Examples:
        >>> import torch
        >>> infer({"transition1.0.0.weight": torch.ones(48, 1), "final_layer.weight": torch.ones(16, 48, 1, 1)})
        ('hrnet_w48', {'num_keypoints': 16, 'skeleton': 'mpii16'})
    """
    find = next(find for keys, find in NETWORKS if all(has(state, key) for key in keys))
    return find(state)


def _all_but_backbone(model: Any) -> tuple[str, ...]:
    return tuple(f"{name}." for name in (*getattr(model, "head_keys", ()), "deconv_layers", "normalize"))


def _all_but_trunk(model: Any) -> tuple[str, ...]:
    return tuple(key for key in model.state_dict() if not key.startswith("trunk."))


TRUNK = MissingTensors(_all_but_backbone, "holds a trunk")
STATISTICS = MissingTensors(
    ("normalize.",),
    "has no statistics of keypoints and poses (model.normalize.fit takes them from training data, "
    "model.normalize.fit_image is VideoPose3D's way)",
)
PREPROCESSOR = Unused(("data_preprocessor.",), "the model has the same mean and std as its own buffers")
OPTIMISER = Unused(lifters.is_training_state, "it belongs to the optimiser")
CLASSIFIER = "it belongs to the classifier"
HEADS = (  # mmpose 0.x, 1.x; heatmaps, coordinates
    *("keypoint_head.final_layer.", "head.final_layer."),
    *("keypoint_head.fc.", "head.fc.", "head.pose_head.final_layer."),
)

# the first format whose keys are all there is taken
FORMATS: dict[str, Format] = {
    "posezoo": Format(
        keys=(("normalize.mean", "normalize.keypoints.mean"), ("normalize.std", "normalize.pose3d.std")),
        convert=dict,
        network=infer,
    ),
    "mmpose": Format(
        keys=("backbone.conv1.", ("backbone.layer4.", "backbone.stage4."), HEADS),
        convert=images.mmpose,
        network=images.find_mmpose,
        unused=(
            Unused(("head.vis_head.",), "it predicts the visibility of keypoints, beside the heatmaps"),
            PREPROCESSOR,
        ),
    ),
    "pose_resnet": Format(
        keys=("conv1.", "layer4.", "deconv_layers.", "final_layer."),
        convert=images.pose_resnet,
        network=images.find_heatmaps,
    ),
    "hrnet": Format(
        keys=("conv1.", "transition1.", "stage4.", "final_layer.weight"),
        convert=images.hrnet,
        network=images.find_heatmaps,
    ),
    "pytorchcv": Format(
        keys=(("backbone.init_block.conv.", "backbone.0.conv."), "decoder.unit1.conv.", "decoder.final_block."),
        convert=images.pytorchcv,
        network=images.find_heatmaps,
    ),
    "princeton": Format(
        keys=("pre.0.conv.", "hgs.0.0.", "outs.0.conv."),
        convert=images.princeton,
        network=images.find_hourglass,
        unused=(
            Unused(
                images.skip_without_effect,
                "no output depends on it: a residual that ends as wide as it starts adds its input",
            ),
        ),
    ),
    "bearpaw": Format(
        keys=("conv1.", "layer3.", "hg.0.hg.", "score.0."),
        convert=images.bearpaw,
        network=images.find_hourglass,
    ),
    "mmpose_hourglass": Format(
        keys=(
            "backbone.hourglass_modules.",
            ("keypoint_head.multi_final_layers.", "head.multi_final_layers."),
        ),
        convert=images.mmpose_hourglass,
        network=images.find_heatmaps,
        unused=(
            PREPROCESSOR,
            Unused(
                ("backbone.inters.",),
                "no output depends on it: it leads to a second hourglass, and there is none",
            ),
        ),
    ),
    "mmpose_lifter": Format(
        keys=("backbone.expand_conv.conv.", ("keypoint_head.conv.", "head.conv.")),
        convert=lifters.mmpose_lifter,
        network=infer,  # VideoPose3D or Martinez' baseline
        unused=(
            Unused(
                ("traj_backbone.", "traj_head."),
                "it predicts the position of the pelvis, for semi-supervised training only",
            ),
        ),
    ),
    "videopose3d": Format(
        keys=("expand_conv.", "layers_conv.", "shrink."),
        convert=complete,
        network=lifters.find_temporal_conv,
        missing=STATISTICS,
    ),
    "martinez": Format(
        keys=("w1.", "linear_stages.0.w1.", "w2."),
        convert=complete,
        network=lifters.find_martinez,
        missing=STATISTICS,
    ),
    "martinez_tensorflow": Format(
        keys=("linear_model/w1", "linear_model/two_linear_0/", "linear_model/w4"),
        convert=lifters.martinez_tensorflow,
        network=lifters.find_martinez_tensorflow,
        unused=(OPTIMISER,),
        missing=STATISTICS,
    ),
    "seq2seq3d": Format(
        keys=tuple(f"{wrapper}/input_projection_wrapper/" for wrapper in lifters.LSTM_WRAPPERS.values()),
        convert=lifters.seq2seq3d,
        network=lifters.find_seq2seq3d,
        unused=(
            OPTIMISER,
            Unused(
                tuple(f"{lifters.LSTM_WRAPPERS['encoder']}/{leaf}" for leaf in ("kernel", "bias")),
                "no output depends on it: only the state of the encoder is used",
            ),
        ),
        missing=STATISTICS,
    ),
    "imagenet_hrnet": Format(
        keys=("conv1.", "transition1.", "stage4."),
        convert=complete,
        network=images.refuse_trunk,
        unused=(
            Unused(
                (
                    *("incre_modules.", "downsamp_modules.", "final_layer.", "classifier."),
                    *(f"stage4.2.fuse_layers.{branch}." for branch in (1, 2, 3)),  # of lower resolution
                ),
                CLASSIFIER,
            ),
        ),
        missing=TRUNK,
    ),
    "imagenet_resnet": Format(
        keys=("conv1.", "layer4.", "fc."),
        convert=images.imagenet_resnet,
        network=images.refuse_trunk,
        unused=(Unused(("fc.",), CLASSIFIER),),
        missing=TRUNK,
    ),
    "mmpose_cpm": Format(
        keys=("backbone.stem.0.conv.", "backbone.cpm_stages.", "backbone.out_convs."),
        convert=images.mmpose_cpm,
        network=images.find_cpm,
        unused=(PREPROCESSOR,),
    ),
    "caffe_ief": Format(
        keys=("inception_3a/1x1.", "inception_5b/pool_proj.", "cls3_fc."),
        convert=images.caffe_ief,
        network=images.find_ief,
        unused=(Unused(("loss1/", "loss2/", "cls1_", "cls2_"), "an auxiliary classifier, which only training needs"),),
        missing=MissingTensors(
            ("normalize.", "feedback.initial_pose"),
            "has no initial pose, which is in its -meta.pkl (model.set_initial_pose takes one from training data)",
        ),
    ),
    "torch7_rpsm": Format(
        keys=("0.SpatialConvolution.", "5.Linear.", ("6.LinearNoBias.", "6.Linear."), "7.Linear."),
        convert=images.torch7_rpsm,
        network=images.refuse_rpsm,
        missing=MissingTensors(
            ("normalize.", "trunk.", "codec."),
            "holds RPSM's stages, without the trunk, which is another file, and without the extremes of the training "
            "poses (model.codec.fit takes them from training data)",
        ),
    ),
    "torch7_trunk": Format(
        keys=("0.SpatialConvolution.", "1.SpatialConvolution.", "14.SpatialConvolution."),
        convert=images.torch7_trunk,
        network=images.refuse_trunk,
        unused=(Unused(images.is_behind_trunk, "it is behind the trunk"),),
        missing=MissingTensors(_all_but_trunk, "holds RPSM's trunk"),
    ),
    "torch7_hourglass": Format(
        keys=("0.SpatialConvolution.", "1.SpatialBatchNormalization.", "2.SpatialBatchNormalization.", "106."),
        convert=images.torch7_hourglass,
        network=images.find_hourglass,
    ),
    "caffe_cpm": Format(
        keys=(("conv1_stage1.", "conv1_1."), "Mconv1_stage2.", "Mconv5_stage2."),
        convert=images.caffe_cpm,
        network=images.find_cpm,
    ),
}


def unwrap(state: State) -> State:
    """Remove prefixes that all keys share, such as `model.module.`, until the format is known.

    They are attributes of Lightning modules, of DataParallel, of averages and of training scripts.
    Counters of averages are left out, and so are a few other tensors beside the network, such as
    those of a loss or a metric. Keys of no known format stay as they are.

    Examples:
        >>> keys = ["net.module.expand_conv.weight", "net.module.layers_conv.0", "net.module.shrink.bias"]
        >>> list(unwrap(dict.fromkeys(keys)))
        ['expand_conv.weight', 'layers_conv.0', 'shrink.bias']
    """
    inner = {key.replace(COMPILED, ""): value for key, value in state.items() if key not in COUNTERS}
    while not any(all(has(inner, key) for key in row.keys) for row in FORMATS.values()):
        parts = _parts(inner)
        networks = list(parts) if len(parts) == 1 else _networks(parts)
        rest = [value for name, part in parts.items() if name not in networks for value in part.values()]
        if len(networks) != 1 or "" in parts[networks[0]] or _numel(rest) > BESIDE * _numel(inner.values()):
            return state
        inner = parts[networks[0]]
    return inner


def _parts(state: State) -> dict[str, State]:
    """Split a state dict by the first words of its keys."""
    parts: dict[str, State] = {}
    for key, value in state.items():
        word, _, rest = key.partition(".")
        parts.setdefault(word, {})[rest] = value
    return parts


def _networks(parts: dict[str, State]) -> list[str]:
    """Names of the parts that are whole networks of a known format."""
    whole = [row for row in FORMATS.values() if row.missing is None]
    unwrapped = {name: unwrap(part) for name, part in parts.items() if "" not in part}
    return [name for name, part in unwrapped.items() if any(all(has(part, key) for key in row.keys) for row in whole)]


def _numel(tensors: Iterable[Any]) -> int:
    return sum(getattr(tensor, "numel", int)() for tensor in tensors)


def detect(state: State) -> str:
    """Recognise the format of a published state dict by its keys.

    Raises:
        ValueError: an unknown format; the message names the nearest one and the keys it lacks.

    Examples:
        >>> detect(dict.fromkeys(["conv1.weight", "transition1.0.0.weight", "stage4.0.x", "final_layer.weight"]))
        'hrnet'
    """
    lacking = {name: [key for key in row.keys if not has(state, key)] for name, row in FORMATS.items()}
    for name, absent in lacking.items():
        if not absent:
            return name
    nearest = min(lacking, key=lambda name: len(lacking[name]) / len(FORMATS[name].keys))
    wanted = ", ".join(f"{key if isinstance(key, str) else ' or '.join(key)}*" for key in lacking[nearest])
    first = printable(", ".join(list(state)[:3])) or "none"
    if networks := _networks(_parts(state)):
        shown = printable(", ".join(f"{name}." for name in networks))
        raise ValueError(
            f"unknown format of checkpoint: the networks {shown} are in it, beside other large ones; save one of them "
            f"alone, {{key.removeprefix({networks[0] + '.'!r}): value for ... if key.startswith(...)}}"
        )
    raise ValueError(
        f"unknown format of checkpoint; its first keys are {first}. The nearest is "
        f"{nearest!r}, which would have {wanted} too. Known are {', '.join(FORMATS)}"
    )


def left_out(state: State, format: str) -> tuple[str, ...]:
    """Describe the tensors that `convert` leaves out, one note for each reason."""
    state = unwrap(state)
    notes = []
    for unused in FORMATS[format].unused:
        keys = unused.of(state)
        if keys:
            more = f" and {len(keys) - 1} more" if keys[1:] else ""
            notes.append(f"left out: {printable(keys[0])} {tuple(state[keys[0]].shape)}{more} ({unused.reason})")
    return tuple(notes)


def convert(state: State, format: str) -> State:
    """Convert a published state dict to posezoo's keys; the input is not changed.

    Args:
        state: as read from the file.
        format: a name in `FORMATS`.

    Raises:
        ValueError: an unknown format, or tensors of another format.
    """
    if format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    row, state = FORMATS[format], unwrap(state)
    try:
        unused = {key for tensors in row.unused for key in tensors.of(state)}
        return row.convert({key: value for key, value in state.items() if key not in unused})
    except (LookupError, RuntimeError, TypeError) as error:
        raise ValueError(f"the keys are those of {format!r}, but the tensors are not ({error})") from error
