"""The natural motions: bend, lift, twist, sit and the others, each a course of postures drawn from published norms.

Convention: a builder takes the clip's times and random numbers and returns a `Plan`; it repeats its motion, each time
drawn anew, until the clip is over, and begins anywhere within the first one. Signs as in `conventions`.

The trap: "wander" is no natural motion; it covers ranges that no named motion reaches.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.generate.gait import draw_walk, walk_channels
from spinemed.motion.generate.norms import draw
from spinemed.motion.generate.plans import Plan
from spinemed.motion.generate.timing import Keys, wobble
from spinemed.motion.model import BodyModel

__all__ = ["MOTIONS", "plan_motion"]

Array = NDArray[np.float64]
Rng = np.random.Generator


def plan_motion(motion: str, model: BodyModel, t: Array, rng: Rng) -> Plan:
    """Draw one clip of a motion (a name of `MOTIONS`) for times [T] in seconds."""
    return MOTIONS[motion](model, t, rng)


def _sign(rng: Rng) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _keys(t: Array, rng: Rng, lead_s: float, **rest: float) -> Keys:
    """Postures from somewhere before the clip's start, with arms at ease."""
    ease = {}
    for side in ("right", "left"):
        ease[f"{side}_arm_abduction"] = draw(rng, "stance", "arm_abduction")
        ease[f"{side}_elbow"] = draw(rng, "stance", "elbow")
        ease[f"{side}_hang"] = 1.0
    return Keys(-float(rng.uniform(0.0, lead_s)), knee=draw(rng, "stance", "knee"), **{**ease, **rest})


def _plan(keys: Keys, t: Array, rng: Rng, **facts: float) -> Plan:
    standing = {
        "foot_gap_mm": draw(rng, "stance", "foot_gap"),
        "toe_out_deg": draw(rng, "stance", "toe_out"),
        "ahead_mm": draw(rng, "stance", "balance_ahead"),
    }
    return Plan(keys.sample(t), **{**standing, **facts})  # type: ignore[arg-type]


def _times(rng: Rng, motion: str) -> tuple[float, float]:
    return draw(rng, motion, "move"), draw(rng, motion, "hold")


def gait(model: BodyModel, t: Array, rng: Rng) -> Plan:
    """Walking in a circle, or along a line if the clip is short enough for the studio."""
    walk = draw_walk(model, rng, float(t[-1]))
    channels = walk_channels(walk, t)
    for side in ("right", "left"):
        channels[f"{side}_arm_abduction"] = np.full(len(t), draw(rng, "stance", "arm_abduction"))
        channels[f"{side}_elbow"] = channels[f"{side}_elbow"] + 0.5 * draw(rng, "stance", "elbow")
        channels[f"{side}_hang"] = np.ones(len(t))
    return Plan(channels, walk=walk)


def bend(model: BodyModel, t: Array, rng: Rng) -> Plan:
    """Bending forward and rising; now and then backward as well."""
    keys = _keys(t, rng, 3.0)
    end = draw(rng, "bend", "lumbar_flexion")
    ease = {name: keys.value(name) for name in ("right_elbow", "left_elbow")}
    while keys.time_s < t[-1]:
        depth = float(np.sqrt(rng.uniform(0.25, 1.0)))
        full = draw(rng, "bend", "inclination")
        down, pause = _times(rng, "bend")
        reach = rng.uniform(0.0, 18.0)
        keys.to(
            down, inclination=depth * full, cervical_flexion=depth * draw(rng, "bend", "cervical_flexion"),
            right_protraction=depth * 12.0, left_protraction=depth * 12.0, right_arm_flexion=reach,
            left_arm_flexion=reach, **{name: 0.6 * value for name, value in ease.items()},
            pelvis_rotation=rng.normal(0, 2.0), lumbar_bending=rng.normal(0, 2.0),
            thoracic_rotation=rng.normal(0, 3.0),
        ).hold(pause)  # fmt: skip
        up, pause = _times(rng, "bend")
        back = dict.fromkeys(
            ("inclination", "cervical_flexion", "right_protraction", "left_protraction", "right_arm_flexion",
             "left_arm_flexion", "pelvis_rotation", "lumbar_bending", "thoracic_rotation"), 0.0,
        )  # fmt: skip
        keys.to(up, **back, **ease).hold(pause)
        if rng.random() < 0.35:
            lumbar, thoracic = (draw(rng, "bend", f"{region}_extension") for region in ("lumbar", "thoracic"))
            seconds, pause = _times(rng, "bend")
            keys.to(
                seconds, lumbar_flexion=-lumbar, thoracic_flexion=-thoracic, pelvis_tilt=-0.35 * lumbar,
                cervical_flexion=-rng.uniform(0, 25.0),
            ).hold(pause)  # fmt: skip
            keys.to(seconds, lumbar_flexion=0.0, thoracic_flexion=0.0, pelvis_tilt=0.0, cervical_flexion=0.0)
    full = draw(rng, "bend", "thoracic_flexion")
    return _plan(keys, t, rng, lumbar_end_deg=end, thoracic_share=full / 60.0)


