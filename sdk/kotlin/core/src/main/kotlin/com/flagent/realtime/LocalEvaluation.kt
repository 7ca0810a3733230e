package com.flagent.realtime

import kotlin.random.Random

/** Evaluation with the semantics of Flagent's server, on flags at hand. Safe from any thread. */
internal class LocalEvaluation(
    private val find: (String) -> CompiledFlag?,
    private val nowMs: () -> Long = System::currentTimeMillis,
    private val random: () -> Int = { Random.nextInt() },
) {
    /**
     * Evaluates a flag for an entity; `null` or a flag that is off gives a result without a variant. Raises
     * [IllegalArgumentException] for a value of the context that no constraint can compare.
     */
    fun evaluate(found: CompiledFlag?, requestedID: Int?, requestedKey: String?, entity: EvaluationEntity, position: String?): EvaluationResult {
        val context = ContextValue.textsOf(entity.entityContext)
        val entityID = entity.entityID?.takeIf { it.isNotBlank() } ?: "randomly_generated_${random()}"
        val enabled = found?.takeIf { it.flag.enabled && !it.flag.archived }
        var message: String? = null
        val decision = when {
            enabled == null -> CompiledFlag.NOTHING.also { message = "flagID ${requestedID ?: 0} not found or deleted" }
            enabled.flag.dependsOn.isEmpty() -> enabled.decide(entityID, context)
            else -> {
                message = blockedBy(enabled, entityID, context)
                if (message == null) enabled.decide(entityID, context) else CompiledFlag.NOTHING
            }
        }
        if (decision.variantID == null && message == null) {
            message = if (enabled?.flag?.segments?.isEmpty() == true) "flagID ${enabled.flag.id} has no segments" else ""
        }
        return EvaluationResult.local(
            enabled, requestedID, requestedKey, decision,
            entity.copy(entityID = entityID, entityType = entity.entityType ?: enabled?.flag?.entityType.orEmpty()),
            message, nowMs(), position,
        )
    }

    /**
     * Why the flag is blocked, `null` if it is not. Each flag it depends on, found by key, must exist and give the entity a variant, and
     * so its own ones. A flag that depends on itself, directly or not, is blocked.
     */
    private fun blockedBy(flag: CompiledFlag, entityID: String, context: Map<String, String>): String? {
        val known = hashMapOf(flag.flag.key to false)
        for (key in flag.flag.dependsOn) {
            val dependency = find(key) ?: return "dependency \"$key\" not found"
            if (key !in known) decideWithDependencies(dependency, entityID, context, known)
            if (known[key] != true) return "dependency \"$key\" is disabled or has no variant"
        }
        return null
    }

    /** Records in [known] whether the flag gives the entity a variant. Iterative: a chain may have any length. */
    private fun decideWithDependencies(flag: CompiledFlag, entityID: String, context: Map<String, String>, known: HashMap<String, Boolean>) {
        // A flag starts as false: if it is reached again below itself, that is a cycle, which blocks.
        known[flag.flag.key] = false
        val path = arrayListOf(flag)
        val done = arrayListOf(0)
        while (path.isNotEmpty()) {
            val current = path.last()
            val key = current.flag.dependsOn.getOrNull(done.last())
            if (key == null) {
                known[current.flag.key] = current.decide(entityID, context).variantID != null
            } else {
                if (key !in known) {
                    known[key] = false
                    val dependency = find(key)
                    if (dependency != null) {
                        path += dependency
                        done += 0
                        continue
                    }
                }
                if (known[key] == true) {
                    done[done.lastIndex]++
                    continue
                }
            }
            path.removeAt(path.lastIndex)
            done.removeAt(done.lastIndex)
        }
    }
}
