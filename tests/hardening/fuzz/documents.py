"""Documents: CNXML, JATS, MedQuAD, HTML, Markdown, PDF, question banks and tables of captions and grades.

Convention: the parsers of the sandbox are called directly, so that 200 inputs take seconds; the wall around them has
tests of its own, and `test_fuzz` sends some inputs through it.
"""

from __future__ import annotations

import base64
import functools
import io
import zlib
from collections.abc import Callable
from pathlib import Path

from engine import Input, Seed, Target
from imaging import source_entry
from mutate import STRINGS, Generator, any_bytes, any_text, damage_bytes, pick

# --- XML -------------------------------------------------------------------------------------------------------------

JATS = b"""<?xml version="1.0" encoding="UTF-8"?>
<article xmlns:xlink="http://www.w3.org/1999/xlink"><front><article-meta><title-group>
<article-title>Discs</article-title></title-group><permissions>
<license license-type="open-access" xlink:href="http://creativecommons.org/licenses/by/4.0/">
<license-p>CC BY</license-p></license></permissions></article-meta></front>
<body><sec><title>Results</title><p>Disc height
fell at L4/5 (<xref ref-type="fig" rid="f1">Fig. 1</xref>).</p>
<table-wrap id="t1"><caption><p>Heights</p></caption><table>
<tr><th>Level</th><th>mm</th></tr><tr><td>L4/5</td><td>8.1</td></tr></table></table-wrap><fig id="f1"><label>Figure 1
</label><caption><p>A sagittal slice.</p></caption><graphic xlink:href="g1.png"/></fig></sec></body></article>"""


def _named(folder: str, pattern: str, most: int) -> Callable[[Path], list[Seed]]:
    def seeds(samples: Path) -> list[Seed]:
        files = sorted((samples / "text" / folder).glob(pattern), key=lambda f: f.stat().st_size)[:most]
        return [Seed(file.name, file.read_bytes()) for file in files]

    return seeds


_HEADS = (
    b'<!DOCTYPE a [<!ENTITY x "'
    + b"y" * 50
    + b'">'
    + b"".join(b'<!ENTITY x%d "%s">' % (n, b"&x;" * 20) for n in range(9))
    + b"]>",
    b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">',
    b'<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:9/p"> %p;]>',
    b"<?xml version='1.0' encoding='utf-32'?>",
    b"<?xml version='1.0' encoding='nonsense'?>",
    b"<?xml-stylesheet href='x'?>",
    b"\xef\xbb\xbf",
    b"\x00\x00",
)


