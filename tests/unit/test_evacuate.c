/* Evacuation: a node that lives gives its transactions to the others, and its tm forgets each one that they have. */
#include "cluster.h"
#include "fake.h"
#include "key.h"
#include "own_impl.h"

TestSuite(evacuate, .fini = no_leaks, .timeout = 60);

/* ---- a cluster ---- */

static struct cluster *with_calls(size_t nodes, int calls)
{
    struct cluster *c = cluster_new(nodes);

    for (int i = 0; i < calls; i++)
        cluster_call(c, 0, i);
    cluster_run(c, 2000);
    return c;
}

static const char *evacuate(struct cluster *c, size_t node, bool on)
{
    return engine_evacuate(c->site[node].e, on, c->now);
}

static int owner_of(struct cluster *c, int call)
{
    json_t *record = cluster_record(c, call);
    int owner = (int)json_integer_value(json_object_get(record, "owner"));

    cr_expect(!json_object_get(record, "given") && !json_object_get(record, "taking"), "call %d", call);
    json_decref(record);
    return owner;
}

/* One node holds it, and the record says which. */
static size_t holder_of(struct cluster *c, int call)
{
    size_t who = 99, n = cluster_holders(c, call, &who);

    cr_assert(n == 1 && owner_of(c, call) == (int)who + 1, "call %d: %zu holders, node %zu, its record says %d", call,
              n, who + 1, owner_of(c, call));
    return who;
}

static uint64_t given(const struct cluster *c, size_t node)
{
    return engine_counters(c->site[node].e)->txns_given;
}

Test(evacuate, each_call_goes_to_another_node_and_rings_once)
{
    struct cluster *c = with_calls(3, 300);
    size_t at[3] = {0};

    cr_assert_null(evacuate(c, 0, true));
    cluster_run(c, 2000);
    for (int i = 0; i < 300; i++) {
        at[holder_of(c, i)]++;
        cr_expect(c->injected[i] == 1 && c->lost[i] == 1, "call %d", i);
    }
    cr_expect(at[0] == 0 && at[1] > 100 && at[2] > 100, "%zu, %zu, %zu", at[0], at[1], at[2]);
    cr_expect(given(c, 0) == 300 && engine_counters(c->site[0].e)->txns_lost == 0);
    cluster_kill(c, 0);
    cluster_run(c, 6000);
    for (int i = 0; i < 300; i++)
        cr_expect(c->injected[i] == 1 && holder_of(c, i) != 0, "nobody takes it for an orphan");
    cluster_free(c);
}

Test(evacuate, goes_to_its_own_site_while_a_node_of_that_lives)
{
    struct cluster *c = with_calls(3, 100);

    for (size_t i = 0; i < 3; i++)
        cluster_site(c, i, i == 1 ? "west" : "east");
    cluster_run(c, 3000);
    cr_assert_null(evacuate(c, 0, true));
    cluster_run(c, 2000);
    for (int i = 0; i < 100; i++)
        cr_expect(holder_of(c, i) == 2, "call %d", i);
    cr_assert_null(evacuate(c, 0, false));
    cluster_kill(c, 0);
    cluster_run(c, 100);
    cr_assert_null(evacuate(c, 2, true));
    cluster_run(c, 2000);
    for (int i = 0; i < 100; i++)
        cr_expect(holder_of(c, i) == 1, "call %d: there is no other node of its site", i);
    cluster_free(c);
}

Test(evacuate, what_begins_meanwhile_goes_too_and_stays_after_the_end)
{
    struct cluster *c = with_calls(2, 0);

    cr_assert_null(evacuate(c, 0, true));
    cluster_call(c, 0, 1);
    cluster_run(c, 1000);
    cr_expect(holder_of(c, 1) == 1);
    cr_assert_null(evacuate(c, 0, false));
    cluster_call(c, 0, 2);
    cluster_run(c, 1000);
    cr_expect(holder_of(c, 2) == 0 && holder_of(c, 1) == 1);
    cluster_free(c);
}

