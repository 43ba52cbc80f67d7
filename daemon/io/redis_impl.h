/* The store in Redis, as all redis_….c share it but the connection itself (redis_conn.h). */
#ifndef KAMSYNC_REDIS_IMPL_H
#define KAMSYNC_REDIS_IMPL_H

#include "answers.h"
#include "buffer.h"
#include "key.h"
#include "redis_conn.h"
#include "redis_cluster.h"
#include "redis_sentinel.h"

#define CHANNEL_MAX (KEY_SHORT_MAX + 16)

_Static_assert(sizeof(void *) >= sizeof(uint64_t), "a token is the void * that an answer comes with");

enum script { SCRIPT_PUT, SCRIPT_CALL, SCRIPT_END, SCRIPTS };

#define NEAR_BEATS 64

/* A replica beside this node, with a connection of its own. */
struct redis_near {
    struct redis_conn conn;
    int64_t beat;                   /* the number of this node's last heartbeat; 0: none yet */
    int64_t written_ms[NEAR_BEATS]; /* when it wrote each, by its number */
};

#define NODES_KNOWN 64 /* a further node's record takes a second round trip */

struct redis {
    struct store store;
    uv_loop_t *loop;
    struct redis_conf conf;
    struct redis_conn commands, listener; /* a cluster has connections of its own for commands */
    struct redis_tls *tls;                /* NULL: none */
    struct resolver *resolver;
    struct sentinels *sentinels;   /* NULL: none */
    struct redis_cluster *cluster; /* NULL: one Redis */
    struct redis_near near;
    bool reading_nodes; /* one read at a time */
    size_t nodes_left;  /* answers that this read waits for */
    bool nodes_ok;
    int known[NODES_KNOWN]; /* nodes read so far: asked for along with the members, in one round trip */
    size_t known_count;
    char complained[16]; /* first word of the last error logged for this connection; "": none */
    bool own_there;      /* this node's own record was in the store */
    uint64_t complained_ms;
    uint64_t deaf_ms;            /* when the listener was last lost; 0: never; */
    struct store_host deaf_host; /* where */
    uint64_t looked_ms;          /* redis_facts.c */
    struct answers answers;      /* for commands that could not be sent */
    int open;                    /* connections, answers, Sentinels */
    char nodes[KEY_SHORT_MAX], nodes_channel[CHANNEL_MAX], cdr[KEY_SHORT_MAX];
    /* redis_records.c */
    struct redis_write *writes;       /* under way, the oldest first */
    uint64_t numbered, written_again; /* the last write; and the last one when put.lua was sent in the place of a SET */
    int64_t longest_ms;               /* life of a record that was written */
    char script[SCRIPTS][41];         /* their hashes; "" until Redis has returned them, on each connection */
    /* redis_calls.c */
    int id;                               /* this node's; 0: not known yet */
    struct job *tried;                    /* writes that call.lua may have to do yet, by their keys */
    unsigned char untrimmed[KEY_BUCKETS]; /* ends since an archive was trimmed, by its bucket */
};

/* Whose connection it is. */
static inline struct redis *redis_of(const redisAsyncContext *ac)
{
    return ((struct redis_conn *)ac->data)->data;
}

static inline bool redis_is_error(const redisReply *r)
{
    return !r || r->type == REDIS_REPLY_ERROR;
}

/* Whether an error says that this one record is refused (or cannot be read), e.g. for a value of another type.
 * False also without a reply. */
bool redis_is_own(const redisReply *r);
/* The channel of that name. Redis channels are shared by all databases: so the number of a database other than 0 is
 * appended, to separate clusters of the same name on one server. Returns out. */
const char *redis_channel(const struct redis *s, char out[CHANNEL_MAX], const char *name);
#define SCAN_COUNT 500 /* keys per SCAN: well under a ms */
#define SCAN_FORMAT "SCAN %llu MATCH %s COUNT %d"
/* Whether it is a batch of keys; one of them or NULL. */
bool redis_is_scan(const redisReply *r);
const char *redis_scanned_key(const redisReply *r, size_t i);
/* Logs once per connection that Redis refuses: out of memory, read-only replica, missing right. */
void redis_complain(struct redis *s, const redisReply *r);
/* For commands whose answer has no other use. */
void redis_on_done(struct redis *s, const redisReply *r, void *data);

/* redis_send.c: the ways to Redis. Sends a command, in Redis' protocol, and frees it; key: its first one, NO_KEY if
 * it has none. False, when out of memory or without a connection: fn is never called. */
