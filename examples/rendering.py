"""Software renderer of a skinned body in motions of the CMU database, for `render_clips.py`.

`Body` reads the MakeHuman base mesh as MPFB2 distributes it: `base.obj`, `rig.cmu_mb.json`,
`weights.cmu_mb.json` and the shape targets in `targets/`. `Take` is a recorded motion retargeted to
that rig: rotations of its bones. `pose_body` poses the body, `rasterise` renders its points.

Coordinates: body and CMU's skeletons are in millimetres, and in their rest poses y is up, the face
is towards z and the left side at +x. Their rest poses differ: the body's arms hang at 45 degrees,
CMU's are horizontal (.asf) or hang down (.bvh), and the body's legs are not splayed.
`_rest_to_rest` rotates each limb from the body's rest pose to CMU's, before the rotations of the
motion apply.

Rendering is point splatting with a z-buffer. The surface is sampled so densely that neighbours are
less than a pixel apart, each point is drawn in one pixel, and the nearest point of a pixel is kept;
holes of a single pixel are then closed. Only the kept points are shaded. This needs no triangles
and no loop over points or pixels, and costs about as much as skinning the points.
"""

import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posezoo.data.cmu import Motion, resample, subject_of, to_h36m17
from posezoo.skeletons import get_skeleton

UNIT = 100.0  # mm in the unit of the mesh
SIDES = {"Left": 1.0, "Right": -1.0}
# the bones of the rig, and the joint of .asf, of Hahne's 3ds Max and of his MotionBuilder files that rotates each of
# them; other bones (hip joints, parts of the hands) keep their pose relative to the parent
TURNS: dict[str, tuple[str, str, str]] = {
    "Hips": ("root", "Hips", "Hips"),
    "LowerBack": ("lowerback", "lowerback", "LowerBack"),
    "Spine": ("upperback", "Chest", "Spine"),
    "Spine1": ("thorax", "Chest2", "Spine1"),
    "Neck": ("lowerneck", "lowerneck", "Neck"),
    "Neck1": ("upperneck", "Neck", "Neck1"),
    "Head": ("head", "Head", "Head"),
    "LeftShoulder": ("lclavicle", "LeftCollar", "LeftShoulder"),
    "LeftArm": ("lhumerus", "LeftShoulder", "LeftArm"),
    "LeftForeArm": ("lradius", "LeftElbow", "LeftForeArm"),
    "LeftHand": ("lhand", "lhand", "LeftFingerBase"),
    "LeftUpLeg": ("lfemur", "LeftHip", "LeftUpLeg"),
    "LeftLeg": ("ltibia", "LeftKnee", "LeftLeg"),
    "LeftFoot": ("lfoot", "LeftAnkle", "LeftFoot"),
    "LeftToeBase": ("ltoes", "LeftToe", "LeftToeBase"),
    "RightShoulder": ("rclavicle", "RightCollar", "RightShoulder"),
    "RightArm": ("rhumerus", "RightShoulder", "RightArm"),
    "RightForeArm": ("rradius", "RightElbow", "RightForeArm"),
    "RightHand": ("rhand", "rhand", "RightFingerBase"),
    "RightUpLeg": ("rfemur", "RightHip", "RightUpLeg"),
    "RightLeg": ("rtibia", "RightKnee", "RightLeg"),
    "RightFoot": ("rfoot", "RightAnkle", "RightFoot"),
    "RightToeBase": ("rtoes", "RightToe", "RightToeBase"),
}
# keypoint: the bone that starts there; `_keypoints` derives the others
STARTS = {
    "hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "shoulder": "Arm", "elbow": "ForeArm", "wrist": "Hand",
}  # fmt: skip
SPINE = 0.05  # of the bone Spine from its start: 53 % of the way from pelvis to thorax, as in `posezoo.data.cmu`
# parts of the body that a point can belong to; `along` is its position on the part
PARTS = ("torso", "arm", "hand", "leg", "foot", "neck", "head", "eye", "hair", "skirt")
PART = {name: number for number, name in enumerate(PARTS)}
LIMBS = {  # bone: part, value of `along` at its start, bone at its end
    "Arm": ("arm", 0.0, "ForeArm"),
    "ForeArm": ("arm", 1.0, "Hand"),
    "UpLeg": ("leg", 0.0, "Leg"),
    "Leg": ("leg", 1.0, "Foot"),
}
# bones of arms and legs, without their side, and the bone of the trunk that they hang on
LIMB_BONES = {("Arm", "ForeArm", "Hand"): "Spine1", ("UpLeg", "Leg", "Foot", "ToeBase"): "Hips"}
DRAWN = ("body", "helper-l-eye", "helper-r-eye", "helper-hair", "helper-skirt")  # groups of the mesh
SPACINGS = tuple(2.0 * 2 ** (step / 2) for step in range(10))  # mm between sampled points, 2 to 45
TOUCHING = 60.0  # mm: a pixel is a hole if two opposite neighbours are nearer by more than this


