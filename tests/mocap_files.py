"""A person of few bones in the formats of motion capture, and where its joints are, computed by a
recursion.
"""

import math

import numpy as np

from posezoo.data.cmu import NAMES

# A person of few bones in the three naming schemes. In .asf a bone has a direction and a length, its child starts at
# its end; in BVH a joint has an offset from its parent. (name in .asf, parent, start of the bone in units)
BONES = {
    "root": (None, (0, 0, 0)),
    **{
        f"{s}{bone}": (parent if parent == "root" else f"{s}{parent}", (sign * x, y, z))
        for s, sign in (("l", 1), ("r", -1))
        for bone, parent, (x, y, z) in (
            ("hipjoint", "root", (0, 0, 0)),
            ("femur", "hipjoint", (1.6, -1.8, 0.6)),
            ("tibia", "femur", (0, -7.5, 0)),
            ("foot", "tibia", (0, -7.2, 0)),
        )
    },
    "lowerback": ("root", (0, 0, 0)),
    "upperback": ("lowerback", (0, 2, 0)),
    "thorax": ("upperback", (0, 2, 0)),
    "lowerneck": ("thorax", (0, 2, 0)),
    "upperneck": ("lowerneck", (0, 1.6, 0)),
    "head": ("upperneck", (0, 1.6, 0)),
    **{
        f"{s}{bone}": (parent if parent == "thorax" else f"{s}{parent}", (sign * x, y, z))
        for s, sign in (("l", 1), ("r", -1))
        for bone, parent, (x, y, z) in (
            ("clavicle", "thorax", (0, 2, 0)),
            ("humerus", "clavicle", (3.4, 0.9, -0.2)),
            ("radius", "humerus", (5, 0, 0)),
            ("wrist", "radius", (3.4, 0, 0)),
        )
    },
}
ENDS = {"lfoot": (0, 0, 2.5), "rfoot": (0, 0, 2.5), "head": (0, 1.6, 0), "lwrist": (1.5, 0, 0), "rwrist": (-1.5, 0, 0)}
TURNED = ("lfemur", "ltibia", "lhumerus", "upperback", "head")  # the bones that have degrees of freedom
AXIS = (20.0, -30.0, 40.0)  # the frame that they turn in


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """About x, then y, then z, all fixed; degrees."""
    (cx, sx), (cy, sy), (cz, sz) = ((math.cos(math.radians(a)), math.sin(math.radians(a))) for a in (x, y, z))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def poses(count: int, seed: int = 0) -> list[dict[str, list[float]]]:
    """Numbers of each frame: the root's place (units) and turn (degrees), and the turns of some
    bones.
    """
    rng = np.random.default_rng(seed)
    return [
        {
            "root": [*rng.uniform(-20, 20, 3), *rng.uniform(-180, 180, 3)],
            **{b: [*rng.uniform(-80, 80, 3)] for b in TURNED},
        }
        for _ in range(count)
    ]


def by_hand(pose: dict[str, list[float]], axis: tuple[float, float, float] = AXIS) -> dict[str, np.ndarray]:
    """Where each bone starts, and each last one ends (`<bone>_end`), mm, recursively as Acclaim's
    documents say.
    """
    frame = rotation(*axis)
    turns, starts = {}, {}
    for bone, (parent, start) in BONES.items():
        own = frame @ rotation(*pose[bone]) @ frame.T if bone in TURNED else np.eye(3)
        if parent is None:
            turns[bone], starts[bone] = rotation(*pose[bone][3:]), np.array(pose[bone][:3])
        else:
            turns[bone] = turns[parent] @ own
            starts[bone] = starts[parent] + turns[parent] @ np.array(start, float)
    ends = {f"{bone}_end": starts[bone] + turns[bone] @ np.array(end, float) for bone, end in ENDS.items()}
    return {bone: place * 25.4 / 0.45 for bone, place in {**starts, **ends}.items()}


