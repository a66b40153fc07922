// Search inside a collection, without a language model in between.

import { api } from "./api.js";
import { announce, el, fill, icon } from "./dom.js";
import { passageCard } from "./passages.js";
import { count, duration } from "./units.js";

export class Finder {
  constructor() {
    this.collection = null;
    this.control = new AbortController();
    this.input = el("input", { type: "search", "aria-label": "Search in this collection", placeholder: "Find passages", maxlength: "8000", autocomplete: "off" });
    this.mode = el(
      "select",
      { "aria-label": "Search by" },
      el("option", { value: "hybrid" }, "Meaning and words"),
      el("option", { value: "dense" }, "Meaning"),
      el("option", { value: "lexical" }, "Words"),
    );
    this.found = el("div", { "aria-live": "polite" });
    this.node = el(
      "section",
      { class: "panel", "aria-label": "Search" },
      el("h2", {}, "Search"),
      el(
        "form",
        {
          class: "finder",
          role: "search",
          onsubmit: (event) => {
            event.preventDefault();
            this.search();
          },
        },
        this.input,
        this.mode,
        el("button", { type: "submit" }, icon("search"), "Search"),
      ),
      this.found,
    );
  }

  setCollection(name) {
    if (name === this.collection) return;
    this.collection = name;
    this.input.value = "";
    fill(this.found);
  }

  async search() {
    const query = this.input.value.trim();
    if (!query) return;
    this.control.abort();
    this.control = new AbortController();
    const { signal } = this.control;
    fill(this.found, el("p", { class: "waiting" }, el("span", { class: "pulse", "aria-hidden": "true" }), "Searching"));
    try {
      this.show(await api.search({ collection: this.collection, query, mode: this.mode.value, top_k: 10 }, signal));
    } catch (failure) {
      if (!signal.aborted) fill(this.found, el("p", { class: "error-text", role: "alert" }, failure.message));
    }
  }

  show({ passages, timings_ms: timings, degraded }) {
    if (!passages.length) {
      fill(this.found, el("p", { class: "nothing" }, "Nothing found. Other words, or searching by meaning, may help."));
      return;
    }
    const took = timings.total === undefined ? "" : ` in ${duration(timings.total)}`;
    const limits = degraded.length ? `, degraded: ${degraded.join(", ")}` : "";
    fill(
      this.found,
      el("p", { class: "hint" }, `${count(passages.length, "passage")}${took}${limits}`),
      el("ol", { class: "findings" }, passages.map((passage) => passageCard(passage))),
    );
    announce(`${count(passages.length, "passage")} found`);
  }
}
