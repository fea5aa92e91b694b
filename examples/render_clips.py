"""Render labelled clips of a body in CMU's motions: images, 3D poses and 2D keypoints.

    python examples/render_clips.py --body body --motions bvh.zip --output out --clips 8 --length 5
    --size 128

`body` is the MakeHuman base mesh (CC0) with the rig cmu_mb as MPFB2 distributes it, `--motions` are
the files that `posezoo.data.CMU` reads, except the prepared clips, which have positions only. Body,
clothes, light, background, camera and motion are random per clip and constant within it. The clips
are written as .npz, and one image shows them with their keypoints. For training nothing needs to be
written: `Clips` is a `Dataset` that renders on demand, the same clip for the same index and seed.
`rendering.py` describes the rendering.

The labels are the joints of the rendered body, not the actor's, in the definitions of
`posezoo.data.cmu` where the rig has them: `spine` is 53 % of the way from pelvis to thorax,
`neck_nose` the base of the skull (start of the bone Neck1, 15 cm above the thorax); but `head` is
the crown, where CMU's skeletons end some 10 cm lower, and `wrist` is the wrist, where CMU's bone
`radius` ends two thirds down the forearm.
"""

import argparse
import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from posezoo.data import virtual_cameras
from posezoo.data.cmu import read_motions
from posezoo.geometry import Camera, box_to_crop, crop_matrix, tight_box, transform_points
from posezoo.viz import draw_keypoints

from rendering import (
    LIMB_BONES,
    PART,
    SIDES,
    SPACINGS,
    TURNS,
    Body,
    Fragments,
    Surface,
    Take,
    pose_body,
    rasterise,
    read_take,
    skinned,
)

IMAGE = 1000  # pixels, side of the virtual camera's square image, of which a crop is rendered
PADDING = (1.15, 1.4)  # of the crop around the keypoints' box, range
STATURE = (0.94, 1.06)  # factor on the body's size, range
SHIFT = 0.05  # of the crop in units of its side, maximum
LEAN = 20.0  # degrees, standard deviation of the inclination of `mix`
HEIGHT = (500.0, 2200.0)  # mm of the camera above the floor, range
SPARSE = 0.9  # pixels between points of the surface, maximum
SAMPLINGS = ("sqrt", "proportional")  # of recordings, by their numbers of possible clips
SKIN = ((0.95, 0.76, 0.65), (0.87, 0.63, 0.48), (0.71, 0.48, 0.34), (0.50, 0.32, 0.22), (0.32, 0.20, 0.14))
HAIR = ((0.08, 0.06, 0.05), (0.22, 0.13, 0.08), (0.42, 0.27, 0.14), (0.76, 0.60, 0.36), (0.60, 0.58, 0.56))


