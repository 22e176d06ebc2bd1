"""Deformity: the SRS-Schwab classification of adults and Lenke's of adolescent idiopathic scoliosis.

Conventions: angles in degrees, plumb-line offsets in millimetres, lordosis positive. Measured on standing films; supine
CT and MR must not be put in.

Trap: whether a minor curve is structural is decided on side-bending films or by the kyphosis over it; without either it
is not known, and then no type is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from spinemed.errors import ScoreError

__all__ = ["LenkeCurve", "LenkeResult", "SchwabResult", "lenke", "srs_schwab"]

Region = Literal["PT", "MT", "TL/L"]

_BENDING_DEG = 25.0  # residual Cobb on side bending from which a minor curve is structural
_KYPHOSIS_DEG = 20.0  # kyphosis over it, the same (T2-T5 for PT; T10-L2 for MT and TL/L)
_CURVE_DEG = 30.0  # SRS-Schwab: from here on a curve counts. Exactly 30 is left open by the paper; here it counts.


@dataclass(frozen=True)
class SchwabResult:
    """Curve type and sagittal modifiers; `?` where an input is missing.

    Attributes:
        curve: `T`, `L`, `D`, `N` or `?`.
        pi_minus_ll: `0`, `+`, `++` or `?`.
        sva: As above.
        pt: As above.
        missing: Inputs that must be asked for.
    """

    curve: str
    pi_minus_ll: str
    sva: str
    pt: str
    missing: tuple[str, ...]
    source: str = "Schwab et al. 2012; Terran et al. 2013"

    @property
    def code(self) -> str:
        """As one text, e.g. `N; PI-LL ++; SVA +; PT +`."""
        return f"{self.curve}; PI-LL {self.pi_minus_ll}; SVA {self.sva}; PT {self.pt}"


def srs_schwab(
    *,
    thoracic_deg: float | None = None,
    lumbar_deg: float | None = None,
    pi_deg: float | None = None,
    ll_deg: float | None = None,
    sva_mm: float | None = None,
    pt_deg: float | None = None,
) -> SchwabResult:
    """The SRS-Schwab classification.

    Args:
        thoracic_deg: Coronal Cobb angle of the thoracic curve.
        lumbar_deg: Of the thoracolumbar or lumbar curve.
        pi_deg: Pelvic incidence.
        ll_deg: Lumbar lordosis L1 to S1.
        sva_mm: Sagittal vertical axis, forward positive.
        pt_deg: Pelvic tilt.

    Raises:
        ScoreError: A value that is not finite, or a negative Cobb angle.

    Source: bins after Schwab 2012: PI-LL 10 and 20 degrees, SVA 40 and 95 mm, PT 20 and 30 degrees; values on an inner
    edge belong to the middle bin.
    """
    told = {
        "thoracic_deg": thoracic_deg, "lumbar_deg": lumbar_deg, "pi_deg": pi_deg, "ll_deg": ll_deg, "sva_mm": sva_mm,
        "pt_deg": pt_deg,
    }  # fmt: skip
    for name, value in told.items():
        _check(name, value, lowest=0.0 if name in ("thoracic_deg", "lumbar_deg") else -math.inf)
    difference = None if pi_deg is None or ll_deg is None else pi_deg - ll_deg
    return SchwabResult(
        curve=_curve(thoracic_deg, lumbar_deg),
        pi_minus_ll=_bin(difference, 10, 20),
        sva=_bin(sva_mm, 40, 95),
        pt=_bin(pt_deg, 20, 30),
        missing=tuple(name for name, value in told.items() if value is None),
    )


def _curve(thoracic: float | None, lumbar: float | None) -> str:
    if thoracic is None or lumbar is None:
        return "?"
    return {(True, False): "T", (False, True): "L", (True, True): "D", (False, False): "N"}[
        thoracic >= _CURVE_DEG, lumbar >= _CURVE_DEG
    ]


def _bin(value: float | None, low: float, high: float) -> str:
    if value is None:
        return "?"
    return "0" if value < low else "+" if value <= high else "++"


@dataclass(frozen=True)
class LenkeCurve:
    """One curve.

    Attributes:
        cobb_deg: Standing coronal Cobb angle.
        bending_deg: Residual Cobb angle on side bending; None where no such film exists.
        kyphosis_deg: Kyphosis over it: T2-T5 for PT, T10-L2 for MT and TL/L; None where not measured.
    """

    cobb_deg: float
    bending_deg: float | None = None
    kyphosis_deg: float | None = None

    @property
    def structural(self) -> bool | None:
        """Whether a minor curve is structural; None where what is missing could decide it."""
        known = (
            None if self.bending_deg is None else self.bending_deg >= _BENDING_DEG,
            None if self.kyphosis_deg is None else self.kyphosis_deg >= _KYPHOSIS_DEG,
        )
        if True in known:
            return True
        return None if None in known else False


@dataclass(frozen=True)
class LenkeResult:
    """Lenke's classification.

    Attributes:
        type: 1 to 6; None where a minor curve's kind is not known.
        major: The region of the largest curve, PT never.
        structural: By region; None where not known.
        lumbar: `A`, `B`, `C` as read against the central sacral line, or `?`.
        sagittal: `-`, `N`, `+` from T5-T12, or `?`.
        missing: Inputs that must be asked for.
    """

    type: int | None
    major: Region
    structural: dict[Region, bool | None]
    lumbar: str
    sagittal: str
    missing: tuple[str, ...]
    source: str = "Lenke et al. 2001"

    @property
    def code(self) -> str:
        """As one text, e.g. `1AN`."""
        return f"{self.type or '?'}{self.lumbar}{self.sagittal}"


_TYPES: dict[tuple[Region, bool, bool], int] = {
    # (major, PT structural, other of MT and TL/L structural)
    ("MT", False, False): 1,
    ("MT", True, False): 2,
    ("MT", False, True): 3,
    ("MT", True, True): 4,
    ("TL/L", False, False): 5,
    ("TL/L", False, True): 6,
    ("TL/L", True, True): 4,
}


def lenke(
    pt: LenkeCurve,
    mt: LenkeCurve,
    tl: LenkeCurve,
    *,
    lumbar: Literal["A", "B", "C"] | None = None,
    kyphosis_t5_t12_deg: float | None = None,
) -> LenkeResult:
    """Lenke's type, lumbar and sagittal modifier.

    Args:
        pt: The proximal thoracic curve; 0 degrees where there is none.
        mt: The main thoracic curve.
        tl: The thoracolumbar or lumbar curve.
        lumbar: Where the central sacral line runs: between the pedicles of the apical lumbar vertebra (A), touching its
            body or pedicle (B), or beside it (C). Read on the film, not computed.
        kyphosis_t5_t12_deg: Negative where it is a lordosis.

    Raises:
        ScoreError: A Cobb angle that is not finite or negative; a TL/L major curve with structural PT and
            non-structural MT, which the classification does not name.

    Source: Lenke et al. 2001. The larger of MT and TL/L is major, MT where they are equal; a proximal thoracic curve
    never is. Below 10 degrees the sagittal modifier is `-`, above 40 `+`.
    """
    curves: dict[Region, LenkeCurve] = {"PT": pt, "MT": mt, "TL/L": tl}
    for name, curve in curves.items():
        _check(name, curve.cobb_deg, lowest=0.0)
        _check(name, curve.bending_deg, lowest=-math.inf)
        _check(name, curve.kyphosis_deg, lowest=-math.inf)
    _check("kyphosis_t5_t12_deg", kyphosis_t5_t12_deg, lowest=-math.inf)
    major: Region = "MT" if mt.cobb_deg >= tl.cobb_deg else "TL/L"
    minor: Region = "TL/L" if major == "MT" else "MT"
    structural: dict[Region, bool | None] = {
        name: True if name == major else curve.structural for name, curve in curves.items()
    }
    missing = [f"structural {name}" for name in curves if structural[name] is None]
    if lumbar is None:
        missing.append("lumbar")
    if kyphosis_t5_t12_deg is None:
        missing.append("kyphosis_t5_t12_deg")
    first, second = structural["PT"], structural[minor]
    number = None if first is None or second is None else _TYPES.get((major, first, second))
    if number is None and first is not None and second is not None:
        raise ScoreError(
            "a major TL/L curve with a structural PT and a non-structural MT curve has no type",
            field="pt",
            cure="check the side-bending angles of the three curves",
        )
    return LenkeResult(number, major, structural, lumbar or "?", _sagittal(kyphosis_t5_t12_deg), tuple(missing))


def _sagittal(kyphosis: float | None) -> str:
    if kyphosis is None:
        return "?"
    return "-" if kyphosis < 10 else "N" if kyphosis <= 40 else "+"


def _check(name: str, value: float | None, *, lowest: float) -> None:
    if value is None:
        return
    if not math.isfinite(value) or value < lowest:
        raise ScoreError(f"{value} is no value of it", field=name, cure="give degrees or millimetres, or None")
