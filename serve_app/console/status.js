// The footer: what the system is made of and whether it is up.

import { api } from "./api.js";
import { el, fill } from "./dom.js";
import { duration } from "./units.js";

const EVERY_MS = 15000;
const NAMES = {
  redis: "State",
  milvus: "Search index",
  embedding: "Embedding",
  generation: "Language model",
};
const WORDS = { ok: "All systems up", degraded: "Partly up", unavailable: "Not ready" };

/** Show the state now and from time to time, while the page is looked at. */
export function watchHealth(node) {
  async function look() {
    if (document.hidden) return;
    try {
      show(node, await api.health());
    } catch {
      fill(node, dot("down"), el("span", {}, "ragserve cannot be reached"));
    }
  }
  look();
  setInterval(look, EVERY_MS);
  document.addEventListener("visibilitychange", look);
}

function show(node, health) {
  const parts = health.dependencies.map((part) => {
    const name = NAMES[part.name] ?? part.name;
    const detail = part.state === "up" && part.latency_ms !== null ? duration(part.latency_ms) : part.detail;
    return el(
      "li",
      { title: detail },
      dot(part.state),
      el("span", {}, name),
      el("span", { class: part.state === "up" ? "visually-hidden" : "down-word" }, ` ${part.state}`),
    );
  });
  fill(
    node,
    el("span", { class: `overall ${health.status}` }, WORDS[health.status] ?? health.status),
    el("ul", { class: "parts" }, parts),
    el("span", { class: "version" }, health.version),
  );
}

function dot(state) {
  return el("span", { class: `dot ${state}`, "aria-hidden": "true" });
}
