/** An OpenFeature web provider on a live store: it evaluates without network access. Needs the package `@openfeature/web-sdk`. */
import {
  ErrorCode, OpenFeatureEventEmitter, ProviderEvents, ProviderFatalError, ProviderNotReadyError,
  type EvaluationContext, type JsonValue, type Provider, type ResolutionDetails,
} from "@openfeature/web-sdk";
import type { FlagStore } from "./flag-store.js";
import { ProviderCore, readBoolean, readNumeric, readObject, textOf, Uninitialized, type FlagentProviderOptions } from "./openfeature-provider.js";
import type { RealtimeClient } from "./realtime-client.js";

export type { FlagentProviderOptions } from "./openfeature-provider.js";

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
  readonly #core: ProviderCore;

  constructor(client: RealtimeClient | (() => RealtimeClient), options: FlagentProviderOptions = {}) {
    this.#core = new ProviderCore(client, options, {
      ready: () => this.events.emit(ProviderEvents.Ready),
      stale: (message) => this.events.emit(ProviderEvents.Stale, { message }),
      error: (message) => this.events.emit(ProviderEvents.Error, { message, errorCode: ErrorCode.PROVIDER_FATAL }),
      changed: (flagsChanged) => this.events.emit(ProviderEvents.ConfigurationChanged, { flagsChanged }),
    });
  }

  /** The local copy; null while the provider is not set. */
  get store(): FlagStore | null {
    return this.#core.store;
  }

  async initialize(): Promise<void> {
    try {
      await this.#core.initialize();
    } catch (error) {
      if (!(error instanceof Uninitialized)) throw error;
      throw error.isFatal ? new ProviderFatalError(error.message) : new ProviderNotReadyError(error.message);
    }
  }

  async onClose(): Promise<void> {
    this.#core.close();
  }

  /** Evaluation is local: a new context needs no request. */
  onContextChange(): void {}

  resolveBooleanEvaluation(flagKey: string, defaultValue: boolean, context: EvaluationContext): ResolutionDetails<boolean> {
    return this.#core.resolve(flagKey, defaultValue, context, readBoolean) as ResolutionDetails<boolean>;
  }

  resolveStringEvaluation(flagKey: string, defaultValue: string, context: EvaluationContext): ResolutionDetails<string> {
    return this.#core.resolve(flagKey, defaultValue, context, textOf) as ResolutionDetails<string>;
  }

  resolveNumberEvaluation(flagKey: string, defaultValue: number, context: EvaluationContext): ResolutionDetails<number> {
    return this.#core.resolve(flagKey, defaultValue, context, readNumeric) as ResolutionDetails<number>;
  }

  resolveObjectEvaluation<T extends JsonValue>(flagKey: string, defaultValue: T, context: EvaluationContext): ResolutionDetails<T> {
    return this.#core.resolve(flagKey, defaultValue, context, (result) => readObject(result) as unknown as T) as ResolutionDetails<T>;
  }
}
