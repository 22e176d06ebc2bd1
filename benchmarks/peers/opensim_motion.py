"""OpenSim's own inverse kinematics on SpineMed's geometry: one twin joint per joint, limb coordinates locked.

OpenSim counts metres on x anterior, y up, z right; a coordinate turns about our axis expressed there, in our order, so
the twin puts every point where SpineMed puts it. Coordinates are clamped to the same limits, markers weigh the same.
"""

from __future__ import annotations

import numpy as np
import opensim
from child_motion import Arrays, arrays, serve

TURN = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])  # our axes to OpenSim's
ACCURACY = 1e-5  # the default of the InverseKinematicsTool

opensim.Logger.setLevelString("Off")


def plain(name: object) -> str:
    """A name without the characters that OpenSim keeps for paths."""
    return str(name).replace("/", "_")


def vector(values: np.ndarray) -> opensim.Vec3:
    """Three numbers as OpenSim has them."""
    return opensim.Vec3(*map(float, values))


def twin(given: Arrays) -> opensim.Model:
    """SpineMed's tree of bodies as an OpenSim model with markers."""
    model = opensim.Model()
    bodies: list[opensim.Body] = []
    slide = given["slide"]
    for b, name in enumerate(given["bodies"]):
        body = opensim.Body(str(name), 1.0, opensim.Vec3(0), opensim.Inertia(1, 1, 1))
        model.addBody(body)
        parent = model.getGround() if given["parent"][b] < 0 else bodies[given["parent"][b]]
        own = range(given["first"][b], given["first"][b] + given["count"][b])
        transform = opensim.SpatialTransform()
        turning = [transform.upd_rotation1(), transform.upd_rotation2(), transform.upd_rotation3()]
        sliding = [transform.upd_translation1(), transform.upd_translation2(), transform.upd_translation3()]
        used = []
        for wanted, places in ((False, turning), (True, sliding)):
            some = [d for d in own if slide[d] == wanted]
            for d, place in zip(some, places):
                direction = given["sign"][d] * TURN[:, given["axis"][d]]
                place.setCoordinateNames(opensim.ArrayStr(plain(given["freedoms"][d]), 1))
                place.setAxis(vector(direction))
                place.set_function(opensim.LinearFunction())
                used.append(direction)
            if not wanted:
                # OpenSim wants three independent axes even where nothing turns about them.
                spare = [TURN[:, k] for k in range(3) if all(abs(TURN[:, k] @ u) < 0.5 for u in used)]
                for place, direction in zip(places[len(some) :], spare):
                    place.setAxis(vector(direction))
        rest = opensim.Rotation(opensim.Mat33(*map(float, (TURN @ given["rest"][b] @ TURN.T).ravel())))
        joint = opensim.CustomJoint(
            f"{name}_joint", parent, vector(TURN @ given["offset_mm"][b] / 1000), rest.convertRotationToBodyFixedXYZ(),
            body, opensim.Vec3(0), opensim.Vec3(0), transform,
        )  # fmt: skip
        model.addJoint(joint)
        bodies.append(body)
    coordinates = model.updCoordinateSet()
    for d, name in enumerate(given["freedoms"]):
        coordinate = coordinates.get(plain(name))
        if np.isfinite(given["low"][d]):
            coordinate.setRangeMin(float(given["low"][d]))
            coordinate.setRangeMax(float(given["high"][d]))
            coordinate.setDefaultClamped(True)
        coordinate.setDefaultLocked(bool(given["locked"][d]))
    for name, body, local in zip(given["markers"], given["marker_body"], given["marker_local_mm"]):
        model.addMarker(opensim.Marker(str(name), bodies[body], vector(TURN @ local / 1000)))
    model.finalizeConnections()
    return model


def main() -> None:
    """Track the clip frame by frame, each from the frame before, as the InverseKinematicsTool does."""
    given = arrays()
    model = twin(given)
    if "osim" in given:
        model.printToXML(str(given["osim"]))
    seen = given["seen_mm"] @ TURN.T / 1000
    names = [str(name) for name in given["markers"]]
    table = opensim.TimeSeriesTableVec3()
    table.setColumnLabels(names)
    for t, frame in enumerate(seen):
        table.appendRow(t / float(given["rate_hz"]), opensim.RowVectorVec3([vector(point) for point in frame]))
    weights = opensim.SetMarkerWeights()
    for name in names:
        weights.cloneAndAppend(opensim.MarkerWeight(name, 1.0))
    coordinates = [model.getCoordinateSet().get(plain(name)) for name in given["freedoms"]]
    markers = [model.getMarkerSet().get(name) for name in names]
    q, points = np.empty((len(seen), len(coordinates))), np.empty(seen.shape)

    def shown(here: opensim.State) -> np.ndarray:
        model.realizePosition(here)
        return np.array([[place[i] for i in range(3)] for place in (m.getLocationInGround(here) for m in markers)])

    # The twin put into a given pose: the benchmark compares these points with its own.
    scale = np.where(given["slide"], 1000.0, 1.0)
    trial = model.initSystem()
    for coordinate, value in zip(coordinates, given["check_q"] / scale):
        coordinate.setLocked(trial, False)
        coordinate.setValue(trial, float(value), False)
    twin_points = shown(trial) @ TURN * 1000
    state = model.initSystem()

    def track(frames: int) -> Arrays:
        reference = opensim.MarkersReference(table, weights)
        solver = opensim.InverseKinematicsSolver(model, reference, opensim.SimTKArrayCoordinateReference())
        solver.setAccuracy(ACCURACY)
        here = opensim.State(state)
        here.setTime(0.0)
        solver.assemble(here)
        for t in range(frames):
            here.setTime(t / float(given["rate_hz"]))
            solver.track(here)
            for d, coordinate in enumerate(coordinates):
                q[t, d] = coordinate.getValue(here)
            points[t] = shown(here)
        return {"q": q * scale, "points_mm": points @ TURN * 1000, "twin_mm": twin_points}

    serve("OpenSim", opensim.GetVersion().split("-")[0], len(seen), lambda: track(len(seen)), lambda: track(2))


if __name__ == "__main__":
    main()
