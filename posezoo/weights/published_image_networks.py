"""Published weights of networks for images and clips, a row each: name, tag, file, score.

See `posezoo.weights.published` for the meaning of a tag.
"""

import re
from dataclasses import replace
from typing import Any

from posezoo.skeletons import get_skeleton
from posezoo.weights.record import DECODING, Weights

MPII_TERMS, COCO_TERMS = "MPII: non-commercial research", "COCO terms of use"
HUMAN36M_TERMS = "Human3.6M: academic use"
# keypoints of the network trained here: LSP's 14, and the face of COCO
BODY_AND_FACE = (
    *get_skeleton("lsp14").keypoints,
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
)
TRUE_BOXES, DETECTIONS = "annotated boxes", "detections of person AP 56.4"

# ---------------------------------------------------------------------------------------------------------------------
# Files of mmpose

TESTS = {  # data of a tag -> skeleton, test set, metric, person boxes, training data, its terms
    "coco": ("coco17", "COCO val2017", "AP", DETECTIONS, "COCO train2017", COCO_TERMS),
    "coco_aic": (
        "coco17",
        "COCO val2017",
        "AP",
        DETECTIONS,
        "COCO train2017 and AI Challenger",
        f"{COCO_TERMS}; AI Challenger: research",
    ),
    "coco_aic19": (
        "coco_aic19",
        "COCO val2017",
        "AP",
        DETECTIONS,
        "COCO train2017 and AI Challenger",
        f"{COCO_TERMS}; AI Challenger: research",
    ),
    "mpii": ("mpii16", "MPII val", "PCKh@0.5", TRUE_BOXES, "MPII", MPII_TERMS),
    "aic": ("aic14", "AI Challenger val", "AP", TRUE_BOXES, "AI Challenger", "AI Challenger: research"),
    "crowdpose": ("crowdpose14", "CrowdPose test", "AP", "detections of YOLOv3", "CrowdPose", "CrowdPose: research"),
    "posetrack18": (
        "posetrack17",
        "PoseTrack18 val",
        "mAP",
        TRUE_BOXES,
        "COCO train2017, then PoseTrack18",
        f"{COCO_TERMS}; PoseTrack: non-commercial",
    ),
    "jhmdb": (
        "jhmdb15",
        "sub-JHMDB test",
        "PCK@0.2 of the person's size",
        TRUE_BOXES,
        "MPII, then sub-JHMDB",
        f"{MPII_TERMS}; JHMDB: none stated",
    ),
}
FORMATS = {"hourglass52": "mmpose_hourglass", "cpm_bn_6s": "mmpose_cpm"}  # others: "mmpose"
V1 = "v1/body_2d_keypoint/topdown_heatmap/coco"
RESNET_0, RESNET_1 = "top_down/resnet/res", f"{V1}/td-hm_res"
VISIBILITY = f"{V1}/td-hm-vis_res"  # with a second head for visibility, which is left out
HRNET_0, HRNET_1 = "top_down/hrnet/hrnet", f"{V1}/td-hm_hrnet"
CPM_1 = f"{V1}/td-hm_cpm"
AUGMENTED = "top_down/augmentation/hrnet"
REGRESSION = "v1/body_2d_keypoint/topdown_regression/coco/td-reg"

SITE = "https://download.openmmlab.com/mmpose"
FORMER_SITE = "https://openmmlab.oss-cn-hangzhou.aliyuncs.com/mmpose"  # mmpose's first model zoo, of July 2020

