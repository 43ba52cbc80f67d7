/* Each number stands under its own name, in Prometheus' format. */
#include "helper.h"
#include "http/metrics.h"

TestSuite(metrics, .fini = no_leaks);

static const struct engine_status status = {.node = 7,
                                            .link = true,
                                            .txns = 101,
                                            .dirty = 102,
                                            .puts = 103,
                                            .calls = 104,
                                            .takeovers = 105,
                                            .strays = 106,
                                            .nodes = 107,
                                            .queued = 108,
                                            .queued_bytes = 109,
                                            .txn_bytes = 110,
                                            .call_bytes = 111,
                                            .early = 112,
                                            .early_bytes = 113};

static const char *const lines[] = {"build_info{version=\"1.2\"} 1",
                                    "node_info{node=\"7\",name=\"a\\\"\\\\\\nb\",cluster=\"c\",site=\"s\"} 1",
                                    "ready 0",
                                    "drained 1",
                                    "kamailio_connected 1",
                                    "kamailio_up 0",
                                    "store_up 0",
                                    "near_up 1",
                                    "near_lag_seconds 1.5",
                                    "store_repeated_total 119",
                                    "nodes_up 107",
                                    "calls 104",
                                    "calls_bytes 111",
                                    "transactions 101",
                                    "transactions_bytes 110",
                                    "transactions_limit 114",
                                    "records_unwritten 102",
                                    "records_under_way 103",
                                    "lookups_under_way 106",
                                    "takeovers_under_way 105",
                                    "queue_frames 108",
                                    "queue_bytes 109",
                                    "early_events 112",
                                    "early_bytes 113",
                                    "process_cpu_seconds_total 3.00007",
                                    "process_resident_memory_bytes 115",
                                    "process_start_time_seconds 1800000000.25",
                                    "http_connections 116",
                                    "http_requests_total 117",
                                    "http_refused_total 118",
                                    "hangs_total 119",
                                    "nodes_changed_total 120",
                                    "handover_duration_seconds_bucket{le=\"0.0001\"} 0",
                                    "handover_duration_seconds_bucket{le=\"0.025\"} 1",
                                    "handover_duration_seconds_bucket{le=\"10\"} 1",
                                    "handover_duration_seconds_bucket{le=\"+Inf\"} 2",
                                    "handover_duration_seconds_sum 11.02",
                                    "handover_duration_seconds_count 2",
                                    "takeover_duration_seconds_bucket{le=\"1\"} 1",
                                    "takeover_duration_seconds_sum 1",
                                    "store_round_trip_seconds_bucket{le=\"0.0001\"} 1",
                                    "store_round_trip_seconds_sum 0.00001"};

Test(metrics, each_number_under_its_name)
{
    struct counters counters = {.hangs = 119, .nodes_changed = 120};
    struct histograms took = {0};
    struct histogram round_trips = {0};
    struct metrics m = {.version = "1.2", .name = "a\"\\\nb", .cluster = "c", .site = "s", .status = &status};
    struct buffer out = {0};

    m.counters = &counters, m.took = &took, m.round_trips = &round_trips;
    m.near_up = true, m.near_lag_ms = 1500, m.repeated = 119;
    m.drained = true, m.txns_max = 114, m.memory = 115, m.cpu_us = 3000070, m.started_ms = 1800000000250;
    m.http = (struct http_figures){.connections = 116, .requests = 117, .refused = 118};
    histogram_add(&took.handover, 20000);
    histogram_add(&took.handover, 11000000);
    histogram_add(&took.takeover, 1000000);
    histogram_add(&round_trips, 10);
    metrics_write(&out, &m);
    for (size_t i = 0; i < COUNT(lines); i++)
        cr_expect(strstr(out.p, scratch("\nkamsync_%s\n", lines[i])), "%s", lines[i]);
    free(out.p);
}
