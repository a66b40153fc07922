// Ingestion jobs of this tab: live, through broken connections and reloads.

import { api } from "./api.js";
import { announce, el, fill, icon } from "./dom.js";
import { session } from "./session.js";
import { count, duration } from "./units.js";

const ENDED = ["COMPLETED", "FAILED", "CANCELLED"];
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10000;
const SHOWN_FILES = 200;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class JobCard {
  /** `onCommit()` when documents were added, `onGone(card)` when the card is put away. */
  constructor(job, { onCommit, onGone }) {
    this.id = job.id;
    this.onCommit = onCommit;
    this.onGone = onGone;
    this.committed = -1;
    this.control = new AbortController();
    this.title = el("h3", {});
    this.state = el("span", { class: "badge" });
    this.bar = el("progress", { "aria-label": `Progress of ${job.id}` });
    this.facts = el("p", { class: "hint job-facts" });
    this.note = el("p", { class: "error-text", role: "alert" });
    this.files = el("div", {});
    this.buttons = el("div", { class: "row" });
    this.node = el(
      "li",
      { class: "job" },
      el("div", { class: "job-head" }, this.title, this.state, this.buttons),
      this.bar,
      this.facts,
      this.note,
      this.files,
    );
    this.show(job);
  }

  /** Follow the job to its end, going on after the last event seen when the connection breaks. */
  async follow() {
    let waitMs = FIRST_WAIT_MS;
    while (!ENDED.includes(this.job.state) && !this.control.signal.aborted) {
      try {
        const known = session.jobs[this.id] ?? {};
        for await (const { job, eventId } of api.jobEvents(this.id, known.lastEventId, this.control.signal)) {
          waitMs = FIRST_WAIT_MS;
          session.rememberJob(this.id, { collection: job.collection, lastEventId: eventId });
          this.show(job);
        }
      } catch (failure) {
        if (failure.name === "AbortError") return;
        if ([401, 403, 404].includes(failure.status)) {
          this.note.textContent = failure.message;
          return;
        }
      }
      if (ENDED.includes(this.job.state)) break;
      await pause(waitMs);
      waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
      await this.refresh();
    }
    await this.refresh();
    const { files_done: done, files_total: total, files_failed: failed } = this.job.progress;
    announce(`Ingestion ${this.job.state.toLowerCase()}: ${done} of ${total} files, ${failed} failed`);
  }

  async refresh() {
    try {
      this.show(await api.job(this.id));
    } catch {
      // The next round of the loop, or the next visit, tells.
    }
  }

  close() {
    this.control.abort();
  }

  show(job) {
    this.job = job;
    const { progress } = job;
    const ended = ENDED.includes(job.state);
    const stopping = job.cancel_requested && !ended;
    this.title.textContent = title(job);
    const flawed = job.state === "COMPLETED" && progress.files_failed > 0;
    this.state.textContent = stopping ? "Stopping" : flawed ? "Done, with errors" : WORDS[job.state];
    this.state.className = `badge ${flawed ? "warn" : KINDS[job.state]}`;
    this.bar.max = Math.max(1, progress.files_total);
    if (job.state === "PENDING") this.bar.removeAttribute("value");
    else this.bar.value = position(job);
    this.bar.hidden = ended && !progress.files_failed && job.state === "COMPLETED";
    this.facts.textContent = factsOf(job).join(" · ");
    this.note.textContent = job.error_message ?? "";
    this.showFiles(job.files ?? []);
    this.showButtons(ended, stopping);
    if (progress.files_done !== this.committed) {
      this.committed = progress.files_done;
      if (progress.files_done) this.onCommit();
    }
  }

  showFiles(files) {
    const failed = files.filter((file) => file.state === "FAILED");
    if (!files.length) return;
    const open = this.files.querySelector("details")?.open;
    fill(
      this.files,
      failed.length
        ? el("ul", { class: "file-errors", "aria-label": "Files that failed" }, failed.map(failure))
        : null,
      files.length > 1
        ? el(
            "details",
            { open: Boolean(open) },
            el("summary", {}, count(files.length, "file")),
            el("ul", { class: "files" }, files.slice(0, SHOWN_FILES).map(fileRow)),
          )
        : null,
    );
  }

  showButtons(ended, stopping) {
    const { job } = this;
    const left = job.state === "FAILED" || job.state === "CANCELLED" || job.progress.files_failed > 0;
    const wanted = [
      ended ? null : ["Cancel", () => this.steer(api.cancelJob), stopping],
      ended && left ? ["Resume", () => this.steer(api.resumeJob), false] : null,
    ].filter(Boolean);
    const shape = JSON.stringify([wanted.map(([word, , off]) => [word, off]), ended]);
    // Rebuilt only on change, so that a focused button keeps its focus.
    if (shape === this.buttonShape) return;
    this.buttonShape = shape;
    fill(
      this.buttons,
      wanted.map(([word, onclick, disabled]) => el("button", { type: "button", class: "quiet small", onclick, disabled }, word)),
      ended
        ? el("button", { type: "button", class: "quiet icon", "aria-label": `Put ${job.id} away`, onclick: () => this.onGone(this) }, icon("close"))
        : null,
    );
  }

  async steer(action) {
    const following = !ENDED.includes(this.job.state);
    try {
      this.show(await action(this.id));
      if (!following) this.follow();
    } catch (failure) {
      this.note.textContent = failure.message;
    }
  }
}

const WORDS = { PENDING: "Queued", PROCESSING: "Reading", COMPLETED: "Done", FAILED: "Failed", CANCELLED: "Cancelled" };
const KINDS = { PENDING: "plain", PROCESSING: "busy", COMPLETED: "good", FAILED: "bad", CANCELLED: "warn" };

function title({ files, progress, id }) {
  if (files?.length === 1) return files[0].name;
  if (files?.length) return `${files[0].name} and ${count(progress.files_total - 1, "other")}`;
  return `${count(progress.files_total, "file")} (${id})`;
}

/** Files ended, with the fraction of the ones being read where it is known. */
function position({ files, progress }) {
  const reading = (files ?? [])
    .filter((file) => file.state === "PROCESSING" && file.chunks_total)
    .reduce((sum, file) => sum + file.chunks_done / file.chunks_total, 0);
  return Math.min(progress.files_total, progress.files_done + progress.files_failed + reading);
}

function factsOf({ state, progress }) {
  return [
    `${progress.files_done} of ${count(progress.files_total, "file")}`,
    progress.chunks_done ? count(progress.chunks_done, "passage") : "",
    progress.files_unchanged ? `${progress.files_unchanged} unchanged` : "",
    progress.files_failed ? `${progress.files_failed} failed` : "",
    state === "PROCESSING" && progress.chunks_per_s ? `${Math.round(progress.chunks_per_s)} passages/s` : "",
    state === "PROCESSING" && progress.eta_s ? `${duration(progress.eta_s * 1000)} left` : "",
  ].filter(Boolean);
}

function failure(file) {
  return el("li", {}, el("strong", {}, file.name), el("span", {}, file.error_message ?? file.error_code ?? "No reason was given."));
}

function fileRow(file) {
  return el(
    "li",
    {},
    el("span", { class: `dot ${file.state.toLowerCase()}`, "aria-hidden": "true" }),
    el("span", { class: "file-name" }, file.name),
    el("span", { class: "hint" }, file.state === "DONE" ? count(file.chunks_done, "passage") : file.state.toLowerCase()),
  );
}
