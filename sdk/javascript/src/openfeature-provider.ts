/**
 * What the OpenFeature providers of browsers and servers share; it needs neither of OpenFeature's SDKs.
 *
 * Flagent has variants, OpenFeature has values. The value of a flag is the variant's attachment `value` if present,
 * otherwise the variant's key; an object is the whole attachment. As a boolean, `true`, `on`, `yes` and `enabled` are true,
 * `false`, `off`, `no` and `disabled` are false, in any letter case. A number is written as in JSON; another text, or a number
 * whose digits would be lost, is the error TYPE_MISMATCH. A flag that is disabled or has no variant for the
 * entity resolves to the caller's default.
 *
 * Every evaluation needs a targeting key: without one, a flag that divides its entities would give another variant at each call.
 * A missing or blank key is the error TARGETING_KEY_MISSING. Reasons equal those of the server's OFREP: STATIC if every entity gets the
 * variant, TARGETING_MATCH if a constraint selects it, SPLIT if the rollout or the distribution does.
 */
import { isBlank } from "./core/constraint.js";
import type { Flag } from "./core/flag.js";
import type { StoreStatus } from "./core/store-core.js";
import { readNumber, type Scalar } from "./core/values.js";
import { AmbiguousFlag, NotReady, ReducedFlag } from "./errors.js";
import { LocalEvaluation, type EvaluationResult, type ExposureHandler } from "./evaluation.js";
import { FlagStore } from "./flag-store.js";
import type { RealtimeClient } from "./realtime-client.js";

export interface FlagentProviderOptions {
  /** The maximum time of `initialize` in milliseconds; the provider still becomes ready later, when the store does. */
  readonly readyTimeout?: number;
  /** Called after evaluations, once per flag, entity and variant within an hour. */
  readonly onExposure?: ExposureHandler;
}

/** An outcome of `initialize` that is not success; `isFatal`: the client has given up. */
export class Uninitialized extends Error {
  constructor(message: string, readonly isFatal: boolean) {
    super(message);
  }
}

/** What a provider reports; OpenFeature's names of the events. */
export interface ProviderReports {
  ready(): void;
  stale(message: string): void;
  error(message: string): void;
  changed(flagKeys: string[]): void;
}

export interface Resolution<T> {
  readonly value: T;
  readonly reason: string;
  readonly variant?: string;
  readonly errorCode?: string;
  readonly errorMessage?: string;
  readonly flagMetadata?: Record<string, string | number | boolean>;
}

const TRUE = new Set(["true", "on", "yes", "enabled"]);
const FALSE = new Set(["false", "off", "no", "disabled"]);

class TypeMismatch extends Error {}

/** The life and the look-ups of a provider. `given` is a client, which stays open, or a function that makes one. */
export class ProviderCore {
  readonly #given: RealtimeClient | (() => RealtimeClient);
  readonly #options: FlagentProviderOptions;
  readonly #reports: ProviderReports;
  #client: RealtimeClient | null = null;
  #current: FlagStore | null = null;
  #evaluation: LocalEvaluation | null = null;
  /** OpenFeature itself reports READY the first time, when `initialize` has resolved. */
  #isLive = false;
  #wasLate = false;

  constructor(given: RealtimeClient | (() => RealtimeClient), options: FlagentProviderOptions, reports: ProviderReports) {
    this.#given = given;
    this.#options = options;
    this.#reports = reports;
  }

  get store(): FlagStore | null {
    return this.#current;
  }

