/**
 * Evaluation with the server's semantics, over a local copy of flags: pure, synchronous, no network.
 *
 * One difference remains: the REST form of a flag strips quotation marks from both ends of attachment values, the server's
 * own results keep them.
 */
import { compileConstraint, isBlank, type Test } from "./constraint.js";
import { crc32 } from "./crc32.js";
import { ReducedFlag } from "./errors.js";
import { tagsOf, type Flag, type Segment } from "./flag.js";
import { contextTexts, entityText, type Scalar } from "./values.js";

export interface Entity {
  /** If missing or blank, a random one is generated. A whole number counts as its digits. */
  readonly entityID?: string | number | bigint | null;
  readonly entityType?: string | null;
  /** Numbers and booleans count as their JSON text; null as absent. */
  readonly entityContext?: Readonly<Record<string, Scalar>> | null;
}

export interface EvaluationRequest extends Entity {
  readonly flagKey?: string | null;
  /** Takes precedence over the key. */
  readonly flagID?: number | null;
  readonly enableDebug?: boolean;
}

export interface BatchRequest {
  readonly entities: readonly Entity[];
  readonly flagIDs?: readonly number[];
  readonly flagKeys?: readonly string[];
  readonly flagTags?: readonly string[];
  readonly flagTagsOperator?: "ANY" | "ALL";
  readonly enableDebug?: boolean;
}

export interface EvaluationResult {
  readonly flagID: number;
  readonly flagKey: string;
  readonly flagSnapshotID: number;
  readonly flagTags: readonly string[];
  /** The last segment evaluated, also without a variant. */
  readonly segmentID: number | null;
  readonly variantID: number | null;
  readonly variantKey: string | null;
  readonly variantAttachment: Readonly<Record<string, string>> | null;
  readonly evalContext: {
    readonly entityID: string | null;
    readonly entityType: string | null;
    readonly entityContext: Readonly<Record<string, string>> | null;
  };
  readonly evalDebugLog: {
    readonly msg: string;
    readonly segmentDebugLogs: readonly { readonly segmentID: number; readonly msg: string }[];
  } | null;
  /** ISO-8601 with `Z`. */
  readonly timestamp: string;
}

/** Looks up flags; `values` in any order. */
export interface FlagSource {
  get(key: string): Flag | undefined;
  find(id: string): Flag | undefined;
  values(): Iterable<Flag>;
}

/** The impure inputs of an evaluation. */
export interface EvaluationEnvironment {
  newEntityID(): string;
  timestamp(): string;
}

type Context = Readonly<Record<string, string>>;

interface Compiled {
  readonly flag: Flag;
  readonly segments: readonly CompiledSegment[];
}

interface CompiledSegment {
  readonly id: number;
  readonly tests: readonly { readonly property: string; readonly test: Test }[];
  /** The rollout includes buckets 1 to `limit`. */
  readonly limit: number;
  readonly shares: readonly { readonly upTo: number; readonly variantID: number }[];
}

interface Decision {
  readonly segmentID: number | null;
  readonly variantID: number | null;
}

const NO_CONTEXT: Context = Object.freeze({});
const NOTHING: Decision = { segmentID: null, variantID: null };
const BUCKETS = 1000;
const BUCKETS_PER_PERCENT = 10;
const ID = /^(0|-?[1-9][0-9]{0,9})$/;

export function evaluate(source: FlagSource, request: EvaluationRequest, around: EvaluationEnvironment): EvaluationResult {
  const flag = lookUp(source, request.flagID ?? null, request.flagKey ?? null);
  return flag === undefined ? notFound(request, around) : answer(source, flag, request, request.enableDebug === true, around);
}

