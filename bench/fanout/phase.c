/* Checks deliveries: order, completeness, equality and latency. */
#define _GNU_SOURCE
#include "phase.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* The maximum number of recorded receipt times; longer phases are only counted and checked. */
#define TIMES_MAX (60u * 1000 * 1000)

/* After this long without a delivery the sender counts as idle. */
#define QUIET_NS (5 * 1000 * 1000)

static const char MARKER[] = "seq=";

struct receipt {
    uint32_t conn, seq;
    uint64_t at_ns;
};

static struct {
    uint32_t first, events, conns, waiting, behind, lost;
    uint64_t begun_ns, last_ns, deliveries, bytes_before;
    uint64_t gaps, repeats, mismatches, resyncs, unexpected;
    struct payload *references;
    uint64_t *sent_ns;
    uint32_t *received;
    uint32_t *times_us; /* [event][receipt]; NULL if not recorded */
    struct receipt *receipts; /* own mode: connection and event of each receipt */
    size_t receipt_count, receipt_cap;
    double cpu_before_s;
} phase;

static struct payload snapshot;

static double own_cpu_s(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static uint64_t hash_bytes(const uint8_t *data, size_t len) {
    uint64_t hash = len * 0x9e3779b97f4a7c15u, word;
    for (; len >= 8; data += 8, len -= 8) {
        memcpy(&word, data, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    for (; len; data++, len--) hash = (hash ^ *data) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

static void payload_set(struct payload *payload, const uint8_t *data, size_t len) {
    free(payload->data);
    payload->data = malloc(len);
    memcpy(payload->data, data, len);
    payload->len = len;
    payload->hash = hash_bytes(data, len);
}

void phase_begin(uint32_t first, uint32_t events, bool latencies, uint32_t connections) {
    for (uint32_t i = 0; i < conn_count; i++) conn_settle(&conns[i]);
    for (uint32_t i = 0; i < phase.events; i++) free(phase.references[i].data);
    free(phase.references);
    free(phase.sent_ns);
    free(phase.received);
    free(phase.times_us);
    free(phase.receipts);
    memset(&phase, 0, sizeof phase);
    phase.first = first;
    phase.events = events;
    phase.references = calloc(events, sizeof *phase.references);
    phase.sent_ns = calloc(events, sizeof *phase.sent_ns);
    phase.received = calloc(events, sizeof *phase.received);
    for (uint32_t i = 0; i < conn_count; i++) {
        struct conn *conn = &conns[i];
        if (conn->stage != OPEN || conn->muted) continue;
        phase.conns++;
        if (!options.own && conn->next != first) phase.behind++;
    }
    if (connections) {
        phase.conns = connections;
        phase.behind = 0;
    }
    phase.waiting = options.own ? events : phase.conns;
    if (latencies && (uint64_t)events * phase.conns <= TIMES_MAX)
        phase.times_us = malloc((size_t)events * (phase.conns ? phase.conns : 1) * sizeof *phase.times_us);
    phase.bytes_before = wire_bytes;
    phase.cpu_before_s = own_cpu_s();
    phase.begun_ns = now_ns();
}

void phase_sent(uint32_t seq, uint64_t at_ns) {
    if (seq - phase.first < phase.events) phase.sent_ns[seq - phase.first] = at_ns;
}

bool phase_is_receiving(uint64_t now) { return phase.deliveries && now - phase.last_ns < QUIET_NS; }

bool phase_is_done(void) { return phase.waiting == 0; }

void phase_lose(struct conn *conn) {
    if (conn->muted || options.own) return;
    if (conn->next < phase.first + phase.events && phase.waiting) {
        phase.waiting--;
        phase.lost++;
    }
}

const struct payload *phase_expected(const struct conn *conn) {
    uint32_t at = conn->next - phase.first;
    return !options.own && at < phase.events && phase.references[at].data ? &phase.references[at] : NULL;
}

const struct payload *phase_snapshot(void) { return snapshot.data ? &snapshot : NULL; }

static void deliver(struct conn *conn, uint32_t seq, uint64_t hash, uint64_t now) {
    uint32_t at = seq - phase.first;
    conn->digest = (conn->digest ^ hash) * 0x9e3779b97f4a7c15u + seq;
    conn->next = seq + 1;
    if (seq > conn->newest) conn->newest = seq;
    if (conn->muted) return; /* reported separately */
    phase.deliveries++;
    phase.last_ns = now;
    if (phase.times_us && phase.received[at] < phase.conns)
        phase.times_us[(size_t)at * phase.conns + phase.received[at]] = (now - phase.begun_ns) / 1000;
    phase.received[at]++;
    if (options.own) {
        if (phase.receipt_count == phase.receipt_cap) {
            phase.receipt_cap = phase.receipt_cap ? phase.receipt_cap * 2 : 1024;
            phase.receipts = realloc(phase.receipts, phase.receipt_cap * sizeof *phase.receipts);
        }
        phase.receipts[phase.receipt_count++] = (struct receipt){conn->index, seq, now};
        if (phase.waiting) phase.waiting--;
    } else if (conn->next == phase.first + phase.events && phase.waiting) {
        phase.waiting--;
    }
}

void phase_matched(struct conn *conn, const struct payload *candidate, uint64_t now) {
    if (candidate == &snapshot) {
        conn_ready(conn, now);
        return;
    }
    deliver(conn, conn->next, candidate->hash, now);
}

/* The name of an SSE block, or the type of a WebSocket message; "" if it has none. */
static void name_of(const uint8_t *data, size_t len, char *name, size_t size) {
    const uint8_t *from = NULL, *end = data + len;
    if (options.websocket) {
        from = memmem(data, len, "\"type\":", 7);
        if (from) {
            from += 7;
            while (from < end && (*from == ' ' || *from == '"')) from++;
        }
    } else if (len > 6 && memcmp(data, "event:", 6) == 0) {
        from = data + 6;
    } else {
        from = memmem(data, len, "\nevent:", 7);
        if (from) from += 7;
    }
    size_t used = 0;
    if (from) {
        while (from < end && *from == ' ') from++;
        while (from < end && *from != '\n' && *from != '\r' && *from != '"' && used + 1 < size) name[used++] = *from++;
    }
    name[used] = 0;
}

static bool next_marker(const uint8_t **at, const uint8_t *end, uint32_t *seq) {
    const uint8_t *found = memmem(*at, end - *at, MARKER, sizeof MARKER - 1);
    if (!found) return false;
    *seq = 0;
    for (found += sizeof MARKER - 1; found < end && *found >= '0' && *found <= '9'; found++)
        *seq = *seq * 10 + (*found - '0');
    *at = found;
    return true;
}

void phase_payload(struct conn *conn, const uint8_t *data, size_t len, uint64_t now) {
    char name[32];
    uint32_t seq;
    const uint8_t *at = data, *end = data + len;
    name_of(data, len, name, sizeof name);
    bool resync = strcmp(name, "resync") == 0;
    if (resync || strcmp(name, "snapshot") == 0) {
        while (next_marker(&at, end, &seq))
            if (seq > conn->newest) conn->newest = seq;
        if (resync) {
            conn->resyncs++;
            phase.resyncs++;
        } else {
            for (uint32_t i = 0; i < conn_count; i++)
                if (conns[i].candidate == &snapshot) conn_settle(&conns[i]);
            payload_set(&snapshot, data, len);
        }
    } else if (next_marker(&at, end, &seq)) {
        uint32_t place = seq - phase.first;
        if (place >= phase.events) {
            /* From another phase: only a connection that did not read for a while may still receive it. */
            if (!conn->muted) phase.unexpected++;
            if (seq > conn->newest) conn->newest = seq;
        } else {
            struct payload *reference = &phase.references[place];
            if (!reference->data) payload_set(reference, data, len);
            else if (reference->len != len || memcmp(reference->data, data, len)) phase.mismatches++;
            if (!options.own && !conn->muted) {
                if (seq > conn->next) phase.gaps++;
                if (seq < conn->next) phase.repeats++;
            }
            if (options.own || seq >= conn->next) deliver(conn, seq, hash_bytes(data, len), now);
        }
    }
    if (!conn->ready && options.ready[0] && memmem(data, len, options.ready, strlen(options.ready)))
        conn_ready(conn, now);
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Milliseconds between sending and receipt `share` of the way through the sorted receipts. */
static double at_share(const uint32_t *times_us, uint32_t count, double share, int64_t sent_us) {
    uint32_t rank = (uint32_t)(share * count);
    return (times_us[rank < count ? rank : count - 1] - sent_us) / 1e3;
}

static int by_double(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, uint32_t count) {
    qsort(values, count, sizeof *values, by_double);
    return count ? (values[(count - 1) / 2] + values[count / 2]) / 2 : 0;
}

static void report_latencies(void) {
    double *p50 = calloc(phase.events, sizeof(double)), *p99 = calloc(phase.events, sizeof(double)),
           *last = calloc(phase.events, sizeof(double));
    uint32_t used = 0;
    size_t pooled = 0;
    for (uint32_t i = 0; i < phase.events; i++) {
        uint32_t count = phase.received[i] < phase.conns ? phase.received[i] : phase.conns;
        if (!count || !phase.sent_ns[i]) continue;
        uint32_t *times = phase.times_us + (size_t)i * phase.conns;
        int64_t sent_us = ((int64_t)phase.sent_ns[i] - (int64_t)phase.begun_ns) / 1000;
        qsort(times, count, sizeof *times, by_value);
        p50[used] = at_share(times, count, 0.50, sent_us);
        p99[used] = at_share(times, count, 0.99, sent_us);
        last[used] = at_share(times, count, 1.00, sent_us);
        used++;
        /* Then all together, as differences, at the front of the same array. */
        for (uint32_t j = 0; j < count; j++) {
            int64_t took = times[j] - sent_us;
            phase.times_us[pooled++] = took > 0 ? (uint32_t)took : 0;
        }
    }
    if (used) {
        qsort(phase.times_us, pooled, sizeof *phase.times_us, by_value);
        printf(",\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"last_ms\":%.3f", median(p50, used), median(p99, used),
               median(last, used));
        printf(",\"pooled_p50_ms\":%.3f,\"pooled_p99_ms\":%.3f", at_share(phase.times_us, pooled, 0.50, 0),
               at_share(phase.times_us, pooled, 0.99, 0));
    }
    free(p50);
    free(p99);
    free(last);
}

void phase_report(bool complete) {
    uint64_t digest = 0, first_sent_ns = 0, last_sent_ns = 0;
    uint32_t counted = 0, differing = 0, short_of = 0;
    bool undecoded = false;
    for (uint32_t i = 0; i < phase.events; i++) {
        if (phase.sent_ns[i] && (!first_sent_ns || phase.sent_ns[i] < first_sent_ns)) first_sent_ns = phase.sent_ns[i];
        if (phase.sent_ns[i] > last_sent_ns) last_sent_ns = phase.sent_ns[i];
    }
    for (uint32_t i = 0; i < conn_count; i++) {
        struct conn *conn = &conns[i];
        if (conn->stage != OPEN || conn->muted) continue;
        if (conn->next != phase.first + phase.events) short_of++;
        if (counted++ == 0) digest = conn->digest;
        else if (conn->digest != digest) differing++;
        if (conn->decoder && conn->decoded_bytes != conn->segment_bytes) undecoded = true;
    }
    double seconds = first_sent_ns ? ((double)phase.last_ns - (double)first_sent_ns) / 1e9 : 0;
    printf("{\"complete\":%s,\"events\":%u,\"connections\":%u,\"deliveries\":%lu,\"seconds\":%.6f,"
           "\"after_last_sent_s\":%.6f,\"deliveries_per_s\":%.0f",
           complete ? "true" : "false", phase.events, phase.conns, phase.deliveries, seconds,
           last_sent_ns ? ((double)phase.last_ns - (double)last_sent_ns) / 1e9 : 0,
           seconds > 0 ? phase.deliveries / seconds : 0);
    printf(",\"bytes\":%lu,\"client_cpu_s\":%.6f,\"digest\":\"%016lx\",\"differing\":%u,\"gaps\":%lu,\"repeats\":%lu,"
           "\"mismatches\":%lu,\"unexpected\":%lu,\"resyncs\":%lu,\"lost\":%u,\"behind\":%u,\"short\":%u,\"undecoded\":%s",
           wire_bytes - phase.bytes_before, own_cpu_s() - phase.cpu_before_s, digest, options.own ? 0 : differing,
           phase.gaps, phase.repeats, phase.mismatches, phase.unexpected, phase.resyncs, phase.lost, phase.behind,
           options.own ? 0 : short_of, undecoded ? "true" : "false");
    if (phase.times_us) report_latencies();
    if (options.own) {
        printf(",\"receipts\":[");
        for (size_t i = 0; i < phase.receipt_count; i++)
            printf("%s[%u,%u,%lu]", i ? "," : "", phase.receipts[i].conn, phase.receipts[i].seq, phase.receipts[i].at_ns);
        printf("]");
    }
    printf("}\n");
    fflush(stdout);
    free(phase.times_us);
    phase.times_us = NULL;
}

void phase_muted_report(void) {
    uint32_t muted = 0, disconnected = 0, resynced = 0, newest = 0, current = 0;
    for (uint32_t i = 0; i < conn_count; i++)
        if (conns[i].newest > newest) newest = conns[i].newest;
    for (uint32_t i = 0; i < conn_count; i++) {
        if (!conns[i].muted) continue;
        muted++;
        if (conns[i].stage != OPEN) disconnected++;
        else if (conns[i].newest == newest) current++;
        if (conns[i].resyncs) resynced++;
    }
    printf("{\"muted\":%u,\"disconnected\":%u,\"resynced\":%u,\"current\":%u,\"stale\":%u}\n", muted, disconnected, resynced,
           current, muted - disconnected - current);
    fflush(stdout);
}
