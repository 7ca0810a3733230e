package com.flagent.realtime

import kotlinx.coroutines.Job
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put

/**
 * Live flags over a WebSocket, with evaluation by the server over the same connection.
 *
 * ```
 * val client = FlagentWebSocketClient("wss://flags.example.com/ws", apiKey = "your-api-key")
 * client.subscribe("new_payment_flow") { flag -> println(flag.enabled) }
 * ```
 */
public class FlagentWebSocketClient internal constructor(parts: ClientParts) : RealtimeClient(parts) {
    @JvmOverloads
    public constructor(
        url: String,
        apiKey: String? = null,
        reconnectConfig: ReconnectConfig = ReconnectConfig(),
        options: ClientOptions = ClientOptions(),
    ) : this(parts(url, ApiKeySource.fixed(apiKey), reconnectConfig, options))

    public constructor(
        url: String,
        apiKey: suspend () -> String?,
        reconnectConfig: ReconnectConfig = ReconnectConfig(),
        options: ClientOptions = ClientOptions(),
    ) : this(parts(url, ApiKeySource(true, apiKey), reconnectConfig, options))

    /** Same as [subscribeFlag]. */
    public fun subscribe(flagKey: String, handler: suspend (Flag) -> Unit): Subscription = subscribeFlag(flagKey, handler)

    /**
     * Evaluates a flag for an entity on the server.
     *
     * Raises [RequestFailedException] if the server answers with an error, [ConnectionLostException] if the connection is lost
     * before the response, [RequestTimeoutException] after [ClientOptions.requestTimeout].
     *
     * @param minPosition evaluate a state at this position or later, for example the position of a received event.
     */
    public suspend fun evaluate(
        flagKey: String,
        entityID: String? = null,
        entityContext: Map<String, Any?>? = null,
        entityType: String? = null,
        enableDebug: Boolean = false,
        minPosition: String? = null,
    ): EvaluationResult {
        requireOnline()
        val request = buildJsonObject {
            put("type", "evaluate")
            put("flagKey", flagKey)
            EvaluationEntity(entityID, entityType, entityContext).writeTo(this)
            if (enableDebug) put("enableDebug", true)
            minPosition?.let { put("minPosition", it) }
        }
        val response = requests.call(request, options.requestTimeout)
        val result = response.results.firstOrNull() ?: throw MalformedMessageException("The server's response has no result.")
        return EvaluationResult.of(result, response.position)
    }

    /** [evaluate] for code that does not suspend: [handler] receives the result, [ClientOptions.onError] an exception. */
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
            runHandler { handler(result) }
        } catch (e: FlagentException) {
            report(e)
        }
    }

    /** Evaluates several flags for several entities in one request. Results are in the server's order: by flag, then by entity. */
    public suspend fun evaluateBatch(batch: BatchEvaluation): List<EvaluationResult> {
        requireOnline()
        val response = requests.call(batch.message(), options.requestTimeout)
        return response.results.map { EvaluationResult.of(it, response.position) }
    }

    /** [evaluateBatch] of flags by their keys. */
    public suspend fun evaluateBatch(entities: List<EvaluationEntity>, flagKeys: List<String>): List<EvaluationResult> =
        evaluateBatch(BatchEvaluation(entities, flagKeys))

    private fun requireOnline() {
        ensureRunning()
        if (!online.value) throw OfflineException()
    }

    private companion object {
        fun parts(url: String, keys: ApiKeySource, reconnect: ReconnectConfig, options: ClientOptions): ClientParts {
            val endpoint = Endpoint(endpointUrl(url, "ws"), keys, SharedEngine(options.engine, options.connectTimeout), EndpointKind.WEB_SOCKET)
            return ClientParts(WebSocketTransport(endpoint.url, keys, endpoint.http, options.maxMessageBytes), reconnect, options, endpoint)
        }
    }
}
