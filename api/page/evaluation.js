// "What would this user get, and why": one evaluation, with the server's debug log said in words.
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
  #context = element("div", { class: "context" });
  #answer = element("div", { class: "answer", "aria-live": "polite" });

  /** `api.post(path, document)` answers with a document, or raises an error with a sentence. */
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
      element("button", { type: "submit", class: "primary" }, "Evaluate"),
    );
    this.#key.addEventListener("focus", () => this.#listKeys());
    this.#key.addEventListener("change", () => this.#offerProperties());
    show(byId("evaluate"), this.#form, this.#answer);
    this.#addRow("", "");
  }

  /** Fill in a flag, with the properties that its constraints look at. */
  prepare(entry) {
    this.#key.value = entry.flag.key;
    this.#type.value = entry.flag.entityType ?? "";
    show(this.#answer);
    this.#offerProperties();
    this.#entity.focus();
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
    const entry = this.#catalog.find(this.#key.value);
    const schema = entry?.schema ? `?schema=${encodeURIComponent(entry.schema)}` : "";
    const question = { flagKey: this.#key.value, entityID: this.#entity.value, entityContext: context, enableDebug: true };
    if (this.#type.value) question.entityType = this.#type.value;
    try {
      const answer = await this.#api.post(`api/v1/evaluation${schema}`, question);
      show(this.#answer, this.#explain(answer, entry?.flag ?? null));
    } catch (error) {
      show(this.#answer, element("p", { class: "reason" }, error.message));
    }
  }

  #explain(answer, flag) {
    const got = answer.variantKey;
    const attachment = Object.entries(answer.variantAttachment ?? {});
    const who = answer.evalContext.entityID;
    return [
      element(
        "p",
        { class: "verdict", "data-got": got ? "" : null },
        element("span", { class: "who" }, who),
        got ? " gets " : " gets ",
        element("b", {}, got ?? "no variant"),
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

function verdictOf(message, segment) {
  if (message === undefined) return { kind: "skipped", mark: "·", text: "Not looked at: the answer was found before." };
  if (message.includes("did not match constraints")) return { kind: "no", mark: "✕", text: "Does not match the constraints; the next segment is tried." };
  if (message.includes("rollout yes")) return { kind: "yes", mark: "✓", text: "Matches, and lies within the rollout." };
  if (message.includes("rollout no")) {
    return { kind: "no", mark: "✕", text: `Matches, but lies outside the ${segment.rolloutPercent} % of the rollout; the next segment is tried.` };
  }
  return { kind: "no", mark: "✕", text: message };
}

function sentenceOf(message, flag) {
  if (flag && !flag.enabled) return "The flag is turned off, so nobody gets a variant.";
  if (/has no segments/.test(message)) return "The flag has no segment, so nobody gets a variant.";
  if (/not found or deleted/.test(message)) return "There is no such flag.";
  return message || "The server gives no reason.";
}