def side_bend(model: BodyModel, t: Array, rng: Rng) -> Plan:
    """Bending to the sides in turn; the hand slides down the thigh."""
    keys = _keys(t, rng, 3.0)
    side = _sign(rng)
    while keys.time_s < t[-1]:
        depth = side * float(np.sqrt(rng.uniform(0.2, 1.0)))
        seconds, pause = _times(rng, "side_bend")
        keys.to(
            seconds, lumbar_bending=depth * draw(rng, "side_bend", "lumbar_bending"),
            thoracic_bending=depth * draw(rng, "side_bend", "thoracic_bending"),
            cervical_bending=depth * draw(rng, "side_bend", "cervical_bending"),
            pelvis_obliquity=depth * draw(rng, "side_bend", "pelvis_obliquity"),
            lumbar_flexion=rng.normal(0, 3.0), thoracic_rotation=rng.normal(0, 3.0),
        ).hold(pause)  # fmt: skip
        seconds, pause = _times(rng, "side_bend")
        keys.to(
            seconds, lumbar_bending=0.0, thoracic_bending=0.0, cervical_bending=0.0, pelvis_obliquity=0.0,
            lumbar_flexion=0.0, thoracic_rotation=0.0,
        ).hold(pause * float(rng.random()))  # fmt: skip
        side = -side if rng.random() < 0.8 else side
    return _plan(keys, t, rng)


