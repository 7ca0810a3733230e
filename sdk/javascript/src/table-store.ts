/** A live local copy of the rows of a watched table. */
import type { ConnectionState } from "./client-connection.js";
import { DialogueSupervisor } from "./dialogue-supervisor.js";
import type { AnyEvent } from "./core/event.js";
import { isBefore, parseEventId, positionOf } from "./core/event-id.js";
import type { Message } from "./core/message.js";
import type { StoreStatus } from "./core/store-core.js";
import { TableRows, type Row, type RowChange, type RowKey } from "./core/table-rows.js";
import { ClientClosed, ConnectionLost, FlagentError, NotReady, RequestFailed } from "./errors.js";
import type { RealtimeClient } from "./realtime-client.js";
import { connectionFailure, type Connection, type ConnectionSink, type Transport } from "./transport.js";
import { Waiters } from "./waiters.js";

export type { Row, RowChange, RowKey } from "./core/table-rows.js";

export interface TableStoreOptions {
  /** A condition of the rows, with `$1`, `$2`, … for `params`. */
  readonly where?: string;
  readonly params?: readonly unknown[];
  /** These columns, and those of the key; all by default. */
  readonly columns?: readonly string[];
  /** More rows are an error; 100 000 by default. */
  readonly maxRows?: number;
}

/** The columns of the table have changed. */
export interface SchemaChange {
  readonly table: string;
  readonly before: readonly unknown[];
  readonly after: readonly unknown[];
  readonly rewritten: boolean;
}

const MAX_ROWS = 100_000;
const READY_MS = 30_000;
/** Errors of the server that pass. */
const RETRIED = new Set(["too_busy", "too_slow", "database_unavailable", "not_ready"]);

/**
 * The rows of a watched table that a filter selects, over a connection of its own to the client's server. `READY` means that all rows have arrived and that
 * the server confirms its freshness; rows stay readable in every status. A number that a double cannot hold is text, or a bigint where the client has
 * `longIntegers: "bigint"`.
 */
export class TableStore implements Iterable<Row> {
  readonly #client: RealtimeClient;
  readonly #options: TableStoreOptions;
  readonly #maxRows: number;
  readonly #rows = new TableRows();
  /** The rows that are arriving; they replace the others once all have. */
  #arriving: TableRows | null = null;
  #id: string | null = null;
  #head: bigint | null = null;
  #state: "initializing" | "filled" | "failed" | "closed" = "initializing";
  #isConnected = false;
  #isFresh = true;
  #isReloading = false;
  #status: StoreStatus = "INITIALIZING";
  #failure: Error | null = null;
  #lastError: Error | null = null;
  readonly #supervisor: DialogueSupervisor;
  readonly #waiters = new Waiters();
  readonly #changeHandlers = new Set<(changes: readonly RowChange[]) => unknown>();
  readonly #statusHandlers = new Set<(status: StoreStatus) => unknown>();
  readonly #schemaHandlers = new Set<(change: SchemaChange) => unknown>();

