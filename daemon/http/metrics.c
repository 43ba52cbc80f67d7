#include "metrics.h"

#include "count.h"

#define PREFIX "kamsync_"
#define US_PER_S 1000000
#define FRACTION_DIGITS 6

/* ---- the format ---- */

static void head(struct buffer *out, const char *name, const char *type, const char *help)
{
    const char *const parts[] = {"# HELP " PREFIX, name, " ", help, "\n# TYPE " PREFIX, name, " ", type, "\n"};

    for (size_t i = 0; i < COUNT(parts); i++)
        buffer_text(out, parts[i]);
}

/* All of a metric without labels but its value and the end of the line. */
static void begin(struct buffer *out, const char *name, const char *type, const char *help)
{
    head(out, name, type, help);
    buffer_text(out, PREFIX);
    buffer_text(out, name);
    buffer_text(out, " ");
}

static void whole(struct buffer *out, const char *name, const char *type, const char *help, uint64_t value)
{
    begin(out, name, type, help);
    buffer_number(out, (int64_t)value);
    buffer_text(out, "\n");
}

static void gauge(struct buffer *out, const char *name, const char *help, uint64_t value)
{
    whole(out, name, "gauge", help, value);
}

/* µs as seconds, without the zeros at the end. */
static void put_seconds(struct buffer *out, uint64_t us)
{
    char fraction[FRACTION_DIGITS + 1];
    uint64_t rest = us % US_PER_S;
    size_t n = 0;

    buffer_number(out, (int64_t)(us / US_PER_S));
    for (int i = FRACTION_DIGITS - 1; i >= 0; i--, rest /= 10) {
        fraction[i] = (char)('0' + rest % 10);
        n = n == 0 && rest % 10 ? (size_t)i + 1 : n;
    }
    if (n)
        buffer_text(out, ".");
    buffer_put(out, fraction, n);
}

static void seconds(struct buffer *out, const char *name, const char *type, const char *help, int64_t us)
{
    begin(out, name, type, help);
    put_seconds(out, (uint64_t)us);
    buffer_text(out, "\n");
}

static void put_label(struct buffer *out, const char *name, const char *value, bool last)
{
    buffer_text(out, name);
    buffer_text(out, "=\"");
    for (; *value; value++) {
        if (*value == '\\' || *value == '"' || *value == '\n')
            buffer_text(out, "\\");
        buffer_put(out, *value == '\n' ? "n" : value, 1);
    }
    buffer_text(out, last ? "\"} 1\n" : "\",");
}

static void bucket(struct buffer *out, const char *name, int i, uint64_t count)
{
    buffer_text(out, PREFIX);
    buffer_text(out, name);
    buffer_text(out, "_bucket{le=\"");
    if (i < HISTOGRAM_BOUNDS)
        put_seconds(out, (uint64_t)histogram_bounds[i]);
    else
        buffer_text(out, "+Inf");
    buffer_text(out, "\"} ");
    buffer_number(out, (int64_t)count);
    buffer_text(out, "\n");
}

static void histogram(struct buffer *out, const char *name, const char *help, const struct histogram *h)
{
    uint64_t count = 0;

    head(out, name, "histogram", help);
    for (int i = 0; i <= HISTOGRAM_BOUNDS; i++)
        bucket(out, name, i, count += h->count[i]);
    buffer_text(out, PREFIX);
    buffer_text(out, name);
    buffer_text(out, "_sum ");
    put_seconds(out, h->sum_us);
    buffer_text(out, "\n" PREFIX);
    buffer_text(out, name);
    buffer_text(out, "_count ");
    buffer_number(out, (int64_t)count);
    buffer_text(out, "\n");
}

/* ---- what is shown ---- */

