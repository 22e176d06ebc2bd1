"""The words and signs by which people and models name levels: pure tables, no logic.

`levels` come as codes ("L4", "Th7", "D12", "L 3", "C-2"), English words ("fifth lumbar", "lumbar vertebra 5", "atlas"),
and Chinese ("腰4", "第五腰椎", "骶1"). The words beside a code decide what it is: "S1 nerve root", "L4-5 disc",
"T2-weighted".

The trap: every pattern here is bounded (no nested or open repetition), so that a scan takes time linear in the text
whatever stands in it. Keep it so. Patterns run on the text after `fold`, which never changes its length.
"""

from __future__ import annotations

import re

from spinemed.anatomy.levels import Region

__all__ = ["fold"]

_DASHES = "‐‑‒–—―−﹘﹣－~～〜∼"
_SLASHES = "⁄∕／╱"
_SPACES = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_FOLD = {
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)},  # full-width forms
    **{0x2080 + digit: ord("0") + digit for digit in range(10)},  # subscript digits, as in L₄
    **{ord(sign): ord("-") for sign in _DASHES},
    **{ord(sign): ord("/") for sign in _SLASHES},
    **{ord(sign): ord(" ") for sign in _SPACES},
}


def fold(text: str) -> str:
    """Full-width and typographic signs to plain ones, one for one, so that offsets stay those of the given text."""
    return text.translate(_FOLD)


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.ASCII)


REGION_OF_WORD = {
    "c": Region.CERVICAL,
    "t": Region.THORACIC,
    "th": Region.THORACIC,
    "d": Region.THORACIC,
    "l": Region.LUMBAR,
    "s": Region.SACRAL,
    "cervical": Region.CERVICAL,
    "thoracic": Region.THORACIC,
    "dorsal": Region.THORACIC,
    "lumbar": Region.LUMBAR,
    "sacral": Region.SACRAL,
    "颈": Region.CERVICAL,
    "頸": Region.CERVICAL,
    "胸": Region.THORACIC,
    "腰": Region.LUMBAR,
    "骶": Region.SACRAL,
    "荐": Region.SACRAL,
    "薦": Region.SACRAL,
}

_ORDINALS = (
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
    "thirteenth",
)
_ROMANS = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii")
_CHINESE = ("一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二", "十三")
NUMBER_OF_WORD = {
    word: number for words in (_ORDINALS, _ROMANS, _CHINESE) for number, word in enumerate(words, start=1)
}

# Names of single vertebrae. Those in WEAK_NAMES are everyday words too and need company in free text.
NAMES = {
    "occiput": (Region.CERVICAL, 0),
    "atlas": (Region.CERVICAL, 1),
    "axis": (Region.CERVICAL, 2),
    "寰椎": (Region.CERVICAL, 1),
    "枢椎": (Region.CERVICAL, 2),
    "樞椎": (Region.CERVICAL, 2),
    "coccyx": (Region.COCCYGEAL, 1),
    "尾骨": (Region.COCCYGEAL, 1),
    "尾椎": (Region.COCCYGEAL, 1),
}
WEAK_NAMES = frozenset({"occiput", "atlas", "axis"})
JOINTS = {
    "atlantooccipital": ((Region.CERVICAL, 0), (Region.CERVICAL, 1)),
    "atlantoaxial": ((Region.CERVICAL, 1), (Region.CERVICAL, 2)),
    "寰枕": ((Region.CERVICAL, 0), (Region.CERVICAL, 1)),
    "寰枢": ((Region.CERVICAL, 1), (Region.CERVICAL, 2)),
}

# A code may follow Chinese or punctuation directly, but no letter or digit of another word.
LETTER = "0-9A-Za-z_\u00c0-\u024f\u0370-\u052f"
_LEFT = f"(?<![{LETTER}])"
_NUMBER_END = r"(?!\d|\.\d)"
_REGION = "cervical|thoracic|dorsal|lumbar|sacral"
_ORDINAL = r"\d{1,2}(?:st|nd|rd|th)|" + "|".join(_ORDINALS)
_ROMAN = "xiii|xii|xi|viii|vii|vi|iv|ix|iii|ii|i|v|x"
_ZH_NUMBER = r"\d{1,2}|十[一二三]?|[一二三四五六七八九]"
_ZH_SEP = r"[ ]?[、,/-][ ]?|和|及|与|至|到"
_EN_SEP = r",[ ]?(?:and[ ])?|[ ](?:and|or|to|through)[ ](?:the[ ])?|[ ]?[/-][ ]?"

