// The Ask view: a conversation with one collection.

import { el, fill, icon } from "./dom.js";
import { Turn } from "./turn.js";
import { count } from "./units.js";

const HISTORY_TURNS = 6;

export class AskView {
  constructor() {
    this.turns = [];
    this.running = null;
    this.collection = null;
    this.log = el("div", { class: "conversation" });
    this.input = el("textarea", {
      id: "question",
      rows: "1",
      maxlength: "8000",
      "aria-label": "Question",
      autocomplete: "off",
      oninput: () => this.fit(),
      onkeydown: (event) => this.onKey(event),
    });
    this.button = el("button", { type: "submit", class: "primary round" });
    this.fresh = el("button", { type: "button", class: "quiet small", hidden: true, onclick: () => this.restart() }, icon("plus"), "New conversation");
    this.node = el("section", { class: "ask", "aria-label": "Ask" }, this.log, this.composer());
    this.showButton();
  }

  composer() {
    return el(
      "form",
      {
        class: "composer",
        onsubmit: (event) => {
          event.preventDefault();
          if (this.running) this.running.stop();
          else this.submit();
        },
      },
      el("div", { class: "field" }, this.input, this.button),
      el(
        "div",
        { class: "composer-row" },
        el(
          "fieldset",
          { class: "segments" },
          el("legend", { class: "visually-hidden" }, "Kind of answer"),
          segment("generate", "Write an answer", true),
          segment("extract", "Quote the documents", false),
        ),
        this.fresh,
        el("span", { class: "hint keys" }, el("kbd", {}, "Enter"), " asks, ", el("kbd", {}, "Shift Enter"), " breaks the line"),
      ),
    );
  }

  /** Talk with this collection from now on; another one begins another conversation. */
  setCollection(collection) {
    const same = this.collection?.name === collection?.name;
    this.collection = collection;
    this.input.disabled = !collection;
    this.input.placeholder = collection ? `Ask ${collection.name}` : "Add documents first";
    if (!same) this.restart();
    else if (!this.turns.length) this.showEmpty();
    this.showButton();
  }

  show() {
    if (!this.input.disabled) this.input.focus();
    this.fit();
    this.turns.at(-1)?.node.scrollIntoView({ block: "start" });
  }

  restart() {
    this.running?.stop();
    this.turns = [];
    this.fresh.hidden = true;
    this.showEmpty();
    if (this.node.isConnected) this.input.focus();
  }

  showEmpty() {
    const { collection } = this;
    if (!collection) {
      fill(this.log, empty("Nothing to ask yet", "Make a collection and add some files: Markdown, HTML, PDF, Word or plain text.", "Go to Documents"));
    } else if (!collection.documents) {
      fill(this.log, empty(`${collection.name} is empty`, "Add some files, and ask about them a few seconds later.", "Add documents"));
    } else {
      const about = collection.description || `Everything in ${collection.name}, a question away.`;
      const holds = `${count(collection.documents, "document")}, ${count(collection.chunks, "passage")}`;
      fill(this.log, empty(`What would you like to know?`, about, null, holds));
    }
  }

  onKey(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!this.running) this.submit();
    } else if (event.key === "Escape" && this.running) {
      this.running.stop();
    }
  }

  submit() {
    const question = this.input.value.trim();
    if (!question || !this.collection) return;
    const answer = this.node.querySelector("input[name=answer]:checked").value;
    this.input.value = "";
    this.fit();
    this.begin({ collection: this.collection.name, question, answer, history: this.history() });
  }

  begin(body) {
    if (!this.turns.length) fill(this.log);
    const turn = new Turn(body, () => this.ended(turn));
    turn.onAgain = () => {
      if (!this.running) this.run(turn);
    };
    this.turns.push(turn);
    this.log.append(turn.node);
    this.fresh.hidden = false;
    this.run(turn);
    turn.node.scrollIntoView({ block: "start" });
  }

  run(turn) {
    this.running = turn;
    this.showButton();
    turn.run();
  }

  ended(turn) {
    if (this.running !== turn) return;
    this.running = null;
    this.showButton();
  }

  /** What was said before, without what failed or was not found. */
  history() {
    return this.turns
      .filter((turn) => turn.result?.answered)
      .slice(-HISTORY_TURNS)
      .flatMap((turn) => [
        { role: "user", content: turn.body.question },
        { role: "assistant", content: turn.result.answer },
      ]);
  }

  showButton() {
    const word = this.running ? "Stop" : "Ask";
    fill(this.button, icon(this.running ? "stop" : "send"), el("span", {}, word));
    this.button.classList.toggle("stop", Boolean(this.running));
    this.button.disabled = !this.collection;
  }

  /** The field is as high as what is in it, within reason. */
  fit() {
    this.input.style.blockSize = "auto";
    if (this.input.scrollHeight) this.input.style.blockSize = `${Math.min(this.input.scrollHeight, 220)}px`;
  }
}

function segment(value, name, checked) {
  return el("label", {}, el("input", { type: "radio", name: "answer", value, checked }), el("span", {}, name));
}

function empty(title, text, action, note) {
  return el(
    "div",
    { class: "empty" },
    el("h1", {}, title),
    el("p", {}, text),
    note ? el("p", { class: "hint" }, note) : null,
    action ? el("a", { class: "button primary", href: "#documents" }, action) : null,
  );
}
