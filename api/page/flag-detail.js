// One flag with all its parts.
import { byId, element, show } from "./dom.js";
import { bar } from "./flag-list.js";
import { constraintParts, segmentName } from "./words.js";

const RELOAD_MS = 1_000;

export class FlagDetail {
  #catalog;
  #actions;
  #history;
  #view = byId("flag");
  #opened = null; // {id, key, schema}
  #shown = null;
  #isHistory = false;
  #isWanted = false;
  #timer = 0;

  /** `actions`: `evaluate(flag)`, `searchFor(text)`, `back()`. */
  constructor(catalog, history, actions) {
    this.#catalog = catalog;
    this.#history = history;
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
      if (this.#isHistory || !this.#shown) this.#history.load(this.#opened.key, this.#opened.schema);
      this.#timer = setTimeout(step, RELOAD_MS);
    };
    step();
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
        flag ? element("span", { class: "lever", "data-on": flag.enabled ? "" : null }, flag.enabled ? "on" : "off") : element("span", { class: "badge", "data-tone": "bad" }, "deleted"),
      ),
      flag?.description ? element("p", { class: "about" }, flag.description) : null,
      flag?.notes ? element("p", { class: "about notes" }, flag.notes) : null,
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
    return [
      element("h3", {}, "Who gets what"),
      flag.segments.length
        ? element("ol", { class: "segments" }, flag.segments.map((segment, rank) => segmentNode(segment, rank, places, flag)))
        : element("p", { class: "hint" }, "No segment, so there is no variant."),
      element("h3", {}, "Variants"),
      flag.variants.length ? element("ul", { class: "variants" }, flag.variants.map((variant, place) => variantNode(variant, place))) : element("p", { class: "hint" }, "No variant."),
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
  add("updated at", flag.updatedAt);
  add("snapshot", flag.snapshotID);
  add("records data", flag.dataRecordsEnabled ? "yes" : null);
  return facts;
}
