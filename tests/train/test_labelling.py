"""Training the vertebra labeller: it learns, resumes to the same bytes, and what it wrote labels a scan by command."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spinemed.anatomy import Level
from spinemed.config import load_config
from spinemed.errors import ConfigError, ModelError, ReadError
from spinemed.labelling import CentroidSet, read_centroids, read_label_mask, write_centroids
from spinemed.labelling.assignment import Kind
from spinemed.labelling.jobs import find_scans, label_files
from spinemed.labelling.networks import KINDS, SegmenterConfig, build_locator, build_namer, build_segmenter
from spinemed.volume import Volume, write_nifti
from train.labelling.crops import LocatorCrops, NamerCrops, load_cases, prepare_cases
from train.labelling.labeller import LabellingConfig, run_labelling
from train.labelling.phantom_scans import PhantomScans, draw_scan, make_phantom_scans

SPACING = 4.0
LUMBAR = (Level.L1, Level.L2, Level.L3, Level.L4, Level.L5)
TINY = {
    "locator": {"spacing_mm": SPACING, "channels": [8, 12, 16], "window_vox": [16, 16, 32], "heat_sigma_mm": 6.0},
    "namer": {"spacing_mm": SPACING, "channels": [8, 12, 16], "window_vox": [16, 16, 16]},
    "segmenter": {
        "spacing_mm": SPACING,
        "channels": [8, 12, 16],
        "window_vox": [16, 16, 12],
        "centre_back_mm": 0.0,
        "hint_sigma_mm": 6.0,
    },
}


def blob_scan(seed: int) -> tuple[Volume, Volume, dict[Level, np.ndarray]]:
    """Five bright balls over one brighter, broader block, which stands for the sacrum; RAS, 4 mm."""
    rng = np.random.default_rng(seed)
    shape = (24, 24, 56)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = (-48.0, -40.0, -100.0)
    at = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1) * SPACING
    hu = np.full(shape, -100.0) + rng.normal(0, 10, shape)
    labels = np.zeros(shape, dtype=np.uint8)
    centres = {}
    middle = np.array([46.0 + rng.uniform(-6, 6), 46.0 + rng.uniform(-6, 6), 190.0])
    for step, level in enumerate(LUMBAR):
        centre = middle - [0, 0, 32.0 * step]
        inside = ((at - centre) ** 2 / np.array([20.0, 16.0, 12.0]) ** 2).sum(-1) < 1
        hu[inside] = 350 + rng.normal(0, 20, int(inside.sum()))
        labels[inside] = level.verse_label
        centres[level] = affine[:3, :3] @ (centre / SPACING) + affine[:3, 3]
    below = middle - [0, 0, 32.0 * 5]
    inside = (np.abs(at - below) < [22.0, 14.0, 14.0]).all(-1)
    hu[inside] = 700 + rng.normal(0, 20, int(inside.sum()))
    labels[inside] = 26
    return Volume(hu.astype(np.float32), affine, "HU"), Volume(labels, affine, "label"), centres


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scans in VerSe's layout."""
    root = tmp_path_factory.mktemp("verse")
    for number in range(4):
        image, mask, centres = blob_scan(number)
        name = f"sub-blob{number}"
        (root / "rawdata" / name).mkdir(parents=True)
        (root / "derivatives" / name).mkdir(parents=True)
        write_nifti(image, root / "rawdata" / name / f"{name}_ct.nii.gz")
        write_nifti(mask, root / "derivatives" / name / f"{name}_seg-vert_msk.nii.gz")
        if number:  # the first one's centres are derived from its mask
            file = root / "derivatives" / name / f"{name}_seg-subreg_ctd.json"
            write_centroids(file, CentroidSet.of(centres), image)
    return root


