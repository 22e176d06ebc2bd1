"""SpineMed's side of the motion benchmark: fit, forward kinematics and triangulation on the arrays that peers get."""

from __future__ import annotations

import numpy as np
from child_motion import Arrays, arrays, serve, threads

import spinemed
from spinemed.motion import FitOptions, MarkerSet, build_model, fit_motion, forward, marker_points
from spinemed.motion.cameras import Camera
from spinemed.motion.triangulate import triangulate


def fit(given: Arrays) -> None:
    """The spine from all frames, each point's places out; with posterior standard deviations where asked."""
    model = build_model(str(given["sex"]), limbs=False)
    markers = MarkerSet(tuple(map(str, given["markers"])), given["marker_body"], given["marker_local_mm"])
    seen, rate = given["seen_mm"], float(given["rate_hz"])
    options = FitOptions(
        sigma_mm=float(given["sigma_mm"]), scale="none", posterior=bool(given["posterior"]), threads=threads()
    )

    def work(frames: int) -> Arrays:
        found = fit_motion(seen[:frames], model, markers, rate_hz=rate, options=options)
        return {"q": found.q, "points_mm": found.points_mm()}

    serve("SpineMed", spinemed.__version__, len(seen), lambda: work(len(seen)), lambda: work(200))


def place(given: Arrays) -> None:
    """Bodies alone, or points read out, for all poses."""
    model = build_model(str(given["sex"]))
    markers = MarkerSet(tuple(map(str, given["markers"])), given["marker_body"], given["marker_local_mm"])
    q = given["q"]

    def work(poses: np.ndarray) -> Arrays:
        if given["points"]:
            return {"points_mm": marker_points(model, poses, markers)}
        placed = forward(model, poses)
        return {"last_mm": placed.origins_mm[-1][-1:]}

    serve("SpineMed", spinemed.__version__, len(q), lambda: work(q), lambda: work(q[:10]))


def lift(given: Arrays) -> None:
    """Points of all frames from all cameras."""
    size = tuple(given["size"].tolist())
    lenses = zip(given["matrix"], given["distortion"], given["rotation"], given["translation_mm"], strict=True)
    cameras = [Camera(f"c{v}", *lens, size) for v, lens in enumerate(lenses)]
    pixels = given["pixels"]

    def work(frames: int) -> Arrays:
        found = triangulate(cameras, pixels[:, :frames], method=str(given["method"]), sigma_px=1.0)
        return {"points_mm": found.points_mm}

    serve("SpineMed", spinemed.__version__, pixels.shape[1], lambda: work(pixels.shape[1]), lambda: work(2))


if __name__ == "__main__":
    loaded = arrays()
    {"fit": fit, "place": place, "lift": lift}[str(loaded["task"])](loaded)
