package com.flagent.realtime

/**
 * Where a store keeps its flags between two runs. [FilePersistence] is one.
 *
 * Calls may block: [load] is called where the store is made, [save] by a thread that nothing waits for. What they raise is reported to
 * [ClientOptions.onError], and never disturbs the store.
 */
public interface Persistence {
    /** The text that was saved last under this key, `null` if there is none. */
    public fun load(key: String): String?

    /** Replaces the text of this key, as a whole or not at all. */
    public fun save(key: String, text: String)
}

/** What the flags of a store come from. */
public enum class FlagSource {
    /** A former run, by a [Persistence]. */
    CACHE,

    /** What the application brought. */
    BOOTSTRAP,

    /** The server, in this run. */
    SERVER,
}

/** Why saved flags were ignored. */
public enum class SavedProblem {
    TOO_LARGE,
    NOT_JSON,
    WRONG_TYPES,

    /** Written by a version of this SDK that writes another format. */
    FORMAT,

    /** Of another server, selection or user. */
    OTHER_KEY,
    TOO_OLD,
    IN_THE_FUTURE,

    /** The flags are not those that were saved. */
    DIGEST,
}
