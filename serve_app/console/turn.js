// One question and its answer: streaming, finished, stopped or failed.

import { answerNodes, asMarkdown, cited, marked, place } from "./answer.js";
import { api } from "./api.js";
import { announce, el, fill, icon } from "./dom.js";
import { evidence } from "./evidence.js";
import { openPassage } from "./passages.js";
import { count } from "./units.js";

const DEGRADED = {
  rerank_skipped: "Answered without the reranker",
  lexical_only: "Found by words alone",
  extractive: "The model is out: quoted instead",
  ungrounded: "The model's answer had no support: quoted instead",
  state_stale: "From the last known state",
};

let lastNumber = 0;

export class Turn {
  constructor(body, onEnd) {
    this.body = body;
    this.result = null;
    this.onEnd = onEnd;
    lastNumber += 1;
    const id = `question-${lastNumber}`;
    this.labels = el("div", { class: "labels" });
    this.answer = el("div", { class: "answer" });
    this.after = el("div", { class: "after" });
    this.node = el(
      "article",
      { class: "turn", "aria-labelledby": id },
      el("h2", { class: "question", id }, body.question),
      this.labels,
      this.answer,
      this.after,
    );
  }

  /** Ask, and show what comes. */
  async run() {
    this.control = new AbortController();
    this.waiting("Looking through the documents");
    fill(this.labels);
    fill(this.after);
    this.answer.setAttribute("aria-busy", "true");
    announce("Answering");
    try {
      for await (const { event, data } of api.ask(this.body, this.control.signal)) {
        if (event === "passages") this.found(data);
        else if (event === "token") this.write(data.text);
        else if (event === "done") this.finish(data);
      }
      if (!this.result) throw new Error("The answer ended early.");
    } catch (failure) {
      if (this.control.signal.aborted) this.stopped();
      else this.fail(failure);
    } finally {
      this.answer.removeAttribute("aria-busy");
      this.onEnd(this);
    }
  }

  stop() {
    this.control.abort();
  }

  waiting(text) {
    fill(this.answer, el("p", { class: "waiting" }, el("span", { class: "pulse", "aria-hidden": "true" }), text));
    this.stream = null;
  }

  found({ passages }) {
    if (passages.length) this.waiting(`Reading ${count(passages.length, "passage")}`);
  }

  write(text) {
    if (!this.stream) {
      this.stream = document.createTextNode("");
      fill(this.answer, el("p", { class: "prose streaming" }, this.stream));
    }
    this.stream.appendData(text);
  }

  finish(result) {
    this.result = result;
    const open = (passage) => openPassage(passage, result.citations);
    fill(this.answer, el("p", { class: result.answered ? "prose" : "prose unanswered" }, answerNodes(marked(result), result.passages, open)));
    fill(this.labels, labels(result, this.body));
    fill(this.after, sources(result, open), this.actions(result), evidence(result));
    announce(result.answered ? `Answered: ${result.answer}` : result.answer);
  }

  stopped() {
    if (!this.stream) fill(this.answer, el("p", { class: "prose unanswered" }, "Stopped before the first word."));
    fill(this.labels, badge("Stopped", "plain"));
    fill(this.after, el("div", { class: "row" }, this.again("Ask again")));
    announce("Stopped");
  }

  fail(failure) {
    const where = [failure.code, failure.requestId && `request ${failure.requestId}`].filter(Boolean).join(" · ");
    if (!this.stream) fill(this.answer);
    const retry = this.again("Try again");
    if (failure.retryAfterS) hold(retry, failure.retryAfterS);
    fill(
      this.after,
      el(
        "div",
        { class: "failure", role: "alert" },
        el("p", {}, failure.message),
        where ? el("p", { class: "hint" }, where) : null,
        retry,
      ),
    );
  }

  again(word) {
    return el("button", { type: "button", class: "quiet", onclick: () => this.onAgain(this) }, word);
  }

  actions(result) {
    const button = el("button", { type: "button", class: "quiet small", onclick: copy }, icon("copy"), "Copy as Markdown");
    const text = asMarkdown(this.body.question, result);
    async function copy() {
      try {
        await navigator.clipboard.writeText(text);
        button.lastChild.textContent = "Copied";
        announce("Copied");
      } catch {
        button.lastChild.textContent = "The browser did not allow it";
      }
      setTimeout(() => {
        button.lastChild.textContent = "Copy as Markdown";
      }, 2000);
    }
    return el("div", { class: "row actions" }, button);
  }
}

function labels(result, body) {
  return [
    result.answered ? null : badge("Not in the documents", "warn"),
    result.cached ? badge("Cached", "plain", "This answer was given before, and nothing has changed since") : null,
    body.answer === "extract" ? badge("Quoted", "plain") : null,
    result.finish_reason === "length" ? badge("Cut at the length limit", "warn") : null,
    ...result.degraded.map((rung) => badge(degraded(rung), "warn", rung)),
  ];
}

function degraded(rung) {
  return DEGRADED[rung] ?? `Degraded: ${rung}`;
}

function badge(text, kind, title) {
  return el("span", { class: `badge ${kind}`, title }, text);
}

function sources(result, open) {
  const passages = cited(result);
  if (!passages.length) return null;
  return el(
    "ul",
    { class: "sources", "aria-label": "Sources" },
    passages.map((passage) =>
      el(
        "li",
        {},
        el(
          "button",
          { type: "button", class: "source-button", onclick: () => open(passage) },
          el("span", { class: "number" }, String(passage.number)),
          el("span", {}, place(passage)),
        ),
      ),
    ),
  );
}

/** Keep a button shut for some seconds, and say how many are left. */
function hold(button, seconds) {
  const word = button.textContent;
  button.disabled = true;
  const tick = () => {
    if (seconds <= 0) {
      button.disabled = false;
      button.textContent = word;
      return;
    }
    button.textContent = `${word} in ${seconds} s`;
    seconds -= 1;
    setTimeout(tick, 1000);
  };
  tick();
}
