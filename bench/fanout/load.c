/* Thousands of subscribers in one thread, driven by lines on stdin; replies are lines of JSON on stdout.
 *
 *   set KEY VALUE       host port mode(sse|ws) path hello ready header(added) compress own window sources
 *                       `%d` in path and hello becomes the connection's number; `ready` is the text that a payload
 *                       must contain before the connection counts as ready (none: the response header)
 *   expect SEQ          the sequence number that connections opened from now on receive first
 *   mute N              the first N connections stop reading once they are ready
 *   open N TIMEOUT_MS   replies when all are ready
 *   begin FIRST N TIMES CONNECTIONS
 *                       a phase: events FIRST … FIRST+N-1 will be sent, to the connections that are open now or to
 *                       CONNECTIONS that will be; TIMES 0: record no times
 *   sent SEQ NS         when it was sent, on CLOCK_MONOTONIC; any time before the reply to `await`
 *   await TIMEOUT_MS [LINGER_MS]   replies when every connection has every event and LINGER_MS have passed
 *   unmute / muted      muted connections resume reading / their final state
 *   close, quit
 *
 * Exit status 2: invalid commands.
 *
 * load.c    the event loop and the commands on stdin
 * stream.c  bytes of one connection -> payloads: HTTP, chunks, gzip, WebSocket frames, SSE blocks
 * segment.c a compressed segment -> its text
 * phase.c   payloads -> deliveries: order, completeness, equality, times
 * conn.c    one connection: its state, opening and closing
 *
 * Each includes only files below it. A payload is an SSE block up to and including its empty line, or the text of a
 * WebSocket message. The first connection that receives an event keeps its bytes as the reference; every other
 * connection is compared with it byte by byte, which is stricter than a checksum and cheap enough for millions of
 * deliveries per second. */
#define _GNU_SOURCE
#include "conn.h"
#include "phase.h"
#include "segment.h"
#include "stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SPIN_US 20
#define SPIN_NS (SPIN_US * 1000)

static uint8_t buffer[1 << 18];
static uint32_t first_expected, started;
static uint64_t open_began_ns, deadline_ns, linger_ns;
static enum { NOTHING, OPENING, AWAITING, LINGERING } doing;

static void send_request(struct conn *conn) {
    char path[sizeof options.path + 16], request[sizeof options.path + sizeof options.headers + 1024];
    conn_fill(path, sizeof path, options.path, conn->index);
    int len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s:%d\r\n%s%s%s\r\n", path, options.host,
                       options.port,
                       options.websocket ? "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                                         : "Accept: text/event-stream\r\nCache-Control: no-cache\r\n",
                       !options.compress ? ""
                       : options.websocket
                           ? "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
                             "client_no_context_takeover\r\n"
                           : "Accept-Encoding: gzip\r\n",
                       options.headers);
    conn->stage = HANDSHAKE;
    conn_watch(conn, EPOLLIN, EPOLL_CTL_MOD);
    conn_send(conn, request, len);
}

static void conn_start(struct conn *conn) {
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(options.port)};
    int one = 1;
    inet_pton(AF_INET, options.host, &to.sin_addr);
    from.sin_addr.s_addr = htonl((127u << 24) + 2 + conn->index % options.sources);
    stream_reset(conn);
    conn->ready = conn->muted = false;
    conn->next = first_expected;
    conn->newest = conn->resyncs = 0;
    conn->digest = 0;
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0) {
        perror("load: socket");
        exit(1);
    }
    setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(conn->fd, (struct sockaddr *)&from, sizeof from)) {
        perror("load: bind to a loopback address");
        exit(1);
    }
    conn->stage = CONNECTING;
    if (!conn->began_ns) conn->began_ns = now_ns();
    counts.in_flight++;
    int result = connect(conn->fd, (struct sockaddr *)&to, sizeof to);
    conn_watch(conn, EPOLLOUT, EPOLL_CTL_ADD);
    if (result == 0) send_request(conn);
    else if (errno != EINPROGRESS) conn_close(conn, now_ns());
}

static void conn_event(struct conn *conn, uint32_t events) {
    if (conn->stage == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) conn_close(conn, now_ns());
        else send_request(conn);
        return;
    }
    if (conn->stage != HANDSHAKE && conn->stage != OPEN) return;
    if (conn->muted && !(events & EPOLLIN)) {
        if (events & (EPOLLHUP | EPOLLERR)) conn_close(conn, now_ns());
        return;
    }
    ssize_t got = recv(conn->fd, buffer, sizeof buffer, 0);
    uint64_t now = now_ns();
    if (got > 0) stream_receive(conn, buffer, got, now);
    else if (got == 0 || (errno != EAGAIN && errno != EINTR)) conn_close(conn, now);
}