CODE_BODY = r"(?P<letter>th|[ctdls])(?P<gap>\.[ ]?|[ -])?(?P<num>\d{1,2})" + _NUMBER_END
CHINESE_BODY = rf"(?P<zh>[颈頸胸腰骶荐薦])(?P<zhgap>椎?第?[ ]?)(?P<zhnum>{_ZH_NUMBER}){_NUMBER_END}"
NAME_BODY = "(?P<name>" + "|".join(NAMES) + ")"

# One alternative per way of naming; `mentions` reads the groups.
START = _compile(
    "|".join(
        (
            _LEFT + CODE_BODY,
            CHINESE_BODY,
            rf"第(?P<zhlist>(?:{_ZH_NUMBER})(?:(?:{_ZH_SEP})第?(?:{_ZH_NUMBER})){{0,5}})[节節个個]?"
            r"(?P<zhregion>[颈頸胸腰骶荐薦])椎",
            rf"{_LEFT}(?P<ordinals>(?:{_ORDINAL})(?:(?:{_EN_SEP})(?:{_ORDINAL})){{0,5}})[ -](?P<region>{_REGION})"
            rf"(?![{LETTER}])",
            rf"{_LEFT}(?P<lead>{_REGION})(?:[ ](?:vertebra|vertebral[ ]body|level|segment|nerve[ ]root|disc|disk))?"
            rf"[ ](?:no\.?[ ]?|number[ ])?(?P<leadnum>\d{{1,2}}|{_ROMAN})(?![{LETTER}]|\.\d)",
            _LEFT + NAME_BODY + f"(?![{LETTER}])",
            _LEFT + r"(?P<joint>atlanto-?axial|atlanto-?occipital|寰枢|寰枕)",
            _LEFT + f"(?P<sacrum>sacrum|骶骨|荐骨|薦骨)(?![{LETTER}])",
            _LEFT + r"(?P<coccygeal>coccygeal[ ](?:spinal[ ])?(?:nerve[ ]root|nerve|root))s?" + f"(?![{LETTER}])",
        )
    )
)
LIST_ITEM = _compile(rf"(?P<sep>{_ZH_SEP}|{_EN_SEP})?第?(?P<item>{_ORDINAL}|{_ZH_NUMBER})")

# How a second vertebra is joined to the first.
JOIN = _compile(
    r"(?P<slash>[ ]?/[ ]?)|(?P<dash>[ ]?-[ ]?)|"
    r"(?P<to>\s(?:to|through|thru|until)\s|[ ]?[至到…][ ]?|\.{2,3})|"
)
NEXT = _compile(f"{CODE_BODY}|{CHINESE_BODY}|{NAME_BODY}(?![{LETTER}])")
_UNIT = (
    r"[ -]?(?:mm|cm|ml|mg|kg|dm|km|m|g|%|°|°c|hz|days?|weeks?|months?|years?|hours?|hrs?|min|minutes?|times|fold|"
    rf"points?|patients?|cases?|mmol|x|of)(?![{LETTER}])|[ ]?[度级周天月岁年次点倍厘毫寸分例个]"
)
BARE = _compile(rf"(?P<bare>\d{{1,2}})(?!\d|\.\d|[{LETTER}%°])(?!{_UNIT})")
MEASURE = _compile(_UNIT)
LIST_JOIN = _compile(r"[ ]?(?:,[ ]?(?:and[ ]|or[ ])?|、|&|\+|和|及|与|或)[ ]?|[ ](?:and|or)[ ]")
SPAN_JOIN = _compile(
    r"(?:[ ](?:vertebra|vertebral[ ]body|level))?(?:[ ](?:to|through|thru)[ ](?:the[ ])?|[ ]?-[ ]?|[ ]?[至到][ ]?)"
)
BETWEEN_JOIN = _compile(r"\s(?:and|&)\s(?:the\s)?|[和与]")
LISTED = _compile(
    r"-?\s{0,2}(?:,\s{0,2}(?:and\s|or\s)?|;\s?|/|、|&|\+|\b(?:and|or|vs\.?)\b|和|及|与|或)\s{0,2}(?:the\s)?"
)
BOUND = _compile(f"(?![{LETTER}])")
MARKS = " \t\r\n.,;:()[]{}*_`\"'!?、。"
ENDING = _compile(r"\s{0,2}(?:\Z|[.,;:)\]、。])")

