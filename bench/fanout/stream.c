/* From the bytes of one connection to its payloads. */
#define _GNU_SOURCE
#include "stream.h"
#include "phase.h"
#include "segment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The accept value that RFC 6455, 1.3 gives for the sample key, which every handshake of this client uses. */
static const char ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/* ---- payloads: compared with a reference while they match, collected otherwise ------------------------------------ */

void stream_reset(struct conn *conn) {
    bytes_free(&conn->wire);
    bytes_free(&conn->text);
    if (conn->decoder) {
        inflateEnd(conn->decoder);
        free(conn->decoder);
    }
    conn->decoder = NULL;
    conn->decoded_bytes = conn->segment_bytes = 0;
    conn->candidate = NULL;
    conn->matched = conn->text_scanned = conn->wire_scanned = conn->chunk_left = 0;
    conn->chunk = SIZE;
    conn->chunked = conn->gzip = conn->deflate = conn->frame_open = conn->gzip_header_seen = false;
    conn->frame_left = conn->frame_len = 0;
}

static void match_advance(struct conn *conn, const struct payload *candidate, size_t take, uint64_t now) {
    conn->candidate = candidate;
    conn->matched += take;
    if (conn->matched < candidate->len) return;
    conn->candidate = NULL;
    conn->matched = 0;
    phase_matched(conn, candidate, now);
}

/* At a payload's beginning: the number of bytes that match a reference, 0 if none does. `whole` is the payload's length
 * if it is known, else 0. */
static size_t match_begin(struct conn *conn, const uint8_t *data, size_t len, size_t whole, uint64_t now) {
    const struct payload *choices[] = {phase_expected(conn), phase_snapshot()};
    for (size_t i = 0; i < 2; i++) {
        const struct payload *choice = choices[i];
        if (!choice || (whole && whole != choice->len)) continue;
        size_t take = len < choice->len ? len : choice->len;
        if (memcmp(choice->data, data, take)) continue;
        match_advance(conn, choice, take, now);
        return take;
    }
    return 0;
}

/* Continues the comparison; returns the number of bytes used, 0 if they differ and the matched prefix is now in `text`. */
static size_t match_on(struct conn *conn, const uint8_t *data, size_t len, uint64_t now) {
    size_t want = conn->candidate->len - conn->matched, take = len < want ? len : want;
    if (memcmp(conn->candidate->data + conn->matched, data, take)) {
        conn_settle(conn);
        return 0;
    }
    match_advance(conn, conn->candidate, take, now);
    return take;
}

/* Length of the first SSE block including its empty line, 0 if it is incomplete. The bytes before `from` were searched. */
static size_t block_length(const uint8_t *data, size_t len, size_t from) {
    const uint8_t *at = data + (from > 3 ? from - 3 : 0), *end = data + len;
    while ((at = memchr(at, '\n', end - at))) {
        if (at + 1 < end && at[1] == '\n') return at + 2 - data;
        if (at + 2 < end && at[1] == '\r' && at[2] == '\n') return at + 3 - data;
        at++;
    }
    return 0;
}

static void sse_text(struct conn *conn, const uint8_t *data, size_t len, uint64_t now) {
    while (len) {
        size_t used = 0;
        if (conn->candidate) used = match_on(conn, data, len, now);
        else if (!conn->text.len) used = match_begin(conn, data, len, 0, now);
        if (used) {
            data += used;
            len -= used;
            continue;
        }
        if (conn->text.len) {
            /* The end may lie across the two: search the joined bytes, and leave those after the end to the next turn. */
            size_t before = conn->text.len;
            bytes_append(&conn->text, data, len);
            size_t length = block_length(conn->text.data, conn->text.len, conn->text_scanned);
            if (!length) {
                conn->text_scanned = conn->text.len;
                return;
            }
            struct bytes block = conn->text;
            conn->text = (struct bytes){0};
            conn->text_scanned = 0;
            phase_payload(conn, block.data, length, now);
            bytes_free(&block);
            data += length - before;
            len -= length - before;
            continue;
        }
        size_t length = block_length(data, len, 0);
        if (!length) {
            bytes_append(&conn->text, data, len);
            conn->text_scanned = len;
            return;
        }
        phase_payload(conn, data, length, now);
        data += length;
        len -= length;
    }
}

/* ---- gzip: segments, each ended by a flush of the compressor ------------------------------------------------------ */

static size_t segment_length(const uint8_t *data, size_t len, size_t from) {
    if (data[0] == 0) { /* a stored block contains its length */
        if (len < 5) return 0;
        size_t length = 5 + (data[1] | data[2] << 8);
        return length <= len ? length : 0;
    }
    size_t start = from > 3 ? from - 3 : 0;
    if (len <= start) return 0;
    const uint8_t *found = memmem(data + start, len - start, FLUSH_END, FLUSH_END_LEN);
    return found ? (size_t)(found - data) + FLUSH_END_LEN : 0;
}

