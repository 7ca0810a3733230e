// One flag with all its parts.
import { byId, element, setText, show } from "./dom.js";
import { bar } from "./flag-list.js";
import { constraintParts, dateText, segmentName } from "./words.js";

const RELOAD_MS = 1_000;
const LONG_TEXT = 320;
const LONG_LINES = 5;

export class FlagDetail {
  #catalog;
  #actions;
  #history;
  #usage;
  #view = byId("flag");
  #opened = null; // {id, key, schema}
  #shown = null;
  #isHistory = false;
  #isWanted = false;
  #timer = 0;
  #isWhole = false; // whether a long description is shown completely
  #refusal = ""; // why the last switch failed

  /** `usage` is null where the server takes no exposures. `actions`: `evaluate(flag)`, `searchFor(text)`, `back()`; `switchTo(flag, enabled)` where flags can be switched. */
  constructor(catalog, history, usage, actions) {
    this.#catalog = catalog;
    this.#history = history;
    this.#usage = usage;
    this.#actions = actions;
    this.changed();
  }

  /** The key of the open flag, or null. */
  get key() {
    return this.#opened?.key ?? null;
  }

  /** Show a flag; for a deleted one, `key` and `schema` identify its history. */
  open(id, key, schema) {
    this.#opened = { id, key, schema };
    this.#shown = undefined;
    this.#isHistory = false;
    this.#isWhole = false;
    this.#refusal = "";
    this.#history.clear();
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.changed();
    this.#view.scrollTop = 0;
  }

