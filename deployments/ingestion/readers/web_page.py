"""HTML: the main content, without what only a browser or a visitor needs."""

from __future__ import annotations

import re

from lxml import etree
from lxml import html as lxml_html

from deployments.ingestion.readers.decoding import decode
from deployments.ingestion.readers.document import DocumentBuilder, ExtractedDocument, Source

_CHARSET = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,200}(?:charset|encoding)\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE
)
_CHARSET_BYTES = 4096

_DROPPED = frozenset(
    [
        "script",
        "style",
        "noscript",
        "template",
        "iframe",
        "object",
        "embed",
        "applet",
        "svg",
        "canvas",
        "audio",
        "video",
        "map",
        "nav",
        "aside",
        "form",
        "button",
        "select",
        "textarea",
        "input",
        "dialog",
        "head",
        "title",
        "link",
        "meta",
    ]
)
_DROPPED_ROLES = frozenset(
    ["navigation", "banner", "contentinfo", "search", "complementary", "menu"]
)
_DROPPED_CLASSES = frozenset(
    [
        "navheader",
        "navfooter",
        "navbar",
        "nav",
        "breadcrumb",
        "breadcrumbs",
        "sidebar",
        "sphinxsidebar",
        "headerlink",
        "cookie-banner",
        "skip-link",
    ]
)
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "header",
        "hr",
        "html",
        "li",
        "main",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "tr",
        "ul",
        "br",
    ]
)
_PARAGRAPHS = frozenset(
    ["p", "pre", "table", "ul", "ol", "dl", "blockquote", "figure", "section", "article"]
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_SPACE = re.compile(r"\s+")


def read(source: Source) -> ExtractedDocument:
    """Sections by heading; `title` is the page's own."""
    data = source.path.read_bytes()
    declared = _CHARSET.search(data[:_CHARSET_BYTES])
    text = decode(data, declared[1].decode("ascii") if declared else None)
    builder = DocumentBuilder(source.limits)
    title = add_page(builder, text)
    return builder.build(title, source.stem)


def add_page(builder: DocumentBuilder, text: str) -> str:
    """Add a page's sections to `builder`, and return its title."""
    # A declaration of an encoding contradicts text that is decoded already.
    text = re.sub(r"\A\s*<\?xml[^>]*>", "", text).replace("\x00", "")
    if not text.strip():
        return ""
    parser = lxml_html.HTMLParser(encoding="utf-8", no_network=True, huge_tree=False)
    try:
        root = lxml_html.document_fromstring(
            text.encode("utf-8", "replace"), parser=parser, ensure_head_body=False
        )
    except etree.ParserError:  # no element at all
        return ""
    title = root.findtext(".//title") or ""
    _Page(builder).add(_main_content(root))
    return _SPACE.sub(" ", title).strip()


def _main_content(root: etree._Element) -> etree._Element:
    """The element that holds what the page is about: `main`, a sole `article`, or the body."""
    found = root.xpath(".//main | .//*[@role='main']") or root.xpath(".//article")
    if len(found) == 1 and len(_SPACE.sub("", "".join(found[0].itertext()))) > 0:
        return found[0]
    body = root.find(".//body")
    return root if body is None else body


class _Page:
    """Walks the tree without recursion, so that no nesting can exhaust the stack."""

    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._pieces: list[str] = []
        self._verbatim = 0  # depth of <pre> around

    def add(self, root: etree._Element) -> None:
        walk = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
        for event, element in walk:
            if event in ("comment", "pi"):
                self._text(element.tail)
            elif event == "start":
                if _is_dropped(element, root):
                    walk.skip_subtree()
                else:
                    self._open(element)
            else:
                if not _is_dropped(element, root):
                    self._close(element)
                if element is not root:
                    self._text(element.tail)
        self._flush()

    def _open(self, element: etree._Element) -> None:
        tag = element.tag
        if tag in _HEADINGS:
            self._flush()
        elif tag == "pre":
            self._break("\n\n")
            self._verbatim += 1
        elif tag in _BLOCKS:
            self._break("\n\n" if tag in _PARAGRAPHS and not _in_item(element) else "\n")
        if tag == "li":
            self._pieces.append("- ")
        elif tag in ("td", "th") and element.getprevious() is not None:
            self._pieces.append(" | ")
        self._text(element.text)

    def _close(self, element: etree._Element) -> None:
        tag = element.tag
        if tag in _HEADINGS:
            title = "".join(self._pieces)
            self._pieces.clear()
            self._builder.heading(_HEADINGS[tag], title)
            return
        if tag == "pre":
            self._verbatim -= 1
        if tag in _BLOCKS:
            self._break("\n\n" if tag in _PARAGRAPHS and not _in_item(element) else "\n")

    def _text(self, text: str | None) -> None:
        if not text:
            return
        if self._verbatim:
            self._pieces.append(text)
            return
        text = _SPACE.sub(" ", text)
        if text[0] == " " and (not self._pieces or self._pieces[-1][-1] in " \n"):
            text = text[1:]
        if text:
            self._pieces.append(text)

    def _break(self, lines: str) -> None:
        """End the line, or the paragraph; the break of an element and of its parent are one."""
        while self._pieces and self._pieces[-1] == " ":
            self._pieces.pop()
        if not self._pieces or self._pieces[-1] == "- ":
            return
        if self._pieces[-1] == "\n":
            self._pieces[-1] = lines
        elif self._pieces[-1] != "\n\n":
            self._pieces.append(lines)

    def _flush(self) -> None:
        text = "".join(self._pieces)
        self._pieces.clear()
        self._builder.add(text)


def _is_dropped(element: etree._Element, root: etree._Element) -> bool:
    if element is root:
        return False
    attributes = element.attrib
    if element.tag in _DROPPED:
        return True
    if element.tag in ("header", "footer") and element.getparent().tag == "body":
        return True
    if not attributes:
        return False
    return (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or attributes.get("role") in _DROPPED_ROLES
        or not _DROPPED_CLASSES.isdisjoint(attributes.get("class", "").split())
        or bool(_HIDDEN_STYLE.search(attributes.get("style", "")))
    )


def _in_item(element: etree._Element) -> bool:
    parent = element.getparent()
    return parent is not None and parent.tag in ("li", "dd", "td", "th")
