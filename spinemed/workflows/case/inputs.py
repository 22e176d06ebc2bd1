"""What a person gives for one patient, and how it comes into the run folder without a name.

Convention: image and mask are copied under the name `case`, the image without its header's texts; from then on only the
copies are read. Hashes of the originals are kept, their names are not.

Trap: a mask's numbers mean nothing without a scheme; what is copied is in VerSe's numbers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spinemed.errors import ReadError
from spinemed.labelling import read_label_mask
from spinemed.run import versions
from spinemed.tables import file_sha256, write_json
from spinemed.volume import Volume, grid_difference, read_nifti, reorient_volume, write_nifti
from spinemed.workflows.case.places import Places

__all__ = ["CaseInputs", "prepare_case", "prepare_mask", "prepare_phantom"]


@dataclass(frozen=True)
class CaseInputs:
    """What stands on the command line.

    Attributes:
        image: CT of the patient, NIfTI; None for a phantom.
        phantom: Seed of a computed spine, whose truth is known; None for an image.
        mask: Vertebra mask on the same grid, or a folder of one mask a structure.
        scheme: Numbering of the mask.
        labeller: Model folder of `spinemed train labelling`.
        tool: Another tool, as `spinemed label external` knows it.
        completer: Model folder of `spinemed train synthesis`; without one the mean of the neighbours is the twin.
        model: Checkpoint that answers; the config's unless given.
        url: Server of chat completions that answers instead, with tools.
        served_model: The model's name at that server.
    """

    image: Path | None = None
    phantom: int | None = None
    mask: Path | None = None
    scheme: str = "verse"
    labeller: Path | None = None
    tool: str | None = None
    completer: Path | None = None
    model: Path | None = None
    url: str | None = None
    served_model: str | None = None

    def check(self) -> None:
        """Refuse what cannot be run.

        Raises:
            ReadError: Neither or both of image and phantom; no mask and no way to one; two ways to one.
        """
        if (self.image is None) == (self.phantom is None):
            raise ReadError(
                "needs either a CT or a phantom's seed", field="--image",
                cure="give --image CT.nii.gz, or --phantom 3 for a computed spine with known truth",
            )  # fmt: skip
        ways = [self.mask is not None, self.labeller is not None, self.tool is not None]
        if sum(ways) > 1:
            raise ReadError(
                "names two ways to the levels", field="--mask", cure="keep one of --mask, --labeller, --tool"
            )
        if self.image is not None and not any(ways):
            raise ReadError(
                "no mask, and nothing that makes one", field="--mask",
                cure="give a vertebra mask (--mask M.nii.gz --scheme totalsegmentator), a trained labeller "
                "(--labeller runs/labelling/outputs/model, made by `spinemed train labelling`; none is shipped), or "
                "another tool that is installed (--tool totalsegmentator)",
            )  # fmt: skip
        if (self.url is None) != (self.served_model is None):
            raise ReadError("--url and --served-model go together", field="--url", cure="give both, or neither")

    def facts(self) -> dict[str, str]:
        """What the run is of, without names of files: the same command resumes, another is refused."""
        told = {
            "phantom": "" if self.phantom is None else str(self.phantom), "scheme": self.scheme,
            "tool": self.tool or "", "served_model": self.served_model or "",
        }  # fmt: skip
        for name, file in (("image", self.image), ("mask", self.mask)):
            told[f"{name}_sha256"] = "" if file is None else _sha256(file)
        for name, folder in (("labeller", self.labeller), ("completer", self.completer), ("model", self.model)):
            told[name] = "" if folder is None else str(folder.resolve())
        return told


def _sha256(path: Path) -> str:
    if path.is_dir():
        # A structure's file bears its level in its name alone: the names count, and only their hash is kept.
        files = sorted(file for file in path.iterdir() if file.is_file())
        return hashlib.sha256("".join(f"{file_sha256(file)}  {file.name}\n" for file in files).encode()).hexdigest()
    return file_sha256(path)


def prepare_case(places: Places, inputs: CaseInputs) -> None:
    """Copy a person's CT and mask under plain names; the mask in VerSe's numbers.

    `case.json` is written last, so that its presence means that both copies are whole.

    Raises:
        ReadError: A file is missing or no NIfTI, or the mask lies on another grid.
    """
    assert inputs.image is not None
    image = read_nifti(inputs.image)
    places.ct.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(Volume(image.data, image.affine), places.ct)
    if inputs.mask is not None:
        prepare_mask(places, inputs.mask, inputs.scheme)
    about = {
        "case": "case", "origin": "real", "image_sha256": file_sha256(inputs.image), "spacing_mm": _spacing(image),
        "mask": "given" if inputs.mask is not None else "labeller" if inputs.labeller is not None else inputs.tool,
        "mask_sha256": None if inputs.mask is None else _sha256(inputs.mask), "scheme": inputs.scheme,
        "versions": versions(),
    }  # fmt: skip
    write_json(places.about, about)


def prepare_mask(places: Places, file: Path, scheme: str) -> None:
    """Any tool's mask to VerSe's numbers, on the CT's grid; one of the same voxels along other axes is turned.

    Raises:
        ReadError: No vertebra in it, or another grid than the CT's.
    """
    mask, image = read_label_mask(file, scheme=scheme), read_nifti(places.ct)
    # Tools often write their masks along axes of their own: turned back, no voxel changes its place.
    turned = reorient_volume(mask.volume, image.codes)
    differs = grid_difference(turned, image)
    if differs is not None:
        raise ReadError(
            f"the mask has another grid than the CT: {differs}", field="--mask",
            cure="resample the mask onto the CT with nearest neighbours, or give the CT it was made from",
        )  # fmt: skip
    if not mask.counts:
        raise ReadError("the mask holds no vertebra", field="--mask", cure="look at it, and at --scheme")
    places.mask.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(Volume(np.asarray(turned.data), image.affine), places.mask)


def prepare_phantom(places: Places, seed: int) -> Path:
    """Take over CT and truth of the phantom that lies in the run folder; returns its exact mask."""
    root = places.phantom / "outputs" / "ct"
    image = next(iter(sorted(root.glob("rawdata/*/*_ct.nii.gz"))), None)
    mask = next(iter(sorted(root.glob("derivatives/*/*_seg-vert_msk.nii.gz"))), None)
    if image is None or mask is None:
        raise ReadError("holds no CT of a phantom", file=places.phantom, cure="remove the folder and start again")
    volume = read_nifti(image)
    places.ct.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(Volume(volume.data, volume.affine), places.ct)
    write_json(
        places.about,
        {
            "case": "case", "origin": "phantom", "seed": seed, "image_sha256": file_sha256(image),
            "spacing_mm": _spacing(volume), "mask": "exact", "mask_sha256": file_sha256(mask), "scheme": "verse",
            "versions": versions(),
        },
    )  # fmt: skip
    return mask


def _spacing(volume: Volume) -> list[float]:
    return [round(edge, 4) for edge in volume.spacing_mm]