# Words behind a mention that say what it is. Adjectives may stand between.
_ADJECTIVES = (
    r"(?:\s{0,3}|-)(?:(?:left|right|bilateral|superior|inferior|anterior|posterior|upper|lower|exiting|traversing|"
    r"spinal|ventral|central|paracentral|subarticular|foraminal|mild|moderate|severe|acute|chronic|old|healed|"
    r"osteoporotic|degenerative|degenerated|intervertebral|neural|pathologic(?:al)?)[\s-]){0,3}"
)


def _behind(words: str) -> re.Pattern[str]:
    return _compile(rf"{_ADJECTIVES}(?:{words})")


def _before(words: str) -> re.Pattern[str]:
    return _compile(rf"(?:{words})\s?[:(]?\s{{0,2}}\Z")


ROOT_BEHIND = _behind(
    r"(?:nerve|root|radicul[a-z]{1,9}|dermatom[a-z]{1,4}|myotom[a-z]{1,4})(?:s|[ ]roots?)?(?![a-z])|"
    r"[脊骶腰颈胸]?神经"
)
DISC_BEHIND = _behind(
    r"(?:dis[ck]s?|dis[ck]ectom(?:y|ies)|interspaces?|ivds?|(?:micro)?dis[ck]ectomy|herniations?|herniated|protrusions?|"
    r"extrusions?|bulg(?:e|es|ing))(?![a-z])|椎?间盘|椎?间隙"
)
SEGMENT_BEHIND = _behind(
    r"(?:facets?|zygapo[a-z]{1,12}|foram[a-z]{1,6}|(?:motion[ ])?segments?|(?:spondylo|antero|retro)?listhes[ie]s|"
    r"interlaminar|interspinous)(?![a-z])|椎?间孔|小关节|节段|运动节段"
)
SEVERAL_BEHIND = _behind(
    r"(?:vertebrae|vertebral|vertebras|bodies|fractures|corpectom(?:y|ies)|vertebroplast(?:y|ies)|"
    r"kyphoplast(?:y|ies)|laminectom(?:y|ies)|laminae|pedicles?|endplates)(?![a-z])|椎体"
)
LEVELS_BEHIND = _behind(r"levels(?![a-z])")
LEVEL_BEHIND = _behind(r"level(?![a-z])|水平")
BONE_BEHIND = _behind(
    r"(?:vertebra[a-z]?|vertebral|bod(?:y|ies)|fractur[a-z]{1,4}|burst|wedg[a-z]{1,4}|compress[a-z]{1,4}|crush|"
    r"collaps[a-z]{1,3}|pedic[a-z]{1,4}|lamina[a-z]?|laminectom(?:y|ies)|spinous|transverse[ ]process|end-?plates?|"
    r"corpectom(?:y|ies)|vertebroplast(?:y|ies)|kyphoplast(?:y|ies)|metasta[a-z]{1,4}|dens|odontoid|arch)(?![a-z])|"
    r"椎|压缩|骨折|棘突|终板|横突"
)
CORD_BEHIND = _behind(
    r"(?:spinal[ ])?cord[ ](?:segment|level)|neurological[ ]level|(?:para|tetra|quadri)pleg[a-z]{1,3}|"
    r"(?:AIS|ASIA)(?![a-z])"
)
# A range that ends at a bone of more than one level.
RUNS_ON = _compile(
    r"(?:[ ]?[-/][ ]?|\s(?:to|through|thru)\s(?:the\s)?)"
    r"(?:sacrum|sacral|pelvis|pelvic|ilium|iliac|s(?![0-9a-z])|骶骨|骨盆|髂)"
)
# These are not the spine at all.
OTHER_BEHIND = _compile(
    r"[\s-]{0,2}(?:inhibitors?|esterase|deficien[a-z]{1,4}|thyrox[a-z]{1,3}|hormones?|lymphocyt[a-z]{1,3}|cells?|"
    r"toxicosis|diabetes|dm|evidence(?![ ]of)|recommendations?|gliomas?|convertase|receptors?|domains?|norm|"
    r"loss(?![ ]of)|regulari[sz][a-z]{1,6}|penalty|languages?|heart[ ]sounds?|gallop|n[0-3x](?:m[01x])?)(?![a-z])|"
    r"[+]c(?![a-z])"
)
MR_BEHIND = _compile(
    r"(?:[\s-]{0,2})(?:(?:weight[a-z]{0,4}|w|wi|star|signals?|signal[a-z]{1,4}|(?:hyper|hypo|iso)-?(?:intens|signal)"
    r"[a-z]{0,4}|bright|dark|images?|imaging|sequences?|map[a-z]{0,4}|relax[a-z]{1,6}|fat[ -]?sat[a-z]{0,7}|"
    r"fat[ -]?suppress[a-z]{0,4}|fs|stir|flair|tse|fse|spin[ -]?echo|gre|mri?|scans?|contrast|gad[a-z]{0,8}|"
    r"post[ -]?contrast|post[ -]?gad[a-z]{0,8}|sag|sagittals?|axials?|coronals?|prolong[a-z]{1,6}|shorten[a-z]{1,4}|"
    r"times?|values?|dixon|vibe)(?![a-z]))|[ ]?(?:[高低等长短稍混]{0,3}信号|加权|像|压脂|抑脂|序列|相|呈|值)"
)
STAGE_BEHIND = _compile(r"[\s-]{0,2}(?:tumou?rs?|lesions?|cancers?|carcinomas?|disease)(?![a-z])")

