"""NumPy in, NumPy out, with the numbers of torch: `heatmaps` and `geometry`, and the conversions
they share.
"""

import inspect

import numpy as np
import pytest
import torch

from posezoo import geometry, heatmaps
from posezoo.arrays import as_floats, as_numpy, as_tensor, same_kind

RANDOM = np.random.default_rng(0)
POINTS = RANDOM.uniform(20, 160, (2, 3, 2))
BOXES = np.array([[10.0, 20, 110, 220], [0, 0, 64, 64]])
CENTER, EXTENT = BOXES[:, :2] + 50, BOXES[:, 2:] - BOXES[:, :2]
MATRIX = np.array([[[1.5, 0.25, 3], [-0.25, 1.5, 7]], [[0.5, 0, 0], [0, 0.75, 1]]])
IMAGES = RANDOM.random((2, 3, 20, 16))
MAPS = RANDOM.random((2, 3, 16, 12))
VISIBLE = np.array([[True, False, True], [True, True, True]])
POSES = RANDOM.standard_normal((2, 5, 3)) * 100
WEIGHTS = POSES[..., 0] ** 2
CAMERA = {
    "rotation": np.eye(3),
    "translation": np.array([0.0, 0.0, -4000.0]),
    "focal": np.array([1000.0, 1100.0]),
    "center": np.array([500.0, 510.0]),
    "radial": np.array([-0.2, 0.2, 0.01]),
    "tangential": np.array([-0.001, 0.002]),
}


def camera(points):
    """The camera of arrays, or of tensors, like the points."""
    return geometry.Camera(**{name: same_kind(points, torch.from_numpy(value)) for name, value in CAMERA.items()})


# name -> the call, and its arrays, of which the first decides the kind
CALLS = {
    "heatmaps.encode": (lambda *a: heatmaps.encode(*a, size=(64, 48)), POINTS, VISIBLE),
    "heatmaps.visible_keypoints": None,  # returns tensors: for code that computes on them
    "heatmaps.soft_argmax": None,
    "heatmaps.pair_of": None,
    "heatmaps.merge_people": (heatmaps.merge_people, MAPS[None]),
    "heatmaps.with_background": (heatmaps.with_background, MAPS),
    "heatmaps.decode": (heatmaps.decode, MAPS),
    "heatmaps.flip_average": (lambda *a: heatmaps.flip_average(*a, (0, 2, 1), shift=True), MAPS, MAPS[::-1].copy()),
    "geometry.tight_box": (geometry.tight_box, POINTS[0], VISIBLE[0]),
    "geometry.box_to_crop": (lambda a: geometry.box_to_crop(a, (256, 192)), BOXES),
    "geometry.crop_matrix": (
        lambda *a: geometry.crop_matrix(*a[:2], (256, 192), rotation=a[2], flip=a[3]),
        *(CENTER, EXTENT, np.array([10.0, -20.0]), np.array([False, True])),
    ),
    "geometry.invert": (geometry.invert, MATRIX),
    "geometry.compose": (geometry.compose, MATRIX, MATRIX[::-1].copy()),
    "geometry.transform_points": (geometry.transform_points, POINTS, MATRIX),
    "geometry.warp": (lambda *a: geometry.warp(*a, (10, 12)), IMAGES, MATRIX),
    "geometry.shrink": (lambda a: geometry.shrink(a, 3), IMAGES),
    "geometry.crop": (lambda *a: geometry.crop(*a, (4, 5)), IMAGES[0], MATRIX * 0.4),
    "geometry.letterbox": (lambda a: geometry.letterbox(a, (30, 30)), IMAGES[0]),
    "geometry.normalize_points": (geometry.normalize_points, POINTS, BOXES[:, None]),
    "geometry.denormalize_points": (geometry.denormalize_points, POINTS, BOXES[:, None]),
    "geometry.crop_boxes": (lambda *a: geometry.crop_boxes(*a, (4, 4)), IMAGES, BOXES / 12),
    "geometry.flip_keypoints": (lambda a: geometry.flip_keypoints(a, 192, (0, 2, 1)), POINTS),
    "geometry.box_iou": (geometry.box_iou, BOXES, BOXES[::-1] + 3),
    "geometry.zoom": None,
    "geometry.precise": None,
    "geometry.aligned": None,
    "geometry.person_frame": (geometry.person_frame, POINTS[None], VISIBLE[None]),
    "geometry.procrustes": (
        lambda *a: geometry.procrustes(*a[:2], weights=a[2]),
        POSES,
        POSES[::-1] + 5,
        POSES[..., 0] ** 2,
    ),
    "geometry.align": (lambda *a: geometry.align(*a[:2], weights=a[2]), POSES, POSES[::-1] + 5, POSES[..., 0] ** 2),
    "geometry.look_at": (
        lambda *a: geometry.look_at(*a, focal=1000.0, size=(1000, 900)).project(a[0] + 50),
        *(np.array([0.0, 0.0, 4000.0]), np.array([10.0, 20.0, 0.0])),
    ),
    "geometry.Camera": (lambda a: camera(a).project(camera(a).world_to_camera(a)), POSES),
    "geometry.Camera.camera_to_world": (lambda a: camera(a).camera_to_world(a), POSES),
}
TESTED = {name: call for name, call in CALLS.items() if call}
# integers are no images, and no camera's rotation
FLOATS_ONLY = ("warp", "shrink", "crop", "letterbox", "crop_boxes")