class Clips(Dataset[dict[str, Any]]):
    """Dataset of clips that are rendered on demand.

    Args:
        motions: recordings from `read_takes`, at the frame rate of the clips.
        body: the body to render.
        size: side of the square crop, pixels.
        length: frames per clip.
        count: number of clips.
        seed: random seed; clip `i` depends only on it and on `i`.
        padding: range of the factor on the keypoints' box in all frames of the clip.
        shift: of the crop in units of its side, maximum.
        height: range of the camera's height above the floor, mm.
        backgrounds: images to crop backgrounds from. Defaults to random gradients, boxes and noise.
        photographed: probability of a background from `backgrounds`, where there are some.
        occluders: probability of an occluder in front of the person.
        mixed: probability that limbs are moved as in another recording, and the body leans; see
            `mix`.
        sampling: how often clips of a recording are drawn. "sqrt": in proportion to the square root
            of its number of possible clips, so that one long recording does not dominate.
            "proportional": in proportion to that number, so that all possible clips are equally
            likely. Within a recording they always are.

    Yields dictionaries of

        clip       (T, 3, H, W) uint8, RGB
        pose3d     (T, 17, 3) mm of `h36m17`, in the camera's frame, relative to the pelvis
        keypoints  (T, 17, 2) pixels of the clip
        subject    text, the subject of the recording

    Raises:
        ValueError: no recording is as long as a clip, or another `sampling`.
    """

    def __init__(
        self,
        motions: Sequence[Take],
        body: Body,
        *,
        size: int = 128,
        length: int = 5,
        count: int = 10000,
        seed: int = 0,
        padding: tuple[float, float] = PADDING,
        shift: float = SHIFT,
        height: tuple[float, float] = HEIGHT,
        backgrounds: Sequence[str | Path] = (),
        photographed: float = 1.0,
        occluders: float = 0.1,
        mixed: float = 0.0,
        sampling: str = "sqrt",
    ) -> None:
        if sampling not in SAMPLINGS:
            raise ValueError(f"sampling: expected {' or '.join(SAMPLINGS)}, got {sampling!r}")
        self.takes = [take for take in motions if len(take.pelvis) >= length]
        if not self.takes:
            longest = max((len(take.pelvis) for take in motions), default=0)
            raise ValueError(
                f"no motion has the {length} frames of a clip, the longest has {longest}; shorten the clips"
            )
        self.body, self.size, self.length, self.count, self.seed = body, size, length, count, seed
        self.padding, self.shift, self.height = padding, shift, height
        self.backgrounds, self.photographed, self.occluders = list(backgrounds), photographed, occluders
        self.mixed, self.sampling = mixed, sampling
        self.possible = np.array([len(take.pelvis) - length + 1 for take in self.takes])  # clips of each recording

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        random = np.random.default_rng([self.seed, index])
        take, vertices, moves, world = self.posed(random)
        camera = self._camera(world, random)
        pose3d = camera.world_to_camera(world)
        clip, _, _ = draw(self.body, vertices, moves, camera, random_look(random), self._background(random))
        if random.random() < self.occluders:
            clip = occluded(clip, random)
        return {
            "clip": photographed(clip, random),
            "pose3d": pose3d - pose3d[:, :1],
            "keypoints": camera.project(pose3d),
            "subject": take.subject or "",
        }

    def posed(self, random: np.random.Generator) -> tuple[Take, Tensor, Tensor, Tensor]:
        """Draw a part of a recording and a body: the recording, vertices, and moves and keypoints of `pose_body`."""
        number, first = self.choose(random)
        take = self.takes[number]
        if self.mixed and random.random() < self.mixed:
            other, start = self.choose(random)
            take = mix(part_of(take, first, self.length), part_of(self.takes[other], start, self.length), random)
            first = 0
        vertices = self.body.shaped(random_shape(self.body.targets, random), scale=random.uniform(*STATURE))
        return take, vertices, *pose_body(self.body, vertices, take, slice(first, first + self.length))

    def choose(self, random: np.random.Generator) -> tuple[int, int]:
        """Draw a recording, as `sampling` has it, and the first frame of a clip in it."""
        if self.sampling == "proportional":  # one draw among all possible clips
            last = np.cumsum(self.possible)
            start = int(random.integers(last[-1]))
            number = int(np.searchsorted(last, start, side="right"))
            return number, start - int(last[number] - self.possible[number])
        share = np.sqrt(self.possible)
        number = int(random.choice(len(share), p=share / share.sum()))
        return number, int(random.integers(self.possible[number]))

    def _camera(self, world: Tensor, random: np.random.Generator) -> Camera:
        """A camera whose image is the crop, the same for all frames."""
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        camera = virtual_cameras(world, 1, height=self.height, size=(IMAGE, IMAGE), generator=generator)[0]
        points = camera.project(camera.world_to_camera(world)).reshape(-1, 2)
        box = tight_box(points, torch.ones(len(points), dtype=torch.bool))
        size = (self.size, self.size)
        center, extent = box_to_crop(box[None], size, padding=random.uniform(*self.padding))
        center = center + extent * torch.from_numpy(random.uniform(-self.shift, self.shift, 2))
        matrix = crop_matrix(center, extent, size).to(camera.focal)[0]
        middle = transform_points(camera.center[None], matrix)[0]
        return replace(camera, focal=camera.focal * matrix.diagonal(), center=middle, size=size)

    def _background(self, random: np.random.Generator) -> Tensor:
        if self.backgrounds and (self.photographed == 1 or random.random() < self.photographed):
            return photo_background(self.backgrounds[int(random.integers(len(self.backgrounds)))], self.size, random)
        return drawn_background(self.size, random)


