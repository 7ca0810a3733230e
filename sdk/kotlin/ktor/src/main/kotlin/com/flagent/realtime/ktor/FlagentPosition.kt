package com.flagent.realtime.ktor

import com.flagent.realtime.Baggage
import com.flagent.realtime.FlagStore
import com.flagent.realtime.FlagentException
import io.ktor.server.application.ApplicationCall
import io.ktor.server.application.RouteScopedPlugin
import io.ktor.server.application.createRouteScopedPlugin
import io.ktor.util.AttributeKey
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds

/** Settings of [FlagentPosition]. */
public class FlagentPositionConfig {
    /** The store whose flags the routes use. */
    public var store: FlagStore? = null

    /** The longest wait of a request for flags as new as its caller's. After it, the request goes on with the flags that are there. */
    public var timeout: Duration = 1.seconds

    /** Called when the flags did not become new enough in time, or cannot: they are of another database. */
    public var onLate: (ApplicationCall, Exception) -> Unit = { _, _ -> }
}

private val received = AttributeKey<String>("FlagentPosition")

/**
 * Lets each request wait until the store's flags are as new as those of its caller, which says so in the header `baggage`: so a request sees
 * the flags that the service before it has seen.
 *
 * ```kotlin
 * install(FlagentPosition) { store = flags }
 * get("/checkout") { client.get(next) { header("baggage", call.flagentBaggage(flags)) } }
 * ```
 */
public val FlagentPosition: RouteScopedPlugin<FlagentPositionConfig> = createRouteScopedPlugin("FlagentPosition", ::FlagentPositionConfig) {
    val store = requireNotNull(pluginConfig.store) { "FlagentPosition needs a store." }
    val timeout = pluginConfig.timeout
    val onLate = pluginConfig.onLate
    onCall { call ->
        val position = Baggage.read(baggageOf(call)) ?: return@onCall
        call.attributes.put(received, position)
        try {
            store.waitFor(position, timeout)
        } catch (e: FlagentException) {
            onLate(call, e)
        } catch (e: IllegalArgumentException) {
            onLate(call, e)
        }
    }
}

/** The position that the request's caller has passed on; `null` = none. */
public val ApplicationCall.flagentPosition: String? get() = attributes.getOrNull(received)

/** The header `baggage` for requests to the next service: that of this request, with the position of [store], or the caller's where that is higher. */
public fun ApplicationCall.flagentBaggage(store: FlagStore): String = Baggage.write(baggageOf(this), store.lastEventID).orEmpty()

private fun baggageOf(call: ApplicationCall): String? = call.request.headers.getAll("baggage")?.joinToString(",")
