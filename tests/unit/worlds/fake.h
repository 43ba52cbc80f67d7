/* The world around one engine: a virtual clock, a Kamailio and a store that do only what a test tells them, and that
 * remember what they were asked. No part of cluster.h, whose Kamailios and store answer by the rules of real ones: what
 * is tested here is what these never do in that order, so its store would need a second way for each of its answers. */
#ifndef KAMSYNC_TEST_FAKE_H
#define KAMSYNC_TEST_FAKE_H

#include "engine.h"
#include "helper.h"

#define FAKE_MAX 4200
#define FAKE_EPOCH 1800000000000 /* ms since 1970 at time 0 */
#define AT(s) (FAKE_EPOCH + 1000 * (s))

/* Of the last write to a call. */
#define expect_text(f, name, text) cr_expect_str_eq(fake_call_text(f, name), text)

struct fake;

struct fake_put {
    char *key, *value;
    int64_t ttl_ms;
};

struct fake_get {
    char *key;
    uint64_t token;
};

struct fake_claim {
    char *key, *value;
    int64_t ttl_ms;
    uint64_t token;
};

struct fake_call {
    char *key;
    enum call_mode mode;
    int node;
    json_t *pairs; /* names to texts */
    int64_t ttl_ms;
    uint64_t token;
    char *own; /* call_write.tx, "": NULL */
    enum call_known known;
};

struct fake_tell {
    int node;
    char *text;
};

/* What the store has to say of what was asked, once the call that asked has returned. */
struct fake_later {
    void (*say)(struct fake *f, const struct fake_later *a);
    uint64_t token;
    int status;
    const char *text;
};

struct fake_beat {
    char *record;
    int64_t ttl_ms;
    bool announce;
};

struct fake {
    struct engine *e;
    struct engine_conf conf;
    int64_t now;
    json_t *frames; /* what Kamailio got, in order */
    char *tag;      /* of kamsyncd's last hello */
    struct fake_put puts[FAKE_MAX];
    struct fake_get gets[FAKE_MAX];
    struct fake_beat beats[64];
    struct fake_claim claims[FAKE_MAX];
    struct fake_call calls[FAKE_MAX]; /* what was written to calls, until fake_forget() */
    struct fake_get call_gets[FAKE_MAX];
    struct fake_tell tells[FAKE_MAX];
    size_t call_count, call_get_count, tell_count, archive_count;
    bool near;                /* it has a near replica; */
    struct fake_get near_get; /* which was asked this last, */
    size_t near_count;        /* and so often */
    struct fake_later *later; /* the first so many: */
    size_t later_count, later_size;
    bool mute_calls;              /* writes, readings and the archive are not answered; else by themselves: */
    enum call_result call_result; /* what each write is answered with */
    const char *call_found;       /* the record that each reading finds, as JSON; NULL: none is there */
    bool calls_fail;              /* each reading fails */
    json_t *answers;              /* to engine_ask(), since fake_forget() */
    uint64_t answered;            /* who got the last one */
    char *archive_after;          /* of the last reading of the archive, which is empty; NULL: the newest ones */
    int archive_wanted;
    uint64_t archive_token;
    size_t written;                /* frames, as ever */
    uint64_t unanswered[FAKE_MAX]; /* the tokens of puts */
    size_t unanswered_count;
    size_t put_count, get_count, claim_count, beat_count, node_reads, scans;
    uint64_t cursor;    /* of the last scan */
    bool answer_puts;   /* each by itself, and: */
    const char *record; /* what stands where it goes, and may fence it; NULL: nothing */
    const char *found;  /* non-NULL: every get is answered so, by itself; "" is absent */
    const char *holder; /* non-NULL: every claim is lost to it, by itself; "" is won */
    /* What the store says of a single node, by itself; NULL: nothing new. Such questions are no gets. */
    const char *node_record;
    bool mute_nodes;     /* it does not answer those about nodes */
    uint64_t node_token; /* of the last one */
    size_t asked;        /* how many there were */
    bool deaf;           /* Kamailio does not acknowledge pings and marks, which then stand among the frames */
    int64_t mark;        /* the mark that it gives back at the end of the turn; 0: none */
    json_t *questions;   /* the transactions that it is asked about, by tm's names; answered at the end of the turn, */
    int state;           /* all alike; 0: it has none of them */
    bool polite;         /* Kamailio acknowledges each frame at the end of the turn */
    bool unreachable;    /* other nodes do not answer probes; else they do at the end of the turn */
    uint64_t probed;     /* bit n: node n is to answer a probe */
    bool mute_peers;     /* the others' kamsyncds answer no barrier; else they do at the end of the turn, and such
                          * messages are none of the tells */
    int64_t barrier;     /* which one they are to answer; 0: none */
    char *incs[32];      /* of the nodes that fake_node() told of */
    long long events;    /* number of the last events frame */
    bool mute_scans;     /* scans are not answered; else each finds nothing, at the end of the turn */
    bool scanning;       /* a scan waits for its answer */
    int64_t pings[64];   /* pings and probes that Kamailio will acknowledge at the end of the turn, */
    size_t ping_count;   /* and before each, as it does everything in order, all that was sent before it */
    int64_t *unacked;    /* numbers of all frames that are not acknowledged */
    size_t unacked_count, unacked_size;
    unsigned closes; /* times that the engine wanted the link closed */
    char *logs;      /* all lines */
};