/* Nothing was given, nothing has changed. */
Test(evacuate, without_another_node_it_is_refused)
{
    struct cluster *c = with_calls(2, 3);

    cluster_kill(c, 1);
    cluster_run(c, 1000);
    cr_assert_not_null(evacuate(c, 0, true));
    cr_expect(strstr(evacuate(c, 0, true), "no other node of this version"));
    cluster_restart(c, 1);
    cluster_run(c, 3000);
    for (int i = 0; i < 3; i++)
        cr_expect(holder_of(c, i) == 0 && c->injected[i] == 0);
    cluster_free(c);
}

Test(evacuate, stopped_in_the_middle_each_call_is_held_by_one)
{
    struct cluster *c = with_calls(3, 300);
    size_t stayed = 0, lost;

    cr_assert_null(evacuate(c, 0, true));
    cluster_run(c, 15);
    cr_assert_null(evacuate(c, 0, false));
    cluster_run(c, 20000);
    for (int i = 0; i < 300; i++)
        stayed += holder_of(c, i) == 0;
    lost = engine_counters(c->site[0].e)->txns_lost; /* taken before it could take them back */
    cr_expect(stayed > 100 && lost + given(c, 0) > 0 && stayed + lost + given(c, 0) == 300, "%zu stayed", stayed);
    cluster_free(c);
}

/* Its Kamailio takes none: the owner still has each of them. */
Test(evacuate, what_nobody_can_take_stays)
{
    struct cluster *c = with_calls(2, 10);

    c->site[1].refuse = true;
    cr_assert_null(evacuate(c, 0, true));
    cluster_run(c, 20000);
    cr_assert_null(evacuate(c, 0, false));
    cluster_run(c, 20000);
    for (int i = 0; i < 10; i++)
        cr_expect(holder_of(c, i) == 0 && c->injected[i] == 0 && c->lost[i] == 0);
    c->site[1].refuse = false;
    cr_assert_null(evacuate(c, 0, true));
    cluster_run(c, 5000);
    for (int i = 0; i < 10; i++)
        cr_expect(holder_of(c, i) == 1);
    cluster_free(c);
}

Test(evacuate, a_node_that_dies_with_what_it_was_given_leaves_it_to_the_owner_or_the_third)
{
    struct cluster *c = with_calls(3, 100);

    c->site[1].silent = true;
    cr_assert_null(evacuate(c, 0, true));
    cluster_run(c, 400);
    cluster_kill(c, 1);
    cluster_run(c, 20000);
    for (int i = 0; i < 100; i++)
        cr_expect(holder_of(c, i) == 2 && c->injected[i] == 1, "call %d", i);
    cluster_free(c);
}

Test(evacuate, the_owner_dies_in_the_middle)
{
    struct cluster *c = with_calls(3, 300);

    cr_assert_null(evacuate(c, 0, true));
    cluster_run(c, 30);
    cluster_kill(c, 0);
    cluster_run(c, 6000);
    for (int i = 0; i < 300; i++)
        cr_expect(holder_of(c, i) != 0 && c->injected[i] == 1, "call %d", i);
    cluster_free(c);
}

/* Its Kamailio still has what was given, and does not know that others have it by now. */
Test(evacuate, the_owners_kamsyncd_dies_in_the_middle_and_learns_what_has_become_of_it)
{
    struct cluster *c = with_calls(3, 200);
    size_t both = 0, stayed = 0;

    cr_assert_null(evacuate(c, 0, true));
    cluster_run(c, 10);
    cluster_crash(c, 0);
    cluster_run(c, 3000);
    for (int i = 0; i < 200; i++)
        both += cluster_holders(c, i, NULL) == 2;
    cr_assert(both > 0);
    cluster_mend(c, 0);
    cluster_join(c, 0);
    cluster_run(c, 10000);
    for (int i = 0; i < 200; i++)
        stayed += holder_of(c, i) == 0;
    cr_expect(stayed > 0 && stayed + both <= 200, "%zu stayed, %zu had gone", stayed, both);
    cluster_free(c);
}

