// The Documents view: fill a collection, watch it being read, look at what it holds.

import { api } from "./api.js";
import { confirmed, el, fill, icon, openDialog } from "./dom.js";
import { Finder } from "./finder.js";
import { Holdings } from "./holdings.js";
import { JobCard } from "./jobs.js";
import { session } from "./session.js";
import { Uploads } from "./uploads.js";
import { count } from "./units.js";

export class DocumentsView {
  /** `onCollections(name)`: the collections changed; `name` is to be shown, if given. */
  constructor(onCollections) {
    this.onCollections = onCollections;
    this.cards = new Map();
    this.collection = null;
    this.uploads = new Uploads((job) => this.follow(job));
    this.holdings = new Holdings(() => this.onCollections());
    this.finder = new Finder();
    this.jobs = el("ul", { class: "jobs", "aria-label": "Jobs" });
    this.head = el("header", { class: "collection-head" });
    this.error = el("p", { class: "error-text", role: "alert" });
    this.work = el(
      "div",
      { class: "columns" },
      el("div", { class: "column" }, el("section", { class: "panel", "aria-label": "Add documents" }, this.uploads.node, this.jobs), this.finder.node),
      el("div", { class: "column" }, this.holdings.node),
    );
    this.node = el("section", { class: "documents", "aria-label": "Documents" }, this.head, this.error, this.work);
  }

  setCollection(collection) {
    this.collection = collection;
    this.error.textContent = "";
    this.work.hidden = !collection;
    this.uploads.collection = collection?.name ?? null;
    this.finder.setCollection(collection?.name ?? null);
    this.showHead();
    this.showJobs();
    if (collection) this.holdings.setCollection(collection.name);
  }

  show() {
    window.scrollTo(0, 0);
  }

  showHead() {
    const { collection } = this;
    const make = el("button", { type: "button", class: collection ? "" : "primary", onclick: () => this.create() }, icon("plus"), "New collection");
    if (!collection) {
      fill(
        this.head,
        el("div", { class: "empty" }, el("h1", {}, "No collection yet"), el("p", {}, "A collection is a set of documents that are asked together: a handbook, a project, a customer."), make),
      );
      return;
    }
    fill(
      this.head,
      el(
        "div",
        {},
        el("h1", {}, collection.name),
        collection.description ? el("p", { class: "lead" }, collection.description) : null,
        el("p", { class: "hint" }, `${count(collection.documents, "document")} · ${count(collection.chunks, "passage")} · ${collection.embedding_model}`),
      ),
      el("div", { class: "row" }, make, el("button", { type: "button", class: "quiet", onclick: () => this.remove() }, icon("trash"), "Delete collection")),
    );
  }

  // Jobs

  /** Take up the jobs that this tab started before it was reloaded. */
  async takeUpJobs() {
    for (const id of Object.keys(session.jobs)) {
      if (this.cards.has(id)) continue;
      try {
        this.addCard(await api.job(id));
      } catch (failure) {
        if (failure.status === 404) session.forgetJob(id);
      }
    }
  }

  follow(job) {
    session.rememberJob(job.id, { collection: job.collection });
    this.addCard(job);
  }

  addCard(job) {
    const card = new JobCard(job, {
      onCommit: () => this.refreshSoon(),
      onGone: (gone) => this.putAway(gone),
    });
    this.cards.set(job.id, card);
    card.follow();
    this.showJobs();
  }

  putAway(card) {
    card.close();
    this.cards.delete(card.id);
    session.forgetJob(card.id);
    this.showJobs();
  }

  showJobs() {
    const here = [...this.cards.values()].filter((card) => card.job.collection === this.collection?.name);
    const nodes = here.reverse().map((card) => card.node);
    // Moving a node takes its focus: leave the list alone when it is right already.
    if (nodes.length === this.jobs.children.length && nodes.every((node, at) => node === this.jobs.children[at])) return;
    fill(this.jobs, nodes);
  }

  /** Many files end within a second: the lists are fetched once for all of them. */
  refreshSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.onCollections(), 400);
  }

  close() {
    for (const card of this.cards.values()) card.close();
    this.cards.clear();
  }

  // Collections

  create() {
    const name = el("input", { id: "new-name", required: true, pattern: "[a-z][a-z0-9_]{0,62}", autocomplete: "off", spellcheck: "false", "aria-describedby": "name-help" });
    const about = el("input", { id: "new-about", maxlength: "500", autocomplete: "off" });
    const error = el("p", { class: "error-text", role: "alert" });
    const dialog = el(
      "dialog",
      { class: "make", "aria-labelledby": "make-title" },
      el(
        "form",
        { onsubmit: submit },
        el("h2", { id: "make-title" }, "New collection"),
        el("label", { for: "new-name" }, "Name"),
        name,
        el("p", { id: "name-help", class: "hint" }, "Small letters, digits and _, beginning with a letter"),
        el("label", { for: "new-about" }, "What it holds (optional)"),
        about,
        error,
        el(
          "div",
          { class: "row end" },
          el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel"),
          el("button", { type: "submit", class: "primary" }, "Create"),
        ),
      ),
    );
    const { onCollections } = this;
    async function submit(event) {
      event.preventDefault();
      try {
        const made = await api.createCollection(name.value, about.value.trim());
        dialog.close();
        onCollections(made.name);
      } catch (failure) {
        error.textContent = failure.message;
        name.focus();
      }
    }
    openDialog(dialog);
    name.focus();
  }

  async remove() {
    const { name, documents } = this.collection;
    const question = `Delete ${name} and its ${count(documents, "document")} for good?`;
    if (!(await confirmed(question, "Delete"))) return;
    try {
      await api.deleteCollection(name);
      this.onCollections();
    } catch (failure) {
      this.error.textContent = failure.message;
    }
  }
}
