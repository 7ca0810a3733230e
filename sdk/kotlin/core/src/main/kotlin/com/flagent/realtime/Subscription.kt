package com.flagent.realtime

/** A registered handler. [close] ends it. */
public interface Subscription : AutoCloseable {
    override fun close()
}