def asf() -> str:
    """The skeleton, in the words of the database's files."""
    children: dict[str, list[str]] = {}
    for bone, (parent, _) in BONES.items():
        children.setdefault(parent, []).append(bone)
    lines = [
        "# AST/ASF file generated using VICON BodyLanguage", ":version 1.10", ":name VICON", ":units", "  mass 1.0",
        "  length 0.45", "  angle deg", ":documentation", "   of nobody", ":root", "   order TX TY TZ RX RY RZ",
        "   axis XYZ", "   position 0 0 0  ", "   orientation 0 0 0 ", ":bonedata",
    ]  # fmt: skip
    for number, bone in enumerate([b for b in BONES if b != "root"], start=1):
        end = ENDS.get(bone) or BONES[children[bone][0]][1]
        length = float(np.linalg.norm(end))
        direction = " ".join(repr(float(v) / length) for v in end) if length else "0 1 0"
        lines += ["  begin", f"     id {number} ", f"     name {bone}", f"     direction {direction}"]
        lines += [f"     length {length!r}  ", f"     axis {AXIS[0]} {AXIS[1]} {AXIS[2]}  XYZ"]
        if bone in TURNED:
            lines += [
                "    dof rx ry rz",
                "    limits (-160.0 20.0)",
                "           (-70.0 70.0)",
                "           (-60.0 70.0)",
            ]
        lines += ["  end"]
    lines += [":hierarchy", "  begin", *(f"    {p} {' '.join(c)}" for p, c in children.items() if p), "  end"]
    return "\r\n".join(lines) + "\r\n"


def amc(frames: list[dict[str, list[float]]]) -> str:
    lines = ["#!OML:ASF H:\\somewhere.ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    for number, frame in enumerate(frames, start=1):
        lines += [str(number), *(f"{bone} {' '.join(map(repr, map(float, v)))}" for bone, v in frame.items())]
    return "\r\n".join(lines) + "\r\n"


MAX, BUILDER = 1, 2  # the two namings of Hahne's files, columns of NAMES
OTHERS = {"root": "Hips", "lhipjoint": "LHipJoint", "rhipjoint": "RHipJoint", "lowerback": "LowerBack"}


def bvh(frames: list[dict[str, list[float]]], naming: int = MAX, lost: bool = True) -> str:
    """The same skeleton as Hahne converts it, without the bone between chest and neck if it is
    `lost`; the axes of the
    bones are the world's, as there."""
    names = {keys[0]: keys[naming] for keys in NAMES.values()} | OTHERS
    lines = ["HIERARCHY"]

    def joint(bone: str, depth: int) -> None:
        parent, offset = BONES[bone]
        if lost and parent == "thorax":
            offset = (0, 0, 0)
        pad = "\t" * depth
        order = "Zrotation Yrotation Xrotation"
        channels = f"6 Xposition Yposition Zposition {order}" if parent is None else f"3 {order}"
        lines.extend([f"{pad}{'JOINT' if parent else 'ROOT'} {names.get(bone, bone)}", f"{pad}{{"])
        lines.extend([f"{pad}\tOFFSET {' '.join(map(str, offset))}", f"{pad}\tCHANNELS {channels} "])
        order_of.append(bone)
        for child, (above, _) in BONES.items():
            if above == bone:
                joint(child, depth + 1)
        if bone in ENDS:
            lines.extend(
                [f"{pad}\tEnd Site", f"{pad}\t{{", f"{pad}\t\tOFFSET {' '.join(map(str, ENDS[bone]))}", f"{pad}\t}}"]
            )
        lines.append(f"{pad}}}")

    order_of: list[str] = []
    joint("root", 0)
    lines += ["MOTION", f"Frames: {len(frames)}", "Frame Time: .0083333"]
    for frame in frames:
        turns = {bone: frame.get(bone, [0.0, 0.0, 0.0])[-3:][::-1] for bone in order_of}
        lines.append(" ".join(f"{v:.6f}" for v in [*frame["root"][:3], *(v for bone in order_of for v in turns[bone])]))
    return "\n".join(lines) + "\n"