/** First the flags by tags, entity by entity; then each id for all entities; then each key for all entities. Duplicates are kept. */
export function evaluateBatch(source: FlagSource, request: BatchRequest, around: EvaluationEnvironment): EvaluationResult[] {
  const { entities, flagIDs = [], flagKeys = [], flagTags = [], enableDebug = false } = request;
  if (!(entities?.length > 0)) throw new RangeError("entities is empty; pass at least one entity");
  if (flagIDs.length + flagKeys.length + flagTags.length === 0) {
    throw new RangeError("no flags are selected; pass at least one of flagIDs, flagKeys and flagTags");
  }
  const tagged = flagTags.length === 0 ? [] : byTags(source, flagTags, request.flagTagsOperator === "ALL");
  const results = entities.flatMap((entity) => tagged.map((flag) => answer(source, flag, entity, enableDebug, around)));
  for (const wanted of [...flagIDs.map((flagID) => ({ flagID })), ...flagKeys.map((flagKey) => ({ flagKey }))]) {
    for (const entity of entities) results.push(evaluate(source, { ...entity, ...wanted, enableDebug }, around));
  }
  return results;
}

/** By text, first among ids, then among keys; finds enabled flags only. */
function lookUp(source: FlagSource, id: number | null, key: string | null): Flag | undefined {
  const text = id !== null ? String(id) : key;
  if (!text) return undefined;
  let flag = ID.test(text) ? source.find(text) : undefined;
  if (!flag?.enabled) flag = source.get(text);
  return flag?.enabled ? flag : undefined;
}

/** In the order of the tags, within a tag the newest flag first. */
function byTags(source: FlagSource, tags: readonly string[], wantsAll: boolean): Flag[] {
  const wanted = [...new Set(tags)];
  const enabled = [...source.values()].filter((flag) => flag.enabled).sort((a, b) => b.id - a.id);
  const found = new Set((wantsAll ? wanted.slice(0, 1) : wanted)
    .flatMap((tag) => enabled.filter((flag) => tagsOf(flag).includes(tag))));
  return [...found].filter((flag) => !wantsAll || wanted.every((tag) => tagsOf(flag).includes(tag)));
}

function notFound(request: EvaluationRequest, around: EvaluationEnvironment): EvaluationResult {
  const flagID = request.flagID ?? 0;
  const flagKey = request.flagKey ?? "";
  return {
    flagID,
    flagKey,
    flagSnapshotID: 0,
    flagTags: [],
    ...NOTHING,
    variantKey: null,
    variantAttachment: null,
    evalContext: {
      entityID: entityText(request.entityID), entityType: request.entityType ?? null, entityContext: contextTexts(request.entityContext),
    },
    evalDebugLog: { msg: `${request.flagID == null ? `flagKey ${flagKey}` : `flagID ${flagID}`} not found or deleted`, segmentDebugLogs: [] },
    timestamp: around.timestamp(),
  };
}

function answer(source: FlagSource, flag: Flag, entity: Entity, wantsDebug: boolean, around: EvaluationEnvironment): EvaluationResult {
  const compiled = compile(flag);
  const given = entityText(entity.entityID) ?? "";
  const entityID = isBlank(given) ? around.newEntityID() : given;
  const entityContext = contextTexts(entity.entityContext);
  const context: Context = entityContext ?? NO_CONTEXT;
  const blocker = flag.dependsOn?.length ? blockedBy(source, flag, entityID, context) : null;
  const log: { segmentID: number; msg: string }[] = [];
  const decision = blocker !== null ? NOTHING : decide(compiled, entityID, context, wantsDebug ? log : null);
  const variant = decision.variantID === null ? undefined : flag.variants.find(({ id }) => id === decision.variantID);
  const msg = decision.variantID !== null ? ""
    : blocker !== null ? `flagID ${flag.id} depends on ${blocker}, which gives no variant`
    : compiled.segments.length === 0 ? `flagID ${flag.id} has no segments`
    : log[0]?.msg ?? "";
  return {
    flagID: flag.id,
    flagKey: flag.key,
    flagSnapshotID: flag.snapshotID ?? 0,
    flagTags: tagsOf(flag),
    segmentID: decision.segmentID,
    variantID: decision.variantID,
    variantKey: variant?.key ?? null,
    variantAttachment: variant?.attachment ?? null,
    evalContext: { entityID, entityType: entity.entityType ?? flag.entityType ?? "", entityContext },
    evalDebugLog: decision.variantID !== null && !wantsDebug ? null : { msg, segmentDebugLogs: log },
    timestamp: around.timestamp(),
  };
}

