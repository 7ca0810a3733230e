/* A compressed segment and its text: inflated once, then looked up. */
#define _GNU_SOURCE
#include "segment.h"

#include <stdlib.h>
#include <string.h>

const uint8_t FLUSH_END[FLUSH_END_LEN] = {0x00, 0x00, 0xff, 0xff};

struct segment {
    uint64_t hash;
    struct bytes packed, text;
};

static struct segment *segments;
static size_t segment_count, segment_cap;

static uint64_t segment_hash(const uint8_t *data, size_t len) {
    uint64_t hash = len * 0x9e3779b97f4a7c15u + 1, word;
    for (; len >= 8; data += 8, len -= 8) {
        memcpy(&word, data, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    for (; len; data++, len--) hash = (hash ^ *data) * 0x100000001b3u;
    return hash | 1;
}

void segments_forget(void) {
    for (size_t i = 0; i < segment_cap; i++) {
        bytes_free(&segments[i].packed);
        bytes_free(&segments[i].text);
    }
    free(segments);
    segments = NULL;
    segment_count = segment_cap = 0;
}

static struct segment *segment_slot(uint64_t hash, const uint8_t *data, size_t len) {
    for (size_t at = hash;; at++) {
        struct segment *slot = &segments[at & (segment_cap - 1)];
        if (!slot->hash) return slot;
        if (slot->hash == hash && slot->packed.len == len && memcmp(slot->packed.data, data, len) == 0) return slot;
    }
}

static void segments_grow(void) {
    struct segment *old = segments;
    size_t old_cap = segment_cap;
    segment_cap = old_cap ? old_cap * 2 : 1024;
    segments = calloc(segment_cap, sizeof *segments);
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].hash) *segment_slot(old[i].hash, old[i].packed.data, old[i].packed.len) = old[i];
    free(old);
}

bool inflate_some(z_stream *decoder, const uint8_t *data, size_t len, struct bytes *text, uint64_t *count) {
    uint8_t out[65536];
    decoder->next_in = (uint8_t *)data;
    decoder->avail_in = len;
    do {
        decoder->next_out = out;
        decoder->avail_out = sizeof out;
        int result = inflate(decoder, Z_SYNC_FLUSH);
        size_t made = sizeof out - decoder->avail_out;
        if (text) bytes_append(text, out, made);
        if (count) *count += made;
        if (result == Z_BUF_ERROR) return true;
        if (result != Z_OK && result != Z_STREAM_END) return false;
    } while (decoder->avail_in || decoder->avail_out == 0);
    return true;
}

const struct bytes *segment_text(const uint8_t *data, size_t len) {
    static z_stream decoder;
    static bool started;
    if ((segment_count + 1) * 2 > segment_cap) segments_grow();
    uint64_t hash = segment_hash(data, len);
    struct segment *slot = segment_slot(hash, data, len);
    if (slot->hash) return &slot->text;
    if (!started) {
        inflateInit2(&decoder, -MAX_WBITS);
        started = true;
    }
    inflateReset(&decoder);
    struct bytes text = {0};
    if (!inflate_some(&decoder, data, len, &text, NULL)) {
        bytes_free(&text);
        return NULL;
    }
    slot->hash = hash;
    bytes_append(&slot->packed, data, len);
    slot->text = text;
    segment_count++;
    return &slot->text;
}
