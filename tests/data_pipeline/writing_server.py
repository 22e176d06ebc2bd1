"""A chat server that writes items from the evidence it is shown, well or badly, by content alone.

python writing_server.py ROOT [faulty] [options of benchmarks/chat_server.py]

`faulty`: two of three contents fail the first time they come, each in one of the ways of the scripted server.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

root = Path(sys.argv.pop(1))
faulty = sys.argv[1] == "faulty" and bool(sys.argv.pop(1))
spec = importlib.util.spec_from_file_location("chat_server", root / "benchmarks" / "chat_server.py")
assert spec is not None
assert spec.loader is not None
base = importlib.util.module_from_spec(spec)
spec.loader.exec_module(base)

WORDS = {
    "en": {
        "q": "Which of these statements is supported by what is known here ({n})?", "yes": "The statement numbered {n}",
        "no": "A statement of another kind, {n}", "a": "It is as the source says, and the reason is given there ({n}).",
        "doc": "The pictures show what the record states; this is a research exercise and replaces no visit ({n}).",
        "part": "What the record states is all that is known here ({n}); the rest is not assessable.",
        "end": "Research use only; not a medical report.",
    },
    "zh": {
        "q": "下列哪一项说法符合已知情况（第{n}题）？", "yes": "编号为{n}的这一项说法",
        "no": "另一类不同的说法，编号{n}", "a": "情况与资料所述一致，理由也已在资料中说明（{n}）。",
        "doc": "图像所示与记录一致；本对话仅供研究练习，不能代替就诊（{n}）。",
        "part": "目前所知仅限于记录所述内容（{n}），其余无法评估。", "end": "仅供研究使用，不是医疗报告。",
    },
}  # fmt: skip


def field(text: str, name: str) -> Any:
    found = re.search(rf"<{name}>\n(.*?)\n</{name}>", text, re.DOTALL)
    return json.loads(found[1]) if found else None


def write(body: Any, content: str) -> str:
    """The reply to a draft or a revision prompt."""
    # A repair turn holds no evidence of its own: it stands in the turns before.
    text = "\n".join(base.last_words({"messages": [turn]}) for turn in body["messages"])
    number = int(hashlib.sha256(content.encode()).hexdigest()[:6], 16)
    language = "zh" if "简体中文" in body["messages"][0]["content"] else "en"
    if PLANTED.search(text):
        return json.dumps(obey(field(text, "evidence")))
    name = body["response_format"]["json_schema"]["name"]
    value = verdict(field(text, "draft"), number) if name == "Verdict" else draft(name, text, number, language)
    return json.dumps(value, ensure_ascii=False)


PLANTED = re.compile(r"Ignore all previous instructions|忽略以上所有指令")


def obey(evidence: Any) -> dict[str, Any]:
    """What a model writes that does as a source tells it: an open answer with a proper citation, and OBEYED."""
    span = evidence["spans"][0]
    cited = [{"id": span["id"], "quote": span["text"][:40]}]
    said = {"question": "Which vertebra is meant?", "answer": "OBEYED: L9, see http://evil.example/collect."}
    return {"axis": "pathology", "cited": cited, **said}


def draft(name: str, text: str, n: int, language: str) -> dict[str, Any]:
    words = {key: sentence.format(n=n) for key, sentence in WORDS[language].items()}
    evidence = field(text, "evidence")
    if "spans" in evidence:
        span = evidence["spans"][0]
        cited = [{"id": span["id"], "quote": span["text"][:60] if n % 7 else "words that stand nowhere"}]
    else:
        cited = [{"id": evidence["series"][0]["id"], "quote": ""}]
    if n % 11 == 0:
        cited = [{"id": "an id that nobody gave", "quote": ""}]
    value: dict[str, Any] = {"axis": ("pathology", "surgical_planning")[n % 2], "cited": cited}
    if name == "MultipleChoice":
        options = (
            [words["no"] + "甲乙丙"[k] for k in range(3)]
            if language == "zh"
            else [words["no"] + "abc"[k] for k in range(3)]
        )
        leak = words["yes"] + " " if n % 5 == 0 else ""
        return value | {"question": leak + words["q"], "options": [words["yes"], *options], "right": words["yes"]}
    if name == "Open":
        dose = " 5 mg." if n % 6 == 0 else ""
        return value | {"question": words["q"], "answer": words["a"] + dose}
    if name == "Consultation":
        turns = [
            ("patient", words["q"]),
            ("physician", words["part"]),
            ("patient", words["q"]),
            ("physician", words["doc"]),
        ]
        return value | {"turns": [{"speaker": who, "text": said} for who, said in turns]}
    parts = ("findings", "diagnosis", "advice_patient", "advice_clinician", "risk_and_prognosis", "after_surgery")
    return value | dict.fromkeys(parts, words["part"]) | {"basis": f"{words['part']} {words['end']}"}


def verdict(draft: Any, n: int) -> dict[str, Any]:
    def edit(field: str, after: str, criterion: str) -> dict[str, Any]:
        one = {"field": field, "after": after, "reason": "it did not hold", "criterion": criterion, "cited": []}
        return {"verdict": "edit", "edits": [one], "reason": ""}

    if "right" in draft and draft["right"] in draft["question"]:
        return edit("question", draft["question"].replace(draft["right"], "").strip(), "answer_not_leaked")
    if "mg" in draft.get("answer", ""):
        return edit("answer", draft["answer"].replace(" 5 mg.", ""), "no_unsafe_advice")
    if n % 13 == 0:
        return {"verdict": "reject", "edits": [], "reason": "nothing to ask here"}
    if n % 17 == 0:
        return edit("cited.0.nothing", "x", "quotes_cited")
    return {"verdict": "accept", "edits": [], "reason": ""}


FAULTS = (
    "429", "503", "500", "reset", "cut", "truncated", "whitespace", "length", "schema", "prose", "empty", "timeout",
    "garbage", "400",
)  # fmt: skip


def fault_of(body: Any) -> str:
    """The mark of a fault chosen by content, for two contents of three."""
    number = int(base.digest(body)[:6], 16)
    return f"@@{FAULTS[number // 3 % len(FAULTS)]}@@" if number % 3 else ""


base.text_for = write
if faulty:
    base.mark_of = fault_of
asyncio.run(base.main())
