"""The datasheet of a release: the questions of "Datasheets for Datasets", as far as the run can answer them.

Convention: the seven parts of Gebru et al. (Communications of the ACM 64:86, 2021, doi 10.1145/3458723); every answer
is made of the run's own facts. What the run cannot know is left to whoever publishes, and is said to be.

Trap: "none recorded" is an answer; silence would read as "done".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from data_pipeline.metadata_gaps import gaps, levels_covered
from spinemed.intended import INTENDED_USE, INTENDED_USERS, NOT_A_DEVICE, OUT_OF_SCOPE, PHANTOM_STATEMENT

if TYPE_CHECKING:
    from data_pipeline.metadata import Lineage

__all__ = ["datasheet"]

_TRUTH = {
    "phantom": "the draw of a computed phantom (exact)",
    "expert_mask": "masks that their publishers call expert or test masks",
    "model_mask": "the output of a segmentation model, not an expert's reading",
    "template": "an averaged template, not one patient",
    "none": "nobody: nothing is marked in the picture",
}


def datasheet(lineage: Lineage, facts: Mapping[str, Any], account: Mapping[str, Any] | None = None) -> str:
    """The page in Markdown.

    Args:
        lineage: What the release rests on.
        facts: Counts, components, licences and whether it may be handed on.
        account: Counts of the stages before the release; without them the page says that they are not known.
    """
    counts = lineage.counts
    total = facts["counts"]["total"]
    models = sorted({author.model for author in lineage.authors if author.model != "rules"})
    ruled = sum(number for author, number in lineage.authors.items() if author.model == "rules")
    phantoms = counts["origin"].get("phantom", 0)
    covered, uncovered = levels_covered(counts["level"])
    lines = [
        "# Datasheet",
        "",
        f"{NOT_A_DEVICE} Made from the facts of the run that wrote the release.",
        "",
        "## Motivation",
        "",
        "- **For what purpose?** To fine-tune vision-language models on the spine and to measure them, level by level.",
        "- **Who created and funded it?** Not known to the run; to be named by whoever publishes it.",
        "",
        "## Composition",
        "",
        f"- **What does a row stand for?** One question, conversation or report with its answer. There are {total}, in "
        f"{facts['components']} connected components.",
        *(f"- **By {name}:** {_list(counts[name])}." for name in ("task", "form", "language", "axis", "origin")),
        f"- **By split:** {_list(facts['counts']['split'])}.",
        f"- **Computed phantoms:** {phantoms} of {total} rows{_percent(phantoms, total)}; real: {total - phantoms}. "
        + PHANTOM_STATEMENT,
        f"- **Vertebrae that rows are about:** {covered}. None about: {uncovered}.",
        "- **What does an answer rest on?** Each row names spans, figures or studies with hashes. Studies are true by "
        + ("; ".join(f"{_TRUTH[name]}: {number}" for name, number in counts["truth"].items()) or "no studies")
        + ".",
        f"- **Is it a sample?** Yes, of what the sources below hold; {phantoms} rows show computed phantoms, which are "
        "no sample of patients.",
        "- **Are there recommended splits?** Yes: whatever shares a patient, phantom, document group or picture stands "
        "in one. `spinemed data check RELEASE` proves it from the rows.",
        "- **Are there errors or redundancies?** Questions of one template share their wording. Known limits: "
        + (_sentences(lineage.caveats) or "none recorded")
        + ".",
        f"- **Does it hold data on people?** Hospital patients: {lineage.cases}. Pictures of people under the legal "
        "basis named with each source.",
        "",
        "## Collection",
        "",
        "| source | kind | origin | licence | rows | files | legal basis |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {source.id} | {source.kind} | {source.origin} | {source.licence} | {counts['source'][source.id]} | "
            f"{len(lineage.files.get(source.id, {})) or '-'} | {source.legal_basis or _basis(source.origin)} |"
            for source in lineage.sources
        ),
        "",
        "- **Who was involved?** Readers of this software; no crowd workers, no payment.",
        "- **Over what time?** Not recorded in the release; hashes name each file that was read (`prov.jsonld`).",
        "- **Were people asked for consent?** See the legal basis of each source; texts are published.",
        "",
        "## Preprocessing, labelling",
        "",
        f"- **Who wrote the rows?** Rules: {ruled}, from labels, masks, draws and source sentences. Language models: "
        f"{total - ruled}" + (f" ({', '.join(models)})" if models else "") + ".",
        "- **How were they checked?** By the written criteria of `data_pipeline/criteria`: each applied to each row, "
        "failing rows mended or dropped with the reason.",
        f"- **Were patients' data de-identified?** {_deidentified(lineage.cases)}",
        f"- **Who reviewed the rows?** {_reviewed(facts.get('reviews'))}",
        "- **Is the raw data kept?** Source files are named by hash; drafts stay in the run beside the revised rows.",
        "",
        "## Known failure rates and gaps",
        "",
        *(gaps(account) if account is not None else ["Counts of the stages before the release are not at hand."]),
        "",
        "## Uses",
        "",
        "Intended users:",
        "",
        *(f"- {point}" for point in INTENDED_USERS),
        "",
        "Intended use:",
        "",
        *(f"- {point}" for point in INTENDED_USE),
        "",
        "Out of scope; a model trained on these rows is not thereby fit for clinical use:",
        "",
        *(f"- {point}" for point in OUT_OF_SCOPE),
        "",
        "- **What might harm?** Reports and conversations are worded by template; a model may learn their form without "
        "their content. Rows whose picture is not needed carry the tag `solvable:text`.",
        "",
        "## Distribution",
        "",
        "- **Under which licence?** Row by row: " + _list(facts["licences"]) + ". Credits: `ATTRIBUTION.md`.",
        f"- **May it be handed on?** {_handed_on(facts)}",
        "",
        "## Maintenance",
        "",
        "- **Who maintains it?** To be named by whoever publishes it. A case is taken out with `spinemed data "
        "withdraw`, which lists every release and checkpoint that held it.",
        "- **How is a version told?** By the hash in `manifest.json`.",
    ]
    return "\n".join(lines) + "\n"


def _reviewed(reviews: Mapping[str, Any] | None) -> str:
    if reviews is None:
        return "None recorded: no clinician has looked at them."
    people = "; ".join(
        ", ".join(
            str(part)
            for part in (
                person["pseudonym"],
                person["specialty"] or "specialty not stated",
                "years of practice not stated" if person["years"] is None else f"{person['years']} years of practice",
                f"group {person['group']}" if person["group"] else " and ".join(person["roles"]),
                f"conflicts: {', '.join(person['conflicts'])}" if person["conflicts"] else "",
            )
            if part
        )
        for person in reviews["reviewers"]
    )
    return (
        f"Verdicts: {_list(reviews['verdicts']) or 'none'}; {reviews['adjudicated']} were settled by an adjudicator. "
        f"Released rows by verdict: {_list(reviews['released']) or 'none'}. A benchmark item needs two reviewers of "
        f"different groups who agree, or an adjudicator; neither saw the model's name or the other's decision. "
        f"Reviewers: {people or 'none'}."
    )


def _percent(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.1f} %)" if whole else ""


def _list(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())


def _sentences(texts: list[str]) -> str:
    return "; ".join(text.rstrip(".") for text in texts)


def _basis(origin: str) -> str:
    return "computed: nobody was imaged" if origin == "phantom" else "published text"


def _deidentified(cases: int) -> str:
    if not cases:
        return "No hospital case is in this release."
    return (
        f"All {cases} cases passed `spinemed data deidentify`; only notes and pictures whose record says `clean`, by "
        "the hash of their bytes, were read."
    )


def _handed_on(facts: Mapping[str, Any]) -> str:
    if facts["redistributable"]:
        return "Yes, with the credits."
    return f"No: it holds content of {', '.join(facts['not_redistributable_sources'])}."