/* An engine at time 1,000,000 that knows nobody; node 1, with everything at its default, but for hang_ms: frames that a
 * test does not acknowledge are no hang before an hour has passed. */
struct fake *fake_new(void);
void fake_free(struct fake *f);

/* Brings the link and the store up and says hello as node 1. Frames and beats so far are forgotten. */
struct fake *fake_ready(void);
/* It owns call 1, which is written. Puts are answered at once from then on. */
void fake_own(struct fake *f, struct leg *c);
/* Both. */
struct fake *fake_owning(struct leg *c);

const struct counters *fake_counters(const struct fake *f);
struct engine_status fake_status(const struct fake *f);

/* One turn of the loop, now or after ms more. The clock stops wherever the engine wants to be called. */
void fake_turn(struct fake *f);
void fake_pass(struct fake *f, int64_t ms);

/* Kamailio says this (printf; one JSON object). No turn follows. */
__attribute__((format(printf, 2, 3))) void fake_say(struct fake *f, const char *fmt, ...);
void fake_hello(struct fake *f, int node, const char *inc);
void fake_hello_at(struct fake *f, int node, const char *inc, const char *sip);
/* Kamailio acknowledges every frame that it has got. */
void fake_ack_all(struct fake *f);
/* Events, each in an events frame with number n. */
void fake_branch(struct fake *f, int64_t n, const struct leg *c, const char *index, bool with_req);
void fake_reply(struct fake *f, int64_t n, const struct leg *c, const char *index, int code);
void fake_gave_up(struct fake *f, int64_t n, const struct leg *c, int index, int code);
/* A stray with number k. */
void fake_stray(struct fake *f, int64_t k, const struct leg *c, const char *method);
void fake_stray_reply(struct fake *f, int64_t k, const struct leg *c, const char *index, int code);

/* Another node's record arrives, then the reading ends. */
void fake_node(struct fake *f, int id, int64_t beat, const char *inc, bool up);
/* A node whose kamsyncd writes that version (nodes.h). */
void fake_version(struct fake *f, int id, int version);
/* The last get is answered. NULL: absent. */
void fake_answer(struct fake *f, const char *record);
/* The last question to the near replica is. */
void fake_near_answer(struct fake *f, enum get_status status, const char *record);
/* So is the last claim on an INVITE. */
void fake_claimed(struct fake *f, enum claim_status status, const char *holder);
/* The last write to a call is answered; the last reading of one, with a record (JSON) or NULL: absent. */
void fake_call_written(struct fake *f, enum call_result result);
void fake_call_got(struct fake *f, const char *json);
/* The last reading of the archive: one entry; and its end. */
void fake_archived(struct fake *f, const char *id, const char *json);
void fake_archive_read(struct fake *f, bool ok);
/* Events about calls, in events frames of their own; at: when the script saw them, ms since 1970. The first branch of
 * an INVITE, which may be another than the leg's own; a reply to it; a BYE (code 0) or the reply to one. */
void fake_invite(struct fake *f, const struct leg *c, const char *invite, int64_t at);
void fake_replied(struct fake *f, const struct leg *c, const char *index, int code, const char *to_tag, int64_t at);
void fake_bye(struct fake *f, const struct leg *c, const char *from_tag, const char *to_tag, int code, int64_t at);
void fake_set(struct fake *f, const struct leg *c, const char *name, const char *value);
void fake_cancel(struct fake *f, const struct leg *c);
/* A request within the call that the script asks about. */
void fake_question(struct fake *f, const struct leg *c, const char *ask);
/* kamsyncctl asks this (JSON). */
void fake_ask(struct fake *f, uint64_t client, const char *request);
/* The last answer; NULL when there is none. */
json_t *fake_answered(const struct fake *f);
/* Another node tells this one a text. */
void fake_message(struct fake *f, const char *text);
/* A text out of the last write to a call; "(none)" when it is not there. */
const char *fake_call_text(const struct fake *f, const char *name);
/* How many writes to calls there were with that mode; what this node told others, n-th. */
size_t fake_writes(const struct fake *f, enum call_mode mode);
json_t *fake_tell(const struct fake *f, size_t n);
/* The names that a scan found, from call number `from` on, then its end. */
void fake_scanned(struct fake *f, unsigned from, size_t n, bool ok, uint64_t next);
/* The first n puts that were not answered yet are. */
void fake_put_done(struct fake *f, size_t n, bool ok);
/* The store does not take the record of the first one, whatever it does with others. */
void fake_put_refused(struct fake *f);
/* That record is newer than the first one's. */
void fake_put_fenced(struct fake *f, const char *record);

