"""A man of boxes in the files of MakeHuman's body, and a man who waves his limbs in CMU's."""

import gzip
import json

import numpy as np

# bones of the left half and of the middle: parent, start and end at rest, in decimetres; the arms hang at 45 degrees
BONES = {
    "Hips": ("", (0, 1, 0), (0, 2, 0)),
    "LowerBack": ("Hips", (0, 2, 0), (0, 3, 0)),
    "Spine": ("LowerBack", (0, 3, 0), (0, 4, 0)),
    "Spine1": ("Spine", (0, 4, 0), (0, 6, 0)),
    "Neck": ("Spine1", (0, 6, 0), (0, 6.5, 0)),
    "Neck1": ("Neck", (0, 6.5, 0), (0, 7, 0)),
    "Head": ("Neck1", (0, 7, 0), (0, 8.5, 0)),
    "LHipJoint": ("Hips", (0, 1, 0), (1, 0.5, 0)),
    "LeftUpLeg": ("LHipJoint", (1, 0.5, 0), (1.2, -3.5, 0)),
    "LeftLeg": ("LeftUpLeg", (1.2, -3.5, 0), (1.2, -7.5, -0.1)),
    "LeftFoot": ("LeftLeg", (1.2, -7.5, -0.1), (1.3, -8, 1.2)),
    "LeftToeBase": ("LeftFoot", (1.3, -8, 1.2), (1.3, -8, 1.8)),
    "LeftShoulder": ("Spine1", (0.3, 5.5, 0.3), (1.7, 5.5, 0)),
    "LeftArm": ("LeftShoulder", (1.7, 5.5, 0), (3.2, 4, 0)),
    "LeftForeArm": ("LeftArm", (3.2, 4, 0), (4.6, 2.6, 0.6)),
    "LeftHand": ("LeftForeArm", (4.6, 2.6, 0.6), (4.8, 2.4, 0.7)),
    "LeftFingerBase": ("LeftHand", (4.8, 2.4, 0.7), (5, 2.2, 0.8)),
    "LThumb": ("LeftHand", (4.6, 2.6, 0.8), (4.7, 2.5, 1.1)),
}
# Hahne's skeleton: joint, parent, offset in units of 56.44 mm; here the arms hang
JOINTS = {
    "Hips": ("", (0, 0, 0)),
    "LHipJoint": ("Hips", (0, 0, 0)),
    "LeftHip": ("LHipJoint", (1.6, -1.8, 0.6)),
    "LeftKnee": ("LeftHip", (2.6, -7.1, 0)),
    "LeftAnkle": ("LeftKnee", (2.5, -6.8, 0)),
    "LeftToe": ("LeftAnkle", (0.2, -0.5, 2.1)),
    "lowerback": ("Hips", (0, 0, 0)),
    "Chest": ("lowerback", (0, 2, -0.1)),
    "Chest2": ("Chest", (0, 2, 0)),
    "lowerneck": ("Chest2", (0, 2, 0)),
    "Neck": ("lowerneck", (0, 1.6, 0.1)),
    "Head": ("Neck", (0, 1.6, 0)),
    "LeftCollar": ("Chest2", (0, 2, 0)),
    "LeftShoulder": ("LeftCollar", (3.5, 0.9, 0)),
    "LeftElbow": ("LeftShoulder", (0, -4.9, 0)),
    "LeftWrist": ("LeftElbow", (0, -3.4, 0)),
    "lhand": ("LeftWrist", (0, 0, 0)),
    "LFingers": ("lhand", (0, -0.7, 0)),
}
ENDS = {"LeftToe": (0, 0, 1.1), "Head": (0, 1.6, 0), "LFingers": (0, -0.5, 0)}
# for every joint the one of the .asf
ASF = {
    "Hips": "root", "LHipJoint": "lhipjoint", "LeftHip": "lfemur", "LeftKnee": "ltibia", "LeftAnkle": "lfoot",
    "LeftToe": "ltoes", "lowerback": "lowerback", "Chest": "upperback", "Chest2": "thorax", "lowerneck": "lowerneck",
    "Neck": "upperneck", "Head": "head", "LeftCollar": "lclavicle", "LeftShoulder": "lhumerus", "LeftElbow": "lradius",
    "LeftWrist": "lwrist", "lhand": "lhand", "LFingers": "lfingers", "Head_end": "head_end",
}  # fmt: skip


def to_right(name):
    if name.startswith("Left"):
        return f"Right{name[4:]}"
    return {"L": "R", "l": "r"}[name[0]] + name[1:]


def on_left(name):
    return name.startswith(("Left", "LHip", "LThumb", "LFingers", "lhand"))


ASF |= {to_right(name): f"r{asf[1:]}" for name, asf in ASF.items() if on_left(name)}