def lift(model: BodyModel, t: Array, rng: Rng) -> Plan:
    """Lifting a box from the floor and putting it down: squat, semi-squat or stoop."""
    style = ("squat", "semi", "stoop")[int(rng.integers(3))]
    load = draw(rng, "lift", "load")
    keys = _keys(t, rng, 4.0)
    ease = {name: keys.value(name) for name in ("right_elbow", "left_elbow", "knee")}
    carry = draw(rng, "lift", "carry_lean")
    while keys.time_s < t[-1]:
        turn = draw(rng, "lift", "asymmetry")
        down = {
            "inclination": draw(rng, "lift", f"{style}_inclination"),
            "knee": draw(rng, "lift", f"{style}_knee"),
            "pelvis_rotation": 0.35 * turn, "lumbar_rotation": 0.12 * turn, "thoracic_rotation": 0.5 * turn,
            "cervical_flexion": float(rng.uniform(-25.0, 8.0)), "lumbar_flexion": 0.0, "pelvis_tilt": 0.0,
            "lumbar_bending": 0.12 * turn,
            **{f"{s}_{name}": value for s in ("right", "left")
               for name, value in (("arm_flexion", 14.0), ("arm_abduction", 8.0), ("elbow", 12.0),
                                   ("protraction", 18.0), ("arm_rotation", 0.0))},
        }  # fmt: skip
        up = {
            "inclination": 0.0, "knee": ease["knee"], "pelvis_rotation": 0.0, "lumbar_rotation": 0.0,
            "thoracic_rotation": 0.0, "cervical_flexion": 0.0, "lumbar_bending": 0.0, "lumbar_flexion": 0.6 * carry,
            "pelvis_tilt": 0.3 * carry,
            **{f"{s}_{name}": value for s in ("right", "left")
               for name, value in (("arm_flexion", 12.0), ("arm_abduction", 10.0), ("elbow", 82.0),
                                   ("protraction", 6.0), ("arm_rotation", -8.0))},
        }  # fmt: skip
        seconds, pause = _times(rng, "lift")
        keys.to(seconds, **down).to(0.35, load_kg=load).hold(0.5 * pause)
        seconds, pause = _times(rng, "lift")
        keys.to(seconds, **up).hold(pause)
        seconds, pause = _times(rng, "lift")
        keys.to(seconds, **down).to(0.35, load_kg=0.0).hold(0.5 * pause)
        empty = dict.fromkeys(up, 0.0) | {"right_arm_abduction": 9.0, "left_arm_abduction": 9.0}
        seconds, pause = _times(rng, "lift")
        keys.to(seconds, **{**empty, **ease}).hold(pause)
    return _plan(
        keys, t, rng, lumbar_end_deg=draw(rng, "lift", "lumbar_flexion"),
        thoracic_share=draw(rng, "lift", "thoracic_flexion") / 55.0, foot_gap_mm=draw(rng, "stance", "foot_gap") + 90.0,
        toe_out_deg=draw(rng, "stance", "toe_out") + 8.0, stagger_mm=float(rng.normal(0, 35.0)),
    )  # fmt: skip


def _turned(rng: Rng, side: float, depth: float) -> dict[str, float]:
    return {
        "lumbar_rotation": side * depth * draw(rng, "twist", "lumbar_rotation"),
        "thoracic_rotation": side * depth * draw(rng, "twist", "thoracic_rotation"),
        "cervical_rotation": side * depth * draw(rng, "twist", "cervical_rotation"),
        "lumbar_bending": float(rng.normal(0, 2.0)), "lumbar_flexion": float(rng.normal(0, 3.0)),
    }  # fmt: skip


def twist(model: BodyModel, t: Array, rng: Rng) -> Plan:
    """Turning the trunk to the sides in turn, standing with fixed feet or sitting."""
    seated = rng.random() < 0.35
    keys = _keys(t, rng, 2.5, **(_seated(rng) if seated else {}))
    rest = {name: keys.value(name) for name in ("lumbar_flexion", "lumbar_bending")}
    raised = float(rng.uniform(0.0, 55.0)) if rng.random() < 0.5 else 0.0
    side = _sign(rng)
    for name in ("right", "left") if raised else ():
        keys.to(0.0, **{f"{name}_arm_abduction": raised, f"{name}_elbow": float(rng.uniform(20, 80))})
    while keys.time_s < t[-1]:
        depth = float(np.sqrt(rng.uniform(0.2, 1.0)))
        seconds, pause = _times(rng, "twist")
        turned = _turned(rng, side, depth)
        turned["lumbar_flexion"] += rest["lumbar_flexion"]
        if not seated:
            turned["pelvis_rotation"] = side * depth * draw(rng, "twist", "pelvis_rotation")
            # The arm on the outer side swings across the body, the other behind it.
            for name, inner in (("right", -side), ("left", side)):
                turned[f"{name}_arm_flexion"] = -inner * depth * 22.0
                turned[f"{name}_protraction"] = -inner * depth * 14.0
        # From one side to the other is twice the way.
        keys.to(seconds * (1.6 if keys.value("thoracic_rotation") else 1.0), **turned).hold(pause)
        side = -side if rng.random() < 0.85 else side
        if rng.random() < 0.35:
            back = {**dict.fromkeys(turned, 0.0), **rest}
            keys.to(draw(rng, "twist", "move"), **back).hold(pause)
    return _plan(keys, t, rng, seat_mm=draw(rng, "sit", "seat"))