def change_xml(rng: Generator, seeds: list[Seed]) -> Input:
    """Trees changed, documents prefixed, or blind damage."""
    from lxml import etree

    seed, way = pick(rng, seeds), rng.random()
    if way < 0.2:
        return any_bytes(rng, seeds)
    if way < 0.35:
        return any_text(rng, seeds)
    if way < 0.45:
        body = seed.data.split(b"?>", 1)[-1]
        head = pick(rng, _HEADS)
        return Input(seed, head + body.replace(b"e", b"&x8;", 1), f"begins with {head[:30]!r}")
    if way < 0.55:
        depth = int(pick(rng, (100, 250, 3000, 60000)))
        tag = str(pick(rng, ("p", "section", "sec", "div", "Answer", "table", "a"))).encode()
        place = seed.data.rfind(b"</") if rng.random() < 0.5 else seed.data.find(b">", len(seed.data) // 2) + 1
        nest = b"<" + tag + b">"
        return Input(
            seed,
            seed.data[:place] + nest * depth + b"x" + (b"</" + tag + b">") * depth + seed.data[place:],
            f"{tag!r} nested {depth} times",
        )
    parser = etree.XMLParser(resolve_entities=False, huge_tree=False)
    try:
        tree = etree.fromstring(seed.data, parser)
    except etree.XMLSyntaxError:
        tree = etree.fromstring(seed.data, etree.HTMLParser())
    told = []
    for _ in range(int(rng.integers(1, 5))):
        nodes = [node for node in tree.iter() if isinstance(node.tag, str)]
        node, edit = pick(rng, nodes), int(rng.integers(8))
        parent = node.getparent()
        if edit == 0 and parent is not None:
            parent.remove(node)
        elif edit == 1 and parent is not None:
            for _ in range(int(pick(rng, (1, 30)))):
                parent.append(etree.fromstring(etree.tostring(node, with_tail=False)))
        elif edit == 2:
            node.tag = pick(rng, nodes).tag
        elif edit == 3 and node.attrib:
            name = str(pick(rng, list(node.attrib)))
            node.attrib[name] = _legal(str(pick(rng, STRINGS)))
        elif edit == 4 and node.attrib:
            del node.attrib[str(pick(rng, list(node.attrib)))]
        elif edit == 5:
            node.text = _legal(str(pick(rng, STRINGS)))
        elif edit == 6:
            node.insert(0, pick(rng, (etree.Comment("x"), etree.ProcessingInstruction("x", "y"))))
        elif edit == 7:
            other = pick(rng, nodes)
            if parent is not None and other is not node and other not in node.iterancestors():
                node.append(other)
        told.append(f"{str(node.tag)[-20:]} edit {edit}")
    return Input(seed, etree.tostring(tree), "; ".join(told))


def _legal(text: str) -> str:
    return "".join(sign for sign in text if sign.isprintable())


def _jats_seeds(samples: Path) -> list[Seed]:
    return [Seed("article.xml", JATS)]


def _with_picture(path: Path) -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("L", (9, 9), 90).save(stream, "PNG")
    (path.parent / "g1.png").write_bytes(stream.getvalue())


def _cnxml(path: Path, given: Input) -> object:
    from data_pipeline.readers.cnxml import parse_module

    return parse_module(source=source_entry("cnxml"), folder=str(path.parent), path=str(path), media="media")


def _medquad(path: Path, given: Input) -> object:
    from data_pipeline.readers.medquad import parse_document

    return parse_document(source=source_entry("medquad"), folder=str(path.parent), path=str(path))


def _jats(path: Path, given: Input) -> object:
    from data_pipeline.readers.jats import parse_jats

    _with_picture(path)
    return parse_jats(str(path), path.name, source_entry("jats"))


# --- pages -----------------------------------------------------------------------------------------------------------

HTML = b"""<!DOCTYPE html><html><head><title>Back pain</title>
<style>.x{display:none}</style></head><body><h1>Back pain</h1>
<p>Most <b>back pain</b> ends by itself.<span style="display:none">hidden</span></p><ul>
<li>Rest</li><li>Move</li></ul>
<table><tr><td>L4</td><td>1</td></tr></table><img src="g1.png" alt="A spine"><img src="data:image/png;base64,%s">
<script>alert(1)</script><!-- c --><a href="javascript:x">go</a></body></html>""" % base64.b64encode(b"\x89PNG" * 9)
MARKDOWN = b"""---
title: Back pain
---
# Back pain

Most *back pain* ends by itself.

- Rest
- Move

| a | b |
|---|---|
| 1 | 2 |

![A spine](g1.png)

```
code
```
> quoted

1. one
2. two

<div hidden>x</div>
"""


def _html(path: Path, given: Input) -> object:
    from data_pipeline.readers.pages import parse_html

    _with_picture(path)
    return parse_html(str(path), path.name, source_entry("html"))


def _markdown(path: Path, given: Input) -> object:
    from data_pipeline.readers.pages import parse_markdown

    _with_picture(path)
    return parse_markdown(str(path), path.name, source_entry("markdown"))


_SIGNS = ("*", "_", "`", "[", "](", "![", "#", ">", "|", "-", "<", "<!--", "\\", "&#x", "  ", "\t", "```", "~~~", "$")


def change_markdown(rng: Generator, seeds: list[Seed]) -> Input:
    """Text damage, or runs of the signs that make regular expressions backtrack."""
    if rng.random() < 0.6:
        return any_text(rng, seeds)
    seed = pick(rng, seeds)
    lines = seed.data.decode().split("\n")
    sign, times = str(pick(rng, _SIGNS)), int(pick(rng, (3, 100, 5000, 50000)))
    lines.insert(int(rng.integers(len(lines))), (sign + str(pick(rng, ("", "a", " ")))) * times)
    return Input(seed, "\n".join(lines).encode(), f"{sign!r} {times} times")


# --- PDF -------------------------------------------------------------------------------------------------------------


@functools.cache
def _pdfs() -> tuple[bytes, ...]:
    import numpy as np
    from PIL import Image
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen import canvas

    found = []
    for compressed in (0, 1):
        stream = io.BytesIO()
        page = canvas.Canvas(stream, pagesize=(300, 300), pageCompression=compressed, invariant=1)
        page.drawString(30, 270, "Lumbar discs lose height with age.")
        page.drawString(30, 255, "See Figure 1. The loss is largest at L4/5.")
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, size=(40, 60)).astype(np.uint8))
        page.drawImage(ImageReader(picture), 30, 100, 120, 80)
        page.drawString(30, 85, "Figure 1. A sagittal slice.")
        page.rotate(5)
        page.drawString(60, 30, "Page 1")
        page.bookmarkPage("a")
        page.addOutlineEntry("a", "a")
        page.showPage()
        page.drawString(30, 200, "Second page")
        page.save()
        found.append(stream.getvalue())
    return tuple(found)


def _pdf_seeds(samples: Path) -> list[Seed]:
    return [Seed(f"{number}.pdf", data) for number, data in enumerate(_pdfs())]


