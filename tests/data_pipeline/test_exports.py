"""A release as other tools see it: exported and read back, described, and examined for leaks."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_pipeline.check_release import check_release, release_rows
from data_pipeline.export import export_release, read_export
from data_pipeline.metadata import Lineage, author_of
from data_pipeline.metadata_prov import provenance
from data_pipeline.release import IndexRow
from data_pipeline.writers.prompts import load_prompts
from spinemed.cli import main
from spinemed.errors import ReadError
from spinemed.records import Evidence, Instance, Message, ReleaseRow, Writer
from spinemed.tables import read_jsonl, read_manifest, read_records, write_jsonl, write_manifest, write_records

Command = Callable[..., SimpleNamespace]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `spinemed ...` in this process, as the entry point does."""

    def run(*arguments: str | Path) -> SimpleNamespace:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return SimpleNamespace(returncode=stop.value.code or 0, stdout=told.out, stderr=told.err)

    return run


@pytest.fixture(scope="module")
def release(built: Path) -> Path:
    return built / "outputs" / "release"


# --- exports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["sharegpt", "llava", "msswift"])
def test_an_export_read_back_gives_the_same_turns_and_pictures(
    release: Path, tmp_path: Path, command: Command, layout: str
) -> None:
    if layout == "llava":  # once as users do
        done = command("data", "export", release, "--format", layout, "--out", tmp_path / "out")
        assert done.returncode == 0, done.stderr
    else:
        export_release(release, tmp_path / "out", layout)  # type: ignore[arg-type]
    wanted = [
        (row.id, row.split, row.messages, tuple(image.bytes for image in row.images)) for row in release_rows(release)
    ]
    assert [(r.id, r.split, r.messages, r.images) for r in read_export(tmp_path / "out")] == wanted
    facts = read_manifest(tmp_path / "out", "export", verify=True)
    assert facts["release_sha256"] == read_manifest(release, "release")["sha256"]
    assert sum(facts["rows"].values()) == len(wanted)
    assert (tmp_path / "out" / "ATTRIBUTION.md").is_file()


def test_layouts_are_those_that_the_trainers_read(release: Path, tmp_path: Path) -> None:
    for layout in ("sharegpt", "llava", "msswift"):
        export_release(release, tmp_path / layout, layout)  # type: ignore[arg-type]
    lines = (tmp_path / "msswift" / "train.jsonl").read_text(encoding="utf-8").split("\n")
    swift = {row["id"]: row for row in map(json.loads, filter(None, lines))}
    shared = {row["id"]: row for row in json.loads((tmp_path / "sharegpt" / "train.json").read_text(encoding="utf-8"))}
    llava = {row["id"]: row for row in json.loads((tmp_path / "llava" / "train.json").read_text(encoding="utf-8"))}
    assert swift.keys() == shared.keys() == llava.keys()
    for name, row in swift.items():
        said = "".join(turn["content"] for turn in row["messages"])
        assert said.count("<image>") == len(row["images"])
        assert all((tmp_path / "msswift" / path).is_file() for path in row["images"])
        assert {turn["from"] for turn in shared[name]["conversations"]} == {"human", "gpt"}
        assert ("image" in llava[name]) == bool(row["images"])
        assert isinstance(llava[name].get("image", ""), str)
        assert row["licence"]
        assert row["attribution"] or row["origin"] == "phantom"


def test_an_export_replaces_an_export_and_nothing_else(release: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ReadError, match="no finished export"):
        export_release(release, tmp_path / "mine", "llava")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    export_release(release, tmp_path / "out", "sharegpt")
    export_release(release, tmp_path / "out", "msswift")
    assert {path.suffix for path in (tmp_path / "out").glob("train.*")} == {".jsonl"}
    done = command("data", "export", release, "--format", "alpaca", "--out", tmp_path / "other")
    assert done.returncode == 2
    assert "use sharegpt, llava, msswift" in done.stderr


