// Files and folders that people choose or drop, as { file, path } pairs.

const READABLE = /\.(txt|md|markdown|html?|pdf|docx)$/i;
const BATCH_FILES = 100;
const BATCH_BYTES = 32 * 1024 * 1024;

/** Files of an <input>; those of a folder come with their path inside it. */
export function chosenFiles(input) {
  const pairs = Array.from(input.files, (file) => ({ file, path: file.webkitRelativePath || file.name }));
  return input.webkitdirectory ? readable(pairs) : { pairs, skipped: 0 };
}

/** Files of a drop. Must be called while the drop is handled: the browser forgets them after. */
export async function droppedFiles(transfer) {
  // A file that was not dragged from a disk (out of a mail, say) has no entry.
  const items = Array.from(transfer.items)
    .filter((item) => item.kind === "file")
    .map((item) => ({ entry: item.webkitGetAsEntry?.(), file: item.getAsFile() }));
  const alone = [];
  const inFolders = [];
  for (const { entry, file } of items) {
    if (entry?.isDirectory) await walk(entry, `${entry.name}/`, inFolders);
    else if (file) alone.push({ file, path: file.name });
  }
  const { pairs, skipped } = readable(inFolders);
  return { pairs: [...alone, ...pairs], skipped };
}

async function walk(folder, prefix, found) {
  const reader = folder.createReader();
  while (true) {
    // A reader gives at most a hundred entries a time.
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return;
    for (const entry of entries) {
      if (entry.isFile) found.push({ file: await fileOf(entry), path: prefix + entry.name });
      else await walk(entry, `${prefix}${entry.name}/`, found);
    }
  }
}

function fileOf(entry) {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

/** Of folders, only what the readers know and what is not hidden. */
function readable(pairs) {
  const kept = pairs.filter(({ path }) => READABLE.test(path) && !/(^|\/)\./.test(path));
  return { pairs: kept, skipped: pairs.length - kept.length };
}

/** Groups that make a job each. */
export function batches(pairs) {
  const groups = [];
  let bytes = 0;
  for (const pair of pairs) {
    const full = !groups.length || groups.at(-1).length === BATCH_FILES || bytes + pair.file.size > BATCH_BYTES;
    if (full) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1).push(pair);
    bytes += pair.file.size;
  }
  return groups;
}
