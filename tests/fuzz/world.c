#include "world.h"

#include "hep/packet.h"

#include "../unit/conf.h"
#include "../unit/hello.h"
#include "../unit/turn.h"
#include "base64.h"
#include "call.h"
#include "call_impl.h"
#include "record.h"

/* ---- what waits ---- */

static void wait_for(struct waits *all, const char *key, uint64_t token)
{
    if (all->count == WAITS_MAX) {
        free(all->list[0].key);
        memmove(all->list, all->list + 1, --all->count * sizeof(all->list[0]));
    }
    all->list[all->count++] = (struct wait){text_of("%s", key ? key : ""), token};
}

bool world_take(struct waits *all, unsigned which, struct wait *out)
{
    if (!all->count)
        return false;
    which %= all->count;
    *out = all->list[which];
    memmove(all->list + which, all->list + which + 1, (--all->count - which) * sizeof(*out));
    return true;
}

static void waits_clear(struct waits *all)
{
    while (all->count > 0)
        free(all->list[--all->count].key);
}

/* ---- what the engine does ---- */

/* Between the braces and behind them stands nothing that could be taken for something else. */
static void check_key(const char *key)
{
    must(strncmp(key, "kamsync:", 8) == 0 && is_graphic(key));
}

static void check_send(const json_t *frame)
{
    const char *to = json_string_value(json_object_get(frame, "to"));
    const char *sock = json_string_value(json_object_get(frame, "sock"));
    const char *base64 = json_string_value(json_object_get(frame, "msg"));
    char *address = text_of("udp:%s", to ? to : ""), *msg, *line;
    size_t n = 0;

    must(to && sock && msg_is_address(address) && msg_is_address(sock) && base64);
    msg = base64_bytes(span_of(base64), &n);
    must(msg);
    line = memchr(msg, '\n', n);
    must(line);
    if (strncmp(line + 1, "X-Kamsync: ", 11) == 0) {
        line[1 + strcspn(line + 1, "\r")] = '\0';
        must(is_printable(line + 1) && strstr(line, ";proof="));
    }
    free(msg);
    free(address);
}

static void on_payload(void *arg, struct span payload)
{
    struct world *w = arg;
    json_t *json = json_loadb(payload.p, payload.n, JSON_REJECT_DUPLICATES, NULL);
    const char *t = json_string_value(json_object_get(json, "t"));
    json_int_t n = json_integer_value(json_object_get(json, "n"));

    bool first = t && (strcmp(t, "hello") == 0 || strcmp(t, "proof") == 0);

    must(t && (first || n > 0) && payload.n <= FRAME_MAX_OUT);
    if (strcmp(t, "send") == 0)
        check_send(json);
    if (!first && w->unacked_count < WAITS_MAX)
        w->unacked[w->unacked_count++] = n;
    json_decref(json);
}

static void io_write(void *ctx, struct span bytes)
{
    struct frame_reader r = {0};

    must(((struct world *)ctx)->linked);
    must(frame_feed(&r, bytes.p, bytes.n, on_payload, ctx) == 0 && r.len == 0);
    frame_reset(&r);
}

static void keep(struct world *w, const char *key, const char *value)
{
    char **place = w->kept[w->kept_next++ % COUNT(w->kept)];
    struct record r;

    must(record_read(&r, span_of(value)) == 0);
    free(place[0]);
    free(place[1]);
    place[0] = text_of("%s", key);
    place[1] = text_of("%s", value);
}

static void io_put(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    struct world *w = ctx;

    check_key(key);
    must(ttl_ms > 0);
    keep(w, key, value);
    wait_for(&w->puts, NULL, token);
}

static void io_close(void *ctx)
{
    must(((struct world *)ctx)->linked);
}

static void io_get(void *ctx, const char *key, uint64_t token)
{
    wait_for(&((struct world *)ctx)->gets, key, token);
}