/* What has tm answered the caller? Such a frame is noted down; at the end of the turn all are answered,
 * and the mark is given back. */
bool fake_is_question(struct fake *f, json_t *frame);
void fake_tell_states(struct fake *f);
/* The record that a node with this id would have written. */
char *fake_record(const struct leg *c, int owner, const char *inc, bool done);

/* The whole of it, with these branches (fake_branch_json(), separated by commas) and the request. */
char *fake_whole(const struct leg *c, int owner, const char *inc, const char *branches);
char *fake_branch_json(const struct leg *c, int index, const char *suffix, int code, const char *route);
/* The same with one branch that rings. */
char *fake_orphan(const struct leg *c, int owner, const char *inc);
/* Answers a look-up of a search, by its number: it is an orphan of node 2's. */
void fake_got_orphan(struct fake *f, size_t lookup);
/* One of these records whose owner has seen a CANCEL. */
char *fake_cancelled(const char *record);
/* One of these records with that epoch in front; its owner may only be about to take the transaction over. */
char *fake_epoch(const char *record, int epoch, bool taking);
/* Kamailio says of the INVITE that it was last given whether it took the transaction over. */
void fake_taken(struct fake *f, int64_t n, int ok);
/* The token in the last X-Kamsync-Branches, and the list behind it. */
int64_t fake_token(const struct fake *f, char **branches);

/* Has just started as node 1, 100.1, and reads its own records back: the test answers the scan, and the readings of
 * calls. */
struct fake *fake_started(void);
/* Knows node 2 with incarnation 200.1 and node 3 with 300.1, which are up, and has read the nodes long enough to know
 * that there is no other. All is acknowledged and forgotten. */
struct fake *fake_peers(void);
/* The same, and all that it asks for is done: Kamailio acknowledges each frame, the store each record. */
struct fake *fake_served(void);
/* Lets node 2 say that its Kamailio is away. The search that follows finds nothing. */
void fake_death(struct fake *f);
/* The same peers, but the beats of node 2 have ended, and it does not answer: a search waits for its first part. */
struct fake *fake_lost_peer(void);

/* Frames of a type: how many, and the last one (a NULL when there is none). */
size_t fake_count(const struct fake *f, const char *t);
json_t *fake_last(const struct fake *f, const char *t);
int64_t fake_int(json_t *frame, const char *field);
const char *fake_text(json_t *frame, const char *field);
/* The message of a `send`, of which n of the same kind came before: "why=takeover" and the like must stand in it. NULL
 * when there is none. */
char *fake_sent(const struct fake *f, const char *part, size_t n, json_t **frame);
size_t fake_sent_count(const struct fake *f, const char *part);
/* The X-Kamsync header of the last `send`, and that frame's message without it. */
char *fake_handover(const struct fake *f, char **rest);
/* A field of the last put's record. */
json_t *fake_put_field(const struct fake *f, const char *field);
void fake_forget(struct fake *f);

/* For fake.c and fake_calls.c. An answer to come, and giving all of them: false when there was none. A test that calls
 * the engine itself gets them at the end of the turn. */
void fake_add(struct fake *f, struct fake_later a);
bool fake_settle(struct fake *f);
/* The part of the engine's world that is about calls. */
void fake_calls_io(struct engine_io *io);
bool fake_get_near(void *ctx, const char *key, uint64_t token);
void fake_forget_calls(struct fake *f);

/* ---- several INVITEs of call 1: fake_legs.c ---- */

#define LEG_TX(i) "kamsync:tx:{call-1@caller.example}:1:z9hG4bK-caller-" #i ":198.51.100.9:5060"
/* Leg i, at AT(9 + i). */
struct leg fake_leg(struct fake *f, unsigned i);
/* The call is shown live and lives by that leg. */
void fake_expect_live(const struct fake *f, const char *tx, const char *state);
/* It has ended once. Frees f. */
void fake_expect_end(struct fake *f, const char *tx, const char *how, const char *code);

#endif
