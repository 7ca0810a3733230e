/** Live Flagent feature flags: WebSocket and Server-Sent Events clients, stores. */
export { FlagentClient, type FlagentClientOptions } from "./client.js";
export type { TransportName } from "./core/transport-choice.js";
export { FlagentWebSocketClient, type EvaluateOptions, type WebSocketClientOptions } from "./websocket-client.js";
export { FlagentSSEClient, type SSEClientOptions } from "./sse-client.js";
export { FlagStore, type ChangeListener, type FlagStoreOptions, type StatusListener } from "./flag-store.js";
export { SavedFlagsIgnored, type Persistence } from "./flag-cache.js";
export type { RealtimeClient } from "./realtime-client.js";
export type {
  ClientOptions, ErrorHandler, EventHandler, FlagHandler, FlagsHandler, Resync, ResyncHandler, SegmentHandler, StateHandler,
} from "./client-options.js";
export type { Subscription } from "./subscription.js";
export type { ConnectionState } from "./client-connection.js";
export type { ConnectionSharing } from "./client-connection.js";
export type { Clock } from "./clock.js";
export { ReconnectConfig } from "./core/backoff.js";
export {
  EventType, type AnyEvent, type DistributionUpdated, type FlagChanged, type FlagDeleted, type FlagentEvent, type ResyncEvent, type RowChanged, type SchemaChanged,
  type SegmentUpdated, type UnknownEvent, type VariantUpdated,
} from "./core/event.js";
export type { Constraint, Distribution, Flag, Segment, Tag, Variant } from "./core/flag.js";
export type { LongIntegers } from "./core/exact-json.js";
export type { BatchRequest, Entity, EvaluationRequest, EvaluationResult } from "./core/evaluation.js";
export type { Scalar } from "./core/values.js";
export type { ChangeKind, FlagChange } from "./core/flag-table.js";
export type { StoreSource, StoreStatus } from "./core/store-core.js";
export type { Selection } from "./core/selection.js";
export {
  AmbiguousFlag, ClientClosed, ConnectionLost, ConnectionRefused, FlagentError, MalformedMessage, MessageTooLarge, NotReady, ReconnectExhausted,
  ReducedFlag, RequestFailed, RequestTimeout,
} from "./errors.js";