def part_of(take: Take, first: int, length: int) -> Take:
    """Cut a recording."""
    frames = slice(first, first + length)
    return replace(take, rotations=take.rotations[frames], pelvis=take.pelvis[frames])


def mix(take: Take, other: Take, random: np.random.Generator) -> Take:
    """Take half of the limbs, relative to the trunk, from another recording, and lean the body.

    Args:
        take: the recording.
        other: one of the same length.
        random: random generator.
    """
    names, rotations, rest = list(TURNS), take.rotations.clone(), take.rest.clone()
    for side, (bones, root) in itertools.product(SIDES, LIMB_BONES.items()):
        if random.random() < 0.5:
            continue
        base = names.index(root)
        for bone in (names.index(f"{side}{bone}") for bone in bones):
            relative = other.rotations[:, base].mT @ other.rotations[:, bone]
            rotations[:, bone], rest[bone] = take.rotations[:, base] @ relative, other.rest[bone]
    way, angle = random.uniform(0, 2 * np.pi), np.deg2rad(random.normal(0, LEAN))
    axis = torch.tensor([[0.0, 0.0, np.sin(way)], [0.0, 0.0, -np.cos(way)], [-np.sin(way), np.cos(way), 0.0]])
    lean = torch.linalg.matrix_exp(angle * axis).float()
    middle = take.pelvis.mean(dim=0)
    return replace(take, rotations=lean @ rotations, pelvis=(take.pelvis - middle) @ lean.mT + middle, rest=rest)


def read_takes(
    roots: Iterable[str | Path], fps: float, *, subjects: Iterable[str] | None = None, skip: Iterable[str] = ()
) -> list[Take]:
    """Read the recordings of several folders or zip files.

    A recording that several of them have is read from the first.

    Args:
        roots: folders or zip files, as for `posezoo.data.CMU`.
        fps: frames per second to resample to.
        subjects: subjects to keep, as "02". Defaults to all.
        skip: subjects to leave out.

    Raises:
        ValueError: no recording is left.
    """
    kept, left_out = None if subjects is None else set(subjects), set(skip)
    found: dict[str, Take] = {}
    for root in roots:
        for motion in read_motions(root):
            if motion.name not in found:
                found[motion.name] = read_take(motion, fps)
    takes = list(found.values())
    known = sorted({take.subject for take in takes if take.subject})
    takes = [t for t in takes if t.subject not in left_out and (kept is None or t.subject in kept)]
    if not takes:
        raise ValueError(f"no motion is left; the subjects are {', '.join(known)}")
    return takes


def draw(
    body: Body, vertices: Tensor, moves: Tensor, camera: Camera, look: dict[str, Any], background: Tensor
) -> tuple[Tensor, Surface, Fragments]:
    """Render the body; also return its surface and the visible points of it.

    Args:
        body: the body.
        vertices: `(V, 3)` mm, its shape.
        moves: `(T, B, 3, 4)` to the world (`pose_body`).
        camera: the camera.
        look: colours, clothes and light (`random_look`).
        background: `(3, H, W)`, square.

    Returns:
        clip `(T, 3, H, W)`, not clamped to [0, 1], the surface, and the fragments.
    """
    frames, size = len(moves), background.shape[-1]
    rotation = camera.rotation.float()
    moves = rotation @ moves
    moves[..., 3] -= rotation @ camera.translation.float()
    joints = moves[..., :3] @ body.joints(vertices)[0][..., None] + moves[..., 3:]
    finest = SPARSE * float(joints[..., 2, 0].min() / camera.focal.max())
    surface = body.surface(
        max((spacing for spacing in SPACINGS if spacing <= finest), default=SPACINGS[0]),
        hair=look["long_hair"],
        skirt=look["skirted"],
    )
    normals = surface.at(body.normals(vertices))
    points = dressed(surface, surface.at(vertices), normals, look)
    fragments = rasterise(skinned(surface, points, moves), camera.focal.tolist(), camera.center.tolist(), size)
    pixels = background.view(3, 1, -1).repeat(1, frames, 1).view(3, -1)
    pixels[:, fragments.pixel] = shaded(surface, points, normals, moves, fragments, look).T
    return pixels.view(3, frames, size, size).transpose(0, 1), surface, fragments


