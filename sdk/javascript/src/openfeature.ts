/**
 * An OpenFeature web provider on a live store: it evaluates without network access. Needs the package `@openfeature/web-sdk`.
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
import {
  ErrorCode, OpenFeatureEventEmitter, ProviderEvents, ProviderFatalError, ProviderNotReadyError, StandardResolutionReasons,
  type EvaluationContext, type JsonValue, type Provider, type ResolutionDetails,
} from "@openfeature/web-sdk";
import { isBlank } from "./core/constraint.js";
import type { EvaluationResult } from "./core/evaluation.js";
import type { Flag } from "./core/flag.js";
import type { StoreStatus } from "./core/store-core.js";
import { readNumber, type Scalar } from "./core/values.js";
import { NotReady } from "./errors.js";
import { FlagStore } from "./flag-store.js";
import type { RealtimeClient } from "./realtime-client.js";

export interface FlagentProviderOptions {
  /** The maximum time of `initialize` in milliseconds; the provider still becomes ready later, when the store does. */
  readonly readyTimeout?: number;
}

const TRUE = new Set(["true", "on", "yes", "enabled"]);
const FALSE = new Set(["false", "off", "no", "disabled"]);

class TypeMismatch extends Error {}

/**
 * Resolves flags from a live local copy of all flags. `client` is a client, or a function that makes one.
 *
 * `initialize` starts the copy and `onClose` ends it, so that a provider may be set again after it was replaced. A client that
 * was given stays open: its maker closes it. A client that the function made is closed by `onClose`, and `initialize` makes a
 * new one.
 */
export class FlagentProvider implements Provider {
  readonly metadata = { name: "flagent-realtime" } as const;
  readonly runsOn = "client";
  readonly events = new OpenFeatureEventEmitter();
  private readonly readyTimeout: number;
  private client: RealtimeClient | null = null;
  private current: FlagStore | null = null;
  /** OpenFeature itself reports READY the first time, when `initialize` has resolved. */
  private isLive = false;
  private wasLate = false;

  constructor(private readonly given: RealtimeClient | (() => RealtimeClient), options: FlagentProviderOptions = {}) {
    this.readyTimeout = options.readyTimeout ?? 10_000;
  }

  /** The local copy; null while the provider is not set. */
  get store(): FlagStore | null {
    return this.current;
  }

  async initialize(): Promise<void> {
    try {
      await (this.current ?? this.open()).ready({ timeout: this.readyTimeout });
    } catch (error) {
      if (!(error instanceof NotReady)) throw new ProviderFatalError((error as Error).message);
      this.wasLate = true;
      throw new ProviderNotReadyError(error.message);
    }
  }

  private open(): FlagStore {
    this.client = typeof this.given === "function" ? this.given() : this.given;
    const store = this.current = new FlagStore(this.client);
    store.onStatus((status) => { if (store === this.current) this.onStatus(status); });
    // The first snapshot is the configuration itself, not a change.
    store.onChange((changes) => {
      if (this.isLive && store === this.current) this.events.emit(ProviderEvents.ConfigurationChanged, { flagsChanged: changes.map(({ key }) => key) });
    });
    return store;
  }

  private onStatus(status: StoreStatus): void {
    if (status === "READY") {
      if (this.isLive || this.wasLate) this.events.emit(ProviderEvents.Ready);
      this.isLive = true;
    } else if (status === "STALE") {
      this.events.emit(ProviderEvents.Stale, { message: "the freshness of the flags cannot be confirmed" });
    } else if (status === "ERROR") {
      this.events.emit(ProviderEvents.Error, { message: this.client?.failure?.message ?? "the client has given up", errorCode: ErrorCode.PROVIDER_FATAL });
    }
  }

  async onClose(): Promise<void> {
    const { client, current } = this;
    this.client = this.current = null;
    this.isLive = this.wasLate = false;
    current?.close();
    if (client !== this.given) client?.close();
  }

  /** Evaluation is local: a new context needs no request. */
  onContextChange(): void {}

