"""`spinemed motion fit` and `spinemed motion view`: from recorded points to angles, and to a page that moves.

Convention: one JSON line on standard output says what was written; doubts go to standard error, one line each. The
trap: `fit` exits with 0 when it fitted, however doubtful; scripts must read the flags in fit.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["fit", "view"]


def fit(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="C3D, TRC, BVH, AMC, keypoints, or a folder of cameras' keypoints.")
    ],
    out: Annotated[Path, typer.Option(help="New folder, or that of an earlier fit, which is replaced.")],
    cameras: Annotated[Path | None, typer.Option(help="Calibration TOML (Pose2Sim) for a folder of keypoints.")] = None,
    names: Annotated[
        Path | None, typer.Option(help="YAML with rename, clusters and leave_out for the markers' names.")
    ] = None,
    sex: Annotated[str, typer.Option(help="male or female: whose proportions to start from.")] = "male",
    stature: Annotated[
        float | None, typer.Option(help="Standing height in mm; the mean of the sex by default.")
    ] = None,
    pelvic_incidence: Annotated[float | None, typer.Option(help="In degrees; 49.3 by default.")] = None,
    rhythm: Annotated[str, typer.Option(help="How levels share a region's motion: rom, eos or couplers.")] = "rom",
    unit: Annotated[str | None, typer.Option(help="mm, cm or m, where the file says nothing or lies.")] = None,
    up: Annotated[str | None, typer.Option(help="y or z, where the file says nothing or lies.")] = None,
    rate: Annotated[float | None, typer.Option(help="Frames per second, where the file does not say.")] = None,
    layout: Annotated[str | None, typer.Option(help="Of keypoints: coco17, halpe26, h36m17, spinetrack37, ...")] = None,
    subject: Annotated[str | None, typer.Option(help="Which subject of a C3D file with several.")] = None,
    skeleton: Annotated[Path | None, typer.Option(help="The ASF file of an AMC.")] = None,
    sigma: Annotated[float, typer.Option(help="Noise of a marker per axis in mm, skin included.")] = 5.0,
    marker_sd: Annotated[
        float | None, typer.Option(help="How far markers may sit from the table in mm; 20, for keypoints 0.")
    ] = None,
    fixed_size: Annotated[bool, typer.Option("--fixed-size", help="Keep the body's proportions as tabled.")] = False,
    keep_labels: Annotated[bool, typer.Option("--keep-labels", help="Do not put exchanged labels back.")] = False,
    no_posterior: Annotated[bool, typer.Option("--no-posterior", help="Leave standard deviations out.")] = False,
    clip_id: Annotated[str | None, typer.Option(help="Name of the clip; the file's by default.")] = None,
) -> None:
    """Fit a recorded clip: spine angles with their standard deviations, points, residuals and doubts."""
    from spinemed.config import load_config
    from spinemed.motion.fitting import fit_clip, write_clip_fit
    from spinemed.motion.sources import MarkerNames, read_source

    plan = load_config(names, MarkerNames) if names is not None else None
    clip = read_source(
        source, cameras=cameras, unit=unit, up=up, rate_hz=rate, layout=layout, subject=subject, skeleton=skeleton
    )
    found = fit_clip(
        clip, sex=sex, stature_mm=stature, pelvic_incidence_deg=pelvic_incidence, rhythm=rhythm, names=plan,
        sigma_mm=sigma, marker_sd_mm=marker_sd, scale=not fixed_size, mend=not keep_labels,
        posterior=not no_posterior, clip_id=clip_id,
    )  # fmt: skip
    folder = write_clip_fit(found, out)
    for flag in found.flags:
        whom = f" ({', '.join(flag.markers)})" if flag.markers else ""
        typer.echo(f"flag {flag.name}: {flag.message}{whom}", err=True)
    report = json.loads((folder / "fit.json").read_bytes())
    typer.echo(
        json.dumps(
            {
                "out": str(out), "frames": report["frames"], "markers": len(found.fit.markers),
                "rms_mm": report["rms_mm"], "flags": [flag.name for flag in found.flags],
            }
        )
    )  # fmt: skip


def view(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder of a fit, or of a data set with --clip.")],
    out: Annotated[Path | None, typer.Option(help="The page, HTML; it needs no network.")] = None,
    clip: Annotated[str | None, typer.Option(help="Which clip of a data set.")] = None,
    strip: Annotated[Path | None, typer.Option(help="A strip of pictures, PNG.")] = None,
    frames: Annotated[int, typer.Option(min=2, help="Frames on the page at most; more are thinned, and said.")] = 1500,
    pictures: Annotated[int, typer.Option(min=2, max=24, help="Pictures on the strip.")] = 8,
) -> None:
    """Show a fit or a simulated clip: a page with a moving 3D spine and its curves, and strips of pictures."""
    from spinemed.motion.conventions import MotionError
    from spinemed.motion.scene import read_scene

    if out is None and strip is None:
        raise MotionError("nothing to write", field="out", cure="give --out PAGE.html, --strip STRIP.png, or both")
    scene = read_scene(source, clip)
    if out is not None:
        from spinemed.motion.page import write_page

        write_page(scene, out, most_frames=frames)
    if strip is not None:
        from spinemed.motion.draw import write_strip

        write_strip(scene, strip, count=pictures)
    written = [str(path) for path in (out, strip) if path is not None]
    typer.echo(json.dumps({"out": written, "clip": scene.title, "frames": len(scene.q)}))
