"""The statements of the five source documents: where each is in the code, and which command runs it.

`docs/generate.py` writes `docs/papers.md` from this table. `tests/test_papers.py` checks that every
place, script and option exists. A place is `file:name`; a departure says why.
"""

from typing import NamedTuple


class Row(NamedTuple):
    """A statement, its place, the command that runs it, and a departure or reading."""

    statement: str
    place: str
    command: str = ""
    note: str = ""


POSERNN, DEEPPOSE = "posezoo/models/posernn.py", "posezoo/models/deeppose.py"
RPSM, SEQ2SEQ, LOSSES = "posezoo/models/rpsm.py", "posezoo/models/seq2seq3d.py", "posezoo/losses.py"
RECIPES, VIDEO, LIFTER = "examples/recipes.py", "examples/train_rpsm_video.py", "examples/train_lifter_video.py"
PCK, POSE3D = "posezoo/metrics/pck.py", "posezoo/metrics/pose3d.py"
EVALUATE = "examples/evaluate.py"
RUN_POSERNN = "examples/train_posernn.py --recipe paper --data mpii:MPII"
RUN_DEEPPOSE = "examples/train_deeppose.py --recipe paper --data lsp:LSP lspet:LSPET"
RUN_RPSM = "examples/train_rpsm_video.py --data h36m:H36M --frames VIDEOS --boxes masks --trunk TRUNK"
RUN_SEQ2SEQ = "examples/train_lifter_video.py --data h36m:H36M"

