// The watched tables, and the streams of their rows. Each stream of the server is one connection with all its tables:
// what a chip hides is still received, so that nothing is missing when it shows again.
import { byId, element, oncePerFrame, setText, show } from "./dom.js";
import { replay } from "./past.js";
import { Stream } from "./stream.js";

const POLL_MS = 5_000;
// The tables of this stream are shown from the beginning; whoever gave a table another one did so because it is busy.
const COMMON = "flags";
// As many as the server takes in one subscription, with room for others.
const MOST_TABLES = 900;
const PAST_COMMITS = 200;

export class Rows {
  #api;
  #address;
  #heard;
  #credential = null;
  #tables = new Map(); // by name: {name, stream, masked, isShown}
  #channels = new Map(); // by stream: {name, names, stream, log}, the log whose past has been asked for
  #told = "";
  #run = 0;
  #timer = 0;
  #draw = oncePerFrame(() => this.#drawState());

  /** `address` is that of the event stream. `heard` has `onTables(hidden)`, the names whose rows are not to be shown,
   *  `onRow(event, isReplay, masked)`, `onPast(events, masked)`, `onGap(sentence)`, `onForget(name)`, after which the
   *  rows of that table may come once more, and `oldest()`, a promise of where the flags' log begins, null: not known. */
  constructor(api, address, heard) {
    this.#api = api;
    this.#address = address;
    this.#heard = heard;
  }

  /** Begin anew, with this credential. */
  start(credential) {
    this.#credential = credential;
    for (const { stream } of this.#channels.values()) stream.stop();
    this.#channels.clear();
    this.#tables.clear();
    this.#told = "";
    this.#show();
    clearTimeout(this.#timer);
    this.#poll(++this.#run);
  }

  reconnect() {
    for (const { stream } of this.#channels.values()) stream.reconnect();
  }

  /** Look which tables there are, now and again: they are watched and unwatched by others, without a word. */
  async #poll(run) {
    if (!document.hidden) {
      try {
        const { tables } = await this.#api.get("api/v1/tables");
        if (run !== this.#run) return;
        this.#take(tables.filter((table) => table.kind === "watched"));
      } catch (error) {
        if (run !== this.#run) return;
        // The tables that are known stay: their streams say for themselves whether they are alive.
        if (!this.#tables.size) console.info("no watched tables are shown:", error.message);
        const { status, code } = error.problem ?? {};
        if (status === 401 || status === 403 || code === "no_past") return; // and so it will remain
      }
    }
    this.#timer = setTimeout(() => this.#poll(run), POLL_MS);
  }

  #take(tables) {
    const told = JSON.stringify(tables.map(({ schema, table, stream, masked }) => [schema, table, stream, masked]));
    if (told === this.#told) return;
    this.#told = told;
    const known = this.#tables;
    this.#tables = new Map();
    for (const { schema, table, stream, masked } of tables) {
      const name = `${quoted(schema)}.${quoted(table)}`;
      this.#tables.set(name, { name, stream, masked, isShown: known.get(name)?.isShown ?? stream === COMMON });
    }
    this.#follow();
    this.#show();
  }

  /** Open and close connections, so that there is one for each stream of which a table is shown. */
  #follow() {
    const wanted = new Map();
    for (const { name, stream } of this.#tables.values()) {
      const names = wanted.get(stream) ?? [];
      if (names.length < MOST_TABLES) wanted.set(stream, [...names, name]);
    }
    for (const [name, names] of wanted) if (!names.some((each) => this.#tables.get(each).isShown)) wanted.delete(name);
    for (const [name, { stream, names }] of this.#channels) {
      if (wanted.has(name)) continue;
      stream.stop();
      this.#channels.delete(name);
      for (const each of names) this.#heard.onForget(each);
    }
    for (const [name, names] of wanted) {
      const open = this.#channels.get(name);
      if (open && open.names.join() === names.join()) continue;
      // With other tables, but from where it stands: nothing is missing and nothing comes twice.
      open?.stream.stop();
      this.#channels.set(name, this.#open(name, names, open));
    }
  }

  #open(name, names, before) {
    const url = new URL(this.#address);
    for (const each of names) url.searchParams.append("table", each);
    const channel = { name, names, stream: null, log: before?.log };
    const masked = (table) => this.#tables.get(table)?.masked ?? [];
    channel.stream = new Stream(url, {
      onState: this.#draw,
      onConnected: ({ id, position }) => {
        // Another log is another past: a table that has only just moved is told of by its former stream at first.
        const [, log] = id.split("@");
        if (log === channel.log) return;
        channel.log = log;
        this.#showPast(channel, url, position, masked);
      },
      onSnapshot: (_flags, _position, why) => this.#heard.onGap(`The rows of ${names.join(", ")} start over (${why.replaceAll("_", " ")}): what happened in between is not shown.`),
      onEvent: (event, isReplay) => this.#heard.onRow(event, isReplay, masked(event.table)),
      onBeat: () => {},
    });
    channel.stream.start(this.#credential, before?.stream.lastId);
    return channel;
  }

  /** What the last commits before the connection did; without it, it begins empty. */
  async #showPast(channel, url, position, masked) {
    const run = this.#run;
    // Of other streams it is not known where their logs begin: what does not reach so far back is not shown.
    const oldest = channel.name === COMMON ? await this.#heard.oldest() : 1;
    const begin = `${Math.max(oldest ?? 1, Number(position) - PAST_COMMITS)}@${channel.log}`;
    try {
      const past = await replay(url, this.#credential, begin, position);
      if (run === this.#run && [...this.#channels.values()].includes(channel)) this.#heard.onPast(past, masked);
    } catch (error) {
      console.info("the past rows are not shown:", error.message);
    }
  }

  #show() {
    const tables = [...this.#tables.values()];
    byId("event-tables").hidden = tables.length === 0;
    show(byId("tables"), tables.map((table) => this.#chip(table)));
    this.#tell();
    this.#draw();
  }

  #chip(table) {
    const title = table.stream === COMMON ? null : `In a stream of its own: ${table.stream}`;
    const chip = element("button", { type: "button", class: "chip", "data-tone": "row", "aria-pressed": String(table.isShown), title }, table.name);
    chip.addEventListener("click", () => {
      table.isShown = !table.isShown;
      chip.setAttribute("aria-pressed", String(table.isShown));
      this.#follow();
      this.#tell();
      this.#draw();
    });
    return chip;
  }

  #tell() {
    this.#heard.onTables(new Set([...this.#tables.values()].filter((table) => !table.isShown).map((table) => table.name)));
  }

  /** Only what is wrong is said; the lamp tells of the rest. */
  #drawState() {
    const wrong = [...this.#channels.values()].find(({ stream }) => !["live", "connecting"].includes(stream.state.name));
    setText(byId("event-tables-state"), wrong ? `${wrong.names.join(", ")}: ${wrong.stream.state.reason}` : "");
  }
}

/** A part of a table's name, as events write it: quoted where it would be taken for something else. */
function quoted(name) {
  return /[."]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name;
}
