// Where files are dropped or chosen, and the bar of what is being sent.

import { api } from "./api.js";
import { announce, el, fill, icon } from "./dom.js";
import { batches, chosenFiles, droppedFiles } from "./files.js";
import { count, size } from "./units.js";

export class Uploads {
  /** `onJob(job)` for each job that the server made of the files. */
  constructor(onJob) {
    this.onJob = onJob;
    this.collection = null;
    this.status = el("div", { class: "sending" });
    const files = this.input("Files to add", false);
    const folder = this.input("Folder to add", true);
    this.zone = el(
      "div",
      { class: "drop", ondragover: (event) => this.over(event), ondragleave: () => this.lit(false), ondrop: (event) => this.dropped(event) },
      icon("upload"),
      el("p", { class: "drop-title" }, "Drop files or folders here"),
      el("p", { class: "hint" }, "PDF, Word, Markdown, HTML or plain text"),
      el(
        "div",
        { class: "row center" },
        el("button", { type: "button", onclick: () => files.click() }, "Choose files"),
        el("button", { type: "button", onclick: () => folder.click() }, "Choose a folder"),
      ),
      files,
      folder,
    );
    this.node = el("div", {}, this.zone, this.status);
  }

  input(label, webkitdirectory) {
    return el("input", {
      type: "file",
      multiple: true,
      hidden: true,
      webkitdirectory,
      "aria-label": label,
      onchange: (event) => {
        this.send(chosenFiles(event.target));
        event.target.value = "";
      },
    });
  }

  over(event) {
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    this.lit(true);
  }

  lit(on) {
    this.zone.classList.toggle("lit", on);
  }

  async dropped(event) {
    event.preventDefault();
    this.lit(false);
    try {
      await this.send(await droppedFiles(event.dataTransfer));
    } catch {
      this.tell("The browser could not read what was dropped.", "error-text");
    }
  }

  tell(text, kind = "hint") {
    fill(this.status, el("p", { class: kind, role: kind === "error-text" ? "alert" : "status" }, text));
  }

  /** Send the files, a batch at a time. */
  async send({ pairs, skipped }) {
    const left = skipped ? ` ${count(skipped, "file")} of other kinds left out.` : "";
    if (!pairs.length) {
      this.tell(`There is nothing to read in there.${left}`);
      return;
    }
    const control = new AbortController();
    const total = pairs.reduce((sum, { file }) => sum + file.size, 0);
    const bar = el("progress", { max: "1", value: "0", "aria-label": "Upload" });
    const words = el("span", {}, "");
    const stop = el("button", { type: "button", class: "quiet small", onclick: () => control.abort() }, "Stop");
    fill(this.status, el("div", { class: "sending-row" }, words, stop), bar);
    let before = 0;
    try {
      for (const group of batches(pairs)) {
        const job = await api.upload(
          this.collection,
          group,
          (loaded, whole) => {
            const bytes = group.reduce((sum, { file }) => sum + file.size, 0);
            const sent = before + (whole ? (loaded / whole) * bytes : 0);
            bar.value = total ? sent / total : 1;
            words.textContent = `Sending ${count(pairs.length, "file")}: ${size(Math.round(sent))} of ${size(total)}`;
          },
          control.signal,
        );
        before += group.reduce((sum, { file }) => sum + file.size, 0);
        this.onJob(job);
      }
      this.tell(`${count(pairs.length, "file")} sent.${left}`);
      announce(`${count(pairs.length, "file")} sent`);
    } catch (failure) {
      if (control.signal.aborted) this.tell("Sending was stopped.");
      else this.tell(failure.message, "error-text");
    }
  }
}
