"""Training of the slice generator: slices prepared once, a classifier for attention, then the adversarial training.

Convention: a sample is one slice, sagittal or coronal, of a target that is known to be healthy, in band coordinates
(:mod:`spinemed.vertebra.synthesis.slices`): the surroundings as they are, and in the band the healthy vertebra's own
rows, centred; band rows beyond them are blank, in real and made pictures alike. Losses (:func:`generator_losses`) are
means within each slice, then over slices, so that the batch size changes no weight, and each one reaches the generator.

Trap: the generator is selected on validation spines, by the error of heights and the overlap of bodies; PSNR and SSIM
stand beside and select nothing, since a blurred picture does well in them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from spinemed.config import Config
from spinemed.errors import RunError, VolumeError
from spinemed.metrics.pictures import psnr, rhdr, ssim
from spinemed.run import Run
from spinemed.vertebra.synthesis.generator_net import (
    FractureClassifier,
    Generator,
    GeneratorConfig,
    GeneratorNets,
    PatchDiscriminator,
    healthy_attention,
    to_unit,
)
from spinemed.vertebra.synthesis.slices import Piece, hide_target, net_crop, rows_at
from train.synthesis.loop import Arrays, Pace, load_arrays, train_loop
from train.synthesis.spines import SpinePair

__all__ = [
    "GeneratorWeights",
    "build_discriminators",
    "fit_generator",
    "generator_losses",
    "generator_samples",
    "load_slices",
    "soft_edges",
]

Batch = dict[str, torch.Tensor]

_NAMES = ("picture", "body", "near", "height", "ratio", "plane", "broken")
_FARTHEST_RATIO = 0.9  # slices nearer to the side of a body show its edge only
_SHOWN = 64


class GeneratorWeights(Config):
    """Weights of the generator's losses."""

    image: float = Field(default=10.0, ge=0)
    """L1 of coarse and fine picture within the healthy vertebra's rows, per slice (-1 … 1)."""
    body: float = Field(default=2.0, ge=0)
    """1 - Dice of the target's body."""
    near: float = Field(default=1.0, ge=0)
    """1 - Dice of the healthy neighbours."""
    edge: float = Field(default=4.0, ge=0)
    """Squared error of soft Sobel edges of the body (EEM)."""
    height: float = Field(default=4.0, ge=0)
    """Relative error of the coarse and the fine height (SHRM)."""
    adversarial: float = Field(default=0.1, ge=0)
    """Each of the three discriminators."""


def generator_samples(pair: SpinePair, config: GeneratorConfig, *, seed: int) -> Arrays:
    """Slices of all targets of a spine, as arrays by name."""
    parts: list[Arrays] = []
    order = sorted(pair.now.crops)
    for level in pair.targets:
        at = order.index(level)
        if any("cut" in flag for side in (pair.now, pair.healthy) for flag in side.crops[level].flags):
            continue
        try:
            now, then = net_crop(pair.now, level, config), net_crop(pair.healthy, level, config)
        except VolumeError:
            continue
        random = np.random.default_rng([seed, *pair.name.encode(), at])
        surroundings = [
            hide_target([Piece(values, now.high, 1e9)], [Piece(values, now.low, -1e9)], config)
            for values in (to_unit(now.image), _healthy_near(now.others, set(pair.broken), now.body))
        ]
        along, band = config.slice_vox[1], config.band_vox
        first, middle, height = (along - band) // 2, (along - 1) / 2, then.high - then.low
        if height > band - 2:
            continue  # higher than the band: it could not be hidden
        rows = np.arange(first, first + band)
        source = (then.low + then.high) / 2 + rows - middle
        shown = np.abs(rows - middle) <= height / 2
        picture, body = surroundings[0].copy(), np.zeros_like(surroundings[0])
        picture[:, :, rows] = np.where(shown, rows_at(to_unit(then.image), source), 0.0)
        body[:, :, rows] = np.where(shown, rows_at(then.body, source), 0.0)
        broken = any(order[n] in pair.broken for n in (at - 1, at + 1) if 0 <= n < len(order))
        for plane in (0, 1):
            parts.append(
                _cut(
                    (picture, body, surroundings[1]), now.sides[plane], plane, random, config,
                    height * config.spacing_mm, broken,
                )
            )  # fmt: skip
    if not parts:
        return {}
    return {name: np.concatenate([part[name] for part in parts]) for name in _NAMES}