def _seated(rng: Rng) -> dict[str, float]:
    """Sitting at ease, hands on the thighs, gaze ahead."""
    back = {name: draw(rng, "sit", name) for name in ("pelvis_tilt", "lumbar_flexion", "thoracic_flexion")}
    return {"sit": 1.0, **back, "cervical_flexion": -0.8 * sum(back.values()), **_hands_on_thighs(rng)}


def _hands_on_thighs(rng: Rng) -> dict[str, float]:
    flexion, elbow = float(rng.uniform(12.0, 28.0)), float(rng.uniform(48.0, 68.0))
    return {
        f"{side}_{name}": value
        for side in ("right", "left")
        for name, value in (("arm_flexion", flexion), ("arm_abduction", 8.0), ("elbow", elbow), ("arm_rotation", -12.0))
    }


def sit(model: BodyModel, t: Array, rng: Rng) -> Plan:
    """Sitting down and standing up again."""
    start = _seated(rng) if rng.random() < 0.5 else {}
    keys = _keys(t, rng, 3.0, **start)
    elbow = draw(rng, "stance", "elbow")
    while keys.time_s < t[-1]:
        lean = draw(rng, "sit", "rise_inclination")
        seconds, pause = _times(rng, "sit")
        neck = -0.45 * lean
        if keys.value("sit") < 0.5:
            seated = _seated(rng)
            level = 1.0 if rng.random() < 0.8 else 0.0
            first = {name: level * value for name, value in _hands_on_thighs(rng).items()}
            half = {"pelvis_tilt": 0.0, "lumbar_flexion": 0.35 * seated["lumbar_flexion"], "inclination": lean}
            _together(
                keys, seconds, {"sit": 1.0}, [
                    (0.0, 0.62, {**half, "cervical_flexion": neck, **first}),
                    (0.62, 1.25, {"inclination": 0.0, "pelvis_tilt": seated["pelvis_tilt"],
                                  "cervical_flexion": seated["cervical_flexion"],
                                  "lumbar_flexion": seated["lumbar_flexion"],
                                  "thoracic_flexion": seated["thoracic_flexion"]}),
                ],
            )  # fmt: skip
        else:
            stand = {
                f"{side}_{name}": value for side in ("right", "left")
                for name, value in (("arm_flexion", 0.0), ("arm_abduction", 9.0), ("elbow", elbow),
                                    ("arm_rotation", 0.0))
            }  # fmt: skip
            _together(
                keys, seconds, {}, [
                    (0.0, 0.5, {"inclination": lean, "pelvis_tilt": 0.0, "lumbar_flexion": 6.0,
                                "thoracic_flexion": 0.0, "cervical_flexion": neck}),
                    (0.3, 1.15, {"sit": 0.0}),
                    (0.52, 1.2, {"inclination": 0.0, "lumbar_flexion": 0.0, "cervical_flexion": 0.0, **stand}),
                ],
            )  # fmt: skip
        keys.hold(pause)
    return _plan(keys, t, rng, seat_mm=draw(rng, "sit", "seat"), lumbar_end_deg=40.0)


def _together(
    keys: Keys, seconds: float, main: dict[str, float], parts: list[tuple[float, float, dict[str, float]]]
) -> None:
    """Key parts that start and end at shares of one move; the clock ends with the last of them."""
    start = keys.time_s
    last = start
    for begin, end, targets in [(0.0, 1.0, main), *parts]:
        keys.time_s = start + begin * seconds
        keys.to((end - begin) * seconds, **targets)
        last = max(last, keys.time_s)
    keys.time_s = last


