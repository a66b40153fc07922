// How an answer came about: the passages with their scores, the stages with their times.

import { el } from "./dom.js";
import { passageCard } from "./passages.js";
import { count, duration } from "./units.js";

const STAGES = [
  ["queue", "Waiting"],
  ["embed", "Embedding"],
  ["search", "Search"],
  ["rerank", "Reranking"],
  ["select", "Choosing"],
  ["generate", "Writing"],
  ["ground", "Checking"],
];

/** The folded account of an answer. */
export function evidence(result) {
  const cards = result.passages.map((passage) => passageCard(passage, result.citations));
  return el(
    "details",
    { class: "evidence" },
    el("summary", {}, "How this was answered"),
    el(
      "div",
      { class: "evidence-body" },
      el("h3", {}, cards.length ? `${count(cards.length, "passage")} read` : "Nothing near enough was found"),
      cards.length ? el("ol", { class: "findings" }, cards) : null,
      el("h3", {}, "Time"),
      waterfall(result.timings_ms),
      facts(result),
    ),
  );
}

/** Stages one after the other, as bars on a common scale. */
function waterfall(timings) {
  const total = timings.total ?? Object.values(timings).reduce((sum, ms) => sum + ms, 0);
  const rows = [];
  let at = 0;
  for (const [stage, name] of STAGES) {
    const ms = timings[stage];
    if (ms === undefined) continue;
    rows.push({ name, at, ms });
    if (stage === "generate" && timings.first_token !== undefined) {
      rows.push({ name: "to the first word", at, ms: timings.first_token, inner: true });
    }
    at += ms;
  }
  const scale = Math.max(total, at, 0.001);
  return el(
    "div",
    { class: "waterfall" },
    el(
      "table",
      {},
      el("caption", { class: "visually-hidden" }, "Time by stage"),
      el("tbody", {}, rows.map((row) => stageRow(row, scale))),
      el(
        "tfoot",
        {},
        el("tr", {}, el("th", { scope: "row" }, "Total"), el("td", {}), el("td", { class: "ms" }, duration(total))),
      ),
    ),
  );
}

function stageRow({ name, at, ms, inner }, scale) {
  const bar = el("span", { class: "span" });
  bar.style.marginInlineStart = `${(at / scale) * 100}%`;
  bar.style.inlineSize = `max(2px, ${(ms / scale) * 100}%)`;
  return el(
    "tr",
    { class: inner ? "inner" : "" },
    el("th", { scope: "row" }, name),
    el("td", { class: "track", "aria-hidden": "true" }, bar),
    el("td", { class: "ms" }, duration(ms)),
  );
}

function facts(result) {
  const { prompt_tokens: read, completion_tokens: written } = result.usage;
  const known = [
    ["Model", result.model],
    ["Tokens", `${read} read, ${written} written`],
    ["Support", `${Math.round(result.grounding_score * 100)} %`],
    ["Request", result.request_id],
  ];
  return el(
    "dl",
    { class: "facts" },
    known.filter(([, value]) => value).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}