  async initialize(): Promise<void> {
    try {
      await (this.#current ?? this.#open()).ready({ timeout: this.#options.readyTimeout ?? 10_000 });
    } catch (error) {
      const isFatal = !(error instanceof NotReady);
      if (!isFatal) this.#wasLate = true;
      throw new Uninitialized((error as Error).message, isFatal);
    }
  }

  #open(): FlagStore {
    this.#client = typeof this.#given === "function" ? this.#given() : this.#given;
    const store = this.#current = new FlagStore(this.#client);
    this.#evaluation = new LocalEvaluation(store);
    if (this.#options.onExposure !== undefined) this.#evaluation.onExposure(this.#options.onExposure);
    store.onStatus((status) => { if (store === this.#current) this.#onStatus(status); });
    // The first snapshot is the configuration itself, not a change.
    store.onChange((changes) => {
      if (this.#isLive && store === this.#current) this.#reports.changed(changes.map(({ key }) => key));
    });
    return store;
  }

  #onStatus(status: StoreStatus): void {
    if (status === "READY") {
      if (this.#isLive || this.#wasLate) this.#reports.ready();
      this.#isLive = true;
    } else if (status === "STALE") this.#reports.stale("the freshness of the flags cannot be confirmed");
    else if (status === "ERROR") this.#reports.error(this.#client?.failure?.message ?? "the client has given up");
  }

  close(): void {
    const client = this.#client;
    const current = this.#current;
    this.#client = this.#current = this.#evaluation = null;
    this.#isLive = this.#wasLate = false;
    current?.close();
    if (client !== this.#given) client?.close();
  }

  resolve<T>(flagKey: string, value: T, context: Readonly<Record<string, unknown>>, read: (result: EvaluationResult) => T): Resolution<T> {
    const store = this.#current;
    const failed = (errorCode: string, errorMessage: string): Resolution<T> => ({ value, reason: "ERROR", errorCode, errorMessage });
    if (store === null || store.status === "INITIALIZING") return failed("PROVIDER_NOT_READY", "no snapshot has arrived yet");
    const { targetingKey: key, ...attributes } = context;
    if (key === undefined || key === null || (typeof key === "string" && isBlank(key))) {
      return failed("TARGETING_KEY_MISSING", "the context has no targetingKey; set it to the id of the user or other entity");
    }
    if (typeof key !== "string") return failed("INVALID_CONTEXT", `the targetingKey must be a string; it is a ${typeof key}`);
    let about = {};
    try {
      const flag = store.get(flagKey);
      if (flag === undefined) return failed("FLAG_NOT_FOUND", `the flag ${flagKey} does not exist`);
      if (!flag.enabled) return { value, reason: "DISABLED" };
      const result = this.#evaluation!.evaluate({ flagID: flag.id, entityID: key, entityContext: scalars(attributes) });
      if (result.variantID === null) return { value, reason: "DEFAULT" };
      about = {
        ...(result.variantKey === null ? {} : { variant: result.variantKey }),
        flagMetadata: { flagID: result.flagID, snapshotID: result.flagSnapshotID, segmentID: result.segmentID ?? 0 },
      };
      return { value: read(result), reason: reasonOf(store, flag, result), ...about };
    } catch (error) {
      if (error instanceof TypeMismatch) return { ...failed("TYPE_MISMATCH", error.message), ...about };
      if (error instanceof ReducedFlag || error instanceof AmbiguousFlag) return failed("GENERAL", error.message);
      throw error;
    }
  }
}

export function readBoolean(result: EvaluationResult): boolean {
  const word = textOf(result).toLowerCase();
  if (!TRUE.has(word) && !FALSE.has(word)) throw new TypeMismatch(`the value "${textOf(result)}" is not a boolean`);
  return TRUE.has(word);
}

export function readNumeric(result: EvaluationResult): number {
  const number = readNumber(textOf(result));
  if (number === null) throw new TypeMismatch(`the value "${textOf(result)}" is not a number of JSON that a double holds without loss`);
  return number;
}

export function readObject({ variantKey, variantAttachment }: EvaluationResult): Record<string, string> {
  if (variantAttachment === null) throw new TypeMismatch(`the variant ${variantKey} has no attachment`);
  return { ...variantAttachment };
}

function reasonOf(store: FlagStore, flag: Flag, { segmentID }: EvaluationResult): string {
  if (store.status !== "READY") return "STALE";
  const segment = flag.segments.find(({ id }) => id === segmentID);
  if (segment === undefined) return "UNKNOWN";
  const isSplit = segment.rolloutPercent < 100 || segment.distributions.filter(({ percent }) => percent > 0).length > 1;
  if (isSplit) return "SPLIT";
  const isForAll = segment.constraints.length === 0 && segment.id === flag.segments[0]!.id;
  return isForAll ? "STATIC" : "TARGETING_MATCH";
}

/** The context as constraints can compare it: strings, numbers and booleans; dates as ISO-8601, lists and objects as JSON text. */
function scalars(attributes: Record<string, unknown>): Record<string, Scalar> {
  const entries = Object.entries(attributes).flatMap(([name, value]): [string, Scalar][] => {
    if (value === null || value === undefined || (typeof value === "number" && !Number.isFinite(value))) return [];
    if (value instanceof Date) return [[name, value.toISOString()]];
    return [[name, typeof value === "object" ? JSON.stringify(value) : (value as Scalar)]];
  });
  return Object.fromEntries(entries);
}

export function textOf({ variantKey, variantAttachment }: EvaluationResult): string {
  const text = variantAttachment?.value ?? variantKey;
  if (text === null) throw new TypeMismatch("the variant no longer exists");
  return text;
}

/** What a provider needs of OpenFeature's SDK; that of browsers and that of servers have the same. */
export interface OpenFeatureSdk<Emitter> {
  readonly OpenFeatureEventEmitter: new () => Emitter;
  readonly ProviderEvents: { readonly Ready: unknown; readonly Stale: unknown; readonly Error: unknown; readonly ConfigurationChanged: unknown };
  readonly ErrorCode: { readonly PROVIDER_FATAL: unknown };
  readonly ProviderFatalError: new (message: string) => Error;
  readonly ProviderNotReadyError: new (message: string) => Error;
}

/** The provider but for its evaluations, which are synchronous in browsers and asynchronous on servers. */
export abstract class ProviderBase<Emitter extends { emit(...args: never[]): void }> {
  readonly metadata = { name: "flagent-realtime" } as const;
  readonly events: Emitter;
  /** @internal */
  protected readonly core: ProviderCore;
  readonly #sdk: OpenFeatureSdk<Emitter>;

  constructor(sdk: OpenFeatureSdk<Emitter>, client: RealtimeClient | (() => RealtimeClient), options: FlagentProviderOptions) {
    this.#sdk = sdk;
    const events = this.events = new sdk.OpenFeatureEventEmitter();
    const emit = (...args: unknown[]) => events.emit(...(args as never[]));
    const { ProviderEvents } = sdk;
    this.core = new ProviderCore(client, options, {
      ready: () => emit(ProviderEvents.Ready),
      stale: (message) => emit(ProviderEvents.Stale, { message }),
      error: (message) => emit(ProviderEvents.Error, { message, errorCode: sdk.ErrorCode.PROVIDER_FATAL }),
      changed: (flagsChanged) => emit(ProviderEvents.ConfigurationChanged, { flagsChanged }),
    });
  }

  /** The local copy; null while the provider is not set. */
  get store(): FlagStore | null {
    return this.core.store;
  }

  async initialize(): Promise<void> {
    try {
      await this.core.initialize();
    } catch (error) {
      if (!(error instanceof Uninitialized)) throw error;
      const { ProviderFatalError, ProviderNotReadyError } = this.#sdk;
      throw error.isFatal ? new ProviderFatalError(error.message) : new ProviderNotReadyError(error.message);
    }
  }

  async onClose(): Promise<void> {
    this.core.close();
  }
}