static void io_claim(void *ctx, const char *key, const char *value, int64_t ttl_ms, uint64_t token)
{
    check_key(key);
    must(ttl_ms > 0);
    if (*value == '{')
        keep(ctx, key, value); /* a transaction's first record */
    else
        must(is_printable(value));
    wait_for(&((struct world *)ctx)->claims, key, token);
}

static void io_scan(void *ctx, uint64_t cursor)
{
    struct world *w = ctx;

    (void)cursor;
    must(!w->scanning);
    w->scanning = true;
}

static void io_beat(void *ctx, int id, const char *record, int64_t ttl_ms, bool announce)
{
    struct node n;

    (void)ctx;
    (void)announce;
    must(id > 0 && ttl_ms > 0 && node_read(&n, span_of(record)) == 0 && n.id == id);
}

static void io_read_nodes(void *ctx)
{
    must(((struct world *)ctx)->stored);
}

static void io_call_write(void *ctx, const struct call_write *cw, uint64_t token)
{
    check_key(cw->key);
    must(cw->count > 0 && cw->count <= CALL_PAIRS_MAX && cw->ttl_ms > 0);
    for (size_t i = 0; i < cw->count; i++)
        must(cw->pairs[i].name.n > 0);
    wait_for(&((struct world *)ctx)->writes, cw->key, token);
}

static void io_call_get(void *ctx, const char *key, const char *other, uint64_t token)
{
    check_key(key);
    if (other)
        check_key(other);
    wait_for(&((struct world *)ctx)->readings, key, token);
}

static void io_call_keys(void *ctx, struct span call_id, uint64_t cursor, uint64_t token)
{
    (void)cursor;
    must(call_id.n > 0);
    wait_for(&((struct world *)ctx)->listings, NULL, token);
}

static void io_archive(void *ctx, const char *after, int count, uint64_t token)
{
    must(count > 0 && count <= 10000);
    wait_for(&((struct world *)ctx)->archives, after, token);
}

static void io_tell(void *ctx, int node, const char *text)
{
    json_t *json = json_loads(text, 0, NULL);

    must(((struct world *)ctx)->stored && node >= 0 && json_is_object(json));
    json_decref(json);
}

static int64_t io_wall(void *ctx)
{
    return WORLD_EPOCH + ((struct world *)ctx)->now;
}

static void io_answer(void *ctx, uint64_t client, json_t *answer)
{
    struct world *w = ctx;

    must(client < CLIENTS_MAX && w->asked[client] && ++w->answered[client] == 1);
    must(json_is_boolean(json_object_get(answer, "ok")));
    free(w->answer);
    w->answer = json_dumps(answer, JSON_COMPACT);
    must(w->answer && !strpbrk(w->answer, "\r\n"));
    json_decref(answer);
}

static void io_log(void *ctx, const struct log_entry *line)
{
    (void)ctx;
    must(is_printable(line->text) && (!line->call_id || is_printable(line->call_id)));
}

/* Whatever is shown fits its packet, or is dropped. */
static bool io_show(void *ctx, const struct sighting *s)
{
    static unsigned char packet[HEP_PACKET_MAX];
    const struct hep_agent agent = {7, "ams1", "secret"};
    size_t n = hep_packet(packet, &agent, s, 1795229237000000);

    (void)ctx;
    must(s->call_id.n && s->bytes.n && (!n || (n > s->call_id.n + s->bytes.n && n <= HEP_PACKET_MAX)));
    return n > 0;
}

/* ---- life ---- */

static struct engine_io world_io(struct world *w)
{
    return (struct engine_io){.ctx = w,
                              .link_write = io_write,
                              .link_close = io_close,
                              .put = io_put,
                              .get = io_get,
                              .claim = io_claim,
                              .scan = io_scan,
                              .beat = io_beat,
                              .read_nodes = io_read_nodes,
                              .call_write = io_call_write,
                              .call_get = io_call_get,
                              .call_keys = io_call_keys,
                              .archive = io_archive,
                              .tell = io_tell,
                              .wall = io_wall,
                              .answer = io_answer,
                              .log = io_log,
                              .show = io_show};
}