def slump(model: BodyModel, t: Array, rng: Rng) -> Plan:
    """Sitting: slumping and straightening up again."""
    keys = _keys(t, rng, 2.5, **_seated(rng))
    while keys.time_s < t[-1]:
        depth = float(rng.uniform(0.5, 1.0))
        seconds, pause = _times(rng, "slump")
        keys.to(
            seconds, **{name: depth * draw(rng, "slump", name)
                        for name in ("lumbar_flexion", "pelvis_tilt", "thoracic_flexion", "cervical_flexion")},
            thoracic_bending=float(rng.normal(0, 3.0)),
        ).hold(pause)  # fmt: skip
        seconds, pause = _times(rng, "slump")
        keys.to(
            seconds, lumbar_flexion=float(rng.uniform(-4, 12)), pelvis_tilt=float(rng.uniform(-8, 6)),
            thoracic_flexion=float(rng.uniform(-6, 2)), cervical_flexion=0.0, thoracic_bending=0.0,
        ).hold(pause)  # fmt: skip
    return _plan(keys, t, rng, seat_mm=draw(rng, "sit", "seat"))


def reach(model: BodyModel, t: Array, rng: Rng) -> Plan:
    """Reaching up, ahead, aside or across with one arm or both."""
    keys = _keys(t, rng, 2.0)
    ease = {
        name: keys.value(name) for name in ("right_elbow", "left_elbow", "right_arm_abduction", "left_arm_abduction")
    }
    while keys.time_s < t[-1]:
        where = ("up", "ahead", "aside", "across")[int(rng.integers(4))]
        both = where in ("up", "ahead") and rng.random() < 0.5
        side = _sign(rng)
        arms = ("right", "left") if both else ("right",) if side > 0 else ("left",)
        seconds, pause = _times(rng, "reach")
        target: dict[str, float] = {}
        if where == "up":
            target |= {
                "lumbar_flexion": -draw(rng, "reach", "lumbar_extension"),
                "thoracic_flexion": -draw(rng, "reach", "thoracic_extension"),
                "cervical_flexion": -draw(rng, "reach", "cervical_extension"),
            }  # fmt: skip
            if not both:
                target |= {"lumbar_bending": -side * 6.0, "thoracic_bending": -side * 8.0}
        elif where == "ahead":
            target |= {"inclination": draw(rng, "reach", "forward_inclination"), "cervical_flexion": -16.0}
            if not both:
                target |= {
                    "thoracic_rotation": side * draw(rng, "reach", "thoracic_rotation"),
                    "pelvis_rotation": side * 8.0,
                }
        elif where == "aside":
            target |= {
                "lumbar_bending": side * draw(rng, "reach", "lumbar_bending"),
                "thoracic_bending": side * draw(rng, "reach", "thoracic_bending"),
                "cervical_rotation": -side * 35.0, "pelvis_obliquity": side * 3.0,
            }  # fmt: skip
        else:
            target |= {
                "thoracic_rotation": side * draw(rng, "reach", "thoracic_rotation"), "pelvis_rotation": side * 16.0,
                "lumbar_rotation": side * 3.0, "inclination": float(rng.uniform(5, 25)),
                "cervical_rotation": side * 18.0,
            }  # fmt: skip
        for arm in arms:
            lifted = {"up": draw(rng, "reach", "arm_flexion"), "ahead": 88.0, "aside": 12.0, "across": 78.0}[where]
            target |= {
                f"{arm}_arm_flexion": lifted, f"{arm}_arm_abduction": 84.0 if where == "aside" else 4.0,
                f"{arm}_elbow": 10.0, f"{arm}_elevation": 18.0 if where == "up" else 5.0,
                f"{arm}_protraction": 18.0 if where in ("ahead", "across") else 4.0,
                f"{arm}_hang": 0.0 if where in ("up", "aside") else 0.6,
            }  # fmt: skip
        keys.to(seconds, **target).hold(pause)
        seconds, pause = _times(rng, "reach")
        back = {name: ease.get(name, 1.0 if name.endswith("hang") else 0.0) for name in target}
        keys.to(seconds, **back).hold(pause)
    return _plan(keys, t, rng)


