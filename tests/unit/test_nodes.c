/* The node table: who lives, and what it takes to be dead. Time to live is 3,000 ms, a beat comes each 1,000 ms. */
#include "helper.h"
#include "nodes.h"

TestSuite(nodes, .fini = no_leaks);

#define TTL 3000

static struct node node_at(int id, int64_t beat)
{
    struct node n = {.id = id, .beat = beat, .up = true, .name = "n", .sip = "192.0.2.1:5060", .inc = "100.1"};

    snprintf(n.sip, sizeof(n.sip), "192.0.2.%d:5060", id & 255);
    return n;
}

static bool see(struct nodes *all, int id, int64_t beat, int64_t now)
{
    struct node n = node_at(id, beat);

    return nodes_see(all, &n, now) != NULL;
}

static struct nodes *table(void)
{
    static struct nodes all;

    all = (struct nodes){0};
    return &all;
}

/* All are probed. */
static void ask(struct nodes *all, int64_t now)
{
    for (size_t i = 0; i < all->count; i++)
        node_ask(&all->list[i], now, 500);
}

/* The next node that is lost, when nobody answers probes either. */
static const struct node *lose(struct nodes *all, int64_t now, int64_t ttl_ms)
{
    ask(all, now);
    while (nodes_miss(all, now, -1))
        ;
    return nodes_lose(all, now, ttl_ms);
}

Test(nodes, record_round_trip)
{
    struct node n = node_at(7, 1LL << 60), back;
    char *text;

    snprintf(n.name, sizeof(n.name), "Ams \"1\" \\ \xc3\xa4");
    text = node_record(&n, "secret");
    cr_assert(node_read(&back, scratch_exact(span_of(text))) == 0);
    cr_expect(back.id == 7 && back.beat == 1LL << 60 && back.up && !back.lost);
    cr_expect(node_is_proven(&back, "secret") && !node_is_proven(&back, "another") && !node_is_proven(&n, "secret"));
    cr_expect_str_eq(back.name, n.name);
    cr_expect_str_eq(back.sip, n.sip);
    cr_expect_str_eq(back.inc, n.inc);
    free(text);
    n.up = false;
    text = node_record(&n, "secret");
    cr_expect(node_read(&back, span_of(text)) == 0 && !back.up);
    for (size_t k = 0; k < strlen(text); k++)
        cr_expect(node_read(&back, scratch_exact((struct span){text, k})) == -EBADMSG, "%zu bytes", k);
    free(text);
}

/* Each field is part of it. */
Test(nodes, proof_is_of_all_that_a_record_says)
{
    struct node n = node_at(7, 5), changed[9];
    char *text;

    strcpy(n.site, "east");
    text = node_record(&n, "secret");
    cr_assert(node_read(&n, span_of(text)) == 0 && node_is_proven(&n, "secret"));
    cr_expect_str_eq(n.site, "east");
    free(text);
    for (size_t i = 0; i < COUNT(changed); i++)
        changed[i] = n;
    changed[0].id = 8;
    changed[1].beat = 6;
    changed[2].up = false;
    changed[3].name[0] ^= 1;
    changed[4].sip[0] ^= 1;
    changed[5].inc[0] ^= 1;
    changed[6].proof[PROOF_LEN - 1] ^= 1;
    changed[7].site[0] ^= 1;
    strcpy(changed[8].name, "east n"); /* the same text */
    *changed[8].site = '\0';
    for (size_t i = 0; i < COUNT(changed); i++)
        cr_expect(!node_is_proven(&changed[i], "secret"), "%zu", i);
}

