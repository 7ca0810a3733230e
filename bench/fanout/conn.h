/* One connection of the load client. */
#ifndef FANOUT_CONN_H
#define FANOUT_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

struct bytes {
    uint8_t *data;
    size_t len, cap;
};

/* One payload that a connection has received already. */
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

    uint32_t next;   /* expected sequence number */
    uint32_t newest; /* highest sequence number received, in an event or inside a snapshot */
    uint64_t digest; /* over everything delivered, in order */
    uint32_t resyncs;

    struct bytes wire; /* raw bytes that do not make a whole header, frame or compressed segment yet */
    struct bytes text; /* the beginning of a payload that matches no reference */
    size_t wire_scanned, text_scanned; /* their bytes that are known to contain no end */

    const struct payload *candidate; /* the reference that the current payload matches so far … */
    size_t matched;                  /* … up to here */

    enum chunk chunk;
    size_t chunk_left;
    bool frame_open, frame_compressed;
    uint8_t frame_opcode;
    uint64_t frame_left, frame_len;
    bool gzip_header_seen;
    z_stream *decoder; /* on the first few: an ordinary decoder of the whole stream, besides the segments */
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
    uint32_t muted; /* the number of connections, the first ones, that stop reading once they are ready */
};

extern struct options options;
extern struct conn *conns;
extern uint32_t conn_count;
extern uint64_t wire_bytes;
extern int poller;

/* Connections by state, since the last `open`. */
struct counts {
    uint32_t in_flight, ready, failed, refusals, refused_again, closed_by_server, waiting_to_retry;
};
extern struct counts counts;

/* Called when a ready connection has closed; load.c sets it. */
extern void (*conn_lost)(struct conn *conn);

uint64_t now_ns(void);
void bytes_append(struct bytes *bytes, const void *data, size_t len);
void bytes_consume(struct bytes *bytes, size_t used);
void bytes_free(struct bytes *bytes);

/* `template` with `%d` replaced by a number. */
void conn_fill(char *out, size_t size, const char *template, uint32_t index);
void conn_watch(struct conn *conn, uint32_t events, int how);
void conn_send(struct conn *conn, const void *data, size_t len);
void conn_send_frame(struct conn *conn, int opcode, const void *data, size_t len);
/* Copies what the current payload has in common with its candidate; must be called before a reference changes. */
void conn_settle(struct conn *conn);
void conn_handshake_done(struct conn *conn, int status, long retry_after_s, uint64_t now);
void conn_ready(struct conn *conn, uint64_t now);
void conn_close(struct conn *conn, uint64_t now);

#endif
