"""The published weights of lifters, a row each: architecture, tag, file, scores."""

from typing import Any

from posezoo.weights.record import Weights

HUMAN36M_TERMS = "Human3.6M: academic use"
VIDEOPOSE = "videopose/videopose_h36m_"
TRUE, CPN = "true 2D keypoints", "detections of CPN fine-tuned on it"
MPJPE = "MPJPE from the pelvis, PA-MPJPE after Procrustes with scale"


def cmu_lifter(
    architecture: str,
    paper: str,
    sha256: str,
    size: int,
    clean: tuple[float, float, float],
    noisy: tuple[float, float, float],
    **kwargs: Any,
) -> Weights:
    """Make the record of a lifter that is shipped with the package, for keypoints of any camera.

    Args:
        architecture: of the row; the tag is "cmu".
        paper: its arXiv number.
        sha256: of the file.
        size: of the file, bytes.
        clean: MPJPE, PA-MPJPE and MPJVE with true keypoints, mm and mm per frame.
        noisy: the same with Gaussian noise of 10 pixels.
        **kwargs: of the network, beside frame and keypoints.

    Examples:
        >>> cmu_lifter("martinez", "1705.03098", "0" * 64, 9, (62.0, 42.3, 5.5), (77.7, 52.8, 59.7)).sources
        ('package:martinez.cmu',)
    """
    errors = {TRUE.replace(" 2D", ""): clean, "noise of 10 px": noisy}
    return Weights(
        architecture=architecture,
        tag="cmu",
        sources=(f"package:{architecture}.cmu",),
        sha256=sha256,
        size=size,
        kwargs={"frame": "person", "num_keypoints": 17, "skeleton": "h36m17", **kwargs},
        skeleton="h36m17",
        metrics={
            f"CMU, held-out people, {keypoints}": dict(zip(("MPJPE", "PA-MPJPE", "MPJVE"), values, strict=True))
            for keypoints, values in errors.items()
        },
        metrics_by="posezoo",
        protocol="24 recordings by two virtual cameras; mm from the pelvis, velocity in mm per frame at 50 fps",
        data="CMU motion capture without 03 07 29 45 114 soccer directing_traffic",
        data_license="free for all uses, not to be resold as such; acknowledge mocap.cs.cmu.edu, NSF EIA-0196217",
        license="Apache-2.0",
        paper=f"https://arxiv.org/abs/{paper}",
    )


def mmpose_lifter(
    architecture: str, tag: str, file: str, keypoints: str, scores: tuple[float, float], **kwargs: Any
) -> Weights:
    """Return the record of a lifter of mmpose, trained and tested with the same `keypoints`."""
    return Weights(
        architecture=architecture,
        tag=tag,
        sources=(f"https://download.openmmlab.com/mmpose/body3d/{file}.pth",),
        sha256=file.rpartition("-")[2].partition("_")[0],
        kwargs={"num_keypoints": 17, "skeleton": "h36m17", **kwargs},
        skeleton="h36m17",
        metrics={f"Human3.6M S9 and S11, {keypoints}": dict(zip(("MPJPE", "PA-MPJPE"), scores, strict=True))},
        metrics_by="mmpose",
        protocol=f"{MPJPE}; no mirror image",
        data="Human3.6M" + (", of which S1 with 3D poses" if "semi" in file else ""),
        data_license=HUMAN36M_TERMS,
        license="Apache-2.0",
        origin="https://github.com/open-mmlab/mmpose",
        format="mmpose_lifter",
    )


def videopose3d(
    architecture: str, tag: str, file: str, inputs: str, metrics: dict[str, dict[str, float]], protocol: str
) -> Weights:
    """Make the record of a file of the VideoPose3D authors, which holds no statistics."""
    human_eva = "humaneva" in file
    skeleton = "humaneva15" if human_eva else "h36m17"
    return Weights(
        architecture=architecture,
        tag=tag,
        kwargs={"num_keypoints": 15 if human_eva else 17, "skeleton": skeleton, "input_keypoints": inputs},
        skeleton=skeleton,
        metrics=metrics,
        metrics_by="authors",
        protocol=protocol,
        data="HumanEva-I" if human_eva else "Human3.6M",
        data_license="HumanEva: research" if human_eva else HUMAN36M_TERMS,
        license="CC-BY-NC-4.0",
        paper="https://arxiv.org/abs/1811.11742",
        origin=f"https://dl.fbaipublicfiles.com/video-pose-3d/{file}.bin",
        format="videopose3d",
    )


