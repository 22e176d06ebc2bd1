"""Replies made by a grammar, each with the verdict that the specification of extraction gives it.

Written from the specification alone (`bench/extract/__init__.py`'s rules in words); it imports nothing of the extractor
and reads none of its patterns. A reply is: perhaps reasoning, perhaps prose, a frame that declares or bares an answer,
perhaps an explanation, perhaps a confidence; or a reply that must give no answer, with the reason why.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Case", "cases"]

ND = "not determinable"
FINDINGS = [
    "Disc herniation",
    "Spinal stenosis",
    "Spondylolisthesis",
    "Compression fracture",
    "Epidural abscess",
    "Haemangioma",
    "Sacroiliitis",
    "Facet arthropathy",
]
VERTEBRAE = [f"C{n}" for n in range(1, 8)] + [f"T{n}" for n in range(1, 13)] + [f"L{n}" for n in range(1, 6)]
ORDINAL = [
    "",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
]
CHINESE = ["", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二"]
EN_REGION = {"C": "cervical", "T": "thoracic", "L": "lumbar"}
ZH_REGION = {"C": "颈", "T": "胸", "L": "腰"}


@dataclass(frozen=True)
class Case:
    """One reply and its verdict."""

    kind: str
    options: tuple[str, ...]
    """Texts of the options, A first; empty for other kinds."""
    reply: str
    verdict: str
    why: str
    confidence: float | None = None


class Maker:
    """Draws everything from one generator."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def one(self, *choices: str) -> str:
        return self.rng.choice(choices)

    # --- how one answer is spelt ---

    def level(self, name: str, zh: bool) -> str:
        letter, number = name[0], int(name[1:])
        if zh:
            region = ZH_REGION[letter]
            return self.one(
                f"{region}{number}椎体",
                f"{region}{number}",
                f"第{CHINESE[number]}{region}椎",
                f"{name}椎体",
                name,
                f"第{number}{region}椎",
                f"{region}椎{number}",
            )
        end = {1: "st", 2: "nd", 3: "rd"}.get(number, "th")
        spelt = [
            name,
            name.lower(),
            f"{name} vertebra",
            f"the {ORDINAL[number]} {EN_REGION[letter]} vertebra",
            f"{name} vertebral body",
            f"{number}{end} {EN_REGION[letter]} vertebra",
            f"vertebra {name}",
            f"{EN_REGION[letter]} vertebra {number}",
        ]
        if letter == "T" and number > 2:
            spelt += [f"Th{number}", f"D{number} vertebra"]
        return self.one(*spelt)

    def disc(self, upper: str, zh: bool) -> str:
        lower = self.below(upper)
        same = upper[0] == lower[0]
        if zh:
            first, second = ZH_REGION[upper[0]] + upper[1:], ("" if same else ZH_REGION.get(lower[0], "骶")) + lower[1:]
            return self.one(
                f"{first}/{second}椎间盘", f"{first}/{second}", f"{first}-{second}椎间盘", f"{upper}/{lower}椎间盘"
            )
        return self.one(
            f"{upper}/{lower}",
            f"{upper}-{lower}",
            f"{upper}–{lower}",
            f"the {upper}-{lower} disc",
            f"the disc between {upper} and {lower}",
            f"{upper}/{lower[1:] if same else lower}",
            f"{upper}-{lower} intervertebral disc",
        )

    @staticmethod
    def below(upper: str) -> str:
        return {"C7": "T1", "T12": "L1", "L5": "S1"}.get(upper, f"{upper[0]}{int(upper[1:]) + 1}")

    def disc_name(self, upper: str) -> str:
        lower = self.below(upper)
        return f"{upper}/{lower[1:]}" if upper[0] == lower[0] else f"{upper}/{lower}"

    def span(self, first: str, last: str, zh: bool) -> str:
        if zh:
            return self.one(f"{first}至{last}", f"{first}到{last}", f"{first}-{last}")
        return self.one(
            f"{first}-{last}",
            f"{first} to {last}",
            f"{first}–{last}",
            f"from {first} to {last}",
            f"{first} through {last}",
        )

    def number(self, value: str, kind: str, zh: bool) -> str:
        units = {
            "deg": (("°", " degrees", "°", " deg"), ("度", "°")),
            "mm": ((" mm", "mm", " millimetres"), ("毫米", " mm")),
            "percent": (("%", " %", " percent"), ("%", "％")),
        }[kind]
        about = self.one("", "", "about ", "approximately ") if not zh else self.one("", "约")
        return f"{about}{value}{self.one(*units[zh])}"

    # --- a question: its answer, another answer, and how either is said ---

    def draw(self, kind: str) -> tuple[str, str]:
        """Two different canonical answers."""
        if kind == "option":
            first, second = self.rng.sample("ABCD", 2)
        elif kind == "level":
            first, second = self.rng.sample(VERTEBRAE, 2)
        elif kind == "disc":
            first, second = self.rng.sample([name for name in VERTEBRAE if name not in ("C1",)], 2)
        elif kind == "levels":
            starts = self.rng.sample(range(3, len(VERTEBRAE) - 3), 2)
            first, second = (f"{VERTEBRAE[at]}-{VERTEBRAE[at + 2]}" for at in starts)
        elif kind == "grade":
            first, second = self.rng.sample("12345", 2)
        elif kind == "side":
            first, second = self.rng.sample(["left", "right"], 2)
        elif kind == "severity":
            first, second = self.rng.sample(["mild", "moderate", "severe"], 2)
        else:
            first, second = (str(n) for n in self.rng.sample(range(3, 60), 2))
            if self.rng.random() < 0.4:
                first = f"{first}.{self.rng.randint(1, 9)}"
        return first, second

    def canonical(self, kind: str, drawn: str) -> str:
        return self.disc_name(drawn) if kind == "disc" else drawn

    def say(self, kind: str, drawn: str, options: tuple[str, ...], zh: bool) -> str:
        if kind == "option":
            text = options["ABCD".index(drawn)]
            return self.one(drawn, drawn, f"({drawn})", f"{drawn}. {text}", f"{drawn}) {text}", text)
        if kind == "level":
            return self.level(drawn, zh)
        if kind == "disc":
            return self.disc(drawn, zh)
        if kind == "levels":
            return self.span(*drawn.split("-"), zh=zh)
        if kind == "grade":
            roman = ["", "I", "II", "III", "IV", "V"][int(drawn)]
            if zh:
                return self.one(f"{drawn}级", f"{CHINESE[int(drawn)]}级")
            return self.one(f"grade {drawn}", f"Grade {roman}", drawn, f"Pfirrmann grade {drawn}")
        if kind == "side":
            if zh:
                return {"left": self.one("左", "左侧"), "right": self.one("右", "右侧")}[drawn]
            return self.one(drawn, f"the {drawn} side", f"{drawn}-sided")
        if kind == "severity":
            return (
                {"mild": "轻度", "moderate": "中度", "severe": "重度"}[drawn] if zh else self.one(drawn, drawn.title())
            )
        return self.number(drawn, kind, zh)

    # --- frames ---

    def declare(self, said: str, zh: bool) -> str:
        """A declaration that ends with a line or a sentence, so that what follows is apart."""
        if zh:
            return self.one(
                f"答案：{said}。",
                f"答案是{said}。",
                f"最终答案：{said}\n",
                f"**答案：{said}**\n",
                f"正确答案为{said}。",
                f"\\boxed{{{said}}}\n",
                f'{{"answer": "{said}"}}\n',
            )
        return self.one(
            f"Answer: {said}.",
            f"The answer is {said}.",
            f"**Answer:** {said}\n",
            f"Final answer: **{said}**\n",
            f"The correct answer is {said}.",
            f"### Answer\n{said}\n",
            f"<answer>{said}</answer>\n",
            f"\\boxed{{{said}}}\n",
            f"$\\boxed{{\\text{{{said}}}}}$\n",
            f'{{"answer": "{said}"}}\n',
            f'```json\n{{"final_answer": "{said}"}}\n```\n',
            f"My final answer is {said}.",
            f"**The answer is: {said}**\n",
        )

    def bare(self, said: str) -> str:
        return self.one(
            said, f"{said}.", f"**{said}**", f" {said}\n", f"`{said}`", f"> {said}" if not said[0].isdigit() else said
        )

    def reasoning(self, text: str) -> str:
        return self.one(
            f"<think>{text}</think>",
            f"<think>\n{text}\n</think>\n\n",
            f"<thinking>{text}</thinking>\n",
            f"<reasoning>{text}</reasoning>",
            f"◁think▷{text}◁/think▷",
            f"[THINK]{text}[/THINK]",
            f"{text}\n</think>\n",
            f"<|channel|>analysis<|message|>{text}<|end|><|start|>assistant<|channel|>final<|message|>",
        )

    def case(self) -> Case:
        kind = self.one(
            "option",
            "option",
            "option",
            "level",
            "level",
            "level",
            "disc",
            "levels",
            "grade",
            "side",
            "severity",
            "deg",
            "mm",
            "percent",
        )
        options = tuple(self.rng.sample(FINDINGS, 4)) if kind == "option" else ()
        zh = self.rng.random() < 0.4
        first, second = self.draw(kind)
        right = self.canonical(kind, first)
        said, wrong = self.say(kind, first, options, zh), self.say(kind, second, options, zh)
        shape = self.rng.choices(
            [
                "bare",
                "declared",
                "explained",
                "revised",
                "denied",
                "two",
                "only denied",
                "unclosed",
                "abstains",
                "refuses",
                "confident",
                "listed",
                "kind",
            ],
            [14, 22, 14, 8, 8, 9, 4, 4, 5, 3, 5, 3, 4],
        )[0]
        thought = self.one("", "", self.reasoning(f"Perhaps {wrong}? {self.declare(wrong, zh)}"))
        confidence = None
        verdict, why = right, shape
        if shape == "bare":
            reply = thought + self.bare(said)
        elif shape == "declared":
            reply = (
                thought
                + self.one("", "Let me look at the image step by step. ", "根据影像：\n", "")
                + self.declare(said, zh)
            )
        elif shape == "explained":
            because = f"原因是{wrong}不符合表现。" if zh else f"Explanation: {wrong} does not fit the picture."
            reply = thought + self.declare(said, zh) + "\n\n" + because
        elif shape == "revised":
            reply = self.declare(wrong, zh) + self.one("\nLooking again.\n", "\n再看一遍。\n") + self.declare(said, zh)
        elif shape == "denied":
            plain, not_that = (self.code(kind, drawn, options) for drawn in (first, second))
            if zh:
                reply = self.one(f"不是{not_that}，而是{plain}。", f"答案不是{not_that}，答案是{plain}。")
            else:
                reply = self.one(
                    f"Not {not_that} but {plain}.",
                    f"The answer is not {not_that} but {plain}.",
                    f"It is not {not_that}. The answer is {plain}.",
                    f"Answer: {plain}, not {not_that}.",
                )
        elif shape == "two":
            joined = f"{said}或{wrong}" if zh else self.one(f"{said} or {wrong}", f"either {said} or {wrong}")
            reply = self.one(joined, self.declare(joined, zh))
            verdict = "unparsed"
        elif shape == "only denied":
            not_that = self.code(kind, first, options)
            reply = f"不是{not_that}" if zh else self.one(f"not {not_that}", f"The answer is not {not_that}.")
            verdict = "unparsed"
        elif shape == "unclosed":
            reply = self.one("<think>", "<thinking>\n", "[THINK]", "◁think▷") + f"So {self.declare(said, zh)}"
            verdict = "unparsed"
        elif shape == "abstains":
            reply = thought + (
                self.one("无法确定", "无法判断。", "答案：无法确定", "不能确定")
                if zh
                else self.one(
                    "not determinable",
                    "It cannot be determined.",
                    "Answer: cannot be determined",
                    "This is impossible to tell from the image.",
                    "I don't know.",
                    "It is indeterminate.",
                )
            )
            verdict = ND
        elif shape == "refuses":
            reply = (
                self.one("抱歉，我不能提供诊断。", "对不起，我无法回答。")
                if zh
                else self.one(
                    "I'm sorry, but I can't help with medical images.",
                    "As an AI, I cannot give a diagnosis.",
                    "I am unable to view images.",
                    "I cannot assist with that request.",
                )
            )
            verdict = "refused"
        elif shape == "confident":
            percent = self.rng.randint(2, 99)
            confidence = percent / 100
            reply = (
                self.declare(said, zh)
                + " "
                + (
                    self.one(f"置信度：{percent}%", f"把握{percent}%")
                    if zh
                    else self.one(
                        f"Confidence: {percent}%",
                        f"Confidence: 0.{percent:02d}",
                        f"I am {percent}% sure.",
                        f"(confidence: {percent} %)",
                        f"Confidence score: {percent}/100",
                    )
                )
            )
        elif shape == "listed":
            kind, options = "option", tuple(self.rng.sample(FINDINGS, 4))
            first, second = self.draw(kind)
            lines = "\n".join(f"{key}. {text}" for key, text in zip("ABCD", options, strict=True))
            closing = self.one(
                "", f"\n\nAnswer: {first}", f"\n\n答案：{first}", f"\n\nThe correct option is ({first})."
            )
            reply, verdict = lines + closing, first if closing else "unparsed"
        else:
            kind, reply, verdict, why = self.another_kind()
            options = tuple(FINDINGS[:4]) if kind == "option" else ()
        return Case(kind, options, reply, verdict, why, confidence)

    def code(self, kind: str, drawn: str, options: tuple[str, ...]) -> str:
        """A short spelling that fits behind "not"."""
        if kind == "option":
            return drawn
        if kind in ("deg", "mm", "percent"):
            return f"{drawn}{ {'deg': '°', 'mm': ' mm', 'percent': '%'}[kind] }"
        if kind == "grade":
            return f"grade {drawn}"
        return self.canonical(kind, drawn)

    def another_kind(self) -> tuple[str, str, str, str]:
        """Replies that answer something else than what was asked."""
        level, upper = self.rng.choice(VERTEBRAE), self.rng.choice(VERTEBRAE[2:])
        value = self.rng.randint(3, 60)
        return self.rng.choice(
            [
                ("level", f"{upper}/{self.below(upper)}", "unparsed", "a disc is no vertebra"),
                ("level", f"the vertebra above {level}", "unparsed", "relative"),
                ("level", f"{level}上方的椎体", "unparsed", "relative"),
                ("level", f"the {level} nerve root", "unparsed", "a root is no vertebra"),
                ("level", "The lumbar spine.", "unparsed", "a region"),
                ("disc", level, "unparsed", "a vertebra is no disc"),
                ("levels", level, "unparsed", "one vertebra is no range"),
                ("deg", f"{value} mm", "unparsed", "another unit"),
                ("mm", f"{value}%", "unparsed", "another unit"),
                ("percent", f"{value}°", "unparsed", "another unit"),
                ("deg", f"{value}-{value + 5}°", "unparsed", "a range"),
                ("deg", f"between {value}° and {value + 5}°", "unparsed", "a range"),
                ("mm", f"more than {value} mm", "unparsed", "a bound"),
                ("mm", f"{value / 10:g} cm", str(value), "centimetres"),
                ("percent", f"{value}–{value + 5}%", "unparsed", "a range"),
                ("grade", "grade 9", "unparsed", "no such grade"),
                ("option", "Answer: G", "unparsed", "no such option"),
                ("option", "A, B and D", "unparsed", "several letters"),
                ("option", "All of them.", "unparsed", "no option"),
                ("side", "That's right.", "unparsed", "a judgement"),
                ("severity", "mild to moderate", "unparsed", "two"),
                ("severity", "abnormal", "unparsed", "no category"),
            ]
        )


def cases(count: int, seed: int) -> list[Case]:
    """`count` replies of one seed, always the same."""
    maker = Maker(seed)
    return [maker.case() for _ in range(count)]
