/* The lower bound to compare with: an epoll server that broadcasts with one send() per subscriber and event.
 *
 *   cloop sse|ws      prints "PORT CONTROL_PORT", then serves until its stdin closes
 *
 * The response to any path is the stream. On the control port a frame is four bytes of length (big-endian) and that
 * many bytes, which are sent to every subscriber unchanged: an SSE block, or a whole WebSocket frame. Nothing is matched,
 * stored or compressed. Bytes that a socket does not accept wait in the subscriber's buffer, up to BACKLOG_MAX. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG_MAX (16u << 20)
#define REQUEST_MAX 4096
#define DESCRIPTORS_MAX 65536

struct subscriber {
    bool connected, streaming;
    uint8_t *waiting; /* the request while it arrives, then bytes that the socket did not accept */
    size_t len, cap;
    uint32_t place; /* in `streaming` */
};

static struct subscriber subscribers[DESCRIPTORS_MAX];
static int streaming[DESCRIPTORS_MAX];
static uint32_t streaming_count;
static int poller;
static bool websocket;

static void watch(int fd, uint32_t events, int how) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(poller, how, fd, &event);
}

static void drop(int fd) {
    struct subscriber *subscriber = &subscribers[fd];
    if (subscriber->streaming) {
        int last = streaming[--streaming_count];
        streaming[subscriber->place] = last;
        subscribers[last].place = subscriber->place;
    }
    free(subscriber->waiting);
    memset(subscriber, 0, sizeof *subscriber);
    close(fd);
}

static bool keep(struct subscriber *subscriber, const uint8_t *data, size_t len) {
    if (subscriber->len + len > BACKLOG_MAX) return false;
    if (subscriber->len + len > subscriber->cap) {
        size_t cap = subscriber->cap ? subscriber->cap : 1024;
        while (cap < subscriber->len + len) cap *= 2;
        subscriber->waiting = realloc(subscriber->waiting, cap);
        subscriber->cap = cap;
    }
    memcpy(subscriber->waiting + subscriber->len, data, len);
    subscriber->len += len;
    return true;
}

/* False if the subscriber is disconnected. */
static bool deliver(int fd, const uint8_t *data, size_t len) {
    struct subscriber *subscriber = &subscribers[fd];
    ssize_t sent = 0;
    if (!subscriber->len) {
        sent = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent == (ssize_t)len) return true;
        if (sent < 0) {
            if (errno != EAGAIN) return false;
            sent = 0;
        }
        watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    }
    return keep(subscriber, data + sent, len - sent);
}

static void broadcast(const uint8_t *data, size_t len) {
    for (uint32_t i = streaming_count; i-- > 0;) {
        int fd = streaming[i];
        if (!deliver(fd, data, len)) drop(fd);
    }
}

static void flush(int fd) {
    struct subscriber *subscriber = &subscribers[fd];
    ssize_t sent = send(fd, subscriber->waiting, subscriber->len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        if (errno != EAGAIN) drop(fd);
        return;
    }
    subscriber->len -= sent;
    memmove(subscriber->waiting, subscriber->waiting + sent, subscriber->len);
    if (subscriber->len) return;
    free(subscriber->waiting);
    subscriber->waiting = NULL;
    subscriber->cap = 0;
    watch(fd, EPOLLIN, EPOLL_CTL_MOD);
}

/* ---- the WebSocket handshake: base64(SHA-1(key + GUID)), RFC 6455, 4.2.2 ------------------------------------------ */

static uint32_t rotate(uint32_t value, int bits) { return value << bits | value >> (32 - bits); }

static void sha1(const uint8_t *data, size_t len, uint8_t digest[20]) {
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t padded[192] = {0};
    size_t blocks = (len + 8) / 64 + 1;
    memcpy(padded, data, len);
    padded[len] = 0x80;
    for (int i = 0; i < 8; i++) padded[blocks * 64 - 1 - i] = (uint64_t)len * 8 >> (8 * i);
    for (size_t block = 0; block < blocks; block++) {
        uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 16; i++) {
            const uint8_t *at = padded + block * 64 + i * 4;
            w[i] = (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
        }
        for (int i = 16; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 ? b ^ c ^ d : i < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
            uint32_t k = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1 : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
            uint32_t next = rotate(a, 5) + f + e + k + w[i];
            e = d;
            d = c;
            c = rotate(b, 30);
            b = a;
            a = next;
        }
        h[0] += a;
        h[1] += b;
        h[2] += c;
        h[3] += d;
        h[4] += e;
    }
    for (int i = 0; i < 20; i++) digest[i] = h[i / 4] >> (24 - 8 * (i % 4));
}