LIFTERS: tuple[Weights, ...] = (
    cmu_lifter(
        "martinez",
        "1705.03098",
        "b63efd5c399254bcd29db4b0212def61b09132ce71215456cf269a4ed7f967ad",
        8_608_884,
        clean=(61.6, 42.0, 5.2),
        noisy=(80.9, 52.7, 70.8),
        dropout=0.25,
    ),
    cmu_lifter(
        "seq2seq3d",
        "1711.08585",
        "3590c54d83c763373ee5bddfa09ee15dce596f7517a9798c938c55bc4149c4d8",
        8_544_444,
        clean=(64.7, 43.2, 6.8),
        noisy=(70.1, 47.0, 26.9),
        dropout=0.1,
        hidden_size=512,
        recurrent_dropout=0.1,
    ),
    cmu_lifter(
        "temporal_conv_27",
        "1811.11742",
        "1691796f37fcca3a2e4312535fc170554e37cabf9ab63bc28918776740cd198b",
        4_375_946,
        clean=(62.4, 42.7, 5.7),
        noisy=(66.0, 45.8, 20.2),
        channels=512,
    ),
    mmpose_lifter(
        "martinez_mmpose",
        "h36m_gt2d",
        "simple_baseline/simple3Dbaseline_h36m-f0ad73a4_20210419",
        TRUE,
        (43.4, 34.3),
    ),
    mmpose_lifter(
        "temporal_conv_27",
        "h36m_gt2d",
        f"{VIDEOPOSE}27frames_fullconv_supervised-fe8fbba9_20210527",
        TRUE,
        (40.0, 30.1),
    ),
    mmpose_lifter(
        "temporal_conv_27",
        "h36m_cpn_1frame",
        f"{VIDEOPOSE}1frame_fullconv_supervised_cpn_ft-5c3afaed_20210527",
        CPN,
        (52.9, 41.3),
        filter_widths=[1] * 5,
    ),
    mmpose_lifter(
        "temporal_conv_27",
        "h36m_gt2d_semi",
        f"{VIDEOPOSE}27frames_fullconv_semi-supervised-54aef83b_20210527",
        TRUE,
        (58.1, 42.8),
    ),
    mmpose_lifter(
        "temporal_conv_27",
        "h36m_cpn_semi",
        f"{VIDEOPOSE}27frames_fullconv_semi-supervised_cpn_ft-71be9cde_20210527",
        CPN,
        (67.4, 50.1),
    ),
    mmpose_lifter(
        "temporal_conv_81",
        "h36m_gt2d",
        f"{VIDEOPOSE}81frames_fullconv_supervised-1f2d1104_20210527",
        TRUE,
        (38.9, 29.2),
    ),
    mmpose_lifter(
        "temporal_conv_243",
        "h36m_cpn",
        f"{VIDEOPOSE}243frames_fullconv_supervised_cpn_ft-88f5abbb_20210527",
        CPN,
        (47.9, 38.0),
    ),
    mmpose_lifter(
        "temporal_conv_243",
        "h36m_gt2d",
        f"{VIDEOPOSE}243frames_fullconv_supervised-880bea25_20210527",
        TRUE,
        (37.6, 28.3),
    ),
    videopose3d(
        "temporal_conv_27",
        "humaneva_detectron",
        "pretrained_humaneva15_detectron",
        "humaneva15",
        {"HumanEva-I validation, detections of Mask R-CNN": {"MPJPE": 33.0}},
        "MPJPE from the pelvis; one network for walking, jogging and boxing; averaged with the mirror image",
    ),
    videopose3d(
        "temporal_conv_243",
        "h36m_cpn_authors",
        "pretrained_h36m_cpn",
        "h36m17",
        {f"Human3.6M S9 and S11, {CPN}": {"MPJPE": 46.8, "PA-MPJPE": 36.5}},
        f"{MPJPE}; averaged with the mirror image",
    ),
    videopose3d("temporal_conv_243", "h36m_detectron_coco", "pretrained_h36m_detectron_coco", "coco17", {}, ""),
)
