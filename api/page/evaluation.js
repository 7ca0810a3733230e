// One evaluation: the variant for an entity, and the reason, from the server's debug log.
import { byId, element, show } from "./dom.js";
import { constraintNode } from "./flag-detail.js";
import { segmentName } from "./words.js";

export class EvaluationForm {
  #catalog;
  #api;
  #form;
  #key = element("input", { id: "evaluate-key", list: "evaluate-keys", required: true, autocomplete: "off", spellcheck: "false", maxlength: 500 });
  #keys = element("datalist", { id: "evaluate-keys" });
  #entity = element("input", { id: "evaluate-entity", autocomplete: "off", spellcheck: "false", placeholder: "user-1", maxlength: 500 });
  #type = element("input", { id: "evaluate-type", autocomplete: "off", spellcheck: "false", maxlength: 200 });
  #at = element("input", { id: "evaluate-at", autocomplete: "off", spellcheck: "false", placeholder: "now, or 2026-11-23 12:00", maxlength: 100 });
  #context = element("div", { class: "context" });
  #asked = 0;
  #answer = element("div", { class: "answer", "aria-live": "polite" });

  constructor(catalog, api) {
    this.#catalog = catalog;
    this.#api = api;
    const field = (label, input) => element("label", {}, element("span", {}, label), input);
    this.#form = element(
      "form",
      { class: "evaluation", onsubmit: (event) => this.#ask(event) },
      field("Flag", this.#key),
      this.#keys,
      element("div", { class: "pair" }, field("Entity id", this.#entity), field("Entity type", this.#type)),
      element("fieldset", {}, element("legend", {}, "Context"), this.#context, element("button", { type: "button", class: "quiet", onclick: () => this.#addRow("", "", true) }, "+ property")),
      element("label", {}, element("span", {}, "As of ", element("span", { class: "hint" }, "your local time as 2026-11-23 12:00, or a position as 1042; empty means now")), this.#at),
      element("button", { type: "submit", class: "primary" }, "Evaluate"),
    );
    this.#key.addEventListener("focus", () => this.#listKeys());
    this.#key.addEventListener("change", () => this.#offerProperties());
    show(byId("evaluate"), this.#form, this.#answer);
    this.#addRow("", "");
  }

  /** Fill in a flag and the properties in its constraints; `at` is a position, empty for the present. */
  prepare(key, at = "") {
    this.#key.value = key;
    this.#type.value = this.#catalog.find(key)?.flag.entityType ?? this.#type.value;
    this.#at.value = at;
    this.#asked++;
    show(this.#answer);
    this.#offerProperties();
    this.#entity.focus();
  }

  /** Fill in a flag if none was chosen yet. */
  suggest(key) {
    if (this.#key.value) return;
    this.#key.value = key;
    this.#type.value = this.#catalog.find(key)?.flag.entityType ?? "";
    this.#offerProperties();
  }

  #listKeys() {
    const keys = [...new Set([...this.#catalog.entries.values()].map((entry) => entry.flag.key))].sort();
    show(this.#keys, keys.map((key) => element("option", { value: key })));
  }

  #offerProperties() {
    const flag = this.#catalog.find(this.#key.value)?.flag;
    if (!flag) return;
    const wanted = new Set(flag.segments.flatMap((segment) => segment.constraints.map((constraint) => constraint.property)));
    for (const row of [...this.#context.children]) {
      const [name, value] = row.querySelectorAll("input");
      if (wanted.has(name.value)) wanted.delete(name.value);
      else if (!value.value) row.remove();
    }
    for (const property of wanted) this.#addRow(property, "");
    if (!this.#context.children.length) this.#addRow("", "");
  }

  #addRow(name, value, withFocus = false) {
    const input = (label, text) => {
      const made = element("input", { "aria-label": label, placeholder: label, autocomplete: "off", spellcheck: "false", maxlength: 2000 });
      made.value = text;
      return made;
    };
    const property = input("property", name);
    const row = element(
      "div",
      { class: "context-row" },
      property,
      input("value", value),
      element("button", { type: "button", class: "quiet", "aria-label": "Remove this property", onclick: () => row.remove() }, "×"),
    );
    this.#context.append(row);
    if (withFocus) property.focus();
  }

  async #ask(event) {
    event.preventDefault();
    const context = {};
    for (const row of this.#context.children) {
      const [name, value] = row.querySelectorAll("input");
      if (name.value && value.value) context[name.value] = value.value;
    }
    const key = this.#key.value;
    const at = momentOf(this.#at.value);
    const schema = this.#catalog.find(key)?.schema ?? "";
    const question = { flagKey: key, entityID: this.#entity.value, entityContext: context, enableDebug: true };
    if (this.#type.value) question.entityType = this.#type.value;
    if (at) question.at = at;
    const asked = ++this.#asked;
    let explained;
    try {
      const { document: answer, position } = await this.#api.post(`api/v1/evaluation${schema ? `?schema=${encodeURIComponent(schema)}` : ""}`, question);
      const flag = position ? await this.#flagAt(key, schema, position) : (this.#catalog.find(key)?.flag ?? null);
      explained = this.#explain(answer, flag, position);
    } catch (error) {
      explained = element("p", { class: "reason" }, error.message);
    }
    // The answer to a later request may have arrived first.
    if (asked === this.#asked) show(this.#answer, explained);
  }

  /** The flag at a position: its segments may have changed since. */
  async #flagAt(key, schema, position) {
    const query = new URLSearchParams({ key, at: position, preload: "true" });
    if (schema) query.set("schema", schema);
    return (await this.#api.get(`api/v1/flags?${query}`))[0] ?? null;
  }

  #explain(answer, flag, position) {
    const got = answer.variantKey;
    const attachment = Object.entries(answer.variantAttachment ?? {});
    return [
      element(
        "p",
        { class: "verdict", "data-got": got ? "" : null },
        element("span", { class: "entity" }, answer.evalContext.entityID),
        position ? " got " : " gets ",
        element("b", {}, got ?? "no variant"),
        position ? element("span", { class: "hint" }, ` at #${position.split("@", 1)[0]}`) : null,
      ),
      attachment.length ? element("p", {}, attachment.map(([name, value]) => element("span", { class: "attachment" }, `${name} `, element("code", {}, value)))) : null,
      element("h3", {}, "Why"),
      this.#why(answer, flag),
    ];
  }

  #why(answer, flag) {
    const log = answer.evalDebugLog;
    const lines = log?.segmentDebugLogs ?? [];
    if (!flag || !lines.some((line) => line.segmentID)) return element("p", { class: "reason-line" }, sentenceOf(lines[0]?.msg || log?.msg || "", flag));
    const said = new Map(lines.map((line) => [line.segmentID, line.msg]));
    const context = answer.evalContext.entityContext ?? {};
    return element(
      "ol",
      { class: "segments trace" },
      flag.segments.map((segment) => {
        const verdict = verdictOf(said.get(segment.id), segment);
        return element(
          "li",
          { class: "segment", "data-verdict": verdict.kind },
          element("p", { class: "segment-head" }, element("span", { class: "mark", "aria-hidden": "true" }, verdict.mark), element("b", {}, segmentName(segment)), element("span", { class: "percent" }, `${segment.rolloutPercent} %`)),
          segment.constraints.length
            ? element(
                "ul",
                { class: "constraints" },
                segment.constraints.map((constraint) => {
                  const node = constraintNode(constraint);
                  node.append(element("span", { class: "given" }, constraint.property in context ? ` – given: ${context[constraint.property]}` : " – not given"));
                  return node;
                }),
              )
            : null,
          element("p", { class: "reason-line" }, verdict.text),
        );
      }),
    );
  }
}

/** A point in time in the server's format: a position or an id unchanged, a local time in UTC. */
function momentOf(text) {
  const trimmed = text.trim();
  if (!trimmed || /^\d+$|@/.test(trimmed)) return trimmed;
  const time = new Date(trimmed);
  return Number.isNaN(time.getTime()) ? trimmed : time.toISOString();
}

function verdictOf(message, segment) {
  if (message === undefined) return { kind: "skipped", mark: "·", text: "Not evaluated: an earlier segment matched." };
  if (message.includes("did not match constraints")) return { kind: "no", mark: "✕", text: "Does not match the constraints; the next segment is tried." };
  if (message.includes("rollout yes")) return { kind: "yes", mark: "✓", text: "Matches, and lies within the rollout." };
  if (message.includes("rollout no")) {
    return { kind: "no", mark: "✕", text: `Matches, but lies outside the ${segment.rolloutPercent} % of the rollout; the next segment is tried.` };
  }
  return { kind: "no", mark: "✕", text: message };
}

function sentenceOf(message, flag) {
  if (flag && !flag.enabled) return "The flag is turned off, so there is no variant.";
  if (/has no segments/.test(message)) return "The flag has no segment, so there is no variant.";
  if (/not found or deleted/.test(message)) return "There is no such flag.";
  return message || "The server gave no reason.";
}
