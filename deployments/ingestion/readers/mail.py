"""E-mail: the headers people read, then the text of the message."""

from __future__ import annotations

import email
from email import policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

from deployments.errors import DamagedDocument
from deployments.ingestion.readers.decoding import decode
from deployments.ingestion.readers.document import DocumentBuilder, ExtractedDocument, Source
from deployments.ingestion.readers.web_page import add_page

_SHOWN = ("From", "To", "Cc", "Date", "Subject")


def read(source: Source) -> ExtractedDocument:
    """Title is the subject; attachments are named in the metadata, not read."""
    message = email.message_from_bytes(source.path.read_bytes(), policy=policy.default)
    if not any(name in message for name in _SHOWN):
        raise DamagedDocument("The file has none of an e-mail's headers.")
    _check_depth(message, source.limits.max_depth)
    builder = DocumentBuilder(source.limits)
    builder.add("\n".join(f"{name}: {message[name]}" for name in _SHOWN if message[name]))
    body = message.get_body(("plain", "html"))
    attachments = [part.get_filename() or "" for part in message.iter_attachments()]
    if isinstance(body, EmailMessage):
        text = _text(body)
        if body.get_content_subtype() == "html":
            add_page(builder, text)
        else:
            builder.add(text)
    metadata = {
        "from": str(message["From"] or ""),
        "date": _iso_date(message),
        "attachments": ", ".join(name for name in attachments if name),
    }
    return builder.build(str(message["Subject"] or ""), source.stem, metadata)


def _text(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    return decode(payload, part.get_content_charset()) if isinstance(payload, bytes) else ""


def _iso_date(message: EmailMessage) -> str:
    try:
        return parsedate_to_datetime(str(message["Date"])).isoformat()
    except ValueError:  # missing or not a date
        return ""


def _check_depth(message: EmailMessage, max_depth: int) -> None:
    level: list[EmailMessage] = [message]
    for _ in range(max_depth):
        level = [
            part
            for parent in level
            if parent.is_multipart()
            for part in parent.iter_parts()
            if isinstance(part, EmailMessage)
        ]
        if not level:
            return
    raise DamagedDocument("The e-mail nests its parts too deeply to be read.")
