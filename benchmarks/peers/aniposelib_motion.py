"""aniposelib's triangulation of the same pixels: its direct method, or its RANSAC."""

from __future__ import annotations

from importlib.metadata import version

import cv2
import numpy as np
from aniposelib.cameras import Camera, CameraGroup
from child_motion import Arrays, arrays, serve


def main() -> None:
    """All points of all frames in one call, as aniposelib wants them: cameras by points by two."""
    given = arrays()
    cameras = []
    for v, matrix in enumerate(given["matrix"]):
        turn = cv2.Rodrigues(given["rotation"][v])[0].ravel()
        cameras.append(
            Camera(
                matrix=matrix, dist=given["distortion"][v], size=given["size"].tolist(), rvec=turn,
                tvec=given["translation_mm"][v], name=f"c{v}",
            )
        )  # fmt: skip
    group = CameraGroup(cameras)
    pixels = given["pixels"]
    views, frames, keypoints = pixels.shape[:3]

    def work(count: int) -> Arrays:
        flat = pixels[:, :count].reshape(views, -1, 2)
        if str(given["method"]) == "robust":
            found = group.triangulate_ransac(flat)[0]
        else:
            found = group.triangulate(flat)
        return {"points_mm": np.asarray(found).reshape(count, keypoints, 3)}

    # Its direct method compiles for the number of points that it is given, so the warm-up is a whole call.
    warm = frames if str(given["method"]) == "dlt" else 1
    serve("aniposelib", version("aniposelib"), frames, lambda: work(frames), lambda: work(warm))


if __name__ == "__main__":
    main()
