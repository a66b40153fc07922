// The door: an API key, kept for this tab only.

import { api } from "./api.js";
import { el, fill } from "./dom.js";
import { session } from "./session.js";

/** Show the form; `onSignedIn(me)` once the server knows the key. */
export function showSignIn(main, message, onSignedIn) {
  const input = el("input", {
    id: "key",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "key-help key-error",
  });
  const error = el("p", { id: "key-error", class: "error-text", role: "alert" }, message ?? "");
  const button = el("button", { type: "submit", class: "primary" }, "Sign in");
  const form = el(
    "form",
    { class: "card sign-in", onsubmit: submit },
    el("h1", {}, "Ask your own documents"),
    el("p", { class: "lead" }, "Answers with their sources, from the files your team keeps."),
    el("label", { for: "key" }, "API key"),
    input,
    el(
      "p",
      { id: "key-help", class: "hint" },
      "Kept in this tab only and forgotten when it is closed. A local start prints a development key; it is also in ",
      el("code", {}, ".ragserve/dev-key"),
      ".",
    ),
    error,
    button,
  );

  async function submit(event) {
    event.preventDefault();
    const key = input.value.trim();
    if (!key) return;
    button.disabled = true;
    try {
      const me = await api.me(key);
      session.key = key;
      onSignedIn(me);
    } catch (failure) {
      error.textContent = failure.status === 401 ? "This key is not known here." : failure.message;
      input.setAttribute("aria-invalid", "true");
      input.focus();
      input.select();
    } finally {
      button.disabled = false;
    }
  }

  fill(main, el("div", { class: "door" }, form));
  input.focus();
}
