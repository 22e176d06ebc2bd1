"""Training of the shape completer: shapes of broken and healthy spines prepared once, then a short regression.

Convention: a sample is a target that is known to be healthy (:class:`train.synthesis.spines.SpinePair`) among the
bodies of its spine as they are; where there is a twin, a second sample sees the twin's bodies. In training, slots are
dropped as a short field of view would drop them. Validation spines set when to stop, and the standard deviation that
the model states; the test split plays no part.

Trap: shapes are prepared from exact body masks where phantoms give them; whole vertebrae from which bodies are cut
differ a little at the pedicles, which the heights do not see.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spinemed.errors import VolumeError
from spinemed.measure.field import BodyFrame
from spinemed.metrics.pictures import rhdr
from spinemed.run import Run
from spinemed.vertebra.norms import NORM_LEVELS
from spinemed.vertebra.reference import NeighbourMean
from spinemed.vertebra.synthesis.completer import batch_of
from spinemed.vertebra.synthesis.completer_net import CompleterConfig, CompleterNet
from spinemed.vertebra.synthesis.shape import draw_shape, set_heights
from spinemed.vertebra.synthesis.spine_shapes import SLOTS, Context, context_of, describe_spine
from train.synthesis.loop import Arrays, Pace, Trained, load_arrays, train_loop
from train.synthesis.spines import SpinePair

__all__ = ["completer_samples", "fit_completer", "load_samples"]


_NAMES = ("shapes", "thirds", "levels", "course", "target", "goal", "goal_thirds", "mean_thirds", "beside")
_FEW = 5  # samples without which a level takes the mean of its nearest level
_HEIGHT_WEIGHT = 4.0  # a millimetre of a third's height against one of the surface: heights are what is read
_DROPPED = 0.3
_SHOWN = 24  # validation bodies that are drawn for Dice and RHDR


def completer_samples(pair: SpinePair) -> Arrays:
    """All samples of a spine, as arrays by name; `beside` says whether a neighbour is fractured."""
    goals = describe_spine(pair.healthy)
    rows: list[tuple[Context, NDArray[np.float32], tuple[float, float, float], NDArray[np.float32], int]] = []
    seen = [(describe_spine(pair.now), set(pair.broken))]
    if pair.healthy is not pair.now:
        seen.append((goals, set()))
    for spine, broken in seen:
        order = list(spine.order)
        for level in pair.targets:
            if level not in goals.shapes or level not in order:
                continue
            try:
                context = context_of(spine, level)
                heights = [each for other, each in spine.heights.items() if other is not level]
                mean = np.array(NeighbourMean().estimate(level, heights).thirds, dtype=np.float32)
            except VolumeError:
                continue  # no other whole body in view: nothing to learn from
            at = order.index(level)
            beside = any(order[n] in broken for n in (at - 1, at + 1) if 0 <= n < len(order))
            rows.append((context, goals.shapes[level], goals.heights[level].thirds, mean, int(beside)))
    if not rows:
        return {}
    return {
        **batch_of([row[0] for row in rows]),
        "goal": np.stack([row[1] for row in rows]),
        "goal_thirds": np.array([row[2] for row in rows], dtype=np.float32),
        "mean_thirds": np.stack([row[3] for row in rows]),
        "beside": np.array([row[4] for row in rows], dtype=np.int64),
    }


def load_samples(folder: Path) -> Arrays:
    """All prepared samples of a folder, in the order of their files.

    Raises:
        RunError: there is none.
    """
    return load_arrays(
        folder, _NAMES, mark="goal", lacking="no spine gave a healthy target with another body beside it"
    )


def fit_completer(
    run: Run,
    config: CompleterConfig,
    pace: Pace,
    train: Arrays,
    held: Arrays,
    *,
    seed: int,
    key: str,
    device: Any = None,
) -> tuple[CompleterNet, Trained, tuple[float, float, float]]:
    """Train a completer.

    Args:
        run, key: As :func:`train.synthesis.loop.train_loop`.
        config: The network.
        pace: Steps and rates.
        train, held: Samples to learn from and to validate on.
        seed: Of weights, batches and drops.
        device: An `accelerate.Accelerator`; made here if not given.

    Returns:
        The network as it was best on the validation samples, how that went, and the standard deviation of its heights
        there (shares of them).
    """
    from accelerate import Accelerator

    helper = device or Accelerator(cpu=not torch.cuda.is_available())
    torch.manual_seed(seed)
    net = CompleterNet(config)
    net.set_space(*_space(train, config.components))
    optimiser = torch.optim.AdamW(net.parameters(), lr=pace.learning_rate, weight_decay=pace.weight_decay)
    wrapped, optimiser = helper.prepare(net, optimiser)
    data = {name: torch.from_numpy(train[name]).to(helper.device) for name in _NAMES}
    many = helper.num_processes

    def step(number: int, rate: float) -> dict[str, float]:
        random = np.random.default_rng([seed, number])
        count = pace.batch_size * many
        rows = random.integers(0, len(train["target"]), size=count)
        kept = torch.from_numpy(_kept(random, count))
        mine = slice(helper.process_index, None, many)
        torch.manual_seed(int(random.integers(0, 2**31)) + helper.process_index)
        pick = torch.from_numpy(rows[mine]).to(helper.device)
        batch = {name: values[pick] for name, values in data.items()}
        levels = torch.where(kept[mine].to(helper.device), batch["levels"], torch.full_like(batch["levels"], -1))
        for group in optimiser.param_groups:
            group["lr"] = rate
        wrapped.train()
        shape, thirds = wrapped(batch["shapes"], batch["thirds"], levels, batch["course"], batch["target"])
        surface = nn_huber(shape - batch["goal"])
        height = nn_huber(thirds - batch["goal_thirds"])
        loss = surface + _HEIGHT_WEIGHT * height
        optimiser.zero_grad()
        helper.backward(loss)
        optimiser.step()
        return {
            "loss": float(loss.detach()),
            "surface_mm": float(surface.detach()),
            "height_mm": float(height.detach()),
        }

    def evaluate() -> dict[str, float]:
        return _scores(helper.unwrap_model(wrapped), held, helper.device)

    trained = train_loop(
        run, "completer", parts={"net": helper.unwrap_model(wrapped), "optimiser": optimiser},
        chosen=helper.unwrap_model(wrapped), pace=pace, key=key, step=step, evaluate=evaluate, score="height_percent",
        first=helper.is_main_process,
    )  # fmt: skip
    net.load_state_dict(trained.best)
    net = net.cpu().eval()
    made = _answers(net, held, torch.device("cpu"))[1]
    share = np.sqrt(np.mean(np.square(made / held["goal_thirds"] - 1.0), axis=0))
    return net, trained, (float(share[0]), float(share[1]), float(share[2]))


def nn_huber(error: torch.Tensor) -> torch.Tensor:
    """Mean of Huber's loss: square below 1 mm, straight beyond."""
    return torch.nn.functional.huber_loss(error, torch.zeros_like(error))


