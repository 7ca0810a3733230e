/** An OpenFeature provider for servers on a live store: it evaluates without network access. Needs the package `@openfeature/server-sdk`. */
import {
  ErrorCode, OpenFeatureEventEmitter, ProviderEvents, ProviderFatalError, ProviderNotReadyError,
  type EvaluationContext, type JsonValue, type Provider, type ResolutionDetails,
} from "@openfeature/server-sdk";
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
  readonly runsOn = "server";

  constructor(client: RealtimeClient | (() => RealtimeClient), options: FlagentProviderOptions = {}) {
    super({ ErrorCode, OpenFeatureEventEmitter, ProviderEvents, ProviderFatalError, ProviderNotReadyError }, client, options);
  }

  async resolveBooleanEvaluation(flagKey: string, defaultValue: boolean, context: EvaluationContext): Promise<ResolutionDetails<boolean>> {
    return this.core.resolve(flagKey, defaultValue, context, readBoolean) as ResolutionDetails<boolean>;
  }

  async resolveStringEvaluation(flagKey: string, defaultValue: string, context: EvaluationContext): Promise<ResolutionDetails<string>> {
    return this.core.resolve(flagKey, defaultValue, context, textOf) as ResolutionDetails<string>;
  }

  async resolveNumberEvaluation(flagKey: string, defaultValue: number, context: EvaluationContext): Promise<ResolutionDetails<number>> {
    return this.core.resolve(flagKey, defaultValue, context, readNumeric) as ResolutionDetails<number>;
  }

  async resolveObjectEvaluation<T extends JsonValue>(flagKey: string, defaultValue: T, context: EvaluationContext): Promise<ResolutionDetails<T>> {
    return this.core.resolve(flagKey, defaultValue, context, (result) => readObject(result) as unknown as T) as ResolutionDetails<T>;
  }
}