/* ---- commands ----------------------------------------------------------------------------------------------------- */

static int by_time(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void report_open(bool complete) {
    uint64_t *ready = calloc(conn_count + 1, sizeof *ready), last_handshake = open_began_ns;
    uint32_t count = 0;
    for (uint32_t i = 0; i < conn_count; i++) {
        if (conns[i].handshake_ns > last_handshake) last_handshake = conns[i].handshake_ns;
        if (conns[i].ready) ready[count++] = conns[i].ready_ns - open_began_ns;
    }
    qsort(ready, count, sizeof *ready, by_time);
    printf("{\"complete\":%s,\"ready\":%u,\"failed\":%u,\"refusals\":%u,\"refused_again\":%u,\"handshakes_s\":%.6f,"
           "\"seconds\":%.6f,\"ready_p50_s\":%.6f,\"ready_p99_s\":%.6f,\"bytes\":%lu}\n",
           complete ? "true" : "false", count, counts.failed, counts.refusals, counts.refused_again,
           (last_handshake - open_began_ns) / 1e9, count ? ready[count - 1] / 1e9 : 0,
           count ? ready[count / 2] / 1e9 : 0, count ? ready[count * 99 / 100] / 1e9 : 0, wire_bytes);
    fflush(stdout);
    free(ready);
}

static void command_open(uint32_t count, uint64_t timeout_ms) {
    for (uint32_t i = 0; i < conn_count; i++)
        if (conns[i].stage != UNUSED && conns[i].stage != CLOSED) {
            fprintf(stderr, "load: close first\n");
            exit(2);
        }
    for (uint32_t i = 0; i < conn_count; i++) stream_reset(&conns[i]);
    free(conns);
    conns = calloc(count, sizeof *conns);
    conn_count = count;
    for (uint32_t i = 0; i < count; i++) conns[i].index = i;
    started = 0;
    counts = (struct counts){0};
    wire_bytes = 0;
    open_began_ns = now_ns();
    deadline_ns = open_began_ns + timeout_ms * 1000000;
    doing = OPENING;
}

static void command_close(void) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < conn_count; i++) {
        struct conn *conn = &conns[i];
        if (conn->stage == CONNECTING || conn->stage == HANDSHAKE || conn->stage == OPEN) {
            close(conn->fd);
            count++;
        }
        stream_reset(conn);
        conn->stage = CLOSED;
    }
    printf("{\"closed\":%u,\"closed_by_server\":%u}\n", count, counts.closed_by_server);
    fflush(stdout);
}

static void command_set(char *rest) {
    char *value = strchr(rest, ' ');
    if (value) *value++ = 0;
    else value = rest + strlen(rest);
    if (strcmp(rest, "host") == 0) snprintf(options.host, sizeof options.host, "%s", value);
    else if (strcmp(rest, "port") == 0) options.port = atoi(value);
    else if (strcmp(rest, "mode") == 0) options.websocket = strcmp(value, "ws") == 0;
    else if (strcmp(rest, "path") == 0) snprintf(options.path, sizeof options.path, "%s", value);
    else if (strcmp(rest, "hello") == 0) snprintf(options.hello, sizeof options.hello, "%s", value);
    else if (strcmp(rest, "ready") == 0) snprintf(options.ready, sizeof options.ready, "%s", value);
    else if (strcmp(rest, "compress") == 0) options.compress = atoi(value);
    else if (strcmp(rest, "own") == 0) options.own = atoi(value);
    else if (strcmp(rest, "window") == 0) options.window = atoi(value);
    else if (strcmp(rest, "sources") == 0) options.sources = atoi(value);
    else if (strcmp(rest, "header") == 0) {
        size_t used = strlen(options.headers);
        snprintf(options.headers + used, sizeof options.headers - used, "%s\r\n", value);
    } else {
        fprintf(stderr, "load: unknown option: %s\n", rest);
        exit(2);
    }
}