@dataclass(frozen=True, eq=False)
class Surface:
    """Points sampled on the body, with their attributes that do not depend on shape and pose.

    Args:
        corners: `(N, 4)` indices of vertices.
        shares: `(N, 4)`, sum 1.
        skin: `(N, B)` weights of the bones.
        part: `(N,)` index into PARTS.
        along: `(N,)` position on the part, see `_anatomy`.
    """

    corners: Tensor
    shares: Tensor
    skin: Tensor
    part: Tensor
    along: Tensor

    def at(self, values: Tensor) -> Tensor:
        """Interpolate values of vertices `(V, D)` at the points `(N, D)`."""
        total = values.new_zeros(len(self.part), values.shape[1])
        for corner in range(4):
            total.addcmul_(values.index_select(0, self.corners[:, corner]), self.shares[:, corner, None])
        return total


class Body:
    """The body in its rest pose, in all shapes.

    Args:
        folder: with `base.obj`, `rig.cmu_mb.json`, `weights.cmu_mb.json` and
            `targets/*-*-*.target.gz`, whose names are ethnicity, gender and age.

    Raises:
        ValueError: a file is missing or does not fit the others.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        files = [folder / name for name in ("base.obj", "rig.cmu_mb.json", "weights.cmu_mb.json")]
        missing = [path.name for path in files if not path.is_file()]
        targets = sorted((folder / "targets").glob("*.target.gz"))
        if missing or not targets:
            raise ValueError(
                f"{folder} has no {', '.join(missing) or 'targets/*.target.gz'}; expected MakeHuman's base mesh with "
                "the rig cmu_mb and the shape targets"
            )
        self.vertices, groups = _read_obj(files[0])
        rig, weights = json.loads(files[1].read_text()), json.loads(files[2].read_text())["weights"]
        absent = [bone for bone in (*TURNS, "LThumb", "RThumb") if bone not in rig or bone not in weights]
        if absent:
            raise ValueError(f"{files[1]} or {files[2].name} has no bone {absent[0]}; expected MakeHuman's rig cmu_mb")
        self.bones = _parents_first({bone: record["parent"] for bone, record in rig.items()})
        self.parents = tuple(self.bones.index(rig[b]["parent"]) if rig[b]["parent"] else -1 for b in self.bones)
        ends = [rig[bone][end] for end in ("head", "tail") for bone in self.bones]
        around = [
            torch.tensor(end["vertex_indices"]) if end["strategy"] == "MEAN" else groups[end["cube_name"]].unique()
            for end in ends
        ]
        self.ends = nn.utils.rnn.pad_sequence(around, batch_first=True)
        self.ends_shares = nn.utils.rnn.pad_sequence(
            [torch.full((len(a),), 1 / len(a)) for a in around], batch_first=True
        )
        self.skin = torch.zeros(len(self.vertices), len(self.bones))
        for number, bone in enumerate(self.bones):
            if weights[bone]:
                index, share = torch.tensor(weights[bone], dtype=torch.float64).T
                self.skin[index.long(), number] = share.float()
        self.skin /= self.skin.sum(dim=1, keepdim=True).clamp_min(1e-6)
        self.targets = tuple(path.name.split(".")[0] for path in targets)
        self.offsets = torch.stack([_read_target(path, len(self.vertices)) for path in targets])
        self.groups = {group: groups[group] for group in DRAWN if group in groups}
        self.part, self.along = self._anatomy()
        self.surfaces: dict[tuple[float, bool, bool], Surface] = {}

    def shaped(self, shares: Tensor, scale: float = 1.0) -> Tensor:
        """Vertices `(V, 3)` mm of a mixture of `targets` with weights `(S,)` of sum 1."""
        mixed = (shares @ self.offsets.flatten(1)).view_as(self.vertices)
        return (self.vertices + mixed) * scale

    def joints(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Starts and ends of the bones in a shape: `(B, 3)`, `(B, 3)` mm."""
        heads, tails = (vertices[self.ends] * self.ends_shares[..., None]).sum(dim=1).chunk(2)
        return heads, tails

    def normals(self, vertices: Tensor) -> Tensor:
        """Unit normals `(V, 3)`, outward."""
        quads = torch.cat(list(self.groups.values()))
        a, b, c, d = vertices[quads].unbind(dim=1)
        flat = torch.linalg.cross(c - a, d - b, dim=-1)
        normals = torch.zeros_like(vertices)
        for corner in range(4):
            normals.index_add_(0, quads[:, corner], flat)
        return F.normalize(normals, dim=-1)

    def surface(self, spacing: float, *, hair: bool = False, skirt: bool = False) -> Surface:
        """Points on the surface, at most `spacing` mm apart in the mean shape of all targets."""
        key = (spacing, hair, skirt)
        if key not in self.surfaces:
            hidden = {"helper-hair": not hair, "helper-skirt": not skirt}
            quads = torch.cat([quads for group, quads in self.groups.items() if not hidden.get(group, False)])
            self.surfaces[key] = self._sample(quads, spacing)
        return self.surfaces[key]

    def _sample(self, quads: Tensor, spacing: float) -> Surface:
        """A grid of points on every quad; some quads smaller than a cell get none."""
        corners = self.shaped(torch.full((len(self.targets),), 1 / len(self.targets)))[quads]
        a, b, c, d = corners.unbind(dim=1)
        wide = torch.maximum((b - a).norm(dim=-1), (c - d).norm(dim=-1)) / spacing
        high = torch.maximum((d - a).norm(dim=-1), (c - b).norm(dim=-1)) / spacing
        columns, rows = wide.ceil().clamp_min(1).long(), high.ceil().clamp_min(1).long()
        share = (2 * wide.clamp_max(1) * high.clamp_max(1)).clamp_max(1)  # 2: the quads left out are not evenly spread
        count = share.cumsum(dim=0).floor()
        kept = torch.where(
            share < 1, count.diff(prepend=count.new_zeros(1)) > 0, torch.ones_like(share, dtype=torch.bool)
        )
        cells = torch.where(kept, columns * rows, 0)
        quad = torch.repeat_interleave(torch.arange(len(quads)), cells)
        cell = torch.arange(len(quad)) - (cells.cumsum(dim=0) - cells)[quad]
        u = (cell % columns[quad] + 0.5) / columns[quad]
        v = (cell // columns[quad] + 0.5) / rows[quad]
        shares = torch.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v], dim=1)
        ends = quads[quad]
        nearest = ends.gather(1, shares.argmax(dim=1, keepdim=True))[:, 0]
        return Surface(
            corners=ends,
            shares=shares,
            skin=torch.einsum("nc,ncb->nb", shares, self.skin[ends]),
            part=self.part[nearest],
            along=torch.einsum("nc,nc->n", shares, self.along[ends]),
        )

    def _anatomy(self) -> tuple[Tensor, Tensor]:
        """Part of each vertex and its position on the part, which define the clothes.

        torso: 0 at the hips, 1 at the neck. Arm and leg: 0 at shoulder or hip, 1 at elbow or knee,
            2 at wrist or ankle.
        Head: 0 in the face, growing to the back and the top. Skirt: 0 at its top, 1 at its hem.
        """
        points = self.vertices
        heads, tails = self.joints(points)
        owner = self.skin.argmax(dim=1)
        part, along = torch.full((len(points),), PART["torso"]), torch.zeros(len(points))
        start = {bone: heads[number] for number, bone in enumerate(self.bones)}
        hips = (start["LeftUpLeg"] + start["RightUpLeg"]) / 2
        along[:] = (points[:, 1] - hips[1]) / (start["Neck"][1] - hips[1])
        for number, bone in enumerate(self.bones):
            mine = owner == number
            side, name = (
                (bone[: -len(n)], n) if (n := bone.removeprefix("Left").removeprefix("Right")) != bone else ("", bone)
            )
            if name in LIMBS:
                kind, first, end = LIMBS[name]
                a, b = start[f"{side}{name}"], start[f"{side}{end}"]
                part[mine] = PART[kind]
                along[mine] = first + (((points[mine] - a) @ (b - a)) / (b - a).square().sum()).clamp(0, 1)
            elif name in ("Foot", "ToeBase"):
                part[mine] = PART["foot"]
            elif name in ("Hand", "FingerBase", "HandFinger1") or bone in ("LThumb", "RThumb"):
                part[mine] = PART["hand"]
            elif name in ("Neck", "Neck1"):
                part[mine] = PART["neck"]
            elif name == "Head":
                skull = (tails[number] - heads[number]).norm()
                part[mine] = PART["head"]
                # the hairline runs from the forehead down behind the ears
                along[mine] = ((points[mine] - heads[number]) @ points.new_tensor([0.0, 1.0, -1.0])) / skull
        for group, name in (
            ("helper-l-eye", "eye"),
            ("helper-r-eye", "eye"),
            ("helper-hair", "hair"),
            ("helper-skirt", "skirt"),
        ):
            if group in self.groups:
                mine = self.groups[group].unique()
                part[mine] = PART[name]
                if name == "skirt":
                    high, low = points[mine, 1].max(), points[mine, 1].min()
                    along[mine] = (high - points[mine, 1]) / (high - low)
        return part, along