/** The first segment whose constraints all hold and whose rollout includes the entity selects the variant. */
function decide(compiled: Compiled, entityID: string, context: Context, log: { segmentID: number; msg: string }[] | null): Decision {
  if (!compiled.flag.enabled) return NOTHING;
  let segmentID: number | null = null;
  let number = 0;
  for (const segment of compiled.segments) {
    segmentID = segment.id;
    const holds = segment.tests.every(({ property, test }) => {
      const value = Object.hasOwn(context, property) ? context[property] : undefined;
      return value !== undefined && test(value);
    });
    if (!holds) {
      log?.push({ segmentID, msg: "constraints did not match" });
      continue;
    }
    number ||= bucketOf(compiled.flag.id, entityID) + 1;
    if (entityID === "" || number > segment.limit) {
      log?.push({ segmentID, msg: `constraints matched, rollout no: bucket ${number} of ${BUCKETS}, ${segment.limit} are let in` });
      continue;
    }
    log?.push({ segmentID, msg: `constraints matched, rollout yes: bucket ${number} of ${BUCKETS}` });
    const share = segment.shares.find(({ upTo }) => number <= upTo) ?? segment.shares.at(-1)!;
    return { segmentID, variantID: share.variantID };
  }
  return { segmentID, variantID: null };
}

const SURROGATE = /[\ud800-\udfff]/;

/** 0 to 999. A lone surrogate counts as `?`, as Java encodes it. */
export function bucketOf(flagID: number, entityID: string): number {
  const wellFormed = !SURROGATE.test(entityID) ? entityID : entityID.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "?");
  return crc32(`${flagID}${wellFormed}`) % BUCKETS;
}

/** The key of a dependency that gives this entity no variant; null where all do. A cycle blocks. */
function blockedBy(source: FlagSource, flag: Flag, entityID: string, context: Context): string | null {
  const satisfied = new Map<string, boolean>([[flag.key, false]]);
  // An explicit stack, dependencies above their dependents, so that a long chain needs no deep recursion.
  const stack = [flag];
  while (stack.length > 0) {
    const current = stack.at(-1)!;
    const open = (current.dependsOn ?? []).find((key) => !satisfied.has(key));
    const failing = (current.dependsOn ?? []).find((key) => satisfied.get(key) === false);
    if (open !== undefined && (failing === undefined || current.dependsOn.indexOf(open) < current.dependsOn.indexOf(failing))) {
      satisfied.set(open, false);
      const dependency = source.get(open);
      if (dependency !== undefined) stack.push(dependency);
      continue;
    }
    stack.pop();
    if (stack.length === 0) return failing ?? null;
    if (failing === undefined) satisfied.set(current.key, decide(compile(current), entityID, context, null).variantID !== null);
  }
  return null;
}

const compiledFlags = new WeakMap<Flag, Compiled>();

/** Compiles once per version of a flag. */
function compile(flag: Flag): Compiled {
  let compiled = compiledFlags.get(flag);
  if (compiled === undefined) {
    if (typeof flag.tooLarge === "number") throw new ReducedFlag(flag.key, flag.tooLarge);
    const segments = [...(flag.segments ?? [])].sort((a, b) => a.rank - b.rank || a.id - b.id).map(compileSegment);
    compiledFlags.set(flag, (compiled = { flag, segments }));
  }
  return compiled;
}

function compileSegment(segment: Segment): CompiledSegment {
  const ordered = [...(segment.distributions ?? [])].sort((a, b) => a.percent - b.percent || a.variantID - b.variantID);
  let total = 0;
  const shares = ordered.map(({ percent, variantID }) => ({ upTo: (total += percent * BUCKETS_PER_PERCENT), variantID }));
  const isOpen = segment.rolloutPercent > 0 && shares.length > 0;
  return {
    id: segment.id,
    tests: (segment.constraints ?? []).map(({ property, operator, value }) => ({ property, test: compileConstraint(operator, value) })),
    limit: isOpen ? Math.min(segment.rolloutPercent * BUCKETS_PER_PERCENT, BUCKETS) : 0,
    shares,
  };
}
