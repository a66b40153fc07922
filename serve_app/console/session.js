// What this tab remembers: the key, the collection, the jobs it started. Gone with the tab.

const KEY = "ragserve.key";
const COLLECTION = "ragserve.collection";
const JOBS = "ragserve.jobs";
const THEME = "ragserve.theme";

export const session = {
  get key() {
    return sessionStorage.getItem(KEY);
  },
  set key(value) {
    sessionStorage.setItem(KEY, value);
  },
  get collection() {
    return sessionStorage.getItem(COLLECTION);
  },
  set collection(value) {
    sessionStorage.setItem(COLLECTION, value);
  },
  /** Jobs by id: { collection, lastEventId }. */
  get jobs() {
    try {
      return JSON.parse(sessionStorage.getItem(JOBS)) ?? {};
    } catch {
      return {};
    }
  },
  rememberJob(id, known) {
    sessionStorage.setItem(JOBS, JSON.stringify({ ...this.jobs, [id]: known }));
  },
  forgetJob(id) {
    const { [id]: _, ...rest } = this.jobs;
    sessionStorage.setItem(JOBS, JSON.stringify(rest));
  },
  forget() {
    for (const name of [KEY, COLLECTION, JOBS]) sessionStorage.removeItem(name);
  },
};

/** Light, dark, or as the system; the one thing that outlives the tab. */
export const theme = {
  get value() {
    return localStorage.getItem(THEME) ?? "auto";
  },
  set value(value) {
    localStorage.setItem(THEME, value);
    this.apply();
  },
  apply() {
    document.documentElement.dataset.theme = this.value;
  },
};