/* A version without sites wrote this, and proves what this one writes without a site. */
Test(nodes, record_of_an_older_version_is_proven)
{
    struct node n;
    char *proof = proof_make(span_of("node"), span_of("7 192.0.2.7:5060 100.1 5 1 1 n"), "secret");
    char *text = scratch("{\"id\":7,\"name\":\"n\",\"sip\":\"192.0.2.7:5060\",\"inc\":\"100.1\",\"beat\":5,\"up\":true,"
                         "\"v\":1,\"proof\":\"%s\"}",
                         proof),
         *same;

    cr_assert(node_read(&n, span_of(text)) == 0);
    cr_expect(node_is_proven(&n, "secret") && !*n.site);
    same = node_record(&n, "secret");
    cr_expect_str_eq(same, text);
    free(same);
    free(proof);
}

#define RECORD(id, sip, inc, beat, up)                                                                                 \
    "{\"id\":" id ",\"name\":\"n\",\"sip\":" sip ",\"inc\":" inc ",\"beat\":" beat ",\"up\":" up "}"

Test(nodes, what_is_no_record_is_refused)
{
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "null",
        RECORD("0", "\"192.0.2.1:5060\"", "\"i\"", "1", "true"),
        RECORD("-1", "\"192.0.2.1:5060\"", "\"i\"", "1", "true"),
        RECORD("\"1\"", "\"192.0.2.1:5060\"", "\"i\"", "1", "true"),
        RECORD("1", "5", "\"i\"", "1", "true"),
        RECORD("1", "\"192.0.2.1:5060\"", "null", "1", "true"),
        RECORD("1", "\"192.0.2.1:5060\"", "\"i\"", "1.5", "true"),
        RECORD("1", "\"192.0.2.1:5060\"", "\"i\"", "1", "1"),
        RECORD("1", "\"192.0.2.1:5060\\u0000\"", "\"i\"", "1", "true"),
        RECORD("1", "\"192.0.2.1:5060\\r\\nX: y\"", "\"i\"", "1", "true"),
        RECORD("1", "\"192.0.2.1:5060\"", "\"i;why=owner\"", "1", "true"),
        RECORD("1", "\"192.0.2.1:5060\"", "\"i\",\"name\":\"\\u001b[2J\"", "1", "true"),
        RECORD("1", "\"192.0.2.1:5060\"", "\"i\",\"site\":\"a b\"", "1", "true"),
        RECORD("1", "\"192.0.2.1:5060\"", "\"i\",\"site\":5", "1", "true"),
        RECORD("1", "\"192.0.2.1:5060\"", "\"i\",\"site\":\"123456789012345678901234567890123\"", "1", "true"),
    };
    struct node n;

    for (size_t i = 0; i < COUNT(bad); i++)
        cr_expect(node_read(&n, scratch_exact(span_of(bad[i]))) == -EBADMSG, "'%s'", bad[i]);
    cr_expect(node_read(&n, span_of(scratch(RECORD("1", "\"%0100d\"", "\"i\"", "1", "true"), 1))) == -EBADMSG);
}

Test(nodes, first_sight_is_news_and_a_beat_is_none)
{
    struct nodes *all = table();

    cr_expect(see(all, 2, 10, 0));
    cr_expect(!see(all, 2, 11, 1000));
    cr_expect(!see(all, 2, 12, 2000));
    cr_expect(all->count == 1 && nodes_find(all, 2)->seen_ms == 2000);
    cr_expect(see(all, 3, 1, 2000));
    cr_expect_null(nodes_find(all, 4));
}

Test(nodes, lives_its_whole_time_and_not_longer)
{
    struct nodes *all = table();

    see(all, 2, 10, 0);
    cr_expect_null(lose(all, TTL, TTL));
    cr_expect(lose(all, TTL + 1, TTL) == nodes_find(all, 2));
    cr_expect(nodes_find(all, 2)->lost);
    cr_expect_null(lose(all, TTL + 2, TTL), "lost only once");
}

Test(nodes, one_late_beat_is_no_death)
{
    struct nodes *all = table();

    see(all, 2, 10, 0);
    see(all, 2, 11, 1000);
    cr_expect_null(lose(all, 3900, TTL));
    cr_expect(!see(all, 2, 13, 3950));
    cr_expect_null(lose(all, 6950, TTL));
}

