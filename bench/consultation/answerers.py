"""Physicians by script: one who does it right, one who does not ask, one who fears everything, and a constant guess.

Convention: they see the conversation alone, as any model does; only `majority` is told the cases, openly, and says the
urgency that is right most often. They show what the scorer rewards; none is a model.

Trap: `ideal` knows the words that the patient's rules know. It is an upper end of the scale, not a physician.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from bench.consultation.rules import Urgency, load_rules
from bench.runner.answerers import Reply, Request
from spinemed.records import Sample, content_hash

__all__ = ["SCRIPTS", "MajorityPhysician", "ScriptedPhysician"]

Script = Literal["ideal", "careless", "anxious"]
SCRIPTS: tuple[Script, ...] = ("ideal", "careless", "anxious")
"""Physicians by rule that need no model: what the scorer must tell apart."""

_QUESTIONS = {
    "en": (
        "Do you pass water as usual? Is there numbness around your seat? Have your legs become weak?",
        "Have you had a fever? Have you ever had cancer? Was there a fall or an accident?",
        "How are your bowels? Are both legs affected? Is it getting worse?",
        "Diabetes, injections or a weak immune system? Is it worse at night? Has your weight changed?",
        "Any osteoporosis or steroids? Is your spine stiff from ankylosing spondylitis? Has your sex life changed?",
        "How long have you had it? Does the pain go down your legs? What makes it better?",
        "Is there any numbness or tingling?",
    ),
    "zh": (
        "小便正常吗？会阴部麻木吗？腿上有没有无力？",
        "发烧吗？得过癌症吗？最近摔过吗？",
        "大便怎么样？是双腿都有吗？在加重吗？",
        "有没有糖尿病、注射或免疫力低？夜间更痛吗？体重有变化吗？",
        "有没有骨质疏松或用过激素？有没有强直性脊柱炎？性功能有变化吗？",
        "有多久了？疼痛往腿上放射吗？什么情况下会缓解？",
        "有没有麻木？",
    ),
}
_SAY = {
    "en": "Thank you. Please act on this: URGENCY: {word}",
    "zh": "谢谢。请据此处理。紧急程度：{word}",
}
_WORDS = {"en": {}, "zh": {"emergency": "急诊", "urgent": "尽快", "routine": "常规"}}
_EMERGENCY = (
    r"(?:hardly pass water|soiled|press to empty|dead between|saddle area|around my (?:seat|bottom)).*",
    r"尿不出|大便失禁|用力才能排出|没有感觉|会阴部发木|是麻的|感觉比以前差",
)
_STRONG = re.compile("|".join(_EMERGENCY))
_WEAK = re.compile(
    r"give way|stand on my toes|legs feel weak|heavy and weak|does not obey|打软|踮不起|发软|无力。|不太听使唤"
)
_FOOT = re.compile(r"cannot lift it|脚抬不起来")
_STIFF = re.compile(r"have had ankylosing|得强直性脊柱炎")
_ALARM = re.compile(
    r"38\.5|chills twice|39 degrees|inject drugs|had breast cancer|My prostate cancer"
    r"|lung cancer|sat down hard|cortisone for"
    r"|38\.5度|打过.*寒战|39度|注射毒品|得过乳腺癌|治过前列腺癌|治肺癌|坐到地上|吃激素好多年"
)


class ScriptedPhysician:
    """A physician who follows a script.

    Args:
        script: `ideal` asks for everything that matters and reads the answers; `careless` advises at once; `anxious`
            asks as much and calls everything an emergency.
    """

    kind = "scripted"

    def __init__(self, script: Script) -> None:
        self.script = script
        self.model = f"{script}-physician"

    @property
    def identity(self) -> dict[str, Any]:
        """The script by name, and its words by hash."""
        return {"script": self.script, "words_sha256": content_hash([_QUESTIONS, _SAY])}

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """The next turn of each conversation."""
        return [Reply(self._turn(request)) for request in requests]

    def _turn(self, request: Request) -> str:
        asked = sum(turn.role == "assistant" for turn in request.messages)
        words = " ".join(turn.content for turn in request.messages if turn.role == "user")
        language = "zh" if re.search(r"[\u4e00-\u9fff]", words) else "en"
        if self.script == "careless":
            return _declare(language, "routine")
        if asked < len(_QUESTIONS[language]):
            return _QUESTIONS[language][asked]
        return _declare(language, "emergency" if self.script == "anxious" else _urgency(words))


def _urgency(words: str) -> Urgency:
    if _STRONG.search(words) or _WEAK.search(words) or _STIFF.search(words):
        return "emergency"
    return "urgent" if _FOOT.search(words) or _ALARM.search(words) else "routine"


def _declare(language: str, urgency: str) -> str:
    return _SAY[language].format(word=_WORDS[language].get(urgency, urgency))


class MajorityPhysician:
    """Asks nothing and declares the urgency that is right most often among the cases, which it is told."""

    kind = "majority"
    model = "majority"

    def __init__(self, samples: Iterable[Sample]) -> None:
        counted = Counter(sample.answer for sample in samples)
        self.urgency = min(counted, key=lambda answer: (-counted[answer], answer))

    @property
    def identity(self) -> dict[str, Any]:
        """The constant answer."""
        return {"rule": "majority", "urgency": self.urgency, "rules_sha256": load_rules().sha256}

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """The same words to each."""
        return [Reply(_declare("en", self.urgency)) for _ in requests]