_TOKENS = (
    (b"/Length ", b"/Length 99999999 %"),
    (b"/Length ", b"/Length -1 %"),
    (b"/Count ", b"/Count 2147483647 %"),
    (b"/Kids", b"/Kidz"),
    (b"/MediaBox [", b"/MediaBox [ -1e9 1e9 nan"),
    (b"/Width ", b"/Width 65000 %"),
    (b"/Height ", b"/Height 2147483647 %"),
    (b"/BitsPerComponent 8", b"/BitsPerComponent 77"),
    (b" Tj", b" TJ"),
    (b" Tm", b" Tm 1e30 0 0 1e30 0 0 cm"),
    (b"/F1", b"/F9"),
    (b"endobj", b"endobjx"),
    (b"/Type /Page", b"/Type /Pages"),
    (b" R", b" 65535 R"),
    (b"trailer", b"trailer << /Root 1 0 R >> trailer"),
    (b"%%EOF", b""),
    (b"/Filter", b"/Filter [/FlateDecode /FlateDecode] %"),
    (b"/Size ", b"/Size 0 %"),
    (b"startxref\n", b"startxref\n0\n%"),
    (b"/Root", b"/Encrypt 1 0 R /Root"),
    (b"/Rotate 0", b"/Rotate 37"),
    (b"1 0 0 1", b"0 0 0 0"),
    (b"12 Tf", b"1e9 Tf"),
    (b"12 Tf", b"0 Tf"),
)


def change_pdf(rng: Generator, seeds: list[Seed]) -> Input:
    """Blind damage, or objects that mean too much."""
    seed, way = pick(rng, seeds), rng.random()
    if way < 0.4:
        return any_bytes(rng, seeds)
    data, told = seed.data, []
    for _ in range(int(rng.integers(1, 4))):
        one, other = pick(rng, _TOKENS)
        places = [at for at in range(len(data)) if data.startswith(one, at)]
        if places:
            at = int(pick(rng, places))
            data = data[:at] + other + data[at + len(one) :]
            told.append(f"{one!r} at {at} becomes {other!r}")
    if way > 0.9:
        bomb = zlib.compress(bytes(200_000_000) if rng.random() < 0.1 else b"q " * 500_000)
        data = data.replace(
            b"endobj",
            b"endobj\n90 0 obj\n<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream\nendobj"
            % (len(bomb), bomb),
            1,
        ).replace(b"/Contents 8 0 R", b"/Contents 90 0 R")
        told.append("a stream that unpacks to much")
    elif way > 0.8:
        data, done = damage_bytes(rng, data)
        told.append(done)
    return Input(seed, data, "; ".join(told) or "nothing")


def _pdf(path: Path, given: Input) -> object:
    from data_pipeline.readers.pdf import parse_pdf

    return parse_pdf(str(path), path.name, source_entry("pdf"))


# --- tables ----------------------------------------------------------------------------------------------------------

BANK = """id,question,A,B,C,D,answer,explanation
1,Which disc?,L3/4,L4/5,L5/S1,T12/L1,B,"Because, well"
2,Which root?,L4,L5,S1,S2,C,
"""


def _bank_seeds(samples: Path) -> list[Seed]:
    return [
        Seed("bank.csv", BANK.encode()),
        Seed(
            "bank.jsonl",
            b'{"question": "Which disc?", "A": "L3/4", "B": "L4/5", "C": "x", "D": "y", "answer": "B"}\n' * 2,
        ),
    ]


def _bank(path: Path, given: Input) -> object:
    from data_pipeline.readers.bank import parse_bank

    named = {name: name for name in ("question", "options", "answer", "explanation")}
    return parse_bank(str(path), path.name, source_entry("bank"), named)


def _grade_seeds(samples: Path) -> list[Seed]:
    spider = (
        "Patient,IVD label,Modic,UP endplate,LOW endplate,Spondylolisthesis,Disc herniation,Disc narrowing,"
        "Disc bulging,Pfirrman grade\n1,1,0,1,0,0,0,1,1,4\n1,2,0,0,0,0,0,0,0,2\n"
    )
    return [Seed("spider.csv", spider.encode(), "spider")]


def _grades(path: Path, given: Input) -> object:
    from data_pipeline.readers.grades import parse_grades

    return parse_grades(str(path), path.name, source_entry("grades"), given.seed.tag)


def _roco_seeds(samples: Path) -> list[Seed]:
    file = samples / "text" / "roco" / "roco_spine_captions_dev.csv"
    return [Seed("captions.csv", b"\n".join(file.read_bytes().splitlines()[:12]) + b"\n")]


def _captions(path: Path, given: Input) -> object:
    from data_pipeline.readers.captions import parse_captions

    named = {"caption": "caption", "licence": "licence", "article": "pmc_file"}
    return parse_captions(str(path), path.name, source_entry("bank"), named, {"CC BY": "CC-BY-4.0"})


TARGETS = [
    Target("cnxml", _named("openstax", "*.cnxml", 2), change_xml, _cnxml, sandboxed=True),
    Target("medquad", _named("medquad", "*.xml", 3), change_xml, _medquad, sandboxed=True),
    Target("jats", _jats_seeds, change_xml, _jats, sandboxed=True),
    Target("html", lambda _: [Seed("page.html", HTML)], change_xml, _html, sandboxed=True),
    Target("markdown", lambda _: [Seed("page.md", MARKDOWN)], change_markdown, _markdown, sandboxed=True),
    Target("pdf", _pdf_seeds, change_pdf, _pdf, sandboxed=True),
    Target("bank", _bank_seeds, any_text, _bank, sandboxed=True),
    Target("captions", _roco_seeds, any_text, _captions, sandboxed=True),
    Target("grades", _grade_seeds, any_text, _grades, sandboxed=True),
]
