"""Clips of frames: from folders and video files, boxes from masks, one scale per clip, root-relative poses."""

import numpy as np
import pytest
import torch
from PIL import Image

from posezoo.data import ClipCrop, CroppedClips, Human36M, Windows
from posezoo.data.clips import FrameOfVideo, frames_of, load_frames, read_mask_boxes, source_of_frames
from posezoo.geometry import Camera, transform_points
from posezoo.video import write_video

SIZE = 64


def grey(number):
    return np.full((SIZE, SIZE, 3), 10 + 8 * number % 240, np.uint8)


def folder_of(root, count=12):
    root.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(grey(number)).save(root / f"frame-{number + 1:04d}.png")
    return root


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    pytest.importorskip("av")
    path = tmp_path_factory.mktemp("video") / "Walking.54138969.mp4"
    write_video(path, map(grey, range(12)), fps=50)
    return path


def window(frames, **more):
    return {"frames": frames, "boxes": torch.tensor([[10.0, 20.0, 30.0, 60.0]] * len(frames)), **more}


def test_frames_of_a_folder_and_of_a_video(tmp_path, video):
    folder = folder_of(tmp_path / "Walking.54138969")
    for source in (folder, video):
        loaded = load_frames(frames_of(source, range(1, 12, 5)))
        assert [image.shape for image in loaded] == [(3, SIZE, SIZE)] * 3
        assert [round(float(image.float().mean())) for image in loaded] == pytest.approx([18, 58, 98], abs=2)
    assert source_of_frames([tmp_path / "nothing", folder]) == folder
    assert source_of_frames([video.with_suffix("")]) == video
    with pytest.raises(ValueError, match="no image of frame 13; frames are numbered from 1"):
        frames_of(folder, [12])
    with pytest.raises(ValueError, match="has no frame 40"):
        load_frames([FrameOfVideo(video, 40)])
    with pytest.raises(ValueError, match=r"a folder of the video's images, or its video file"):
        source_of_frames([tmp_path / "nothing"])


def test_the_box_becomes_a_square_of_368_pixels(tmp_path):
    cropped = ClipCrop(size=368)(window(frames_of(folder_of(tmp_path / "a"), range(2)), pose3d=torch.rand(2, 17, 3)))
    assert cropped["clip"].shape == (2, 3, 368, 368)
    # 20 x 40 pixels: the middle 20 of the square, from the top to the bottom
    corners = transform_points(torch.tensor([[10.0, 20.0], [30.0, 60.0]]), cropped["matrix"][0])
    assert torch.allclose(corners, torch.tensor([[92.0, 0.0], [276.0, 368.0]]), atol=1e-3)
    assert torch.equal(cropped["pose3d"][:, 0], torch.zeros(2, 3))
    low, high = cropped["clip"][0].min(), cropped["clip"][1].max()
    assert (float(low), float(high)) == pytest.approx((10 / 255, 18 / 255), abs=1e-5)


@pytest.mark.parametrize("scale", [0.9, 1.1])
def test_one_scale_for_a_clip(tmp_path, scale):
    frames = frames_of(folder_of(tmp_path / "a"), range(3))
    clip = ClipCrop(size=100, scale=(scale, scale))(window(frames))
    matrices = clip["matrix"]
    assert torch.allclose(matrices[:, 0, 0], torch.full((3,), scale * 100 / 40))
    assert torch.equal(matrices[0], matrices[2])
    shown = clip["clip"][0, 0]
    if scale < 1:  # mid-grey around it
        assert shown[0, 50] == shown[50, 2] == 0.5
        assert shown[50, 50] == pytest.approx(10 / 255)
    else:
        assert (shown - 10 / 255).abs().max() < 1e-5
    drawn = {float(ClipCrop(size=50, scale=(0.9, 1.1))(window(frames))["matrix"][0, 0, 0]) for _ in range(5)}
    assert len(drawn) == 5  # another one every time


