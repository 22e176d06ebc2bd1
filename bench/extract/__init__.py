"""From a reply to a canonical answer, by rules alone: the same reply always gives the same answer, or none.

Convention: an answer is read only where it cannot be doubted. In this order:

1. Reasoning between `<think>` tags and their kin is taken out; a reply whose reasoning never ends is unparsed.
2. Where the reply declares its answer (`\\boxed{}`, JSON, "Answer: ...", "the answer is ...", "答案：..."), only
   declarations count, each up to the end of its sentence; the last one that holds an answer wins. After them comes
   "the marked vertebra is ..." and its like, then the reply as a whole.
3. The answer is read by kind: vertebrae and discs through `spinemed.anatomy`, the only place where a text becomes a
   level; options by their letter or by the exact text of one option; numbers with their unit; others by their words.
4. Two different answers, an answer relative to another ("the vertebra above L4") or only a denial ("not L3") give
   `unparsed`. Nothing is ever matched to the nearest text.

A reply that says that the question cannot be decided gives "not determinable", which is an answer (an abstention) for
every kind; where an option says so, it is that option. A reply that declines to answer is `refused`. `unparsed` and
`refused` count as wrong and are counted apart; a cut reply and a failed request are outcomes of the prediction.

A confidence is read where the reply states a number for it ("85 %", "0.85", "8/10"); a word ("high") is no number.

Trap: "A" is a letter and an article, "T2" a vertebra and an MR weighting, "L4/5" a disc and never the vertebra L4,
"right" a side and a judgement.
"""

from bench.extract.question import Question, question_of
from bench.extract.read import Extraction, extract, extract_answer

__all__ = ["Extraction", "Question", "extract", "extract_answer", "question_of"]
