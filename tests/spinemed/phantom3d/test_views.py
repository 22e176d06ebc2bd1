"""What an image of a set covers: doubt that is there when it was asked for, and no anchor that no image shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from spinemed.anatomy import Disc, Level
from spinemed.config import load_config
from spinemed.phantom.case import ImageDescription, draw_case, write_case
from spinemed.phantom.imaging.mr import render_mr
from spinemed.phantom.make import make_phantoms
from spinemed.phantom.pathology.records import Fracture
from spinemed.phantom.set_config import CtSettings, MrSettings, PhantomSetConfig, SetField, What, XraySettings
from spinemed.phantom.shape.scene import build_scene
from spinemed.phantom.spine.config import SpineConfig
from spinemed.phantom.spine.draw import draw_spine
from spinemed.phantom.views import draw_views, field_of_view_of_points, shows_an_end
from spinemed.resources import configs_dir
from spinemed.tables import read_manifest

ALL: tuple[What, ...] = ("ct", "xray", "mr")
FRACTURE = Fracture(
    level=Level.L1, shape="wedge", anterior_loss_percent=40, middle_loss_percent=25, posterior_loss_percent=5
)


def test_all_images_of_a_spine_leave_the_same_levels_undecided() -> None:
    broken = draw_spine(3, 1).model_copy(update={"pathologies": (FRACTURE,)})
    kinds = set()
    for seed in range(40):
        views = draw_views(broken, ALL, "thoracolumbar", 1.0, np.random.default_rng(seed))
        assert len({(view.kind, view.levels, view.artefact_levels) for view in views}) == 1
        assert [view.what for view in views] == list(ALL)
        kinds.add(views[0].kind)
        if views[0].kind == "level_outside":
            assert Level.L1 not in views[0].levels
            assert len(views[0].levels) >= 3
        if views[0].kind == "artefact":
            assert Level.L1 in views[0].artefact_levels
    assert kinds == {"no_anchor", "artefact", "level_outside"}


@pytest.mark.parametrize("field", ["full", "cervical", "thoracic", "thoracolumbar", "lumbar"])
def test_doubt_that_was_drawn_is_never_a_whole_view(field: SetField) -> None:
    """A healthy spine has no level to leave outside: the share goes to the other kinds."""
    for what in (ALL, ("mr",)):
        for seed in range(15):
            spine = draw_spine(3, seed, SpineConfig(variant_shares={"four_lumbar": 0.5}))
            view = draw_views(spine, what, field, 1.0, np.random.default_rng(seed))[0]  # type: ignore[arg-type]
            assert view.kind in ("no_anchor", "artefact")
            assert view.levels or view.artefact_levels


def test_a_view_without_an_anchor_is_not_numbered_in_any_image(tmp_path: Path) -> None:
    job = PhantomSetConfig(
        count=1,
        what=ALL,
        field="thoracolumbar",
        undecidable_share=1.0,
        twins=True,
        ct=CtSettings(spacing_mm=(3.0, 3.0, 3.0)),
        xray=XraySettings(pixel_mm=3.0),
        mr=MrSettings(sagittal_mm=(2.0, 4.0), slices=5, axial_discs=0),
    )
    draws = (draw_case(job.model_copy(update={"seed": seed}), 0) for seed in range(100))
    draw = next(one for one in draws if one.views[0].kind == "no_anchor" and one.twin is not None)
    images = write_case(job, draw, tmp_path)
    assert {image.case for image in images} == {draw.case, f"{draw.case}twin"}
    assert len(images) == 8
    for image in images:
        assert image.description is not None
        assert not image.description.numbering_determinable, image.image


def test_an_image_without_a_whole_vertebra_is_counted_and_not_described(tmp_path: Path) -> None:
    scene = build_scene(draw_spine(3, 1))
    assert field_of_view_of_points(scene, (), (), ribs=False, hips=False) is None
    # A single thin slice beside a scoliosis holds no body from front to back.
    job = PhantomSetConfig(
        count=1,
        seed=3,
        what=("mr",),
        field="cervical",
        spine=SpineConfig(scoliosis_share=1.0),
        mr=MrSettings(sagittal_mm=(3.0, 0.5), slices=1, axial_discs=0),
    )
    outputs = make_phantoms(job, tmp_path / "run")
    lines = (outputs / "descriptions.jsonl").read_text().splitlines()
    (image,) = [ImageDescription.model_validate_json(line) for line in lines]
    assert image.description is None
    assert "no vertebra is whole" in image.reason
    assert (outputs / image.image).is_file()
    assert read_manifest(outputs, "phantom_set")["undescribed"] == 1
    with pytest.raises(ValidationError, match="a reason is given"):
        ImageDescription(case="a", image="b", view="whole")


def test_an_axial_stack_names_the_sacrum_only_where_it_shows_its_wings() -> None:
    spine = draw_spine(1, 5, SpineConfig(variant_shares={}, transition_share=0.0))
    disc = Disc(Level.L5, Level.S1)
    thin, deep = (
        render_mr(spine, sequence="T2", plane="axial", disc=disc, pixel_mm=1.5, slices=slices) for slices in (3, 9)
    )
    assert not shows_an_end(thin)
    assert shows_an_end(deep)
    neck = Disc(Level.C2, Level.C3)
    thin, deep = (
        render_mr(spine, sequence="T2", plane="axial", disc=neck, pixel_mm=1.5, slices=slices) for slices in (3, 19)
    )
    assert not shows_an_end(thin)
    assert shows_an_end(deep)


def test_the_lumbar_config_breaks_only_what_its_field_shows() -> None:
    job = load_config(configs_dir() / "phantom_lumbar.yaml", PhantomSetConfig, ["pathology.fracture_share=1.0"])
    broken = {
        item.level for index in range(30) for item in draw_case(job, index).spine.pathologies if item.kind == "fracture"
    }
    assert broken
    assert min(broken) >= Level.T12
