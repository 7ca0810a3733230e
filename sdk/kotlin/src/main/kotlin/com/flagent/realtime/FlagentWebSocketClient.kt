package com.flagent.realtime

import kotlinx.coroutines.Job
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import java.net.URI

/**
 * Live flags over a WebSocket, with evaluation by the server over the same connection.
 *
 * ```
 * val client = FlagentWebSocketClient("wss://flags.example.com/ws", apiKey = "your-api-key")
 * client.subscribe("new_payment_flow") { flag -> println(flag.enabled) }
 * ```
 */
public class FlagentWebSocketClient internal constructor(parts: ClientParts) : RealtimeClient(parts) {
    /** @param apiKey sent in a header, never in the address. */
    @JvmOverloads
    public constructor(
        url: String,
        apiKey: String? = null,
        reconnectConfig: ReconnectConfig = ReconnectConfig(),
        options: ClientOptions = ClientOptions(),
    ) : this(parts(url, KeySource.fixed(apiKey), reconnectConfig, options))

    /** @param apiKey asked anew for every connection, and once more when the server does not accept its answer. */
    public constructor(
        url: String,
        apiKey: suspend () -> String?,
        reconnectConfig: ReconnectConfig = ReconnectConfig(),
        options: ClientOptions = ClientOptions(),
    ) : this(parts(url, KeySource(true, apiKey), reconnectConfig, options))

    /** The same as [subscribeFlag]. */
    public fun subscribe(flagKey: String, handler: suspend (Flag) -> Unit): Subscription = subscribeFlag(flagKey, handler)

    /**
     * What the flag is for an entity, decided by the server.
     *
     * Raises [EvaluationException] when the server cannot, [ConnectionLostException] when the connection broke meanwhile,
     * [RequestTimeoutException] after [ClientOptions.requestTimeout].
     *
     * @param minPosition evaluate no state older than this, such as the position of an event just seen.
     */
    public suspend fun evaluate(
        flagKey: String,
        entityID: String? = null,
        entityContext: Map<String, Any?>? = null,
        entityType: String? = null,
        enableDebug: Boolean = false,
        minPosition: String? = null,
    ): EvaluationResult {
        start()
        val request = buildJsonObject {
            put("type", "evaluate")
            put("flagKey", flagKey)
            EvaluationEntity(entityID, entityType, entityContext).writeTo(this)
            if (enableDebug) put("enableDebug", true)
            minPosition?.let { put("minPosition", it) }
        }
        val answer = calls.call(request, options.requestTimeout)
        val result = answer.results.firstOrNull() ?: throw EvaluationException("malformed", "The answer holds no result.")
        return EvaluationResult.of(result, answer.position)
    }

    /** [evaluate] for code that does not suspend: [handler] gets the result, problems go to [ClientOptions.onError]. */
    public fun evaluate(
        flagKey: String,
        entityID: String? = null,
        entityContext: Map<String, Any?>? = null,
        entityType: String? = null,
        enableDebug: Boolean = false,
        minPosition: String? = null,
        handler: suspend (EvaluationResult) -> Unit,
    ): Job = launchHandler {
        try {
            val result = evaluate(flagKey, entityID, entityContext, entityType, enableDebug, minPosition)
            inTurn { handler(result) }
        } catch (e: FlagentException) {
            report(e)
        }
    }

    /** Many flags for many entities in one request. Results come in the server's order: by flag, then by entity. */
    public suspend fun evaluateBatch(batch: BatchEvaluation): List<EvaluationResult> {
        start()
        val answer = calls.call(batch.message(), options.requestTimeout)
        return answer.results.map { EvaluationResult.of(it, answer.position) }
    }

    /** [evaluateBatch] of flags by their keys. */
    public suspend fun evaluateBatch(entities: List<EvaluationEntity>, flagKeys: List<String>): List<EvaluationResult> =
        evaluateBatch(BatchEvaluation(entities, flagKeys))

    private companion object {
        fun parts(url: String, keys: KeySource, reconnect: ReconnectConfig, options: ClientOptions): ClientParts {
            val address = addressOf(url, "ws")
            return ClientParts(
                WebSocketTransport(address, keys, options.httpClient, options.maxMessageBytes),
                reconnect,
                options,
            )
        }
    }
}

/** The address with the scheme of that kind: `http` and `ws`, `https` and `wss` mean the same to a user. */
internal fun addressOf(url: String, kind: String): URI {
    val uri = URI(url)
    val scheme = when (uri.scheme?.lowercase()) {
        "ws", "http" -> kind
        "wss", "https" -> kind + "s"
        else -> throw IllegalArgumentException("The address must begin with ${kind}:// or ${kind}s://, it is '$url'.")
    }
    require(uri.host != null) { "The address names no host: '$url'." }
    require(uri.userInfo == null) { "The address must not carry credentials; use apiKey." }
    return URI(scheme + url.substring(uri.scheme.length))
}
