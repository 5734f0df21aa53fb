/*
 * A load generator that speaks the milter protocol as Postfix does (version 6).
 *
 *     load -s SOCKET -c CLIENTS -k PER_CONNECTION (-t SECONDS | -n MESSAGES) [-f FIELD] [-w WORD]... CORPUS
 *
 * SOCKET is the path of a Unix-domain socket. CORPUS is a stream of packets just as they stand on the wire: connection
 * packets (macros, C, H), then messages (macros, M, ... E), then the next connection's. Macro packets always go out,
 * events only if the filter negotiated for them; a reply is awaited only where it negotiated one; header values carry
 * their leading blank, which is cut off for filters that did not ask for it. What needs no reply is written together.
 *
 * One line of JSON goes to standard output: counts, times, the filter's answers, and how often each WORD stood in the
 * Authentication-Results fields that it added.
 *
 * Diagnostics: exit status 1 and a line on standard error for a filter that cannot be reached, stays silent for
 * SILENCE seconds, breaks the protocol or closes connections again and again.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_CLIENTS = 256,
    MAX_WORDS = 16,
    MAX_FAULTS = 50,
    SILENCE = 120,              /* seconds */
    WRITE_AT_ONCE = 128 * 1024, /* bytes gathered before they are written */
    LARGEST_REPLY = 1 << 20,    /* bytes */
};

enum { LEADING_SPACE = 0x100000, ALL_STEPS = 0x1FFFFF, ALL_ACTIONS = 0x1FF };

/* Which negotiated bit leaves an event out, which one leaves its reply out. */
static const struct { uint8_t command; uint32_t skip, silent; } EVENTS[] = {
    {'C', 0x01, 0x1000},  {'H', 0x02, 0x2000}, {'M', 0x04, 0x4000},  {'R', 0x08, 0x8000}, {'T', 0x200, 0x10000},
    {'L', 0x20, 0x80},    {'N', 0x40, 0x40000}, {'B', 0x10, 0x80000}, {'E', 0, 0},
};

struct message {
    const uint8_t *client, *client_end; /* connection packets */
    const uint8_t *start, *end;
    size_t left; /* messages to the end of its connection's block, itself included */
};

struct bytes { uint8_t *data; size_t used, room; };

struct slot {
    int fd; /* -1: no connection */
    const struct message *message;
    const uint8_t *next, *end; /* packets that are still to be handed over */
    size_t left;               /* messages still to come on this connection */
    uint8_t waiting;           /* command whose reply is awaited, 0 if none */
    uint8_t skipping;          /* event of which the filter wants no more now */
    int in_message;
    uint32_t steps;
    struct bytes out, in;
    size_t sent;
    double opened, began;
};

static struct message *messages;
static size_t message_count, next_message;
static size_t limit;    /* messages in all, 0: until the deadline */
static size_t taken;    /* messages that connections have taken upon them */
static double deadline;
static size_t per_connection = 1;
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static double *from_mail, *from_connect; /* seconds per message */
static size_t done, done_room;
static size_t answers[256], faults, fields_added, results_added, bytes_sent;
static const char *words[MAX_WORDS];
static const char *field = "Authentication-Results"; /* in which they are looked for */
static size_t word_hits[MAX_WORDS];
static int word_count;

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static void put32(uint8_t *p, uint32_t value)
{
    value = htonl(value);
    memcpy(p, &value, 4);
}

static uint8_t *reserve(struct bytes *b, size_t more)
{
    if (b->used + more > b->room) {
        b->room = (b->used + more) * 2;
        b->data = realloc(b->data, b->room);
        if (!b->data)
            die("out of memory");
    }
    return b->data + b->used;
}

static void append(struct bytes *b, const void *data, size_t length)
{
    memcpy(reserve(b, length), data, length);
    b->used += length;
}