def _healthy_near(others: dict[Any, NDArray[Any]], broken: set[Any], like: NDArray[Any]) -> NDArray[np.float32]:
    total = np.zeros_like(like)
    for level, body in others.items():
        if level not in broken:
            total += body
    return np.clip(total, 0.0, 1.0)


def _cut(
    volumes: tuple[NDArray[Any], ...], side: NDArray[Any], plane: int, random: np.random.Generator,
    config: GeneratorConfig, height_mm: float, broken: bool,
) -> Arrays:  # fmt: skip
    """Slices of one plane, drawn evenly over the body's extent."""
    middle, half = (side[0] + side[1]) / 2, (side[1] - side[0]) / 2
    wanted = middle + _FARTHEST_RATIO * half * random.uniform(-1, 1, size=config.slices_per_plane)
    places = np.clip(np.round(wanted).astype(int), 0, volumes[0].shape[plane] - 1)
    picture, body, near = (np.moveaxis(np.take(volume, places, axis=plane), plane, 0) for volume in volumes)
    count = len(places)
    return {
        "picture": np.round((picture + 1) * 127.5).astype(np.uint8),
        "body": np.round(255 * np.clip(body, 0, 1)).astype(np.uint8),
        "near": np.round(255 * near).astype(np.uint8),
        "height": np.full(count, height_mm, dtype=np.float32),
        "ratio": (np.abs(places - middle) / max(half, 1e-6)).astype(np.float32),
        "plane": np.full(count, plane, dtype=np.float32),
        "broken": np.full(count, int(broken), dtype=np.int64),
    }


def load_slices(folder: Path) -> Arrays:
    """All prepared slices of a folder, in the order of their files.

    Raises:
        RunError: there is none.
    """
    return load_arrays(folder, _NAMES, mark="picture", lacking="no spine gave a healthy target with an image")


def soft_edges(body: torch.Tensor) -> torch.Tensor:
    """Sobel magnitude of a soft mask, with a gradient everywhere: nothing is thresholded or clipped."""
    kernel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]], device=body.device) / 4
    both = torch.stack([kernel, kernel.T])[:, None]
    return torch.sqrt(nn.functional.conv2d(body, both, padding=1).square().sum(dim=1, keepdim=True) + 1e-6)


def build_discriminators(config: GeneratorConfig) -> nn.ModuleDict:
    """Three: of the whole picture, of the target's body with its soft edges, of the picture's middle columns."""
    width = config.discriminator_width
    return nn.ModuleDict({
        "picture": PatchDiscriminator(1, width), "body": PatchDiscriminator(2, width),
        "local": PatchDiscriminator(1, width),
    })  # fmt: skip