def write_body(folder, width=0.5):
    """A box for each bone and a cube for each of their ends; two shapes, of which one is a tenth
    taller.
    """
    bones = {name: (parent, np.array(a, float), np.array(b, float)) for name, (parent, a, b) in BONES.items()}
    for name, (parent, a, b) in list(bones.items()):
        if on_left(name):
            bones[to_right(name)] = (to_right(parent) if on_left(parent) else parent, a * [-1, 1, 1], b * [-1, 1, 1])
    vertices, groups, rig, weights = [], {"body": []}, {}, {}
    for name, (parent, start, end) in bones.items():
        thick = 1.0 if name in ("Hips", "LowerBack", "Spine", "Spine1") else 0.6 if name == "Head" else width / 2
        weights[name] = [[len(vertices) + corner, 1.0] for corner in range(8)]
        box(vertices, groups["body"], start, end, thick)
        rig[name] = {"parent": parent}
        for which, point in (("head", start), ("tail", end)):
            first = len(vertices)
            if which == "tail" and name == "Neck":  # two ends are means of vertices, as in the real rig
                rig[name][which] = {"strategy": "MEAN", "vertex_indices": [first, first + 6]}
            else:
                rig[name][which] = {"strategy": "CUBE", "cube_name": f"joint-{name}-{which}"}
            up = np.array([0, 0.1, 0])
            box(vertices, groups.setdefault(f"joint-{name}-{which}", []), point - up, point + up, 0.1)
    for side, x in (("l", 0.25), ("r", -0.25)):  # at the height of the crown, where corners are the ears
        eye = np.array([x, 8.4, 0.5])
        box(vertices, groups.setdefault(f"helper-{side}-eye", []), eye, eye + up, 0.05)
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices]
    for group, quads in groups.items():
        lines += [f"g {group}", *("f " + " ".join(f"{corner + 1}/1" for corner in quad) for quad in quads)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "base.obj").write_text("\n".join(lines))
    (folder / "rig.cmu_mb.json").write_text(json.dumps(rig))
    (folder / "weights.cmu_mb.json").write_text(json.dumps({"weights": weights}))
    (folder / "targets").mkdir(exist_ok=True)
    for name, factor in (("box-female-young", 0.0), ("box-male-young", 0.1)):
        moved = [f"{i} {factor * x:.4f} {factor * y:.4f} {factor * z:.4f}" for i, (x, y, z) in enumerate(vertices)]
        with gzip.open(folder / "targets" / f"{name}.target.gz", "wt") as file:
            file.write("# a shape\n" + "\n".join(moved))
    return folder


def box(vertices, quads, start, end, half):
    """Eight corners and the six quads between them, counter-clockwise from outside."""
    axis = (end - start) / np.linalg.norm(end - start)
    side = np.cross(axis, [0.0, 0.0, 1.0] if abs(axis[2]) < 0.9 else [1.0, 0.0, 0.0])
    side = half * side / np.linalg.norm(side)
    other = np.cross(axis, side)
    first = len(vertices)
    ring = [side + other, other - side, -side - other, side - other]
    vertices += [*(start + corner for corner in ring), *(end + corner for corner in ring)]
    faces = (3, 2, 1, 0), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)
    quads += [[first + corner for corner in face] for face in faces]


def bvh(frames=40, swing=40.0, seed=0):
    """Text of a .bvh in which every joint swings by up to `swing` degrees about three axes, 120
    frames per second.
    """
    random = np.random.default_rng(seed)
    joints = dict(JOINTS)
    for name, (parent, (x, y, z)) in JOINTS.items():
        if on_left(name):
            joints[to_right(name)] = (to_right(parent) if on_left(parent) else parent, (-x, y, z))
    ends = {**ENDS, **{to_right(n): (-x, y, z) for n, (x, y, z) in ENDS.items() if on_left(n)}}
    order, lines = [], ["HIERARCHY"]

    def visit(name):
        order.append(name)
        root = name == "Hips"
        shift = "Xposition Yposition Zposition " if root else ""
        lines.extend([
            f"{'ROOT' if root else 'JOINT'} {name}", "{", "OFFSET {} {} {}".format(*joints[name][1]),
            f"CHANNELS {6 if root else 3} {shift}Zrotation Yrotation Xrotation",
        ])  # fmt: skip
        for child, (parent, _) in joints.items():
            if parent == name:
                visit(child)
        if name in ends:
            lines.extend(["End Site", "{", "OFFSET {} {} {}".format(*ends[name]), "}"])
        lines.append("}")

    visit("Hips")
    lines += ["MOTION", f"Frames: {frames}", "Frame Time: 0.0083333"]
    time = np.arange(frames)[:, None] / 120
    phase, size = random.uniform(0, 6.3, 3 * len(order)), random.uniform(-swing, swing, 3 * len(order))
    size[[3 * order.index(name) + axis for name in ("LHipJoint", "RHipJoint") for axis in range(3)]] = 0  # as in CMU's
    angles = size * np.sin(6 * time + phase)
    shift = np.concatenate([5 * time, 17 + np.sin(3 * time), 3 * time], axis=1)
    lines += [" ".join(f"{value:.4f}" for value in row) for row in np.concatenate([shift, angles], axis=1)]
    return "\n".join(lines)


def write_motions(folder, names=("01_01", "02_01"), frames=40):
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        (folder / f"{name}.bvh").write_text(bvh(frames=frames, seed=seed))
    return folder