def results(call, *arrays):
    result = call(*arrays)
    return result if isinstance(result, tuple) else (result,)


def test_every_function_of_the_rooms_is_here():
    public = {f"geometry.{name}" for name in geometry.__all__ if callable(getattr(geometry, name))}
    for name, function in inspect.getmembers(heatmaps, inspect.isfunction):
        if function.__module__ == "posezoo.heatmaps" and not name.startswith("_"):
            public.add(f"heatmaps.{name}")
    assert public == {name for name in CALLS if name.count(".") == 1}


@pytest.mark.parametrize("name", list(TESTED))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numpy_in_is_numpy_out_and_equals_torch(name, dtype):
    call, *arrays = TESTED[name]
    arrays = [array if array.dtype == bool else array.astype(dtype) for array in arrays]
    for array in arrays:
        array.setflags(write=False)  # as pandas' and jax' arrays are
    ours = results(call, *arrays)
    theirs = results(call, *(torch.from_numpy(array.copy()) for array in arrays))
    assert len(ours) == len(theirs)
    for mine, expected in zip(ours, theirs, strict=True):
        assert isinstance(mine, np.ndarray), type(mine)
        assert isinstance(expected, torch.Tensor)
        assert mine.dtype == as_numpy(expected).dtype
        np.testing.assert_array_equal(mine, as_numpy(expected))


@pytest.mark.parametrize("name", list(TESTED))
@pytest.mark.parametrize("dtype", [">f4", ">f8"])
def test_foreign_byte_orders(name, dtype):  # of MATLAB's and HDF5's files
    call, *arrays = TESTED[name]
    given = [array if array.dtype == bool else array.astype(dtype) for array in arrays]
    plain = [array.astype(array.dtype.newbyteorder("=")) for array in given]
    for mine, expected in zip(results(call, *given), results(call, *plain), strict=True):
        assert mine.dtype == expected.dtype
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize("name", list(TESTED))
@pytest.mark.parametrize("dtype", ["int64", "uint8", "uint16"])
def test_integers_become_float32_or_are_refused(name, dtype):
    call, *arrays = TESTED[name]
    if name == "geometry.invert":
        arrays = [np.array([[[2, 0, 4], [0, 4, 6]]])]
    given = [array if array.dtype == bool else np.abs(array).clip(1, 200).astype(dtype) for array in arrays]
    if name.rpartition(".")[2] in FLOATS_ONLY:
        with pytest.raises(ValueError, match=r"images?: expected floats, got .*int.*; convert uint8 with"):
            call(*given)
        return
    plain = [array if array.dtype == bool else array.astype(np.float32) for array in given]
    for mine, expected in zip(results(call, *given), results(call, *plain), strict=True):
        assert mine.dtype == expected.dtype
        assert mine.dtype.kind == "f"
        np.testing.assert_array_equal(mine, expected)


def test_whole_numbers_keep_their_halves():
    matrix = np.array([[2, 0, 4], [0, 2, 6]])
    assert geometry.invert(matrix).tolist() == [[0.5, 0, -2], [0, 0.5, -3]]
    assert geometry.invert(torch.from_numpy(matrix)).tolist() == [[0.5, 0, -2], [0, 0.5, -3]]
    points = np.array([[3, 5]], dtype=np.uint8)
    assert geometry.flip_keypoints(points, 2, (0,)).tolist() == [[-2, 5]]
    assert geometry.transform_points(points, np.array([[100, 0, 0], [0, 100, 0]], dtype=np.uint8)).tolist() == [
        [300, 500]
    ]


@pytest.mark.parametrize("visible", [np.array([1, 0, 2]), torch.tensor([1, 0, 2]), np.array([0.3, 0.0, 1.0])])
def test_visible_may_be_flags_or_scores(visible):
    points = np.array([[1.0, 2], [99, 99], [5, 9]])
    assert geometry.tight_box(points, visible).tolist() == [1, 2, 5, 9]


@pytest.mark.parametrize(
    "bad", [[[1.0, 2.0]], None, "points", np.array([[1j, 2]]), np.array([["a", "b"]]), np.array([[True, False]])]
)
def test_errors_about_non_numeric_arrays_name_them(bad):
    with pytest.raises(ValueError, match=r"points: expected (a NumPy array or a torch tensor|real numbers), got"):
        geometry.transform_points(bad, np.eye(2, 3))
    with pytest.raises(ValueError, match=r"heatmaps: expected (a NumPy array or a torch tensor|real numbers), got"):
        heatmaps.decode(bad)
    with pytest.raises(ValueError, match=r"x: expected real numbers, got torch\.bool"):
        as_floats(torch.ones(2, dtype=torch.bool), "x")


def test_tensors_pass_through_as_they_are():
    tensor = torch.ones(3, requires_grad=True)
    assert as_floats(tensor, "x") is tensor
    assert as_tensor(tensor) is tensor
    assert same_kind(tensor, tensor) is tensor
    half = torch.ones(3, dtype=torch.float16)
    assert as_floats(half, "x") is half


def test_numpy_shares_its_memory_where_torch_can():
    array = np.ones(3)
    assert as_floats(array, "x").data_ptr() == array.ctypes.data
    assert as_floats(array[::-1], "x").tolist() == [1, 1, 1]


def test_inputs_are_not_changed():
    for call, *arrays in TESTED.values():
        copies = [array.copy() for array in arrays]
        call(*copies)
        for array, copy in zip(arrays, copies, strict=True):
            np.testing.assert_array_equal(array, copy)