# ---------------------------------------------------------------------------------------------- appearance


def random_shape(targets: Sequence[str], random: np.random.Generator) -> Tensor:
    """Random mixture of the shape targets, over ethnicity, gender and age: weights `(S,)`."""
    gender, age = random.beta(0.5, 0.5), random.beta(0.7, 1.3)
    names = sorted({target.split("-")[0] for target in targets})
    origins = dict(zip(names, random.dirichlet([0.5] * len(names)), strict=True))
    shares = []
    for target in targets:
        origin, sex, years = target.split("-")
        shares.append(
            origins[origin] * (gender if sex == "male" else 1 - gender) * (age if years == "old" else 1 - age)
        )
    return torch.tensor(shares, dtype=torch.float32) / sum(shares)


def random_look(random: np.random.Generator) -> dict[str, Any]:
    """Random colours, clothes and light of one clip."""
    skin = np.array(SKIN[int(random.integers(len(SKIN)))]) * random.uniform(0.85, 1.1)
    hair = np.array(HAIR[int(random.integers(len(HAIR)))]) * random.uniform(0.7, 1.2)
    direction = random.normal((0.0, -1.5, -1.0))  # mostly from above and from the camera
    colour = torch.tensor(np.stack([skin, hair, *(random_colour(random) for _ in range(6))]), dtype=torch.float32)
    return {
        "colours": colour,  # skin, hair, shirt and its second colour, trousers and theirs, shoes, skirt
        "hairline": random.uniform(-0.05, 0.3) if random.random() < 0.92 else 9.0,
        "long_hair": random.random() < 0.3,
        "skirted": random.random() < 0.12,
        "sleeve": 0.0 if random.random() < 0.12 else random.uniform(0.4, 0.9) if random.random() < 0.5 else 2.0,
        "trouser": random.uniform(0.4, 1.0) if random.random() < 0.3 else random.uniform(1.8, 2.1),
        "hem": random.uniform(0.05, 0.3) if random.random() < 0.7 else -1.0,
        "tail": random.uniform(0.05, 0.35),  # end of a long shirt on the legs
        "topless": random.random() < 0.04,
        "loose": (random.uniform(0, 14), random.uniform(0, 14)),  # mm between skin and shirt, skin and trousers
        "waves": torch.tensor(random.normal(size=(2, 3)) * 2 * np.pi / random.uniform(30, 160), dtype=torch.float32),
        "pattern": random.choice([0.0, 0.0, 0.35, 1.0], size=2),  # of shirt and trousers
        "light": torch.tensor(direction / np.linalg.norm(direction), dtype=torch.float32),
        "ambient": random.uniform(0.35, 0.75),
        "diffuse": random.uniform(0.3, 0.8),
        "grain": random.uniform(0, 0.06),
        "seed": int(random.integers(2**62)),
    }


def random_colour(random: np.random.Generator) -> np.ndarray:
    """Random colour `(3,)`, with random saturation."""
    value, colour = random.uniform(0.05, 0.95), random.uniform(0.03, 0.97, 3)
    return value + random.choice([0.1, 0.3, 0.6, 1.0]) * (colour - value)


def dressed(surface: Surface, points: Tensor, normals: Tensor, look: dict[str, Any]) -> Tensor:
    """Points `(N, 3)` of the clothed body: clothes are offset from the skin."""
    shirt, trousers = _clothes(surface.part, surface.along, look)
    off = look["loose"][0] * shirt + look["loose"][1] * trousers
    return torch.addcmul(points, normals, off[:, None])


