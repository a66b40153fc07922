// What a collection holds: its documents, page by page, each of which can be deleted.

import { api } from "./api.js";
import { announce, confirmed, el, fill, icon } from "./dom.js";
import { ago, count, size } from "./units.js";

const PAGE = 50;

export class Holdings {
  /** `onChange()` after a document was deleted. */
  constructor(onChange) {
    this.onChange = onChange;
    this.collection = null;
    this.shown = PAGE;
    this.heading = el("h2", {}, "Documents");
    this.body = el("div", {});
    this.node = el("section", { class: "panel", "aria-label": "Documents in the collection" }, this.heading, this.body);
  }

  setCollection(name) {
    if (name !== this.collection) this.shown = PAGE;
    this.collection = name;
    return this.refresh();
  }

  async refresh() {
    const asked = this.collection;
    if (!asked) return;
    try {
      const page = await api.documents(asked, 0, this.shown);
      if (asked === this.collection) this.show(page);
    } catch (failure) {
      if (asked === this.collection) fill(this.body, el("p", { class: "error-text", role: "alert" }, failure.message));
    }
  }

  show({ documents, total }) {
    fill(this.heading, "Documents ", el("span", { class: "hint" }, total ? total.toLocaleString() : ""));
    if (!documents.length) {
      fill(this.body, el("p", { class: "nothing" }, "Nothing in here yet. What you add above shows up as soon as it can be found."));
      return;
    }
    const more = el("button", { type: "button", onclick: () => this.more() }, `Show more of ${total.toLocaleString()}`);
    fill(
      this.body,
      el("ul", { class: "holdings" }, documents.map((one) => this.row(one))),
      documents.length < total ? el("div", { class: "row center" }, more) : null,
    );
  }

  more() {
    this.shown += PAGE;
    this.refresh();
  }

  row(one) {
    const facts = [count(one.chunks, "passage"), size(one.size_bytes), ago(one.ingested_at)].join(" · ");
    return el(
      "li",
      {},
      el(
        "div",
        { class: "holding" },
        el("span", { class: "holding-title" }, one.title),
        el("span", { class: "holding-source" }, one.source),
        el("span", { class: "hint" }, facts),
      ),
      el(
        "button",
        { type: "button", class: "quiet icon", "aria-label": `Delete ${one.title}`, onclick: () => this.remove(one) },
        icon("trash"),
      ),
    );
  }

  async remove(one) {
    if (!(await confirmed(`Delete “${one.title}”? Searches stop finding it at once.`, "Delete"))) return;
    try {
      await api.deleteDocument(this.collection, one.id);
      announce(`Deleted ${one.title}`);
      await this.refresh();
      this.onChange();
    } catch (failure) {
      this.body.prepend(el("p", { class: "error-text", role: "alert" }, failure.message));
    }
  }
}
