// ragserve's HTTP API. Every failure is an ApiError with a sentence that can be shown.

import { session } from "./session.js";
import { events } from "./sse.js";

export class ApiError extends Error {
  constructor(message, { status = 0, code = "", requestId = "", retryAfterS = null } = {}) {
    super(message);
    Object.assign(this, { status, code, requestId, retryAfterS });
  }
}

let onUnauthenticated = () => {};

/** What to do when the key is not, or no longer, good. */
export function whenUnauthenticated(callback) {
  onUnauthenticated = callback;
}

const path = (...parts) => parts.map(encodeURIComponent).join("/");
const root = (relative) => new URL(relative, document.baseURI);

async function send(method, where, { body, headers = {}, signal, key = session.key } = {}) {
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers.Authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(root(where), {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
    });
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    throw new ApiError("ragserve cannot be reached. Is it running?");
  }
  if (!response.ok) {
    const error = problem(response.status, await response.text(), response.headers.get("Retry-After"));
    if (response.status === 401 && key === session.key) onUnauthenticated(error);
    throw error;
  }
  return response;
}

function problem(status, text, retryAfter = null) {
  let found = {};
  try {
    found = JSON.parse(text);
  } catch {
    // A proxy's page instead of a problem document: the status has to do.
  }
  const retryAfterS = retryAfter && /^\d+$/.test(retryAfter) ? Number(retryAfter) : null;
  return new ApiError(found.detail || found.title || `The server answered ${status}.`, {
    status,
    code: found.code ?? "",
    requestId: found.request_id ?? "",
    retryAfterS,
  });
}

async function json(method, where, options) {
  const response = await send(method, where, options);
  const text = await response.text();
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    throw new ApiError("The answer cannot be read. Is this ragserve's address?");
  }
}

export const api = {
  me: (key) => json("GET", "v1/me", { key }),
  collections: async () => (await json("GET", "v1/collections")).collections,
  createCollection: (name, description) =>
    json("POST", "v1/collections", { body: { name, description } }),
  deleteCollection: (name) => json("DELETE", `v1/collections/${path(name)}`),
  documents: (name, offset, limit) =>
    json("GET", `v1/collections/${path(name)}/documents?offset=${offset}&limit=${limit}`),
  deleteDocument: (name, id) => json("DELETE", `v1/collections/${path(name)}/documents/${path(id)}`),
  job: (id) => json("GET", `v1/jobs/${path(id)}`),
  cancelJob: (id) => json("POST", `v1/jobs/${path(id)}/cancel`),
  resumeJob: (id) => json("POST", `v1/jobs/${path(id)}/resume`),
  search: (body, signal) => json("POST", "v1/search", { body, signal }),

  /** The state of the parts; a system that is not ready answers 503 with the same body. */
  async health() {
    const response = await fetch(root("health/ready"), { cache: "no-store", credentials: "omit" });
    return response.json();
  },

  /** The events of a streamed answer; `error` events are thrown. Aborting stops the model. */
  async *ask(body, signal) {
    const headers = { Accept: "text/event-stream" };
    const response = await send("POST", "v1/query", { body: { ...body, stream: true }, headers, signal });
    for await (const { event, data } of events(response)) {
      if (event === "error") throw problem(JSON.parse(data).status, data);
      yield { event, data: JSON.parse(data) };
    }
  },

  /** One connection's worth of a job's events. */
  async *jobEvents(id, lastEventId, signal) {
    const headers = { Accept: "text/event-stream" };
    if (lastEventId) headers["Last-Event-ID"] = lastEventId;
    const response = await send("GET", `v1/jobs/${path(id)}/events`, { headers, signal });
    for await (const { event, data, id: eventId } of events(response)) {
      if (event === "job") yield { job: JSON.parse(data), eventId };
    }
  },

  /** Upload files as one job. XMLHttpRequest, because fetch tells no progress of a body. */
  upload(name, files, onProgress, signal) {
    const form = new FormData();
    for (const { file, path: source } of files) form.append("files", file, source);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", root(`v1/collections/${path(name)}/documents`));
      request.setRequestHeader("Authorization", `Bearer ${session.key}`);
      request.setRequestHeader("Idempotency-Key", uniqueKey());
      request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
      request.onerror = () => reject(new ApiError("The connection broke while files were sent."));
      request.onabort = () => reject(new DOMException("stopped", "AbortError"));
      request.onload = () => {
        if (request.status < 300) return resolve(JSON.parse(request.responseText));
        const retryAfter = request.getResponseHeader("Retry-After");
        const error = problem(request.status, request.responseText, retryAfter);
        if (request.status === 401) onUnauthenticated(error);
        return reject(error);
      };
      signal.addEventListener("abort", () => request.abort());
      request.send(form);
    });
  },
};

// crypto.randomUUID exists only on https and loopback; the page may be served otherwise.
function uniqueKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