#define NO_KEY ((struct span){NULL, 0})
bool redis_send(struct redis *s, struct span key, struct buffer *command, redis_answer *fn, void *data);
/* The same from hiredis' format; for commands that are not frequent. */
bool redis_ask(struct redis *s, struct span key, redis_answer *fn, void *data, const char *format, ...);
/* The command alone. False when out of memory. */
bool redis_format(struct buffer *command, const char *format, ...);
/* SCAN of the keys of that pattern from the cursor on. */
bool redis_send_scan(struct redis *s, uint64_t cursor, const char *pattern, redis_answer *fn, void *data);
/* Makes the cursor of its answer the one of the next batch. False: the scan has missed something. */
bool redis_scanned(struct redis *s, uint64_t *cursor);

/* redis_records.c */
void redis_put(struct store *store, const char *key, const char *value, int64_t ttl_ms, uint64_t token);
void redis_claim(struct store *store, const char *key, const char *value, int64_t ttl_ms, uint64_t token);
void redis_get(struct store *store, const char *key, uint64_t token);
/* No record is there: nothing, or a foreign value. */
bool redis_is_none(const redisReply *r);
/* Reads a record by that way, whichever type it has; fn gets a string or nil, or an error. False: it is not asked. */
typedef bool redis_sender(struct redis *s, struct span key, struct buffer *command, redis_answer *fn, void *data);
bool redis_read(struct redis *s, redis_sender *send, const char *key, redis_answer *fn, void *data);

void redis_call_write(struct store *store, const struct call_write *w, uint64_t token);
void redis_call_get(struct store *store, const char *key, const char *other, uint64_t token);
void redis_call_keys(struct store *store, struct span call_id, uint64_t cursor, uint64_t token);
void redis_archive(struct store *store, const char *after, int count, uint64_t token);
void redis_tell(struct store *store, int node, const char *text);

/* Whether the field says whose the call is: commands have these, node and tx, in places of their own. */
bool redis_is_owner(struct span name);

/* redis_end.c: puts the words that end.lua is given, its keys included; keep: limit of the archive's entries, 0: none;
 * trims: by this entry, too. Returns how many. */
size_t redis_put_end(struct buffer *words, const struct call_write *w, const char *archive, int64_t keep, bool trims);

/* The pairs of a reply name, value, name, value…; false when it is none, or when out of memory. The caller frees them.
 */
bool redis_read_pairs(const redisReply *r, struct pair **pairs, size_t *count);

/* redis_near.c: the near replica, if there is one; closed(): as of every connection. */
void redis_near_start(struct redis *s, void (*closed)(struct redis_conn *c));
void redis_near_close(struct redis *s);
void redis_near_flush(struct redis *s);
bool redis_near_get(struct store *store, const char *key, uint64_t token);
/* This node has written its record there: looks how far the near replica is behind. */
void redis_near_look(struct redis *s, const char *key, const char *record);

extern const char rights_lua[], archive_lua[];
/* redis_facts.c: looks at what a new connection leads to; and, with a heartbeat, at that and at this user's rights, if
 * that was long ago. */
void redis_look(struct redis *s);
void redis_look_again(struct redis *s);
/* From INFO's text. */
void redis_read_info(struct store_facts *f, const char *info);

/* A connection whose fields are set, but what becomes of it; it counts as open. */
void redis_set_up(struct redis *s, struct redis_conn *c, const char *role);
/* One of those that are open has closed: the last one frees the store. */
void redis_one_closed(struct store *store);

/* redis_scripts.c: the scripts (put.lua, call.lua and end.lua, which describe themselves).
 * Loads all when a connection for commands is ready, before any other command; and one that Redis has dropped. Until
 * the answer the script is sent whole. */
void redis_load_scripts(struct redis_conn *c);
void redis_load_script(struct redis_conn *c, enum script which);
/* The first two words of a command that runs it: by its hash, or (whole) with its text. */
void redis_put_script(const struct redis *s, struct buffer *command, enum script which, bool whole);
/* Has such a command run it with its text instead. False: it does not run one by its hash. */
bool redis_make_whole(const struct redis *s, struct buffer *command);
/* Redis does not know the script of that hash. */
bool redis_has_no_script(const redisReply *r);
/* Subscribes to messages for this node: when the listener is ready, and when the node's id is known or changes. */
void redis_listen(struct redis *s);
void redis_hear(struct redis *s, int id);

#endif