/* Find the messages in the corpus. */
static void read_corpus(const char *path)
{
    int fd = open(path, O_RDONLY);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) < 0 || info.st_size == 0)
        die("%s: %s", path, errno ? strerror(errno) : "empty");
    const uint8_t *data = mmap(NULL, info.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (data == MAP_FAILED)
        die("%s: %s", path, strerror(errno));
    const uint8_t *end = data + info.st_size, *client = data, *client_end = NULL, *start = NULL;
    size_t room = 0;
    for (const uint8_t *p = data; p < end; p += 4 + get32(p)) {
        if (end - p < 5 || get32(p) == 0 || get32(p) > (size_t)(end - p - 4))
            die("%s: broken packet at %zd", path, p - data);
        if (p[4] == 'D' && p[5] == 'C')
            client = p, client_end = NULL;
        if (p[4] == 'D' && p[5] == 'M') {
            start = p;
            if (!client_end)
                client_end = p;
        }
        if (p[4] != 'E')
            continue;
        if (message_count == room)
            messages = realloc(messages, (room = room * 2 + 64) * sizeof *messages);
        messages[message_count++] = (struct message){client, client_end, start, p + 4 + get32(p), 0};
    }
    for (size_t i = message_count; i-- > 0;)
        messages[i].left = i + 1 < message_count && messages[i + 1].client == messages[i].client
            ? messages[i + 1].left + 1 : 1;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void hang_up(struct slot *s)
{
    close(s->fd);
    s->fd = -1;
    s->opened = 0;
}

/* Connect for the next messages, if there are to be any, and offer all that Postfix offers. */
static void open_connection(struct slot *s)
{
    if (limit ? taken == limit : now() >= deadline)
        return;
    s->opened = now();
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("%s: %s", address.sun_path, strerror(errno));
    fcntl(s->fd, F_SETFL, O_NONBLOCK);
    s->message = &messages[next_message];
    s->left = least(s->message->left, per_connection);
    if (limit)
        s->left = least(s->left, limit - taken);
    taken += s->left;
    next_message = (next_message + s->left) % message_count;
    s->next = s->message->client;
    s->end = s->message->client_end;
    s->in.used = s->out.used = s->sent = 0;
    s->in_message = s->skipping = 0;
    s->waiting = 'O';
    uint8_t offer[17] = {0, 0, 0, 13, 'O'};
    put32(offer + 5, 6);
    put32(offer + 9, ALL_ACTIONS);
    put32(offer + 13, ALL_STEPS);
    append(&s->out, offer, sizeof offer);
}

/* Hand over the packet at s->next, or leave it out. */
static void hand_over(struct slot *s)
{
    const uint8_t *packet = s->next;
    size_t length = 4 + get32(packet);
    uint8_t command = packet[4];
    s->next += length;
    if (command == 'D') {
        append(&s->out, packet, length);
        return;
    }
    uint32_t skip = 0, silent = 0;
    for (size_t i = 0; i < sizeof EVENTS / sizeof *EVENTS; i++)
        if (EVENTS[i].command == command)
            skip = EVENTS[i].skip, silent = EVENTS[i].silent;
    if (s->skipping && s->skipping != command)
        s->skipping = 0;
    if (s->steps & skip || s->skipping)
        return;
    const uint8_t *value = command == 'L' ? packet + 5 + strlen((const char *)packet + 5) + 1 : NULL;
    if (value && *value == ' ' && !(s->steps & LEADING_SPACE)) {
        uint8_t *copy = reserve(&s->out, length);
        size_t before = value - packet;
        memcpy(copy, packet, before);
        memcpy(copy + before, value + 1, length - before - 1);
        put32(copy, length - 5);
        s->out.used += length - 1;
    } else {
        append(&s->out, packet, length);
    }
    if (!(s->steps & silent))
        s->waiting = command;
}

static void begin_message(struct slot *s)
{
    s->in_message = 1;
    s->next = s->message->start;
    s->end = s->message->end;
    s->began = now();
}

/* Write what can be written without waiting; returns -1 if the connection is broken. */
static int flush(struct slot *s)
{
    while (s->sent < s->out.used) {
        ssize_t n = send(s->fd, s->out.data + s->sent, s->out.used - s->sent, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
        s->sent += n;
        bytes_sent += n;
    }
    s->sent = s->out.used = 0;
    return 0;
}

/* Go on until a reply is needed or the socket takes no more; returns -1 if the connection is broken. */
static int advance(struct slot *s)
{
    for (;;) {
        while (!s->waiting && s->out.used < WRITE_AT_ONCE) {
            if (s->next == s->end)
                begin_message(s);
            hand_over(s);
        }
        if (flush(s) < 0)
            return -1;
        if (s->waiting || s->out.used)
            return 0;
    }
}

static void record(struct slot *s)
{
    if (done == done_room) {
        done_room = done_room * 2 + 4096;
        from_mail = realloc(from_mail, done_room * sizeof *from_mail);
        from_connect = realloc(from_connect, done_room * sizeof *from_connect);
    }
    double t = now();
    from_mail[done] = t - s->began;
    from_connect[done++] = t - s->opened;
}

/* The filter has answered for this message. */
static void finish_message(struct slot *s, uint8_t answer)
{
    record(s);
    answers[answer]++;
    if (s->waiting != 'E')
        append(&s->out, "\0\0\0\1A", 5);
    s->waiting = s->skipping = s->in_message = 0;
    if (--s->left > 0 && (limit || now() < deadline)) {
        s->message++;
        begin_message(s);
        return;
    }
    append(&s->out, "\0\0\0\1Q", 5);
    flush(s);
    hang_up(s);
    open_connection(s);
}

static void count_field(const uint8_t *name, const uint8_t *end)
{
    fields_added++;
    size_t length = strnlen((const char *)name, end - name);
    if (length + 1 >= (size_t)(end - name) || strcasecmp((const char *)name, field) != 0)
        return;
    results_added++;
    const uint8_t *value = name + length + 1;
    for (int i = 0; i < word_count; i++)
        if (memmem(value, end - value, words[i], strlen(words[i])))
            word_hits[i]++;
}

static void take_reply(struct slot *s, const uint8_t *packet, size_t length)
{
    uint8_t command = packet[0];
    if (!s->waiting)
        die("the filter sent '%c' when nothing was asked", command);
    switch (command) {
    case 'p': /* still working */
        return;
    case 'O':
        if (s->waiting != 'O' || length < 13)
            die("the filter's negotiation is broken");
        s->steps = get32(packet + 9);
        s->waiting = 0;
        return;
    case 's':
        s->skipping = s->waiting;
        s->waiting = 0;
        return;
    case 'c':
        if (s->waiting == 'E')
            finish_message(s, command);
        else
            s->waiting = 0;
        return;
    case 'a': case 'r': case 't': case 'd': case 'f': case 'y':
        if (!s->in_message)
            die("the filter answered '%c' to the connection", command);
        finish_message(s, command);
        return;
    case 'h': case 'i':
        count_field(packet + (command == 'i' ? 5 : 1), packet + length);
        /* fall through */
    case 'm': case 'q': case 'b': case 'e': case '+': case '2': case '-':
        if (s->waiting != 'E')
            die("the filter sent '%c' before the end of the message", command);
        return;
    default:
        die("the filter sent '%c'", command);
    }
}

/* Read and take replies; returns -1 if the connection is broken. */
static int receive(struct slot *s)
{
    reserve(&s->in, 16384);
    ssize_t n = recv(s->fd, s->in.data + s->in.used, s->in.room - s->in.used, 0);
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    s->in.used += n;
    size_t at = 0;
    double opened = s->opened;
    while (s->opened == opened && s->in.used - at >= 5) {
        size_t length = get32(s->in.data + at);
        if (length == 0 || length > LARGEST_REPLY)
            die("the filter sent a packet of %zu bytes", length);
        if (s->in.used - at < 4 + length)
            break;
        const uint8_t *packet = s->in.data + at + 4;
        at += 4 + length;
        take_reply(s, packet, length);
    }
    if (s->opened != opened) /* that connection is over, another may stand in this slot */
        return 0;
    memmove(s->in.data, s->in.data + at, s->in.used - at);
    s->in.used -= at;
    return 0;
}

static void fault(struct slot *s)
{
    if (++faults > MAX_FAULTS)
        die("the filter closed %zu connections", faults);
    hang_up(s);
    open_connection(s);
}

static void run(int clients)
{
    static struct slot slots[MAX_CLIENTS];
    struct pollfd polls[MAX_CLIENTS];
    for (int i = 0; i < clients; i++) {
        slots[i].fd = -1;
        open_connection(&slots[i]);
    }
    for (;;) {
        int open = 0;
        for (int i = 0; i < clients; i++) {
            struct slot *s = &slots[i];
            while (s->fd >= 0 && advance(s) < 0)
                fault(s);
            polls[i] = (struct pollfd){s->fd, POLLIN | (s->out.used && s->fd >= 0 ? POLLOUT : 0), 0};
            open += s->fd >= 0;
        }
        if (!open)
            return;
        if (poll(polls, clients, SILENCE * 1000) == 0)
            die("no answer for %d seconds", SILENCE);
        for (int i = 0; i < clients; i++)
            if (polls[i].fd >= 0 && polls[i].revents & (POLLIN | POLLHUP | POLLERR) && receive(&slots[i]) < 0)
                fault(&slots[i]);
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_times(const char *name, double *times)
{
    qsort(times, done, sizeof *times, ascending);
    printf("\"%s\": {\"p50\": %.6f, \"p99\": %.6f, \"max\": %.6f}, ", name, done ? times[done / 2] : 0,
           done ? times[done * 99 / 100] : 0, done ? times[done - 1] : 0);
}

static void print_results(double seconds)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("{\"messages\": %zu, \"seconds\": %.6f, \"cpu\": %.6f, \"bytes\": %zu, \"faults\": %zu, ", done, seconds, cpu,
           bytes_sent, faults);
    print_times("from_mail", from_mail);
    print_times("from_connect", from_connect);
    printf("\"fields\": %zu, \"results\": %zu, \"answers\": {", fields_added, results_added);
    const char *comma = "";
    for (int c = 0; c < 256; c++)
        if (answers[c]) {
            printf("%s\"%c\": %zu", comma, c, answers[c]);
            comma = ", ";
        }
    printf("}, \"words\": {");
    for (int i = 0; i < word_count; i++)
        printf("%s\"%s\": %zu", i ? ", " : "", words[i], word_hits[i]);
    printf("}}\n");
}

int main(int argc, char **argv)
{
    int clients = 1, option;
    double seconds = 0;
    while ((option = getopt(argc, argv, "s:c:k:t:n:w:f:")) != -1) {
        if (option == 's' && strlen(optarg) < sizeof address.sun_path)
            strcpy(address.sun_path, optarg);
        else if (option == 'c')
            clients = atoi(optarg);
        else if (option == 'k')
            per_connection = strtoul(optarg, NULL, 10);
        else if (option == 't')
            seconds = strtod(optarg, NULL);
        else if (option == 'n')
            limit = strtoul(optarg, NULL, 10);
        else if (option == 'w' && word_count < MAX_WORDS)
            words[word_count++] = optarg;
        else if (option == 'f')
            field = optarg;
        else
            die("bad option");
    }
    if (optind != argc - 1 || clients < 1 || clients > MAX_CLIENTS || per_connection < 1 || (!limit && seconds <= 0))
        die("usage: load -s SOCKET -c CLIENTS -k PER_CONNECTION (-t SECONDS | -n MESSAGES) [-w WORD]... CORPUS");
    read_corpus(argv[optind]);
    double begin = now();
    deadline = begin + seconds;
    run(clients);
    print_results(now() - begin);
    return 0;
}
