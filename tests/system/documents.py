"""Real files with facts in them that no model knows."""

from __future__ import annotations

from pathlib import Path

import docx
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas


def write_pdf(path: Path) -> Path:
    canvas = Canvas(str(path), pagesize=A4)
    canvas.setTitle("Lighthouse manual")
    for page in (
        ["The lighthouse at Cape Orrin was built in 1874.", "Its tower is 31 metres high."],
        [
            "The lamp of the Cape Orrin lighthouse burns rapeseed oil.",
            "It is lit every evening by the keeper, Maud Ellery.",
        ],
    ):
        for row, line in enumerate(page):
            canvas.drawString(72, 760 - 20 * row, line)
        canvas.showPage()
    canvas.save()
    return path


def write_docx(path: Path) -> Path:
    document = docx.Document()
    document.core_properties.title = "Ferry timetable"
    document.add_heading("Ferry timetable", 1)
    document.add_heading("Summer", 2)
    document.add_paragraph("In summer the ferry to Brannock leaves at 07:40 from pier three.")
    document.add_heading("Winter", 2)
    document.add_paragraph("In winter there is no ferry to Brannock on Sundays.")
    document.save(str(path))
    return path


def write_html(path: Path) -> Path:
    path.write_text(
        "<html><head><title>Bakery</title><script>alert('no')</script></head><body>"
        "<h1>Bakery</h1><p>The village bakery sells seventeen kinds of bread.</p>"
        "<p>Its rye bread rests for thirty hours before it is baked.</p></body></html>"
    )
    return path


def write_markdown(path: Path) -> Path:
    path.write_text(
        "# Observatory\n\n## Telescope\n\nThe telescope of the Quillfeather observatory has a "
        "mirror of 2.4 metres.\n\n## Visits\n\nVisitors are welcome on the first Friday of each "
        "month.\n"
    )
    return path
