package com.flagent.realtime

import java.util.zip.CRC32

/**
 * A flag prepared for evaluation, once per version.
 *
 * Rules that are easy to miss: the bucket is salted with the flag's id; the rollout covers the lowest of all buckets; an entity outside
 * the rollout falls through to the next segment; without a variant, the result has the id of the last segment.
 */
internal class CompiledFlag(val flag: Flag) {
    /** The result for an entity. [segmentID] is the last segment tried, also without a variant. */
    class Decision(val segmentID: Int?, val variantID: Int? = null, val variant: Variant? = null)

    private class Step(
        val properties: Array<String>,
        val tests: Array<ConstraintTest>,
        val rollout: Rollout,
        val decisions: Array<Decision>,
    )

    private val salt = flag.id.toString().toByteArray()
    private val variants = flag.variants.associateBy { it.id }
    private val segments = flag.segments.sortedWith(compareBy({ it.rank }, { it.id }))
    private val steps = segments.map(::compile)
    private val unmatched = Decision(segments.lastOrNull()?.id)

    /** In the order of their ids, as in a result. */
    val tags: List<String> = flag.tags.sortedBy { it.id }.map { it.value }

    // Every decision is made once, here.
    private fun compile(segment: Segment): Step {
        val rollout = Rollout.of(segment.rolloutPercent, segment.distributions)
        return Step(
            Array(segment.constraints.size) { segment.constraints[it].property },
            Array(segment.constraints.size) { ConstraintTest.of(segment.constraints[it]) },
            rollout,
            Array(rollout.variantIDs.size) { n -> rollout.variantIDs[n].let { Decision(segment.id, it, variants[it]) } },
        )
    }

    /** The decision of the flag itself; dependencies are not checked. Raises [FlagTooLargeException]. */
    fun decide(entityID: String, context: Map<String, String>): Decision {
        if (!flag.enabled) return NOTHING
        if (flag.tooLarge != null) throw FlagTooLargeException(flag.key, flag.tooLarge)
        var bucket = 0
        for (step in steps) {
            if (!holds(step, context)) continue
            if (bucket == 0) bucket = bucketOf(entityID)
            val index = step.rollout.pick(bucket)
            if (index >= 0) return step.decisions[index]
        }
        return unmatched
    }

    private fun holds(step: Step, context: Map<String, String>): Boolean {
        for (n in step.tests.indices) {
            val value = context[step.properties[n]] ?: return false
            if (!step.tests[n].holds(value)) return false
        }
        return true
    }

    /** 1 to 1000: CRC-32 over the digits of the flag's id and the entity's id. Half a surrogate pair counts as `?`. */
    private fun bucketOf(entityID: String): Int {
        val crc = CRC32()
        crc.update(salt)
        crc.update(entityID.toByteArray())
        return (crc.value % Rollout.BUCKETS).toInt() + 1
    }

    companion object {
        val NOTHING = Decision(null)
    }
}