ROOT_BEFORE = _before(r"\b(?:roots?|dermatomes?|myotomes?|radiculopathy|ganglion)(?:[ ]of)?(?:[ ]the)?|神经根?")
DISC_BEFORE = _before(
    r"(?:\b(?:dis[ck]s?|interspaces?|herniat(?:ion|ions|ed)|protrusions?|extrusions?|bulg(?:e|es|ing))|椎?间盘)"
    r"(?:[ ](?:space|herniation|bulge|bulging|protrusion|extrusion|degeneration|disease|level|narrowing)){0,2}"
    r"(?:[ ](?:at|of|between|in|involving))?(?:[ ]the)?"
)
BETWEEN_BEFORE = _before(r"\bbetween(?:[ ]the)?")
BONE_BEFORE = _before(
    r"\b(?:vertebrae?|vertebral[ ]bod(?:y|ies)|bod(?:y|ies)|levels?|at|fractures?|process|lamina|pedicles?|arch)"
    r"(?:[ ](?:of|at|in|is|was))?(?:[ ]the)?|椎体?"
)
CORD_BEFORE = _before(r"\b(?:sensory|motor|neurological|cord)[ ](?:levels?|segments?)(?:[ ](?:of|at|is))?")
OTHER_BEFORE = _before(
    r"\b(?:tables?|tab\.|fig\.?|figs\.?|figures?|appendix|supplement(?:ary)?|eq\.?|equations?|chapters?|movies?|"
    r"videos?|grades?|class|category|categories|type|subtype|stages?|groups?|steps?|schemes?|refs?\.?|vitamins?|hepatitis|"
    r"complement|free|leads?|factor|day|version|protocol|isoform|anti)(?:[ ]is)?[- ]?"
)
MR_BEFORE = _before(
    r"(?:\b(?:sag|sagittal|axial|coronal|transverse|transaxial|turbo|fat[- ]?sat[a-z]{0,7}|fat[- ]?suppressed|enhanced|"
    r"post-?contrast|weighted|mri?|stir|flair|tse|fse)|(?<!\d[ ])\bon|矢状位?|轴位|横断位?|冠状位?|压脂|抑脂|"
    r"增强)[ ,:/-]{0,2}"
)

# Subjects whose abbreviations look like levels: the codes, and the words that give the subject away nearby.
SUBJECTS = (
    (frozenset({"T3", "T4"}), _compile(r"thyro|\btsh\b|triiodo|甲状腺|甲功")),
    (frozenset({"C1", "C3", "C4", "C5"}), _compile(r"\bcomplements?\b|\bc1q\b|补体")),
    (frozenset({"S1", "S2", "S3", "S4"}), _compile(r"heart sound|gallop|murmur|auscult|心音")),
    (frozenset({"T1", "T2", "T3", "T4"}), _compile(r"\btnm\b|\bn[0-3][a-c]?\s?m[01x]\b|tumou?r stag|cancer stag")),
)
WINDOW = 80

FILLER = _compile(
    rf"\b(?:the|a|an|at|of|in|is|from|between|levels?|vertebrae?|vertebral|bod(?:y|ies)|(?:motion[ ])?segments?|"
    rf"dis[ck]s?|spaces?|interspaces?|intervertebral|ivd|nerves?|roots?|spinal|spine|column|(?P<region>{_REGION})|lumbosacral|"
    r"thoracolumbar|cervicothoracic|and|or|joint)\b|椎间盘|间盘|椎间隙|间隙|节段|椎体|腰椎|胸椎|颈椎|骶椎|椎|体|"
    r"水平|神经根|神经|根|关节|第|节|[\s.,;:()\[\]、。,;:&+\"'*`]"
)