  resolveBooleanEvaluation(flagKey: string, defaultValue: boolean, context: EvaluationContext): ResolutionDetails<boolean> {
    return this.resolve(flagKey, defaultValue, context, (result) => {
      const word = textOf(result).toLowerCase();
      if (!TRUE.has(word) && !FALSE.has(word)) throw new TypeMismatch(`the value "${textOf(result)}" is not a boolean`);
      return TRUE.has(word);
    });
  }

  resolveStringEvaluation(flagKey: string, defaultValue: string, context: EvaluationContext): ResolutionDetails<string> {
    return this.resolve(flagKey, defaultValue, context, textOf);
  }

  resolveNumberEvaluation(flagKey: string, defaultValue: number, context: EvaluationContext): ResolutionDetails<number> {
    return this.resolve(flagKey, defaultValue, context, (result) => {
      const number = readNumber(textOf(result));
      if (number === null) throw new TypeMismatch(`the value "${textOf(result)}" is not a number of JSON that a double holds without loss`);
      return number;
    });
  }

  resolveObjectEvaluation<T extends JsonValue>(flagKey: string, defaultValue: T, context: EvaluationContext): ResolutionDetails<T> {
    return this.resolve(flagKey, defaultValue, context, ({ variantKey, variantAttachment }) => {
      if (variantAttachment === null) throw new TypeMismatch(`the variant ${variantKey} has no attachment`);
      return { ...variantAttachment } as unknown as T;
    });
  }

  private resolve<T>(flagKey: string, value: T, context: EvaluationContext, read: (result: EvaluationResult) => T): ResolutionDetails<T> {
    const store = this.current;
    const failed = (errorCode: ErrorCode, errorMessage: string): ResolutionDetails<T> => ({ value, reason: StandardResolutionReasons.ERROR, errorCode, errorMessage });
    if (store === null || store.status === "INITIALIZING") return failed(ErrorCode.PROVIDER_NOT_READY, "no snapshot has arrived yet");
    const { targetingKey, ...attributes } = context;
    const key: unknown = targetingKey;
    if (key === undefined || key === null || (typeof key === "string" && isBlank(key))) {
      return failed(ErrorCode.TARGETING_KEY_MISSING, "the context has no targetingKey; set it to the id of the user or other entity");
    }
    if (typeof key !== "string") return failed(ErrorCode.INVALID_CONTEXT, `the targetingKey must be a string; it is a ${typeof key}`);
    const flag = store.get(flagKey);
    if (flag === undefined) return failed(ErrorCode.FLAG_NOT_FOUND, `the flag ${flagKey} does not exist`);
    if (!flag.enabled) return { value, reason: StandardResolutionReasons.DISABLED };
    const result = store.evaluate({ flagID: flag.id, entityID: key, entityContext: scalars(attributes) });
    if (result.variantID === null) return { value, reason: StandardResolutionReasons.DEFAULT };
    const about = {
      ...(result.variantKey === null ? {} : { variant: result.variantKey }),
      flagMetadata: { flagID: result.flagID, snapshotID: result.flagSnapshotID, segmentID: result.segmentID ?? 0 },
    };
    try {
      return { value: read(result), reason: reasonOf(store, flag, result), ...about };
    } catch (error) {
      if (!(error instanceof TypeMismatch)) throw error;
      return { ...failed(ErrorCode.TYPE_MISMATCH, error.message), ...about };
    }
  }
}

function reasonOf(store: FlagStore, flag: Flag, { segmentID }: EvaluationResult): string {
  if (store.status !== "READY") return StandardResolutionReasons.STALE;
  const segment = flag.segments.find(({ id }) => id === segmentID);
  if (segment === undefined) return StandardResolutionReasons.UNKNOWN;
  const isSplit = segment.rolloutPercent < 100 || segment.distributions.filter(({ percent }) => percent > 0).length > 1;
  if (isSplit) return StandardResolutionReasons.SPLIT;
  const isForAll = segment.constraints.length === 0 && segment.id === flag.segments[0]!.id;
  return isForAll ? StandardResolutionReasons.STATIC : StandardResolutionReasons.TARGETING_MATCH;
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

function textOf({ variantKey, variantAttachment }: EvaluationResult): string {
  const text = variantAttachment?.value ?? variantKey;
  if (text === null) throw new TypeMismatch("the variant no longer exists");
  return text;
}