def _kept(random: np.random.Generator, count: int) -> NDArray[np.bool_]:
    """(count, 6) which slots a field of view that ends somewhere leaves; never none."""
    kept = np.ones((count, len(SLOTS)), dtype=bool)
    for row in np.flatnonzero(random.random(count) < _DROPPED):
        above, below = int(random.integers(0, 4)), int(random.integers(0, 4))
        if above + below:
            kept[row] = [(-above <= slot <= below) for slot in SLOTS]
    return kept


def _space(train: Arrays, components: int) -> tuple[NDArray[np.float64], ...]:
    """Healthy mean shape by level, principal components of all shapes about them, and the components' spreads."""
    levels, goal = train["target"], train["goal"].astype(np.float64)
    mean = np.zeros((len(NORM_LEVELS), goal.shape[1]))
    counts = np.bincount(levels, minlength=len(NORM_LEVELS))
    rich = np.flatnonzero(counts >= min(_FEW, counts.max()))
    for level in range(len(NORM_LEVELS)):
        mean[level] = goal[levels == rich[np.abs(rich - level).argmin()]].mean(axis=0)
    there = train["levels"] >= 0
    others = train["shapes"][there] - mean[train["levels"][there]]
    away = np.concatenate([goal - mean[levels], others])
    _, spread, rows = np.linalg.svd(away[:: max(1, len(away) // 6000)], full_matrices=False)
    many = min(components, int((spread > 1e-6).sum()))
    basis = np.zeros((goal.shape[1], components))
    basis[:, :many] = rows[:many].T
    scale = np.ones(components)
    scale[:many] = (away @ basis[:, :many]).std(axis=0) + 1e-3
    return mean, basis, scale


def _answers(net: CompleterNet, samples: Arrays, device: torch.device) -> tuple[NDArray[Any], NDArray[Any]]:
    net.eval()
    inputs = ("shapes", "thirds", "levels", "course", "target")
    with torch.inference_mode():
        shape, thirds = net(*(torch.from_numpy(samples[name]).to(device) for name in inputs))
    return shape.cpu().numpy(), thirds.cpu().numpy()


def _scores(net: CompleterNet, held: Arrays, device: torch.device) -> dict[str, float]:
    """Errors of heights (percent of the healthy ones) beside those of the two untrained expectations; Dice, RHDR."""
    shape, thirds = _answers(net, held, device)
    goal = held["goal_thirds"]

    def error(told: NDArray[Any], rows: NDArray[np.bool_]) -> float:
        return float(100 * np.abs(told[rows] / goal[rows] - 1).mean()) if rows.any() else float("nan")

    everywhere, beside = np.ones(len(goal), dtype=bool), held["beside"] == 1
    drawn = [
        _drawn(shape[row], held["goal"][row], thirds[row]) for row in range(0, len(goal), max(1, len(goal) // _SHOWN))
    ]
    told = {
        "height_percent": error(thirds, everywhere),
        "height_percent_beside_fracture": error(thirds, beside),
        "level_curve_percent": error(held["course"][:, :3], everywhere),
        "level_curve_percent_beside_fracture": error(held["course"][:, :3], beside),
        "mean_of_neighbours_percent": error(held["mean_thirds"], everywhere),
        "mean_of_neighbours_percent_beside_fracture": error(held["mean_thirds"], beside),
        "surface_mm": float(np.abs(shape - held["goal"]).mean()),
        "dice": float(np.mean([dice for dice, _ in drawn])),
        "rhdr_percent": float(np.mean([tall for _, tall in drawn])),
    }
    return {name: value for name, value in told.items() if np.isfinite(value)}  # no broken neighbour: no figure of it


def _drawn(shape: NDArray[Any], goal: NDArray[Any], thirds: NDArray[Any]) -> tuple[float, float]:
    """Dice and RHDR of a shape and its goal, both drawn upright at 1 mm."""
    affine = np.eye(4)
    affine[:3, 3] = -28.0
    frame = BodyFrame(np.zeros(3), np.eye(3))
    told = set_heights(shape, (float(thirds[0]), float(thirds[1]), float(thirds[2])))
    one, two = (draw_shape(each, frame, affine, (57, 57, 57)) >= 0.5 for each in (told, goal))
    dice = 2 * float((one & two).sum()) / float(one.sum() + two.sum())
    tall = rhdr(one[19:38], two[19:38], along=2, layers=0)
    return dice, float(tall.value or 0.0)
