// The page: who is signed in, which collection, which view.

import { api, whenUnauthenticated } from "./api.js";
import { AskView } from "./ask.js";
import { DocumentsView } from "./documents.js";
import { el, fill, icon } from "./dom.js";
import { session, theme } from "./session.js";
import { showSignIn } from "./signin.js";
import { watchHealth } from "./status.js";

const byId = (id) => document.getElementById(id);
const main = byId("main");
const THEMES = ["auto", "light", "dark"];
const THEME_ICONS = { auto: "auto", light: "sun", dark: "moon" };
const THEME_WORDS = { auto: "as the system", light: "light", dark: "dark" };

let views = null;
let collections = [];

function showTheme() {
  theme.apply();
  const button = byId("theme");
  fill(button, icon(THEME_ICONS[theme.value]));
  button.setAttribute("aria-label", `Theme: ${THEME_WORDS[theme.value]}`);
  button.title = button.getAttribute("aria-label");
}

function signedOut(message) {
  session.forget();
  views?.documents.close();
  views?.ask.restart();
  views = null;
  for (const id of ["views", "pick", "sign-out"]) byId(id).hidden = true;
  byId("who").textContent = "";
  showSignIn(main, message, signedIn);
}

async function signedIn(me) {
  byId("who").textContent = `Signed in as ${me.name || me.id}`;
  for (const id of ["views", "sign-out"]) byId(id).hidden = false;
  views = { ask: new AskView(), documents: new DocumentsView(refreshCollections) };
  await refreshCollections();
  // The key may have been refused meanwhile.
  if (!views) return;
  showView();
  views.documents.takeUpJobs();
}

async function refreshCollections(wanted) {
  try {
    collections = await api.collections();
  } catch (failure) {
    if (views && !main.contains(views.ask.node) && !main.contains(views.documents.node)) {
      fill(main, el("div", { class: "empty" }, el("h1", {}, "Something is wrong"), el("p", { class: "error-text", role: "alert" }, failure.message), el("button", { type: "button", onclick: start }, "Try again")));
    }
    return;
  }
  if (wanted) session.collection = wanted;
  showCollections();
}

function showCollections() {
  if (!views) return;
  const names = collections.map((one) => one.name);
  if (!names.includes(session.collection)) session.collection = names[0] ?? "";
  const select = byId("collection");
  fill(select, names.map((name) => el("option", { value: name }, name)));
  select.value = session.collection;
  byId("pick").hidden = !names.length;
  const chosen = collections.find((one) => one.name === session.collection) ?? null;
  views.ask.setCollection(chosen);
  views.documents.setCollection(chosen);
}

function showView() {
  if (!views) return;
  const name = location.hash === "#documents" ? "documents" : "ask";
  for (const link of byId("views").querySelectorAll("a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = name === "ask" ? "Ask · ragserve" : "Documents · ragserve";
  fill(main, views[name].node);
  main.dataset.view = name;
  views[name].show();
}

async function start() {
  if (!session.key) {
    signedOut();
    return;
  }
  try {
    await signedIn(await api.me());
  } catch (failure) {
    if (failure.status === 401) return;
    fill(main, el("div", { class: "empty" }, el("h1", {}, "ragserve does not answer"), el("p", { class: "error-text", role: "alert" }, failure.message), el("button", { type: "button", onclick: start }, "Try again")));
  }
}

showTheme();
byId("theme").addEventListener("click", () => {
  theme.value = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length];
  showTheme();
});
byId("sign-out").addEventListener("click", () => signedOut());
byId("collection").addEventListener("change", (event) => {
  session.collection = event.target.value;
  showCollections();
});
window.addEventListener("hashchange", showView);
whenUnauthenticated(() => signedOut("This key is no longer good. Sign in again."));
watchHealth(byId("health"));
start();