def test_clips_never_cross_a_video(tmp_path):
    videos = [
        {"frames": frames_of(folder_of(tmp_path / name, count), range(count)), "pose3d": torch.rand(count, 17, 3),
         "boxes": torch.tensor([[5.0, 5.0, 50.0, 50.0]]).repeat(count, 1)}
        for name, count in (("a", 4), ("b", 3))
    ]  # fmt: skip
    clips = CroppedClips(Windows(videos, length=2), ClipCrop(size=32))
    assert [int(clips[index]["video"]) for index in range(len(clips))] == [0, 0, 0, 1, 1]
    assert clips[3]["clip"].shape == (2, 3, 32, 32)


def test_without_frames_or_boxes(tmp_path):
    with pytest.raises(ValueError, match="open the videos with frames="):
        ClipCrop()({"boxes": torch.zeros(1, 4)})
    with pytest.raises(ValueError, match=r"a scale \(low, high\) above 0"):
        ClipCrop(scale=(0.0, 1.0))
    frames = frames_of(folder_of(tmp_path / "a"), range(1))
    points = torch.tensor([[[10.0, 20.0], [30.0, 60.0]]])
    assert torch.equal(
        ClipCrop(size=50)({"frames": frames, "keypoints": points})["matrix"],
        ClipCrop(size=50)(window(frames))["matrix"],
    )


def write_masks(path, boxes):
    h5py = pytest.importorskip("h5py")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        references = []
        for number, (left, top, right, bottom) in enumerate(boxes):
            mask = np.zeros((SIZE, SIZE), np.uint8)  # (W, H)
            mask[left:right, top:bottom] = 1
            references.append(file.create_dataset(f"masks/{number}", data=mask).ref)
        cell = file.create_dataset("Masks", (len(boxes), 1), dtype=h5py.ref_dtype)
        cell[:, 0] = references


def test_human36m_with_images_and_boxes(tmp_path, video):
    rng = np.random.default_rng(0)
    poses = {"S1": {"Photo": rng.normal(0, 0.3, (60, 32, 3)).astype("f4")}}
    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d=poses)
    eye = torch.eye(3, dtype=torch.float64)
    camera = Camera(
        rotation=eye,
        translation=torch.tensor([0.0, 0.0, -5000.0]),
        focal=torch.ones(2),
        center=torch.zeros(2),
        size=(1, 1),
    )
    images = tmp_path / "images" / "S1"
    folder_of(images / "TakingPhoto.54138969", 60)  # S1's own name for the take
    boxes = [(5 + number // 10, 10, 40, 60) for number in range(60)]
    write_masks(images / "MySegmentsMat" / "ground_truth_bb" / "TakingPhoto.54138969.mat", boxes)
    videos = Human36M(
        tmp_path, subjects=["S1"], actions=["Photo"], cameras=["54138969"], calibration={("S1", "54138969"): camera},
        fps=2, frames=tmp_path / "images", boxes="masks",
    )  # fmt: skip
    (one,) = (videos[0],)
    assert [path.name for path in one["frames"]] == ["frame-0001.png", "frame-0026.png", "frame-0051.png"]
    assert one["boxes"].tolist() == [[5, 10, 40, 60], [7, 10, 40, 60], [10, 10, 40, 60]]
    clip = CroppedClips(Windows(videos, length=3), ClipCrop(size=48, scale=(0.9, 1.1)))[0]
    assert clip["clip"].shape == (3, 3, 48, 48)
    assert torch.equal(clip["pose3d"][:, 0], torch.zeros(3, 3))
    with pytest.raises(ValueError, match='"masks" together with frames='):
        Human36M(
            tmp_path, subjects=["S1"], actions=["Photo"], calibration={("S1", "54138969"): camera}, boxes="masks"
        )  # fmt: skip
    with pytest.raises(ValueError, match="is missing; unpack the data set's bounding boxes"):
        read_mask_boxes(tmp_path / "none.mat")