@dataclass(frozen=True, eq=False)
class Take:
    """A motion retargeted to the rig: rotations of its bones from CMU's rest pose.

    Args:
        name: of the motion, as "02_01".
        subject: from the name; None for names without a subject.
        rotations: `(T, len(TURNS), 3, 3)`.
        pelvis: `(T, 3)` mm in the world, y up.
        rest: `(len(TURNS), 3)` unit vectors along the bones in CMU's rest pose; 0 for bones without
            children.
    """

    name: str
    subject: str | None
    rotations: Tensor
    pelvis: Tensor
    rest: Tensor


def read_take(motion: Motion, fps: float) -> Take:
    """Retarget a motion to the rig and resample it.

    Raises:
        ValueError: the joints are not named as in CMU's files.
    """
    pelvis = resample(to_h36m17(motion)[:, 0], motion.fps, fps)
    naming = next((n for n in range(3) if all(names[n] in motion.joints for names in TURNS.values())), None)
    if naming is None:
        raise ValueError(f"{motion.name}: the joints {', '.join(motion.joints[:6])} ... are not all of CMU's skeleton")
    index = [motion.joints.index(names[naming]) for names in TURNS.values()]
    turns = resample(motion.rotations[:, index], motion.fps, fps)
    # interpolated matrices are not orthogonal: Gram-Schmidt
    first = F.normalize(turns[..., 0], dim=-1)
    second = F.normalize(turns[..., 1] - (turns[..., 1] * first).sum(dim=-1, keepdim=True) * first, dim=-1)
    turns = torch.stack([first, second, torch.linalg.cross(first, second, dim=-1)], dim=-1)
    rest = torch.zeros(len(TURNS), 3, dtype=torch.float64)
    for number, joint in enumerate(index):
        children = [child for child, parent in enumerate(motion.parents) if parent == joint]
        if children:
            rest[number] = F.normalize(motion.offsets[children[0]], dim=0)
    return Take(motion.name, subject_of(motion.name), turns.float(), pelvis.float(), rest.float())


