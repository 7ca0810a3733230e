// The history of a flag: every change in the change log, with user and time.
import { difference } from "./difference.js";
import { element, show } from "./dom.js";
import { fieldTable } from "./event-list.js";
import { agoText, dateText, typeOf } from "./words.js";

const PAGE = 20;

export class FlagHistory {
  node = element("section", { class: "history", "aria-label": "History" });
  #api;
  #evaluateAt;
  #list = element("ol", { class: "history-list" });
  #foot = element("div", { class: "history-foot" });
  #asked = 0;

  /** `evaluateAt(key, schema, position)` opens the evaluation at that position. */
  constructor(api, evaluateAt) {
    this.#api = api;
    this.#evaluateAt = evaluateAt;
    this.node.append(this.#list, this.#foot);
  }

  clear() {
    this.#asked++;
    show(this.#list);
    show(this.#foot);
  }

  /** Load the newest changes of a flag, replacing those shown; their number, null if it is not known. */
  load(key, schema) {
    return this.#read(key, schema, null);
  }

  async #read(key, schema, before) {
    const asked = ++this.#asked;
    const query = new URLSearchParams({ limit: PAGE });
    if (before) query.set("before", before);
    if (schema) query.set("schema", schema);
    let page;
    try {
      page = await this.#api.get(`api/v1/flags/${encodeURIComponent(key)}/history?${query}`);
    } catch (error) {
      if (asked === this.#asked) show(this.#foot, element("p", { class: "reason" }, error.message));
      return null;
    }
    if (asked !== this.#asked) return null;
    const items = page.changes.map((change) => this.#item(key, schema, change));
    if (before) this.#list.append(...items);
    else this.#list.replaceChildren(...items);
    if (page.next) {
      const more = () => this.#read(key, schema, page.next);
      show(this.#foot, element("button", { type: "button", class: "quiet", onclick: more }, "Older"));
    } else {
      show(this.#foot, element("p", { class: "hint" }, page.endsBecause ?? ""));
    }
    return items.length;
  }

  #item(key, schema, { position, committedAt, events, before, after, updatedBy, user, application }) {
    const at = new Date(committedAt);
    const fields = difference(before, after);
    return element(
      "li",
      { class: "event", "data-tone": typeOf(events.at(-1)).tone },
      element(
        "p",
        { class: "event-head" },
        element("time", { datetime: committedAt, title: agoText(Date.now() - at) }, dateText(at)),
        [...new Set(events)].map((type) => element("span", { class: "badge", "data-tone": typeOf(type).tone }, typeOf(type).word)),
        element("span", { class: "event-meta" }, element("button", { type: "button", class: "link", title: "Evaluate as of this change", onclick: () => this.#evaluateAt(key, schema, position) }, "evaluate here"), element("span", { class: "position" }, `#${position}`)),
      ),
      element("p", { class: "who" }, updatedBy ? element("b", {}, updatedBy) : null, updatedBy ? " by way of " : null, `${user}${application ? ` · ${application}` : ""}`),
      fieldTable(fields, before === null || after === null),
    );
  }
}