def look(model: BodyModel, t: Array, rng: Rng) -> Plan:
    """Nodding, turning and tilting the head, standing or sitting."""
    keys = _keys(t, rng, 1.5, **(_seated(rng) if rng.random() < 0.5 else {}))
    rest = {f"{region}_flexion": keys.value(f"{region}_flexion") for region in ("cervical", "thoracic")}
    while keys.time_s < t[-1]:
        kind = ("flexion", "extension", "bending", "rotation")[int(rng.integers(4))]
        size = draw(rng, "look", kind) * float(np.sqrt(rng.uniform(0.2, 1.0)))
        signed = -size if kind == "extension" else size if kind == "flexion" else _sign(rng) * size
        axis = "flexion" if kind in ("flexion", "extension") else kind
        seconds, pause = _times(rng, "look")
        target = {f"cervical_{other}": float(rng.normal(0, 5.0)) for other in ("flexion", "bending", "rotation")}
        target |= {f"cervical_{axis}": signed, f"thoracic_{axis}": 0.1 * signed}
        for name, value in rest.items():
            target[name] = target.get(name, 0.0) + value
        # What the neck holds for sitting upright counts against its range.
        target["cervical_flexion"] = float(np.clip(target["cervical_flexion"], -62.0, 62.0))
        keys.to(seconds, **target).hold(pause)
        if rng.random() < 0.6:
            level = dict.fromkeys(
                ("cervical_bending", "cervical_rotation", "thoracic_bending", "thoracic_rotation"), 0.0
            )
            keys.to(draw(rng, "look", "move"), **level, **rest)
    return _plan(keys, t, rng, seat_mm=draw(rng, "sit", "seat"))


def wander(model: BodyModel, t: Array, rng: Rng) -> Plan:
    """Every region in every direction at once, slow sines within a share of its range; standing."""
    full = {
        "lumbar_flexion": 46.0, "lumbar_bending": 26.0, "lumbar_rotation": 9.0, "thoracic_flexion": 26.0,
        "thoracic_bending": 34.0, "thoracic_rotation": 42.0, "cervical_flexion": 58.0, "cervical_bending": 40.0,
        "cervical_rotation": 70.0, "pelvis_tilt": 26.0, "pelvis_obliquity": 9.0, "pelvis_rotation": 45.0,
        "right_arm_flexion": 80.0, "left_arm_flexion": 80.0, "right_arm_abduction": 55.0, "left_arm_abduction": 55.0,
        "right_elbow": 60.0, "left_elbow": 60.0, "knee": 42.0,
    }  # fmt: skip
    pace = 1.0 / draw(rng, "wander", "period")
    share = draw(rng, "wander", "range_share")
    channels = {}
    for name, size in full.items():
        course = wobble(rng, t, np.array([1.0]), 0.4 * pace, 1.6 * pace)[:, 0]
        bound = float(rng.uniform(0.3, 1.0)) * share * size * np.tanh(course / 1.4) * 1.4
        if name in ("lumbar_flexion", "pelvis_tilt"):
            bound = bound * 0.65 + 0.35 * share * size
        elif name.endswith(("elbow", "knee", "arm_flexion", "arm_abduction")):
            bound = bound + 1.4 * share * size * 0.6
        channels[name] = bound
    channels["knee"] = np.logaddexp(0.0, channels["knee"] / 3.0) * 3.0 + 4.0
    for side in ("right", "left"):
        channels[f"{side}_hang"] = np.full(len(t), 0.4)
    return Plan(
        channels, foot_gap_mm=draw(rng, "stance", "foot_gap") + 60.0, toe_out_deg=draw(rng, "stance", "toe_out"),
        ahead_mm=draw(rng, "stance", "balance_ahead"), stagger_mm=float(rng.normal(0, 60.0)),
    )  # fmt: skip


MOTIONS: dict[str, Callable[[BodyModel, Array, Rng], Plan]] = {
    "gait": gait, "bend": bend, "side_bend": side_bend, "lift": lift, "twist": twist, "sit": sit, "slump": slump,
    "reach": reach, "look": look, "wander": wander,
}  # fmt: skip
"""Name and builder of every motion."""
