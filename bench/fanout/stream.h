/* Bytes of one connection become payloads: HTTP, chunks, gzip, WebSocket frames, SSE blocks. */
#ifndef FANOUT_STREAM_H
#define FANOUT_STREAM_H

#include "conn.h"

/* Must be called with all received bytes, in order. */
void stream_receive(struct conn *conn, const uint8_t *data, size_t len, uint64_t now);
void stream_reset(struct conn *conn);

#endif