def pose_body(body: Body, vertices: Tensor, take: Take, frames: slice) -> tuple[Tensor, Tensor]:
    """Pose the body as in a motion, with its pelvis where that of the motion is.

    Args:
        body: the body.
        vertices: `(V, 3)` mm, its shape (`Body.shaped`).
        take: the motion.
        frames: frames of the motion.

    Returns:
        moves `(T, B, 3, 4)`, transforms of the bones from the rest pose to the world in mm, and
        keypoints `(T, 17, 3)` of `h36m17`, mm.
    """
    heads, tails = body.joints(vertices)
    names = list(TURNS)
    at = dict(zip(body.bones, heads, strict=True))
    turn = take.rotations[frames] @ _rest_to_rest(
        dict(zip(names, take.rest, strict=True)), at, dict(zip(body.bones, tails, strict=True))
    )
    rotations: list[Tensor] = []
    starts: list[Tensor] = []
    for number, (bone, parent) in enumerate(zip(body.bones, body.parents, strict=True)):
        rotations.append(turn[:, names.index(bone)] if bone in TURNS else rotations[parent])
        if parent < 0:
            starts.append(torch.zeros(len(turn), 3))
        else:
            starts.append(starts[parent] + rotations[parent] @ (heads[number] - heads[parent]))
    rotation, start = torch.stack(rotations, dim=1), torch.stack(starts, dim=1)
    keypoints = _keypoints(body, start, (rotation @ (tails - heads)[..., None])[..., 0] + start)
    shift = (take.pelvis[frames] - keypoints[:, 0])[:, None]
    moves = torch.cat([rotation, (start + shift)[..., None] - rotation @ heads[..., None]], dim=-1)
    return moves, keypoints + shift


