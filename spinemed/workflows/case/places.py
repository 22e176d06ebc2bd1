"""Where everything of a case lies below its run folder: one list of paths for the plan, the steps and the page.

Convention: files bear the name `case`, never the user's own file name, which may be a patient's.

Trap: names of files that other commands write (`case_20_body.nii.gz`) are those commands' own; they are listed in their
JSON files, from which they are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Places"]


@dataclass(frozen=True)
class Places:
    """Paths below the run folder.

    Attributes:
        root: The run folder, absolute.
    """

    root: Path

    @property
    def phantom(self) -> Path:
        """Run folder of `spinemed phantom make`."""
        return self.root / "phantom"

    @property
    def ct(self) -> Path:
        """The CT, without its header's texts."""
        return self.root / "case" / "case_ct.nii.gz"

    @property
    def about(self) -> Path:
        """What the case is: pseudonym, hashes, origin."""
        return self.root / "case" / "case.json"

    @property
    def labels(self) -> Path:
        """What a labeller or another tool wrote."""
        return self.root / "labels"

    @property
    def mask(self) -> Path:
        """The mask in VerSe's numbers."""
        return self.root / "levels" / "case.nii.gz"

    @property
    def levels(self) -> Path:
        """Which levels are in view, and the limits of field and resolution."""
        return self.root / "levels" / "levels.json"

    @property
    def straight(self) -> Path:
        """Upright crops."""
        return self.root / "straight"

    @property
    def twins(self) -> Path:
        """Synthetic bodies."""
        return self.root / "twins"

    @property
    def losses(self) -> Path:
        """`spinemed vertebra rhlv`, a line of JSON a vertebra."""
        return self.root / "rhlv" / "rhlv.jsonl"

    @property
    def grades(self) -> Path:
        """`grades.json` of `spinemed vertebra grade`."""
        return self.root / "grades" / "grades.json"

    @property
    def measures(self) -> Path:
        """The reply of the tool `measure`."""
        return self.root / "measure" / "measure.json"

    @property
    def findings(self) -> Path:
        """Structured findings with where each stems from, and the configs of the data pipeline made of them."""
        return self.root / "findings"

    @property
    def drafted(self) -> Path:
        """Run folder of `spinemed data run` on what was measured."""
        return self.root / "drafted"

    @property
    def truth_study(self) -> Path:
        """The study with what is true of a phantom, as a source of the data pipeline."""
        return self.root / "reference_study"

    @property
    def reference(self) -> Path:
        """Run folder of `spinemed data run` on the truth of a phantom."""
        return self.root / "reference"

    @property
    def samples(self) -> Path:
        """Questions that are asked."""
        return self.root / "samples"

    @property
    def named(self) -> Path:
        """Questions on named vertebrae, asked with tools."""
        return self.root / "asked" / "named"

    @property
    def tools(self) -> Path:
        """The mask, below a folder for the one patient, for a model's tools."""
        return self.root / "asked" / "tools"

    @property
    def answers(self) -> Path:
        """A predictions folder for each answerer."""
        return self.root / "answers"

    @property
    def served(self) -> Path:
        """Run folder of `spinemed bench run` for a served model."""
        return self.root / "served"

    @property
    def scores(self) -> Path:
        """`spinemed bench score`; only where there is truth."""
        return self.root / "scores"

    @property
    def truth(self) -> Path:
        """Truth of a phantom by level; only where there is one."""
        return self.root / "case" / "truth.json"

    @property
    def score(self) -> Path:
        """The chain against the truth; only where there is one."""
        return self.root / "score" / "score.json"

    @property
    def page(self) -> Path:
        """The page."""
        return self.root / "report.html"
