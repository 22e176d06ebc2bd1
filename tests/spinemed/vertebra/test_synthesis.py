"""Synthesis: what each synthesiser makes of a spine, that it cannot see its target, and that models are read safely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.errors import LevelError, ModelError, VolumeError
from spinemed.labelling.masks import LabelMask
from spinemed.measure.field import BodyFrame
from spinemed.tables import write_json
from spinemed.vertebra.straighten import Straightened, straighten_spine
from spinemed.vertebra.synthesis import (
    NeighbourShape,
    Synthesis,
    Synthesiser,
    read_synthesiser,
    synthesis_loss,
    synthesis_overlay,
)
from spinemed.vertebra.synthesis.completer import ShapeCompleter
from spinemed.vertebra.synthesis.completer_net import CompleterConfig, CompleterNet
from spinemed.vertebra.synthesis.generator import SliceGenerator
from spinemed.vertebra.synthesis.generator_net import (
    FractureClassifier,
    Generator,
    GeneratorConfig,
    GeneratorNets,
    healthy_attention,
)
from spinemed.vertebra.synthesis.neighbours import nearest_neighbours
from spinemed.vertebra.synthesis.shape import describe_body, draw_shape, heights_of_shape, set_heights
from spinemed.vertebra.synthesis.slices import Piece, hide_target, net_crop
from spinemed.vertebra.synthesis.spine_shapes import context_of, describe_spine, fit_crop
from spinemed.vertebra.synthesis.store import write_card
from spinemed.volume import Volume

LEVELS = (Level.T12, Level.L1, Level.L2, Level.L3, Level.L4)
GAP_MM = 7.0


def stack(heights_mm: Sequence[float], *, spacing: float = 1.0) -> tuple[LabelMask, Volume]:
    """Oval bodies one above the other, T12 on top, with a CT: marrow, a dense rim at each endplate, fat around.

    With an odd lowest height the planes of the curve meet the middles of the voxels: no share is a tie.
    """
    total = sum(heights_mm) + GAP_MM * (len(heights_mm) - 1) + 60
    shape = (round(70 / spacing), round(64 / spacing), round(total / spacing))
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:2, 3] = [-35, -32]
    x, y, z = (affine[a, 3] + spacing * np.arange(shape[a]) for a in range(3))
    oval = (x[:, None] / 23) ** 2 + (y[None] / 17) ** 2 <= 1
    labels = np.zeros(shape, dtype=np.uint8)
    hu = np.full(shape, -80, dtype=np.int16)
    low = 30.0
    for level, height in reversed(list(zip(LEVELS, heights_mm, strict=True))):
        rows = (z >= low) & (z < low + height)
        labels[:, :, rows] = np.where(oval[:, :, None], LABEL_MAPS["verse"].to_label(level), 0)
        hu[:, :, rows] = np.where(oval[:, :, None], 180, -80)
        for edge in (low + 0.5, low + height - 0.5):
            hu[:, :, np.abs(z - edge) < 1] = np.where(oval[:, :, None], 500, -80)
        low += height + GAP_MM
    return LabelMask(labels, affine), Volume(hu, affine, "HU")


def laid(heights_mm: Sequence[float]) -> Straightened:
    mask, image = stack(heights_mm)
    return straighten_spine(mask, image=image)


@pytest.fixture(scope="module")
def straight() -> Straightened:
    return laid((22, 20, 15, 24, 25))


@pytest.fixture(scope="module")
def completer() -> ShapeCompleter:
    """Untrained, but with a mean shape: that of one body everywhere."""
    net = CompleterNet(CompleterConfig(components=4, hidden=8))
    own = describe_body(fit_crop(laid((22, 22, 22, 22, 23)).crops[Level.L2]))
    net.set_space(np.tile(own, (len(net.mean), 1)), np.eye(len(own), 4), np.ones(4))
    return ShapeCompleter(net.eval(), "untrained completer", (0.03, 0.03, 0.03))


@pytest.fixture(scope="module")
def generator() -> SliceGenerator:
    torch.manual_seed(0)
    config = GeneratorConfig(width=4, classifier_width=4)
    return SliceGenerator(GeneratorNets(Generator(config), FractureClassifier(config)), config, "untrained generator")


def height(body: NDArray[np.float32]) -> float:
    """Rows along the middle."""
    return float(body[32, 30:34].sum(axis=1).mean())


def test_the_mean_of_two_bodies_is_a_body_of_mean_height(straight: Straightened) -> None:
    made = NeighbourShape().synthesise(straight, [Level.L2])[Level.L2]
    assert height(made.body) == pytest.approx(22.0, abs=0.6)
    assert (made.body > 0.99).any()
    loss = synthesis_loss(straight, made)
    assert loss.middle.percent == pytest.approx(100 * (1 - 15 / 22), abs=3.0)
    assert loss.reference == "estimated"


def test_a_level_that_the_mask_lacks_counts_on_the_way(straight: Straightened) -> None:
    gap = replace(straight, crops={level: crop for level, crop in straight.crops.items() if level is not Level.L1})
    assert nearest_neighbours(gap, Level.L2) == [(Level.T12, -2), (Level.L3, 1)]
    made = NeighbourShape().synthesise(gap, [Level.L2])[Level.L2]
    assert height(made.body) == pytest.approx((22 + 2 * 24) / 3, abs=0.6)
    assert any("a farther one is used" in flag for flag in made.flags)


def test_the_copy_is_the_upper_neighbour_with_its_image(straight: Straightened) -> None:
    made = NeighbourShape("upper").synthesise(straight, [Level.L2, Level.T12])
    assert height(made[Level.L2].body) == pytest.approx(20.0, abs=0.6)
    assert made[Level.L2].image is not None
    assert any("no neighbour above" in flag for flag in made[Level.T12].flags)


def test_a_spine_of_one_vertebra_is_refused(straight: Straightened) -> None:
    mask, _ = stack((22, 20, 15, 24, 25))
    alone = straighten_spine(mask, [Level.L2])
    with pytest.raises(VolumeError, match="no other body"):
        NeighbourShape().synthesise(alone)
    with pytest.raises(VolumeError, match="was not straightened"):
        NeighbourShape().synthesise(straight, [Level.C7])


def test_a_shape_is_drawn_as_it_was_described(straight: Straightened) -> None:
    crop = straight.crops[Level.L3]
    body = fit_crop(crop)
    shape = describe_body(body)
    drawn = draw_shape(shape, body.frame, crop.affine, crop.body.shape) >= 0.5
    own = crop.body >= 0.5
    assert 2 * (drawn & own).sum() / (drawn.sum() + own.sum()) > 0.97
    low = set_heights(shape, (15.0, 18.0, 21.0))
    assert heights_of_shape(low) == pytest.approx((15.0, 18.0, 21.0), abs=0.2)
    affine = np.eye(4)
    affine[:3, 3] = -32
    wedge = draw_shape(low, BodyFrame(np.zeros(3), np.eye(3)), affine, (64, 64, 64))
    assert wedge[32, 42].sum() < wedge[32, 32].sum() < wedge[32, 22].sum()


def test_the_completer_does_not_see_its_target(completer: ShapeCompleter) -> None:
    found = []
    for own in (23.0, 14.0):
        straight = laid((21, 22, own, 24, 25))
        context = context_of(describe_spine(straight), Level.L2)
        made = completer.synthesise(straight, [Level.L2])[Level.L2]
        found.append((context, completer.expect([context])[1][0], height(made.body)))
    assert found[0][1] == pytest.approx(found[1][1], abs=0.35)
    # An untrained one answers with the course of the others.
    assert found[0][1] == pytest.approx(found[0][0].reference.thirds, rel=1e-5)
    assert found[0][2] == pytest.approx(found[1][2], abs=0.5)


def test_the_completer_says_what_limits_it(completer: ShapeCompleter, straight: Straightened) -> None:
    mask, _ = stack((22, 20, 15, 24, 25))
    two = straighten_spine(mask, [Level.L2, Level.L3])
    made = completer.synthesise(two)
    assert made[Level.L2].flags[0].startswith("reference unreliable")
    assert synthesis_loss(two, made[Level.L2]).reference == "unreliable"
    with pytest.raises(LevelError):
        context_of(describe_spine(straight), Level.C5)


def test_the_band_hides_how_high_the_target_is() -> None:
    config = GeneratorConfig()
    pictures = []
    for own in (24.0, 14.0):
        crop = net_crop(laid((22, 22, own, 22, 23)), Level.L2, config)
        assert (crop.high - crop.low) * config.spacing_mm == pytest.approx(own, abs=1.0)
        pictures.append(hide_target([Piece(crop.image, crop.high, 71)], [Piece(crop.image, crop.low, 0)], config))
    middle = slice((config.slice_vox[1] - config.band_vox) // 2, (config.slice_vox[1] + config.band_vox) // 2)
    assert not pictures[0][:, :, middle].any()
    # Endplates land between other pixels, so edges differ; nothing is moved by a row.
    away = np.abs(pictures[0] - pictures[1])[:, :, 12:60]
    assert np.quantile(away, 0.9) < 60
    profiles = [picture[24, 24, 12:60] for picture in pictures]
    assert np.corrcoef(profiles)[0, 1] > 0.9


def test_slices_of_a_batch_do_not_change_each_other(generator: SliceGenerator) -> None:
    torch.manual_seed(1)
    slices = torch.randn(3, 1, 48, 72).clamp(-1, 1)
    nets = generator.nets
    together = healthy_attention(nets.classifier, slices)
    alone = torch.cat([healthy_attention(nets.classifier, each[None]) for each in slices])
    assert torch.allclose(together, alone, atol=1e-5)
    assert 0 <= float(together.min()) < 1 == pytest.approx(float(together.max()))
    maps = torch.rand(3, 1, 48, 72)  # every sample is filled through its own hole and its own map
    far = torch.tensor([0.0, 0.3, 0.6])
    with torch.inference_mode():
        whole = nets.generator(slices, far, far * 0, maps)
        single = nets.generator(slices[1:2], far[1:2], far[1:2] * 0, maps[1:2])
    for one, other in zip(whole, single, strict=True):
        assert torch.allclose(one[1:2], other, atol=1e-5)


def test_the_generator_reads_nothing_of_the_band(generator: SliceGenerator) -> None:
    slices = torch.zeros(1, 1, 48, 72)
    filled = slices.clone()
    filled[..., 21:51] = 1.0
    far, maps = torch.zeros(1), torch.ones_like(slices)
    with torch.inference_mode():
        one, other = (generator.nets.generator(each, far, far, maps) for each in (slices, filled))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


class Drawn:
    """A generator network that knows the answer: an oval body of a given height, bright."""

    def __init__(self, config: GeneratorConfig, height_mm: float) -> None:
        self.config, self.height_mm = config, height_mm

    def __call__(
        self, masked: torch.Tensor, ratio: torch.Tensor, plane: torch.Tensor, attention: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        across, along = self.config.slice_vox
        half = torch.where(plane > 0, 23.0, 17.0) * torch.sqrt(1 - ratio.clamp(max=0.999) ** 2)
        x = (torch.arange(across) - (across - 1) / 2) * self.config.spacing_mm
        z = (torch.arange(along) - (along - 1) / 2) * self.config.spacing_mm
        body = ((x.abs()[None, :, None] <= half[:, None, None]) & (z.abs() <= self.height_mm / 2)[None, None]).float()
        tall = torch.full_like(ratio, self.height_mm)
        return masked, body[:, None], torch.full_like(masked, 0.5), body[:, None], tall, tall


def test_sagittal_and_coronal_slices_become_one_body(straight: Straightened, generator: SliceGenerator) -> None:
    knowing = SliceGenerator(
        GeneratorNets(Drawn(generator.config, 21.0), generator.nets.classifier),  # type: ignore[arg-type]
        generator.config, "knows",
    )  # fmt: skip
    made = knowing.synthesise(straight, [Level.L2])[Level.L2]
    assert height(made.body) == pytest.approx(21.0, abs=1.2)
    assert synthesis_loss(straight, made).middle.percent == pytest.approx(100 * (1 - 15 / 21), abs=5.0)
    own = straight.crops[Level.L2].body.sum()
    assert made.body.sum() / own == pytest.approx(21 / 15, rel=0.15)
    assert made.image is not None
    assert made.image[32, 32, 48] == pytest.approx(0.5 * 550 + 250, abs=30)  # what the network drew
    assert made.image.min() < 0  # and the patient's own around it


def test_the_generator_wants_an_image(straight: Straightened, generator: SliceGenerator) -> None:
    mask, _ = stack((22, 20, 15, 24, 25))
    with pytest.raises(VolumeError, match="no image"):
        generator.synthesise(straighten_spine(mask), [Level.L2])


def test_an_overlay_counts_what_it_takes_and_writes_over_nothing(straight: Straightened) -> None:
    mask, _ = stack((22, 20, 15, 24, 25))
    before = mask.data.copy()
    crop = straight.crops[Level.L2]
    tall = Synthesis(Level.L2, crop, _grown(crop.body), None, (), "a test")
    over = synthesis_overlay(straight, tall, mask)
    assert set(over.overlap_mm3) == {Level.L1, Level.L3}
    whole = over.on(mask.volume.shape)
    taken = sum(over.overlap_mm3.values())
    assert taken == pytest.approx(float(((whole > 0) & (before > 0) & (before != Level.L2.verse_label)).sum()))
    assert np.array_equal(before, mask.data)
    mean = NeighbourShape().synthesise(straight, [Level.L3])[Level.L3]
    assert not synthesis_overlay(straight, mean, mask).overlap_mm3
    with pytest.raises(VolumeError, match="another crop"):
        synthesis_loss(laid((22, 20, 15, 24, 25)), mean)


def _grown(body: NDArray[np.float32]) -> NDArray[np.float32]:
    from scipy.ndimage import maximum_filter1d

    return np.asarray(maximum_filter1d(body, 21, axis=2), dtype=np.float32)


def test_every_synthesiser_keeps_to_the_interface(completer: ShapeCompleter, generator: SliceGenerator) -> None:
    for each in (NeighbourShape(), completer, generator):
        assert isinstance(each, Synthesiser)
        assert each.name


def test_a_model_folder_is_read_only_if_it_is_whole(tmp_path: Path, completer: ShapeCompleter) -> None:
    from safetensors.torch import save_file

    with pytest.raises(ModelError, match="is no synthesiser"):
        read_synthesiser(tmp_path)
    folder = tmp_path / "model"
    folder.mkdir()
    write_json(folder / "config.json", {"components": 4, "hidden": 8, "dropout": 0.1})
    save_file(dict(completer.net.state_dict()), folder / "completer.safetensors")
    about = {"origin": "test phantoms", "note": "a test", "height_sd_share": [0.03, 0.03, 0.04]}
    write_card(folder, "completer", about)
    read = read_synthesiser(folder)
    assert "test phantoms" in read.name
    assert isinstance(read, ShapeCompleter)
    assert read.sd_share == (0.03, 0.03, 0.04)
    data = bytearray((folder / "completer.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "completer.safetensors").write_bytes(bytes(data))
    with pytest.raises(ModelError, match="is not the file"):
        read_synthesiser(folder)
