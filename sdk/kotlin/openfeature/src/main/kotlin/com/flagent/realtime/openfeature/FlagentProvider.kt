package com.flagent.realtime.openfeature

import com.flagent.realtime.EvaluationResult
import com.flagent.realtime.Flag
import com.flagent.realtime.FlagStore
import com.flagent.realtime.FlagentException
import com.flagent.realtime.NotReadyException
import com.flagent.realtime.RealtimeClient
import com.flagent.realtime.StoreStatus
import com.flagent.realtime.Subscription
import dev.openfeature.sdk.ErrorCode
import dev.openfeature.sdk.EvaluationContext
import dev.openfeature.sdk.EventProvider
import dev.openfeature.sdk.ImmutableMetadata
import dev.openfeature.sdk.Metadata
import dev.openfeature.sdk.MutableStructure
import dev.openfeature.sdk.ProviderEvaluation
import dev.openfeature.sdk.ProviderEventDetails
import dev.openfeature.sdk.Reason
import dev.openfeature.sdk.Value
import dev.openfeature.sdk.exceptions.FatalError
import dev.openfeature.sdk.exceptions.FlagNotFoundError
import dev.openfeature.sdk.exceptions.GeneralError
import dev.openfeature.sdk.exceptions.ProviderNotReadyError
import dev.openfeature.sdk.exceptions.TargetingKeyMissingError
import dev.openfeature.sdk.exceptions.TypeMismatchError
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import java.util.function.Supplier
import kotlin.time.Duration.Companion.milliseconds

/**
 * Resolves flags from a live local copy; evaluation uses no network.
 *
 * Every evaluation needs a targeting key: without one, a flag that divides its entities would give another variant at each call.
 *
 * Values: a variant's value is its attachment's `value` or, without one, its key; an object is the whole attachment. As a boolean,
 * `true`, `on`, `yes` and `enabled` are true, `false`, `off`, `no` and `disabled` are false, ignoring case. A number is written as in
 * JSON; as an integer, any whole number (`3.0`, `1e3`) is read. Another text, or a number whose digits would be lost, is TYPE_MISMATCH. A
 * disabled flag, and one that gives the entity no variant, return the caller's default.
 *
 * Reasons are those of the server's OFREP: STATIC when every entity gets the variant, TARGETING_MATCH when a constraint selected it,
 * SPLIT when the rollout or the distribution did; STALE when the store is not READY.
 */