/* The same record read again and again, since Redis keeps it, is no sign of life. */
Test(nodes, a_counter_that_stands_still_is_no_life)
{
    struct nodes *all = table();

    see(all, 2, 10, 0);
    for (int64_t now = 500; now <= TTL; now += 500)
        cr_expect(!see(all, 2, 10, now));
    cr_expect_not_null(lose(all, TTL + 1, TTL));
}

Test(nodes, stale_record_does_not_revive_the_dead)
{
    struct nodes *all = table();

    see(all, 2, 10, 0);
    cr_assert_not_null(lose(all, TTL + 1, TTL));
    cr_expect(!see(all, 2, 10, TTL + 2));
    cr_expect(nodes_find(all, 2)->lost);
    cr_expect_null(lose(all, 2 * TTL + 9, TTL), "no second death either");
}

Test(nodes, comes_back_with_its_next_beat)
{
    struct nodes *all = table();

    see(all, 2, 10, 0);
    cr_assert_not_null(lose(all, TTL + 1, TTL));
    cr_expect(see(all, 2, 11, TTL + 500), "that is news");
    cr_expect(!nodes_find(all, 2)->lost);
    cr_expect_null(lose(all, 2 * TTL + 500, TTL));
}

/* Its counter starts from its clock. Lower numbers are old news while it lives, a new start once it was lost. */
Test(nodes, clock_set_back)
{
    struct nodes *all = table();

    see(all, 2, 1000, 0);
    cr_expect(!see(all, 2, 400, 1000));
    cr_expect(nodes_find(all, 2)->beat == 1000 && nodes_find(all, 2)->seen_ms == 0);
    cr_assert_not_null(lose(all, TTL + 1, TTL));
    cr_expect(see(all, 2, 402, TTL + 2));
    cr_expect(nodes_find(all, 2)->beat == 402 && !nodes_find(all, 2)->lost);
}

Test(nodes, older_record_changes_nothing)
{
    struct nodes *all = table();
    struct node old = node_at(2, 9);

    see(all, 2, 10, 0);
    old.up = false;
    cr_expect_null(nodes_see(all, &old, 100));
    cr_expect(nodes_find(all, 2)->up);
}

Test(nodes, what_is_news_of_a_living_node)
{
    struct nodes *all = table();
    struct node n = node_at(2, 11);

    see(all, 2, 10, 0);
    snprintf(n.inc, sizeof(n.inc), "200.2");
    cr_expect_not_null(nodes_see(all, &n, 1), "restarted");
    n.beat++;
    cr_expect_null(nodes_see(all, &n, 2));
    n.beat++;
    n.up = false;
    cr_expect_not_null(nodes_see(all, &n, 3), "its Kamailio is away");
    n.beat++;
    n.up = true;
    cr_expect_not_null(nodes_see(all, &n, 4), "and back");
    n.beat++;
    snprintf(n.sip, sizeof(n.sip), "192.0.2.99:5060");
    cr_expect_not_null(nodes_see(all, &n, 5), "moved");
    n.beat++;
    snprintf(n.name, sizeof(n.name), "other");
    cr_expect_null(nodes_see(all, &n, 6), "a name is only for people");
}

Test(nodes, alive_means_up_and_of_that_incarnation)
{
    struct node n = node_at(2, 1);

    cr_expect(node_is_alive(&n, "100.1"));
    cr_expect(!node_is_alive(&n, "100.2"));
    cr_expect(!node_is_alive(NULL, "100.1"));
    n.up = false;
    cr_expect(!node_is_alive(&n, "100.1"));
    n.up = n.lost = true;
    cr_expect(!node_is_alive(&n, "100.1"));
}

Test(nodes, grace_gives_all_a_full_time)
{
    struct nodes *all = table();

    see(all, 2, 1, 0);
    see(all, 3, 1, 0);
    nodes_grace(all, 100000);
    cr_expect_null(lose(all, 100000 + TTL, TTL));
    cr_expect_not_null(lose(all, 100001 + TTL, TTL));
    cr_expect_not_null(lose(all, 100001 + TTL, TTL));
    cr_expect_null(lose(all, 100001 + TTL, TTL));
}

