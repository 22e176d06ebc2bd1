"""Reference of the command line: one page an application, every command with its arguments and options.

Convention: everything is read from the running program (`spinemed.cli`), so a page cannot differ from `--help`.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import typer
from words import cell, code, type_words, value_words

from spinemed.cli import app


def walk_commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it, in alphabetical order of applications and own order within."""
    group: Any = typer.main.get_command(app)
    for name in group.list_commands(None):
        yield from _walk(group.get_command(None, name), (name,))


def _walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name in command.list_commands(None):
            yield from _walk(command.get_command(None, name), (*words, name))
    else:
        yield words, command


def anchor(words: tuple[str, ...]) -> str:
    """The anchor of a command on its page."""
    return "-".join(("spinemed", *words))


def command_pages() -> dict[str, str]:
    """The pages of the command reference: path in the site to Markdown."""
    group: Any = typer.main.get_command(app)
    found: dict[str, list[tuple[tuple[str, ...], Any]]] = {}
    for words, command in walk_commands():
        found.setdefault(words[0], []).append((words, command))
    pages = {}
    for name, commands in found.items():
        top = group.get_command(None, name)
        parts = [f"# spinemed {name}\n"]
        if hasattr(top, "commands"):
            parts.append(_help(top.help))
            parts.append(
                "\n".join(
                    [
                        "| command | what it does |",
                        "| --- | --- |",
                        *(f"| [`spinemed {' '.join(w)}`](#{anchor(w)}) | {_first(c)} |" for w, c in commands),
                    ]
                )
                + "\n"
            )
        parts += [_part(words, command) for words, command in commands]
        pages[f"reference/commands/{name}.md"] = "\n".join(parts)
    pages["reference/commands/index.md"] = _index(found)
    return pages


def _index(found: dict[str, list[tuple[tuple[str, ...], Any]]]) -> str:
    parts = [
        "# Commands\n\nEvery command, read from the program. `--help` after any of them prints the same. "
        "A fault that you can mend is one line that names file, line, field and cure, and exit code 2.\n",
        "| command | what it does |\n| --- | --- |",
    ]
    for name, commands in found.items():
        parts += [f"| [`spinemed {' '.join(w)}`]({name}.md#{anchor(w)}) | {_first(c)} |" for w, c in commands]
    return "\n".join(parts) + "\n"


def _help(text: str | None) -> str:
    return "\n\n".join(cell(part) for part in (text or "").replace("\b", "").split("\n\n")) + "\n"


def _first(command: Any) -> str:
    text = " ".join((command.help or "").split("\n\n")[0].split())
    end = text.find(". ")
    return cell(text if end < 0 else text[: end + 1])


def _part(words: tuple[str, ...], command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not getattr(one, "hidden", False)]
    usage = " ".join(["spinemed", *words, *("[OPTIONS]" if options else "",), *(_metavar(one) for one in arguments)])
    parts = [f"## spinemed {' '.join(words)} {{ #{anchor(words)} }}\n", _help(command.help)]
    parts.append(f"```\n{' '.join(usage.split())}\n```\n")
    if arguments:
        rows = [f"| {code(_metavar(one))} | {cell(one.help or '')} |" for one in arguments]
        parts.append("\n".join(["| argument | meaning |", "| --- | --- |", *rows]) + "\n")
    if options:
        rows = [f"| {_names(one)} | {cell(one.help or '')} | {_default(one)} |" for one in options]
        body = "\n".join(["| option | meaning | default |", "| --- | --- | --- |", *rows])
        parts.append(f'<div class="options" markdown>\n\n{body}\n\n</div>\n')
    return "\n".join(parts)


def _metavar(one: Any) -> str:
    name = str(one.metavar or one.name.upper())
    name = name + "..." if one.nargs == -1 else name
    return name if one.required else f"[{name}]"


def _names(one: Any) -> str:
    names = "<br>".join(f"<code>{name}</code>" for name in (*one.opts, *one.secondary_opts))
    if one.is_flag:
        return names
    return f"{names} {_kind(one)}" + (", repeatable" if one.multiple else "")


def _kind(one: Any) -> str:
    described = getattr(one, "type_descriptor", None)
    if described is not None:  # typer that carries its own parser
        annotation = described.annotation
        while typing.get_origin(annotation) is not None and type(None) in typing.get_args(annotation):
            annotation = next(arg for arg in typing.get_args(annotation) if arg is not type(None))
        return f"<em>{type_words(annotation, (), lambda model: model.__name__)}</em>"
    choices = getattr(one.type, "choices", None)  # typer on click
    return f"<em>{cell(' · '.join(map(str, choices)) if choices else one.type.name)}</em>"


def _default(one: Any) -> str:
    if one.required:
        return "**required**"
    value = one.default() if callable(one.default) else one.default
    if value is None or value == () or value == [] or (one.is_flag and not value):
        return "–"
    return value_words(getattr(value, "value", value))
