// An answer's text: citations become buttons, and the whole can be copied as Markdown.

import { el } from "./dom.js";

const MARKER = /\[(\d{1,3})\]/g;

/** The text as nodes; a marker of a passage that was given is a button that opens it. */
export function answerNodes(text, passages, open) {
  const known = new Map(passages.map((passage) => [passage.number, passage]));
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(MARKER)) {
    const passage = known.get(Number(match[1]));
    if (!passage) continue;
    // Neither a lone marker nor a lone full stop may begin a line.
    const after = match.index + match[0].length;
    const [stop] = text.slice(after).match(/^[.,;:!?)\]»”]*/);
    nodes.push(text.slice(from, match.index).replace(/ $/, "\u00a0"));
    nodes.push(stop ? el("span", { class: "together" }, marker(passage, open), stop) : marker(passage, open));
    from = after + stop.length;
  }
  nodes.push(text.slice(from));
  return nodes;
}

function marker(passage, open) {
  const name = `Passage ${passage.number}: ${place(passage)}`;
  return el(
    "button",
    { type: "button", class: "cite", "aria-label": name, title: place(passage), onclick: () => open(passage) },
    String(passage.number),
  );
}

/** Where a passage stands: title, page, heading. */
export function place({ title, page, heading }) {
  return [title, page === null || page === undefined ? "" : `p. ${page}`, heading]
    .filter(Boolean)
    .join(" · ");
}

/** The passages that an answer cites, once each, by number. */
export function cited(result) {
  const numbers = new Set(result.citations.map((citation) => citation.passage));
  for (const match of result.answer.matchAll(MARKER)) numbers.add(Number(match[1]));
  return result.passages.filter((passage) => numbers.has(passage.number));
}

/** The answer with an [n] behind every sentence that the platform, not the model, has cited. */
export function marked(result) {
  // Offsets count characters; a string of JavaScript counts half of some.
  const characters = Array.from(result.answer);
  const places = new Map();
  for (const { origin, end, passage } of result.citations) {
    if (origin !== "platform") continue;
    places.set(end, (places.get(end) ?? new Set()).add(passage));
  }
  return characters.map((character, index) => character + markers(places.get(index + 1))).join("");
}

function markers(passages) {
  return passages ? Array.from(passages, (number) => ` [${number}]`).join("") : "";
}

/** Question, answer and sources, as one would paste them into a note. */
export function asMarkdown(question, result) {
  const sources = cited(result).map((passage) => `- [${passage.number}] ${place(passage)} (${passage.source})`);
  const quoted = question.split("\n").map((line) => `> ${line}`).join("\n");
  return [quoted, marked(result), sources.join("\n")].filter(Boolean).join("\n\n") + "\n";
}
