/** An OpenFeature web provider on a live store: it evaluates without network access. Needs the package `@openfeature/web-sdk`. */
import {
  ErrorCode, OpenFeatureEventEmitter, ProviderEvents, ProviderFatalError, ProviderNotReadyError,
  type EvaluationContext, type JsonValue, type Provider, type ResolutionDetails,
} from "@openfeature/web-sdk";
import { ProviderBase, readBoolean, readNumeric, readObject, textOf, type FlagentProviderOptions } from "./openfeature-provider.js";
import type { RealtimeClient } from "./realtime-client.js";

export type { FlagentProviderOptions } from "./openfeature-provider.js";

/**
 * Resolves flags from a live local copy of all flags. `client` is a client, or a function that makes one.
 *
 * `initialize` starts the copy and `onClose` ends it, so that a provider may be set again after it was replaced. A client that
 * was given stays open: its maker closes it. A client that the function made is closed by `onClose`, and `initialize` makes a
 * new one.
 */
export class FlagentProvider extends ProviderBase<OpenFeatureEventEmitter> implements Provider {
  readonly runsOn = "client";

  constructor(client: RealtimeClient | (() => RealtimeClient), options: FlagentProviderOptions = {}) {
    super({ ErrorCode, OpenFeatureEventEmitter, ProviderEvents, ProviderFatalError, ProviderNotReadyError }, client, options);
  }

  /** Evaluation is local: a new context needs no request. */
  onContextChange(): void {}

  resolveBooleanEvaluation(flagKey: string, defaultValue: boolean, context: EvaluationContext): ResolutionDetails<boolean> {
    return this.core.resolve(flagKey, defaultValue, context, readBoolean) as ResolutionDetails<boolean>;
  }

  resolveStringEvaluation(flagKey: string, defaultValue: string, context: EvaluationContext): ResolutionDetails<string> {
    return this.core.resolve(flagKey, defaultValue, context, textOf) as ResolutionDetails<string>;
  }

  resolveNumberEvaluation(flagKey: string, defaultValue: number, context: EvaluationContext): ResolutionDetails<number> {
    return this.core.resolve(flagKey, defaultValue, context, readNumeric) as ResolutionDetails<number>;
  }

  resolveObjectEvaluation<T extends JsonValue>(flagKey: string, defaultValue: T, context: EvaluationContext): ResolutionDetails<T> {
    return this.core.resolve(flagKey, defaultValue, context, (result) => readObject(result) as unknown as T) as ResolutionDetails<T>;
  }
}
