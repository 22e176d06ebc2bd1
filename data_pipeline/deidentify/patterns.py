# ruff: noqa: E501 -- a pattern broken over lines is harder to read than a long one
"""The patterned identifiers of the HIPAA categories, in English and Chinese: pure tables, no logic.

Convention: a pattern's group `v` is what is masked (the cue before it stays, so that the sentence still reads); without
that group the whole match is. Patterns run on text after `fold`, which keeps offsets. A `loose` pattern yields to a
term of the spine or a level that it touches; any other only when nothing of it is left beside them.

Trap: every repetition is bounded, so a scan takes time linear in the text whatever stands in it. Keep it so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["CATEGORIES", "PATTERNS", "Pattern"]

CATEGORIES = (
    "name", "geography", "date", "age", "phone", "fax", "email", "ssn", "record", "plan", "account", "licence",
    "vehicle", "device", "url", "ip", "biometric", "photo", "other",
)  # fmt: skip
"""45 CFR 164.514(b)(2)(i)(A)-(R); ages above 89 belong to the dates and are counted apart."""


@dataclass(frozen=True)
class Pattern:
    """One rule."""

    category: str
    name: str
    regex: re.Pattern[str]
    loose: bool = False
    guess: bool = False
    """Found by circumstance, not by form (a name after a title): masked, and counted apart."""


def _p(category: str, name: str, text: str, *, loose: bool = False, guess: bool = False, case: bool = False) -> Pattern:
    return Pattern(category, name, re.compile(text, re.ASCII if case else re.ASCII | re.IGNORECASE), loose, guess)


_B, _E = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)"
)
_Y, _M, _D = r"(?:19|20)\d\d", r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_ZH_DIGIT = "[零〇○一二三四五六七八九]"
_ZH_DAY = r"(?:\d{1,2}|[一二三四五六七八九十廿]{1,3})"
_TIME = r"(?:[ T]{1,2}\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:?\d{2})?)?"

# A token that identifies: letters and digits, at least two digits.
_TOKEN = (
    r"(?P<v>(?=[A-Za-z0-9/_.\-]{0,30}\d[A-Za-z/_.\- ]{0,3}\d)(?=(?:[A-Za-z/_.\- ]{0,12}\d){3}|[\d/_.\-]{0,6}[A-Za-z])"
    r"[A-Za-z0-9](?:[A-Za-z0-9/_.\-]|(?<=\d) (?=\d)){1,34}(?<![/_.\-]))(?![A-Za-z0-9])"
    r"(?![ ]?(?:patients|cases|slices|images|mm|cm|ml|mg|%|days|weeks|months|years|hours|minutes|例|张|层|天|周|月|年))"
)
_LINK = (
    r"(?:[ \t]{0,2}(?:no\b\.?|number|num\b\.?|nr\b\.?|id\b|code|card|#|№|is|was|of|reads?|the|号码|编号|卡号|号|码|为|是|[:=.(（\[]|ending in|尾号))"
    r"{0,5}[ \t]{0,2}[\"']?"
)


def _cued(category: str, cues: str, *, name: str = "") -> Pattern:
    return _p(category, name or f"{category} after its cue", rf"(?:(?<![A-Za-z])(?:{cues})){_LINK}{_TOKEN}")


_CAP = r"[A-ZÀ-Þ][A-Za-zÀ-ÿ'’\-]{1,24}"
_INITIAL = r"[A-Z]\."
_PARTICLE = r"(?:van|von|der|den|de|da|del|di|du|la|le|bin|ibn|al|el|ter|ten)"
_PERSON = rf"(?:{_CAP}|{_INITIAL})(?:[ ](?:{_PARTICLE}[ ]){{0,2}}(?:{_CAP}|{_INITIAL})){{0,3}}"
_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Place|Pl|Way|Terrace|Ter|Circle|Cir|"
    r"Parkway|Pkwy|Highway|Hwy|Square|Sq|Close|Crescent|Trail|Row|Mews|Quay)"
)
_HOUSE = (
    r"(?:Hospital|Hospitals|Clinic|Clinics|Medical[ ]Cent(?:er|re)|Health[ ]Cent(?:er|re)|Infirmary|Hospice|"
    r"Nursing[ ]Home|Care[ ]Home|Rehabilitation[ ]Cent(?:er|re)|Surgery[ ]Cent(?:er|re)|Health[ ]System|Healthcare|"
    r"University|College|School|Institute|Imaging[ ]Cent(?:er|re)|Radiology[ ](?:Associates|Group|Partners)|Pharmacy|"
    r"Sanatorium|Polyclinic)"
)
_HAN = r"[\u4e00-\u9fff]"
_SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜"
    "范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文庞樊兰殷施陶洪翟安颜倪严牛温芦季俞章鲁"
    "葛伍韦申尤毕聂丛焦向柳邢路岳齐沿梅莫庄辛管祝左涂谷祁时舒耿牟卜路詹关苗凌费纪靳盛童欧甄项曲成游阳裴席卫查屈鲍位覃霍翁隋"
    "植甘景薄单包司柏宁柯阮桂闵解强柴华车冉房边辜吉饶刁瞿戚丘古米池滕晋苑邬臧畅宫来嵺苟全褚廉简娄盖符奚木穆党燕郎邸冀谈姬屠连郜晏"
)
# Surnames that are everyday words after "患者": there they need a colon or a title.
_PLAIN_SURNAMES = "".join(c for c in _SURNAMES if c not in "于曾向时常左成安高方全来单解强关连位边查阳文易")
_COMPOUND = "欧阳|司马|上官|诸葛|东方|皇甫|尉迟|公孙|慕容|令狐|司徒|夏侯|长孙|宇文"
_NOT_GIVEN = (
    "主因于在自来入住男女性的了诉称述为是以近曾行伴无有即与和及向到出并已拟请现今年岁术后先医老教护我你他她其该本每各双左右上下"
    "前目感觉考虑诊查体被给从经未不可能需要会将对于说认知表示同意签，。、；：,.;:()（） \t\n\"'0123456789"
)
_GIVEN = rf"(?:(?![{_NOT_GIVEN}]){_HAN}){{1,2}}"
_ZH_PLAIN = rf"(?:(?:{_COMPOUND})|[{_PLAIN_SURNAMES}]){_GIVEN}"
_ZH_STOP = "在于至到由从往赴经转，。、；：,.;:()（） \t\n我本外该某当原入进住就来去回赶送"
_ZH_PLACE = rf"(?:(?![{_ZH_STOP}]){_HAN})"

_NAMES = (
    _p("name", "after a title", rf"(?<![A-Za-z])(?:Mr|Mrs|Ms|Miss|Mx|Dr|Drs|Prof|Professor|Doctor|Nurse|Rev|Sgt|Capt)\.?[ ]{{1,2}}(?P<v>{_PERSON})", guess=True, case=True),
    _p("name", "before a degree", rf"(?<![A-Za-z])(?P<v>{_CAP}(?:[ ](?:{_CAP}|{_INITIAL})){{1,3}}),?[ ](?:MD|M\.D\.|PhD|RN|DO|FRCS|FRCR|NP|PA-C|DPT|MBBS|R\.N\.)(?![A-Za-z])", guess=True, case=True),
    _p("name", "after a role", rf"(?<![A-Za-z])(?i:patient(?:'s)?[ ]name|full[ ]name|name|signed(?:[ ]electronically)?(?:[ ]by)?|(?:reported|dictated|read|interpreted|verified|approved|reviewed|transcribed|performed|referred|accompanied|seen)[ ]by|attending(?:[ ]physician)?|(?:assistant[ ])?surgeon|(?:referring|treating|family)[ ]physician|anaesthetist|anesthesiologist|radiologist|technologist|operator|cc|contact|next[ ]of[ ]kin|emergency[ ]contact|daughter|son|wife|husband|mother|father|brother|sister|spouse|partner|friend|neighbou?r|carer|caregiver|cousin|(?:spoke|discussed|conferred)[ ]with|called|dear)(?:[ ]?[:,][ ]?|[ ](?:is|was|named)[ ]|[ ])(?i:(?:dr|mr|mrs|ms|prof)\.?[ ])?(?P<v>{_PERSON})", guess=True, case=True),
    _p("name", "Chinese, after a role", rf"(?:姓名|患者姓名|联系人|签名|签字|报告医[师生]|审核医[师生]|主治医[师生]|手术医[师生]|经治医[师生]|记录者|记录人|术者|主刀|助手|麻醉医?[师生者]|护士|委托人|代理人|报告者|审核者|检查者|技师|申请医[师生])[ ]?[:为是][ ]{{0,2}}(?P<v>(?:(?:{_COMPOUND})|[{_SURNAMES}])(?:{_HAN}{{1,2}}(?!{_HAN})|{_GIVEN}))", guess=True),
    _p("name", "Chinese, after a kinship or patient", rf"(?:患者|病人|家属|[其他她患][妻夫子女母父弟妹兄姐]|女儿|儿子|丈夫|妻子|母亲|父亲|配偶|陪同人?|由)(?P<v>{_ZH_PLAIN})", guess=True),
    _p("name", "Chinese, before a role", rf"(?<![主副])(?P<v>(?:(?:{_COMPOUND})|[{_PLAIN_SURNAMES}]){_HAN}{{0,2}}?)(?=(?:主治|主任|副主任|住院)?(?:医生|医师|大夫|教授|护士长|护士|先生|女士|小姐|院长|技师|某)|主任)", guess=True, loose=True),
    _p("name", "Chinese, 某 for a given name", rf"(?P<v>[{_PLAIN_SURNAMES}]某{{1,2}})", guess=True),
)  # fmt: skip

_GEOGRAPHY = (
    _p("geography", "street", rf"(?<![\w.])\d{{1,6}}[A-Za-z]?[ ](?:[NSEW]\.?[ ])?(?:[A-Z0-9][\w'.\-]{{0,24}}[ ]){{1,4}}{_STREET}\b\.?(?:,?[ ](?:Apt|Apartment|Suite|Ste|Unit|Flat|Room|#)\.?[ ]?\w{{1,6}})?(?:,[ ][A-Z][\w.\- ]{{1,30}})?(?:,?[ ][A-Z]{{2}}(?:[ ]\d{{5}}(?:-\d{{4}})?)?)?", case=True),
    _p("geography", "state and ZIP", r"(?:(?<![A-Za-z])[A-Z][a-z]+(?:[ ][A-Z][a-z]+){0,2},[ ])?(?<![A-Z])[A-Z]{2}[ ]\d{5}(?:-\d{4})?(?!\d)", case=True),
    _p("geography", "post box", r"P\.?[ ]?O\.?[ ]?Box[ ]\d{1,7}"),
    _p("geography", "postcode after its cue", r"(?:zip(?:[ ]?code)?|post(?:al)?[ ]?code|邮编|邮政编码)[ :是为]{0,4}(?P<v>[A-Z0-9][A-Z0-9 \-]{2,9}[A-Z0-9])"),
    _p("geography", "place after its cue", rf"(?<![A-Za-z])(?i:lives?[ ](?:alone[ ])?(?:in|at|near)|living[ ](?:in|at)|resid(?:es|ent|ing)[ ](?:of|in|at)|born[ ]in|native[ ]of|moved[ ](?:from|to)|(?:transferred|referred|arrived|flew|travell?ed)[ ](?:here[ ])?(?:from|to)|works?[ ](?:in|at|for)|employed[ ](?:at|by)|home[ ]in|hometown|city(?:[ ]of)?|town[ ]of|county[ ]of)[ :]{{1,2}}(?:the[ ])?(?P<v>{_CAP}(?:[ ]{_CAP}){{0,3}}(?:,[ ](?:{_CAP}|[A-Z]{{2}}))?)", case=True),
    _p("geography", "county or town", rf"(?<![A-Za-z])(?P<v>{_CAP}(?:[ ]{_CAP}){{0,2}}[ ](?:County|Township|Borough|Parish|Village|District))(?![A-Za-z])", case=True, loose=True),
    _p("geography", "institution", rf"(?<![A-Za-z])(?P<v>(?:(?:St\.?|{_CAP})[ ](?:of[ ]|and[ ]|&[ ]|the[ ]|for[ ])?){{1,5}}{_HOUSE}(?:[ ]of[ ]{_CAP}(?:[ ]{_CAP}){{0,2}})?)(?![A-Za-z])", case=True),
    _p("geography", "Chinese address", rf"(?:{_ZH_PLACE}{{2,8}}?(?:省|自治区|特别行政区))?(?:{_ZH_PLACE}{{2,8}}?(?:市|自治州|盟|地区))(?:{_ZH_PLACE}{{1,8}}?(?:区|县|旗|市))?(?:{_ZH_PLACE}{{1,10}}?(?:镇|乡|街道|村|路|街|大道|巷|弄|胡同|社区|小区|花园|苑))?(?:[0-9一二三四五六七八九十\-]{{1,6}}(?:号楼?|弄|栋|幢|单元|室|层|组))?(?:[0-9\-]{{1,6}}(?:号楼?|栋|幢|单元|室|层))?(?:[0-9\-]{{1,6}}(?:号|单元|室))?(?:[0-9\-]{{1,6}}室)?"),
    _p("geography", "Chinese province and county", rf"{_ZH_PLACE}{{2,8}}?(?:省|自治区){_ZH_PLACE}{{1,8}}?(?:区|县|旗|镇|乡|村)"),
    _p("geography", "Chinese road and number", rf"{_ZH_PLACE}{{2,8}}?(?:路|街|大道|巷|弄|胡同|小区|花园|村)[0-9一二三四五六七八九十\-]{{1,6}}(?:号楼?|弄|栋|幢|单元|室|组|号)(?:[0-9\-]{{1,6}}(?:号楼?|栋|幢|单元|室|层)){{0,3}}"),
    _p("geography", "Chinese place after its cue", rf"(?:住址|地址|家住|籍贯|户籍地?|户口|现住|常住|居住[于在]?|出生[于地]|来自|工作单位|单位)[ ]?[:为是]?[ ]?(?P<v>{_HAN}[\u4e00-\u9fff0-9\-]{{1,38}})"),
    _p("geography", "Chinese institution", rf"(?P<v>{_ZH_PLACE}{{2,16}}?(?:医院|卫生院|卫生所|诊所|门诊部|疗养院|医学中心|大学|学院|中学|小学|研究所|有限公司|公司|工厂|养老院|福利院)(?:{_ZH_PLACE}{{2,4}}分?院区?)?)"),
)  # fmt: skip

_DATES = (
    _p("date", "year-month-day", rf"(?<![\d.])(?P<y>{_Y})(?P<s>[-/.])(?P<m>{_M})(?P=s)(?P<d>{_D})(?!\d){_TIME}"),
    _p("date", "day, month and year", rf"(?<![\d./-])(?P<a>\d{{1,2}})(?P<s>[-/.])(?P<b>\d{{1,2}})(?P=s)(?P<y>{_Y})(?!\d){_TIME}"),
    _p("date", "day, month and short year", rf"(?<![\d./-])(?P<a>{_D})(?P<s>[-/])(?P<b>{_D})(?P=s)(?P<y>\d\d)(?![\d/-])", loose=True),
    _p("date", "eight digits", r"(?<!\d)(?P<y>(?:19|20)\d\d)(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])(?:[ T]?[0-2]\d[0-5]\d[0-5]\d(?:\.\d{1,6})?)?(?!\d)"),
    _p("date", "day and month name", rf"(?<![\d.])(?P<d>{_D})(?:st|nd|rd|th)?[ \-]?(?:of[ ])?(?P<mon>{_MONTH})(?![A-Za-z])\.?,?[ \-]{{0,2}}(?P<y>{_Y}|'?\d\d(?!\d))?(?!\d)"),
    _p("date", "month name and day", rf"{_B}(?P<mon>{_MONTH})\.?[ \-]?(?P<d>{_D})(?:st|nd|rd|th)?(?![\d.])(?:,?[ \-]{{1,2}}(?P<y>{_Y}))?(?!\d)"),
    _p("date", "month name and year", rf"{_B}(?P<mon>{_MONTH})(?![A-Za-z])\.?,?(?:[ ]of)?[ \-]{{1,2}}(?P<y>{_Y}|'\d\d)(?!\d)"),
    _p("date", "month and year", rf"(?<![\d/.-])(?P<m>{_M})/(?P<y>{_Y})(?!\d)"),
    _p("date", "season and year", rf"{_B}(?P<season>spring|summer|autumn|fall|winter|christmas|easter|thanksgiving|new[ ]year's(?:[ ]day)?)(?:[ ]of)?[ ,]{{1,2}}(?P<y>{_Y})(?!\d)"),
    _p("date", "day and month after a cue", rf"(?<![A-Za-z])(?:on|dated?|dob|born|seen|admitted|discharged|until|visit(?:ed)?|scanned|follow-?up(?:[ ]on)?)[ :]{{1,3}}(?P<v>(?P<a>{_D})/(?P<b>{_D}))(?![\d/])", loose=True),
    _p("date", "Chinese date", rf"(?<!\d)(?:(?P<y>{_Y}|\d\d|{_ZH_DIGIT}{{4}})[ ]?年[ ]?)(?:(?P<m>{_ZH_DAY})[ ]?月(?:份)?[ ]?(?:(?P<d>{_ZH_DAY})[ ]?[日号])?)?"),
    _p("date", "Chinese month and day", rf"(?<!\d)(?P<m>{_M}|[一二三四五六七八九十]{{1,2}})[ ]?月[ ]?(?P<d>{_ZH_DAY})[ ]?[日号]"),
    _p("date", "year after a cue", rf"(?<![A-Za-z])(?:in|since|from|until|during|before|after|early|late|mid|year|around|circa|between|and)[ -](?:the[ ]year[ ])?(?P<v>(?P<y>{_Y}))(?![\d.]|[ ]?(?:mm|ml|hu|ms|mg|patients|cases))", loose=True),
)  # fmt: skip

_AGES = (
    _p("age", "above 89", r"(?<![\d.])(?P<v>9\d|1[01]\d|120)(?=[ -]?(?:years?|yrs?|y\.?o\.?|y/o|year-old|岁|周岁|歲))"),
    _p("age", "above 89, after a cue", r"(?<![A-Za-z])(?:aged?|age(?:[ ]of)?|年龄)[ :是为]{1,3}(?P<v>9\d|1[01]\d|120)(?!\d|\.\d|%)"),
    _p("age", "above 89, in words", r"(?<![A-Za-z])(?P<v>ninety(?:[ -](?:one|two|three|four|five|six|seven|eight|nine))?|(?:one|a)[ ]hundred(?:[ ]and)?(?:[ ][a-z]{3,9})?)(?=[ -](?:years?|year-old|yo))"),
    _p("age", "a word for it", r"(?<![A-Za-z])(?P<v>nonagenarian|centenarian|耄耋老人|百岁老人)"),
    _p("age", "Chinese, above 89", r"(?P<v>九十[一二三四五六七八九]?|一百[零〇]?[一二三四五六七八九十]{0,3})(?=周?岁)"),
)  # fmt: skip

_NUMBERS = (
    _p("fax", "after its cue", r"(?:fax|facsimile|传真)(?:[ ]?(?:no\.?|number|号码?|is|at|to))?[ :.#]{0,4}(?P<v>[+(]?\d[\d ().\-/]{4,20}\d)"),
    _p("phone", "international", r"(?<![\w+])\+\d{1,3}[ .\-]?(?:\(?\d{1,4}\)?[ .\-]?){2,5}\d{2,4}(?:[ ]?(?:ext|x|转)\.?[ ]?\d{1,5})?"),
    _p("phone", "North American", r"(?<![\d.\-])(?:1[ .\-])?(?:\([2-9]\d{2}\)[ ]?|[2-9]\d{2}[ .\-])\d{3}[ .\-]\d{4}(?!\d)(?:,?[ ]?(?:ext|x|extension)\.?[ ]?\d{1,5})?"),
    _p("phone", "Chinese mobile", r"(?<![\d.])(?:86[ \-]?)?1[3-9]\d[ \-]?\d{4}[ \-]?\d{4}(?!\d)"),
    _p("phone", "Chinese landline", r"(?<![\d.])\(?0\d{2,3}\)?[ \-]?\d{7,8}(?!\d)(?:[ ]?(?:转|ext\.?|-)[ ]?\d{1,5})?"),
    _p("phone", "after its cue", r"(?<![A-Za-z])(?:tel(?:ephone)?|phone|mobile|cell(?:phone)?|pager|beeper|call(?:ed)?|ext(?:ension)?|reach(?:ed|able)?[ ](?:at|on)|电话|手机|联系方式|座机|分机|致电)(?:[ ]?(?:no\.?|number|号码?|is|at|on|him|her|back))?[ :.#]{0,4}(?P<v>[+(]?\d[\d ().\-]{2,18}\d)"),
    _p("email", "address", r"[A-Za-z0-9._%+\-]{1,64}[ ]?(?:@|\(at\)|\[at\])[ ]?[A-Za-z0-9\-]{1,60}(?:\.[A-Za-z0-9\-]{1,30}){1,4}"),
    _p("email", "messenger", r"(?:微信|wechat|QQ|whatsapp|telegram|skype)[号码]{0,2}(?:[ ]?id)?[ :是为]{1,4}(?P<v>[A-Za-z0-9_.+\-]{5,30})"),
    _p("ssn", "US", r"(?<![\d\-])\d{3}-\d{2}-\d{4}(?![\d\-])"),
    _p("ssn", "after its cue", r"(?<![A-Za-z])(?:ssn|social[ ]security(?:[ ](?:no\.?|number))?|national[ ]id(?:entity)?(?:[ ](?:no\.?|number|card))?|nhs[ ](?:no\.?|number)|passport(?:[ ](?:no\.?|number))?|身份证号?码?|护照号?码?|社会保障号)(?:[ ]?(?:is|was|ending[ ]in|last[ ]four|尾号|为|是|#))?[ :.#]{0,4}(?P<v>[A-Z]{0,2}\d[\d \-]{2,22}[\dXx])"),
    _p("ssn", "Chinese identity card", r"(?<!\d)[1-9]\d{5}[ ]?(?:18|19|20)\d{2}[ ]?(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])[ ]?\d{3}[\dXx](?!\d)"),
    _p("vehicle", "Chinese plate", r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-Z][ ·•]?[A-Z0-9]{5,6}(?![A-Z0-9])"),
    _p("vehicle", "VIN", r"(?<![A-Z0-9])(?=[A-HJ-NPR-Z0-9]{0,16}\d)(?=\d{0,16}[A-HJ-NPR-Z])[A-HJ-NPR-Z0-9]{17}(?![A-Z0-9])", case=True),
    _p("vehicle", "plate", r"(?<![A-Za-z])(?:plate|registration|车牌号?)(?:[ ]?(?:no\.?|number|is|was|:|#|为|是)){0,3}[ ]{0,2}(?P<v>(?=[A-Z0-9 \-]{0,9}\d)[A-Z0-9]{1,4}[ \-]?[A-Z0-9]{2,5})(?![A-Za-z0-9])"),
    _cued("vehicle", r"(?:licen[cs]e|number|vehicle|car)[ ]plates?|plate|vehicle[ ](?:reg(?:istration)?|identification)|vin|registration[ ]plate|车牌号?码?|车辆识别代码"),
    _cued("licence", r"(?:driver'?s?|driving|medical|nursing|professional|pilot'?s?)?[ ]?licen[cs]e|licen[cs]ed[ ]under|certificate|dea|npi|gmc|执业证书?|医师资格证?|驾驶证|资格证书?|执照"),
    _cued("account", r"account|acct|a/c|iban|invoice|billing|bank[ ]card|credit[ ]card|账号|帐号|账户|银行卡|卡号|发票号?|缴费号"),
    _p("account", "IBAN", r"(?<![A-Z0-9])[A-Z]{2}\d{2}[ ]?(?:[A-Z0-9]{4}[ ]?){2,7}[A-Z0-9]{1,4}(?![A-Z0-9])", case=True, loose=True),
    _p("account", "card", r"(?<![\d.])\d{4}[ \-]\d{4}[ \-]\d{4}[ \-]\d{3,7}(?!\d)"),
    _cued("plan", r"(?:health[ ])?plan(?:[ ]beneficiary)?|beneficiary|policy|member(?:ship)?|insurance|insurer|medicare|medicaid|group[ ]no|subscriber|医保卡?号?|社保卡?号?|保险单?号?|参保号?|新农合证?号?"),
    _cued("device", r"serial|s/n|sn|udi|imei|lot|implant(?:[ ](?:serial|id))?|device(?:[ ]id(?:entifier)?)?|pacemaker|stimulator|pump|ref|序列号|产品编号|批号|植入物编号|设备号|器械编号|起搏器"),
    _p("device", "MAC address", r"(?<![\w:])(?:[0-9A-F]{2}[:\-]){5}[0-9A-F]{2}(?![\w:])"),
    _cued("biometric", r"finger[ ]?prints?|voice[ ]?prints?|palm[ ]?(?:prints?|veins?)|iris|retina(?:l)?(?:[ ]scan)?|biometrics?|face[ ](?:id|template|print)|faceprint|dna[ ]profile|指纹|声纹|虹膜|掌纹|人脸(?:识别)?|基因图谱", name="after its cue"),
    _p("biometric", "with words between", r"(?:finger[ ]?print|voice[ ]?print|iris|retinal?|palm|biometric|face|指纹|声纹|虹膜|掌纹|人脸)[ ]?(?:(?:template|scan|hash|record|image|file)(?:[ ](?:was|is))?|(?:was[ ])?(?=stored|saved)|特征码?|模板|识别码|采集编?号?|信息)[ ]?(?:(?:stored|saved|filed)[ ](?:as|under)|no\.?|id|编号|存为|:|is|为|是){0,2}[ :]{0,3}(?P<v>(?=[A-Za-z_.\-]{0,20}\d)[A-Za-z0-9][A-Za-z0-9_.\-]{3,40})"),
    _cued("record", r"mrn|m\.r\.n\.|medical[ ]record|record|chart|patient[ ]?id|pat\.?[ ]?id|hospital|case|file|accession|acc|exam(?:ination)?|order|encounter|visit|admission|specimen|sample|pid|study[ ]id|report|requisition|住院|病案|病历|门诊|登记|检查|影像|放射|就诊|申请单|条码|标本|病理|床|ID"),
    _p("url", "address", r"(?<![A-Za-z])(?:https?|ftp|dicom|sftp|file)://[^\s<>\"'，。；）)]{2,200}"),
    _p("url", "www", r"(?<![A-Za-z0-9])www\.[A-Za-z0-9\-]{1,60}\.[^\s<>\"'，。；）)]{2,120}"),
    _p("url", "bare host", r"(?<![A-Za-z0-9@.\-])(?:[a-z0-9\-]{1,40}\.){1,4}(?:com|org|net|cn|edu|gov|io|info|health|clinic|local|uk|de|fr|eu|jp)(?![A-Za-z0-9])(?:/[^\s<>\"'，。；）)]{0,120})?"),
    _p("url", "network share", r"\\\\[A-Za-z0-9_.\-]{1,60}(?:\\[^\s\\]{1,60}){1,6}"),
    _p("ip", "version 4", r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?(?![\d.]?\d)"),
    _p("ip", "version 6", r"(?<![\w:])(?=[0-9A-F:]{0,38}::|(?:[0-9A-F]{1,4}:){7})[0-9A-F]{0,4}(?::{1,2}[0-9A-F]{1,4}){1,7}(?![\w:])"),
    _p("photo", "file of a picture", r"(?<![\w])[\w.\-]{1,60}\.(?:jpe?g|png|bmp|heic|gif|tiff?|mp4|mov|avi)(?![A-Za-z0-9])"),
    _p("other", "DICOM UID", r"(?<![\d.])[012](?:\.\d{1,39}){4,20}(?![\d.]?\d)"),
    _p("other", "UUID", r"(?<![0-9a-f])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-f])"),
    _cued("other", r"barcode|qr[ ]?code|token|code|subject|participant|trial|study|enrol(?:l)?ment|randomi[sz]ation|locker|badge|employee|student|tag|reference|ticket|受试者|入组|工号|学号|试验|随机|二维码|编号"),
)  # fmt: skip

_REST = (
    _p("other", "long number", r"(?<![\d.,])\d{7,24}(?![\d]|\.\d|[ ]?(?:mm|cm|ml|Hz|%))", loose=True),
    _p("other", "letters and digits", r"(?<![A-Za-z0-9.\-/])(?=[A-Za-z\-/]{0,20}\d)(?=[\d\-/]{0,20}[A-Za-z])(?=(?:[A-Za-z\-/]{0,12}\d){4})[A-Za-z0-9][A-Za-z0-9\-/]{4,28}[A-Za-z0-9](?![A-Za-z0-9])", loose=True),
)  # fmt: skip

PATTERNS: tuple[Pattern, ...] = (*_NUMBERS, *_DATES, *_AGES, *_GEOGRAPHY, *_NAMES, *_REST)
"""In the order of their right: an earlier one that finds the same place names its category."""
