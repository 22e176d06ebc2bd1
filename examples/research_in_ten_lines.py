"""For a researcher: VerSe metrics, vertebral height loss and spine motion, each in a function of about ten lines.

Shows: what to import for each of the three, and what comes back, on files that travel with SpineMed. Copy a function,
put your own paths in, and go on from there.
Needs: the plain installation; no GPU, no network. The pages of the three packages say more:
bench/verse, spinemed/vertebra and spinemed/motion, each with a README.md.
Takes: about 4 seconds on one CPU core; half a minute the first time, when kernels are compiled.

    python examples/research_in_ten_lines.py --out runs/research

Research use only. One bundled pair and one patient are an example, not a result; the motion is simulated.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.verse import Settings, evaluate_case
from spinemed.labelling import read_label_mask
from spinemed.metrics.motion import pose_errors
from spinemed.motion import FitOptions, build_model, centroid_markers, fit_motion, keypoint_markers, marker_points
from spinemed.resources import samples_dir
from spinemed.vertebra import grade_spine
from spinemed.vertebra.paper import paper_rhlv, paper_straighten


def verse_metrics() -> dict[str, Any]:
    """How good is a segmentation? Here the outlines are right, and every name is wrong by one level."""
    pair = samples_dir() / "masks" / "panoptica_spine" / "unmatched_instance"
    numbers = Settings(labels="tptbox", reference_labels="tptbox")  # masks with VerSe's own numbers need no settings
    found = evaluate_case(pair / "ref.nii.gz", pair / "pred.nii.gz", settings=numbers)
    return {
        "vertebrae": len(found.vertebrae),
        "levels_shifted_by": found.case.shift,
        "identification_rate": found.case.means["identified"],
        "dice": found.case.means["dice"],  # strict: a vertebra under another name overlaps with nothing
        "dice_under_any_name": found.case.means["dice_any_name"],
    }


def height_loss() -> dict[str, Any]:
    """How much height has L1 lost? The patient whose mask HealthiVert-GAN's authors published."""
    mask = read_label_mask(samples_dir() / "masks" / "healthivert_0007" / "0007_msk.nii.gz")
    l1 = next(body for body in grade_spine(mask).vertebrae if str(body.level) == "L1")
    crops = paper_straighten(mask.volume, [19, 20])  # the published rule; VerSe's numbers of T12 and L1
    rhlv = paper_rhlv(crops[19].labels == 19, crops[20].labels == 20)  # T12 stands in for a synthetic healthy L1
    return {
        "l1_middle_loss_percent": l1.middle.percent if l1.middle else None,  # against heights expected from this spine
        "l1_interval_percent": [l1.middle.low, l1.middle.high] if l1.middle else None,
        "l1_grade": l1.grade,  # None: the other bodies have sunk too, and no expected height is believed
        "why": list(l1.flags),
        "rhlv_middle_against_t12_percent": 100 * rhlv.middle,
    }


def motion() -> dict[str, Any]:
    """How well do skin points tell the spine's motion? A known bend at L4/5, 3 mm of noise, and the way back."""
    model = build_model("female", stature_mm=1650)
    truth = model.zero(frames=60)
    truth[:, model.freedom("L4/5.flexion")] = np.radians(8) * np.sin(np.linspace(0, np.pi, 60))
    skin, bones = keypoint_markers(model), centroid_markers(model)
    seen = marker_points(model, truth, skin) + np.random.default_rng(0).normal(0, 3, (60, len(skin.names), 3))
    fit = fit_motion(seen, model, skin, rate_hz=50, options=FitOptions(sigma_mm=3.0))
    errors = pose_errors(marker_points(fit.model, fit.q, bones), marker_points(model, truth, bones))
    worst = float(np.abs(fit.angles_deg - model.spine_angles_deg(truth)).max())
    return {"points_seen": len(skin.names), "mpjpe_mm": errors.mpjpe.value, "largest_angle_error_deg": worst}


def main() -> None:
    """Print the numbers with their units and keep them in a file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/research"), help="folder of numbers.json")
    out: Path = parser.parse_args().out

    verse, loss, bend = verse_metrics(), height_loss(), motion()

    print(f"VerSe metrics, {verse['vertebrae']} vertebrae of one bundled pair")
    print(f"  every level is named {verse['levels_shifted_by']:+d} off; identified: {verse['identification_rate']:.0%}")
    print(f"  Dice by name {verse['dice']:.3f}, under any name {verse['dice_under_any_name']:.3f}")
    print("Height loss of L1, one published patient")
    low, high = loss["l1_interval_percent"]
    print(f"  middle third {loss['l1_middle_loss_percent']:.1f} % (95 % interval {low:.1f} to {high:.1f} %)")
    print(f"  Genant grade: {loss['l1_grade']}, because: {'; '.join(loss['why'])}")
    print(f"  RHLV as published, T12 in place of a healthy L1: {loss['rhlv_middle_against_t12_percent']:.1f} %")
    print("Motion, simulated: a bend of 8 degrees at L4/5")
    print(f"  from {bend['points_seen']} points: vertebrae are {bend['mpjpe_mm']:.2f} mm off on average (MPJPE),")
    print(f"  and the worst joint angle by {bend['largest_angle_error_deg']:.1f} degrees")

    out.mkdir(parents=True, exist_ok=True)
    numbers = {"verse": verse, "height_loss": loss, "motion": bend}
    (out / "numbers.json").write_text(json.dumps(numbers, indent=2, default=str) + "\n", encoding="utf-8")
    print(f"written: {out / 'numbers.json'}")


if __name__ == "__main__":
    main()
