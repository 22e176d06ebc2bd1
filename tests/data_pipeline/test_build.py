"""The build as a user sees it: what is released, that it is traceable, and that it comes out the same every time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_pipeline.chain import Tracer, trace
from data_pipeline.corpus import read_corpus
from data_pipeline.items import read_items
from spinemed.cli import main
from spinemed.errors import ReadError
from spinemed.records import NOT_DETERMINABLE, Figure, Instance, ReleaseRow, Span, Study
from spinemed.tables import read_manifest, read_records, write_records


def digests(run: Path) -> dict[str, str]:
    outputs = run / "outputs"
    return {
        path.relative_to(outputs).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(outputs.rglob("*"))
        if path.is_file()
    }


def release_rows(run: Path) -> list[ReleaseRow]:
    return [
        row
        for file in sorted((run / "outputs" / "release" / "data").glob("*.parquet"))
        for row in read_records(file, ReleaseRow)
    ]


def test_release_holds_three_axes_from_real_and_computed_sources(built: Path) -> None:
    rows = release_rows(built)
    assert {(row.axis, row.origin) for row in rows} == {
        (axis, origin)
        for axis in ("level_identification", "pathology", "surgical_planning")
        for origin in ("real", "phantom")
    }
    assert {row.source_id for row in rows} == {"openstax", "medquad", "ct", "phantom-train", "phantom-test"}
    assert (
        len({row.id for row in rows})
        == len(rows)
        == read_manifest(built / "outputs/release", "release")["counts"]["total"]
    )


def test_pinned_sources_stay_in_their_split_and_each_test_spine_gives_one_level_question(built: Path) -> None:
    rows = release_rows(built)
    assert {row.split for row in rows if row.source_id == "phantom-train"} == {"train"}
    tested = [row for row in rows if row.source_id == "phantom-test"]
    assert {row.split for row in tested} == {"test"}
    spines = [row.group_id for row in tested if row.axis == "level_identification"]
    assert len(spines) == len(set(spines)) == 6


def test_datasheet_says_that_wrong_options_cross_splits(built: Path) -> None:
    text = (built / "outputs" / "release" / "README.md").read_text()
    assert "Wrong options are texts of other documents of the same source, whatever their split." in text


def test_every_quote_stands_in_its_document(built: Path) -> None:
    corpus = read_corpus(built / "outputs" / "corpus")
    quotes = 0
    for item in read_items(built / "outputs" / "revised"):
        for part in item.instance.evidence:
            if part.kind == "span":
                span = corpus.spans[part.id]
                document = corpus.documents[span.document_id]
                assert part.quote
                assert part.quote in document.text[span.start : span.end]
                quotes += 1
    assert quotes > 100


def test_drafts_are_kept_beside_revisions_that_say_what_changed(built: Path) -> None:
    drafts = {item.instance.id: item.instance for item in read_items(built / "outputs" / "drafts")}
    revised = [item.instance for item in read_items(built / "outputs" / "revised")]
    changed = [instance for instance in revised if instance.changes]
    assert changed
    for instance in revised:
        parent = drafts[instance.parent_id or ""]
        assert parent.stage == "draft"
        assert all(result.passed for result in instance.criteria)
        assert (instance.messages != parent.messages) == bool(instance.changes)


def test_a_crop_without_anchor_never_has_a_level_as_answer(built: Path) -> None:
    study = next(read_records(built / "outputs" / "corpus" / "studies.parquet", Study))
    assert study.source_id == "ct"
    assert not study.numbering_determinable
    assert study.marks
    assert all(mark.level is None for mark in study.marks)
    for row in release_rows(built):
        if row.source_id == "ct" and row.answer_kind in ("level", "disc", "levels"):
            assert row.answer == NOT_DETERMINABLE


def test_account_adds_up_at_every_stage(built: Path) -> None:
    outputs = built / "outputs"
    for account in read_manifest(outputs / "corpus", "corpus")["sources"]:
        for numbers in account["units"].values():
            assert numbers["found"] == numbers["kept"] + numbers["dropped"] + numbers["failed"]
    drafts = read_manifest(outputs / "drafts", "drafts")
    kept = sum(numbers["kept"] for numbers in drafts["counts"].values())
    revised = read_manifest(outputs / "revised", "revised")["counts"]
    assert revised["drafts"] == kept == revised["kept"] + revised["dropped"]
    unique = read_manifest(outputs / "unique", "unique")["items"]
    assert revised["kept"] == unique["in"] == unique["kept"] + sum(unique["dropped"].values())
    left_out = read_manifest(outputs / "release", "release")["left_out"]
    assert unique["kept"] == len(release_rows(built)) + sum(left_out.values()) - sum(unique["dropped"].values())
    dropped = [json.loads(line) for line in (outputs / "revised" / "dropped.jsonl").read_text().splitlines()]
    assert len(dropped) == revised["dropped"]
    assert all(drop["reason"] for drop in dropped)


def test_right_letters_are_balanced(built: Path) -> None:
    revised = read_manifest(built / "outputs" / "revised", "revised")
    letters = revised["letters"]["4"]
    assert sum(letters.values()) > 100
    assert max(letters.values()) - min(letters.values()) <= 1


def test_two_builds_give_the_same_bytes_whatever_the_number_of_workers(
    built: Path, tmp_path: Path, write_config, entries, run_build
) -> None:
    sources = [entries[name] for name in ("openstax", "medquad", "ct", "phantom", "phantom-test")]
    again = run_build(write_config(tmp_path, sources, workers=2), tmp_path / "run")
    assert digests(again) == digests(built)


def test_workers_end_with_a_killed_build(tmp_path: Path, write_config, entries) -> None:
    import psutil

    config = write_config(tmp_path, [entries["phantom"]], workers=2, counts={"phantom-train": 5000})
    command = [sys.executable, "-m", "spinemed", "data", "run", str(config), "--out", str(tmp_path / "run")]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    workers: list[psutil.Process] = []
    while len(workers) < 3 and time.monotonic() < until:  # two workers and the tracker of their resources
        workers = psutil.Process(child.pid).children(recursive=True)
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []


def test_another_seed_gives_another_release(built: Path, tmp_path: Path, write_config, entries, run_build) -> None:
    sources = [entries["medquad"]]
    one = run_build(write_config(tmp_path / "a", sources), tmp_path / "a/run")
    two = run_build(write_config(tmp_path / "b", sources, seed=1), tmp_path / "b/run")
    name = "outputs/release/data/train.parquet"
    assert (one / name).read_bytes() != (two / name).read_bytes()


def test_killed_build_resumes_to_the_same_bytes(built: Path, tmp_path: Path, write_config, entries) -> None:
    sources = [entries[name] for name in ("openstax", "medquad", "ct", "phantom", "phantom-test")]
    config = write_config(tmp_path, sources)
    command = [sys.executable, "-m", "spinemed", "data", "run", str(config), "--out", str(tmp_path / "run")]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={**os.environ})
    outputs = tmp_path / "run" / "outputs"
    until = time.monotonic() + 60
    while not (outputs / "corpus").exists() and time.monotonic() < until:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (outputs / "release").exists()
    main_returns(["data", "run", str(config), "--out", str(tmp_path / "run")], 0)
    assert digests(tmp_path / "run") == digests(built)
    journal = (tmp_path / "run" / "journal.jsonl").read_text()
    assert '"event": "step kept", "step": "corpus"' in journal


def main_returns(arguments: list[str], code: int) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert (stop.value.code or 0) == code


@pytest.mark.parametrize(
    "source",
    ["openstax", "medquad", "ct", "phantom-test"],
)
def test_trace_leads_to_bytes_and_every_link_holds(built: Path, source: str) -> None:
    rows = [row for row in release_rows(built) if row.source_id == source]
    with_picture = next((row for row in rows if row.images), rows[0])
    for row in (rows[0], with_picture):
        links = trace(row.id, built)
        assert [link.name for link in links if not link.ok] == []
        names = {link.name for link in links}
        assert {"release row", "revised instance", "draft", "criteria applied again", "template"} <= names
        assert names & {"document file", "volume", "phantom draw"}


def test_trace_finds_a_changed_byte(
    tmp_path: Path, write_config, entries, run_build, samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = shutil.copytree(samples / "text" / "medquad", tmp_path / "medquad")
    config = write_config(tmp_path, [{**entries["medquad"], "path": str(copied)}])
    run = run_build(config, tmp_path / "run")
    row = release_rows(run)[0]
    links = trace(row.id, run)
    assert all(link.ok for link in links)
    file = Path(next(dict(link.facts)["file"] for link in links if link.name == "document file"))
    data = bytearray(file.read_bytes())
    data[data.index(b"<Answer>") + 12] ^= 1
    file.write_bytes(bytes(data))
    assert [link.name for link in trace(row.id, run) if not link.ok] == ["document file"]
    main_returns(["data", "trace", row.id, "--run", str(run)], 1)
    assert "BROKEN" in capsys.readouterr().out


def test_trace_finds_a_released_picture_that_was_exchanged(built: Path, tmp_path: Path) -> None:
    run = shutil.copytree(built, tmp_path / "run")
    file = run / "outputs" / "release" / "data" / "test.parquet"
    rows = list(read_records(file, ReleaseRow))
    pictured = [n for n, row in enumerate(rows) if row.origin == "phantom"]
    one, other = pictured[0], next(n for n in pictured if rows[n].images != rows[pictured[0]].images)
    swapped = rows[one].images[0].model_copy(update={"bytes": rows[other].images[0].bytes})
    rows[one] = rows[one].model_copy(update={"images": (swapped,)})
    write_records(file, ReleaseRow, rows)
    manifest = run / "outputs" / "release" / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["files"]["data/test.parquet"]["bytes"] = file.stat().st_size
    manifest.write_text(json.dumps(facts))
    broken = [link for link in trace(rows[one].id, run) if not link.ok]
    assert [link.name for link in broken] == ["release row"]


def test_trace_finds_a_changed_draft(built: Path, tmp_path: Path) -> None:
    run = shutil.copytree(built, tmp_path / "run")
    file = run / "outputs" / "drafts" / "instances.parquet"
    row = next(row for row in release_rows(run) if row.source_id == "medquad")
    drafts = list(read_records(file, Instance))
    place = next(n for n, draft in enumerate(drafts) if draft.id == f"{row.id}-draft")
    drafts[place] = drafts[place].model_copy(update={"tags": ("other",)})
    write_records(file, Instance, drafts)
    assert [link.name for link in trace(row.id, run) if not link.ok] == ["draft"]


def tampered(run: Path, **changes: object) -> ReleaseRow:
    """Change fields of one released text row, and the manifest with it, as a careful forger would."""
    release = run / "outputs" / "release"
    for file in sorted((release / "data").glob("*.parquet")):
        rows = list(read_records(file, ReleaseRow))
        place = next((n for n, row in enumerate(rows) if row.source_id == "medquad"), None)
        if place is None:
            continue
        rows[place] = rows[place].model_copy(update=changes)
        write_records(file, ReleaseRow, rows)
        facts = json.loads((release / "manifest.json").read_text())
        name = file.relative_to(release).as_posix()
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        facts["files"][name] = {**facts["files"][name], "bytes": file.stat().st_size, "sha256": digest}
        (release / "manifest.json").write_text(json.dumps(facts))
        return rows[place]
    raise AssertionError("no row of MedQuAD")


@pytest.mark.parametrize(
    ("changes", "link"),
    [
        ({"licence": "CC0-1.0"}, "release row"),
        ({"attribution": "somebody else"}, "release row"),
        ({"tags": ("truth:expert_mask",)}, "revised instance"),
        ({"origin": "phantom"}, "revised instance"),
        ({"group_id": "other"}, "revised instance"),
    ],
)
def test_trace_finds_a_changed_field_of_a_released_row(
    built: Path, tmp_path: Path, changes: dict[str, object], link: str
) -> None:
    run = shutil.copytree(built, tmp_path / "run")
    row = tampered(run, **changes)
    assert [found.name for found in trace(row.id, run) if not found.ok] == [link]


@pytest.mark.parametrize(
    ("source", "table", "record", "link"),
    [
        ("medquad", "spans", Span, "evidence span"),
        ("openstax", "figures", Figure, "figure"),
        ("phantom-test", "studies", Study, "study"),
    ],
)
def test_trace_names_evidence_that_is_gone(
    built: Path, tmp_path: Path, source: str, table: str, record: type, link: str
) -> None:
    run = shutil.copytree(built, tmp_path / "run")
    kind = {"spans": "span", "figures": "figure", "studies": "study"}[table]
    items = read_items(run / "outputs" / "revised")
    gone, row_id = next(
        (part.id, item.instance.id)
        for item in items
        if item.instance.source_id == source
        for part in item.instance.evidence
        if part.kind == kind
    )
    tracer = Tracer(run)
    kept = {name: found for name, found in getattr(tracer.corpus, table).items() if name != gone}
    setattr(tracer.corpus, table, kept)
    links = next(links for name, links in tracer.chains() if name == row_id)
    broken = [found for found in links if not found.ok]
    assert [found.name for found in broken] == [link]
    assert gone in dict(broken[0].facts)["BROKEN"]


def test_phantoms_with_an_unusual_column_say_so(tmp_path: Path, write_config, entries, run_build) -> None:
    told = {}
    for variant in ("normal", "L6", "four_lumbar", "T13", "no_T12"):
        phantom = {"size_px": [64, 64], "variant_shares": {} if variant == "normal" else {variant: 1.0}}
        entry = {**entries["phantom"], "options": {"count": 2, "seed": 1, "phantom": phantom}}
        run = run_build(write_config(tmp_path / variant, [entry]), tmp_path / variant / "run")
        told[variant] = {tuple(t for t in row.tags if t.startswith("spine:")) for row in release_rows(run)}
    assert told == {
        "normal": {()},
        "L6": {("spine:12T6L",)},
        "four_lumbar": {("spine:12T4L",)},
        "T13": {("spine:13T5L",)},
        "no_T12": {("spine:11T5L",)},
    }


def test_disc_points_say_nothing_about_the_edge_of_a_picture(tmp_path: Path, write_config, entries, run_build) -> None:
    options = {
        "image": "PAM50_small_t2.nii.gz",
        "disc_points": "PAM50_small_label_disc.nii.gz",
        "body_offset_mm": 18,
        "modality": "MR",
        "group": "template",
        "truth": "template",
        "fields_mm": [[40, 256]],
    }
    entry = {**entries["ct"], "path": "mr/pam50_small", "options": {"studies": [options]}}
    run = run_build(write_config(tmp_path, [entry]), tmp_path / "run")
    templates = {item.parts.template for item in read_items(run / "outputs" / "drafts")}
    assert "marked_vertebra" in templates
    assert "edge_vertebra" not in templates
    dropped = (run / "outputs" / "drafts" / "dropped.jsonl").read_text()
    assert "disc points do not say which bodies are wholly in the picture" in dropped


def test_trace_of_an_unknown_id_names_the_nearest(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = release_rows(built)[0]
    wrong = row.id[:-1] + ("0" if row.id[-1] != "0" else "1")
    main_returns(["data", "trace", wrong, "--run", str(built)], 2)
    assert row.id in capsys.readouterr().err


def test_trace_of_a_dropped_draft_says_why(built: Path) -> None:
    dropped = json.loads((built / "outputs" / "revised" / "dropped.jsonl").read_text().splitlines()[0])
    with pytest.raises(ReadError, match=dropped["reason"]):
        trace(dropped["item"], built)


@pytest.mark.parametrize("name", ["items.png", "items.html"])
def test_page_of_items_is_written_and_says_research_use(built: Path, tmp_path: Path, name: str) -> None:
    main_returns(["data", "show", str(built), "--out", str(tmp_path / name), "--number", "4"], 0)
    data = (tmp_path / name).read_bytes()
    assert data.startswith(b"\x89PNG") or b"Research use only" in data


def test_trace_all_checks_every_row(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_returns(["data", "trace", "--all", "--run", str(built)], 0)
    assert f"{len(release_rows(built))} rows" in capsys.readouterr().out


def test_trace_all_names_what_is_broken(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(built, tmp_path / "run")
    file = run / "outputs" / "revised" / "instances.parquet"
    instances = list(read_records(file, Instance))
    levels = [n for n, i in enumerate(instances) if i.answer_kind == "level" and i.answer == "L1" and i.image_sha256]
    changed = instances[levels[0]]
    messages = (*changed.messages[:-1], changed.messages[-1].model_copy(update={"content": "L2"}))
    instances[levels[0]] = changed.model_copy(update={"answer": "L2", "messages": messages})
    write_records(file, Instance, instances)
    main_returns(["data", "trace", "--all", "--run", str(run)], 1)
    told = capsys.readouterr().out
    assert changed.id in told
    assert "finding_supports_answer" in told
    assert "1 rows broken" in told


def test_trace_needs_an_id_or_all(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_returns(["data", "trace", "--run", str(built)], 2)
    assert "--all" in capsys.readouterr().err


def test_counts_shrink_phantom_sources_only(tmp_path: Path, write_config, entries, run_build, capsys) -> None:
    run = run_build(write_config(tmp_path, [entries["phantom"]], counts={"phantom-train": 2}), tmp_path / "run")
    assert len({row.group_id for row in release_rows(run)}) == 2
    config = write_config(tmp_path, [entries["medquad"], entries["phantom"]], counts={"medquad": 2})
    main_returns(["data", "run", str(config), "--out", str(tmp_path / "other")], 2)
    assert "the phantom sources are phantom-train" in capsys.readouterr().err


def test_another_seed_draws_other_phantoms(tmp_path: Path, write_config, entries, run_build) -> None:
    groups = []
    for seed in (0, 1):
        config = write_config(tmp_path / str(seed), [entries["phantom"], entries["phantom-test"]], seed=seed)
        groups.append({row.group_id for row in release_rows(run_build(config, tmp_path / str(seed) / "run"))})
    assert not groups[0] & groups[1]
    assert len(groups[1]) == 12