def _judged(picture: torch.Tensor, body: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each discriminator sees; soft everywhere, so that its verdict reaches the generator."""
    quarter = picture.shape[2] // 4 // 8 * 8
    middle = picture[:, :, quarter : picture.shape[2] - quarter]
    return {"picture": picture, "body": torch.cat([body, soft_edges(body)], dim=1), "local": middle}


def composed(made: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The surroundings as they are, the made picture in the healthy vertebra's rows, blank in the rest of the band."""
    return torch.where(batch["band"] > 0, made * batch["shown"], batch["picture"])


def _dice_loss(told: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """1 - Dice, slice by slice; an empty pair of slices has none."""
    shared = 2 * (told * true).sum(dim=(1, 2, 3)) + 1.0
    return (1 - shared / (told.sum(dim=(1, 2, 3)) + true.sum(dim=(1, 2, 3)) + 1.0)).mean()


def _l1(told: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean within each slice's healthy rows, then over slices."""
    inside = batch["shown"].expand_as(told)
    return ((told - batch["picture"]).abs() * inside).sum(dim=(1, 2, 3)).div(inside.sum(dim=(1, 2, 3))).mean()


def generator_losses(
    outputs: tuple[torch.Tensor, ...], batch: Batch, judges: nn.ModuleDict, weights: GeneratorWeights
) -> dict[str, torch.Tensor]:
    """Every weighted term of the generator's loss, by name; their sum is what is minimised."""
    coarse, near, image, body, coarse_height, height = outputs
    true = batch["height"]
    terms = {
        "image_coarse": weights.image * _l1(coarse, batch),
        "image_fine": weights.image * _l1(image, batch),
        "body": weights.body * _dice_loss(body, batch["body"]),
        "near": weights.near * _dice_loss(near, batch["near"]),
        "edge": weights.edge * (soft_edges(body) - soft_edges(batch["body"])).square().mean() * 10,
        "height_coarse": weights.height * ((coarse_height - true).abs() / true).mean(),
        "height_fine": weights.height * ((height - true).abs() / true).mean(),
    }
    for name, seen in _judged(composed(image, batch), body).items():
        verdict = judges[name](seen)
        terms[f"adversarial_{name}"] = weights.adversarial * nn.functional.binary_cross_entropy_with_logits(
            verdict, torch.ones_like(verdict)
        )
    return terms


def judge_loss(outputs: tuple[torch.Tensor, ...], batch: Batch, judges: nn.ModuleDict) -> torch.Tensor:
    """The discriminators' own loss: real against made, half each."""
    image, body = outputs[2].detach(), outputs[3].detach()
    made, real = _judged(composed(image, batch), body), _judged(composed(batch["picture"], batch), batch["body"])
    total = torch.zeros((), device=image.device)
    for name, judge in judges.items():
        for seen, answer in ((real[name], 0.9), (made[name], 0.0)):  # real is 0.9: a judge that is sure teaches nothing
            verdict = judge(seen)
            total = total + 0.5 * nn.functional.binary_cross_entropy_with_logits(
                verdict, torch.full_like(verdict, answer)
            )
    return total


def batch_of(
    samples: Arrays, rows: NDArray[Any], config: GeneratorConfig, attention: NDArray[np.uint8], device: Any
) -> Batch:
    """Tensors of some slices."""
    from spinemed.vertebra.synthesis.generator_net import band_of

    def plane(name: str, low: float, high: float) -> torch.Tensor:
        values = torch.from_numpy(samples[name][rows]).to(device).float() / 255
        return (values * (high - low) + low).unsqueeze(1)

    band = torch.from_numpy(band_of(config)).to(device)[None, None, None]
    height = torch.from_numpy(samples["height"][rows]).to(device)
    along = torch.arange(config.slice_vox[1], device=device) - (config.slice_vox[1] - 1) / 2
    half = height[:, None, None, None] / config.spacing_mm / 2
    picture = plane("picture", -1.0, 1.0)
    return {
        "picture": picture, "masked": torch.where(band, torch.zeros_like(picture), picture),
        "body": plane("body", 0.0, 1.0), "near": plane("near", 0.0, 1.0), "height": height,
        "shown": (along.abs()[None, None, None] <= half).float(), "band": band.expand_as(picture).float(),
        "ratio": torch.from_numpy(samples["ratio"][rows]).to(device),
        "plane": torch.from_numpy(samples["plane"][rows]).to(device),
        "broken": torch.from_numpy(samples["broken"][rows]).to(device),
        "attention": torch.from_numpy(attention[rows]).to(device).float().unsqueeze(1) / 255,
    }  # fmt: skip


def fit_generator(
    run: Run, config: GeneratorConfig, weights: GeneratorWeights, paces: tuple[Pace, Pace], train: Arrays, held: Arrays,
    *, seed: int, key: str,
) -> tuple[GeneratorNets, dict[str, Any]]:  # fmt: skip
    """Train the classifier, then the generator under its attention.

    Args:
        run, key: As :func:`train.synthesis.loop.train_loop`.
        config: The networks.
        weights: Of the losses.
        paces: Of the classifier, and of the generator.
        train, held: Slices to learn from and to validate on.
        seed: Of weights and batches.

    Returns:
        Both networks as they were best on the validation slices, and facts for the card.

    Raises:
        RunError: no slice shows a fractured neighbour, or none lacks one: the classifier has nothing to tell apart.
    """
    from accelerate import Accelerator

    if not 0 < int(train["broken"].sum()) < len(train["broken"]):
        raise RunError(
            "all slices, or none, show a fractured neighbour", field="grades", cure="give spines of both kinds"
        )
    helper = Accelerator(cpu=not torch.cuda.is_available())
    classifier, told = _fit_classifier(run, config, paces[0], train, held, seed=seed, key=key, helper=helper)
    attention, shown = (_attention(classifier, each, config, helper.device) for each in (train, held))
    torch.manual_seed(seed + 1)
    generator, judges = Generator(config), build_discriminators(config).to(helper.device)
    makers, critics = (
        torch.optim.AdamW(
            each.parameters(), lr=paces[1].learning_rate, betas=(0.5, 0.99), weight_decay=paces[1].weight_decay
        )
        for each in (generator, judges)
    )
    wrapped, makers = helper.prepare(generator, makers)

    def step(number: int, rate: float) -> dict[str, float]:
        batch = batch_of(train, _rows(train, paces[1], seed, number, helper), config, attention, helper.device)
        for optimiser in (makers, critics):
            for group in optimiser.param_groups:
                group["lr"] = rate
        wrapped.train()
        outputs = wrapped(batch["masked"], batch["ratio"], batch["plane"], batch["attention"])
        verdict = judge_loss(outputs, batch, judges)
        critics.zero_grad()
        helper.backward(verdict)
        _shared(helper, judges)
        critics.step()
        terms = generator_losses(outputs, batch, judges, weights)
        makers.zero_grad()
        helper.backward(torch.stack(list(terms.values())).sum())
        makers.step()
        return {"judges": float(verdict.detach()), **{name: float(term.detach()) for name, term in terms.items()}}

    def evaluate() -> dict[str, float]:
        return _scores(helper.unwrap_model(wrapped), held, shown, config, helper.device)

    trained = train_loop(
        run, "generator",
        parts={"generator": generator, "judges": judges, "makers": makers, "critics": critics},
        chosen=generator, pace=paces[1], key=key, step=step, evaluate=evaluate, score="selection",
        first=helper.is_main_process,
    )  # fmt: skip
    generator.load_state_dict(trained.best)
    facts = {
        "selected_step": trained.step, "validation": trained.scores, "classifier_validation": told,
        "slices": len(train["height"]),
    }  # fmt: skip
    return GeneratorNets(generator.cpu().eval(), classifier.cpu().eval()), facts


def _shared(helper: Any, network: nn.Module) -> None:
    """Mean of the gradients over processes, of a network that is called without a wrapper."""
    if helper.num_processes > 1:
        for each in network.parameters():
            if each.grad is not None:
                torch.distributed.all_reduce(each.grad)
                each.grad /= helper.num_processes


def _rows(samples: Arrays, pace: Pace, seed: int, number: int, helper: Any) -> NDArray[Any]:
    random = np.random.default_rng([seed, number])
    rows = random.integers(0, len(samples["height"]), size=pace.batch_size * helper.num_processes)
    mine: NDArray[Any] = rows[helper.process_index :: helper.num_processes]
    return mine


def _fit_classifier(
    run: Run, config: GeneratorConfig, pace: Pace, train: Arrays, held: Arrays, *, seed: int, key: str, helper: Any
) -> tuple[FractureClassifier, dict[str, float]]:
    torch.manual_seed(seed)
    network = FractureClassifier(config)
    optimiser = torch.optim.AdamW(network.parameters(), lr=pace.learning_rate, weight_decay=pace.weight_decay)
    wrapped, optimiser = helper.prepare(network, optimiser)
    share = float(train["broken"].mean())
    balance = torch.tensor([0.5 / (1 - share), 0.5 / share], dtype=torch.float32, device=helper.device)
    blank = np.zeros((len(train["height"]), 1, 1), dtype=np.uint8)
    blank_held = np.zeros((len(held["height"]), 1, 1), dtype=np.uint8)

    def step(number: int, rate: float) -> dict[str, float]:
        batch = batch_of(train, _rows(train, pace, seed, number, helper), config, blank, helper.device)
        for group in optimiser.param_groups:
            group["lr"] = rate
        wrapped.train()
        loss = nn.functional.cross_entropy(wrapped(batch["masked"]), batch["broken"], weight=balance)
        optimiser.zero_grad()
        helper.backward(loss)
        optimiser.step()
        return {"loss": float(loss.detach())}

    def evaluate() -> dict[str, float]:
        network.eval()
        right = [0.0, 0.0]
        counts = [0, 0]
        with torch.inference_mode():
            for rows in _blocks(len(held["height"])):
                batch = batch_of(held, rows, config, blank_held, helper.device)
                answer = network(batch["masked"]).argmax(dim=1)
                for kind in (0, 1):
                    there = batch["broken"] == kind
                    right[kind] += float((answer[there] == kind).sum())
                    counts[kind] += int(there.sum())
        told = [r / c for r, c in zip(right, counts, strict=True) if c]
        return {"wrong_share": 1.0 - float(np.mean(told))}

    trained = train_loop(
        run, "classifier", parts={"network": network, "optimiser": optimiser}, chosen=network, pace=pace, key=key,
        step=step, evaluate=evaluate, score="wrong_share", first=helper.is_main_process,
    )  # fmt: skip
    network.load_state_dict(trained.best)
    return network.eval(), trained.scores


def _blocks(count: int, size: int = 64) -> list[NDArray[Any]]:
    return [np.arange(first, min(first + size, count)) for first in range(0, count, size)]


def _attention(
    classifier: FractureClassifier, samples: Arrays, config: GeneratorConfig, device: Any
) -> NDArray[np.uint8]:
    """Maps of all slices, made once: the classifier does not learn any more."""
    count = len(samples["height"])
    blank = np.zeros((count, 1, 1), dtype=np.uint8)
    found = np.empty((count, *config.slice_vox), dtype=np.uint8)
    for rows in _blocks(count):
        maps = healthy_attention(classifier, batch_of(samples, rows, config, blank, device)["masked"])
        found[rows] = torch.round(255 * maps[:, 0]).to(torch.uint8).cpu().numpy()
    return found


def _scores(
    generator: Generator, held: Arrays, attention: NDArray[np.uint8], config: GeneratorConfig, device: Any
) -> dict[str, float]:
    """PSNR and SSIM within the healthy rows, Dice and RHDR of the body, relative error of the restored height."""
    generator.eval()
    count = len(held["height"])
    rows = np.unique(np.linspace(0, count - 1, min(count, _SHOWN)).round().astype(int))
    batch = batch_of(held, rows, config, attention, device)
    with torch.inference_mode():
        outputs = generator(batch["masked"], batch["ratio"], batch["plane"], batch["attention"])
        picture = composed(outputs[2], batch).cpu().numpy()[:, 0]
        body = outputs[3].cpu().numpy()[:, 0]
        height = outputs[5].cpu().numpy()
    true, goal = batch["picture"].cpu().numpy()[:, 0], batch["body"].cpu().numpy()[:, 0] >= 0.5
    shown = np.broadcast_to(batch["shown"].cpu().numpy()[:, 0] > 0, true.shape)
    made = body >= 0.5
    told = {
        "psnr_db": _mean(lambda i: psnr(picture[i], true[i], data_range=2.0, mask=shown[i]).value, len(rows)),
        "ssim": _mean(lambda i: ssim(picture[i], true[i], data_range=2.0, mask=shown[i]).value, len(rows)),
        "rhdr_percent": _mean(lambda i: rhdr(made[i], goal[i], along=1).value, len(rows)),
        "dice": _mean(
            lambda i: 2.0 * (made[i] & goal[i]).sum() / (made[i].sum() + goal[i].sum()) if goal[i].any() else None,
            len(rows),
        ),
        "height_percent": float(100 * np.abs(height / held["height"][rows] - 1).mean()),
    }
    return {**told, "selection": told["height_percent"] + 100 * (1 - told["dice"])}


def _mean(value: Callable[[int], Any], count: int) -> float:
    found = [float(each) for each in map(value, range(count)) if each is not None]
    return float(np.mean(found)) if found else 0.0
