"""What the rule writer is asked for besides questions on three axes: the four tasks of a study, and texts.

Convention: numbers are items of one study in each language and form; a fraction is drawn by seed. Nothing is written
where nothing is asked for.

Trap: a text-only item carries the study's record in words, so its answer follows from them; the picture form does not.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spinemed.config import Config

__all__ = ["StudyTasks", "TextTasks"]


class StudyTasks(Config):
    """Items of each task that one study gives, in each language and form; a fraction is drawn by seed."""

    multiple_choice: float = Field(default=0, ge=0, le=3)
    """Multiple choice on what the record states."""
    open: float = Field(default=0, ge=0, le=3)
    """Open questions: what is fractured, what is in view, what the picture cannot show."""
    consultation: float = Field(default=0, ge=0, le=1)
    """A conversation that asks for red flags before it advises."""
    report: float = Field(default=0, ge=0, le=1)
    """A report in six parts."""
    languages: tuple[Literal["en", "zh"], ...] = Field(default=("en", "zh"), min_length=1)
    """Each item is written in each of these."""
    forms: tuple[Literal["text", "image"], ...] = Field(default=("text", "image"), min_length=1)
    """With the study's record in words, with its picture."""


class TextTasks(Config):
    """Open questions on texts, worded by their sources."""

    answers: bool = False
    """A printed question and the first sentences of its printed answer."""
    figures: bool = False
    """What a figure shows, in the words of its caption."""
    captions: bool = False
    """Level, part of the spine and imaging technique that a caption without its picture names."""
