package com.flagent.realtime

/** Whether a constraint holds for a value of its property. An absent property fails every constraint: the caller ensures that. */
internal fun interface ConstraintTest {
    fun holds(value: String): Boolean

    companion object {
        private val NEVER = ConstraintTest { false }

        /**
         * An operator other than the twelve never holds. Values are neither trimmed, unquoted nor case-folded, except that the
         * pieces of IN and NOTIN are trimmed.
         */
        fun of(constraint: Constraint): ConstraintTest {
            val operand = constraint.value
            return when (constraint.operator) {
                "EQ" -> ConstraintTest { it == operand }
                "NEQ" -> ConstraintTest { it != operand }
                "IN" -> pieces(operand).let { pieces -> ConstraintTest { it in pieces } }
                "NOTIN" -> pieces(operand).let { pieces -> ConstraintTest { it !in pieces } }
                "CONTAINS" -> ConstraintTest { operand in it }
                "NOTCONTAINS" -> ConstraintTest { operand !in it }
                "LT" -> compare(operand) { value, bound -> value < bound }
                "LTE" -> compare(operand) { value, bound -> value <= bound }
                "GT" -> compare(operand) { value, bound -> value > bound }
                "GTE" -> compare(operand) { value, bound -> value >= bound }
                "EREG" -> regex(operand, MatchOutcome.MATCHES)
                "NEREG" -> regex(operand, MatchOutcome.DIFFERS)
                else -> NEVER
            }
        }

        private fun pieces(operand: String) = operand.split(',').mapTo(HashSet()) { it.trim() }

        private fun compare(operand: String, holds: (Double, Double) -> Boolean): ConstraintTest {
            val bound = number(operand) ?: return NEVER
            return ConstraintTest { text -> number(text)?.let { holds(it, bound) } ?: false }
        }

        // A slow expression must not admit an entity that it might exclude: undecided fails both operators.
        private fun regex(pattern: String, wanted: MatchOutcome): ConstraintTest {
            val regex = lazy { BoundedRegex.of(pattern) }
            return ConstraintTest { regex.value.match(it) == wanted }
        }

        /** As `Double.parseDouble`: also `10d`, `0x1p4` and `NaN`. Not toDoubleOrNull, whose grammar is Kotlin's. */
        internal fun number(text: String): Double? {
            val first = text.firstOrNull { it > ' ' } ?: return null
            if (first !in '0'..'9' && first !in "+-.NI") return null
            return try {
                java.lang.Double.parseDouble(text)
            } catch (_: NumberFormatException) {
                null
            }
        }
    }
}