# --- pages for people and machines -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of rdflib, inside the library
def test_croissant_is_valid_and_loads_the_rows(release: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # the library keeps a cache there
    logging.getLogger("absl").setLevel(logging.ERROR)
    import mlcroissant

    data = mlcroissant.Dataset(jsonld=str(release / "croissant.json"))
    assert not data.metadata.ctx.issues.errors
    wanted = list(read_records(release / "data" / "test.parquet", ReleaseRow))
    rows = list(data.records("test"))
    assert [row["test/id"].decode() for row in rows] == [row.id for row in wanted]
    assert [row["test/answer"].decode() for row in rows] == [row.answer for row in wanted]
    page = json.loads((release / "croissant.json").read_bytes())
    for file in page["distribution"]:
        assert file["sha256"] == hashlib.sha256((release / file["contentUrl"]).read_bytes()).hexdigest()
    assert page["license"] == ["Apache-2.0", "CC-BY-4.0"]


def test_provenance_leads_from_the_release_to_the_bytes_of_its_sources(release: Path, samples: Path) -> None:
    graph = json.loads((release / "prov.jsonld").read_bytes())["@graph"]
    nodes = {node["@id"]: node for node in graph}
    assert len(nodes) == len(graph)
    digest = hashlib.sha256((release / "data" / "train.parquet").read_bytes()).hexdigest()
    reached, ahead = set(), [f"urn:sha256:{digest}"]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead += nodes[name].get("wasDerivedFrom", [])
            ahead += nodes[name].get("hadMember", [])
    for file in ("text/openstax/m46352.cnxml", "ct/tptbox_L3_crop/sub-ct_label-22_ct.nii.gz"):
        assert f"urn:sha256:{hashlib.sha256((samples / file).read_bytes()).hexdigest()}" in reached
    assert "urn:spinemed:source:phantom-train" in reached
    drafting = nodes["urn:spinemed:activity:draft"]
    assert all(part["agent"] in nodes and part["hadPlan"] in nodes for part in drafting["qualifiedAssociation"])
    assert {nodes[part["agent"]]["label"].split()[0] for part in drafting["qualifiedAssociation"]} == {"rule-writer"}
    revising = nodes["urn:spinemed:activity:revise"]["qualifiedAssociation"]
    assert {nodes[part["agent"]]["label"].split()[0] for part in revising} == {"rule-reviser"}
    assert sum(part["rows"] for part in drafting["qualifiedAssociation"]) == sum(1 for _ in release_rows(release))
    linked = {
        target
        for node in graph
        for key in ("used", "wasDerivedFrom", "wasAssociatedWith")
        for target in node.get(key, [])
    }
    assert linked <= set(nodes)


def test_provenance_names_the_prompt_of_a_models_revision_beside_that_of_its_draft() -> None:
    zero = "0" * 64
    prompts = {prompt.name.rsplit(" ", 1)[0]: prompt.sha256 for prompt in load_prompts().values()}
    instance = Instance(
        id="path-1", stage="revised", parent_id="path-1-draft", source_id="s", group_id="g", origin="real",
        axis="pathology", task="open", language="zh",
        messages=(Message(role="user", content="q"), Message(role="assistant", content="a")), answer="a",
        answer_kind="text", evidence=(Evidence(kind="span", id="span-1", sha256=zero, quote="q"),),
        writer=Writer(
            name="model-reviser", version="1", prompt_sha256=prompts["draft_open.zh"], request_sha256=zero, model="m"
        ),
    )  # fmt: skip
    stages = {name: f"{number}" * 64 for number, name in enumerate(("corpus", "drafts", "revised"))}
    names = {digest: f"prompt {name}" for name, digest in prompts.items()}
    graph = provenance({}, Lineage([], {}, stages, {author_of(instance): 3}, names, {}))["@graph"]
    nodes = {node["@id"]: node for node in graph}
    for stage, wanted in (("draft", "prompt draft_open.zh"), ("revise", "prompt revise_open.zh")):
        (part,) = nodes[f"urn:spinemed:activity:{stage}"]["qualifiedAssociation"]
        assert (nodes[part["hadPlan"]]["label"], part["rows"]) == (wanted, 3)


def test_the_datasheet_answers_from_the_run(release: Path) -> None:
    text = (release / "DATASHEET.md").read_text(encoding="utf-8")
    total = read_manifest(release, "release")["counts"]["total"]
    for said in (
        "## Motivation", "## Composition", "## Collection", "## Preprocessing", "## Uses", "## Distribution",
        "## Maintenance", f"There are {total}, in", "no clinician has looked at them", "Research use only",
        "| ct | nifti | real | Apache-2.0 |", "published test data", "No hospital case is in this release.",
        "not a medical device", "Children and adolescents", "Spines after surgery", "malignancy", "Emergencies",
        "nothing came from a hospital",
    ):  # fmt: skip
        assert said in text, said


def test_the_datasheet_counts_what_was_left_out_from_the_stages_own_manifests(release: Path) -> None:
    text = (release / "DATASHEET.md").read_text(encoding="utf-8")
    corpus, drafts, revised = (read_manifest(release.parent / name, name) for name in ("corpus", "drafts", "revised"))
    for told in corpus["sources"]:
        for kind, unit in told["units"].items():
            cells = " | ".join(str(unit[name]) for name in ("found", "kept", "dropped", "failed"))
            assert f"| {told['source_id']} | {kind} | {cells} |" in text
    tried = sum(count["tried"] for count in drafts["counts"].values())
    assert f"{tried} tried" in text
    assert f"{revised['counts']['drafts']} looked at, {revised['counts']['kept']} kept" in text
    failed = {name: count for name, count in drafts["criteria_failed"].items() if count}
    assert failed, "no criterion failed, so nothing is shown"
    for name, count in failed.items():
        assert f"| {name} | {drafts['criteria_applied'][name]} | {count} |" in text
    phantoms = sum(row.origin == "phantom" for row in release_rows(release))
    assert f"**Computed phantoms:** {phantoms} of " in text
    about = {level.value for row in release_rows(release) for level in row.levels}
    covered, absent = re.search(r"\*\*Vertebrae that rows are about:\*\* (.*)\. None about: (.*)\.", text).groups()  # type: ignore[union-attr]
    assert {part.split()[0] for part in covered.split(", ")} == about
    assert not about & set(absent.split(", "))


# --- leaks -----------------------------------------------------------------------------------------------------------


def changed(release: Path, folder: Path, change: Callable[[list[ReleaseRow]], list[ReleaseRow]]) -> Path:
    """A copy of a release with other rows, whole in itself: index and manifest fit."""
    shutil.copytree(release, folder)
    facts = json.loads((folder / "manifest.json").read_bytes())
    rows = change(list(release_rows(release)))
    index = {row.id: row for row in read_jsonl(release / "index.jsonl", IndexRow)}
    for split in ("train", "validation", "test"):
        inside = [row for row in rows if row.split == split]
        write_records(folder / "data" / f"{split}.parquet", ReleaseRow, inside, batch=256)
    known = next(iter(index.values()))
    listed = [
        index.get(row.id, known.model_copy(update={"component": f"new:{row.id}"})).model_copy(
            update={"id": row.id, "split": row.split, "instance_sha256": row.instance_sha256}
        )
        for row in rows
    ]
    write_jsonl(folder / "index.jsonl", listed)
    kept = {name: value for name, value in facts.items() if name not in ("kind", "files", "sha256")}
    write_manifest(folder, "release", **kept)
    return folder


def test_a_clean_release_has_no_leak_and_every_count(release: Path, command: Command) -> None:
    done = command("data", "check", release)
    assert done.returncode == 0, done.stdout
    assert "leaks: 0; faults: 0" in done.stdout
    for said in (
        "task / form / language",
        "patient or phantom",
        "copy of a text",
        "picture pixels",
        "key of the right",
    ):
        assert said in done.stdout
    rows = list(release_rows(release))
    found = check_release(release)
    assert sum(found.counts["task"].values()) == len(rows)
    assert found.examined["patient or phantom"] == len({row.group_id for row in rows})


def plant(kind: str) -> Callable[[list[ReleaseRow]], list[ReleaseRow]]:
    """A change of rows that plants one kind of leak between train and test."""

    def change(rows: list[ReleaseRow]) -> list[ReleaseRow]:
        pictured = [row for row in rows if row.split == "train" and row.images and row.origin == "phantom"]
        texts = [row for row in rows if row.split == "train" and not row.images and len(row.messages[0].content) > 200]
        row = texts[0] if kind == "copy of a text" else pictured[0]
        update: dict[str, Any] = {"id": "plan-planted00000", "split": "test", "evidence_ids": ("nothing-else",)}
        if kind == "patient or phantom":
            picture = next(other for other in rows if other.split == "test" and other.images)
            update |= {"images": picture.images, "messages": picture.messages, "answer": picture.answer}
            update |= {"answer_kind": picture.answer_kind, "categories": picture.categories}
            update |= {"options": picture.options}
        else:
            update["group_id"] = "a patient of its own"
        if kind == "document, study or figure":
            update["evidence_ids"] = row.evidence_ids
        if kind == "copy of a text":
            asked, said = row.messages
            update["messages"] = (asked.model_copy(update={"content": asked.content.replace("the ", "the  ")}), said)
        return [*rows, ReleaseRow.model_validate(row.model_copy(update=update).model_dump())]

    return change


@pytest.mark.parametrize("kind", ["patient or phantom", "document, study or figure", "picture bytes", "copy of a text"])
def test_a_planted_leak_is_named_with_its_rows(release: Path, tmp_path: Path, kind: str) -> None:
    found = check_release(changed(release, tmp_path / "leaky", plant(kind)))
    leaks = [leak for leak in found.leaks if leak.kind == kind]
    assert leaks
    assert any(("test", "plan-planted00000") in leak.rows for leak in leaks)
    assert all(len(leak.rows) >= 2 for leak in leaks)


def test_the_command_ends_with_one_and_the_offending_pair(release: Path, tmp_path: Path, command: Command) -> None:
    leaky = changed(release, tmp_path / "leaky", plant("picture bytes"))
    done = command("data", "check", leaky)
    assert done.returncode == 1
    assert "LEAK (picture bytes)" in done.stdout
    assert "test plan-planted00000" in done.stdout


def test_a_benchmark_that_shares_a_question_is_named(release: Path, tmp_path: Path, command: Command) -> None:
    def only_training(rows: list[ReleaseRow]) -> list[ReleaseRow]:
        row = next(row for row in rows if row.split == "train" and len(row.messages[0].content) > 300)
        return [row.model_copy(update={"id": "asked-here", "split": "test"})]

    benchmark = changed(release, tmp_path / "bench", only_training)
    done = command("data", "check", release, "--benchmark", benchmark)
    assert done.returncode == 1
    assert "LEAK (benchmark)" in done.stdout
    assert "bench/asked-here" in done.stdout


def test_a_changed_file_and_a_row_in_the_wrong_split_are_found(release: Path, tmp_path: Path) -> None:
    wrong = changed(release, tmp_path / "wrong", lambda rows: rows)
    rows = list(read_records(wrong / "data" / "validation.parquet", ReleaseRow))
    write_records(
        wrong / "data" / "validation.parquet", ReleaseRow, [row.model_copy(update={"split": "test"}) for row in rows]
    )
    with pytest.raises(ReadError, match="differs from its manifest"):
        check_release(wrong)
    write_manifest(wrong, "release")
    found = check_release(wrong)
    assert any("stands in validation.parquet" in fault for fault in found.faults)
    assert not found.clean
