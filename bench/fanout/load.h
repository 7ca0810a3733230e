/* The load client of bench/fanout: thousands of subscribers in one thread.
 *
 * load.c    connections, the event loop and the commands on stdin
 * stream.c  bytes of one connection -> payloads: HTTP, chunks, gzip, WebSocket frames, SSE blocks
 * phase.c   payloads -> deliveries: order, completeness, equality, times
 *
 * A payload is an SSE block up to and including its empty line, or the text of a WebSocket message. The first
 * connection that receives an event keeps its bytes as the reference; every other connection is compared with it byte
 * by byte, which is stricter than a checksum and cheap enough for millions of deliveries a second. */
#ifndef FANOUT_LOAD_H
#define FANOUT_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

struct bytes {
    uint8_t *data;
    size_t len, cap;
};

/* One payload that somebody has received already. */
struct payload {
    uint8_t *data;
    size_t len;
    uint64_t hash;
};

enum stage { UNUSED, CONNECTING, HANDSHAKE, OPEN, REFUSED, CLOSED };
enum chunk { SIZE, EXTENSION, DATA, DATA_END };

struct conn {
    int fd;
    uint32_t index;
    enum stage stage;
    bool ready, muted, chunked, gzip, deflate;

    uint32_t next;   /* sequence number it must receive next */
    uint32_t newest; /* highest sequence number it has seen, in an event or inside a snapshot */
    uint64_t digest; /* over everything delivered, in order */
    uint32_t resyncs;

    struct bytes wire; /* raw bytes that do not make a whole header, frame or compressed segment yet */
    struct bytes text; /* the beginning of a payload that equals no reference */
    size_t wire_scanned, text_scanned; /* their bytes that are known to hold no end */

    const struct payload *candidate; /* the reference that the running payload equals so far … */
    size_t matched;                  /* … this far */

    enum chunk chunk;
    size_t chunk_left;
    bool frame_open, frame_compressed;
    uint8_t frame_opcode;
    uint64_t frame_left, frame_len;
    bool gzip_header_seen;
    z_stream *decoder; /* on the first few: an ordinary decoder of the whole stream, beside the segments */
    uint64_t decoded_bytes, segment_bytes;

    uint64_t began_ns, handshake_ns, ready_ns, retry_ns, first_refused_ns;
    uint32_t refusals;
};

struct options {
    char host[64];
    int port;
    bool websocket, compress, own;
    char path[2048], hello[4096], ready[128], headers[4096];
    uint32_t window, sources;
};

extern struct options options;
extern struct conn *conns;
extern uint32_t conn_count;
extern uint64_t wire_bytes;

uint64_t now_ns(void);
void bytes_append(struct bytes *bytes, const void *data, size_t len);
void bytes_consume(struct bytes *bytes, size_t used);
void bytes_free(struct bytes *bytes);

/* load.c, called by stream.c */
void conn_send_frame(struct conn *conn, int opcode, const void *data, size_t len);
void conn_handshake_done(struct conn *conn, int status, long retry_after_s, uint64_t now);
void conn_ready(struct conn *conn, uint64_t now);
void conn_close(struct conn *conn, uint64_t now);

/* stream.c: everything that was received, in order. */
void stream_receive(struct conn *conn, const uint8_t *data, size_t len, uint64_t now);
void stream_reset(struct conn *conn);
/* Copies what the running payload has in common with its candidate; to be called before a reference changes. */
void stream_settle(struct conn *conn);
/* Drops what compressed segments are known to mean. */
void stream_forget(void);

/* phase.c */
void phase_begin(uint32_t first, uint32_t events, bool latencies, uint32_t connections);
void phase_sent(uint32_t seq, uint64_t at_ns);
bool phase_is_receiving(uint64_t now);
bool phase_is_done(void);
void phase_report(bool complete);
void phase_lose(struct conn *conn);
/* The references that this connection may receive next; NULL where there is none. */
const struct payload *phase_expected(const struct conn *conn);
const struct payload *phase_snapshot(void);
/* A whole payload that equals the candidate, and one that has to be looked at. */
void phase_matched(struct conn *conn, const struct payload *candidate, uint64_t now);
void phase_payload(struct conn *conn, const uint8_t *data, size_t len, uint64_t now);
void phase_muted_report(void);

#endif