def _keypoints(body: Body, heads: Tensor, tails: Tensor) -> Tensor:
    """Keypoints of `h36m17`, as in `posezoo.data.cmu`, from the ends of bones `(T, B, 3)`."""
    point = {
        f"{side.lower()}_{name}": heads[:, body.bones.index(f"{side}{bone}")]
        for side in SIDES
        for name, bone in STARTS.items()
    }
    spine = body.bones.index("Spine")
    point["pelvis"] = (point["left_hip"] + point["right_hip"]) / 2
    point["spine"] = torch.lerp(heads[:, spine], tails[:, spine], SPINE)
    point["thorax"] = (point["left_shoulder"] + point["right_shoulder"]) / 2
    point["neck_nose"] = heads[:, body.bones.index("Neck1")]
    point["head"] = tails[:, body.bones.index("Head")]
    return torch.stack([point[name] for name in get_skeleton("h36m17").keypoints], dim=1)


def _rest_to_rest(rest: dict[str, Tensor], heads: dict[str, Tensor], tails: dict[str, Tensor]) -> Tensor:
    """Rotations of each bone from the body's rest pose to CMU's: `(len(TURNS), 3, 3)`.

    They follow from a limb's direction and the hinge axis of its joint. Knees bend backward about
    the sideways axis in both. CMU's elbows bend forward and 30 degrees upward from the horizontal
    arm, the body's forward. Thumbs point forward in CMU's rest pose. Feet are level in both, and
    everything else is upright in both.
    """
    forward, up = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 0.0])
    pairs: dict[str, tuple[Tensor, Tensor, Tensor, Tensor]] = {}  # direction and second axis: CMU's, the body's
    for side, sign in SIDES.items():
        arm = rest[f"{side}Arm"]
        bend = math.cos(math.pi / 6) * forward + sign * math.sin(math.pi / 6) * torch.linalg.cross(forward, arm)
        upper, fore = heads[f"{side}ForeArm"] - heads[f"{side}Arm"], heads[f"{side}Hand"] - heads[f"{side}ForeArm"]
        hinges = torch.linalg.cross(arm, bend), torch.linalg.cross(upper, forward)
        pairs[f"{side}Arm"] = (arm, hinges[0], upper, hinges[1])
        pairs[f"{side}ForeArm"] = (rest[f"{side}ForeArm"], hinges[0], fore, hinges[1])
        wrist, thumb = heads[f"{side}Hand"], tails[f"{side[0]}Thumb"]
        pairs[f"{side}Hand"] = (arm, forward, tails[f"{side}FingerBase"] - wrist, thumb - wrist)
        thigh, shin = heads[f"{side}Leg"] - heads[f"{side}UpLeg"], heads[f"{side}Foot"] - heads[f"{side}Leg"]
        pairs[f"{side}UpLeg"] = (rest[f"{side}UpLeg"], forward, thigh, forward)
        pairs[f"{side}Leg"] = (rest[f"{side}Leg"], forward, shin, forward)
        for name, end in (("Foot", heads[f"{side}ToeBase"]), ("ToeBase", tails[f"{side}ToeBase"])):
            pairs[f"{side}{name}"] = (up, rest[f"{side}Foot"], up, end - heads[f"{side}{name}"])
    stacked = torch.stack([torch.stack(pairs.get(bone, (up, forward, up, forward))) for bone in TURNS])
    first = F.normalize(stacked[:, ::2], dim=-1)
    second = stacked[:, 1::2]
    second = F.normalize(second - (second * first).sum(dim=-1, keepdim=True) * first, dim=-1)
    axes = torch.stack([first, second, torch.linalg.cross(first, second, dim=-1)], dim=-1)
    return axes[:, 0] @ axes[:, 1].mT


# ------------------------------------------------------------------------------------------------------- drawing


@dataclass(frozen=True, eq=False)
class Fragments:
    """The n pixels of all frames that the body covers.

    Args:
        pixel: `(n,)` index into frames x rows x columns.
        point: `(n,)` index of the visible point of the surface.
        frame: `(n,)` index of the frame.
        depth: `(n,)` mm.
    """

    pixel: Tensor
    point: Tensor
    frame: Tensor
    depth: Tensor


