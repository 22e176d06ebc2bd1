"""Pinocchio's forward kinematics of the same tree: one elementary joint per freedom, a frame per point.

Signs are put into the poses beforehand, so that the joints are its fastest: about and along the axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pinocchio
from child_motion import Arrays, arrays, serve

TURNS = (pinocchio.JointModelRX, pinocchio.JointModelRY, pinocchio.JointModelRZ)
SLIDES = (pinocchio.JointModelPX, pinocchio.JointModelPY, pinocchio.JointModelPZ)


def twin(given: Arrays) -> Any:
    """The tree of bodies, lengths in mm, with the points as operational frames."""
    model = pinocchio.Model()
    last: list[int] = []
    for b, parent in enumerate(given["parent"]):
        joint = 0 if parent < 0 else last[parent]
        place = pinocchio.SE3(given["rest"][b], given["offset_mm"][b])
        for d in range(given["first"][b], given["first"][b] + given["count"][b]):
            kind = (SLIDES if given["slide"][d] else TURNS)[given["axis"][d]]
            joint = model.addJoint(joint, kind(), place, str(given["freedoms"][d]))
            place = pinocchio.SE3.Identity()
        last.append(joint)
    for name, body, local in zip(given["markers"], given["marker_body"], given["marker_local_mm"]):
        at = pinocchio.SE3(np.eye(3), local)
        model.addFrame(pinocchio.Frame(str(name), last[body], 0, at, pinocchio.FrameType.OP_FRAME))
    return model


def main() -> None:
    """One pose after the other; with points, all frames are placed and read out."""
    given = arrays()
    model = twin(given)
    data = model.createData()
    poses = np.ascontiguousarray(given["q"] * given["sign"])
    first = model.nframes - len(given["markers"])
    ours = model.nframes - first

    def bodies(some: np.ndarray) -> Arrays:
        for pose in some:
            pinocchio.forwardKinematics(model, data, pose)
        return {"last_mm": np.array(data.oMi[model.njoints - 1].translation)[None]}

    def points(some: np.ndarray) -> Arrays:
        out = np.empty((len(some), ours, 3))
        for t, pose in enumerate(some):
            pinocchio.framesForwardKinematics(model, data, pose)
            for k in range(ours):
                out[t, k] = data.oMf[first + k].translation
        return {"points_mm": out}

    work = points if given["points"] else bodies
    serve("Pinocchio", pinocchio.__version__, len(poses), lambda: work(poses), lambda: work(poses[:10]))


if __name__ == "__main__":
    main()
