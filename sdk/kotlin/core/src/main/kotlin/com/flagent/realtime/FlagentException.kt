package com.flagent.realtime

/**
 * The root of all exceptions of this SDK.
 *
 * ```
 * FlagentException
 * ├── ConnectionLostException      the connection could not be made or has ended; the client reconnects
 * ├── ConnectionRefusedException   fatal: the server rejects this client, and a retry would not help
 * ├── ReconnectExhaustedException  fatal: all reconnection attempts have failed
 * ├── RequestFailedException       the server answered a request with an error
 * ├── RequestTimeoutException      no response to a request in time
 * ├── NotReadyException            the store did not become ready in time
 * ├── ClientClosedException        the client is closed
 * ├── MalformedMessageException    a message of the server cannot be decoded; it is skipped
 * ├── OfflineException             the client is offline, or was not started
 * ├── SavedFlagsIgnoredException   saved flags, or a bootstrap, cannot be used; the store starts without them
 * ├── PersistenceFailedException   the flags cannot be saved, or read; the store is not affected
 * ├── SelectionTooLargeException   the next transport cannot carry the selection; the client stays with the present one
 * ├── FlagTooLargeException        the server sent the flag without its rules, so that only the server can evaluate it
 * ├── ExposuresRejectedException   the server does not take exposures; none are sent any more
 * ├── TableFailedException         a store of rows cannot follow its table
 * ├── HandlerFailedException       a handler of the application raised; the exception is the cause
 * └── AmbiguousFlagException       several schemas hold a flag of this key
 * ```
 */
public sealed class FlagentException(message: String, cause: Throwable? = null) : RuntimeException(message, cause)

/** The connection could not be made or has ended; the client reconnects by itself. */
public class ConnectionLostException(
    message: String,
    /** The HTTP status of the response, where there was one. */
    public val status: Int? = null,
    /** The WebSocket close code, where there was one. */
    public val closeCode: Int? = null,
    cause: Throwable? = null,
) : FlagentException(message, cause)

/** The server rejects this client for good, for example because of its API key or its URL; the client has stopped. */
public class ConnectionRefusedException(
    message: String,
    /** The HTTP status of the response, where there was one. */
    public val status: Int? = null,
    /** The WebSocket close code, where there was one. */
    public val closeCode: Int? = null,
    cause: Throwable? = null,
) : FlagentException(message, cause)

/** All reconnection attempts have failed; the cause is the last failure. The client has stopped. */
public class ReconnectExhaustedException(public val attempts: Int, cause: Throwable?) :
    FlagentException("Gave up after $attempts reconnection attempts.${cause?.message?.let { " $it" }.orEmpty()}", cause)

/** The server answered a request with an error; [code] is stable, the message is for people. */
public class RequestFailedException(public val code: String, message: String) : FlagentException(message)

/** No response to a request in time. */
public class RequestTimeoutException(message: String) : FlagentException(message)

/** The store did not become ready in time; the cause is why the last connection failed, if one did. */
public class NotReadyException(message: String, cause: Throwable? = null) : FlagentException(message, cause)

public class ClientClosedException : FlagentException("The client is closed.")

/** A message of the server cannot be decoded; it is skipped, and the connection stays. */
public class MalformedMessageException(message: String) : FlagentException(message)

/** The client is offline, or was not started; call [RealtimeClient.start]. */
public class OfflineException : FlagentException("The client is offline; call start.")

/** Saved flags, or a bootstrap, cannot be used; the store starts without them. */
public class SavedFlagsIgnoredException(public val source: FlagSource, public val problem: SavedProblem) :
    FlagentException(
        "The ${if (source == FlagSource.CACHE) "saved flags" else "flags of the bootstrap"} are ignored: ${problem.name.lowercase()}.",
    )

/** The flags cannot be saved, or read; the store is not affected. */
public class PersistenceFailedException(message: String, cause: Throwable?) : FlagentException(message, cause)

/** The next transport cannot carry the selection; the client stays with the present one. */
public class SelectionTooLargeException(message: String) : FlagentException(message)

/** The server sent the flag without its rules, because it has [size] bytes: only the server can evaluate it. */
public class FlagTooLargeException(public val key: String, public val size: Int) :
    FlagentException("The flag '$key' has $size bytes, so the server sends it without its rules; ask the server to evaluate it.")

/** The server does not take exposures, or not from this client; none are sent any more. */
public class ExposuresRejectedException(message: String, cause: Throwable?) : FlagentException(message, cause)

/** A store of rows cannot follow its table; [code] is the server's, or `too_many_rows`. */
public class TableFailedException(public val code: String, message: String) : FlagentException(message)

/** A handler of the application raised; the exception is the cause. */
public class HandlerFailedException(cause: Throwable) : FlagentException("A handler raised: $cause", cause)

/** Several schemas hold a flag of this key; pass the schema. */
public class AmbiguousFlagException(public val key: String, public val schemas: List<String>) :
    FlagentException("The flag key '$key' exists in several schemas (${schemas.joinToString()}); pass the schema.")