/* The record of a call that is over has no INVITE any more. */
Test(evacuate, the_owners_kamsyncd_comes_back_when_what_it_gave_is_over)
{
    struct cluster *c = with_calls(3, 200);
    size_t both = 0;

    cr_assert_null(evacuate(c, 0, true));
    cluster_run(c, 10);
    cluster_crash(c, 0);
    cluster_run(c, 3000);
    for (int i = 0; i < 200; i++)
        if (cluster_holders(c, i, NULL) == 2) {
            both++;
            cluster_answer(c, i);
        }
    cr_assert(both > 0);
    cluster_run(c, 3000);
    cluster_mend(c, 0);
    cluster_join(c, 0);
    cluster_run(c, 10000);
    for (int i = 0; i < 200; i++)
        cr_expect(!c->ended[i] || cluster_holders(c, i, NULL) == 0, "call %d", i);
    cluster_free(c);
}

Test(evacuate, calls_cancelled_and_answered_on_the_way_end_once)
{
    struct cluster *c = with_calls(3, 300);
    size_t numbers[100];

    cr_assert_null(evacuate(c, 0, true));
    for (int i = 0; i < 100; i++) {
        numbers[i] = cluster_cancel(c, (size_t)i % 3, 3 * i);
        cluster_answer(c, 3 * i + 1);
        cluster_run(c, 3);
    }
    cluster_run(c, 5000);
    for (int i = 0; i < 100; i++) {
        /* twice: by the old owner's tm and the new one's, both of which have it for some ms */
        cr_expect(c->delivered[numbers[i]] >= 1 && c->delivered[numbers[i]] <= 2 && c->refused[numbers[i]] == 0,
                  "CANCEL of call %d: %u, %u", 3 * i, c->delivered[numbers[i]], c->refused[numbers[i]]);
        cr_expect(c->delivered[numbers[i]] == 1 || c->amid[numbers[i]]);
        cr_expect(c->ended[3 * i] && c->ended[3 * i + 1] && holder_of(c, 3 * i + 2) != 0);
    }
    cluster_free(c);
}

/* An upgrade, one node after the other: node 2 is newer. */
Test(evacuate, a_newer_node_takes_from_an_older_one_and_not_the_other_way)
{
    struct cluster *c = with_calls(2, 20);

    cluster_crash(c, 1);
    c->site[1].e->self.version = NODE_VERSION + 1;
    cluster_mend(c, 1);
    cluster_join(c, 1);
    cluster_run(c, 3000);
    cr_assert_null(evacuate(c, 0, true));
    cluster_run(c, 1000);
    for (int i = 0; i < 20; i++)
        cr_expect(holder_of(c, i) == 1 && c->injected[i] == 1);
    cr_assert_null(evacuate(c, 0, false));
    cr_assert_not_null(evacuate(c, 1, true));
    cluster_run(c, 1000);
    for (int i = 0; i < 20; i++)
        cr_expect(holder_of(c, i) == 1);
    cr_expect(c->delivered[cluster_cancel(c, 0, 1)] == 0);
    cluster_run(c, 1000);
    cr_expect(c->delivered[0] == 1, "strays find it, whatever the versions are");
    cluster_free(c);
}

/* ---- one node ---- */

static bool record_says(const struct fake *f, size_t n, const char *text)
{
    return strstr(f->puts[n].value, text) != NULL;
}

#define OWN(epoch) "{\"epoch\":" epoch ",\"owner\":1,\"inc\":\"100.1\""

/* It owns call 1, which has long been written, and gives it: the store has that. */
static struct fake *giving(struct leg *c)
{
    struct fake *f = fake_served();

