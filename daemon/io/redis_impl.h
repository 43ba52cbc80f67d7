/* What redis.c and redis_calls.c share. */
#ifndef KAMSYNC_REDIS_IMPL_H
#define KAMSYNC_REDIS_IMPL_H

#include "answers.h"
#include "key.h"
#include "redis_conn.h"

#define CHANNEL_MAX (KEY_SHORT_MAX + 16)

struct redis {
    struct store store;
    struct redis_conf conf;
    struct redis_conn commands, listener;
    bool reading_nodes; /* one reading at a time */
    size_t nodes_left;  /* answers that this reading waits for */
    bool nodes_ok;
    char complained[16]; /* the first word of what this connection's Redis last refused; "": nothing */
    bool own_there;      /* this node's own record was seen in the store */
    uint64_t complained_ms;
    char policy[64];        /* the maxmemory-policy that was last warned of */
    struct answers answers; /* to what could not be sent */
    int closed;             /* of connections and answers */
    char nodes[KEY_SHORT_MAX], nodes_channel[CHANNEL_MAX], cdr[KEY_SHORT_MAX];
    /* redis_calls.c */
    char script[41]; /* what Redis calls the script of call_write; "" until it has said so, on each connection */
    int id;          /* this node's; 0: not known yet */
};

static inline struct redis *redis_of(const redisAsyncContext *ac)
{
    return ((struct redis_conn *)ac->data)->data;
}

static inline bool redis_is_error(const redisReply *r)
{
    return !r || r->type == REDIS_REPLY_ERROR;
}

/* Whether an error says that this one record is not taken (or not read): what stands there is of another type, say.
 * False also for no reply. */
bool redis_is_own(const redisReply *r);
/* The channel of that name. Redis' channels know no databases: in another one than 0 its number stands behind the name,
 * so that clusters of the same name which share a server do not hear each other. Returns out. */
const char *redis_channel(const struct redis *s, char out[CHANNEL_MAX], const char *name);
/* No record stands there: nothing, or what somebody else has put there, which is not a text. */
bool redis_is_none(const redisReply *r);
#define SCAN_COUNT 500 /* names that Redis looks at in one go: well under a ms */
/* Whether it is a part of the names; one of them or NULL. */
bool redis_is_scan(const redisReply *r);
const char *redis_scanned_key(const redisReply *r, size_t i);
/* Says once per connection what Redis refuses: a full memory, a read-only replica, a missing right. */
void redis_complain(struct redis *s, const redisReply *r);
/* For commands whose answer matters to nobody else. */
void redis_on_done(redisAsyncContext *ac, void *reply, void *data);

void redis_call_write(struct store *store, const struct call_write *w, uint64_t token);
void redis_call_get(struct store *store, const char *key, const char *other, uint64_t token);
void redis_call_keys(struct store *store, struct span call_id, uint64_t cursor, uint64_t token);
void redis_archive(struct store *store, const char *after, int count, uint64_t token);
void redis_tell(struct store *store, int node, const char *text);

/* redis_policy.c: warns when Redis may throw records away. */
void redis_look_at_policy(struct redis *s);

/* The script of call_write (call.lua, which says what it does). */
extern const char call_lua[];
/* To be called when the connection for commands is ready, before anything else is sent on it. */
void redis_load_script(struct redis *s);
/* Listens to what is told to this node: when the listener is ready, and when the node's id is known or another one. */
void redis_listen(struct redis *s);
void redis_hear(struct redis *s, int id);

#endif