PAPERS: dict[str, tuple[Row, ...]] = {
    "PoseRNN (Chen & Low, 2016)": (
        Row("MPII, 16 joints per person", "posezoo/data/mpii.py:MPII", RUN_POSERNN),
        Row("crops around one person, the joints and a margin", "posezoo/data/paper_crops.py:CROPS", RUN_POSERNN,
            "the margin of 20 pixels is the code's; `CROPS[\"posernn\"]`"),
        Row("inputs of 224 x 224", f"{POSERNN}:SIZE"),
        Row("VGG16's convolutions, two dense layers (Table 1)", f"{POSERNN}:PoseCNN", f"{RUN_POSERNN} --decoder cnn",
            "the table's last layer is 19 wide, here 2 K"),
        Row("batch normalisation after each non-linearity", f"{POSERNN}:VGG16Pose", "",
            "running statistics in tests; `bn_order=\"conv_bn_relu\"` is the code's order"),
        Row("32 numbers, (x, y) of 16 joints", f"{POSERNN}:PoseCNN"),
        Row("the LSTM's equations", f"{POSERNN}:LSTMCell", "", "forget bias of 1, as TensorFlow"),
        Row("the CNN gives the first state and the input", f"{POSERNN}:PoseLSTM", "", "`init` has the readings"),
        Row("two layers of 128, 16 steps", f"{POSERNN}:LAYERS", f"{RUN_POSERNN} --decoder lstm"),
        Row("two numbers per step from the state", f"{POSERNN}:PoseLSTM", "", "`head` has the readings"),
        Row("attention on 196 annotations of 512", f"{POSERNN}:PoseAttentionLSTM",
            f"{RUN_POSERNN} --decoder attention"),
        Row("an MLP scores each annotation from it and the state", f"{POSERNN}:Attention", "",
            "the code's does not run; Xu et al.'s"),
        Row("the same two-layer LSTM in the attention variant", f"{POSERNN}:PoseAttentionLSTM", "",
            "`layers=1, hidden=512` is the code's; the first state is a linear map of the mean annotation"),
        Row("l2 loss over all steps", f"{LOSSES}:keypoint_l2", RUN_POSERNN),
        Row("Adam at 1e-3, halved every 1,000 iterations", f"{RECIPES}:RECIPES", RUN_POSERNN),
        Row("PCKh, half the head", "posezoo/metrics/tables.py:mpii_pckh",
            "examples/evaluate.py --data mpii:MPII --model MODEL"),
        Row("RMSE over all joints and examples", f"{PCK}:rmse_total", "posezoo evaluate PRED --gt GT --metric rmse"),
        Row("Table 2: 32.8, 21.5", f"{RECIPES}:RECIPES", RUN_POSERNN, "not reproduced: MPII is not available here"),
    ),
    "DeepPose (Toshev & Szegedy, CVPR 2014)": (
        Row("normalisation by a box and its inverse (1, 2)", "posezoo/geometry/affine.py:normalize_points"),
        Row("seven layers, 220 x 220", f"{DEEPPOSE}:Trunk", "", "padding of 4, so that 220 becomes 55"),
        Row("local response normalisation", f"{DEEPPOSE}:LRN", "", "constants are AlexNet's; `lrn=\"caffe\"`"),
        Row("about 40 M parameters", f"{DEEPPOSE}:WIDTHS", "", "the text's widths make 58.4 M; `widths=`"),
        Row("loss (4) over labelled joints", f"{LOSSES}:keypoint_mse", RUN_DEEPPOSE, "mean per person"),
        Row("mini-batches of 128, AdaGrad at 0.0005", f"{RECIPES}:RECIPES", RUN_DEEPPOSE),
        Row("randomly translated crops and flips", f"{RECIPES}:RECIPES", RUN_DEEPPOSE,
            "how far is not stated: a tenth of the box"),
        Row("dropout of 0.6 in the dense layers", f"{DEEPPOSE}:DROPOUT", "", "read as the probability of dropping"),
        Row("first box: the whole image of LSP", "posezoo/data/paper_crops.py:CROPS", RUN_DEEPPOSE),
        Row("first box on FLIC: a detected face times a constant", "posezoo/data/detector_boxes.py:fit_padding",
            "examples/train_deeppose.py --recipe paper --data flic:FLIC --detector DETECTOR",
            "any detector; fitted on the training people"),
        Row("later stages: squares of sigma diameters (5-7)", f"{DEEPPOSE}:DeepPose", RUN_DEEPPOSE,
            "Equation 6 would count the place twice; once here"),
        Row("later stages see higher resolution", f"{DEEPPOSE}:DeepPose", RUN_DEEPPOSE),
        Row("one architecture, own parameters per stage", f"{DEEPPOSE}:DeepPose"),
        Row("diameter: shoulder to opposite hip", f"{PCK}:torso_diameter"),
        Row("simulated predictions: normal, observed mean and variance",
            "posezoo/refinement.py:displacement_statistics", RUN_DEEPPOSE, "in units of the diameter"),
        Row("an example and a joint drawn uniformly, 40 per joint", "posezoo/refinement.py:DRAWS", RUN_DEEPPOSE,
            "one draw of every joint per epoch, 40 epochs"),
        Row("objective (8)", "examples/train_deeppose.py:later_stage_loss", RUN_DEEPPOSE),
        Row("sigma 1.0 on FLIC, 2.0 on LSP", f"{DEEPPOSE}:SIGMA_LSP", RUN_DEEPPOSE),
        Row("three stages", f"{RECIPES}:RECIPES", RUN_DEEPPOSE),
        Row("S and sigma by PDJ@0.2 on 50 images", "examples/select_deeppose.py:select",
            "examples/select_deeppose.py --recipe paper --data lsp:LSP lspet:LSPET"),
        Row("FLIC, 4,000 and 1,000 people, 10 joints", "posezoo/data/flic.py:FLIC",
            "examples/train_deeppose.py --recipe paper --data flic:FLIC",
            "3,987 and 1,016 in the file; 9 of its 11 annotated points"),
        Row("LSP and its extension, 11,000 and 1,000", "examples/data_sources.py:open_data", RUN_DEEPPOSE),
        Row("PCP: both ends within half the limb", f"{PCK}:pcp",
            "posezoo evaluate PRED --gt GT --metric pcp --skeleton lsp14"),
        Row("PDJ, fractions of the torso", f"{PCK}:pdj", "posezoo evaluate PRED --gt GT --metric pdj --skeleton lsp14"),
        Row("Table 1: four limbs", "posezoo/metrics/tables.py:lsp_pcp",
            "examples/evaluate.py --data lsp:LSP --model MODEL",
            "the total is the mean of ten limbs"),
        Row("Figures 3 to 5: detection rates by distance", f"{PCK}:pck_curve",
            f"{EVALUATE} --data lsp:LSP --model MODEL --no-flip --thresholds 0.05 0.1 0.15 0.2",
            "Figure 5, by stage, with the model of each stage; `evaluate_stages.py` prints all stages"),
        Row("Table 2: Image Parse", "posezoo/data/image_parse.py:ImageParse",
            f"{EVALUATE} --data parse:PARSE --model MODEL --no-flip", "the 205 test images"),
        Row("Figure 7: Buffy", "posezoo/data/buffy.py:Buffy",
            f"{EVALUATE} --data buffy:BUFFY --model MODEL --detector DETECTOR --no-flip --thresholds 0.05 0.1 0.15 0.2",
            "fractions of the torso's segment, since Buffy has no hips"),
        Row("0.1 s per image on 12 cores", "benchmarks/models.py:main", "benchmarks/models.py"),
    ),
    "The review": (
        Row("DeepPose: AlexNet, 2 k outputs, cascade", f"{DEEPPOSE}:DeepPose", RUN_DEEPPOSE),
        Row("Efficient Object Localization: banks of several resolutions", "posezoo/models/tompson.py:Tompson",
            "examples/train_tompson.py --recipe paper --data mpii:MPII --phase coarse"),
        Row("a fine network on cropped shared features, trained jointly", "posezoo/models/tompson.py:FineModel",
            "examples/train_tompson.py --recipe paper --data mpii:MPII --phase joint --init RUN"),
        Row("with a graphical model", "posezoo/spatial_model.py:SpatialModel",
            "examples/train_spatial_model.py --data flic:FLIC --torso --joint --detector MODEL --init RUN"),
        Row("MSE, Gaussians of about 1.5 pixels", "examples/train_tompson.py:SIGMA",
            "examples/train_tompson.py --recipe paper --data mpii:MPII --phase coarse"),
        Row("CPM: features, predictor, beliefs as input", "posezoo/models/cpm.py:CPM",
            "examples/train_cpm.py --recipe paper --data mpii:MPII"),
        Row("CPM: usually three stages", "posezoo/models/cpm.py:CPM", "", "6 and 4, as published; `num_stages`"),
        Row("CPM: supervision of each stage, of everybody in stage 1", "posezoo/models/cpm.py:cpm_targets",
            "examples/train_cpm.py --recipe paper --data mpii:MPII"),
        Row("CPM: results at seven scales", "posezoo/models/cpm.py:CPM_SCALES",
            "examples/evaluate.py --data mpii:MPII --model MODEL --scales cpm --no-flip"),
        Row("IEF: y + f(x with g(y)), T times", "posezoo/models/ief.py:IEF",
            "examples/train_ief.py --recipe paper --data mpii:MPII"),
        Row("IEF: bounded targets, quadratic loss", f"{LOSSES}:bounded_correction",
            "examples/train_ief.py --recipe paper --data mpii:MPII"),
        Row("IEF: g is learnable", "posezoo/models/ief.py:IEF", "", "fixed, as in the authors' code"),
        Row("Hourglass: pooling, upsampling, skips, eight stacks", "posezoo/models/hourglass.py:StackedHourglass",
            "examples/train_hourglass.py --recipe paper --data mpii:MPII"),
        Row("Simple Baselines: ResNet and deconvolutions", "posezoo/models/simple_baseline.py:SimpleBaseline",
            "examples/train_heatmap.py --recipe paper --data coco:COCO --model simple_baseline_resnet50"),
        Row("Gaussians of 1 pixel", f"{RECIPES}:TOP_DOWN", "", "2 cells, as in the authors' code"),
        Row("HRNet: parallel branches, fusion, MSE", "posezoo/models/hrnet.py:HRNet",
            "examples/train_heatmap.py --recipe paper --data coco:COCO --model hrnet_w32"),
        Row("PCP, PCK, PCKh, PDJ", f"{PCK}:pckh", "posezoo evaluate PRED --gt GT --metric pckh"),
        Row("3DPCK at 150 mm", f"{POSE3D}:pck3d", "posezoo evaluate PRED --gt GT --metric pck3d"),
        Row("OKS and AP: flip test, rescoring, OKS-NMS", "examples/evaluate.py:coco_results",
            "examples/evaluate.py --data coco:COCO --model MODEL --detections FILE"),
    ),
    "RPSM (Lin et al., CVPR 2017)": (
        Row("Equation 1, one adaption and one recurrent module", f"{RPSM}:RPSM", RUN_RPSM,
            "`share_stages=False` is the code"),
        Row("first inputs are zeros, the last stage is the result", f"{RPSM}:RPSM"),
        Row("15 shared 3x3 convolutions (Table 1)", "posezoo/layers.py:PoseTrunk", "",
            "three poolings, as in the table"),
        Row("two own convolutions per stage", "posezoo/recurrent_pose.py:SpecialisedConvs"),
        Row("features of 128 x 46 x 46 from 368 x 368", f"{RPSM}:STRIDE"),
        Row("adaption: two 5x5 of stride 2, pooling, 1024", "posezoo/recurrent_pose.py:FeatureAdaption", "",
            "padding of 2"),
        Row("an LSTM of 1024, 51 outputs", "posezoo/recurrent_pose.py:RecurrentPose", "", "no peepholes, as the code"),
        Row("features, state and previous pose are concatenated", "posezoo/recurrent_pose.py:RecurrentPose", "",
            "three matrices, the same function; other keypoints change two of them"),
        Row("Equation 2, alpha of 1", f"{LOSSES}:pose_sequence_mse", RUN_RPSM, "the mean, 1/51 of the sum"),
        Row("trunk trained on MPII under one layer, SGD", f"{VIDEO}:train_trunk",
            "examples/train_rpsm_video.py --phase trunk --data mpii:MPII", "rates are those of CPM"),
        Row("the trunk is frozen", f"{VIDEO}:stages_on_trunk", RUN_RPSM),
        Row("clips of 5 frames within a video", "posezoo/data/windows.py:Windows", RUN_RPSM),
        Row("Human3.6M: five and two subjects, 2 frames per second", "posezoo/data/human36m.py:Human36M", RUN_RPSM,
            "frames 0, 25, 50 of each video"),
        Row("HumanEva-I: Train and Validate of S1 to S3, 14 joints", "posezoo/data/humaneva.py:HumanEva",
            "examples/train_rpsm_video.py --data humaneva:HUMANEVA --frames VIDEOS --trunk TRUNK"),
        Row("square crops by the data set's boxes, 368 x 368", "posezoo/data/clips.py:ClipCrop", RUN_RPSM),
        Row("scales of 0.9 to 1.1", f"{VIDEO}:SCALE", RUN_RPSM, "one per clip; the code draws one per frame"),
        Row("max-min normalisation over the training frames", "posezoo/layers.py:PoseCodec", RUN_RPSM,
            "bones have mean lengths first, as in the code; `rescale_bones`"),
        Row("Xavier initialisation", f"{RPSM}:RPSM", "", "`init=\"torch7\"` is the code"),
        Row("Adam at 1e-3, decay of 1e-4, 50 epochs", f"{VIDEO}:DEFAULTS", RUN_RPSM, "the code has 1e-4"),
        Row("error up to translation", f"{POSE3D}:PROTOCOLS", "posezoo evaluate PRED --gt GT --protocol rpsm-h36m",
            "of the root; of the centroid on HumanEva"),
        Row("Table 4: one, two, three stages", f"{VIDEO}:main", f"{RUN_RPSM} --stages 2"),
        Row("Table 4: seq_1, seq_5, seq_10", f"{VIDEO}:main", f"{RUN_RPSM} --clip-length 10"),
        Row("Table 4: sharing", f"{VIDEO}:main", f"{RUN_RPSM} --sharing"),
        Row("Table 4: no_MPII", f"{VIDEO}:Frames",
            "examples/train_rpsm_video.py --phase trunk --data h36m:H36M --frames VIDEOS"),
        Row("Table 4: errors fall with stages and clip length", "examples/train_rpsm.py:table", "",
            "on renders with the clip length, not clearly with the stages (`docs/results.md`)"),
        Row("Tables 1 to 3", f"{VIDEO}:main", RUN_RPSM,
            "not reproduced: Human3.6M and HumanEva are not available here"),
        Row("trained weights", f"{RPSM}:rpsm_torch7", "",
            "the authors' files are read, but not distributed; `rpsm.people_192x192` is trained on renders"),
    ),
    "Hossain & Little (ECCV 2018)": (
        Row("encoder over 2D, final state to the decoder", f"{SEQ2SEQ}:Seq2Seq3D", RUN_SEQ2SEQ),
        Row("reversed input, START of ones, residual decoder", f"{SEQ2SEQ}:Seq2Seq3D", RUN_SEQ2SEQ),
        Row("layer normalisation, recurrent dropout", f"{SEQ2SEQ}:Cell", RUN_SEQ2SEQ,
            "dropout of the input, the output and the candidate, as the code"),
        Row("camera frame, relative to the root, which is not predicted", f"{LIFTER}:relative", RUN_SEQ2SEQ),
        Row("z-scores of 2D and 3D", "posezoo/layers.py:PoseNormalize", RUN_SEQ2SEQ),
        Row("Equations 1 to 3; alpha 1, beta 5", f"{LOSSES}:smooth_pose_mse", RUN_SEQ2SEQ),
        Row("weights of torso, mid and end of limbs", f"{LIFTER}:joint_weights", RUN_SEQ2SEQ,
            "`--joint-weights code` is the authors' code"),
        Row("windows of 5 frames at every frame, past frames only", "posezoo/data/windows.py:Windows", RUN_SEQ2SEQ),
        Row("Adam at 1e-5, exponential decay, 32 windows, 100 epochs", f"{RECIPES}:LIFTERS", RUN_SEQ2SEQ,
            "0.96 every 100,000 iterations, as the code"),
        Row("one model for all actions", f"{LIFTER}:main", RUN_SEQ2SEQ),
        Row("protocols #1 and #2, means by video", f"{POSE3D}:PROTOCOLS",
            "posezoo evaluate PRED --gt GT --protocol hossain-1", "the second includes the scale, as the code today"),
        Row("HumanEva-I after rigid alignment, by subject and action", f"{POSE3D}:humaneva",
            "examples/train_lifter_video.py --data humaneva:HUMANEVA"),
        Row("2D by a fine-tuned hourglass, its order", "posezoo/data/human36m.py:HOURGLASS_ORDER",
            f"{RUN_SEQ2SEQ} --keypoints FILE"),
        Row("fine-tuning: 250 iterations of 3, 2.5e-4, 440 to 256", "examples/fine_tune_hourglass.py:SIDE",
            "examples/fine_tune_hourglass.py --data h36m:H36M --frames VIDEOS --model MODEL"),
        Row("mean and median of 5 frames", "posezoo/data/filters.py:median_filter", f"{RUN_SEQ2SEQ} --model martinez"),
        Row("Table 3: noise of 5 to 20 pixels", f"{LIFTER}:NOISE", f"{RUN_SEQ2SEQ} --noise 0 5 10 15 20"),
        Row("Table 4: no weights of joints", f"{LIFTER}:main", f"{RUN_SEQ2SEQ} --no-joint-weights"),
        Row("Table 4: no temporal term", f"{LIFTER}:main", f"{RUN_SEQ2SEQ} --temporal-weight 0"),
        Row("Table 4: no recurrent dropout", f"{LIFTER}:main", f"{RUN_SEQ2SEQ} --no-recurrent-dropout"),
        Row("Table 4: no layer normalisation", f"{LIFTER}:main", f"{RUN_SEQ2SEQ} --no-layer-norm"),
        Row("Table 4: neither of the two", f"{LIFTER}:main", f"{RUN_SEQ2SEQ} --no-layer-norm --no-recurrent-dropout"),
        Row("Table 4: no residual", f"{LIFTER}:main", f"{RUN_SEQ2SEQ} --no-residual"),
        Row("Figure 3: T of 2 to 10", f"{LIFTER}:main", f"{RUN_SEQ2SEQ} --window 10"),
        Row("Tables 1, 2 and 5", f"{LIFTER}:main", RUN_SEQ2SEQ,
            "not reproduced: the data are not available here; corrected by the authors to 58.25 and 44.09 mm"),
    ),
}  # fmt: skip


def page() -> str:
    """Text of `docs/papers.md`."""
    lines = ["# The papers", "", "<!-- generated by docs/generate.py from docs/papers.py -->", ""]
    lines += ["Each statement of the source documents, its place in the code, and the command that runs it. Words in"]
    lines += ["capitals stand for your folders, files and models. `--recipe paper` is a paper's own training,"]
    lines += ["`examples/recipes.py` has all numbers. Scripts that train also take `--output FOLDER`. The last column"]
    lines += ["has readings and departures.", ""]
    for title, rows in PAPERS.items():
        lines += [f"## {title}", "", "| Statement | Place | Command | Reading or departure |", "|---|---|---|---|"]
        for row in rows:
            command = f"`{'python ' if row.command[:9] != 'posezoo e' else ''}{row.command}`" if row.command else ""
            lines.append(f"| {row.statement} | `{row.place}` | {command} | {row.note} |")
        lines.append("")
    return "\n".join(lines)
