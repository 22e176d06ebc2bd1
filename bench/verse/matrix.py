"""Algorithms x data sets: what an algorithm trained on one data set loses on another.

The question of the VerSe paper's cross-iteration experiment (top algorithms of 2019 on the data of 2020, and back):
`spinemed verse matrix CONFIG.yaml` takes the `scores.json` of each algorithm on each data set, and gives a table with
intervals, a heat map, and for each algorithm the drop from the data set it was trained on to each other one.

Convention: the drop is home minus away for quantities where higher is better, away minus home where lower is, so that a
positive drop is always a loss. Its interval resamples patients:

- `unpaired`: the two data sets share no patient. Each is resampled on its own, and the means subtracted.
- `paired by patient`: both hold the same patients. Patients are drawn once for both.
- `joint draw`: some patients are in both. Patients of the union are drawn, each with all its vertebrae in either set.

No interval below 20 patients in either data set. Several drops of one table are not corrected for their number.

A gap compares on one data set an algorithm trained on it (the native) with one trained elsewhere (the visitor), on the
same patients, drawn once for both.

Trap: a drop mixes the domain with the difficulty: other scanners, but also other anatomy and other shares of regions.
The gap takes the difficulty out, and mixes in that two algorithms differ in more than their training data.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from bench.estimates import Estimate
from bench.verse.aggregate import FEWEST_PATIENTS
from bench.verse.metrics import METRICS, metric
from bench.verse.records import Scores, read_scores
from bench.verse.wording import value as value_text
from spinemed.config import Config, ConfigPath, load_config
from spinemed.errors import ConfigError
from spinemed.records import Record
from spinemed.statistics import Clusters, generator_for
from spinemed.statistics.intervals import cluster_draws, percentile_bounds
from spinemed.tables import write_bytes, write_json

__all__ = [
    "Algorithm",
    "Drop",
    "Gap",
    "Matrix",
    "MatrixConfig",
    "build_matrix",
    "difference_interval",
    "heat_map",
    "write_matrix",
]

MATRIX_FILE = "matrix.json"

Pairing = Literal["unpaired", "paired by patient", "joint draw"]
Values = tuple[list[float], list[str]]
"""Numbers, and the patient of each."""


class Algorithm(Config):
    """One row of the matrix."""

    name: str
    """As shown in the matrix."""
    trained_on: str
    """One of `data_sets`, or another name for training data that is no column."""
    scores: dict[str, ConfigPath]
    """For each data set its `scores.json`, or the folder that holds it."""


class MatrixConfig(Config):
    """What `spinemed verse matrix` reads."""

    title: str = "Algorithms on data sets"
    """Heading of the page."""
    data_sets: tuple[str, ...]
    """Columns."""
    algorithms: tuple[Algorithm, ...]
    """Rows."""
    metrics: tuple[str, ...] = ("dice", "identified")
    """Quantities of `spinemed verse evaluate` that are compared."""
    seed: int = 0
    """Of the resampling."""
    resamples: int = 10_000
    """Bootstrap resamples of each interval."""

    @model_validator(mode="after")
    def _known(self) -> MatrixConfig:
        known = [each.name for each in METRICS]
        for name in self.metrics:
            if name not in known:
                raise ValueError(f"'{name}' is no quantity; use some of {', '.join(known)}")
        if not self.data_sets or not self.algorithms or not self.metrics:
            raise ValueError("a matrix needs a data set, an algorithm and a quantity at least")
        for names in (self.data_sets, [each.name for each in self.algorithms], self.metrics):
            if len(set(names)) != len(names):
                raise ValueError(f"a name stands twice in {', '.join(names)}")
        for each in self.algorithms:
            for name in each.scores:
                if name not in self.data_sets:
                    raise ValueError(f"'{each.name}' has scores on '{name}', which is none of data_sets")
        return self


class Cell(Record):
    """One algorithm on one data set; None where it was not tested."""

    algorithm: str
    """Row of the matrix."""
    trained_on: str
    """Data set that it was trained on."""
    tested_on: str
    """Column of the matrix."""
    values: dict[str, Estimate]
    """Quantities by name."""
    vertebrae: int
    """How many vertebrae."""
    missed: int
    """Of these, how many it missed."""


class Drop(Record):
    """What one algorithm loses away from home."""

    algorithm: str
    """Whose drop it is."""
    metric: str
    """What is compared."""
    home: str
    """Data set that it was trained on."""
    away: str
    """The other data set."""
    home_value: float
    """At home."""
    away_value: float
    """Away."""
    drop: float
    """Positive: worse away, whichever way the quantity counts."""
    low: float | None
    """Lower bound of the 95 % interval."""
    high: float | None
    """Upper bound of the 95 % interval."""
    patients: tuple[int, int]
    """Patients at home and away."""
    pairing: Pairing
    """Whether the same patients stand on both sides."""
    method: str
    """How the interval was made, or why there is none."""


class Gap(Record):
    """On one data set: an algorithm trained on it against one that was trained elsewhere."""

    data_set: str
    """Where both were tested."""
    metric: str
    """What is compared."""
    native: str
    """The algorithm that was trained on it."""
    visitor: str
    """The algorithm that was trained elsewhere."""
    native_value: float
    """Of the native one."""
    visitor_value: float
    """Of the visitor."""
    advantage: float
    """Positive: the native one is better, whichever way the quantity counts."""
    low: float | None
    """Lower bound of the 95 % interval."""
    high: float | None
    """Upper bound of the 95 % interval."""
    patients: int
    """How many patients or phantoms."""
    method: str
    """How the interval was made, or why there is none."""


class Matrix(Record):
    """`matrix.json`."""

    kind: Literal["verse matrix"] = "verse matrix"
    """What file or record this is."""
    title: str
    """Heading of the page."""
    data_sets: tuple[str, ...]
    """Columns."""
    algorithms: tuple[str, ...]
    """Rows."""
    metrics: tuple[str, ...]
    """Quantities that are compared."""
    seed: int
    """Of the resampling."""
    resamples: int
    """Bootstrap resamples of each interval."""
    cells: tuple[Cell, ...]
    """One entry for each algorithm on each data set."""
    drops: tuple[Drop, ...]
    """What algorithms lose away from home."""
    gaps: tuple[Gap, ...]
    """Native against visitor on each data set."""


def build_matrix(config: MatrixConfig) -> Matrix:
    """Read the scores and work out cells and drops.

    Raises:
        ReadError, RecordError: A scores file is missing or no scores.
        ConfigError: Scores without a vertebra, or columns scored under other settings or on other scans.
    """
    entries = {(each.name, name): read_scores(path) for each in config.algorithms for name, path in each.scores.items()}
    for key, scores in entries.items():
        if not scores.vertebrae:
            raise ConfigError(
                f"{' on '.join(key)} holds no scored vertebra", field="algorithms", cure="see the errors in its report"
            )
    _require_comparable(config, entries)
    cells, drops = [], []
    for each in config.algorithms:
        for name in config.data_sets:
            if (each.name, name) not in entries:
                continue
            row = entries[each.name, name].row("vertebra")
            cells.append(
                Cell(
                    algorithm=each.name,
                    trained_on=each.trained_on,
                    tested_on=name,
                    values={quantity: row.values[quantity] for quantity in config.metrics},
                    vertebrae=row.vertebrae,
                    missed=row.missed,
                )
            )
            if name == each.trained_on or (each.name, each.trained_on) not in entries:
                continue
            for quantity in config.metrics:
                drop = _drop(each, name, quantity, entries, config)
                if drop is not None:
                    drops.append(drop)
    return Matrix(
        title=config.title,
        data_sets=config.data_sets,
        algorithms=tuple(each.name for each in config.algorithms),
        metrics=config.metrics,
        seed=config.seed,
        resamples=config.resamples,
        cells=tuple(cells),
        drops=tuple(drops),
        gaps=tuple(_gaps(entries, config)),
    )


def _require_comparable(config: MatrixConfig, entries: Mapping[tuple[str, str], Scores]) -> None:
    for name in config.data_sets:
        column = [(key[0], scores) for key, scores in entries.items() if key[1] == name]
        if not column:
            raise ConfigError("no algorithm has scores on it", field=f"data_sets: {name}", cure="remove the column")
        first, reference = column[0]
        cases = {case.case for case in reference.cases}
        for other, scores in column[1:]:
            if {case.case for case in scores.cases} != cases:
                raise ConfigError(
                    f"'{first}' and '{other}' were scored on other scans of '{name}'",
                    field="algorithms",
                    cure="evaluate all against the same reference folder",
                )
    (first_key, reference), *others = entries.items()
    for key, scores in others:
        mine, theirs = reference.settings.model_dump(), scores.settings.model_dump()
        # The label schemes belong to the files, not to the rules.
        differing = [field for field in mine if not field.endswith("labels") and mine[field] != theirs[field]]
        if differing:
            raise ConfigError(
                f"{' on '.join(first_key)} and {' on '.join(key)} were scored with other settings "
                f"({', '.join(differing)})",
                field="algorithms",
                cure="evaluate all with the same options",
            )


def _drop(
    algorithm: Algorithm,
    away: str,
    quantity: str,
    entries: Mapping[tuple[str, str], Scores],
    config: MatrixConfig,
) -> Drop | None:
    home = algorithm.trained_on
    here, there = (_values(entries[algorithm.name, name], quantity) for name in (home, away))
    if not here[0] or not there[0]:
        return None
    rng = generator_for(config.seed, "verse matrix", algorithm.name, home, away, quantity)
    facts, pairing = _difference(here, there, quantity, rng, config.resamples)
    return Drop(
        algorithm=algorithm.name,
        metric=quantity,
        home=home,
        away=away,
        home_value=fmean(here[0]),
        away_value=fmean(there[0]),
        drop=facts.pop("difference"),
        patients=(len(set(here[1])), len(set(there[1]))),
        pairing=pairing,
        **facts,
    )


def _gaps(entries: Mapping[tuple[str, str], Scores], config: MatrixConfig) -> Iterator[Gap]:
    for name in config.data_sets:
        tested = [each for each in config.algorithms if (each.name, name) in entries]
        for native, visitor in product(tested, tested):
            if native.trained_on != name or visitor.trained_on == name:
                continue
            for quantity in config.metrics:
                ours, theirs = (_values(entries[each.name, name], quantity) for each in (native, visitor))
                if not ours[0] or not theirs[0]:
                    continue
                rng = generator_for(config.seed, "verse gap", name, native.name, visitor.name, quantity)
                facts, _ = _difference(ours, theirs, quantity, rng, config.resamples)
                yield Gap(
                    data_set=name,
                    metric=quantity,
                    native=native.name,
                    visitor=visitor.name,
                    native_value=fmean(ours[0]),
                    visitor_value=fmean(theirs[0]),
                    advantage=facts.pop("difference"),
                    patients=len({*ours[1], *theirs[1]}),
                    **facts,
                )


def _difference(
    first: Values, second: Values, quantity: str, rng: np.random.Generator, resamples: int
) -> tuple[dict[str, Any], Pairing]:
    """First minus second with its bounds, turned so that positive means that the first is better."""
    sign = 1.0 if metric(quantity).better == "higher" else -1.0
    low, high, pairing, method = difference_interval(*first, *second, rng, resamples=resamples)
    bounds = sorted(sign * bound for bound in (low, high) if bound is not None)
    facts = {
        "difference": sign * (fmean(first[0]) - fmean(second[0])),
        "low": bounds[0] if bounds else None,
        "high": bounds[1] if bounds else None,
        "method": method,
    }
    return facts, pairing


def _values(scores: Scores, quantity: str) -> Values:
    read = metric(quantity).read
    kept = [(value, vertebra.patient) for vertebra in scores.vertebrae if (value := read(vertebra)) is not None]
    return [value for value, _ in kept], [patient for _, patient in kept]


def difference_interval(
    first: Sequence[float],
    first_patients: Sequence[str],
    second: Sequence[float],
    second_patients: Sequence[str],
    rng: np.random.Generator,
    *,
    resamples: int = 10_000,
) -> tuple[float | None, float | None, Pairing, str]:
    """Interval of mean(first) minus mean(second) under resampling of patients; see the module docstring.

    Args:
        first: One number per vertebra, one or more.
        first_patients: Whose it is.
        second: Of the other data set.
        second_patients: Whose it is.
        rng: Generator of the bootstrap.
        resamples: Bootstrap samples.

    Returns:
        Lower and upper bound (None below 20 patients in either set), how the two were paired, and the method.
    """
    ours, theirs = set(first_patients), set(second_patients)
    pairing: Pairing = "joint draw"
    if not ours & theirs:
        pairing = "unpaired"
    elif ours == theirs:
        pairing = "paired by patient"
    if min(len(ours), len(theirs)) < FEWEST_PATIENTS:
        return None, None, pairing, f"fewer than {FEWEST_PATIENTS} patients in one of the two"
    if pairing == "unpaired":
        left, right = Clusters.of(list(first_patients)), Clusters.of(list(second_patients))
        estimates = _means(_table(first, left), rng, resamples) - _means(_table(second, right), rng, resamples)
        # The smaller set decides how far percentiles are widened for few clusters.
        low, high = percentile_bounds(estimates, min(left.count, right.count))
        return low, high, pairing, "cluster bootstrap of each set"
    union = Clusters.of([*first_patients, *second_patients])
    none = np.zeros
    left_table = _table([*first, *none(len(second))], union, [*np.ones(len(first)), *none(len(second))])
    right_table = _table([*none(len(first)), *second], union, [*none(len(first)), *np.ones(len(second))])
    totals = np.concatenate(
        [draws @ np.hstack([left_table, right_table]) for draws in cluster_draws(union.count, rng, resamples)]
    )
    totals = totals[(totals[:, 1] > 0) & (totals[:, 3] > 0)]  # a draw without a patient of one set has no difference
    estimates = totals[:, 0] / totals[:, 1] - totals[:, 2] / totals[:, 3]
    low, high = percentile_bounds(estimates, union.count)
    return low, high, pairing, "cluster bootstrap over the patients of both"


def _table(values: Sequence[float], clusters: Clusters, sizes: Sequence[float] | None = None) -> NDArray[np.float64]:
    counts = clusters.sizes.astype(np.float64) if sizes is None else clusters.sums(sizes)
    return np.stack([clusters.sums(values), counts], axis=1)


def _means(table: NDArray[np.float64], rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    totals = np.concatenate([draws @ table for draws in cluster_draws(len(table), rng, resamples)])
    means: NDArray[np.float64] = totals[:, 0] / totals[:, 1]
    return means


def heat_map(matrix: Matrix) -> bytes:
    """The matrix as a picture (PNG): one panel per quantity, cells where an algorithm is at home framed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    rows, columns, panels = len(matrix.algorithms), len(matrix.data_sets), len(matrix.metrics)
    size = (1.6 + panels * (1.6 + 1.35 * columns), 1.5 + 0.62 * rows)
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    cells = {(cell.algorithm, cell.tested_on): cell for cell in matrix.cells}
    for panel, name in enumerate(matrix.metrics):
        quantity = metric(name)
        axes = figure.add_subplot(1, panels, panel + 1)
        grid = np.full((rows, columns), np.nan)
        for (algorithm, tested_on), cell in cells.items():
            value = cell.values[name].value
            if value is not None:
                grid[matrix.algorithms.index(algorithm), matrix.data_sets.index(tested_on)] = value
        scale: dict[str, Any] = {"vmin": 0, "vmax": 1} if quantity.unit != "mm" else {"vmin": 0}
        axes.imshow(
            np.ma.masked_invalid(grid),
            cmap="viridis" if quantity.better == "higher" else "viridis_r",
            aspect="auto",
            **scale,
        )
        axes.set_title(_title(name), fontsize=10)
        axes.set_xticks(range(columns), matrix.data_sets, fontsize=9)
        axes.set_xlabel("tested on", fontsize=9)
        axes.set_yticks(range(rows), matrix.algorithms if panel == 0 else [""] * rows, fontsize=9)
        axes.tick_params(length=0)
        for edge in axes.spines.values():
            edge.set_visible(False)
        top = np.nanmax(grid) if np.isfinite(grid).any() else 1.0
        for (row, column), value in np.ndenumerate(grid):
            if not np.isfinite(value):
                axes.text(column, row, "not tested", ha="center", va="center", fontsize=8, color="#56626b")
                continue
            share = value if quantity.unit != "mm" else value / (top or 1.0)
            bright = share > 0.6 if quantity.better == "higher" else share < 0.4
            axes.text(
                column,
                row,
                value_text(name, value),
                ha="center",
                va="center",
                fontsize=10,
                color="black" if bright else "white",
            )
            cell = cells[matrix.algorithms[row], matrix.data_sets[column]]
            if cell.trained_on == cell.tested_on:
                axes.add_patch(
                    Rectangle((column - 0.46, row - 0.45), 0.92, 0.9, fill=False, edgecolor="#d55e00", linewidth=2.2)
                )
    stream = io.BytesIO()
    figure.savefig(stream, format="png", facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def _title(name: str) -> str:
    quantity = metric(name)
    return f"{quantity.title}{f', {quantity.unit}' if quantity.unit else ''}"


def write_matrix(
    config_path: str | os.PathLike[str], out: str | os.PathLike[str], overrides: Sequence[str] = ()
) -> Matrix:
    """Read the config, write `matrix.json`, `matrix.png` and `matrix.html` into `out`, and return the matrix.

    Raises:
        ConfigError, ReadError, RecordError: as :func:`build_matrix`.
    """
    from bench.verse.report import matrix_page
    from spinemed.tables import write_text

    matrix = build_matrix(load_config(config_path, MatrixConfig, overrides))
    picture = heat_map(matrix)
    folder = Path(out)
    write_bytes(folder / "matrix.png", picture)
    write_text(folder / "matrix.html", matrix_page(matrix, picture))
    write_json(folder / MATRIX_FILE, matrix.model_dump(mode="json"))
    return matrix
