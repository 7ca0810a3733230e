// The list of flags. Only visible rows have nodes, so that thousands of flags cost no more than a screenful.
import { byId, element, oncePerFrame, setText, show } from "./dom.js";
import { agoText, flagSentence, plural, rolloutText, segmentName } from "./words.js";

const MOST_BARS = 3;
const FLASH_MS = 1_800;
const SPARE_ROWS = 4;

export class FlagList {
  #catalog;
  #open;
  #list = byId("flag-list");
  #space = element("div", { class: "flag-space", role: "presentation" });
  #rows = new Map();
  #shown = [];
  #active = null;
  #rowHeight = 0;
  #query = "";
  #show = "all";
  #isRecentFirst = false;
  #isStale = true;
  #render = oncePerFrame(() => this.#draw());

  /** `open(entry)` shows a flag. */
  constructor(catalog, open) {
    this.#catalog = catalog;
    this.#open = open;
    this.#list.append(this.#space);
    this.#list.addEventListener("scroll", this.#render, { passive: true });
    this.#list.addEventListener("keydown", (event) => this.#onKey(event));
    this.#list.addEventListener("focus", () => {
      this.#refresh();
      if (!this.#shown.some((entry) => entry.id === this.#active)) this.#activate(0);
    });
    new ResizeObserver(() => {
      this.#rowHeight = 0;
      this.#render();
    }).observe(this.#list);
    byId("search").addEventListener("input", (event) => {
      this.#query = event.target.value;
      this.#list.scrollTop = 0;
      this.changed();
    });
    byId("search").addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "Enter") {
        event.preventDefault();
        this.focus();
      }
    });
    for (const button of document.querySelectorAll("[data-show]")) {
      button.addEventListener("click", () => {
        this.#show = button.dataset.show;
        for (const each of document.querySelectorAll("[data-show]")) each.setAttribute("aria-pressed", String(each === button));
        this.changed();
      });
    }
    byId("order").addEventListener("click", (event) => {
      this.#isRecentFirst = !this.#isRecentFirst;
      event.currentTarget.setAttribute("aria-pressed", String(this.#isRecentFirst));
      this.#list.scrollTop = 0;
      this.changed();
    });
  }

  /** The catalog has changed: redraw with the next frame. */
  changed() {
    this.#isStale = true;
    this.#render();
  }

  /** Update the age of each change. */
  tick() {
    const now = Date.now();
    for (const row of this.#rows.values()) if (row.changedAt) setText(row.age, `${agoText(now - row.changedAt)} · `);
  }

  focus() {
    this.#list.focus();
  }

  searchFor(text) {
    byId("search").value = this.#query = text;
    this.changed();
  }

  #select() {
    const matches = matcher(this.#query);
    const shown = [];
    for (const entry of this.#catalog.entries.values()) {
      if (this.#show !== "all" && entry.flag.enabled !== (this.#show === "on")) continue;
      if (matches(entry)) shown.push(entry);
    }
    const byKey = (a, b) => (a.flag.key < b.flag.key ? -1 : a.flag.key > b.flag.key ? 1 : a.schema < b.schema ? -1 : 1);
    shown.sort(this.#isRecentFirst ? (a, b) => b.changedAt - a.changedAt || byKey(a, b) : byKey);
    this.#shown = shown;
    this.#isStale = false;
  }

  #draw() {
    if (this.#isStale) this.#select();
    const shown = this.#shown;
    const total = this.#catalog.entries.size;
    setText(byId("flag-count"), shown.length === total ? plural(total, "flag") : `${shown.length} of ${plural(total, "flag")}`);
    const none = byId("flag-none");
    none.hidden = shown.length > 0 || !this.#catalog.isLoaded;
    setText(none, total ? "No flag matches." : "There are no flags yet. The first one appears here as soon as it is committed.");
    if (!this.#rowHeight) this.#rowHeight = parseFloat(getComputedStyle(this.#list).getPropertyValue("--row"));
    const height = this.#rowHeight;
    this.#space.style.setProperty("height", `${shown.length * height}px`);
    const first = Math.max(0, Math.floor(this.#list.scrollTop / height) - SPARE_ROWS);
    const last = Math.min(shown.length, Math.ceil((this.#list.scrollTop + this.#list.clientHeight) / height) + SPARE_ROWS);
    const wanted = new Set();
    for (let place = first; place < last; place++) wanted.add(shown[place].id);
    for (const [id, row] of this.#rows) {
      if (!wanted.has(id)) {
        row.node.remove();
        this.#rows.delete(id);
      }
    }
    let next = this.#space.firstElementChild;
    for (let place = first; place < last; place++) next = this.#drawRow(shown[place], place, height, next).nextElementSibling;
    const active = this.#rows.get(this.#active);
    if (active) this.#list.setAttribute("aria-activedescendant", active.node.id);
    else this.#list.removeAttribute("aria-activedescendant");
  }

  #drawRow(entry, place, height, before) {
    let row = this.#rows.get(entry.id);
    if (!row) {
      const node = element("div", { class: "flag-row", role: "option", id: `flag-${entry.id}`, onclick: () => this.#choose(entry.id) });
      row = { node, flag: null, changedAt: 0, age: element("span", { class: "age" }) };
      this.#rows.set(entry.id, row);
    }
    const { node } = row;
    // In visual order, for screen readers; a node is moved only if it is out of order, since that ends its animation.
    if (node !== before) this.#space.insertBefore(node, before);
    node.style.setProperty("transform", `translateY(${place * height}px)`);
    node.setAttribute("aria-posinset", place + 1);
    node.setAttribute("aria-setsize", this.#shown.length);
    node.setAttribute("aria-selected", String(entry.id === this.#active));
    if (row.flag !== entry.flag) {
      row.flag = entry.flag;
      node.setAttribute("aria-label", flagSentence(entry.flag));
      node.classList.toggle("is-off", !entry.flag.enabled);
      show(node, rowOf(entry, row.age));
    }
    if (row.changedAt !== entry.changedAt) {
      row.changedAt = entry.changedAt;
      setText(row.age, `${agoText(Date.now() - entry.changedAt)} · `);
      flash(node, entry);
    }
    return node;
  }

  /** Redraw now if the list has changed since the last frame: a key or focus refers to the present list. */
  #refresh() {
    if (this.#isStale) this.#draw();
  }

  #choose(id) {
    const entry = this.#catalog.entries.get(id);
    // Deleted since the last frame, and still on the screen.
    if (!entry) return;
    this.#active = id;
    this.#render();
    this.#open(entry);
  }

  #activate(place) {
    const bounded = Math.max(0, Math.min(this.#shown.length - 1, place));
    const entry = this.#shown[bounded];
    if (!entry) return;
    this.#active = entry.id;
    const top = bounded * this.#rowHeight;
    if (top < this.#list.scrollTop) this.#list.scrollTop = top;
    else if (top + this.#rowHeight > this.#list.scrollTop + this.#list.clientHeight) {
      this.#list.scrollTop = top + this.#rowHeight - this.#list.clientHeight;
    }
    this.#render();
  }

  #onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    this.#refresh();
    const place = this.#shown.findIndex((entry) => entry.id === this.#active);
    const page = Math.max(1, Math.floor(this.#list.clientHeight / this.#rowHeight) - 1);
    const steps = { ArrowDown: place + 1, ArrowUp: place - 1, j: place + 1, k: place - 1, PageDown: place + page, PageUp: place - page, Home: 0, End: this.#shown.length - 1 };
    if (event.key in steps) {
      event.preventDefault();
      event.stopPropagation();
      this.#activate(steps[event.key]);
    } else if ((event.key === "Enter" || event.key === " ") && place >= 0) {
      event.preventDefault();
      this.#open(this.#catalog.entries.get(this.#active));
    }
  }
}

/** A word with `#` matches tags; any other word matches the key, the description, a tag or the schema. */
export function matcher(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return ({ flag, schema }) =>
    words.every((word) => {
      if (word.startsWith("#")) return flag.tags.some((tag) => tag.value.toLowerCase().startsWith(word.slice(1)));
      return [flag.key, flag.description, schema, ...flag.tags.map((tag) => tag.value)].some((text) => String(text).toLowerCase().includes(word));
    });
}

function rowOf({ flag, schema }, age) {
  return [
    element("span", { class: "lever", "data-on": flag.enabled ? "" : null }, flag.enabled ? "on" : "off"),
    element(
      "span",
      { class: "flag-text" },
      element("span", { class: "flag-key" }, schema ? element("span", { class: "schema" }, `${schema}.`) : null, flag.key),
      element("span", { class: "flag-about" }, flag.tags.map((tag) => element("span", { class: "tag" }, tag.value)), element("span", { class: "description" }, flag.description)),
    ),
    element("span", { class: "flag-rollout" }, bars(flag), element("span", { class: "rollout-text" }, age, rolloutText(flag))),
  ];
}

function bars(flag) {
  const places = new Map(flag.variants.map((variant, place) => [variant.id, place]));
  const { segments } = flag;
  return element("span", { class: "bars" }, segments.slice(0, MOST_BARS).map((segment) => bar(segment, places)));
}

/** A segment's rollout as a bar of its percentage, divided among the variants of its distribution. */
export function bar(segment, places) {
  const title = `${segmentName(segment)}: ${segment.rolloutPercent} %`;
  const parts = segment.distributions
    .filter((share) => share.percent > 0)
    .map((share) =>
      element("i", { class: `share hue-${(places.get(share.variantID) ?? 0) % 8}`, style: { width: `${(segment.rolloutPercent * share.percent) / 100}%` } }),
    );
  return element("span", { class: "bar-track", title }, parts);
}

function flash(node, { changedAt, tone }) {
  if (!changedAt) return;
  const age = Date.now() - changedAt;
  if (age >= FLASH_MS) return;
  node.classList.remove("flash");
  node.dataset.tone = tone;
  // Reading it makes the browser restart the animation of an earlier change.
  void node.offsetWidth;
  node.style.setProperty("--age", `-${age}ms`);
  node.classList.add("flash");
  clearTimeout(Number(node.dataset.timer));
  node.dataset.timer = String(setTimeout(() => node.classList.remove("flash"), FLASH_MS - age));
}