# architecture -> rows of tag, file below SITE, score
OPENMMLAB: dict[str, tuple[tuple[str, str, float], ...]] = {
    "simple_baseline_resnet50": (
        ("coco_256x192", f"{RESNET_1}50_8xb64-210e_coco-256x192-04af38ce_20220923.pth", 0.718),
        ("coco_384x288", f"{RESNET_1}50_8xb64-210e_coco-384x288-7b8db90e_20220923.pth", 0.731),
        ("mpii_256x256", f"{RESNET_0}50_mpii_256x256-418ffc88_20200812.pth", 0.882),
        ("coco_256x192_v0", f"{RESNET_0}50_coco_256x192-ec54d7f3_20200709.pth", 0.718),
        ("coco_384x288_v0", f"{RESNET_0}50_coco_384x288-e6f795e9_20200709.pth", 0.731),
        ("coco_256x192_dark", f"{RESNET_1}50_dark-8xb64-210e_coco-256x192-c129dcb6_20220926.pth", 0.724),
        ("coco_384x288_dark", f"{RESNET_1}50_dark-8xb64-210e_coco-384x288-8b90b538_20220926.pth", 0.735),
        ("coco_256x192_dark_v0", f"{RESNET_0}50_coco_256x192_dark-43379d20_20200709.pth", 0.724),
        ("coco_384x288_dark_v0", f"{RESNET_0}50_coco_384x288_dark-33d3e5e5_20210203.pth", 0.735),
        ("coco_256x192_fp16", f"{RESNET_1}50_fp16-8xb64-210e_coco-256x192-463da051_20220927.pth", 0.716),
        ("coco_aic_256x192", f"{VISIBILITY}50_8xb64-210e_coco-aic-256x192-merge-21815b2c_20230726.pth", 0.729),
        ("crowdpose_256x192", f"{RESNET_0}50_crowdpose_256x192-c6a526b6_20201227.pth", 0.637),
        ("posetrack18_256x192", f"{RESNET_0}50_posetrack18_256x192-a62807c7_20201028.pth", 0.812),
        ("jhmdb1_256x256", f"{RESNET_0}50_jhmdb_sub1_256x256-932cb3b4_20201122.pth", 0.961),
        ("jhmdb2_256x256", f"{RESNET_0}50_jhmdb_sub2_256x256-83d606f7_20201122.pth", 0.950),
        ("jhmdb3_256x256", f"{RESNET_0}50_jhmdb_sub3_256x256-c4ec1a0b_20201122.pth", 0.967),
    ),
    "simple_baseline_resnet101": (
        ("coco_256x192", f"{RESNET_1}101_8xb64-210e_coco-256x192-065d3625_20220926.pth", 0.728),
        ("coco_384x288", f"{RESNET_0}101_coco_384x288-8c71bdc9_20200709.pth", 0.748),
        ("mpii_256x256", f"{RESNET_0}101_mpii_256x256-416f5d71_20200812.pth", 0.888),
        ("coco_256x192_v0", f"{RESNET_0}101_coco_256x192-6e6babf0_20200708.pth", 0.726),
        ("coco_256x192_dark", f"{RESNET_1}101_dark-8xb64-210e_coco-256x192-528ec248_20220926.pth", 0.733),
        ("coco_384x288_dark", f"{RESNET_1}101_dark-8xb64-210e_coco-384x288-487d40a4_20220926.pth", 0.749),
        ("coco_256x192_dark_v0", f"{RESNET_0}101_coco_256x192_dark-64d433e6_20200812.pth", 0.732),
        ("coco_384x288_dark_v0", f"{RESNET_0}101_coco_384x288_dark-cb45c88d_20210203.pth", 0.749),
        ("aic_256x192", f"{RESNET_0}101_aic_256x192-79b35445_20200826.pth", 0.294),
        ("crowdpose_256x192", f"{RESNET_0}101_crowdpose_256x192-8f5870f4_20201227.pth", 0.647),
        ("crowdpose_320x256", f"{RESNET_0}101_crowdpose_320x256-c88c512a_20201227.pth", 0.661),
    ),
    "simple_baseline_resnet152": (
        ("coco_256x192", f"{RESNET_1}152_8xb32-210e_coco-256x192-0345f330_20220928.pth", 0.736),
        ("coco_384x288", f"{RESNET_1}152_8xb32-210e_coco-384x288-7fbb906f_20220927.pth", 0.750),
        ("mpii_256x256", f"{RESNET_0}152_mpii_256x256-3ecba29d_20200812.pth", 0.889),
        ("coco_256x192_v0", f"{RESNET_0}152_coco_256x192-f6e307c2_20200709.pth", 0.735),
        ("coco_384x288_v0", f"{RESNET_0}152_coco_384x288-3860d4c9_20200709.pth", 0.750),
        ("coco_256x192_dark", f"{RESNET_1}152_dark-8xb32-210e_coco-256x192-f754df5f_20221031.pth", 0.743),
        ("coco_384x288_dark", f"{RESNET_1}152_dark-8xb32-210e_coco-384x288-329f8454_20221031.pth", 0.757),
        ("coco_256x192_dark_v0", f"{RESNET_0}152_coco_256x192_dark-ab4840d5_20200812.pth", 0.745),
        ("coco_384x288_dark_v0", f"{RESNET_0}152_coco_384x288_dark-d3b8ebd7_20210203.pth", 0.757),
        ("crowdpose_256x192", f"{RESNET_0}152_crowdpose_256x192-dbd49aba_20201227.pth", 0.656),
    ),
    "hrnet_w32": (
        ("coco_256x192", f"{HRNET_1}-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth", 0.749),
        ("coco_384x288", f"{HRNET_1}-w32_8xb64-210e_coco-384x288-ca5956af_20220909.pth", 0.761),
        ("mpii_256x256", f"{HRNET_0}_w32_mpii_256x256-6c4f923f_20200812.pth", 0.900),
        ("coco_256x192_v0", f"{HRNET_0}_w32_coco_256x192-c78dce93_20200708.pth", 0.746),
        ("coco_384x288_v0", f"{HRNET_0}_w32_coco_384x288-d9f0d786_20200708.pth", 0.760),
        ("coco_256x192_dark", f"{HRNET_1}-w32_dark-8xb64-210e_coco-256x192-0e00bf12_20220914.pth", 0.757),
        ("coco_384x288_dark", f"{HRNET_1}-w32_dark-8xb64-210e_coco-384x288-9bab4c9b_20220917.pth", 0.766),
        ("mpii_256x256_dark", f"{HRNET_0}_w32_mpii_256x256_dark-f1601c5b_20200927.pth", 0.904),
        ("coco_256x192_dark_v0", f"{HRNET_0}_w32_coco_256x192_dark-07f147eb_20200812.pth", 0.757),
        ("coco_384x288_dark_v0", f"{HRNET_0}_w32_coco_384x288_dark-307dafc2_20210203.pth", 0.766),
        ("coco_256x192_udp", f"{HRNET_1}-w32_udp-8xb64-210e_coco-256x192-73ede547_20220914.pth", 0.762),
        ("coco_384x288_udp", f"{HRNET_1}-w32_udp-8xb64-210e_coco-384x288-9a3f7c85_20220914.pth", 0.768),
        ("coco_256x192_udp_v0", "top_down/udp/hrnet_w32_coco_256x192_udp-aba0be42_20210220.pth", 0.760),
        ("coco_384x288_udp_v0", "top_down/udp/hrnet_w32_coco_384x288_udp-e97c1a0f_20210223.pth", 0.769),
        ("coco_256x192_fp16", f"{HRNET_1}-w32_fp16-8xb64-210e_coco-256x192-f1e84e3b_20220914.pth", 0.749),
        ("coco_256x192_coarsedropout", f"{AUGMENTED}_w32_coco_256x192_coarsedropout-0f16a0ce_20210320.pth", 0.753),
        ("coco_256x192_gridmask", f"{AUGMENTED}_w32_coco_256x192_gridmask-868180df_20210320.pth", 0.752),
        ("coco_256x192_photometric", f"{AUGMENTED}_w32_coco_256x192_photometric-308cf591_20210320.pth", 0.754),
        ("coco_aic_256x192", f"{HRNET_1}-w32_8xb64-210e_coco-aic-256x192-merge-a9ea6d77_20230818.pth", 0.756),
        ("coco_aic19_256x192", f"{HRNET_1}-w32_8xb64-210e_coco-aic-256x192-combine-458125cc_20230818.pth", 0.755),
        ("aic_256x192", f"{HRNET_0}_w32_aic_256x192-30a4e465_20200826.pth", 0.323),
        ("crowdpose_256x192", f"{HRNET_0}_w32_crowdpose_256x192-960be101_20201227.pth", 0.675),
        ("posetrack18_256x192", f"{HRNET_0}_w32_posetrack18_256x192-1ee951c4_20201028.pth", 0.834),
        ("posetrack18_384x288", f"{HRNET_0}_w32_posetrack18_384x288-806f00a3_20211130.pth", 0.837),
    ),
    "hrnet_w48": (
        ("coco_256x192", f"{HRNET_1}-w48_8xb32-210e_coco-256x192-0e67c616_20220913.pth", 0.756),
        ("coco_384x288", f"{HRNET_1}-w48_8xb32-210e_coco-384x288-c161b7de_20220915.pth", 0.767),
        ("mpii_256x256", f"{HRNET_0}_w48_mpii_256x256-92cab7bd_20200812.pth", 0.901),
        ("coco_256x192_v0", f"{HRNET_0}_w48_coco_256x192-b9e0b3ab_20200708.pth", 0.756),
        ("coco_384x288_v0", f"{HRNET_0}_w48_coco_384x288-314c8528_20200708.pth", 0.767),
        ("coco_256x192_dark", f"{HRNET_1}-w48_dark-8xb32-210e_coco-256x192-e1ebdd6f_20220913.pth", 0.764),
        ("coco_384x288_dark", f"{HRNET_1}-w48_dark-8xb32-210e_coco-384x288-39c3c381_20220916.pth", 0.772),
        ("mpii_256x256_dark", f"{HRNET_0}_w48_mpii_256x256_dark-0decd39f_20200927.pth", 0.905),
        ("coco_256x192_dark_v0", f"{HRNET_0}_w48_coco_256x192_dark-8cba3197_20200812.pth", 0.764),
        ("coco_384x288_dark_v0", f"{HRNET_0}_w48_coco_384x288_dark-e881a4b6_20210203.pth", 0.772),
        ("coco_256x192_udp", f"{HRNET_1}-w48_udp-8xb32-210e_coco-256x192-3feaef8f_20220913.pth", 0.768),
        ("coco_384x288_udp", f"{HRNET_1}-w48_udp-8xb32-210e_coco-384x288-70d7ab01_20220913.pth", 0.773),
        ("coco_256x192_udp_v0", "top_down/udp/hrnet_w48_coco_256x192_udp-2554c524_20210223.pth", 0.767),
        ("coco_384x288_udp_v0", "top_down/udp/hrnet_w48_coco_384x288_udp-0f89c63e_20210223.pth", 0.772),
        ("posetrack18_256x192", f"{HRNET_0}_w48_posetrack18_256x192-b5d9b3f1_20211130.pth", 0.846),
        ("posetrack18_384x288", f"{HRNET_0}_w48_posetrack18_384x288-5fd6d3ff_20211130.pth", 0.846),
    ),
    "hourglass52": (
        ("coco_256x256", "top_down/hourglass/hourglass52_coco_256x256-4ec713ba_20200709.pth", 0.726),
        ("coco_384x384", "top_down/hourglass/hourglass52_coco_384x384-be91ba2b_20200812.pth", 0.746),
        ("mpii_256x256", "top_down/hourglass/hourglass52_mpii_256x256-ae358435_20200812.pth", 0.889),
        ("mpii_384x384", "top_down/hourglass/hourglass52_mpii_384x384-04090bc3_20200812.pth", 0.894),
    ),
    "cpm_bn_6s": (
        ("coco_256x192", f"{CPM_1}_8xb64-210e_coco-256x192-0e978875_20220920.pth", 0.627),
        ("coco_384x288", f"{CPM_1}_8xb32-210e_coco-384x288-165487b8_20221011.pth", 0.652),
        ("coco_256x192_v0", "top_down/cpm/cpm_coco_256x192-aa4ba095_20200817.pth", 0.623),
        ("coco_384x288_v0", "top_down/cpm/cpm_coco_384x288-80feb4bc_20200821.pth", 0.650),
        ("mpii_368x368", "top_down/cpm/cpm_mpii_368x368-116e62b8_20200822.pth", 0.876),
        ("jhmdb1_368x368", "top_down/cpm/cpm_jhmdb_sub1_368x368-2d2585c9_20201122.pth", 0.895),
        ("jhmdb2_368x368", "top_down/cpm/cpm_jhmdb_sub2_368x368-fc742f1f_20201122.pth", 0.874),
        ("jhmdb3_368x368", "top_down/cpm/cpm_jhmdb_sub3_368x368-49337155_20201122.pth", 0.924),
    ),
    "deeppose_resnet50": (
        ("coco_256x192", f"{REGRESSION}_res50_8xb64-210e_coco-256x192-72ef04f3_20220913.pth", 0.541),
        ("coco_256x192_v0", "top_down/deeppose/deeppose_res50_coco_256x192-f6de6c0e_20210205.pth", 0.526),
        ("mpii_256x256", "top_down/deeppose/deeppose_res50_mpii_256x256-c63cd0b6_20210203.pth", 0.826),
    ),
    "deeppose_resnet101": (
        ("coco_256x192", "top_down/deeppose/deeppose_res101_coco_256x192-2f247111_20210205.pth", 0.562),
        ("mpii_256x256", "top_down/deeppose/deeppose_res101_mpii_256x256-87516a90_20210205.pth", 0.841),
    ),
    "deeppose_resnet152": (
        ("coco_256x192", "top_down/deeppose/deeppose_res152_coco_256x192-7df89a88_20210205.pth", 0.584),
        ("mpii_256x256", "top_down/deeppose/deeppose_res152_mpii_256x256-15f5e6f9_20210205.pth", 0.850),
    ),
}


