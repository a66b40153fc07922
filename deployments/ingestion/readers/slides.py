"""PPTX: a section a slide, headed by its title, the speaker's notes below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pptx
from pptx.shapes.group import GroupShape

from deployments.errors import DamagedDocument, DocumentTooLarge
from deployments.ingestion.readers.archive import open_archive, refuse_entities
from deployments.ingestion.readers.document import DocumentBuilder, ExtractedDocument, Source

if TYPE_CHECKING:
    from pptx.shapes.base import BaseShape
    from pptx.slide import Slide


def read(source: Source) -> ExtractedDocument:
    """Pages are slide numbers that start at 1."""
    with open_archive(source, "ppt/presentation.xml") as archive:
        refuse_entities(archive)
    presentation = pptx.Presentation(str(source.path))
    slides = len(presentation.slides)
    if slides > source.limits.max_pages:
        raise DocumentTooLarge(
            f"The presentation has {slides:,} slides; the limit is {source.limits.max_pages:,}."
        )
    builder = DocumentBuilder(source.limits)
    for number, slide in enumerate(presentation.slides, 1):
        title = slide.shapes.title
        if title is not None:
            builder.heading(1, title.text_frame.text)
        blocks = list(_blocks(slide, title, source.limits.max_depth))
        builder.add("\n\n".join(blocks), page=number)
    properties = presentation.core_properties
    title_text = "" if properties.title == "PowerPoint Presentation" else properties.title
    return builder.build(title_text or "", source.stem, {"pages": slides})


def _blocks(slide: Slide, title: BaseShape | None, max_depth: int) -> Iterator[str]:
    title_id = title.shape_id if title is not None else None
    for shape in _flat(slide.shapes, max_depth):
        if shape.shape_id == title_id:
            continue
        if shape.has_text_frame:
            yield shape.text_frame.text  # type: ignore[attr-defined]
        elif shape.has_table:
            yield "\n".join(
                " | ".join(" ".join(cell.text.split()) for cell in row.cells)
                for row in shape.table.rows  # type: ignore[attr-defined]
            )
    if slide.has_notes_slide:
        notes = slide.notes_slide.notes_text_frame
        if notes is not None and notes.text.strip():
            yield f"Notes: {notes.text}"


def _flat(shapes: Iterable[BaseShape], max_depth: int) -> Iterator[BaseShape]:
    if max_depth == 0:
        raise DamagedDocument("The presentation nests its shapes too deeply to be read.")
    for shape in shapes:
        if isinstance(shape, GroupShape):
            yield from _flat(shape.shapes, max_depth - 1)
        else:
            yield shape