public class FlagentProvider private constructor(
    private val given: RealtimeClient?,
    private val make: Supplier<RealtimeClient>,
    private val readyTimeoutMs: Long,
    private val schema: String?,
) : EventProvider() {
    /**
     * With a client that stays open: its maker closes it.
     *
     * @param readyTimeoutMs the longest wait of `initialize`.
     * @param schema needed only if the server watches several.
     */
    @JvmOverloads
    public constructor(client: RealtimeClient, readyTimeoutMs: Long = DEFAULT_TIMEOUT_MS, schema: String? = null) :
        this(client, Supplier { client }, readyTimeoutMs, schema)

    /** With a client that `initialize` makes and `shutdown` closes. */
    @JvmOverloads
    public constructor(client: Supplier<RealtimeClient>, readyTimeoutMs: Long = DEFAULT_TIMEOUT_MS, schema: String? = null) :
        this(null, client, readyTimeoutMs, schema)

    /** Of one time between `initialize` and `shutdown`. */
    private class Life(val client: RealtimeClient, val store: FlagStore) {
        val scope = CoroutineScope(Dispatchers.Default + Job())
        var changes: Subscription? = null

        // OpenFeature emits the first READY itself, when initialize has returned.
        @Volatile
        var isLive = false

        @Volatile
        var wasLate = false
    }

    @Volatile
    private var life: Life? = null

    override fun getMetadata(): Metadata = Metadata { "flagent-realtime" }

    override fun initialize(evaluationContext: EvaluationContext?) {
        val present = life ?: open()
        try {
            runBlocking { present.store.ready(readyTimeoutMs.milliseconds) }
            follow(present)
        } catch (e: NotReadyException) {
            present.wasLate = true
            throw ProviderNotReadyError(e.message)
        } catch (e: FlagentException) {
            throw FatalError(e.message, e)
        }
    }

    private fun open(): Life {
        val client = make.get()
        val opened = Life(client, FlagStore(client))
        life = opened
        opened.scope.launch { opened.store.status.collect { statusChanged(opened, it) } }
        return opened
    }

    /** Reports changes from now on: the first snapshot is the configuration, not a change of it. */
    private fun follow(of: Life): Unit = synchronized(of) {
        if (of.changes != null) return
        of.changes = of.store.onChange { change ->
            if (of === life) emitProviderConfigurationChanged(ProviderEventDetails.builder().flagsChanged(listOf(change.key)).build())
        }
    }

    private fun statusChanged(of: Life, status: StoreStatus) {
        if (of !== life) return
        when (status) {
            StoreStatus.READY -> {
                follow(of)
                if (of.isLive || of.wasLate) emitProviderReady(ProviderEventDetails.builder().build())
                of.isLive = true
            }
            StoreStatus.STALE -> if (of.isLive) {
                emitProviderStale(ProviderEventDetails.builder().message("The freshness of the flags cannot be confirmed.").build())
            }
            StoreStatus.ERROR ->
                emitProviderError(ProviderEventDetails.builder().message("The client has given up.").errorCode(ErrorCode.PROVIDER_FATAL).build())
            StoreStatus.INITIALIZING, StoreStatus.CLOSED -> Unit
        }
    }

    override fun shutdown() {
        val ended = life
        life = null
        if (ended != null) {
            ended.scope.cancel()
            ended.changes?.close()
            ended.store.close()
            if (given == null) ended.client.close()
        }
        // Not super.shutdown(): it ends the delivery of events for good, but a provider may be set again. Its idle threads end alone.
    }

    override fun getBooleanEvaluation(key: String, default: Boolean?, context: EvaluationContext?): ProviderEvaluation<Boolean> =
        resolve(key, default, context) { VariantValue.boolean(it) }

    override fun getStringEvaluation(key: String, default: String?, context: EvaluationContext?): ProviderEvaluation<String> =
        resolve(key, default, context) { VariantValue.text(it) }

    override fun getIntegerEvaluation(key: String, default: Int?, context: EvaluationContext?): ProviderEvaluation<Int> =
        resolve(key, default, context) { VariantValue.int(it) }

    override fun getLongEvaluation(key: String, default: Long?, context: EvaluationContext?): ProviderEvaluation<Long> =
        resolve(key, default, context) { VariantValue.long(it) }

    override fun getDoubleEvaluation(key: String, default: Double?, context: EvaluationContext?): ProviderEvaluation<Double> =
        resolve(key, default, context) { VariantValue.number(VariantValue.text(it)) }

    override fun getObjectEvaluation(key: String, default: Value?, context: EvaluationContext?): ProviderEvaluation<Value> =
        resolve(key, default, context) { result ->
            val attachment = result.variantAttachment ?: throw TypeMismatchError("The variant has no attachment, and an object value requires one.")
            Value(MutableStructure(attachment.mapValues { Value(it.value) }))
        }

    private fun <T> resolve(key: String, default: T?, context: EvaluationContext?, read: (EvaluationResult) -> T): ProviderEvaluation<T> {
        val present = life
        if (present == null || present.store.status.value == StoreStatus.INITIALIZING) throw ProviderNotReadyError("No flags have arrived yet.")
        val entityID = context?.targetingKey
        if (entityID.isNullOrBlank()) throw TargetingKeyMissingError("The context has no targeting key; pass the id of the user or other entity.")
        val result: EvaluationResult
        val flag: Flag
        try {
            flag = present.store[key, schema] ?: throw FlagNotFoundError("The flag '$key' does not exist.")
            if (!flag.enabled) return ProviderEvaluation.builder<T>().value(default).reason(Reason.DISABLED.name).build()
            // By id: a key that consists of digits would be looked up among the ids first.
            result = present.store.evaluate(flag.id, entityID, ContextValues.of(context), null, schema)
        } catch (e: FlagentException) {
            throw GeneralError(e.message)
        }
        if (result.variantID == null) return ProviderEvaluation.builder<T>().value(default).reason(Reason.DEFAULT.name).build()
        return ProviderEvaluation.builder<T>()
            .value(read(result))
            .variant(result.variantKey)
            .reason(reason(present.store, flag, result))
            .flagMetadata(ImmutableMetadata.builder().addInteger("flagID", result.flagID).addInteger("snapshotID", result.flagSnapshotID).build())
            .build()
    }

    private fun reason(store: FlagStore, flag: Flag, result: EvaluationResult): String {
        if (store.status.value != StoreStatus.READY) return STALE
        val segment = flag.segments.firstOrNull { it.id == result.segmentID } ?: return Reason.UNKNOWN.name
        if (segment.rolloutPercent < 100 || segment.distributions.count { it.percent > 0 } > 1) return Reason.SPLIT.name
        val isForAll = segment.constraints.isEmpty() && segment.id == flag.segments.minWith(compareBy({ it.rank }, { it.id })).id
        return if (isForAll) Reason.STATIC.name else Reason.TARGETING_MATCH.name
    }

    private companion object {
        /** A reason of OpenFeature's specification that its Java SDK does not name. */
        const val STALE = "STALE"
        const val DEFAULT_TIMEOUT_MS = 10_000L
    }
}
