"""The viewer's measurements against `spinemed.measure`: the same clicks give the same numbers, in Node.js."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import data_pipeline.review.viewer
from data_pipeline.review.viewer.layers import PLANES, plane_geometry
from spinemed.measure import Endplate, cobb_deg, listhesis
from spinemed.volume import Volume, Window, to_uint8

STATIC = Path(data_pipeline.review.viewer.__file__).parent / "static"


@pytest.fixture(scope="module")
def run_js(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run an expression over the measuring module `m` and the values `v`; returns what it gives."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    folder = tmp_path_factory.mktemp("js")
    (folder / "measure.mjs").write_bytes((STATIC / "measure.js").read_bytes())

    def run(expression: str, values: Any) -> Any:
        script = folder / "run.mjs"
        script.write_text(
            "import * as m from './measure.mjs';\n"
            f"const v = {json.dumps(values)};\nconsole.log(JSON.stringify({expression}));\n"
        )
        done = subprocess.run([node, str(script)], capture_output=True, check=True, timeout=60)
        return json.loads(done.stdout)

    return run


def test_cobb_and_slip_are_those_of_the_library(run_js: Any) -> None:
    rng = np.random.default_rng(11)
    cases, expected = [], []

    def near(*place: float) -> np.ndarray:
        return np.array(place) + rng.normal(0, 5, 3)

    for _ in range(200):
        front, back, front2, back2 = near(0, 18, 0), near(0, -18, 0), near(0, 17, -40), near(0, -17, -40)
        right, left, right2, left2 = near(20, 0, 0), near(-20, 0, 0), near(20, 0, -60), near(-20, 0, -60)
        upper, lower = Endplate.from_sagittal(front, back), Endplate.from_sagittal(front2, back2)
        coronal = cobb_deg(Endplate.from_coronal(right, left), Endplate.from_coronal(right2, left2))
        slip = listhesis(upper, lower)
        cases.append([p.tolist() for p in (front, back, front2, back2, right, left, right2, left2)])
        expected.append([cobb_deg(upper, lower, "sagittal"), coronal, slip.slip_mm, slip.percent])
    found = run_js(
        "v.map(([a,b,c,d,e,f,g,h]) => [m.cobbDeg(b,a,c,d,'sagittal'), m.cobbDeg(f,e,g,h,'coronal'),"
        " m.slip(b,d,c).mm, m.slip(b,d,c).percent])",
        cases,
    )
    assert np.allclose(found, expected, atol=1e-9)


def test_distances_and_angles_go_through_the_affine_of_an_oblique_volume(run_js: Any) -> None:
    angle = np.radians(17)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.4, 0.9, 3.3])
    affine[:3, 3] = (-30, 12, 100)
    volume = Volume(np.zeros((20, 30, 12), np.int16), affine)
    rng = np.random.default_rng(2)
    for plane in PLANES:
        geometry = plane_geometry(volume, plane)
        points = rng.uniform(0, 10, (3, 3))
        world = [(geometry.affine @ [*point, 1.0])[:3] for point in points]
        u, w = world[0] - world[1], world[2] - world[1]
        expected = np.degrees(np.arccos(u @ w / np.linalg.norm(u) / np.linalg.norm(w)))
        found = run_js(
            "(() => { const p = v.points.map((q) => m.toWorld(v.affine, ...q));"
            " return { world: p, back: p.map((q) => m.toPixel(v.affine, q)), far: m.distanceMm(p[0], p[1]),"
            " angle: m.angleDeg(...p) }; })()",
            {"affine": geometry.affine.tolist(), "points": points.tolist()},
        )
        assert np.allclose(found["world"], world, atol=1e-9)
        assert np.allclose(found["back"], points, atol=1e-9)
        assert found["far"] == pytest.approx(float(np.linalg.norm(u)), abs=1e-9)
        assert found["angle"] == pytest.approx(float(expected), abs=1e-6)


def test_a_reference_line_is_where_the_other_layer_cuts_the_picture(run_js: Any) -> None:
    volume = Volume(np.zeros((40, 50, 60), np.int16), np.diag([1.0, 2.0, 0.5, 1.0]))
    planes = {
        name: {"affine": plane_geometry(volume, name).affine.tolist(), "shape": plane_geometry(volume, name).shape}
        for name in PLANES
    }
    here, there = {**planes["sagittal"], "layer": 12}, {**planes["axial"], "layer": 33}
    line = run_js("m.crossReference(v.here, v.there)", {"here": here, "there": there})
    matrix = np.array(here["affine"])
    assert [point[0] for point in line] == pytest.approx([60 - 1 - 33] * 2)
    ends = sorted((matrix @ [*point, 12, 1.0])[1] for point in line)
    assert ends == [pytest.approx(-1.0), pytest.approx(99.0)]  # the whole width of the axial layer, front to back
    same = {**planes["sagittal"], "layer": 13}
    assert run_js("m.crossReference(v.here, v.there)", {"here": here, "there": same}) is None


def test_the_window_is_that_of_the_library(run_js: Any) -> None:
    values = np.arange(-1200, 1600, 7, dtype=np.int16)
    found = run_js("v.map((x) => m.grey(x, 50, 400))", values.tolist())
    assert found == to_uint8(values, Window(50, 400)).tolist()


def test_points_that_coincide_give_no_number_and_a_film_without_orientation_no_sign(run_js: Any) -> None:
    affine = plane_geometry(Volume(np.zeros((9, 9, 9), np.int16), np.eye(4)), "sagittal").affine.tolist()
    values = {"affine": affine, "p": [[0, 0, 0], [0, 10, 1], [0, 0, -20], [0, 10, -25]], "same": [[0, 0, 0]] * 4}
    found = run_js(
        "[m.evaluate('cobb', v.p, v.affine, true, true), m.evaluate('cobb', v.p, v.affine, false, true),"
        " m.evaluate('cobb', v.same, v.affine, true, true), m.evaluate('slip', v.same.slice(1), v.affine, true, true),"
        " m.evaluate('distance', v.p.slice(0, 2), v.affine, true, false)]",
        values,
    )
    whole = Endplate.from_sagittal((0, 10, 1), (0, 0, 0)), Endplate.from_sagittal((0, 10, -25), (0, 0, -20))
    expected = cobb_deg(*whole, "sagittal")
    assert found[0]["values"]["cobb_deg"] == pytest.approx(expected, abs=0.051)
    assert "lordosis" in found[0]["text"]
    assert found[1]["values"]["lines_deg"] == pytest.approx(abs(expected), abs=0.051)
    assert found[2] is None
    assert found[3] is None
    assert found[4]["text"].endswith("px")