struct world *world_new(bool strict)
{
    struct world *w = calloc(1, sizeof(*w));
    struct engine_io io = world_io(w);
    struct engine_conf conf = conf_default();

    must(w);
    conf.name = "ams1";
    conf.old_secret = strict ? "fedcba9876543210" : "";
    conf.claim_strict = strict;
    conf.beat_base = 5000;
    w->now = 1000000;
    w->e = engine_new(&conf, &io, w->now);
    must(w->e);
    return w;
}

void world_ack(struct world *w, size_t but)
{
    for (size_t i = 0; i < w->unacked_count; i++) {
        char *text = text_of("{\"t\":\"ack\",\"n\":%lld}", (long long)w->unacked[i]);

        if (i != but)
            world_say(w, text);
        free(text);
    }
    w->unacked_count = 0;
}

/* All but what belongs to this engine alone. */
static void copy_plain(struct world *w, const struct world *from)
{
    struct engine *e = w->e;
    struct engine_conf conf = e->conf;
    struct engine_io io = e->io;

    *w = *from;
    w->e = e;
    *e = *from->e;
    e->conf = conf;
    e->io = io;
}

/* Takes four seconds of the world's time: after that, a node that was not heard of counts as dead. */
static struct world *make_ready(bool strict)
{
    struct world *w = world_new(strict);

    world_store(w, true);
    world_link(w, true);
    world_turn(w);
    world_hello(w, 1, "100.1");
    for (long beat = 1; beat < 5; beat++) {
        world_node(w, 2, beat, "200.1", true);
        world_node(w, 3, beat, "300.1", true);
        world_pass(w, 1000);
        world_ack(w, SIZE_MAX);
    }
    return w;
}

/* Whether the engine owns nothing but its settings' texts, and the world waits for nothing: all the rest is plain
 * values. */
static bool is_plain(const struct world *w)
{
    const struct engine *e = w->e;

    return !e->reader.len && !e->owner.record.p && !e->link.waiting && !e->link.under_way && !e->txns.count &&
           !e->strays.list && !e->early.count && !e->takeovers.count && !e->revoked && !e->calls.count &&
           !ending_count(e) && !e->questions.list && !e->failovers.list && !e->pending && !e->trace.count &&
           !w->gets.count && !w->claims.count && !w->writes.count && !w->readings.count && !w->listings.count &&
           !w->archives.count && !w->kept_next && !w->answer;
}

/* Each input gets a copy: making it ready anew takes longer than most inputs do. */
struct world *world_ready(bool strict)
{
    static struct world *ready[2];
    const struct world *from = ready[strict];
    struct world *w;

    if (!from) {
        from = ready[strict] = make_ready(strict);
        must(is_plain(from));
        frame_reset(&from->e->reader); /* its buffer, which is empty */
    }
    w = world_new(strict);
    copy_plain(w, from);
    return w;
}

void world_free(struct world *w)
{
    engine_free(w->e);
    waits_clear(&w->gets);
    waits_clear(&w->claims);
    waits_clear(&w->writes);
    waits_clear(&w->puts);
    waits_clear(&w->readings);
    waits_clear(&w->listings);
    waits_clear(&w->archives);
    for (size_t i = 0; i < COUNT(w->kept); i++) {
        free(w->kept[i][0]);
        free(w->kept[i][1]);
    }
    free(w->answer);
    free(w);
}

/* ---- time ---- */

static void check_bounds(const struct engine *e)
{
    struct engine_status s;

    engine_status(e, &s);
    must(e->owner.puts <= 2048 && e->strays.count <= 2048 && e->questions.count <= 2048);
    must(e->takeovers.active <= 64 + 1 + e->strays.count && e->takeovers.active <= e->takeovers.count);
    must(e->failovers.reading <= 64 && e->failovers.reading <= e->failovers.count);
    must(e->calls.at[CALL_WRITING] <= 1024 && e->early.bytes[0] <= 2 << 20 && e->early.bytes[1] <= 2 << 20);
    must(s.queued <= LINK_QUEUE_MAX + 16 && e->nodes.count <= NODES_MAX);
    must(e->link.under_way_bytes <= FRAME_MAX_OUT); /* one frame, or LINK_WINDOW */
}