static void gzip_body(struct conn *conn, const uint8_t *data, size_t len, uint64_t now) {
    if (conn->decoder && !inflate_some(conn->decoder, data, len, NULL, &conn->decoded_bytes)) {
        fprintf(stderr, "load: an ordinary gzip decoder rejects the stream of connection %u\n", conn->index);
        conn_close(conn, now);
        return;
    }
    bytes_append(&conn->wire, data, len);
    size_t used = 0;
    if (!conn->gzip_header_seen) {
        if (conn->wire.len < 10) return;
        if (conn->wire.data[0] != 0x1f || conn->wire.data[1] != 0x8b || conn->wire.data[3] != 0) {
            fprintf(stderr, "load: connection %u: no plain gzip header\n", conn->index);
            conn_close(conn, now);
            return;
        }
        conn->gzip_header_seen = true;
        used = 10;
        conn->wire_scanned = 0;
    }
    while (used < conn->wire.len) {
        size_t length = segment_length(conn->wire.data + used, conn->wire.len - used, conn->wire_scanned);
        if (!length) {
            conn->wire_scanned = conn->wire.len - used;
            break;
        }
        conn->wire_scanned = 0;
        const struct bytes *text = segment_text(conn->wire.data + used, length);
        if (!text) {
            fprintf(stderr, "load: connection %u: a compressed segment depends on earlier ones\n", conn->index);
            conn_close(conn, now);
            return;
        }
        conn->segment_bytes += text->len;
        sse_text(conn, text->data, text->len, now);
        used += length;
    }
    bytes_consume(&conn->wire, used);
}

/* ---- HTTP/1.1 chunks ---------------------------------------------------------------------------------------------- */

static void sse_body(struct conn *conn, const uint8_t *data, size_t len, uint64_t now) {
    if (conn->gzip) gzip_body(conn, data, len, now);
    else sse_text(conn, data, len, now);
}

static void chunked_body(struct conn *conn, const uint8_t *data, size_t len, uint64_t now) {
    const uint8_t *end = data + len;
    while (data < end && conn->stage == OPEN) {
        switch (conn->chunk) {
        case SIZE: {
            uint8_t byte = *data++;
            if (byte >= '0' && byte <= '9') conn->chunk_left = conn->chunk_left * 16 + (byte - '0');
            else if ((byte | 32) >= 'a' && (byte | 32) <= 'f') conn->chunk_left = conn->chunk_left * 16 + ((byte | 32) - 'a' + 10);
            else if (byte == '\n') conn->chunk = DATA;
            else conn->chunk = EXTENSION; /* or the CR */
            break;
        }
        case EXTENSION:
            if (*data++ == '\n') {
                if (!conn->chunk_left) {
                    conn_close(conn, now);
                    return;
                }
                conn->chunk = DATA;
            }
            break;
        case DATA: {
            size_t take = (size_t)(end - data) < conn->chunk_left ? (size_t)(end - data) : conn->chunk_left;
            sse_body(conn, data, take, now);
            data += take;
            conn->chunk_left -= take;
            if (!conn->chunk_left) conn->chunk = DATA_END;
            break;
        }
        case DATA_END:
            if (*data++ == '\n') conn->chunk = SIZE;
            break;
        }
    }
}

/* ---- WebSocket frames --------------------------------------------------------------------------------------------- */

static void frame_done(struct conn *conn, const uint8_t *data, size_t len, uint64_t now) {
    switch (conn->frame_opcode) {
    case 0x1:
        if (conn->frame_compressed) {
            /* RFC 7692, 7.2.2: append the four bytes that the sender removed. */
            struct bytes packed = {0};
            bytes_append(&packed, data, len);
            bytes_append(&packed, FLUSH_END, FLUSH_END_LEN);
            const struct bytes *text = segment_text(packed.data, packed.len);
            bytes_free(&packed);
            if (!text) {
                fprintf(stderr, "load: connection %u: a compressed message depends on earlier ones\n", conn->index);
                conn_close(conn, now);
                return;
            }
            if (!match_begin(conn, text->data, text->len, text->len, now))
                phase_payload(conn, text->data, text->len, now);
        } else {
            phase_payload(conn, data, len, now);
        }
        break;
    case 0x8:
        conn_close(conn, now);
        break;
    case 0x9:
        conn_send_frame(conn, 0xA, data, len);
        break;
    case 0xA:
        break;
    default:
        fprintf(stderr, "load: connection %u: unexpected opcode %u\n", conn->index, conn->frame_opcode);
        conn_close(conn, now);
    }
}

/* Length of a frame's header, 0 if it is incomplete. */
static size_t frame_header(struct conn *conn, const uint8_t *data, size_t len) {
    if (len < 2) return 0;
    size_t size = 2 + ((data[1] & 0x7f) == 126 ? 2 : (data[1] & 0x7f) == 127 ? 8 : 0);
    if (len < size) return 0;
    uint64_t length = data[1] & 0x7f;
    if (size > 2) {
        length = 0;
        for (size_t i = 2; i < size; i++) length = length << 8 | data[i];
    }
    conn->frame_opcode = data[0] & 0x0f;
    conn->frame_compressed = data[0] & 0x40;
    if (!(data[0] & 0x80)) {
        fprintf(stderr, "load: connection %u: a fragmented message\n", conn->index);
        conn->frame_opcode = 0x0f;
    }
    conn->frame_left = conn->frame_len = length;
    conn->frame_open = true;
    return size;
}

