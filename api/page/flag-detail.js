// One flag, whole, in words.
import { byId, element, show } from "./dom.js";
import { bar } from "./flag-list.js";
import { constraintParts, segmentName } from "./words.js";

export class FlagDetail {
  #catalog;
  #actions;
  #view = byId("flag");
  #id = null;
  #shown = null;

  /** `actions`: `evaluate(entry)`, `searchFor(text)`, `back()`. */
  constructor(catalog, actions) {
    this.#catalog = catalog;
    this.#actions = actions;
    this.changed();
  }

  get id() {
    return this.#id;
  }

  open(id) {
    this.#id = id;
    this.#shown = undefined;
    this.changed();
    this.#view.scrollTop = 0;
  }

  /** Draw again where the flag that is open has changed. */
  changed() {
    const entry = this.#id === null ? null : (this.#catalog.entries.get(this.#id) ?? null);
    if (this.#shown === entry) return;
    const hadFocus = this.#view.contains(document.activeElement) && document.activeElement !== this.#view;
    this.#shown = entry;
    if (entry) show(this.#view, this.#content(entry));
    else show(this.#view, element("p", { class: "empty" }, this.#id === null ? "Choose a flag to see it whole." : "This flag has been deleted."));
    if (hadFocus) this.#view.focus({ preventScroll: true });
  }

  #content(entry) {
    const { flag, schema } = entry;
    const places = new Map(flag.variants.map((variant, place) => [variant.id, place]));
    return [
      element(
        "header",
        { class: "flag-head" },
        element("button", { type: "button", class: "quiet phone back", onclick: () => this.#actions.back() }, "← Flags"),
        element("h2", {}, schema ? element("span", { class: "schema" }, `${schema}.`) : null, flag.key, " ", element("span", { class: "lever", "data-on": flag.enabled ? "" : null }, flag.enabled ? "on" : "off")),
        flag.description ? element("p", { class: "about" }, flag.description) : null,
        flag.notes ? element("p", { class: "about notes" }, flag.notes) : null,
        element(
          "p",
          { class: "tags" },
          flag.tags.map((tag) => element("button", { type: "button", class: "tag", title: "Show flags with this tag", onclick: () => this.#actions.searchFor(`#${tag.value}`) }, tag.value)),
        ),
        element("button", { type: "button", class: "primary", onclick: () => this.#actions.evaluate(entry) }, "What would someone get?"),
      ),
      element("h3", {}, "Who gets what"),
      flag.segments.length
        ? element("ol", { class: "segments" }, flag.segments.map((segment, rank) => segmentNode(segment, rank, places, flag)))
        : element("p", { class: "hint" }, "No segment: nobody gets a variant."),
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

/** `country is one of DE, FR`, with its parts told apart. */
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
