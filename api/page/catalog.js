// The page's copy of the server's catalog: the present flags, and the change each event made.

/** An entry: `{id, schema, flag, changedAt, tone}`; `changedAt` is 0 until an event has changed the flag. */
export class Catalog {
  entries = new Map();
  position = "0";
  isLoaded = false;
  #schemas = new Set();
  #namesSchemas = false;

  get hasSchemas() {
    return this.#namesSchemas;
  }

  /** Drop all flags: another credential may not be authorized for them. */
  clear() {
    this.entries = new Map();
    this.position = "0";
    this.isLoaded = false;
  }

  load(flags, position) {
    const known = this.entries;
    this.#namesSchemas = flags.some((flag) => flag.schema !== undefined);
    this.#schemas = new Set(this.#namesSchemas ? flags.map((flag) => flag.schema) : []);
    this.entries = new Map();
    for (const flag of flags) {
      const schema = flag.schema ?? "";
      const id = identity(schema, flag.id);
      this.entries.set(id, { id, schema, flag, changedAt: known.get(id)?.changedAt ?? 0, tone: known.get(id)?.tone ?? "" });
    }
    this.position = position;
    this.isLoaded = true;
  }

  /** Apply an event of a flag: `{id, schema, before, after}`; null for an event that is not about a flag. */
  apply(event, now, tone) {
    if (event.flagID === undefined || event.flagID === null) return null;
    this.#schemas.add(event.schema);
    const schema = this.#namesSchemas ? event.schema : "";
    const id = identity(schema, event.flagID);
    const before = this.entries.get(id)?.flag ?? null;
    const after = event.type === "flag_deleted" ? null : (event.flag ?? null);
    if (after === null) this.entries.delete(id);
    else this.entries.set(id, { id, schema, flag: after, changedAt: now, tone });
    this.position = event.id.split("-", 1)[0];
    return { id, schema, before, after };
  }

  /** Whether there are several schemas now, while the snapshot named none: ids are ambiguous then. */
  get isAmbiguous() {
    return !this.#namesSchemas && this.#schemas.size > 1;
  }

  find(key) {
    for (const entry of this.entries.values()) if (entry.flag.key === key) return entry;
    return null;
  }
}

const identity = (schema, flagId) => `${schema}/${flagId}`;