  constructor(client: RealtimeClient, readonly table: string, options: TableStoreOptions = {}) {
    const { maxRows = MAX_ROWS } = options;
    if (typeof table !== "string" || table === "") throw new TypeError(`table is ${JSON.stringify(table)}; it must be the name of a table, such as shop.orders`);
    if (!Number.isInteger(maxRows) || maxRows < 1) throw new RangeError(`maxRows is ${maxRows}; it must be a whole number of at least 1`);
    this.#client = client;
    this.#options = options;
    this.#maxRows = maxRows;
    this.#supervisor = new DialogueSupervisor({
      ...client.settings, transport: this.#transport(client.tableTransport()), reconnect: { ...client.settings.reconnect, maxAttempts: 0 }, hasOwnLimit: false, apiKey: client.apiKey,
    }, {
      message: (message) => this.#onMessage(message),
      state: (state, error) => this.#onState(state, error),
      error: (error) => client.report(error),
    });
    client.addCompanion(this);
    // Not within the constructor: who closes the store at once makes no connection.
    queueMicrotask(() => {
      if (this.#state !== "closed" && !client.isOffline) this.start();
    });
  }

  get status(): StoreStatus {
    return this.#status;
  }

  /** The number of rows. */
  get size(): number {
    return this.#rows.size;
  }

  /** The rows at this moment, in no particular order, without those that could not be read. */
  get rows(): Row[] {
    return [...this.#rows.rows()];
  }

  /** The position up to which the rows are complete, as text; null before. */
  get position(): string | null {
    return positionOf(this.#id);
  }

  get lastEventId(): string | null {
    return this.#id;
  }

  [Symbol.iterator](): IterableIterator<Row> {
    return this.#rows.rows();
  }

  /** The row with this key: the value of a key of one column, or the key's columns by name. Undefined where there is none, null where it could not be read. */
  get(key: unknown): Row | null | undefined {
    return this.#rows.get(key);
  }

  /** Calls `handler` with what each message has changed. Returns a function that removes the handler. */
  onChange(handler: (changes: readonly RowChange[]) => unknown): () => void {
    this.#changeHandlers.add(handler);
    return () => void this.#changeHandlers.delete(handler);
  }

  onStatus(handler: (status: StoreStatus) => unknown): () => void {
    this.#statusHandlers.add(handler);
    return () => void this.#statusHandlers.delete(handler);
  }

  /** Called when the table's columns have changed, and its rows are the same. Where they were rewritten, the store loads them again instead. */
  onSchemaChange(handler: (change: SchemaChange) => unknown): () => void {
    this.#schemaHandlers.add(handler);
    return () => void this.#schemaHandlers.delete(handler);
  }

  /** Resolves when all rows have arrived and are fresh; rejects as the `ready` of a flag store does. */
  async ready({ timeout = READY_MS }: { timeout?: number } = {}): Promise<this> {
    await this.#waiters.wait(timeout, () => {
      if (this.#status === "CLOSED") throw new ClientClosed();
      if (this.#status === "ERROR") throw this.#failure!;
      if (this.#status !== "READY" && this.#client.isOffline) throw new NotReady("the client is offline; call start()");
      return this.#status === "READY";
    }, () => new NotReady(
      `the rows of ${this.table} are ${this.#status} after ${timeout} ms${this.#lastError === null ? "" : `: ${this.#lastError.message}`}`,
      this.#lastError === null ? undefined : { cause: this.#lastError },
    ));
    return this;
  }

  /** @internal Called by the client. */
  start(): void {
    this.#supervisor.resume("offline");
    this.#supervisor.select({ tables: [this.table] }, false, true, null);
  }

  /** @internal Called by the client. */
  offline(): void {
    this.#supervisor.pause("offline");
  }

  close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#supervisor.close();
    this.#client.removeCompanion(this);
    this.#reportStatus();
  }

  /** The client's transport, asked for these rows; what is about rows goes past the supervisor, which knows flags alone. */
  #transport(inner: Transport): Transport {
    return {
      limits: inner.limits,
      ...(inner.judge === undefined ? {} : { judge: inner.judge.bind(inner) }),
      open: (request, sink) => {
        if (this.#id === null) this.#arriving = new TableRows();
        let connection: Connection | null = null;
        let isOver = false;
        const own: ConnectionSink = {
          ...sink,
          message: (message) => {
            if (isOver) return;
            if (message.kind === "events") {
              sink.message({ kind: "ignored" });
              for (const event of message.events) if (!isOver) this.#onEvent(event, own);
              this.#reportStatus();
            } else if (message.kind === "snapshot") this.#reload(own, message.reason ?? "snapshot");
            else sink.message(message);
          },
          ended: (failure) => {
            if (isOver) return;
            isOver = true;
            connection?.close();
            const { error } = failure;
            sink.ended(error instanceof RequestFailed && RETRIED.has(error.code) ? connectionFailure(error) : failure);
          },
        };
        const { where, params = [], columns = [] } = this.#options;
        const start = this.#id === null ? { snapshot: true } : { lastEventId: this.#id };
        const query = new URLSearchParams([["table", this.table]]);
        if (where !== undefined) query.append("where", where);
        for (const value of params) query.append("param", typeof value === "string" ? value : JSON.stringify(value, exactly));
        if (columns.length > 0) query.append("columns", columns.join(","));
        const entry = { name: this.table, ...(where === undefined ? {} : { where }), ...(params.length > 0 ? { params: params.map((value) => (typeof value === "bigint" ? String(value) : value)) } : {}), ...(columns.length > 0 ? { columns } : {}) };
        connection = inner.open({ ...request, lastEventId: this.#id, snapshot: this.#id === null, query, opening: { type: "subscribe", tables: [entry], ...start } }, own);
        return { ...connection, dialogue: connection.dialogue && { ...connection.dialogue, change: (_, selection) => selection }, close: () => connection!.close() };
      },
    };
  }

  #onEvent(event: AnyEvent, sink: ConnectionSink): void {
    const { typeName, raw } = event;
    switch (typeName) {
      case "rows": {
        for (const { key, row, unreadable } of raw.rows as { key: RowKey | null; row: Row | null; unreadable?: string }[]) {
          if (unreadable !== undefined) this.#client.report(unreadableRow(this.table, key, unreadable));
          this.#arriving?.put(key, row);
        }
        return this.#checkSize(this.#arriving, sink);
      }
      case "rows_end": {
        const arrived = this.#arriving;
        this.#arriving = null;
        if (event.id !== null) this.#id = event.id;
        if (arrived === null) return;
        this.#state = "filled";
        this.#isReloading = false;
        this.#head = null;
        return this.#changed(this.#rows.replace(arrived));
      }
      case "backfill_failed": {
        const code = String(raw.code ?? "backfill_failed");
        return sink.ended(connectionFailure(new RequestFailed(String(raw.message ?? code), code), RETRIED.has(code) ? "retry" : "fatal"));
      }
      case "schema_changed": {
        if (raw.rewritten === true) return this.#reload(sink, "its columns were rewritten");
        const change = raw as unknown as SchemaChange;
        for (const handler of this.#schemaHandlers) this.#client.dispatch(() => handler(change));
        break;
      }
      case "row_inserted": case "row_updated": case "row_deleted": case "table_truncated": {
        if (!this.#isNew(event.id)) return;
        const { key, before, after, unreadable } = raw as { key?: RowKey | null; before?: Row | null; after?: Row | null; unreadable?: string };
        if (unreadable !== undefined) this.#client.report(unreadableRow(this.table, key ?? null, unreadable));
        const target = this.#arriving ?? this.#rows;
        if (unreadable === undefined || (key ?? null) !== null) {
          const changes = target.apply(typeName, key ?? null, before ?? null, after ?? null);
          if (target === this.#rows) this.#changed(changes);
        }
        this.#checkSize(target, sink);
        break;
      }
    }
    if (event.id !== null && this.#arriving === null) this.#id = event.id;
    this.#checkHead();
  }

  /** Whether an event is later than what the store holds. */
  #isNew(id: string | null): boolean {
    const [event, own] = [id, this.#id].map((text) => (text === null ? null : parseEventId(text)));
    return event == null || own == null || event.log !== own.log || isBefore(own, event);
  }

  #checkSize(rows: TableRows | null, sink: ConnectionSink): void {
    if (rows === null || rows.size <= this.#maxRows) return;
    sink.ended(connectionFailure(new FlagentError(`the table ${this.table} has more than maxRows (${this.#maxRows}) rows; select fewer with \`where\`, or raise the limit`), "fatal"));
  }

  /** Everything is read again, over a new connection; until then the rows stay as they are. */
  #reload(sink: ConnectionSink, reason: string): void {
    this.#id = null;
    this.#isReloading = true;
    sink.ended(connectionFailure(new ConnectionLost(`the rows of ${this.table} are read again: ${reason}`), "again"));
  }

  #onMessage(message: Message): void {
    if (message.kind === "connected") {
      this.#isFresh = message.fresh !== false;
      this.#head = this.#id === null || message.position === null || !/^[0-9]{1,19}$/.test(message.position) ? null : BigInt(message.position);
    } else if (message.kind === "heartbeat") {
      if (message.fresh !== null) this.#isFresh = message.fresh;
      if (message.id !== null && this.#id !== null && this.#arriving === null && this.#isNew(message.id)) this.#id = message.id;
    }
    this.#checkHead();
    this.#reportStatus();
  }

  #checkHead(): void {
    const own = this.#id === null ? null : parseEventId(this.#id);
    if (this.#head !== null && own !== null && own.position >= this.#head) this.#head = null;
  }

  #onState(state: ConnectionState, error: Error | null): void {
    this.#isConnected = state === "connected";
    if (error !== null) this.#lastError = error;
    if (state === "failed") {
      this.#state = "failed";
      // What the server or this store says, without the supervisor's words about the connection.
      this.#failure = error!.cause instanceof FlagentError ? error!.cause : error;
      this.#client.report(this.#failure!);
    }
    this.#reportStatus();
  }

  #changed(changes: readonly RowChange[]): void {
    if (changes.length > 0) for (const handler of this.#changeHandlers) this.#client.dispatch(() => handler(changes));
  }

  #reportStatus(): void {
    const isCurrent = this.#isConnected && this.#isFresh && this.#head === null && !this.#isReloading && this.#id !== null;
    const status: StoreStatus = this.#state === "closed" ? "CLOSED" : this.#state === "failed" ? "ERROR" : this.#state === "initializing" ? "INITIALIZING" : isCurrent ? "READY" : "STALE";
    if (status !== this.#status) {
      this.#status = status;
      for (const handler of this.#statusHandlers) this.#client.dispatch(() => handler(status));
    }
    this.#waiters.notify();
  }
}

const exactly = (_: string, value: unknown) => (typeof value === "bigint" ? String(value) : value);

function unreadableRow(table: string, key: RowKey | null, reason: string): FlagentError {
  return new FlagentError(`a row of ${table} could not be delivered (${reason})${key === null ? "" : `: ${JSON.stringify(key, exactly)}`}`);
}
