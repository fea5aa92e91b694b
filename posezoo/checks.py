"""Checks of the inputs of networks: images, clips and keypoints; errors name the fix."""

import torch
from torch import Tensor, nn


def check_image(image: Tensor, multiple: int = 1, channels: int = 3) -> None:
    """Check an image batch.

    Raises:
        ValueError: not a float tensor `(B, channels, H, W)`, or sides not multiples of `multiple`.
    """
    if not isinstance(image, Tensor):
        raise ValueError(f"image: expected a tensor (B, 3, H, W), got {type(image).__name__}; see posezoo.predict")
    if image.ndim != 4 or image.shape[1] != channels:
        hint = ", RGB," if channels == 3 else " of in_chans channels,"
        raise ValueError(
            f"image: expected (B, {channels}, H, W){hint} got shape {tuple(image.shape)}; add the batch axis with "
            "image[None], move channels first with image.movedim(-1, -3), repeat grey with image.repeat(1, 3, 1, 1)"
        )
    if not image.is_floating_point():
        raise ValueError(f"image: expected floats in [0, 1], got {image.dtype}; use image.float() / 255")
    height, width = image.shape[-2:]
    if height == 0 or width == 0 or height % multiple or width % multiple:
        up = [max(multiple, -(-side // multiple) * multiple) for side in (height, width)]
        raise ValueError(
            f"image: expected H and W to be multiples of {multiple}, got ({height}, {width}); "
            f"resize or pad, for instance to ({up[0]}, {up[1]})"
        )


def check_clip(clip: Tensor, size: tuple[int, int], channels: int = 3) -> None:
    """Check a batch of clips.

    Raises:
        ValueError: not a float tensor `(B, T, 3, H, W)` of at least one frame, or frames of another
            size.
    """
    if not isinstance(clip, Tensor):
        raise ValueError(
            f"clip: expected a tensor (B, T, 3, H, W), got {type(clip).__name__}; use torch.as_tensor(clip)"
        )
    shape = tuple(clip.shape)
    if clip.ndim != 5 or shape[2] != channels:
        raise ValueError(
            f"clip: expected (B, T, {channels}, H, W), RGB, got shape {shape}; add the batch axis to one clip with "
            "clip[None], the time axis to single frames with image[:, None], move channels first with "
            "clip.movedim(-1, -3), repeat grey with clip.repeat(1, 1, 3, 1, 1)"
        )
    if not clip.is_floating_point():
        raise ValueError(f"clip: expected floats in [0, 1], got {clip.dtype}; use clip.float() / 255")
    if shape[1] == 0:
        raise ValueError(f"clip: expected at least one frame, got shape {shape}; leave empty videos out")
    if shape[3:] != size:
        raise ValueError(
            f"clip: expected frames of {size}, got {shape[3:]}; resize or pad them, or create the model with "
            "size=(H, W): all sizes that work are multiples of 8, as (64, 64), (256, 256) or (368, 368)"
        )


def check_keypoints(keypoints: Tensor, num_inputs: int) -> None:
    """Check a batch of 2D keypoint sequences.

    Raises:
        ValueError: not a float tensor `(B, T, num_inputs, 2)` of at least one frame, or keypoints
            that are not finite.
    """
    if not isinstance(keypoints, Tensor):
        raise ValueError(
            f"keypoints: expected a tensor (B, T, {num_inputs}, 2), got {type(keypoints).__name__}; "
            "use torch.as_tensor(keypoints), or posezoo.lift"
        )
    shape = tuple(keypoints.shape)
    if keypoints.ndim != 4:
        raise ValueError(
            f"keypoints: expected (B, T, {num_inputs}, 2), got shape {shape}; add the batch axis to one video "
            "with keypoints[None], the time axis to single frames with keypoints[:, None]"
        )
    if shape[3] != 2:
        raise ValueError(
            f"keypoints: expected (B, T, {num_inputs}, 2), x and y in pixels, got shape {shape}; "
            "leave scores out with keypoints[..., :2]"
        )
    if shape[2] != num_inputs:
        raise ValueError(
            f"keypoints: expected (B, T, {num_inputs}, 2), got {shape[2]} keypoints; posezoo.skeletons.convert turns "
            "one skeleton into another, create(..., input_keypoints=...) makes a network for yours"
        )
    if shape[1] == 0:
        raise ValueError(f"keypoints: expected at least one frame, got shape {shape}; leave empty videos out")
    if not keypoints.is_floating_point():
        raise ValueError(f"keypoints: expected floats, got {keypoints.dtype}; use keypoints.float()")
    # on a GPU the check would wait for it; posezoo.lift checks
    if keypoints.is_cpu and not torch.compiler.is_compiling() and not keypoints.isfinite().all():
        raise ValueError("keypoints: some are not finite, which is how gaps are marked; posezoo.lift fills gaps")


def check_batch_norm(model: nn.Module, count: int) -> None:
    """Check that a training batch has the two frames that batch normalisation needs for a variance.

    Raises:
        ValueError: one frame in training mode.
    """
    if model.training and count == 1:
        raise ValueError(
            "batch normalisation needs at least two frames in training, got one; add to the batch, or use model.eval()"
        )
