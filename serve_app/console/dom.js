// Making elements. Text only ever becomes text nodes: nothing a server says is parsed as HTML.

/** Make an element. `on*` properties are listeners, `class` and attributes are set as they are. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** Replace what a node holds. */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
}

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  stop: "M7 7h10v10H7z",
  send: "M12 19V5M6 11l6-6 6 6",
  upload: "M12 16V5M7 10l5-5 5 5M5 19h14",
  search: "M11 5a6 6 0 100 12 6 6 0 000-12zM15.5 15.5L20 20",
  sun: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6L7 7M17 17l1.4 1.4M5.6 18.4L7 17M17 7l1.4-1.4",
  moon: "M19 14.5A7.5 7.5 0 019.5 5 7.5 7.5 0 1019 14.5z",
  auto: "M12 4a8 8 0 100 16 8 8 0 000-16zM12 4v16M12 8h3.5M12 12h4M12 16h3.5",
  plus: "M12 5v14M5 12h14",
};

/** A small drawing beside or instead of a word; the word is for the control's label. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "drawing");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Say something to people who hear the page. */
export function announce(text) {
  document.getElementById("announce").textContent = text;
}

/** Open a dialog, and take it away when it is closed; focus goes back by itself. */
export function openDialog(dialog) {
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Ask before something that cannot be undone. */
export function confirmed(question, action) {
  return new Promise((resolve) => {
    let answer = false;
    const dialog = el(
      "dialog",
      { class: "confirm", "aria-label": question },
      el("p", {}, question),
      el(
        "div",
        { class: "row end" },
        el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Keep"),
        el("button", {
          type: "button",
          class: "danger",
          onclick: () => {
            answer = true;
            dialog.close();
          },
        }, action),
      ),
    );
    dialog.addEventListener("close", () => resolve(answer));
    openDialog(dialog);
  });
}