static void identity(struct buffer *out, const struct metrics *m)
{
    char id[DECIMAL_SIZE];

    decimal(id, m->status->node);
    head(out, "build_info", "gauge", "always 1: the version of kamsyncd");
    buffer_text(out, PREFIX "build_info{");
    put_label(out, "version", m->version, true);
    head(out, "node_info", "gauge", "always 1: the node's id (0: not known yet), its name, its cluster and its site");
    buffer_text(out, PREFIX "node_info{");
    put_label(out, "node", id, false);
    put_label(out, "name", m->name, false);
    put_label(out, "cluster", m->cluster, false);
    put_label(out, "site", m->site, true);
}

static void states(struct buffer *out, const struct metrics *m)
{
    gauge(out, "ready", "1 while this node should get new calls, as ready_file and /readyz say", m->ready);
    gauge(out, "drained", "1 while this node is drained", m->drained);
    gauge(out, "kamailio_connected", "1 while Kamailio is connected", m->status->link);
    gauge(out, "kamailio_up", "1 while Kamailio answers", m->status->up);
    gauge(out, "store_up", "1 while the store is connected", m->status->store);
    gauge(out, "near_up", "1 while the near replica is connected; 0 also where there is none", m->near_up);
    seconds(out, "near_lag_seconds", "gauge",
            "by how much the near replica is behind, in steps of heartbeat_ms; 0 also if that is not known",
            1000 * m->near_lag_ms);
    gauge(out, "nodes_up", "other nodes that are alive and can be reached", m->status->nodes);
}

static void amounts(struct buffer *out, const struct metrics *m)
{
    const struct engine_status *s = m->status;

    gauge(out, "calls", "calls of this node", s->calls);
    gauge(out, "calls_bytes", "memory of the texts of these calls", s->call_bytes);
    gauge(out, "transactions", "INVITE transactions of this node", s->txns);
    gauge(out, "transactions_bytes", "memory of these transactions", s->txn_bytes);
    gauge(out, "transactions_limit", "so many transactions are tracked, or 4 kB for each (txns_max)",
          (uint64_t)m->txns_max);
    gauge(out, "records_unwritten", "records of transactions and calls that wait to be written", s->dirty);
    gauge(out, "records_under_way", "records on their way to the store", s->puts);
    gauge(out, "lookups_under_way", "strays that are being looked up", s->strays);
    gauge(out, "takeovers_under_way", "orphans that are being taken over, or wait for that", s->takeovers);
    gauge(out, "queue_frames", "frames that wait for Kamailio", s->queued);
    gauge(out, "queue_bytes", "bytes of these frames", s->queued_bytes);
    gauge(out, "early_events", "events that wait for the transaction or call that they belong to", s->early);
    gauge(out, "early_bytes", "bytes of these events", s->early_bytes);
}

static void process(struct buffer *out, const struct metrics *m)
{
    seconds(out, "process_cpu_seconds_total", "counter", "CPU time that kamsyncd has used", m->cpu_us);
    gauge(out, "process_resident_memory_bytes", "memory that kamsyncd has in RAM", m->memory);
    seconds(out, "process_start_time_seconds", "gauge", "when kamsyncd started, since 1970", 1000 * m->started_ms);
    gauge(out, "http_connections", "connections to this port", m->http.connections);
    whole(out, "http_requests_total", "counter", "requests on this port that were answered", m->http.requests);
    whole(out, "http_refused_total", "counter", "those that were answered with a status from 400 on", m->http.refused);
    whole(out, "store_repeated_total", "counter",
          "commands that a Redis Cluster had sent again, since a slot moved or the like", m->repeated);
}

void metrics_write(struct buffer *out, const struct metrics *m)
{
    identity(out, m);
    states(out, m);
    amounts(out, m);
    process(out, m);
#define SHOW(name, help) histogram(out, #name "_duration_seconds", help, &m->took->name);
    HISTOGRAMS(SHOW)
#undef SHOW
    histogram(out, "store_round_trip_seconds", "from a command to Redis to its answer, of one command at a time",
              m->round_trips);
#define SHOW(name, help) whole(out, #name "_total", "counter", help, m->counters->name);
    COUNTERS(SHOW)
#undef SHOW
}
