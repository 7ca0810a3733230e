package com.flagent.realtime

/** The state of a client's connection. */
public enum class ConnectionState {
    /** No subscriptions yet. */
    IDLE,
    CONNECTING,
    CONNECTED,

    /** Not started yet, or ended by [RealtimeClient.offline]. */
    OFFLINE,

    /** The connection is lost; the client waits for the next attempt. */
    RECONNECTING,

    /** The client has given up; [ClientOptions.onError] received the cause. */
    FAILED,
    CLOSED,
}
