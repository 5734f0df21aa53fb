/*
 * A load generator that asks a socketmap server as Postfix does (socketmap_table(5)).
 *
 *     socketmap-load -p PORT -c CONNECTIONS (-t SECONDS | -n REQUESTS) [-m MAP] KEYS
 *
 * The server is at 127.0.0.1. KEYS is a file with one key per line; the connections take them in turn, from the first to
 * the last and then from the first again. Each connection is kept open and has one request under way at a time. One
 * thread.
 *
 * One line of JSON goes to standard output: counts, times from a request to its whole reply, kinds of replies, and how
 * many OK replies name the key that was asked for ("own").
 *
 * Diagnostics: exit status 1 and a line on standard error for a server that cannot be reached, closes a connection,
 * breaks the protocol, or stays silent for SILENCE seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_CONNECTIONS = 1000,
    SILENCE = 120,          /* seconds */
    LARGEST_REPLY = 102400, /* bytes, the netstring's own included */
    LONGEST_KEY = 255,      /* bytes */
};

struct key { char *text, *request; size_t length; };

struct slot {
    int fd;
    const struct key *key; /* whose reply is awaited, NULL if none */
    double began;
    size_t used;
    char *in;
};

static struct key *keys;
static size_t key_count, next_key;
static size_t limit, begun, done; /* requests; limit 0: until the deadline */
static double deadline;
static float *times; /* seconds */
static size_t times_room;
static size_t ok, own, notfound, temp, other;
static struct slot slots[MAX_CONNECTIONS];

static void fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void *got(void *memory)
{
    if (memory == NULL)
        fail("out of memory");
    return memory;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void read_keys(const char *path, const char *map)
{
    FILE *file = fopen(path, "r");
    char line[LONGEST_KEY + 2];
    size_t room = 0;

    if (file == NULL)
        fail("%s: %s", path, strerror(errno));
    while (fgets(line, sizeof line, file)) {
        struct key key;

        line[strcspn(line, "\n")] = 0;
        if (key_count == room)
            keys = got(realloc(keys, (room = room * 2 + 100) * sizeof *keys));
        key.text = got(strdup(line));
        if (asprintf(&key.request, "%zu:%s %s,", strlen(map) + 1 + strlen(line), map, line) < 0)
            fail("out of memory");
        key.length = strlen(key.request);
        keys[key_count++] = key;
    }
    fclose(file);
    if (key_count == 0)
        fail("%s: no keys", path);
}

static void ask(struct slot *slot, double t)
{
    slot->key = NULL;
    if (limit ? begun >= limit : t >= deadline)
        return;
    begun++;
    slot->key = &keys[next_key];
    next_key = (next_key + 1) % key_count;
    slot->used = 0;
    slot->began = t;
    /* the socket's buffer is empty here, so that all of it fits in */
    if (send(slot->fd, slot->key->request, slot->key->length, MSG_NOSIGNAL) != (ssize_t)slot->key->length)
        fail("a request could not be sent: %s", strerror(errno));
}

static void judge(const struct slot *slot, const char *reply, size_t length)
{
    if (length >= 3 && memcmp(reply, "OK ", 3) == 0) {
        ok++;
        own += memmem(reply, length, slot->key->text, strlen(slot->key->text)) != NULL;
    } else if (length >= 9 && memcmp(reply, "NOTFOUND ", 9) == 0)
        notfound++;
    else if (length >= 5 && memcmp(reply, "TEMP ", 5) == 0)
        temp++;
    else
        other++;
}

/* Whether the reply is whole. */
static int whole(const struct slot *slot)
{
    size_t length = 0, at = 0;

    while (at < slot->used && slot->in[at] >= '0' && slot->in[at] <= '9' && at < 6)
        length = length * 10 + (slot->in[at++] - '0');
    if (at == slot->used)
        return 0;
    if (at == 0 || slot->in[at] != ':')
        fail("a reply that is no netstring: %.*s", (int)(slot->used < 60 ? slot->used : 60), slot->in);
    at++;
    if (slot->used < at + length + 1)
        return 0;
    if (slot->used > at + length + 1 || slot->in[at + length] != ',')
        fail("more than one reply to a request, or one that is no netstring");
    judge(slot, slot->in + at, length);
    return 1;
}

static void take(struct slot *slot)
{
    ssize_t count = recv(slot->fd, slot->in + slot->used, LARGEST_REPLY - slot->used, 0);
    double t;

    if (count <= 0) {
        if (count < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        fail("a connection was closed after %zu replies: %s", done, count ? strerror(errno) : "end of file");
    }
    if (slot->key == NULL)
        fail("a reply that nobody asked for");
    slot->used += count;
    if (!whole(slot))
        return;
    t = now();
    if (done == times_room)
        times = got(realloc(times, (times_room = times_room * 2 + 100000) * sizeof *times));
    times[done++] = t - slot->began;
    ask(slot, t);
}

static void open_slot(struct slot *slot, const struct sockaddr_in *address, int epoll)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = slot};
    int one = 1;

    slot->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (slot->fd < 0 || connect(slot->fd, (const struct sockaddr *)address, sizeof *address) < 0)
        fail("cannot connect to port %d: %s", ntohs(address->sin_port), strerror(errno));
    setsockopt(slot->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    slot->in = got(malloc(LARGEST_REPLY));
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, slot->fd, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static double cpu(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct epoll_event events[MAX_CONNECTIONS];
    size_t connections = 1;
    const char *map = "policy";
    double seconds = 0, start, used, end;
    int option, epoll = epoll_create1(0), waiting;

    while ((option = getopt(argc, argv, "p:c:t:n:m:")) != -1)
        switch (option) {
        case 'p': address.sin_port = htons(atoi(optarg)); break;
        case 'c': connections = strtoul(optarg, NULL, 10); break;
        case 't': seconds = atof(optarg); break;
        case 'n': limit = strtoul(optarg, NULL, 10); break;
        case 'm': map = optarg; break;
        default: fail("usage: socketmap-load -p PORT -c CONNECTIONS (-t SECONDS | -n REQUESTS) [-m MAP] KEYS");
        }
    if (optind + 1 != argc || connections < 1 || connections > MAX_CONNECTIONS || (!limit && seconds <= 0))
        fail("usage: socketmap-load -p PORT -c CONNECTIONS (-t SECONDS | -n REQUESTS) [-m MAP] KEYS");
    read_keys(argv[optind], map);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (size_t i = 0; i < connections; i++)
        open_slot(&slots[i], &address, epoll);
    used = cpu();
    start = now();
    deadline = start + seconds;
    for (size_t i = 0; i < connections; i++)
        ask(&slots[i], now());
    do {
        int count = epoll_wait(epoll, events, MAX_CONNECTIONS, SILENCE * 1000);

        if (count == 0)
            fail("no reply for %d seconds", SILENCE);
        for (int i = 0; i < count; i++)
            take(events[i].data.ptr);
        waiting = begun > done;
    } while (waiting);
    end = now();
    used = cpu() - used;
    if (done == 0)
        fail("no request was sent");
    qsort(times, done, sizeof *times, by_size);
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"cpu\": %.3f, \"ok\": %zu, \"own\": %zu, \"notfound\": %zu, "
           "\"temp\": %zu, \"other\": %zu, \"p50\": %.9f, \"p99\": %.9f, \"max\": %.9f}\n",
           done, end - start, used, ok, own, notfound, temp, other, times[done / 2], times[done * 99 / 100],
           times[done - 1]);
    return 0;
}