def skinned(surface: Surface, points: Tensor, moves: Tensor) -> Tensor:
    """Linear blend skinning: points `(N, 3)` at rest and moves `(T, B, 3, 4)` to `(3, T, N)`."""
    frames = len(moves)
    # columns of the blended matrices, (3 + 1) x (3 T) x N: long loops over points
    blended = (moves.permute(3, 2, 0, 1).reshape(12 * frames, -1) @ surface.skin.T).view(4, 3 * frames, -1)
    x, y, z = points.T
    return blended[3].addcmul_(blended[0], x).addcmul_(blended[1], y).addcmul_(blended[2], z).view(3, frames, -1)


def rasterise(points: Tensor, focal: Sequence[float], center: Sequence[float], size: int) -> Fragments:
    """Rasterise points `(3, T, N)` mm in the camera's frame to images of `size` x `size` pixels."""
    frames, count = points.shape[1:]
    x, y, depth = points
    inverse = 1 / depth
    column = (x * inverse).mul_(focal[0]).add_(center[0] + 0.5).floor_()
    row = (y * inverse).mul_(focal[1]).add_(center[1] + 0.5).floor_()
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size) & (depth > 0)
    # depth in the upper 32 bits, index of the point in the lower: the minimum finds the nearest point and its index
    key = ((depth * 16).long() << 32) | torch.arange(count)
    pixel = (row * size + column).long() + torch.arange(frames)[:, None] * size * size
    pixel = torch.where(inside, pixel, frames * size * size)
    nothing = 1 << 62
    nearest = torch.full((frames * size * size + 1,), nothing)
    nearest = nearest.scatter_reduce_(0, pixel.flatten(), key.flatten(), "amin")[:-1].view(frames, size, size)
    # close holes: the farther one of two opposite neighbours, if both are much nearer than the pixel
    around = F.pad(nearest, (1, 1, 1, 1), value=nothing)
    beside = torch.maximum(around[:, 1:-1, :-2], around[:, 1:-1, 2:])
    above = torch.maximum(around[:, :-2, 1:-1], around[:, 2:, 1:-1])
    bridge = torch.minimum(beside, above)
    hole = (bridge >> 32) + int(16 * TOUCHING) < (nearest >> 32)
    nearest = torch.where(hole, bridge, nearest).flatten()
    shown = (nearest != nothing).nonzero()[:, 0]
    winner = nearest[shown]
    return Fragments(shown, winner & 0xFFFFFFFF, shown // (size * size), (winner >> 32) / 16)


# --------------------------------------------------------------------------------------------------- file formats


def _read_obj(path: Path) -> tuple[Tensor, dict[str, Tensor]]:
    """Vertices `(V, 3)` mm and the quads `(F, 4)` of each group."""
    vertices: list[list[float]] = []
    groups: dict[str, list[list[int]]] = {}
    group = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        kind, *values = line.split() or [""]
        if kind == "v":
            vertices.append([float(value) for value in values[:3]])
        elif kind == "g":
            group = values[0]
        elif kind == "f":
            if len(values) != 4:
                raise ValueError(f"{path}:{number}: expected faces with four corners, got {len(values)}")
            groups.setdefault(group, []).append([int(value.split("/")[0]) - 1 for value in values])
    return UNIT * torch.tensor(vertices), {name: torch.tensor(quads) for name, quads in groups.items()}


def _read_target(path: Path, count: int) -> Tensor:
    """Offsets `(V, 3)` mm of the vertices."""
    offsets = torch.zeros(count, 3)
    with gzip.open(path, "rt") as lines:
        rows = torch.tensor(
            [[float(value) for value in line.split()] for line in lines if line.strip() and line[0] != "#"]
        )
    index = rows[:, 0].long()
    if int(index.max()) >= count:
        raise ValueError(
            f"{path} moves vertex {int(index.max())}, and the mesh has {count}; expected targets of this mesh"
        )
    offsets[index] = UNIT * rows[:, 1:]
    return offsets


def _parents_first(parents: dict[str, str]) -> tuple[str, ...]:
    order: list[str] = []
    while len(order) < len(parents):
        ready = [bone for bone, parent in parents.items() if bone not in order and (not parent or parent in order)]
        if not ready:
            raise ValueError(
                f"the rig's bones {sorted(set(parents) - set(order))} have no parent in it; expected a tree"
            )
        order += ready
    return tuple(order)
