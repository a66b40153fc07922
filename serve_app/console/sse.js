// Server-Sent Events read with fetch, which, unlike EventSource, can send a key and a body.

/** The events of a response: { event, data, id }, as the HTML standard parses them. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  let fields = { event: "", data: [], id: "" };
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) return;
      pending += value;
      // A CR at the very end may be half of a CRLF: it waits.
      const end = pending.endsWith("\r") ? pending.length - 1 : pending.length;
      const lines = pending.slice(0, end).split(/\r\n|\r|\n/);
      pending = lines.pop() + pending.slice(end);
      for (const line of lines) {
        if (line !== "") {
          take(line, fields);
          continue;
        }
        const { event, data, id } = fields;
        fields = { event: "", data: [], id };
        if (data.length) yield { event: event || "message", data: data.join("\n"), id };
      }
    }
  } finally {
    // Leaving early tells the server that nobody reads on.
    reader.cancel().catch(() => {});
  }
}

function take(line, fields) {
  const colon = line.indexOf(":");
  const name = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
  if (name === "event") fields.event = value;
  else if (name === "data") fields.data.push(value);
  else if (name === "id") fields.id = value;
}
