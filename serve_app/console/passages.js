// Passages: as a list of findings, and one of them in full with its cited words marked.

import { place } from "./answer.js";
import { el, icon, openDialog } from "./dom.js";

const SCORES = [
  ["dense_score", "Meaning", "How near the passage is to the question in meaning"],
  ["lexical_score", "Words", "How well its words match, by BM25"],
  ["rerank_score", "Rerank", "The reranker's second opinion"],
  ["score", "Final", "What the order is made of"],
];

/** The scores of a passage that were computed, as a description list. */
export function scores(passage) {
  const known = SCORES.filter(([field]) => passage[field] !== null && passage[field] !== undefined);
  return el(
    "dl",
    { class: "scores" },
    known.map(([field, name, meaning]) =>
      el("div", { title: meaning }, el("dt", {}, name), el("dd", {}, passage[field].toFixed(3))),
    ),
  );
}

/** A finding in a list; its title opens it in full. */
export function passageCard(passage, citations = []) {
  return el(
    "li",
    { class: "finding" },
    el(
      "button",
      { type: "button", class: "finding-title", onclick: () => openPassage(passage, citations) },
      el("span", { class: "number" }, String(passage.number)),
      el("span", {}, place(passage)),
    ),
    el("p", { class: "excerpt" }, passage.text),
    scores(passage),
  );
}

/** Open a passage over the page. `citations` bound the words to mark. */
export function openPassage(passage, citations = []) {
  const close = el(
    "button",
    { type: "button", class: "quiet icon", "aria-label": "Close", onclick: () => dialog.close() },
    icon("close"),
  );
  const dialog = el(
    "dialog",
    { class: "passage", "aria-labelledby": "passage-title" },
    el(
      "div",
      { class: "passage-head" },
      el(
        "div",
        {},
        el("p", { class: "over" }, `Passage ${passage.number}`),
        el("h2", { id: "passage-title" }, passage.title),
        el("p", { class: "where" }, [passage.page === null ? "" : `Page ${passage.page}`, passage.heading].filter(Boolean).join(" · ")),
      ),
      close,
    ),
    el("blockquote", { class: "text", tabindex: "0" }, marked(passage.text, spans(passage, citations))),
    el("p", { class: "source" }, el("span", { class: "hint" }, "Source "), el("code", {}, passage.source)),
    scores(passage),
  );
  openDialog(dialog);
  close.focus();
  dialog.querySelector("mark")?.scrollIntoView({ block: "center" });
}

function spans(passage, citations) {
  return citations
    .filter((citation) => citation.passage === passage.number && citation.quote_end > citation.quote_start)
    .map((citation) => [citation.quote_start, citation.quote_end])
    .sort((one, other) => one[0] - other[0]);
}

/** `text` with the spans marked. The API counts characters; JavaScript counts UTF-16 units. */
export function marked(text, ranges) {
  const characters = Array.from(text);
  const nodes = [];
  let from = 0;
  for (const [start, end] of ranges) {
    if (end <= from) continue;
    const begin = Math.max(start, from);
    nodes.push(characters.slice(from, begin).join(""));
    nodes.push(el("mark", {}, characters.slice(begin, end).join("")));
    from = end;
  }
  nodes.push(characters.slice(from).join(""));
  return nodes;
}
