package com.flagent.realtime

/**
 * The rollout of a segment: which of the thousand buckets get which variant.
 *
 * Buckets count from 1: those up to [limit] are included, and get the first variant whose threshold is not below. [variantIDs] has
 * one entry more than [thresholds]: the last variant gets the rest, which also covers shares that sum to less than 100.
 */
internal class Rollout private constructor(private val limit: Int, private val thresholds: IntArray, val variantIDs: IntArray) {
    /** The index in [variantIDs] for a bucket (1 to 1000); -1 if it is not included. */
    fun pick(bucket: Int): Int {
        if (bucket > limit) return -1
        val index = thresholds.indexOfFirst { it >= bucket }
        return if (index < 0) thresholds.size else index
    }

    companion object {
        const val BUCKETS = 1000
        private const val BUCKETS_PER_PERCENT = 10
        private val EMPTY = Rollout(0, IntArray(0), IntArray(0))

        /**
         * Shares are ordered by percent, then by variant id, so that a small change of a split may move nearly every entity: the
         * results must equal Flagent's, which does so. A rollout above 100 acts as 100.
         */
        fun of(rolloutPercent: Int, distributions: List<Distribution>): Rollout {
            if (rolloutPercent <= 0 || distributions.isEmpty()) return EMPTY
            val shares = distributions.sortedWith(compareBy({ it.percent }, { it.variantID }))
            var total = 0
            var highest = 0
            val thresholds = IntArray(shares.size - 1) { n ->
                total += shares[n].percent * BUCKETS_PER_PERCENT
                // A negative share, written by hand, must not break the order.
                highest = maxOf(highest, total)
                highest
            }
            val limit = minOf(rolloutPercent.coerceAtMost(100) * BUCKETS_PER_PERCENT, BUCKETS)
            return Rollout(limit, thresholds, IntArray(shares.size) { shares[it].variantID })
        }
    }
}