static void websocket_frames(struct conn *conn, const uint8_t *data, size_t len, uint64_t now) {
    while (conn->stage == OPEN && (len || (conn->frame_open && !conn->frame_left))) {
        if (!conn->frame_open) {
            if (conn->wire.len) { /* a header split in two: at most a few bytes, one at a time */
                bytes_append(&conn->wire, data, 1);
                data++;
                len--;
                if (frame_header(conn, conn->wire.data, conn->wire.len)) bytes_free(&conn->wire);
            } else {
                size_t size = frame_header(conn, data, len);
                if (!size) {
                    bytes_append(&conn->wire, data, len);
                    return;
                }
                data += size;
                len -= size;
            }
            continue;
        }
        size_t take = len < conn->frame_left ? len : conn->frame_left;
        bool plain_text = conn->frame_opcode == 0x1 && !conn->frame_compressed;
        size_t used = 0;
        if (conn->candidate) used = match_on(conn, data, take, now);
        else if (plain_text && !conn->text.len && take) used = match_begin(conn, data, take, conn->frame_len, now);
        if (used) {
            data += used;
            len -= used;
            conn->frame_left -= used;
            if (!conn->frame_left) conn->frame_open = false;
            continue;
        }
        if (!conn->text.len && take == conn->frame_left) {
            conn->frame_open = false;
            conn->frame_left = 0;
            frame_done(conn, data, take, now);
        } else {
            bytes_append(&conn->text, data, take);
            conn->frame_left -= take;
            if (!conn->frame_left) {
                struct bytes whole = conn->text;
                conn->text = (struct bytes){0};
                conn->frame_open = false;
                frame_done(conn, whole.data, whole.len, now);
                bytes_free(&whole);
            }
        }
        data += take;
        len -= take;
    }
}

/* ---- the response header ------------------------------------------------------------------------------------------ */

/* The value of a header field up to the end of the line; NULL if it is absent. `head` ends with a zero byte. */
static const char *header_value(const char *head, const char *name, char *value, size_t size) {
    size_t name_len = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, name_len) || line[2 + name_len] != ':') continue;
        const char *from = line + 3 + name_len;
        while (*from == ' ') from++;
        size_t len = strcspn(from, "\r\n");
        if (len >= size) len = size - 1;
        memcpy(value, from, len);
        value[len] = 0;
        return value;
    }
    return NULL;
}

static void response_header(struct conn *conn, char *head, uint64_t now) {
    char value[512];
    int status = 0;
    sscanf(head, "HTTP/1.%*d %d", &status);
    if (options.websocket) {
        if (status == 101 && (!header_value(head, "Sec-WebSocket-Accept", value, sizeof value) || strcmp(value, ACCEPT))) {
            fprintf(stderr, "load: connection %u: a wrong Sec-WebSocket-Accept\n", conn->index);
            conn_close(conn, now);
            return;
        }
        const char *extensions = header_value(head, "Sec-WebSocket-Extensions", value, sizeof value);
        conn->deflate = extensions && strstr(extensions, "permessage-deflate");
    } else {
        const char *coding = header_value(head, "Transfer-Encoding", value, sizeof value);
        conn->chunked = coding && strcasestr(coding, "chunked");
        const char *content = header_value(head, "Content-Encoding", value, sizeof value);
        conn->gzip = content && strcasestr(content, "gzip");
        if (conn->gzip && conn->index < 8) {
            conn->decoder = calloc(1, sizeof *conn->decoder);
            inflateInit2(conn->decoder, MAX_WBITS + 16);
        }
    }
    const char *retry = header_value(head, "Retry-After", value, sizeof value);
    conn_handshake_done(conn, status, retry ? atol(retry) : -1, now);
}

void stream_receive(struct conn *conn, const uint8_t *data, size_t len, uint64_t now) {
    wire_bytes += len;
    if (conn->stage == HANDSHAKE) {
        bytes_append(&conn->wire, data, len);
        uint8_t *end = memmem(conn->wire.data, conn->wire.len, "\r\n\r\n", 4);
        if (!end) return;
        struct bytes all = conn->wire;
        conn->wire = (struct bytes){0};
        size_t used = end + 4 - all.data;
        end[2] = 0;
        response_header(conn, (char *)all.data, now);
        if (conn->stage == OPEN && used < all.len) {
            wire_bytes -= all.len - used; /* counted already */
            stream_receive(conn, all.data + used, all.len - used, now);
        }
        bytes_free(&all);
        return;
    }
    if (conn->stage != OPEN) return;
    if (options.websocket) websocket_frames(conn, data, len, now);
    else if (conn->chunked) chunked_body(conn, data, len, now);
    else sse_body(conn, data, len, now);
}