    *c = call_make(1);
    f->mute_nodes = true;
    fake_branch(f, 1, c, "0", true);
    fake_reply(f, 2, c, "0", 180);
    fake_pass(f, 100);
    fake_forget(f);
    f->answer_puts = false;
    cr_assert_null(engine_evacuate(f->e, true, f->now));
    fake_turn(f);
    cr_assert(f->put_count == 1 && record_says(f, 0, OWN("1") ",\"given\":true"), "%s", f->puts[0].value);
    cr_expect(f->tell_count == 0, "the store may not have it yet");
    fake_put_done(f, 1, true);
    fake_turn(f);
    return f;
}

static bool is_offer(const struct fake *f, size_t n, const struct leg *c, int node)
{
    json_t *m = n < f->tell_count ? fake_tell(f, n) : NULL;
    const char *key = json_string_value(json_object_get(m, "key"));

    return key && strstr(key, c->call_id) && f->tells[n].node == node &&
           strcmp(json_string_value(json_object_get(m, "t")), "given") == 0;
}

Test(evacuate, an_offer_that_nobody_takes_goes_to_the_next_node)
{
    struct leg c;
    struct fake *f = giving(&c);

    cr_expect(f->tell_count == 1 && is_offer(f, 0, &c, 2));
    fake_pass(f, 249);
    cr_expect(f->put_count == 1);
    fake_pass(f, 1);
    cr_expect(f->put_count == 2 && record_says(f, 1, OWN("1") ",\"given\":true"),
              "the same epoch: it goes over no other");
    fake_put_done(f, 1, true);
    fake_turn(f);
    cr_expect(f->tell_count == 2 && is_offer(f, 1, &c, 3));
    cr_expect(fake_status(f).txns == 1 && fake_count(f, "lost") == 0);
    fake_free(f);
}

Test(evacuate, tm_forgets_it_when_another_node_has_it_and_not_before)
{
    struct leg c;
    struct fake *f = giving(&c);

    fake_pass(f, 250);
    fake_put_fenced(f, fake_epoch(fake_orphan(&c, 2, "200.1"), 2, true)); /* node 2 is at it */
    fake_turn(f);
    cr_expect(fake_status(f).txns == 1 && fake_count(f, "lost") == 0);
    fake_pass(f, 200);
    fake_put_fenced(f, fake_epoch(fake_orphan(&c, 2, "200.1"), 2, false));
    fake_turn(f);
    cr_expect(fake_status(f).txns == 0 && fake_count(f, "lost") == 1 && fake_sent_count(f, "why=lost") == 1);
    cr_expect(fake_counters(f)->txns_given == 1 && fake_counters(f)->txns_lost == 0);
    fake_free(f);
}

/* Its message is a hint: the store is asked, and knows. */
Test(evacuate, word_that_it_is_taken_is_looked_after_at_once)
{
    struct leg c;
    struct fake *f = giving(&c);

    fake_message(f, scratch("{\"t\":\"taken\",\"node\":2,\"call_id\":\"%s\",\"from_tag\":\"a1\",\"tx\":\"%s\"}",
                            c.call_id, f->puts[0].key));
    fake_turn(f);
    cr_expect(f->put_count == 2 && fake_count(f, "lost") == 0);
    fake_put_fenced(f, fake_epoch(fake_orphan(&c, 2, "200.1"), 2, false));
    fake_turn(f);
    cr_expect(fake_count(f, "lost") == 1);
    fake_free(f);
}

static void expect_taken_back(struct fake *f)
{
    fake_turn(f);
    cr_assert(f->put_count == 2);
    cr_expect(record_says(f, 1, OWN("2")) && !record_says(f, 1, "\"given\""), "%.99s", f->puts[1].value);
    f->answer_puts = true;
    fake_put_done(f, 1, true);
    fake_turn(f);
    cr_expect(fake_count(f, "lost") == 0);
    fake_free(f);
}

