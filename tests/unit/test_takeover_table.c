/* The life of a takeover: its table knows each event in each state, and docs/ownership.md has it as built. */
#include <stdio.h>

#include "count.h"
#include "helper.h"
#include "takeover_life.h"

TestSuite(takeover_table, .fini = no_leaks);

/* As the page calls what is done. */
static const struct {
    void (*act)(struct engine *e, struct takeover *t, int64_t now);
    const char *text;
} acts[] = {
    {NULL, "nothing"},
    {takeover_read, "read the record"},
    {takeover_ask, "read the owner's node record"},
    {takeover_take, "write this node's name into the record"},
    {takeover_inject, "put the INVITE into Kamailio"},
    {takeover_finish, "finish it here"},
    {takeover_again, "wait 200 ms"},
    {takeover_give_up, "count it as failed, adopt the strays, wait until no INVITE can come to life"},
    {takeover_release, "release the record, or give it back"},
    {takeover_done, "it is this node's; wait 100 ms for the far end"},
    {takeover_unanswered, "tell `tm` which branches rang"},
    {takeover_lost, "count it as lost"},
    {takeover_await, "wait `caller_wait_ms` for the caller"},
    {takeover_alone, "nobody is to be waited for any more: its turn comes again"},
};

static const char *text_of(const struct takeover_step *s)
{
    size_t i = 0;

    while (i < COUNT(acts) && acts[i].act != s->act)
        i++;
    cr_assert(i < COUNT(acts), "%s, %s: what it does has no text here", takeover_state_name(s->state),
              takeover_event_name(s->event));
    return acts[i].text;
}

static const struct takeover_step *step(int state, int event)
{
    return takeover_step((enum takeover_state)state, (enum takeover_event)event);
}

#define FOR_EACH_STEP(s)                                                                                               \
    for (int i_ = 0; i_ < TAKEOVER_STATES * TAKEOVER_EVENTS; i_++)                                                     \
        if ((s = step(i_ / TAKEOVER_EVENTS, i_ % TAKEOVER_EVENTS)) != NULL)

Test(takeover_table, each_event_in_each_state_is_a_step_or_never_comes)
{
    for (int state = 0; state < TAKEOVER_STATES; state++)
        for (int event = 0; event < TAKEOVER_EVENTS; event++)
            cr_expect((step(state, event) != NULL) !=
                          takeover_never((enum takeover_state)state, (enum takeover_event)event),
                      "%s, %s", takeover_state_name((enum takeover_state)state),
                      takeover_event_name((enum takeover_event)event));
}

Test(takeover_table, each_state_comes_about_and_comes_to_an_end)
{
    bool reached[TAKEOVER_STATES + 1] = {[WANTED] = true}, ends[TAKEOVER_STATES + 1] = {[TAKEOVER_ENDED] = true};
    const struct takeover_step *s;

    for (int n = 0; n <= TAKEOVER_STATES; n++)
        FOR_EACH_STEP(s)
        {
            reached[s->next] = reached[s->next] || reached[s->state];
            ends[s->state] = ends[s->state] || ends[s->next];
        }
    for (int i = 0; i <= TAKEOVER_STATES; i++)
        cr_expect(reached[i] && ends[i], "%s", takeover_state_name((enum takeover_state)i));
}

/* What was taken must be released, or taken by Kamailio, or known to be another one's: a record that says "taking" of
 * a living node stops all others. */
Test(takeover_table, nothing_ends_once_the_record_says_taking_but_by_an_answer)
{
    const struct takeover_step *s;

    FOR_EACH_STEP(s)
    {
        bool open = s->state == TAKING || s->state == INJECTED || s->state == FAILED || s->state == LEAVING;
        bool answer = s->event >= EV_WON && s->event <= EV_LOST;

        cr_expect(!open || s->next != TAKEOVER_ENDED || answer, "%s, %s", takeover_state_name(s->state),
                  takeover_event_name(s->event));
    }
}

/* ---- the page ---- */

#define HEAD "\n| state | event | next | what is done |\n|---|---|---|---|\n"

/* Its rows, from the line end before the first one on; the line that follows them is empty. */
static char *page_rows(void)
{
    FILE *file = fopen(DOCS_DIR "/ownership.md", "r");
    static char text[64 << 10];
    char *rows, *end;
    size_t n;

    cr_assert_not_null(file);
    n = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[n] = '\0';
    rows = strstr(text, HEAD);
    cr_assert(n < sizeof(text) - 1 && rows, "docs/ownership.md has no such table");
    rows += strlen(HEAD) - 1;
    end = strstr(rows, "\n\n");
    cr_assert_not_null(end);
    end[1] = '\0';
    return rows;
}

static size_t lines(const char *rows)
{
    size_t n = 0;

    for (const char *p = rows + 1; (p = strchr(p, '\n')) != NULL; p++)
        n++;
    return n;
}

Test(takeover_table, page_has_each_step_and_no_other)
{
    char *rows = page_rows();
    const struct takeover_step *s;
    size_t count = 0;

    FOR_EACH_STEP(s)
    {
        const char *row = scratch("\n| %s | %s | %s | %s |\n", takeover_state_name(s->state),
                                  takeover_event_name(s->event), takeover_state_name(s->next), text_of(s));

        count++;
        cr_expect(strstr(rows, row), "missing:%s", row);
    }
    cr_expect(lines(rows) == count, "%zu rows, %zu steps", lines(rows), count);
}
