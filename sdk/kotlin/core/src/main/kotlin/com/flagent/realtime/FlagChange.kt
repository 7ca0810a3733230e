package com.flagent.realtime

/** The kind of a [FlagChange]. */
public enum class ChangeKind { CREATED, UPDATED, DELETED }

/** A difference of one flag. [before] is `null` for a created, [after] for a deleted flag. */
public data class FlagChange(
    val kind: ChangeKind,
    val key: String,
    val before: Flag?,
    val after: Flag?,
    /** `null` unless the server watches several schemas. */
    val schema: String? = null,
)