Test(evacuate, whatever_happens_to_it_takes_it_back)
{
    static const int codes[] = {183, 200, 486};
    struct leg c;
    struct fake *f;

    for (size_t i = 0; i < 3; i++) {
        f = giving(&c);
        fake_reply(f, 3, &c, "0", codes[i]);
        expect_taken_back(f);
    }
    f = giving(&c);
    fake_cancel(f, &c);
    expect_taken_back(f);
}

Test(evacuate, its_end_takes_back_what_is_given)
{
    struct leg c;
    struct fake *f = giving(&c);

    cr_assert_null(engine_evacuate(f->e, false, f->now));
    expect_taken_back(f);
}

/* An INVITE that left from this node's own address. */
static void from_own_address(struct fake *f, const struct leg *c)
{
    char *text = branch_text(sip_sent_on(c, "0"), sip_request(c, "INVITE"), "");
    char *sock = strstr(text, "\"sock\":\"udp:192.0.2.10:");

    memcpy(sock, "\"sock\": \"udp:192.0.2.1:", strlen("\"sock\": \"udp:192.0.2.1:"));
    fake_say(f, "{\"t\":\"events\",\"n\":3}%s", text);
}

/* From a caller on a connection. */
static void over_connections(struct fake *f, const struct leg *c)
{
    char *text = branch_text(sip_sent_on(c, "0"), sip_request(c, "INVITE"), "");

    memcpy(strstr(text, "udp:198"), "tcp", 3);
    fake_say(f, "{\"t\":\"events\",\"n\":4}%s", text);
}

Test(evacuate, what_cannot_be_moved_stays_and_the_reason_is_shown)
{
    struct leg c = call_make(1), other = call_make(2), bound = call_make(3), connected = call_make(4);
    struct fake *f = fake_served();
    struct evacuation_sum sum;

    fake_branch(f, 1, &c, "0", true);
    fake_branch(f, 2, &other, "0", true);
    from_own_address(f, &bound);
    over_connections(f, &connected);
    fake_pass(f, 100);
    fake_cancel(f, &c);
    fake_turn(f);
    cr_assert_null(engine_evacuate(f->e, true, f->now));
    fake_turn(f);
    sum = evacuate_sum(f->e, f->now);
    cr_expect(sum.given == 1 && sum.left[STAY_CANCELLED] == 1 && sum.left[STAY_ADDRESS] == 1 &&
              sum.left[STAY_CONNECTION] == 1);
    for (int i = 0; i < STAY_REASONS; i++)
        cr_expect(*evacuate_reason((enum stay)i) &&
                  (i == STAY_CANCELLED || i == STAY_ADDRESS || i == STAY_CONNECTION || !sum.left[i]));
    fake_free(f);
}

/* The rows of its table, from the line end before the first one on. */
static char *page_rows(void)
{
    static char text[64 << 10];
    FILE *file = fopen(DOCS_DIR "/ownership.md", "r");
    char *rows, *end;

    cr_assert_not_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    rows = strstr(text, "\n| why |\n|---|\n");
    cr_assert_not_null(rows, "docs/ownership.md has no such table");
    rows += strlen("\n| why |\n|---|");
    end = strstr(rows, "\n\n");
    cr_assert_not_null(end);
    end[1] = '\0';
    return rows;
}

Test(evacuate, page_has_each_reason_and_no_other)
{
    char *rows = page_rows();
    int count = 0;

    for (const char *p = rows + 1; (p = strchr(p, '\n')) != NULL; p++)
        count++;
    cr_expect(count == STAY_REASONS, "%d rows", count);
    for (int i = 0; i < STAY_REASONS; i++)
        cr_expect(strstr(rows, scratch("\n| %s |\n", evacuate_reason((enum stay)i))), "%s",
                  evacuate_reason((enum stay)i));
}

Test(evacuate, without_takeover_it_is_refused)
{
    struct fake *f = fake_served();

    f->conf.takeover = false;
    engine_configure(f->e, &f->conf, f->now);
    cr_expect(strstr(engine_evacuate(f->e, true, f->now), "takeover = 0"));
    fake_free(f);
}