  /** Redraw if the open flag has changed. */
  changed() {
    const entry = this.#opened === null ? null : (this.#catalog.entries.get(this.#opened.id) ?? null);
    if (this.#shown === entry) return;
    const focused = this.#view.contains(document.activeElement) ? document.activeElement.dataset.name : undefined;
    const hadFocus = this.#view.contains(document.activeElement) && document.activeElement !== this.#view;
    this.#shown = entry;
    this.#view.classList.toggle("is-off", entry !== null && !entry.flag.enabled);
    if (this.#opened === null) show(this.#view, element("p", { class: "empty" }, "Choose a flag to see its details."));
    else show(this.#view, this.#head(entry), this.#isHistory || !entry ? this.#history.node : this.#content(entry));
    if (this.#isHistory || !entry) this.#loadHistory();
    if (hadFocus) (this.#view.querySelector(`[data-name="${focused}"]`) ?? this.#view).focus({ preventScroll: true });
  }

  /** Load the history now or, for a flag that changes often, at most once per interval. */
  #loadHistory() {
    this.#isWanted = true;
    if (this.#timer) return;
    const step = () => {
      this.#timer = 0;
      if (!this.#isWanted) return;
      this.#isWanted = false;
      if (this.#isHistory || !this.#shown) this.#history.load(this.#opened.key, this.#opened.schema).then((count) => this.#setAbsence(count));
      this.#timer = setTimeout(step, RELOAD_MS);
    };
    step();
  }

  /** A flag that is not there was deleted only if its history says that it existed. */
  #setAbsence(changes) {
    const badge = this.#view.querySelector("h2 .badge");
    if (!badge || this.#shown || changes === null) return;
    badge.hidden = false;
    badge.dataset.tone = changes ? "bad" : "plain";
    setText(badge, changes ? "deleted" : "no such flag");
  }

  #lever(flag) {
    const attributes = { class: "lever", "data-on": flag.enabled ? "" : null };
    const word = flag.enabled ? "on" : "off";
    if (!this.#actions.switchTo) return element("span", attributes, word);
    const onclick = async () => {
      this.#refusal = await this.#actions.switchTo(flag, !flag.enabled);
      const line = this.#view.querySelector(".flag-head .reason");
      if (line) setText(line, this.#refusal);
    };
    const title = `Turn this flag ${flag.enabled ? "off" : "on"}`;
    return element("button", { ...attributes, type: "button", role: "switch", "aria-checked": String(flag.enabled), "aria-label": title, title, "data-name": "lever", onclick }, word);
  }

  /** A description; a long one is cut, with a button that shows all of it. */
  #about(text, kind = "") {
    if (!text) return null;
    const isLong = text.length > LONG_TEXT || text.split("\n").length > LONG_LINES;
    const node = element("p", { class: `about${kind}${isLong && !this.#isWhole ? " is-cut" : ""}` }, text);
    if (!isLong) return node;
    const turn = () => {
      this.#isWhole = !this.#isWhole;
      this.#shown = undefined;
      this.changed();
    };
    return [node, element("button", { type: "button", class: "link", "data-name": `more${kind}`, "aria-expanded": String(this.#isWhole), onclick: turn }, this.#isWhole ? "show less" : "show more")];
  }

  #head(entry) {
    const { key, schema } = this.#opened;
    const flag = entry?.flag ?? null;
    const tab = (isHistory, word) =>
      element("button", { type: "button", "data-name": word, "aria-pressed": String(this.#isHistory === isHistory), onclick: () => this.#turn(isHistory) }, word);
    return element(
      "header",
      { class: "flag-head" },
      element("button", { type: "button", class: "quiet phone back", onclick: () => this.#actions.back() }, "← Flags"),
      element(
        "h2",
        {},
        schema ? element("span", { class: "schema" }, `${schema}.`) : null,
        flag?.key ?? key,
        " ",
        flag ? this.#lever(flag) : element("span", { class: "badge", hidden: true }),
      ),
      element("p", { class: "reason", role: "alert" }, this.#refusal),
      this.#about(flag?.description),
      this.#about(flag?.notes, " notes"),
      flag?.tags.length
        ? element("p", { class: "tags" }, flag.tags.map((tag) => element("button", { type: "button", class: "tag", title: "Show flags with this tag", onclick: () => this.#actions.searchFor(`#${tag.value}`) }, tag.value)))
        : null,
      flag
        ? element(
            "div",
            { class: "bar" },
            element("div", { class: "switch", role: "group", "aria-label": "Show" }, tab(false, "Now"), tab(true, "History")),
            element("button", { type: "button", class: "primary", "data-name": "evaluate", onclick: () => this.#actions.evaluate(flag) }, "Evaluate this flag"),
          )
        : null,
    );
  }

  #turn(isHistory) {
    this.#isHistory = isHistory;
    this.#shown = undefined;
    this.changed();
  }

  #content(entry) {
    const { flag } = entry;
    const places = new Map(flag.variants.map((variant, place) => [variant.id, place]));
    this.#usage?.open(flag, entry.schema);
    return [
      element("h3", {}, "Who gets what"),
      flag.segments.length
        ? element("ol", { class: "segments" }, flag.segments.map((segment, rank) => segmentNode(segment, rank, places, flag)))
        : element("p", { class: "hint" }, "No segment, so there is no variant."),
      element("h3", {}, "Variants"),
      flag.variants.length ? element("ul", { class: "variants" }, flag.variants.map((variant, place) => variantNode(variant, place))) : element("p", { class: "hint" }, "No variant."),
      this.#usage ? [element("h3", {}, "Usage"), this.#usage.node] : null,
      element("h3", {}, "Record"),
      element("dl", { class: "record" }, facts(flag).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)))),
    ];
  }
}

function segmentNode(segment, rank, places, flag) {
  return element(
    "li",
    { class: "segment" },
    element("p", { class: "segment-head" }, element("span", { class: "rank" }, String(rank + 1)), element("b", {}, segmentName(segment)), element("span", { class: "percent" }, `${segment.rolloutPercent} %`)),
    segment.constraints.length
      ? element("ul", { class: "constraints" }, segment.constraints.map((constraint) => constraintNode(constraint)))
      : element("p", { class: "hint" }, "everyone"),
    bar(segment, places),
    element(
      "ul",
      { class: "shares" },
      segment.distributions.map((share) =>
        element("li", {}, element("i", { class: `dot hue-${(places.get(share.variantID) ?? 0) % 8}` }), element("span", {}, nameOf(share, flag)), element("b", {}, `${share.percent} %`)),
      ),
    ),
  );
}

/** `country is one of DE, FR`, with the parts marked up. */
export function constraintNode(constraint) {
  const { property, words, values } = constraintParts(constraint);
  return element("li", {}, element("b", {}, property), ` ${words} `, values.map((value, place) => [place ? ", " : null, element("code", {}, value)]));
}

function nameOf(share, flag) {
  return flag.variants.find((variant) => variant.id === share.variantID)?.key ?? share.variantKey ?? `variant ${share.variantID}`;
}

function variantNode(variant, place) {
  const values = Object.entries(variant.attachment ?? {});
  return element(
    "li",
    {},
    element("i", { class: `dot hue-${place % 8}` }),
    element("b", {}, variant.key),
    values.map(([name, value]) => element("span", { class: "attachment" }, `${name} `, element("code", {}, String(value)))),
  );
}

function facts(flag) {
  const facts = [["id", String(flag.id)]];
  const add = (name, value) => value !== null && value !== undefined && value !== "" && facts.push([name, String(value)]);
  add("entity type", flag.entityType);
  add("depends on", flag.dependsOn.join(", "));
  add("environment", flag.environmentId);
  add("project", flag.projectId);
  add("created by", flag.createdBy);
  add("updated by", flag.updatedBy);
  add("updated at", flag.updatedAt ? dateText(new Date(flag.updatedAt)) : null);
  add("snapshot", flag.snapshotID);
  add("records data", flag.dataRecordsEnabled ? "yes" : null);
  return facts;
}
