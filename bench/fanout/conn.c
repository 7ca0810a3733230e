/* One connection: its state, what it sends, and how it opens, becomes ready and closes. It neither parses
 * the bytes (stream.c) nor checks the deliveries (phase.c). */
#define _GNU_SOURCE
#include "conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct options options = {.host = "127.0.0.1", .window = 512, .sources = 8};
struct conn *conns;
uint32_t conn_count;
uint64_t wire_bytes;
int poller;
struct counts counts;
void (*conn_lost)(struct conn *conn);

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ull + now.tv_nsec;
}

void bytes_append(struct bytes *bytes, const void *data, size_t len) {
    if (!len) return;
    if (bytes->len + len > bytes->cap) {
        size_t cap = bytes->cap ? bytes->cap : 64;
        while (cap < bytes->len + len) cap *= 2;
        bytes->data = realloc(bytes->data, cap);
        if (!bytes->data) {
            fprintf(stderr, "load: out of memory\n");
            exit(1);
        }
        bytes->cap = cap;
    }
    memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
}

void bytes_free(struct bytes *bytes) {
    free(bytes->data);
    *bytes = (struct bytes){0};
}

void bytes_consume(struct bytes *bytes, size_t used) {
    if (used == bytes->len) {
        bytes_free(bytes);
    } else if (used) {
        bytes->len -= used;
        memmove(bytes->data, bytes->data + used, bytes->len);
    }
}

void conn_fill(char *out, size_t size, const char *template, uint32_t index) {
    const char *at = strstr(template, "%d");
    if (at) snprintf(out, size, "%.*s%u%s", (int)(at - template), template, index, at + 2);
    else snprintf(out, size, "%s", template);
}

void conn_send(struct conn *conn, const void *data, size_t len) {
    /* Everything the client sends fits into an empty socket's buffer. */
    if (send(conn->fd, data, len, MSG_NOSIGNAL) != (ssize_t)len) conn_close(conn, now_ns());
}

void conn_send_frame(struct conn *conn, int opcode, const void *data, size_t len) {
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t frame[sizeof options.hello + 64];
    size_t size = 2;
    if (len > sizeof frame - 8) len = sizeof frame - 8;
    frame[0] = 0x80 | opcode;
    if (len < 126) {
        frame[1] = 0x80 | len;
    } else {
        frame[1] = 0x80 | 126;
        frame[2] = len >> 8;
        frame[3] = len & 0xff;
        size = 4;
    }
    memcpy(frame + size, mask, 4);
    size += 4;
    for (size_t i = 0; i < len; i++) frame[size + i] = ((const uint8_t *)data)[i] ^ mask[i % 4];
    conn_send(conn, frame, size + len);
}

void conn_watch(struct conn *conn, uint32_t events, int how) {
    struct epoll_event event = {.events = events, .data.u32 = conn->index};
    epoll_ctl(poller, how, conn->fd, &event);
}

void conn_settle(struct conn *conn) {
    if (!conn->candidate) return;
    bytes_append(&conn->text, conn->candidate->data, conn->matched);
    conn->candidate = NULL;
    conn->matched = 0;
}

void conn_ready(struct conn *conn, uint64_t now) {
    if (conn->ready) return;
    conn->ready = true;
    conn->ready_ns = now;
    counts.in_flight--;
    counts.ready++;
    if (conn->index < options.muted) {
        conn->muted = true;
        conn_watch(conn, 0, EPOLL_CTL_MOD);
    }
}

void conn_handshake_done(struct conn *conn, int status, long retry_after_s, uint64_t now) {
    if (status == (options.websocket ? 101 : 200)) {
        conn->stage = OPEN;
        conn->handshake_ns = now;
        if (options.websocket && options.hello[0]) {
            char hello[sizeof options.hello + 16];
            conn_fill(hello, sizeof hello, options.hello, conn->index);
            conn_send_frame(conn, 0x1, hello, strlen(hello));
        }
        if (!options.ready[0] && conn->stage == OPEN) conn_ready(conn, now);
        return;
    }
    if ((status == 503 || status == 429) && retry_after_s >= 0) {
        counts.refusals++;
        if (conn->refusals++) counts.refused_again++;
        close(conn->fd);
        conn->stage = REFUSED;
        conn->retry_ns = now + retry_after_s * 1000000000ull;
        counts.in_flight--;
        counts.waiting_to_retry++;
        return;
    }
    if (counts.failed < 3) fprintf(stderr, "load: connection %u got status %d\n", conn->index, status);
    conn_close(conn, now);
}

void conn_close(struct conn *conn, uint64_t now) {
    if (conn->stage == CLOSED || conn->stage == UNUSED || conn->stage == REFUSED) return;
    close(conn->fd);
    if (conn->ready) {
        counts.ready--;
        counts.closed_by_server++;
        conn_lost(conn);
    } else {
        counts.in_flight--;
        counts.failed++;
    }
    conn->stage = CLOSED;
    conn->ready_ns = now;
}