Test(nodes, table_is_bounded)
{
    struct nodes *all = table();

    for (int id = 1; id <= NODES_MAX; id++)
        cr_expect(see(all, id, 1, 0));
    cr_expect(!see(all, NODES_MAX + 1, 1, 0));
    cr_expect(all->count == NODES_MAX && !nodes_find(all, NODES_MAX + 1));
    cr_expect(!see(all, NODES_MAX, 2, 5));
    cr_expect(nodes_find(all, NODES_MAX)->seen_ms == 5, "the known ones still beat");
}

Test(nodes, who_is_lost_leaves_when_its_record_has_ended)
{
    struct nodes *all = table();

    see(all, 2, 1, 0);
    see(all, 3, 1, 0);
    ask(all, 500);
    nodes_miss(all, 3000, 1400);
    nodes_miss(all, 3000, 1400);
    nodes_lose(all, 4000, TTL);
    see(all, 2, 1, 9000); /* its record is there, as it was */
    cr_expect(nodes_leave(all, 9000, TTL) == 0, "node 3 is not lost yet");
    cr_expect_not_null(nodes_lose(all, 9000, TTL));
    cr_expect(nodes_leave(all, 9000, TTL) == 3 && !nodes_find(all, 3) && nodes_find(all, 2));
    cr_expect(nodes_leave(all, 9000 + TTL, TTL) == 0);
    nodes_grace(all, 20000);
    cr_expect(nodes_leave(all, 20000 + TTL, TTL) == 0, "nothing could be read");
    cr_expect(nodes_leave(all, 20001 + TTL, TTL) == 2 && all->count == 0);
}

Test(nodes, who_has_no_room_may_live)
{
    struct nodes *all = table();

    for (int id = 1; id <= NODES_MAX; id++)
        see(all, id, 1, 0);
    cr_expect(!nodes_overflow(all, 0, TTL));
    see(all, NODES_MAX + 1, 1, 5);
    cr_expect(nodes_overflow(all, 5 + TTL, TTL) && !nodes_overflow(all, 6 + TTL, TTL));
}

Test(nodes, who_answers_is_not_lost)
{
    struct nodes *all = table();

    see(all, 2, 1, 0);
    cr_expect_null(nodes_hear(all, 2, 9000), "no news");
    cr_expect_null(nodes_lose(all, 10000, TTL));
    cr_expect(nodes_hide(all, 10000, TTL) == nodes_find(all, 2));
    cr_expect_null(nodes_hide(all, 10000, TTL), "once");
    cr_expect(see(all, 2, 2, 10000) && !nodes_find(all, 2)->unseen, "its beat is news");
    cr_expect_null(nodes_hear(all, 77, 10000), "never heard of");
}

Test(nodes, who_answers_nothing_is_out_of_reach_and_may_come_back)
{
    struct nodes *all = table();

    see(all, 2, 1, 0);
    ask(all, 500);
    cr_expect_null(nodes_miss(all, 1400, 1400));
    cr_expect(nodes_miss(all, 1401, 1400) == nodes_find(all, 2) && !nodes_find(all, 2)->reached);
    cr_expect_null(nodes_miss(all, 5000, 1400), "once");
    cr_expect(!see(all, 2, 2, 2000) && !nodes_find(all, 2)->reached, "a beat says nothing of the way to it");
    cr_expect(nodes_hear(all, 2, 2100) == nodes_find(all, 2) && nodes_find(all, 2)->reached);
    ask(all, 2500);
    nodes_grace_probes(all, 60000);
    cr_expect_null(nodes_miss(all, 61400, 1400));
}

