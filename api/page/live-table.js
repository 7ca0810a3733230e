// A watched table, live: the rows that satisfy a condition, and each change of them.
import { valueText } from "./difference.js";
import { byId, element, oncePerFrame, setText, show } from "./dom.js";
import { LiveRows } from "./live-rows.js";
import { Stream } from "./stream.js";
import { plural } from "./words.js";

const MOST_SHOWN = 200;
const MOST_ROWS = 10_000;
// Of a filter that the server refuses, and of a table that is not there any more: to ask again changes nothing.
const FINAL = [400, 401, 403, 404];

export class LiveTable {
  #address;
  #credential;
  #stream = null;
  #rows = new LiveRows();
  #arriving = null;
  #isWhole = false;
  #refusal = "";
  #select = element("select", { id: "rows-table" });
  #where = element("input", { id: "rows-where", autocomplete: "off", spellcheck: "false", maxlength: 8192, placeholder: "all rows, or such as: status = $1 and total > 100" });
  #params = element("div", { class: "context" });
  #state = element("p", { id: "rows-state", class: "count", role: "status" });
  #reason = element("p", { class: "reason", role: "alert" });
  #head = element("tr");
  #body = element("tbody");
  #draw = oncePerFrame(() => this.#drawRows());

  /** `address` is the URL of the event stream, `credential()` the reader's credential. */
  constructor(address, credential) {
    this.#address = address;
    this.#credential = credential;
    this.#where.addEventListener("input", () => this.#askParams());
    const field = (label, hint, input) => element("label", {}, element("span", {}, label, " ", element("span", { class: "hint" }, hint)), input);
    show(
      byId("rows"),
      element(
        "form",
        { class: "evaluation", onsubmit: (event) => this.#follow(event) },
        field("Table", "", this.#select),
        field("Where", "a condition of SQL; $1, $2 … stand for values", this.#where),
        this.#params,
        element("button", { type: "submit", class: "primary" }, "Show rows"),
      ),
      this.#reason,
      this.#state,
      element("div", { class: "rows-list" }, element("table", {}, element("thead", {}, this.#head), this.#body)),
    );
  }

  /** The names of the tables that can be shown. */
  setTables(names) {
    byId("tab-rows").hidden = names.length === 0;
    const chosen = this.#select.value;
    show(this.#select, names.map((name) => element("option", { value: name }, name)));
    if (names.includes(chosen)) this.#select.value = chosen;
  }

  /** End the stream and forget its rows: another reader begins. */
  stop() {
    this.#stream?.stop();
    this.#stream = null;
    this.#refusal = "";
    this.#forget();
  }

  reconnect() {
    this.#stream?.reconnect();
  }

  /** One input for each of `$1`, `$2`, … in the condition. */
  #askParams() {
    const count = Math.min(100, Math.max(0, ...[...this.#where.value.matchAll(/\$(\d{1,3})/g)].map(([, number]) => Number(number))));
    while (this.#params.childElementCount > count) this.#params.lastChild.remove();
    while (this.#params.childElementCount < count) {
      const name = `$${this.#params.childElementCount + 1}`;
      this.#params.append(element("label", {}, name, element("input", { "data-name": name, autocomplete: "off", spellcheck: "false" })));
    }
  }

  #follow(event) {
    event.preventDefault();
    this.stop();
    const url = new URL(this.#address);
    url.searchParams.append("table", this.#select.value);
    url.searchParams.append("snapshot", "true");
    if (this.#where.value.trim()) {
      url.searchParams.append("where", this.#where.value);
      for (const input of this.#params.querySelectorAll("input")) url.searchParams.append("param", input.value);
    }
    this.#stream = new Stream(url, {
      final: FINAL,
      onState: this.#draw,
      // It has no id before the rows are whole: then each connection begins with them.
      onConnected: () => { if (!this.#stream.lastId) this.#arriving = new LiveRows(); },
      onSnapshot: () => {
        this.#arriving = new LiveRows();
        this.#stream.restart();
      },
      onEvent: (change) => this.#apply(change),
      onOther: (name, data) => this.#take(name, data),
      onKeepAlive: () => {},
    });
    this.#stream.start(this.#credential());
  }

  #take(name, data) {
    if (name === "rows") {
      for (const { key, row } of data.rows) this.#arriving?.put(key, row);
    } else if (name === "rows_end") {
      if (this.#arriving) this.#rows = this.#arriving;
      this.#arriving = null;
      this.#isWhole = true;
    } else if (name === "backfill_failed") {
      this.#refusal = data.message;
    } else if (typeof data.type === "string") {
      this.#apply(data);
    }
    this.#check();
  }

  #apply(change) {
    (this.#arriving ?? this.#rows).apply(change);
    this.#check();
  }

  #check() {
    if ((this.#arriving ?? this.#rows).size > MOST_ROWS) {
      this.stop();
      this.#refusal = `More than ${plural(MOST_ROWS, "row")} match; choose fewer by a condition.`;
    }
    this.#draw();
  }

  #forget() {
    this.#rows = new LiveRows();
    this.#arriving = null;
    this.#isWhole = false;
    this.#draw();
  }

  #drawRows() {
    const { name = "stopped", reason = "" } = this.#stream?.state ?? {};
    if (name === "live") this.#refusal = "";
    setText(this.#reason, this.#refusal || (name === "live" || name === "connecting" ? "" : reason));
    const { size } = this.#rows;
    const count = size > MOST_SHOWN ? `${plural(size, "row")}, the first ${MOST_SHOWN} shown` : plural(size, "row");
    setText(this.#state, this.#isWhole ? `${count}${name === "live" ? ", live" : ", may be old"}` : name === "connecting" || name === "live" ? "Reading the rows…" : "");
    const entries = this.#rows.first(MOST_SHOWN);
    const columns = [...new Set(entries.flatMap(({ key, row }) => Object.keys(row ?? key ?? {})))];
    if (this.#head.childElementCount !== columns.length || [...this.#head.children].some((cell, place) => cell.textContent !== columns[place])) show(this.#head, columns.map((column) => element("th", { scope: "col" }, column)));
    show(this.#body, entries.map((entry) => this.#line(entry, columns)));
  }

  /** The line of a row, which is the same until the row changes. */
  #line(entry, columns) {
    const shape = columns.join("\0");
    if (entry.line?.shape === shape) return entry.line.node;
    const { key, row, tone } = entry;
    const cell = (column) => element("td", {}, row && column in row ? valueText(row[column]) : key && column in key ? valueText(key[column]) : "");
    const node = element("tr", { "data-tone": tone || null, onanimationend: () => node.removeAttribute("data-tone") }, columns.map(cell));
    entry.line = { shape, node };
    return node;
  }
}
