/** Evaluation from a store, without network access. A module of its own: only who imports it pays for its size. */
import { evaluate, evaluateBatch, type BatchRequest, type Entity, type EvaluationEnvironment, type EvaluationRequest, type EvaluationResult, type FlagSource } from "./core/evaluation.js";
import { ExposureWindow } from "./core/exposures.js";
import { asError } from "./errors.js";
import type { FlagStore } from "./flag-store.js";

export type { BatchRequest, Entity, EvaluationRequest, EvaluationResult } from "./core/evaluation.js";

/** What one evaluation has shown to one entity. */
export interface Exposure {
  readonly flagKey: string;
  readonly flagID: number;
  /** The tenant's schema; null unless the server watches several. */
  readonly schema: string | null;
  /** Null where the entity got no variant. */
  readonly variantKey: string | null;
  readonly entityID: string;
  readonly segmentID: number | null;
  /** The position of the store, as text. */
  readonly position: string | null;
  /** The sorted names of the context's properties, never their values. */
  readonly contextKeys: readonly string[];
  readonly time: Date;
}

export type ExposureHandler = (exposure: Exposure) => unknown;

export interface LocalEvaluationOptions {
  /** The same exposure is reported once within this time, in milliseconds; an hour by default. */
  readonly exposureWindow?: number;
  /** The number of exposures to remember; 10 000 by default. */
  readonly exposureLimit?: number;
}

const ENVIRONMENT: EvaluationEnvironment = {
  newEntityID: () => `randomly_generated_${crypto.getRandomValues(new Int32Array(1))[0]}`,
  timestamp,
};

let timeOfText = -1;
let textOfTime = "";

/** The present time, whose text is made once a millisecond. */
function timestamp(): string {
  const now = Date.now();
  if (now !== timeOfText) {
    timeOfText = now;
    textOfTime = new Date(now).toISOString();
  }
  return textOfTime;
}
const MAX_QUEUED = 10_000;

/** What is evaluated: a store, or something that reads like one. */
export type EvaluationSource = Pick<FlagStore, "get" | "find" | "all" | "position">;

/** Gives the server's results, computed from the copy of a store. A dependency outside the store's selection blocks. */
export class LocalEvaluation {
  /** Exposures that were dropped because their handlers were too slow. */
  droppedExposures = 0;
  readonly #store: EvaluationSource;
  readonly #source: FlagSource;
  readonly #handlers = new Set<ExposureHandler>();
  readonly #window: ExposureWindow;
  #queue: Exposure[] = [];
  #isCalling = false;

  constructor(store: EvaluationSource, { exposureWindow = 3_600_000, exposureLimit = 10_000 }: LocalEvaluationOptions = {}) {
    this.#store = store;
    this.#source = { get: (key) => store.get(key), find: (id) => store.find(id), values: () => store.all() };
    this.#window = new ExposureWindow(exposureWindow, exposureLimit);
  }

  /** Raises ReducedFlag for a flag whose rules the server has left out because of their size. */
  evaluate(request: EvaluationRequest): EvaluationResult;
  evaluate(flagKey: string, entityID: Entity["entityID"], entityContext?: EvaluationRequest["entityContext"]): EvaluationResult;
  evaluate(what: EvaluationRequest | string, entityID?: Entity["entityID"], entityContext?: EvaluationRequest["entityContext"]): EvaluationResult {
    const request = typeof what === "string" ? { flagKey: what, entityID: entityID ?? null, entityContext: entityContext ?? null } : what;
    return this.#exposed(evaluate(this.#source, request, ENVIRONMENT));
  }

  /** `evaluate` for several flags and entities, in the server's order: flags by tags, entity by entity; then each id, then each key, for all entities. */
  evaluateBatch(request: BatchRequest): EvaluationResult[] {
    const results = evaluateBatch(this.#source, request, ENVIRONMENT);
    for (const result of results) this.#exposed(result);
    return results;
  }

  /**
   * Calls `handler` after the first evaluation of each flag, entity and variant within the window; never within the call
   * that evaluates. Returns a function that removes the handler.
   */
  onExposure(handler: ExposureHandler): () => void {
    if (typeof handler !== "function") throw new TypeError("the handler must be a function");
    this.#handlers.add(handler);
    return () => void this.#handlers.delete(handler);
  }

  #exposed(result: EvaluationResult): EvaluationResult {
    if (this.#handlers.size === 0) return result;
    const flag = this.#flagOf(result);
    if (flag === undefined) return result;
    const { variantKey, segmentID, evalContext } = result;
    const entityID = evalContext.entityID ?? "";
    const time = new Date();
    if (!this.#window.isFirst(time.getTime(), flag.schema ?? "", flag.key, entityID, variantKey)) return result;
    if (this.#queue.length >= MAX_QUEUED) {
      this.#queue.shift();
      this.droppedExposures++;
    }
    this.#queue.push({
      flagKey: flag.key, flagID: flag.id, schema: flag.schema ?? null, variantKey, entityID, segmentID, position: this.#store.position,
      contextKeys: Object.keys(evalContext.entityContext ?? {}).sort(), time,
    });
    if (!this.#isCalling) void this.#callHandlers();
    return result;
  }

  /** The flag of a result, also one that is off, for which the server answers as for a flag that does not exist. */
  #flagOf({ flagID, flagKey }: EvaluationResult) {
    try {
      return (flagID === 0 ? undefined : this.#store.find(flagID)) ?? this.#store.get(flagKey);
    } catch {
      // Several schemas have this key: the evaluation itself has found none of them.
      return undefined;
    }
  }

  async #callHandlers(): Promise<void> {
    this.#isCalling = true;
    await null;
    for (let exposure = this.#queue.shift(); exposure !== undefined; exposure = this.#queue.shift()) {
      for (const handler of this.#handlers) {
        try {
          await handler(exposure);
        } catch (error) {
          report(this.#store, asError(error));
        }
      }
    }
    this.#isCalling = false;
  }
}

function report(source: EvaluationSource & { report?(error: Error): void }, error: Error): void {
  if (source.report === undefined) console.error("@flagent/realtime:", error);
  else source.report(error);
}