def tag_size(tag: str) -> tuple[int, int] | None:
    """Read the input size `(H, W)` off a tag; None for a tag without one."""
    size = re.search(r"_(\d+)x(\d+)(?:_|$)", tag)
    return (int(size[1]), int(size[2])) if size else None


def openmmlab(architecture: str, tag: str, file: str, score: float) -> Weights:
    """Make the record of a top-down checkpoint of mmpose's model zoo (Apache-2.0).

    The tag gives data, input size and codec; the name of the file ends in its sha256. The PCKh of
    MPII is pooled over the joints without pelvis and thorax.

    Examples:
        >>> file = "top_down/resnet/res50_coco_256x192-ec54d7f3_20200709.pth"
        >>> record = openmmlab("simple_baseline_resnet50", "coco_256x192_v0", file, 0.718)
        >>> record.sha256, record.skeleton, record.metrics
        ('ec54d7f3', 'coco17', {'COCO val2017': {'AP': 0.718}})
    """
    data, size = re.split(r"_(?=\d+x)", tag)[0], tag_size(tag)
    split = re.fullmatch(r"jhmdb(\d)", data)
    skeleton, test, metric, boxes, trained_on, terms = TESTS["jhmdb" if split else data]
    regression = architecture.startswith("deeppose")
    codec = "" if regression else next((codec for codec in DECODING if f"_{codec}" in tag), "msra")
    return Weights(
        architecture=architecture,
        tag=tag,
        sources=tuple(f"{site}/{file}" for site in (SITE, *([FORMER_SITE] if "_202007" in file else []))),
        sha256=file.rpartition("-")[2].partition("_")[0],
        kwargs={"num_keypoints": int(re.sub(r"\D", "", skeleton)), "skeleton": skeleton},
        input_size=size,
        skeleton=skeleton,
        codec=codec,
        channel_order="RGB",
        flip_shift=DECODING.get(codec, {}).get("flip_shift", True) if codec else None,
        metrics={f"{test} split {split[1]}" if split else test: {metric: score}},
        metrics_by="mmpose",
        protocol=f"{boxes}; averaged with the mirror image",
        data=trained_on,
        data_license=terms,
        license="Apache-2.0",
        paper="https://arxiv.org/abs/1312.4659" if regression else "",
        origin="https://github.com/open-mmlab/mmpose",
        format=FORMATS.get(architecture, "mmpose"),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Files of the authors and of others


def authors(architecture: str, tag: str, test: str, score: float, paper: str, origin: str, **fields: Any) -> Weights:
    """Make the record of an author's file of an image network, trained on COCO or MPII.

    Args:
        architecture: of the row.
        tag: of the row; its input size is the record's.
        test: "coco" or "mpii", a key of `TESTS`.
        score: in the metric of the test.
        paper: its arXiv number.
        origin: URL.
        **fields: other fields of `Weights`.
    """
    skeleton, data, metric, boxes, trained_on, terms = TESTS[test]
    record = Weights(
        architecture=architecture,
        tag=tag,
        kwargs={"num_keypoints": int(re.sub(r"\D", "", skeleton)), "skeleton": skeleton},
        input_size=tag_size(tag),
        skeleton=skeleton,
        codec="msra",
        channel_order="RGB",
        flip_shift=True,
        metrics={data: {metric: score}},
        metrics_by="authors",
        protocol=f"{boxes}; averaged with the mirror image",
        data=trained_on,
        data_license=terms,
        paper=f"https://arxiv.org/abs/{paper}",
        origin=origin,
    )
    return replace(record, **fields)


def pose_resnet(depth: int, tag: str, score: float) -> Weights:
    """Make the record of a Simple Baselines file of the authors, from their folder; fed BGR."""
    return authors(
        f"simple_baseline_resnet{depth}",
        tag,
        tag.partition("_")[0],
        score,
        paper="1804.06208",
        origin="https://drive.google.com/drive/folders/13_wJ6nC7my1KKouMkQMqyr9r1ZnLnukP",
        channel_order="BGR",
        license="none stated; published in an MIT repository, for research",
        format="pose_resnet",
    )


PEOPLE: tuple[tuple[str, tuple[str, ...] | str, dict[str, dict[str, float]]], ...] = (  # tag, skeleton, scores
    ("coco17_192x192", "coco17", {"COCO, 7 photographs": {"within 0.2 of the root of the area": 0.611}}),
    ("lsp14_192x192", "lsp14", {"LSPET 7001-7500": {"PCK@0.2": 0.668}}),
    ("people_192x192", BODY_AND_FACE, {"LSPET 7001-7500": {"PCK@0.2": 0.668}}),
)


def people_192x192(tag: str, skeleton: tuple[str, ...] | str, metrics: dict[str, dict[str, float]]) -> Weights:
    """Return a record of our network trained on LSPET and renders: one file, some keypoints."""
    named = isinstance(skeleton, str)
    return Weights(
        architecture="simple_baseline_lite",
        tag=tag,
        sources=("package:simple_baseline_lite.people_192x192",),
        sha256="3542730c60a42284e5714e949637f164a1433041cd7bfef7a096513e631b7098",
        size=11_364_914,
        kwargs={"num_keypoints": len(get_skeleton(skeleton)), "skeleton": skeleton if named else list(skeleton)},
        keypoints=BODY_AND_FACE,
        input_size=(192, 192),
        skeleton=skeleton if isinstance(skeleton, str) else "",
        codec="msra",
        channel_order="RGB",
        flip_shift=True,
        metrics=metrics,
        metrics_by="posezoo",
        protocol="boxes around the annotated keypoints; averaged with the mirror image",
        data="Leeds Sports Pose Extended (images 1 to 7000 and 7501 to 9500), rendered people",
        data_license="LSPET: none stated, research use; renders: free",
        license="research-only",
        paper="https://arxiv.org/abs/1804.06208",
    )


def pytorchcv(depth: int, name: str, digest: str, score: float) -> Weights:
    """Make the record of a zipped file of pytorchcv, whose sha1 is known but not its sha256."""
    file = f"simplepose_{name}_coco-{round(1e4 * score)}-{digest}.pth.zip"
    return replace(
        pose_resnet(depth, "coco_256x192_pytorchcv", score),
        channel_order="RGB",
        metrics_by="pytorchcv",
        protocol="person boxes not stated",
        license="none stated; published in an MIT repository",
        origin=f"https://github.com/osmr/imgclsmob/releases/download/v0.0.455/{file}",
        format="pytorchcv",
    )


def hrnet(width: int, tag: str, score: float, sha256: str = "", **fields: Any) -> Weights:
    """Make the record of a file of the HRNet authors, or of a copy of it on the Hub."""
    return authors(
        f"hrnet_w{width}",
        tag,
        tag.partition("_")[0],
        score,
        paper="1902.09212",
        license="none stated; published in an MIT repository",
        sha256=sha256,
        format="hrnet",
        **{"origin": f"{DRIVE}/drive/folders/1hOTihvbyIxsm5ygDpbUuJ7O_tzv4oXjC", **fields},
    )


def hourglass(stacks: int, tag: str, metric: str, score: float, **fields: Any) -> Weights:
    """Make the record of an hourglass for MPII, by default of the authors' PyTorch code."""
    return authors(
        f"hourglass_{stacks}",
        tag,
        "mpii",
        0.0,
        paper="1603.06937",
        flip_shift=False,
        metrics={"MPII val": {metric: score}},
        **{
            "protocol": "annotated centre and size; averaged with the mirror image",
            "license": "BSD-3-Clause",
            "origin": f"http://www-personal.umich.edu/~cnris/original_{stacks}hg/checkpoint.pt",
            "format": "princeton",
            **fields,
        },
    )


def bearpaw(stacks: int, digest: str, score: float, metrics_by: str) -> Weights:
    """Make the record of a file in anibali's releases, whose name ends in its sha256.

    The scores "by bearpaw" are of the predictions that bearpaw published.
    """
    releases = "https://github.com/anibali/pytorch-stacked-hourglass/releases/download/v0.0.0"
    record = hourglass(
        stacks,
        "mpii_256x256",
        "PCKh@0.5, mean of 14 joints",
        score,
        sources=(f"{releases}/bearpaw_hg{stacks}-{digest}.pth",),
        sha256=digest,
        metrics_by=metrics_by,
        protocol="annotated centre and size" + ("; no mirror image" if metrics_by == "anibali" else ""),
        license="none stated; published in a GPL-3.0 repository",
        origin="https://github.com/anibali/pytorch-stacked-hourglass",
        format="bearpaw",
    )
    return replace(record, architecture=f"hourglass_{stacks}_bearpaw")


def caffe_cpm(
    architecture: str, tag: str, file: str, data: str, metrics: dict[str, dict[str, float]], **fields: Any
) -> Weights:
    """Make the record of a Caffe model of the CPM authors; fed BGR."""
    skeleton, count = ("flic9", 9) if data == "FLIC" else ("cpm14", 14)
    record = Weights(
        architecture=architecture,
        tag=tag,
        kwargs={"num_keypoints": count, "skeleton": skeleton},
        input_size=tag_size(tag),
        skeleton=skeleton,
        codec="gaussian",
        channel_order="BGR",
        flip_shift=False,
        metrics=metrics,
        metrics_by="authors",
        protocol="annotated place and size; seven scales, no mirror image" if metrics else "",
        data=data,
        data_license=MPII_TERMS if "MPII" in data else "none stated; research use",
        license="CMU academic non-commercial, no redistribution",
        paper="https://arxiv.org/abs/1602.00134",
        origin=f"http://posefs1.perception.cs.cmu.edu/CPM/caffe_model_github/model/_trained_{file}.caffemodel",
        format="caffe_cpm",
    )
    return replace(record, **fields)


# ---------------------------------------------------------------------------------------------------------------------
# The rows

DRIVE = "https://drive.google.com"
MPII_TEST, LSP_TEST = "MPII test", "LSP test, person-centric"
POOLED = "PCKh@0.5, pooled over 16 joints"

IMAGE_NETWORKS: tuple[Weights, ...] = (
    *(openmmlab(architecture, *row) for architecture, rows in OPENMMLAB.items() for row in rows),
    # Simple Baselines
    pose_resnet(50, "coco_256x192_authors", 0.704),
    pose_resnet(50, "coco_384x288_authors", 0.722),
    pose_resnet(50, "mpii_256x256_authors", 0.88532),
    pose_resnet(50, "mpii_384x384_authors", 0.89066),
    pose_resnet(101, "coco_256x192_authors", 0.714),
    pose_resnet(101, "coco_384x288_authors", 0.736),
    pose_resnet(101, "mpii_256x256_authors", 0.89131),
    pose_resnet(101, "mpii_384x384_authors", 0.90003),
    pose_resnet(152, "coco_256x192_authors", 0.72),
    pose_resnet(152, "coco_384x288_authors", 0.743),
    pose_resnet(152, "mpii_256x256_authors", 0.8962),
    pose_resnet(152, "mpii_384x384_authors", 0.902),
    pytorchcv(18, "resnet18", "7c3656b3", 0.6631),
    pytorchcv(50, "resnet50b", "621d2545", 0.7102),
    pytorchcv(101, "resnet101b", "540c29ec", 0.7244),
    pytorchcv(152, "resnet152b", "3a358d7d", 0.7253),
    *(people_192x192(*row) for row in PEOPLE),
    # HRNet
    hrnet(
        32,
        "coco_256x192_authors",
        0.744,
        "19bc083708bb8d873211e50d85d56344c10290c6e8b564c813fdde09645c4c1c",
        sources=("hf-hub:Prophetetc/cocopose/pose_hrnet_w32_256x192.pth",),
        size=114_721_619,
        origin=f"{DRIVE}/file/d/1zYC7go9EV0XaSlSBjMaiyE_4TcHc_S38/view",
    ),
    hrnet(
        32,
        "coco_256x192_authors_wrapped",
        0.744,
        "c9d8eb383e63ce795f87a3ee2f2b0c8aa0df9bae981573ec4b3909d63815a825",
        sources=("hf-hub:LibreYOLO/LibreHRNetw32-pose/LibreHRNetw32-pose.pt",),
    ),
    hrnet(32, "coco_384x288_authors", 0.758),
    hrnet(32, "mpii_256x256_authors", 0.903, origin=f"{DRIVE}/file/d/1_wn2ifmoQprBrFvUCDedjPON4Y6jsN-v/view"),
    hrnet(48, "coco_256x192_authors", 0.751),
    hrnet(
        48,
        "coco_384x288_authors",
        0.763,
        "95e0fec3194826d5e3f806ea89be68bbb84517b114c3a32b3058c56610b5ef61",
        sources=("hf-hub:Prophetetc/cocopose/pose_hrnet_w48_384x288.pth",),
        size=255_061_287,
        origin=f"{DRIVE}/file/d/1UoJhTtjHNByZSm96W3yFTfU5upJnsKiS/view",
    ),
    hrnet(
        48,
        "coco_384x288_authors_wrapped",
        0.763,
        "ab85504f323c43babdcbed6550f759d323efd0ffc284a0593043e108cd3c4df5",
        sources=("hf-hub:LibreYOLO/LibreHRNetw48-pose/LibreHRNetw48-pose.pt",),
    ),
    # Stacked hourglass
    hourglass(2, "mpii_256x256", POOLED, 0.883),
    hourglass(8, "mpii_256x256", POOLED, 0.902),
    hourglass(
        8,
        "mpii_256x256_torch7",
        "PCKh@0.5",
        0.8843,  # of the predictions that the authors published
        license="BSD, University of Michigan",
        origin="http://www-personal.umich.edu/~alnewell/pose/",
        format="torch7_hourglass",
    ),
    bearpaw(1, "ce125879", 0.8446, "bearpaw"),
    bearpaw(2, "15e342d9", 0.8733, "anibali"),
    bearpaw(8, "90e5d470", 0.8864, "bearpaw"),
    # Convolutional Pose Machines
    caffe_cpm(
        "cpm_9x9_6s",
        "mpii_lsp_368x368",
        "MPI/pose_iter_985000_addLEEDS",
        "MPII and LSP",
        {MPII_TEST: {"PCKh@0.5": 0.885}, LSP_TEST: {"PCK@0.2": 0.905}},
    ),
    caffe_cpm("cpm_9x9_6s", "mpii_368x368", "MPI/pose_iter_630000", "MPII", {MPII_TEST: {"PCKh@0.5": 0.8795}}),
    caffe_cpm("cpm_9x9_6s", "lsp_368x368", "LEEDS_PC/pose_iter_395000", "LSP", {LSP_TEST: {"PCK@0.2": 0.8432}}),
    caffe_cpm(
        "cpm_9x9_4s",
        "flic_368x368",
        "FLIC/pose_iter_40000",
        "FLIC",
        {"FLIC test": {"PCK@0.2 of elbows": 0.9759, "PCK@0.2 of wrists": 0.9503}},
    ),
    caffe_cpm("cpm_vgg_6s", "mpii_368x368", "MPI/pose_iter_320000", "MPII", {MPII_TEST: {"PCKh@0.5": 0.901}}),
    caffe_cpm(
        "cpm_person_4s",
        "mpii_368x368",
        "person_MPI/pose_iter_70000",
        "MPII",
        {},
        kwargs={"num_keypoints": 1, "skeleton": ["person"]},
        skeleton="",
    ),
    # Iterative Error Feedback
    Weights(
        architecture="ief",
        tag="mpii_224x224",
        kwargs={"num_keypoints": 16, "skeleton": "mpii16"},
        input_size=(224, 224),
        skeleton="mpii16",
        channel_order="RGB",
        metrics={MPII_TEST: {"PCKh@0.5": 0.813}},
        metrics_by="authors",
        protocol="a point on the torso; the size of the crop is chosen by a second network; no mirror image",
        data="MPII",
        data_license=MPII_TERMS,
        license="none stated; the code says BSD and has no licence file",
        paper="https://arxiv.org/abs/1507.06550",
        origin="http://www.cs.berkeley.edu/~pulkitag/ief/models.tar",
        format="caffe_ief",
    ),
    # Recurrent 3D Pose Sequence Machines
    Weights(
        architecture="rpsm_torch7",
        tag="h36m",
        kwargs={"num_keypoints": 17, "skeleton": "h36m17"},
        input_size=(368, 368),
        skeleton="h36m17",
        channel_order="RGB",
        metrics={"Human3.6M S9 and S11": {"MPJPE": 73.1}},
        metrics_by="authors",
        protocol="MPJPE from the pelvis, crops around the annotated foreground; no mirror image",
        data="MPII (trunk), Human3.6M",
        data_license=f"{MPII_TERMS}; {HUMAN36M_TERMS}",
        license="none stated",
        origin="https://pan.baidu.com/s/1GUguVwGcRwKkFIXM5sQ8Cg",
        format="torch7_rpsm",
    ),
)
