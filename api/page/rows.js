// The watched tables and the events of their rows. Each lane is one connection with all its tables: the rows that a chip
// hides are still received, so that none are missing when it shows them again.
import { byId, element, oncePerFrame, setText, show } from "./dom.js";
import { replay } from "./past.js";
import { Stream } from "./stream.js";

const POLL_MS = 5_000;
// Tables of the default lane are shown from the start; those in other lanes are usually busy.
const DEFAULT_LANE = "flags";
// Below the server's limit of selectors in one subscription.
const MOST_TABLES = 900;
const PAST_COMMITS = 200;

export class Rows {
  #api;
  #address;
  #handler;
  #credential = null;
  #tables = new Map(); // by name: {name, lane, masked, isShown}
  #channels = new Map(); // by lane: {name, names, stream, log}; the past of `log` has been requested
  #tablesText = "";
  #run = 0;
  #timer = 0;
  #draw = oncePerFrame(() => this.#drawState());

  /** `address` is the URL of the event stream. `handler` has `onTables(hidden)`, the names of the tables to hide,
   *  `onRow(event, isReplay, masked)`, `onPast(events, masked)`, `onGap(sentence)`, `onForget(name)`, after which rows of
   *  that table may arrive again, `onNames(names)`, the names of all tables, and `oldest()`, a promise of the oldest position of the flags' lane, null if unknown. */
  constructor(api, address, handler) {
    this.#api = api;
    this.#address = address;
    this.#handler = handler;
  }

  /** Start over with this credential. */
  start(credential) {
    this.#credential = credential;
    for (const { stream } of this.#channels.values()) stream.stop();
    this.#channels.clear();
    this.#tables.clear();
    this.#tablesText = "";
    this.#show();
    clearTimeout(this.#timer);
    this.#poll(++this.#run);
  }

  reconnect() {
    for (const { stream } of this.#channels.values()) stream.reconnect();
  }

  /** Load the list of tables regularly: there is no event for a table that is watched or unwatched. */
  async #poll(run) {
    if (!document.hidden) {
      try {
        const { tables } = await this.#api.get("api/v1/tables");
        if (run !== this.#run) return;
        this.#take(tables.filter((table) => table.kind === "watched"));
      } catch (error) {
        if (run !== this.#run) return;
        // Known tables stay: their streams report their own state.
        if (!this.#tables.size) console.info("watched tables are not shown:", error.message);
        const { status, code } = error.problem ?? {};
        if (status === 401 || status === 403 || code === "no_past") return; // and a retry would not help
      }
    }
    this.#timer = setTimeout(() => this.#poll(run), POLL_MS);
  }

  #take(tables) {
    const text = JSON.stringify(tables.map(({ schema, table, lane, masked }) => [schema, table, lane, masked]));
    if (text === this.#tablesText) return;
    this.#tablesText = text;
    const known = this.#tables;
    this.#tables = new Map();
    for (const { schema, table, lane, masked } of tables) {
      const name = `${quoted(schema)}.${quoted(table)}`;
      this.#tables.set(name, { name, lane, masked, isShown: known.get(name)?.isShown ?? lane === DEFAULT_LANE });
    }
    this.#follow();
    this.#show();
  }

  /** Open and close connections, so that there is one for each lane with a visible table. */
  #follow() {
    const wanted = new Map();
    for (const { name, lane } of this.#tables.values()) {
      const names = wanted.get(lane) ?? [];
      if (names.length < MOST_TABLES) wanted.set(lane, [...names, name]);
    }
    for (const [name, names] of wanted) if (!names.some((each) => this.#tables.get(each).isShown)) wanted.delete(name);
    for (const [name, { stream, names }] of this.#channels) {
      if (wanted.has(name)) continue;
      stream.stop();
      this.#channels.delete(name);
      for (const each of names) this.#handler.onForget(each);
    }
    for (const [name, names] of wanted) {
      const open = this.#channels.get(name);
      if (open && open.names.join() === names.join()) continue;
      // With other tables, but after its last id: nothing is missed or repeated.
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
        // A new log has another past: a table that has just moved is still served by its former lane at first.
        const [, log] = id.split(/[@.]/);
        if (log === channel.log) return;
        channel.log = log;
        this.#showPast(channel, url, position, masked);
      },
      onSnapshot: (_flags, _position, why) => this.#handler.onGap(`The rows of ${names.join(", ")} were resynchronized (${why.replaceAll("_", " ")}); events in between are not shown.`),
      onEvent: (event, isReplay) => this.#handler.onRow(event, isReplay, masked(event.table)),
      onKeepAlive: () => {},
    });
    channel.stream.start(this.#credential, before?.stream.lastId);
    return channel;
  }

  /** Show the rows of the last commits before the connection; if that fails, the list starts empty. */
  async #showPast(channel, url, position, masked) {
    const run = this.#run;
    // The oldest position of other lanes is unknown: their past is not shown if the log does not reach that far back.
    const oldest = channel.name === DEFAULT_LANE ? await this.#handler.oldest() : 1;
    const begin = `${Math.max(oldest ?? 1, Number(position) - PAST_COMMITS)}@${channel.log}`;
    try {
      const past = await replay(url, this.#credential, begin, position);
      if (run === this.#run && [...this.#channels.values()].includes(channel)) this.#handler.onPast(past, masked);
    } catch (error) {
      console.info("earlier rows are not shown:", error.message);
    }
  }

  #show() {
    const tables = [...this.#tables.values()];
    byId("event-tables").hidden = tables.length === 0;
    this.#handler.onNames([...this.#tables.keys()]);
    show(byId("tables"), tables.map((table) => this.#chip(table)));
    this.#hideTables();
    this.#draw();
  }

  #chip(table) {
    const title = table.lane === DEFAULT_LANE ? null : `Lane: ${table.lane}`;
    const chip = element("button", { type: "button", class: "chip", "data-tone": "row", "aria-pressed": String(table.isShown), title }, table.name);
    chip.addEventListener("click", () => {
      table.isShown = !table.isShown;
      chip.setAttribute("aria-pressed", String(table.isShown));
      this.#follow();
      this.#hideTables();
      this.#draw();
    });
    return chip;
  }

  #hideTables() {
    this.#handler.onTables(new Set([...this.#tables.values()].filter((table) => !table.isShown).map((table) => table.name)));
  }

  /** Show only errors; the state of the whole page is elsewhere. */
  #drawState() {
    const broken = [...this.#channels.values()].find(({ stream }) => !["live", "connecting"].includes(stream.state.name));
    setText(byId("event-tables-state"), broken ? `${broken.names.join(", ")}: ${broken.stream.state.reason}` : "");
  }
}

/** A part of a table's name as events contain it: quoted if it has a dot or a quote. */
function quoted(name) {
  return /[."]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name;
}