static void base64(const uint8_t *data, size_t len, char *out) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        uint32_t three = data[i] << 16 | (i + 1 < len ? data[i + 1] << 8 : 0) | (i + 2 < len ? data[i + 2] : 0);
        *out++ = letters[three >> 18];
        *out++ = letters[three >> 12 & 63];
        *out++ = i + 1 < len ? letters[three >> 6 & 63] : '=';
        *out++ = i + 2 < len ? letters[three & 63] : '=';
    }
    *out = 0;
}

static bool respond(int fd, const char *request) {
    char text[256];
    int len;
    if (websocket) {
        const char *key = strcasestr(request, "\r\nSec-WebSocket-Key:");
        if (!key) return false;
        key += 20;
        key += strspn(key, " ");
        char joined[128], accepted[32];
        uint8_t digest[20];
        int joined_len = snprintf(joined, sizeof joined, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
        sha1((uint8_t *)joined, joined_len, digest);
        base64(digest, sizeof digest, accepted);
        len = snprintf(text, sizeof text,
                       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Accept: %s\r\n\r\n",
                       accepted);
    } else {
        len = snprintf(text, sizeof text,
                       "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\r\n");
    }
    return send(fd, text, len, MSG_NOSIGNAL) == len;
}

static void receive(int fd) {
    struct subscriber *subscriber = &subscribers[fd];
    uint8_t data[REQUEST_MAX];
    ssize_t got = recv(fd, data, sizeof data, MSG_DONTWAIT);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) drop(fd);
        return;
    }
    if (subscriber->streaming) return; /* a pong, or noise */
    if (subscriber->len + got >= REQUEST_MAX || !keep(subscriber, data, got) || !keep(subscriber, (uint8_t *)"", 1)) {
        drop(fd);
        return;
    }
    subscriber->len--;
    if (!strstr((char *)subscriber->waiting, "\r\n\r\n")) return;
    if (!respond(fd, (char *)subscriber->waiting)) {
        drop(fd);
        return;
    }
    free(subscriber->waiting);
    subscriber->waiting = NULL;
    subscriber->len = subscriber->cap = 0;
    subscriber->streaming = true;
    subscriber->place = streaming_count;
    streaming[streaming_count++] = fd;
}

static int listen_on(uint16_t *port) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 65535) ||
        getsockname(fd, (struct sockaddr *)&address, &size)) {
        perror("cloop");
        exit(1);
    }
    *port = ntohs(address.sin_port);
    watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    return fd;
}

static void read_control(int fd) {
    static uint8_t frame[1 << 20];
    static size_t have;
    ssize_t got = recv(fd, frame + have, sizeof frame - have, MSG_DONTWAIT);
    if (got == 0) exit(0);
    if (got > 0) have += got;
    size_t used = 0;
    while (have - used >= 4) {
        size_t len = (size_t)frame[used] << 24 | frame[used + 1] << 16 | frame[used + 2] << 8 | frame[used + 3];
        if (len > sizeof frame - 4) exit(1);
        if (have - used - 4 < len) break;
        broadcast(frame + used + 4, len);
        used += 4 + len;
    }
    have -= used;
    memmove(frame, frame + used, have);
}

int main(int argc, char **argv) {
    struct epoll_event events[1024];
    struct rlimit limit;
    uint16_t port, control_port;
    int control = -1, one = 1;
    if (argc != 2 || (strcmp(argv[1], "sse") && strcmp(argv[1], "ws"))) {
        fprintf(stderr, "usage: cloop sse|ws\n");
        return 2;
    }
    websocket = strcmp(argv[1], "ws") == 0;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    poller = epoll_create1(0);
    int listener = listen_on(&port), control_listener = listen_on(&control_port);
    watch(0, EPOLLIN, EPOLL_CTL_ADD);
    printf("%u %u\n", port, control_port);
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(poller, events, 1024, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == 0) return 0;
            if (fd == listener) {
                int accepted;
                while ((accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (accepted >= DESCRIPTORS_MAX) {
                        close(accepted);
                        continue;
                    }
                    setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    subscribers[accepted].connected = true;
                    watch(accepted, EPOLLIN, EPOLL_CTL_ADD);
                }
            } else if (fd == control_listener) {
                control = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
                watch(control, EPOLLIN, EPOLL_CTL_ADD);
            } else if (fd == control) {
                read_control(fd);
            } else if (subscribers[fd].connected) {
                if (events[i].events & EPOLLOUT) flush(fd);
                if (subscribers[fd].connected && events[i].events & ~EPOLLOUT) receive(fd);
            }
        }
    }
}