static void command(char *line) {
    unsigned long a = 0, b = 0, c = 1, d = 0;
    char *rest = strchr(line, ' ');
    if (rest) *rest++ = 0;
    else rest = line + strlen(line);
    sscanf(rest, "%lu %lu %lu %lu", &a, &b, &c, &d);
    if (strcmp(line, "set") == 0) command_set(rest);
    else if (strcmp(line, "expect") == 0) first_expected = a;
    else if (strcmp(line, "mute") == 0) options.muted = a;
    else if (strcmp(line, "open") == 0) command_open(a, b);
    else if (strcmp(line, "begin") == 0) {
        segments_forget();
        phase_begin(a, b, c, d);
        printf("{\"begun\":%lu}\n", a);
        fflush(stdout);
    } else if (strcmp(line, "sent") == 0) phase_sent(a, b);
    else if (strcmp(line, "await") == 0) {
        deadline_ns = now_ns() + a * 1000000;
        linger_ns = b * 1000000;
        doing = AWAITING;
    } else if (strcmp(line, "unmute") == 0) {
        for (uint32_t i = 0; i < conn_count; i++)
            if (conns[i].muted && conns[i].stage == OPEN) conn_watch(&conns[i], EPOLLIN, EPOLL_CTL_MOD);
    } else if (strcmp(line, "muted") == 0) phase_muted_report();
    else if (strcmp(line, "close") == 0) command_close();
    else if (strcmp(line, "quit") == 0) exit(0);
    else {
        fprintf(stderr, "load: unknown command: %s\n", line);
        exit(2);
    }
}

/* The driver sends nothing after a command that waits until it has the reply; other commands may arrive together. */
static void read_commands(void) {
    static struct bytes input;
    uint8_t chunk[65536];
    ssize_t got = read(0, chunk, sizeof chunk);
    if (got <= 0) exit(0);
    bytes_append(&input, chunk, got);
    size_t used = 0;
    uint8_t *end;
    while ((end = memchr(input.data + used, '\n', input.len - used))) {
        *end = 0;
        command((char *)input.data + used);
        used = end + 1 - input.data;
        if (used == input.len) break;
    }
    bytes_consume(&input, used);
}

static void open_on(uint64_t now) {
    while (started < conn_count && counts.in_flight < options.window) conn_start(&conns[started++]);
    if (counts.waiting_to_retry) {
        for (uint32_t i = 0; i < conn_count && counts.in_flight < options.window; i++)
            if (conns[i].stage == REFUSED && conns[i].retry_ns <= now) {
                counts.waiting_to_retry--;
                conn_start(&conns[i]);
            }
    }
    bool complete = started == conn_count && !counts.in_flight && !counts.waiting_to_retry;
    if (complete || now > deadline_ns) {
        doing = NOTHING;
        report_open(complete && !counts.failed);
    }
}

static void await_on(uint64_t now) {
    if (doing == AWAITING && phase_is_done() && linger_ns) {
        doing = LINGERING;
        deadline_ns = now + linger_ns;
    } else if ((doing == AWAITING && phase_is_done()) || now > deadline_ns) {
        doing = NOTHING;
        phase_report(phase_is_done());
    }
}

/* How long epoll may sleep, in milliseconds. While events arrive the client does not sleep but polls every SPIN_NS: waking
 * a sleeping reader costs the sender an interrupt to the other core, several microseconds in a virtual machine, which a
 * sender to a network does not pay; and a reader that polls constantly competes with the sender for locks. Before the first
 * delivery the client sleeps, so that the database has the core. */
static int sleep_ms(int count) {
    if (doing == OPENING) return 10;
    if (phase_is_done() || !phase_is_receiving(now_ns())) return doing == NOTHING ? -1 : 10;
    if (count < 64)
        for (uint64_t until = now_ns() + SPIN_NS; now_ns() < until;) __builtin_ia32_pause();
    return 0;
}

int main(void) {
    conn_lost = phase_lose;
    struct epoll_event events[1024], input = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    poller = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &input);
    for (int count = 0;;) {
        count = epoll_wait(poller, events, 1024, sleep_ms(count));
        bool commanded = false;
        for (int i = 0; i < count; i++) {
            if (events[i].data.u32 == UINT32_MAX) commanded = true;
            else if (events[i].data.u32 < conn_count) conn_event(&conns[events[i].data.u32], events[i].events);
        }
        /* After the connections: a command may replace them, and the events above refer to the old ones. */
        if (commanded) read_commands();
        if (doing == OPENING) open_on(now_ns());
        else if (doing != NOTHING) await_on(now_ns());
    }
}