def config(folder: Path, steps: int, **more: object) -> LabellingConfig:
    schedule = {"steps": steps, "batch_size": 2, "learning_rate": 1e-2, "warmup_steps": 2, "log_every": 2}
    values = {
        "data": [folder],
        "origin": "bright balls",
        "networks": TINY,
        "locator": {**schedule, "save_every": max(1, steps // 2)},
        "namer": {**schedule, "batch_size": 8, "save_every": max(1, steps // 2)},
        "segmenter": {**schedule, "save_every": max(1, steps // 2)},
        "threads": 1,
        **more,
    }
    return LabellingConfig.model_validate(values)


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has seen enough balls to know them."""
    out = tmp_path_factory.mktemp("run") / "run"
    run_labelling(config(folder, 120), out)
    return out


def test_all_networks_learn_and_the_model_says_from_what(trained: Path) -> None:
    manifest = json.loads((trained / "outputs/model/manifest.json").read_bytes())
    for stage in ("locator", "namer", "segmenter"):
        assert manifest[stage]["last_loss"] < 0.6 * manifest[stage]["first_loss"], stage
    about = json.loads((trained / "outputs/model/about.json").read_bytes())
    assert about["origin"] == "bright balls"
    assert (about["cases"], about["cases_with_sacrum"]) == (4, 4)
    assert "Research use only" in about["note"]


def test_what_was_learned_labels_an_unseen_scan_by_command(
    trained: Path, tmp_path: Path, spinemed: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    image, mask, centres = blob_scan(77)
    scans = tmp_path / "scans"
    scans.mkdir()
    write_nifti(image, scans / "case_ct.nii.gz")
    shifted = Volume(np.asarray(image.data) + 1024, image.affine, "a.u.")
    write_nifti(shifted, scans / "shifted_ct.nii.gz")
    model = trained / "outputs" / "model"
    done = spinemed("label", "run", scans, "--model", model, "--out", tmp_path / "out", "--threads", "1")
    assert done.returncode == 1, done.stderr
    assert "1 labelled, 0 kept, 1 failed" in done.stdout
    assert "shifted_ct.nii.gz" in done.stderr
    assert "not in Hounsfield units" in done.stderr
    report = json.loads((tmp_path / "out" / "case_labels.json").read_bytes())
    assert report["determinable"]
    assert [one["level"] for one in report["vertebrae"]] == ["L1", "L2", "L3", "L4", "L5", "S1"]
    assert report["namings"][0]["probability"] >= report["bound"]
    assert report["model"]["origin"] == "bright balls"
    found = read_label_mask(tmp_path / "out" / "case_seg-vert_msk.nii.gz")
    overlap = 0.0
    for level in LUMBAR:
        a, b = found.data == level.verse_label, mask.data == level.verse_label
        overlap += 2 * float((a & b).sum()) / float(a.sum() + b.sum()) / len(LUMBAR)
    assert overlap > 0.8
    points = read_centroids(tmp_path / "out" / "case_seg-subreg_ctd.json", image_or_mask=image)
    assert max(float(np.linalg.norm(points[level] - centres[level])) for level in LUMBAR) < SPACING
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    again = label_files(find_scans(scans), model, tmp_path / "out")
    assert (again.done, again.kept, len(again.failed)) == ((), ("case",), 1)
    label_files([scans / "case_ct.nii.gz"], model, tmp_path / "b")
    assert {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()} == before


def test_a_field_without_an_anchor_is_not_named(trained: Path, tmp_path: Path) -> None:
    """Three balls without the block below: they may be L1-L3, L2-L4 or L3-L5."""
    image, _, _ = blob_scan(78)
    keep = slice(22, 56)
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [0, 0, 22]
    write_nifti(Volume(np.ascontiguousarray(image.data[:, :, keep]), affine, "HU"), tmp_path / "crop_ct.nii.gz")
    out = tmp_path / "out"
    told = label_files([tmp_path / "crop_ct.nii.gz"], trained / "outputs/model", out)
    assert told.undecided == ("crop",)
    report = json.loads((out / "crop_labels.json").read_bytes())
    assert {one["level"] for one in report["vertebrae"]} == {None}
    assert len(report["namings"]) >= 3
    assert sum(naming["probability"] for naming in report["namings"]) <= 1 + 1e-6
    assert not list(out.glob("*_seg-vert_msk.nii.gz"))
    assert not list(out.glob("*_ctd.json"))
    assert (out / "crop_seg-instances_msk.nii.gz").is_file()
    again = label_files([tmp_path / "crop_ct.nii.gz"], trained / "outputs/model", out, likeliest=True)
    assert again.done == ("crop",)
    assert json.loads((out / "crop_labels.json").read_bytes())["likeliest_written"]
    assert (out / "crop_seg-vert_msk.nii.gz").is_file()
    assert not (out / "crop_seg-instances_msk.nii.gz").exists()


def test_a_killed_run_ends_with_the_same_bytes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(folder, 4)
    whole = run_labelling(settings, tmp_path / "whole")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("train.labelling.labeller.save_networks", killed)
        with pytest.raises(KeyboardInterrupt):
            run_labelling(settings, tmp_path / "cut")
    assert not (tmp_path / "cut/outputs/model").exists()
    shutil.rmtree(tmp_path / "cut/scratch/segmenter/checkpoint-4")  # as if the kill had come in between
    again = run_labelling(settings, tmp_path / "cut")
    events = [json.loads(line) for line in (tmp_path / "cut/journal.jsonl").read_text().splitlines()]
    assert [event["checkpoint"] for event in events if event["event"] == "resumed"] == [
        "checkpoint-4",
        "checkpoint-4",
        "checkpoint-2",
    ]
    names = {path.name for path in whole.iterdir()}
    assert names == {path.name for path in again.iterdir()}
    assert all((whole / name).read_bytes() == (again / name).read_bytes() for name in names)


def test_crops_depend_on_their_number_only(folder: Path, tmp_path: Path) -> None:
    from spinemed.labelling import read_verse_folder

    told = config(folder, 4).networks.locator
    prepare_cases(read_verse_folder(folder), (SPACING,), tmp_path, lambda count: None)
    cases = load_cases(tmp_path, 0)
    some, more = LocatorCrops(cases, told, 5, seed=1), LocatorCrops(cases, told, 50, seed=1)
    more[2]
    assert all((some[4][name] == more[4][name]).all() for name in some[4])
    other = LocatorCrops(cases, told, 5, seed=2)
    assert not (some[4]["pixels"] == other[4]["pixels"]).all()
    heat = max(float(some[number]["heat"].max()) for number in range(5))
    assert 0.8 < heat <= 1.0


def test_lumbar_is_drawn_twice_as_often_as_sacral_and_some_crops_hold_no_vertebra(folder: Path, tmp_path: Path) -> None:
    from spinemed.labelling import read_verse_folder

    told = config(folder, 4).networks.namer
    prepare_cases(read_verse_folder(folder), (SPACING,), tmp_path, lambda count: None)
    crops = NamerCrops(load_cases(tmp_path, 0), told, 240, seed=1, jitter_mm=2.0)
    rows = [crops[number] for number in range(240)]
    answers = np.array([int(row["kind"]) for row in rows])
    lumbar, sacrum = (int((answers == 1 + KINDS.index(kind)).sum()) for kind in (Kind.LUMBAR, Kind.SACRUM))
    assert lumbar + sacrum + int((answers == 0).sum()) == 240
    assert 1.4 < lumbar / sacrum < 2.8, "there are five lumbar vertebrae to one sacrum"
    assert 3 < (answers == 0).sum() < 60
    offsets = np.stack([row["offset"].numpy() for row in rows])
    assert (offsets[answers == 0] == 0).all()
    assert 0.1 < np.abs(offsets[answers > 0]).mean() < 0.6, "millimetres in tens"
    # What is centred on a bright ball or block is bright in its middle; what is centred on none is not.
    middle = np.array([float(row["pixels"][0, 6:10, 6:10, 6:10].mean()) for row in rows])
    assert middle[answers > 0].mean() > middle[answers == 0].mean() + 0.3


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither folders"):
        load_config(
            _written(tmp_path, "origin: x\nlocator: {steps: 1}\nnamer: {steps: 1}\nsegmenter: {steps: 1}\n"),
            LabellingConfig,
        )
    short = tmp_path / "short"
    shutil.copytree(folder, short)
    next(short.rglob("sub-blob2_seg-vert_msk.nii.gz")).unlink()
    with pytest.raises(ReadError, match="sub-blob2 has no mask"):
        run_labelling(config(short, 2), tmp_path / "run")
    assert not (tmp_path / "run/outputs/prepared").exists()
    with pytest.raises(ModelError, match="halved"):
        build_segmenter(SegmenterConfig(window_vox=(49, 56, 40)))


def _written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["labelling_phantom", "labelling_verse"])
def test_shipped_configs_build_their_networks(name: str, root: Path) -> None:
    told = load_config(root / "configs" / f"{name}.yaml", LabellingConfig)
    networks = (
        build_locator(told.networks.locator),
        build_namer(told.networks.namer),
        build_segmenter(told.networks.segmenter),
    )
    for network in networks:
        assert sum(weight.numel() for weight in network.parameters()) > 10_000


def test_phantom_scans_are_drawn_by_number_and_rendered_once(tmp_path: Path) -> None:
    few = PhantomScans(count=1, seed=5, views={"crop": 1.0}, spacing_mm=1.25)
    many = PhantomScans(count=9, seed=5, views={"crop": 1.0}, spacing_mm=1.25)
    assert draw_scan(few, 0)[0] == draw_scan(many, 0)[0]
    counts = [draw_scan(many, k)[0] for k in range(9)]
    assert any((spine.thoracic, spine.lumbar) != (12, 5) for spine in counts)
    root = make_phantom_scans(few, tmp_path / "scans")
    image = next(root.rglob("*_ct.nii.gz"))
    stamp = image.stat().st_mtime_ns
    make_phantom_scans(few, tmp_path / "scans")
    assert image.stat().st_mtime_ns == stamp
    mask = read_label_mask(next(root.rglob("*_seg-vert_msk.nii.gz")))
    assert mask.levels
