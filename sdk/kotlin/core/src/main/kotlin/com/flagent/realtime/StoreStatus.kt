package com.flagent.realtime

/** How far the flags of a [FlagStore] can be trusted. They stay readable in every status. */
public enum class StoreStatus {
    /** No snapshot yet. */
    INITIALIZING,

    /** Equal to the database, as far as server and client can confirm. */
    READY,

    /** Disconnected, freshness not confirmed, or the digest differs; flags may be old. */
    STALE,

    /** The client has given up; flags no longer change. */
    ERROR,

    /** The store or its client is closed. */
    CLOSED,
}