void world_turn(struct world *w)
{
    turn_once(w->e, w->now);
    must(engine_wait(w->e, w->now) > 0);
    check_bounds(w->e);
}

static void turn(void *world)
{
    world_turn(world);
}

void world_pass(struct world *w, int64_t ms)
{
    turn_pass(w->e, &w->now, ms, turn, w);
}

/* The long steps save ticks, but none is long enough for a standstill of the host; and in the last one Kamailio, which
 * acknowledges nothing, has been silent for too long. */
void world_wait(struct world *w)
{
    world_pass(w, 200);
    for (int i = 0; i < 4; i++) {
        w->now += 700;
        world_turn(w);
    }
}

/* ---- what happens ---- */

void world_say(struct world *w, const char *text)
{
    size_t n;
    char *frame = frame_make(span_of(text), &n);

    must(frame);
    if (w->linked && engine_link_data(w->e, frame, n, w->now) < 0)
        world_link(w, false);
    free(frame);
}

void world_hello(struct world *w, unsigned node, const char *inc)
{
    char text[HELLO_MAX];

    hello_write(text, w->e->conf.secret, "tag", (int)node, inc, "192.0.2.1:5060");
    world_say(w, text);
}

void world_node(struct world *w, int id, long beat, const char *inc, bool up)
{
    turn_node(w->e, w->now, id, beat, inc, up);
}

void world_link(struct world *w, bool up)
{
    if (up == w->linked)
        return;
    w->linked = up;
    w->unacked_count = 0;
    if (up)
        engine_link_up(w->e, "tag", w->now);
    else
        engine_link_down(w->e, w->now);
}

static void fail_all(struct world *w)
{
    struct wait x;

    while (world_take(&w->puts, 0, &x)) {
        free(x.key);
        engine_put_done(w->e, x.token, PUT_FAILED, (struct span){0}, w->now);
    }
    while (world_take(&w->gets, 0, &x)) {
        free(x.key);
        engine_got(w->e, x.token, GET_FAILED, (struct span){0}, w->now);
    }
    while (world_take(&w->claims, 0, &x)) {
        free(x.key);
        engine_claimed(w->e, x.token, CLAIM_FAILED, (struct span){0}, w->now);
    }
    while (world_take(&w->writes, 0, &x)) {
        free(x.key);
        engine_call_written(w->e, x.token, CALL_FAILED, w->now);
    }
    while (world_take(&w->readings, 0, &x)) {
        free(x.key);
        engine_call_got(w->e, x.token, GET_FAILED, NULL, 0, w->now);
    }
    while (world_take(&w->listings, 0, &x)) {
        free(x.key);
        engine_call_keys(w->e, x.token, false, 0, w->now);
    }
    while (world_take(&w->archives, 0, &x)) {
        free(x.key);
        engine_archived(w->e, x.token, NULL, NULL, 0, false, w->now);
    }
}

void world_store(struct world *w, bool up)
{
    if (up == w->stored)
        return;
    if (!up) {
        fail_all(w);
        if (w->scanning) {
            w->scanning = false;
            engine_scanned(w->e, false, 0, w->now);
        }
    }
    w->stored = up;
    if (up)
        engine_store_up(w->e, w->now);
    else
        engine_store_down(w->e, w->now);
}

void world_ask(struct world *w, const char *json, unsigned client)
{
    json_t *request = json_loads(json, JSON_REJECT_DUPLICATES, NULL);

    client %= CLIENTS_MAX;
    if (json_is_object(request) && !w->asked[client]++)
        engine_ask(w->e, request, client, w->now);
    json_decref(request);
}
