"""Prompts as files: `prompts/STAGE_TASK.LANGUAGE.md`, versioned in their heading, hashed, filled field by field.

Convention: a heading in YAML (stage, task, language, version, and for drafts the form of question and answer), then
`# system` and `# user`. `{{name}}` stands for a value; values are JSON with `<` and `>` escaped, so that nothing in
them can end the field it stands in.

Trap: the hash covers the whole file; raise `version` when the words change, so that people see it, too.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from data_pipeline.drafting.tasks.words import ruled_templates
from data_pipeline.writers.schemas import Language, TaskName
from spinemed.errors import ConfigError
from spinemed.questions import Template, load_templates
from spinemed.records import Message

__all__ = ["Prompt", "all_templates", "data_field", "load_prompts", "prompts_sha256", "template_name"]

_FOLDER = Path(__file__).parents[1] / "prompts"
_FIELD = re.compile(r"\{\{([a-z_]+)\}\}")
_FILE = re.compile(r"\A---\n(.*?)\n---\n# system\n(.*?)\n# user\n(.*)\Z", re.DOTALL)


class _Heading(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: Literal["draft", "revise"]
    task: TaskName
    language: Language
    version: int
    question: str = ""
    """Of drafts whose question is always the same; empty where the model writes it."""
    ask: str = ""
    """The line that states the form of the answer."""


@dataclass(frozen=True)
class Prompt:
    """One prompt file."""

    heading: _Heading
    system: str
    user: str
    sha256: str

    @property
    def name(self) -> str:
        """Name with version, for records."""
        heading = self.heading
        return f"{heading.stage}_{heading.task}.{heading.language} v{heading.version}"

    def messages(self, values: dict[str, str], *, images: int = 0) -> tuple[Message, ...]:
        """System and user turn; pictures come before the words.

        Args:
            values: What stands for each `{{name}}`; put through :func:`data_field` where it is content.
            images: Number of pictures.

        Raises:
            ConfigError: The prompt names a value that is not given.
        """

        def value(match: re.Match[str]) -> str:
            if match[1] not in values:
                raise ConfigError(
                    f"asks for {{{{{match[1]}}}}}, which does not exist", file=_FOLDER, field=self.name,
                    cure=f"use {', '.join(sorted(values))}",
                )  # fmt: skip
            return values[match[1]]

        text = "<image>\n" * images + _FIELD.sub(value, self.user).strip()
        return Message(role="system", content=self.system), Message(role="user", content=text)


def data_field(value: Any) -> str:
    """Content as JSON that can stand between tags: what it holds cannot close them, nor stand for a picture."""
    text = json.dumps(value, ensure_ascii=False, indent=None, sort_keys=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


@functools.cache
def load_prompts(folder: Path = _FOLDER) -> dict[tuple[str, TaskName, Language], Prompt]:
    """All prompts by stage, task and language.

    Raises:
        ConfigError: A file has no heading or not the two parts, or its name says something else.
    """
    found: dict[tuple[str, TaskName, Language], Prompt] = {}
    for file in sorted(folder.glob("*.md")):
        data = file.read_bytes()
        match = _FILE.match(data.decode())
        try:
            if match is None:
                raise ValueError("no heading, `# system` and `# user`")
            heading = _Heading.model_validate(yaml.safe_load(match[1]))
        except (ValueError, ValidationError, yaml.YAMLError) as error:
            first = str(error).splitlines()[0]
            raise ConfigError(f"is no prompt ({first})", file=file, cure="see the other files") from error
        if file.name != f"{heading.stage}_{heading.task}.{heading.language}.md":
            raise ConfigError("its name and its heading differ", file=file, cure="rename it")
        digest = hashlib.sha256(data).hexdigest()
        key = (heading.stage, heading.task, heading.language)
        found[key] = Prompt(heading, match[2].strip(), match[3].strip(), digest)
    return found


def prompts_sha256() -> str:
    """Hash of all prompts together."""
    return hashlib.sha256("".join(prompt.sha256 for prompt in load_prompts().values()).encode()).hexdigest()


def template_name(task: TaskName, language: Language) -> str:
    """Name of the template under which a written item is composed and checked."""
    return f"written_{task}_{language}"


def all_templates() -> dict[str, Template]:
    """The rule writer's wordings, and the frames around what it or a model wrote of the four tasks."""
    found = dict(load_templates()) | ruled_templates()
    for (stage, task, language), prompt in load_prompts().items():
        if stage == "draft":
            name = template_name(task, language)
            found[name] = Template(name, ("$question",), prompt.heading.ask, "", prompt.sha256)
    return found