def _clothes(part: Tensor, along: Tensor, look: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Masks of the points that shirt and trousers cover."""
    torso = part == PART["torso"]
    shirt = (torso & (along > look["hem"])) | ((part == PART["arm"]) & (along < look["sleeve"]))
    if look["hem"] < 0:
        shirt |= (part == PART["leg"]) & (along < look["tail"])
    if look["topless"]:
        shirt = torch.zeros_like(shirt)
    trousers = (torso & (along < max(look["hem"], 0.15))) | ((part == PART["leg"]) & (along < look["trouser"]))
    trousers &= ~shirt
    return shirt, trousers


def shaded(
    surface: Surface, points: Tensor, normals: Tensor, moves: Tensor, fragments: Fragments, look: dict[str, Any]
) -> Tensor:
    """Colours `(n, 3)` of the fragments, by Lambertian and ambient light and patterns of clothes."""
    index = fragments.point
    part, along, rest = surface.part[index], surface.along[index], points[index]
    shirt, trousers = _clothes(part, along, look)
    skin, hair, shirt_a, shirt_b, trousers_a, trousers_b, shoes, skirt = look["colours"]
    wave = (torch.sin(rest @ look["waves"].T).sum(dim=1, keepdim=True) > 0).float()
    colour = skin.repeat(len(index), 1)
    colour[shirt] = torch.lerp(shirt_a, shirt_b, float(look["pattern"][0]) * wave[shirt])
    colour[trousers] = torch.lerp(trousers_a, trousers_b, float(look["pattern"][1]) * wave[trousers])
    colour[part == PART["foot"]] = shoes
    colour[(part == PART["hair"]) | ((part == PART["head"]) & (along > look["hairline"]))] = hair
    colour[part == PART["skirt"]] = skirt
    colour[part == PART["eye"]] = 0.5
    # normals are rotated by the bones of their points, and flipped towards the camera where the mesh is seen from
    # behind
    matrices = moves[..., :3].permute(0, 2, 3, 1)
    weights = surface.skin[index]
    turned = torch.zeros(len(index), 3)
    for frame, matrix in enumerate(matrices):
        mine = fragments.frame == frame
        blended = (weights[mine] @ matrix.reshape(9, -1).T).view(-1, 3, 3)
        turned[mine] = (blended @ normals[index[mine]][..., None])[..., 0]
    turned = F.normalize(turned, dim=-1)
    turned = torch.where(turned[:, 2:] > 0.2, -turned, turned)
    lit = look["ambient"] + look["diffuse"] * (turned @ look["light"]).clamp_min(0)
    grain = torch.randn(len(points), generator=torch.Generator().manual_seed(look["seed"]))[index]
    return colour * (lit + look["grain"] * grain)[:, None]


# ------------------------------------------------------------------------------------- backgrounds and occluders


def drawn_background(size: int, random: np.random.Generator) -> Tensor:
    """Random background `(3, H, W)`: a gradient, noise of several scales, some boxes."""
    corners = torch.tensor(
        np.stack([random_colour(random) for _ in range(4)]).T.reshape(1, 3, 2, 2), dtype=torch.float32
    )
    image = F.interpolate(corners, size=(size, size), mode="bilinear", align_corners=True)[0]
    for _ in range(int(random.integers(0, 9))):
        x1, x2 = sorted(random.integers(0, size + 1, 2))
        y1, y2 = sorted(random.integers(0, size + 1, 2))
        share = random.uniform(0.3, 1)
        colour = torch.tensor(random_colour(random), dtype=torch.float32)[:, None, None]
        image[:, y1:y2, x1:x2].lerp_(colour.expand(3, y2 - y1, x2 - x1), share)
    strength = random.uniform(0, 0.2)
    for cells in (4, 8, 16, 32, 64):
        noise = torch.tensor(random.normal(size=(1, 3, cells, cells)), dtype=torch.float32)
        noise = torch.lerp(noise, noise.mean(dim=1, keepdim=True), random.uniform(0.6, 1))
        scale = strength * random.uniform(0, 1)
        image = image + scale * F.interpolate(noise, size=(size, size), mode="bilinear", align_corners=False)[0]
    return image


def photo_background(path: str | Path, size: int, random: np.random.Generator) -> Tensor:
    """Random square of an image: `(3, H, W)`."""
    with Image.open(path) as image:
        image.draft("RGB", (2 * size, 2 * size))
        side = int(min(image.size) * random.uniform(0.4, 1))
        x, y = (int(random.integers(0, length - side + 1)) for length in image.size)
        cut = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, (x, y, x + side, y + side))
    return torch.from_numpy(np.array(cut)).permute(2, 0, 1).float() / 255


def occluded(clip: Tensor, random: np.random.Generator) -> Tensor:
    """Draw a rotated box of one colour over all frames, in the same place."""
    size = clip.shape[-1]
    grid = torch.arange(size, dtype=torch.float32) / size
    angle, (x, y), (w, h) = random.uniform(-0.5, 0.5), random.uniform(0.1, 0.9, 2), random.uniform(0.05, 0.25, 2)
    across = (grid[None] - x) * np.cos(angle) + (grid[:, None] - y) * np.sin(angle)
    down = (grid[:, None] - y) * np.cos(angle) - (grid[None] - x) * np.sin(angle)
    colour = torch.tensor(random_colour(random), dtype=torch.float32)[:, None, None]
    return torch.where((across.abs() < w) & (down.abs() < h), colour, clip)


def photographed(clip: Tensor, random: np.random.Generator) -> Tensor:
    """Apply random blur, exposure, colour cast and noise; return uint8."""
    edge = float(np.exp(-1 / (2 * random.uniform(0.3, 0.8) ** 2)))
    planes = F.pad(clip, (1, 1, 1, 1), mode="replicate")
    planes = torch.add(planes[..., 1:-1], planes[..., 2:] + planes[..., :-2], alpha=edge)
    planes = torch.add(planes[..., 1:-1, :], planes[..., 2:, :] + planes[..., :-2, :], alpha=edge)
    planes /= (1 + 2 * edge) ** 2
    gain = torch.tensor(random.uniform(0.7, 1.2) * random.uniform(0.94, 1.06, 3), dtype=torch.float32)
    image = planes * (255 * gain[:, None, None]) + 255 * random.uniform(-0.08, 0.08)
    noise = torch.Generator().manual_seed(int(random.integers(2**62)))
    image = image + random.uniform(0, 8) * torch.randn(image.shape, generator=noise)
    return image.round_().clamp_(0, 255).to(torch.uint8)


# ------------------------------------------------------------------------------------------------- command line


def contact_sheet(clips: Sequence[dict[str, Any]]) -> Image.Image:
    """Image with two rows per clip, without and with its keypoints."""
    rows = []
    for clip in clips:
        frames = clip["clip"].permute(0, 2, 3, 1).numpy()
        drawn = [draw_keypoints(f, k[None], "h36m17") for f, k in zip(frames, clip["keypoints"], strict=True)]
        rows += [np.concatenate(list(frames), axis=1), np.concatenate(drawn, axis=1)]
    return Image.fromarray(np.concatenate(rows))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--body", type=Path, required=True, help="folder of the base mesh")
    parser.add_argument("--motions", type=Path, nargs="+", required=True, help="folders or zip files of CMU's motions")
    parser.add_argument("--subjects", nargs="+", help="subjects to keep, as 02")
    parser.add_argument("--skip", nargs="+", default=(), help="subjects to leave out")
    parser.add_argument("--backgrounds", type=Path, help="folder of images")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--length", type=int, default=5, help="frames per clip")
    parser.add_argument("--fps", type=float, default=25)
    parser.add_argument("--sampling", choices=SAMPLINGS, default="sqrt", help="of the recordings, see Clips")
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)

    images = (
        []
        if args.backgrounds is None
        else sorted(path for path in args.backgrounds.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    )
    clips = Clips(
        read_takes(args.motions, args.fps, subjects=args.subjects, skip=args.skip), Body(args.body), size=args.size,
        length=args.length, count=args.clips, seed=args.seed, backgrounds=images, sampling=args.sampling,
    )  # fmt: skip
    args.output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    made = [clips[index] for index in range(len(clips))]
    seconds = time.perf_counter() - start
    for index, clip in enumerate(made):
        arrays: dict[str, Any] = {key: np.asarray(value) for key, value in clip.items()}
        np.savez_compressed(args.output / f"clip_{index:05d}.npz", **arrays, fps=args.fps)
    contact_sheet(made[:32]).save(args.output / "clips.png")
    print(f"{len(made)} clips in {args.output}, {len(made) * args.length / seconds:.0f} frames/s; drawn in clips.png")


if __name__ == "__main__":
    main()
