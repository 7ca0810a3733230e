/** A live local copy of Flagent's feature flags: WebSocket and Server-Sent Events clients, stores, local evaluation. */
export { FlagentWebSocketClient, type EvaluateOptions, type WebSocketClientOptions } from "./websocket-client.js";
export { FlagentSSEClient, type SSEClientOptions } from "./sse-client.js";
export { FlagStore, type ChangeListener, type StatusListener } from "./flag-store.js";
export type {
  ClientOptions, ErrorHandler, EventHandler, FlagHandler, FlagsHandler, RealtimeClient, Resync, ResyncHandler, SegmentHandler, StateHandler,
} from "./realtime-client.js";
export type { Subscription } from "./subscription.js";
export type { LinkState } from "./connection-supervisor.js";
export type { Clock } from "./clock.js";
export { ReconnectConfig } from "./core/backoff.js";
export {
  EventType, type AnyEvent, type DistributionUpdated, type FlagChanged, type FlagDeleted, type FlagentEvent, type Resynced, type RowChanged,
  type SegmentUpdated, type UnknownEvent, type VariantUpdated,
} from "./core/event.js";
export type { Constraint, Distribution, Flag, Segment, Tag, Variant } from "./core/flag.js";
export type { BatchRequest, Entity, EvaluationRequest, EvaluationResult, Scalar } from "./core/evaluation.js";
export type { Change, Status } from "./core/store-core.js";
export type { Selector } from "./core/selection.js";
export { ClientClosed, ConnectionFailed, FlagentError, GaveUp, RequestRefused, TimedOut } from "./errors.js";
