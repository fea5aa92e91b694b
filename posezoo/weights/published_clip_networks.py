"""The published weights of networks for clips that ship with the package.

See `posezoo.weights.published` for the meaning of a tag.
"""

from posezoo.weights.record import Weights

CLIP_NETWORKS: tuple[Weights, ...] = (
    Weights(
        architecture="rpsm",
        tag="people_192x192",
        sources=("package:rpsm.people_192x192",),
        sha256="2b300420d1bb56cec8fc301d699c8e0b2f1ca098f919f53af49e5d1454d90a89",
        size=9_726_616,
        base="simple_baseline_lite.people_192x192",
        shared=("backbone", "deconv_layers", "final_layer"),
        kwargs={
            "num_keypoints": 17,
            "skeleton": "h36m17",
            "size": [192, 192],
            "width": 96,
            "hidden": 512,
            "backbone": "tf_efficientnet_lite2",
            "heatmaps": 19,
            "num_stages": 3,
            "adapt": "code",
        },
        metrics={
            "renders of CMU's 03 07 29 45 114": {"MPJPE": 108.7, "PA-MPJPE": 69.8},
            "Pose2Sim demo, four views": {"MPJPE": 175.7, "PA-MPJPE": 116.7},
        },
        input_size=(192, 192),
        skeleton="h36m17",
        channel_order="RGB",
        metrics_by="posezoo",
        protocol="500 videos of 5 frames at 10 fps; Pose2Sim: all frames; crops around the person; mm from the "
        "pelvis; not mirrored",
        data="rendered people in CMU motion capture; 2D network: Leeds Sports Pose Extended, rendered people",
        data_license="LSPET: none stated, research use; CMU: free, acknowledge mocap.cs.cmu.edu, NSF EIA-0196217",
        license="research-only",
        paper="https://arxiv.org/abs/1707.09695",
    ),
)
