"""Croissant: a release described in JSON-LD, so that tools find its files, columns, licences and limits.

Convention: version 1.0 with the vocabulary for responsible use; one file object and one record set for each split.
Columns that hold lists of turns and pictures are described in words, because their nesting has no Croissant type; the
flat ones can be read through `mlcroissant`.

Trap: `license` names what stands in the rows, and rows differ; the column `licence` says it row by row.

Source of the vocabulary: http://mlcommons.org/croissant/1.0, http://mlcommons.org/croissant/RAI/1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from spinemed import __version__

if TYPE_CHECKING:
    from data_pipeline.metadata import Lineage

__all__ = ["COLUMNS", "croissant"]

COLUMNS = {
    "id": "Id of the row, made of what it asks about.",
    "split": "train, validation or test; what is joined by a patient, phantom, document or picture stands in one.",
    "axis": "Level identification, pathology or surgical planning.",
    "task": "Multiple choice, open question, level, category, construct, consultation or report.",
    "language": "en or zh.",
    "answer": "The answer: the assistant's last turn.",
    "answer_kind": "What the answer is: a level, disc, range, category, option letter or text.",
    "origin": "real, or phantom: a computed picture, not a patient.",
    "source_id": "Source of the row.",
    "group_id": "Patient, phantom or document group: the cluster of every interval.",
    "licence": "SPDX identifier under which this row is handed on.",
    "attribution": "Credit that this row asks for.",
    "instance_sha256": "Hash of the instance that the row was made from.",
}
"""The flat columns of a release row."""
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(data: Mapping[str, tuple[str, int]], lineage: Lineage, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a release.

    Args:
        data: Hash and bytes of each data file, by path.
        lineage: What it rests on.
        facts: Counts, licences and whether it may be handed on.
    """
    splits = {PurePosixPath(path).stem: path for path in data}
    phantoms = lineage.counts["origin"].get("phantom", 0)
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": "spinemed-release",
        "description": (
            f"{facts['counts']['total']} questions, conversations and reports about the spine with their answers, in "
            f"{facts['components']} connected components that never cross splits. Columns `messages` (role and content "
            "of each turn, with <image> where a picture belongs) and `images` (bytes and file name) are nested. "
            "Research use only."
        ),
        "version": __version__,
        "license": sorted(facts["licences"]),
        "creator": {"@type": "sc:Organization", "name": "SpineMed"},
        "citeAs": "; ".join(dict.fromkeys(source.attribution for source in lineage.sources if source.attribution)),
        "inLanguage": sorted(lineage.counts["language"]),
        "isLiveDataset": False,
        "rai:dataCollection": "Published texts and pictures read under their licences, and computed phantoms; "
        "see DATASHEET.md.",
        "rai:dataAnnotationProtocol": "Answers come from labels, masks, phantom draws and source sentences, or from "
        "the models named in DATASHEET.md; each row names its evidence.",
        "rai:dataLimitations": "Research use only; not a medical device. Rows tagged truth:model_mask rest on a "
        "segmentation model. No row has been reviewed by a clinician unless DATASHEET.md says so.",
        "rai:dataBiases": f"{phantoms} of {facts['counts']['total']} rows show computed phantoms, which are no "
        "sample of patients.",
        "rai:personalSensitiveInformation": f"Hospital patients: {lineage.cases}. Other pictures of people were "
        "published by their owners.",
        "rai:dataUseCases": "Fine-tuning and measuring vision-language models on the spine, for research.",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": f"{split}-file",
                "name": f"{split}-file",
                "contentUrl": path,
                "contentSize": f"{data[path][1]} B",
                "encodingFormat": "application/x-parquet",
                "sha256": data[path][0],
            }
            for split, path in splits.items()
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": split,
                "name": split,
                "description": f"Rows of the split {split}.",
                "key": {"@id": f"{split}/id"},
                "field": [_field(split, name, words) for name, words in COLUMNS.items()],
            }
            for split in splits
        ],
    }


def _field(split: str, name: str, words: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{split}/{name}",
        "name": name,
        "description": words,
        "dataType": "sc:Text",
        "source": {"fileObject": {"@id": f"{split}-file"}, "extract": {"column": name}},
    }