Test(nodes, who_was_not_asked_owes_no_answer)
{
    struct nodes *all = table();
    struct node *n = &all->list[0];

    see(all, 2, 1, 0);
    cr_expect(node_is_doubtful(n, 0, 1500), "never asked");
    ask(all, 100);
    cr_expect(node_is_doubtful(n, 600, 1500), "no answer yet");
    nodes_hear(all, 2, 700);
    cr_expect(!node_is_doubtful(n, 700, 1500));
    cr_expect_null(nodes_miss(all, 9000, 1400), "it has answered all");
    cr_expect(node_is_doubtful(n, 1501, 1500), "its beat is late");
    ask(all, 9000);
    cr_expect_null(nodes_miss(all, 9900, 1400), "its silence counts from half a second before the probe");
    ask(all, 9900);
    cr_expect(nodes_miss(all, 9901, 1400) == n, "and a further probe gives it no more time");
    ask(all, 9950);
    nodes_grace_probes(all, 10000);
    cr_expect(node_is_doubtful(n, 10000, INT64_MAX), "it is out of reach");
}

Test(nodes, answer_that_is_told_with_the_next_probe_is_not_owed_before)
{
    struct nodes *all = table();
    struct node *n = &all->list[0];

    see(all, 2, 1, 0);
    ask(all, 500);
    cr_expect_null(nodes_answered(all, 2, false));
    nodes_hear(all, 2, 501);
    ask(all, 1000);
    cr_expect_null(nodes_answered(all, 2, true));
    cr_expect(n->heard_ms == 501 && !node_is_doubtful(n, 1000, 1500));
    cr_expect_null(nodes_miss(all, 9000, 1400), "this node itself may have stood still");
    ask(all, 9000);
    cr_expect_null(nodes_answered(all, 2, true), "no news");
    cr_expect(n->heard_ms == 8000, "as if it had been asked, and had answered, all the time");
    cr_expect_null(nodes_answered(all, 77, true), "never heard of");
}

/* A probe that is lost is no reason to take the node for silent since the one before, however long ago that was. */
Test(nodes, who_is_asked_rarely_may_miss_a_probe)
{
    struct nodes *all = table();
    struct node *n = &all->list[0];

    see(all, 2, 1, 0);
    ask(all, 500);
    nodes_hear(all, 2, 501);
    ask(all, 2500);
    nodes_answered(all, 2, true);
    ask(all, 4500);
    cr_expect_null(nodes_answered(all, 2, false), "that of 2,500 was lost");
    cr_expect(node_is_doubtful(n, 4500, 1500), "so it is asked more often");
    cr_expect_null(nodes_miss(all, 4900, 1400));
    cr_expect(nodes_miss(all, 5000, 1400) == n, "as late after the second probe as who is asked each 500 ms");
}

/* As late as if each answer were told at once. */
Test(nodes, who_answers_no_more_is_out_of_reach_in_time)
{
    struct nodes *all = table();
    struct node *n = &all->list[0];

    see(all, 2, 1, 0);
    for (int64_t now = 500; now <= 2000; now += 500) {
        ask(all, now);
        nodes_answered(all, 2, now > 500);
        if (now == 500)
            nodes_hear(all, 2, now + 1);
    }
    ask(all, 2500); /* the probe at 2,000 has had no answer */
    cr_expect_null(nodes_answered(all, 2, false));
    cr_expect(n->heard_ms == 1500 && node_is_doubtful(n, 2500, 1500));
    cr_expect_null(nodes_miss(all, 2900, 1400));
    cr_expect(nodes_miss(all, 3000, 1400) == n);
    ask(all, 3000);
    cr_expect(nodes_answered(all, 2, true) == n && n->reached, "it is back");
}

Test(nodes, whose_kamailio_is_away_is_not_asked_and_out_of_reach)
{
    struct nodes *all = table();
    struct node down = node_at(2, 1);

    down.up = false;
    nodes_see(all, &down, 0);
    cr_expect(!node_is_probed(&all->list[0]));
    cr_expect_null(nodes_miss(all, 1400, 1400));
    cr_expect(nodes_miss(all, 1401, 1400) == &all->list[0]);
}
