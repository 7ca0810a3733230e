// The stream of changes. What one commit did to one flag is one entry, with all its types and one difference.
import { difference } from "./difference.js";
import { byId, element, oncePerFrame, setText, show } from "./dom.js";
import { TYPES, clockText, durationText, elapsedMs, typeOf } from "./words.js";

const MOST_ENTRIES = 400;
const MOST_FIELDS = 12;
const MOST_OF_WHOLE = 3;

export class EventList {
  #open;
  #entries = []; // newest last
  #nodes = new Map();
  #query = "";
  #hidden = new Set();
  #isPaused = false;
  #missed = 0;
  #isDirty = false;
  #isForced = false;
  #draw = oncePerFrame(() => this.#render());

  /** `open(id, key, schema)` shows a flag whole. */
  constructor(open) {
    this.#open = open;
    byId("event-search").addEventListener("input", (event) => {
      this.#query = event.target.value.trim().toLowerCase();
      this.#refilter();
    });
    byId("pause").addEventListener("click", () => this.togglePause());
    byId("clear").addEventListener("click", () => this.clear());
    show(byId("event-types"), Object.entries(TYPES).map(([type, { word, tone }]) => this.#chip(type, word, tone)));
  }

  #chip(type, word, tone) {
    const chip = element("button", { type: "button", class: "chip", "data-tone": tone, "aria-pressed": "true" }, word);
    chip.addEventListener("click", () => {
      const isOn = this.#hidden.has(type);
      this.#hidden[isOn ? "delete" : "add"](type);
      chip.setAttribute("aria-pressed", String(isOn));
      this.#refilter();
    });
    return chip;
  }

  /** Take an event and what it did to the catalog. */
  add(event, change, isReplay) {
    const changed = join(this.#entries, event, change, isReplay);
    if (changed) {
      this.#nodes.get(changed)?.remove();
      this.#nodes.delete(changed);
    } else {
      if (this.#entries.length > MOST_ENTRIES) this.#entries.splice(0, this.#entries.length - MOST_ENTRIES);
      if (this.#isPaused) this.#missed++;
    }
    this.#isDirty = true;
    this.#draw();
  }

  /** Put what happened before the page was opened below the rest: `[event, change]`, oldest first. */
  addPast(past) {
    const entries = [];
    for (const [event, change] of past) join(entries, event, change, true);
    const room = MOST_ENTRIES - this.#entries.length;
    if (room > 0) this.#entries.unshift(...entries.slice(-room));
    this.#refilter();
  }

  /** Say in the list that it does not follow from what stands below. */
  note(text) {
    this.#entries.push({ text, at: new Date() });
    this.#isDirty = true;
    this.#draw();
  }

  clear() {
    this.#entries = [];
    this.#missed = 0;
    this.#refilter();
  }

  togglePause() {
    this.#isPaused = !this.#isPaused;
    this.#missed = 0;
    this.#isDirty = true;
    byId("pause").setAttribute("aria-pressed", String(this.#isPaused));
    this.#draw();
  }

  #refilter() {
    for (const node of this.#nodes.values()) node.remove();
    this.#nodes.clear();
    this.#isDirty = this.#isForced = true;
    this.#draw();
  }

  #matches(entry) {
    if (entry.text !== undefined) return !this.#query;
    if (entry.types.every((type) => this.#hidden.has(type))) return false;
    if (!this.#query) return true;
    const flag = entry.after ?? entry.before;
    return this.#query.split(/\s+/).every((word) => {
      if (word.startsWith("#")) return (flag?.tags ?? []).some((tag) => tag.value.toLowerCase().startsWith(word.slice(1)));
      const texts = [entry.key, entry.schema, ...entry.types, ...fieldsOf(entry).map((field) => `${field.name} ${field.before} ${field.after}`)];
      return texts.some((text) => String(text).toLowerCase().includes(word));
    });
  }

  #render() {
    setText(byId("pause"), this.#isPaused ? (this.#missed ? `Go on · ${this.#missed} new` : "Go on") : "Pause");
    if (!this.#isDirty || (this.#isPaused && !this.#isForced)) return;
    this.#isDirty = this.#isForced = false;
    const list = byId("event-list");
    const kept = new Set(this.#entries);
    for (const [entry, node] of this.#nodes) {
      if (!kept.has(entry)) {
        node.remove();
        this.#nodes.delete(entry);
      }
    }
    // Who reads further down keeps what they read where it is; at the top, the newest pushes the others down.
    const height = list.scrollTop > 8 ? list.scrollHeight : 0;
    // Newest first: each new node goes before the newest of those that are there.
    const fresh = [];
    for (let place = this.#entries.length - 1; place >= 0; place--) {
      const entry = this.#entries[place];
      if (this.#nodes.has(entry)) break;
      if (!this.#matches(entry)) continue;
      const node = this.#nodeOf(entry);
      this.#nodes.set(entry, node);
      fresh.push(node);
    }
    list.prepend(...fresh);
    if (height) list.scrollTop += list.scrollHeight - height;
    const none = byId("event-none");
    none.hidden = this.#nodes.size > 0;
    setText(none, this.#entries.length ? "No event matches." : "Nothing has changed yet. Every committed change appears here, whoever makes it.");
  }

  #nodeOf(entry) {
    if (entry.text !== undefined) return element("li", { class: "event note" }, element("time", {}, clockText(entry.at)), ` ${entry.text}`);
    const fields = fieldsOf(entry);
    const tone = typeOf(entry.types.at(-1)).tone;
    const isGone = entry.after === null;
    return element(
      "li",
      { class: "event", "data-tone": tone, "data-position": entry.position },
      element(
        "p",
        { class: "event-head" },
        element("button", { type: "button", class: "event-key", onclick: () => this.#open(entry.id, entry.key, entry.schema) }, entry.schema ? `${entry.schema}.${entry.key}` : entry.key),
        [...new Set(entry.types)].map((type) => element("span", { class: "badge", "data-tone": typeOf(type).tone }, typeOf(type).word)),
        element("span", { class: "event-meta" }, latencyText(entry), element("time", { datetime: entry.committedAt.toISOString() }, clockText(entry.committedAt)), element("span", { class: "position", title: "Position in the log" }, `#${entry.position}`)),
      ),
      fields.length ? fieldTable(fields, entry.before === null || isGone) : element("p", { class: "hint" }, "Nothing that a reader of flags sees."),
    );
  }
}

/** Add an event to entries, newest last; the entry that it is a part of, null where it is a new one. */
function join(entries, event, change, isReplay) {
  const position = event.id.split("-", 1)[0];
  const last = entries.at(-1);
  if (last && last.position === position && last.id === change.id) {
    last.types.push(event.type);
    last.after = change.after;
    last.key = event.flagKey;
    last.fields = null;
    return last;
  }
  entries.push({
    id: change.id,
    position,
    key: event.flagKey,
    schema: change.schema,
    types: [event.type],
    before: change.before,
    after: change.after,
    fields: null,
    committedAt: new Date(event.committedAt),
    sentAfterMs: event.sentAt && !isReplay ? elapsedMs(event.committedAt, event.sentAt) : null,
  });
  return null;
}

function latencyText(entry) {
  if (entry.sentAfterMs === null) return null;
  return element("span", { class: "latency", title: "From commit to sending" }, durationText(entry.sentAfterMs));
}

function fieldsOf(entry) {
  entry.fields ??= difference(entry.before, entry.after);
  return entry.fields;
}

/** The difference as a list: name, before → after. Of a flag that came or went whole, only the beginning is shown. */
export function fieldTable(fields, isWhole) {
  const most = isWhole ? MOST_OF_WHOLE : MOST_FIELDS;
  const table = (some) => element("dl", { class: "fields" }, some.map(fieldRow));
  if (fields.length <= most + 1) return table(fields);
  return [
    table(fields.slice(0, most)),
    element("details", {}, element("summary", {}, `and ${fields.length - most} more`), table(fields.slice(most))),
  ];
}

function fieldRow({ name, before, after }) {
  return element(
    "div",
    {},
    element("dt", {}, name),
    element(
      "dd",
      {},
      before === null ? null : element("del", {}, before),
      before === null || after === null ? null : element("span", { class: "arrow" }, " → "),
      after === null ? null : element("ins", {}, after),
    ),
  );
}
