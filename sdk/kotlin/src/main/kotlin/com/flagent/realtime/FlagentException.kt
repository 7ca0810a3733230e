package com.flagent.realtime

/**
 * The root of what this library raises or reports.
 *
 * ```
 * FlagentException
 * ├── ConnectionLostException      the connection broke; the client comes back by itself
 * ├── ConnectionRefusedException   the server answered that there is no use in trying again
 * ├── ReconnectExhaustedException  all attempts were used up
 * ├── ClientClosedException        the client was closed
 * ├── MalformedMessageException    a message could not be read and was skipped
 * ├── ServerMessageException       the server reported a problem with something that was sent
 * ├── EvaluationException          the server could not evaluate
 * ├── RequestTimeoutException      no answer in time
 * ├── HandlerException             a handler raised
 * └── AmbiguousFlagException       a key alone names flags of several schemas
 * ```
 */
public sealed class FlagentException(message: String, cause: Throwable? = null) : RuntimeException(message, cause)

public class ConnectionLostException(
    message: String,
    /** HTTP status of the refusal, where there was one. */
    public val status: Int? = null,
    /** WebSocket close code, where there was one. */
    public val closeCode: Int? = null,
    cause: Throwable? = null,
) : FlagentException(message, cause)

public class ConnectionRefusedException(
    message: String,
    public val status: Int? = null,
    public val closeCode: Int? = null,
    cause: Throwable? = null,
) : FlagentException(message, cause)

public class ReconnectExhaustedException(public val attempts: Int, cause: Throwable?) :
    FlagentException("No connection after $attempts attempts to reconnect.", cause)

public class ClientClosedException : FlagentException("The client is closed.")

public class MalformedMessageException(message: String) : FlagentException(message)

public class ServerMessageException(public val code: String, message: String) : FlagentException(message)

public class EvaluationException(public val code: String, message: String) : FlagentException(message)

public class RequestTimeoutException(message: String, cause: Throwable? = null) : FlagentException(message, cause)

public class HandlerException(cause: Throwable) : FlagentException("A handler raised: $cause", cause)

public class AmbiguousFlagException(public val key: String, public val schemas: List<String>) :
    FlagentException("The flag key '$key' exists in several schemas (${schemas.joinToString()}); name one.")
