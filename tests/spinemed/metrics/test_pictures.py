"""PSNR, SSIM and RHDR: against direct evaluations of the formulas, and what they say where there is nothing to say."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from spinemed.errors import MetricError
from spinemed.metrics.pictures import PictureScore, psnr, rhdr, ssim, ssim_map


def direct_ssim(a: np.ndarray, b: np.ndarray, data_range: float) -> np.ndarray:
    """The formula place by place under an explicit window."""
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = line
    for _ in range(a.ndim - 1):
        window = np.multiply.outer(window, line)
    window = window / window.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    out = np.zeros([size - 10 for size in a.shape])
    for place in product(*(range(size) for size in out.shape)):
        box = tuple(slice(i, i + 11) for i in place)
        x, y = a[box], b[box]
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
        cxy = (window * (x - mx) * (y - my)).sum()
        out[place] = (2 * mx * my + c1) * (2 * cxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return out


@pytest.mark.parametrize("shape", [(17, 23), (13, 12, 15)])
def test_ssim_is_the_published_formula(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(300.0, 150.0, shape)
    b = 0.7 * a + rng.normal(0.0, 60.0, shape)
    assert np.abs(ssim_map(a, b, data_range=1100.0) - direct_ssim(a, b, 1100.0)).max() < 1e-10


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_ssim_is_what_monai_computes_in_single_precision() -> None:
    import torch
    from monai.metrics.regression import compute_ssim_and_cs

    rng = np.random.default_rng(4)
    a, b = rng.random((14, 16, 18)), rng.random((14, 16, 18))
    theirs, _ = compute_ssim_and_cs(
        torch.as_tensor(a)[None, None].float(), torch.as_tensor(b)[None, None].float(), spatial_dims=3,
        kernel_size=(11, 11, 11), kernel_sigma=(1.5, 1.5, 1.5), data_range=1.0,
    )  # fmt: skip
    assert np.abs(ssim_map(a, b, data_range=1.0) - theirs[0, 0].numpy()).max() < 1e-4


def test_ssim_in_a_region_sees_only_the_region() -> None:
    rng = np.random.default_rng(5)
    a = rng.random((40, 60))
    b = a.copy()
    b[:, 30:] = rng.random((40, 30))
    left = np.zeros(a.shape, bool)
    left[:, :24] = True  # the windows of its places end before the change
    inner = int(left[5:-5, 5:-5].sum())
    assert ssim(a, b, data_range=1.0, mask=left) == PictureScore(pytest.approx(1.0), "scored", inner)
    right = ssim(a, b, data_range=1.0, mask=~left).value
    whole = ssim(a, b, data_range=1.0).value
    assert right is not None
    assert whole is not None
    assert right < 0.4 < whole < 0.9


def test_psnr_by_hand() -> None:
    a = np.zeros((4, 4, 4))
    b = np.full((4, 4, 4), 10.0)
    assert psnr(a, b, data_range=1000.0).value == pytest.approx(40.0)
    b[0] = 100.0
    mask = np.zeros(b.shape, bool)
    mask[0] = True
    assert psnr(a, b, data_range=1000.0, mask=mask) == PictureScore(pytest.approx(20.0), "scored", 16)


def test_equal_pictures_are_named_and_never_infinite() -> None:
    a = np.arange(256.0).reshape(16, 16)
    assert psnr(a, a, data_range=255.0) == PictureScore(None, "identical", 256)
    assert ssim(a, a, data_range=255.0).value == pytest.approx(1.0)


def test_constant_pictures() -> None:
    low, high = np.full((12, 12), 5.0), np.full((12, 12), 105.0)
    assert ssim(low, low, data_range=200.0).value == pytest.approx(1.0)
    # Nothing but the means differ: (2·5·105 + C1) / (5² + 105² + C1) with C1 = 2².
    assert ssim(low, high, data_range=200.0).value == pytest.approx((2 * 5 * 105 + 4) / (25 + 11025 + 4))
    assert psnr(low, high, data_range=200.0).value == pytest.approx(10 * np.log10(4.0))


def test_an_empty_mask_has_no_value() -> None:
    a = np.random.default_rng(0).random((20, 20))
    nothing = np.zeros(a.shape, bool)
    edge = nothing.copy()
    edge[:3] = True
    assert psnr(a, 1 - a, data_range=1.0, mask=nothing) == PictureScore(None, "empty", 0)
    assert ssim(a, 1 - a, data_range=1.0, mask=nothing) == PictureScore(None, "empty", 0)
    assert ssim(a, 1 - a, data_range=1.0, mask=edge).status == "empty"  # no window lies inside the picture there


@pytest.mark.parametrize(
    ("a", "b", "keys"),
    [
        (np.zeros((12, 12)), np.zeros((12, 13)), {"data_range": 1.0}),
        (np.zeros((12, 12)), np.zeros((12, 12)), {"data_range": 0.0}),
        (np.zeros((12, 12)), np.full((12, 12), np.nan), {"data_range": 1.0}),
        (np.zeros((12, 12)), np.zeros((12, 12)), {"data_range": 1.0, "mask": np.ones((3, 3), bool)}),
        (np.zeros((10, 40)), np.zeros((10, 40)), {"data_range": 1.0}),
    ],
)
def test_what_cannot_be_compared_is_an_error(a: np.ndarray, b: np.ndarray, keys: dict) -> None:
    with pytest.raises(MetricError, match="Cure"):
        ssim(a, b, **keys)


def test_rhdr_is_the_relative_difference_of_the_rows_spanned() -> None:
    own, made = np.zeros((50, 30), bool), np.zeros((50, 30), bool)
    own[10:30, 5:25] = True
    made[12:29, 5:25] = True
    assert rhdr(made, own) == PictureScore(pytest.approx(15.0), "scored", 1)
    made[15:20] = False  # a hole does not shorten it
    assert rhdr(made, own).value == pytest.approx(15.0)


def test_rhdr_in_three_dimensions_counts_a_missing_layer_whole() -> None:
    own, made = np.zeros((6, 30, 40), bool), np.zeros((6, 30, 40), bool)
    own[1:5, 5:25, 10:30] = True
    made[1:4, 5:25, 10:32] = True
    expected = (3 * 10.0 + 100.0) / 4
    assert rhdr(made, own, along=2, layers=0) == PictureScore(pytest.approx(expected), "scored", 4)
    for axes in ((0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1), (1, 0, 2), (0, 2, 1)):
        turned = rhdr(made.transpose(axes), own.transpose(axes), along=axes.index(2), layers=axes.index(0))
        assert turned.value == pytest.approx(expected)


def test_rhdr_without_a_reference_is_empty_and_wrong_axes_are_an_error() -> None:
    nothing, something = np.zeros((5, 5), bool), np.ones((5, 5), bool)
    assert rhdr(something, nothing) == PictureScore(None, "empty", 0)
    assert rhdr(nothing, something).value == pytest.approx(100.0)
    with pytest.raises(MetricError, match="layers"):
        rhdr(np.ones((3, 3, 3), bool), np.ones((3, 3, 3), bool), along=1)
    with pytest.raises(MetricError, match="shape"):
        rhdr(np.ones((3, 3), bool), np.ones((3, 4), bool))