/* ---- the node that gets it ---- */

/* The record is given away by node 2, its owner, which lives. */
static char *given_away(const struct leg *c)
{
    char *record = fake_epoch(fake_orphan(c, 2, "200.1"), 4, true);

    memcpy(strstr(record, "\"taking\""), "\"given\" ", 8);
    return record;
}

static void offer(struct fake *f, const struct leg *c, const char *record)
{
    char *key = key_tx(span_of(c->call_id), c->cseq, span_of(c->branch), span_of(c->sent_by));

    f->found = record;
    f->mute_nodes = true;
    f->answer_puts = false;
    fake_message(f, scratch("{\"t\":\"given\",\"key\":\"%s\"}", key));
    fake_turn(f);
    free(key);
}

static struct fake *offered(struct leg *c)
{
    struct fake *f = fake_served();

    *c = call_make(1);
    offer(f, c, given_away(c));
    cr_assert(f->put_count == 1 && f->asked == 0, "its owner lives, and need not be asked for");
    cr_expect(record_says(f, 0, OWN("5") ",\"from\":\"4 2 200.1\",\"taking\":true"), "%.99s", f->puts[0].value);
    return f;
}

Test(evacuate, what_a_living_node_gives_is_taken_over)
{
    struct leg c;
    struct fake *f = offered(&c);

    fake_put_done(f, 1, true);
    fake_turn(f);
    cr_assert(fake_sent_count(f, "why=takeover") == 1);
    fake_taken(f, 1, 1);
    fake_turn(f);
    cr_expect(fake_status(f).txns == 1 && fake_counters(f)->takeovers_done == 1);
    fake_free(f);
}

Test(evacuate, what_cannot_be_taken_goes_back_to_its_owner)
{
    struct leg c;
    struct fake *f = offered(&c);

    fake_put_done(f, 1, true);
    fake_turn(f);
    f->found = fake_epoch(fake_orphan(&c, 1, "100.1"), 5, true);
    fake_taken(f, 1, 0);
    fake_turn(f);
    cr_assert(f->put_count == 2);
    cr_expect(strstr(f->puts[1].value, "{\"epoch\":6,\"owner\":2,\"inc\":\"200.1\",\"from\":\"5 1 100.1\",\"state\"") ==
                  f->puts[1].value,
              "%.99s", f->puts[1].value);
    fake_free(f);
}

Test(evacuate, a_living_node_that_has_it_back_keeps_it)
{
    struct leg c;
    struct fake *f = offered(&c);

    fake_put_fenced(f, fake_epoch(fake_orphan(&c, 2, "200.1"), 5, false));
    fake_turn(f);
    cr_expect(fake_status(f).takeovers == 0 && fake_sent_count(f, "why=takeover") == 0);
    fake_free(f);
}

Test(evacuate, a_node_that_is_to_be_empty_takes_nothing_that_is_given)
{
    struct leg c = call_make(1);
    struct fake *f = fake_served();

    cr_assert_null(engine_evacuate(f->e, true, f->now));
    offer(f, &c, given_away(&c));
    cr_expect(f->put_count == 0 && f->get_count == 0);
    fake_free(f);
}

Test(evacuate, what_was_not_given_is_not_taken)
{
    struct leg c = call_make(1);
    struct fake *f = fake_served();

    offer(f, &c, fake_epoch(fake_orphan(&c, 2, "200.1"), 4, false));
    cr_expect(f->put_count == 0 && f->get_count == 1);
    fake_free(f);
}

Test(evacuate, an_offer_without_a_name_is_passed_over)
{
    struct fake *f = fake_served();

    fake_message(f, "{\"t\":\"given\"}");
    fake_message(f, "{\"t\":\"given\",\"key\":\"else\"}");
    fake_turn(f);
    cr_expect(f->get_count == 0);
    fake_free(f);
}
