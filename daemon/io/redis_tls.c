#include "redis_tls.h"

#include <stdio.h>

#ifdef HAVE_TLS

#include <arpa/inet.h>
#include <errno.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CA_FILE, CERT_FILE, KEY_FILE, FILES };

struct file {
    char *path;       /* "": none */
    struct stat seen; /* as it was when it was last read */
};

struct redis_tls {
    SSL_CTX *context;
    struct file files[FILES];
    char *server_name; /* "": that of the host */
};

struct redis_peer {
    SSL *session; /* also hiredis', if it has begun */
    bool begun;
};

/* ---- files ---- */

/* "<option>: '<file>': <OpenSSL's reason>". Returns false. */
static bool bad_file(char *why, size_t size, const char *option, const char *path)
{
    unsigned long error = ERR_peek_error();
    const char *reason = ERR_SYSTEM_ERROR(error) ? strerror(ERR_GET_REASON(error)) : ERR_reason_error_string(error);

    snprintf(why, size, "%s: '%s': %s", option, path, reason ? reason : "it cannot be used");
    ERR_clear_error();
    return false;
}

static bool read_files(SSL_CTX *context, const struct file *files, char *why, size_t size)
{
    const char *ca = files[CA_FILE].path, *cert = files[CERT_FILE].path, *key = files[KEY_FILE].path;

    ERR_clear_error();
    if (!*ca)
        SSL_CTX_set_default_verify_paths(context);
    else if (SSL_CTX_load_verify_locations(context, ca, NULL) != 1)
        return bad_file(why, size, "redis_ca_file", ca);
    if (*cert && SSL_CTX_use_certificate_chain_file(context, cert) != 1)
        return bad_file(why, size, "redis_cert_file", cert);
    if (*key &&
        (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(context) != 1))
        return bad_file(why, size, "redis_key_file", key);
    return true;
}

static SSL_CTX *new_context(const struct file *files, char *why, size_t size)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    snprintf(why, size, "memory is short");
    if (!context)
        return NULL;
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (read_files(context, files, why, size))
        return context;
    SSL_CTX_free(context);
    return NULL;
}

/* Whether it is another file than the last time, or has other contents. */
static bool has_changed(struct file *f)
{
    const struct stat old = f->seen;

    if (!*f->path || stat(f->path, &f->seen) < 0)
        return false;
    return f->seen.st_ino != old.st_ino || f->seen.st_dev != old.st_dev || f->seen.st_size != old.st_size ||
           f->seen.st_mtim.tv_sec != old.st_mtim.tv_sec || f->seen.st_mtim.tv_nsec != old.st_mtim.tv_nsec;
}

static bool have_changed(struct redis_tls *t)
{
    bool changed = false;

    for (int i = 0; i < FILES; i++)
        changed |= has_changed(&t->files[i]);
    return changed;
}

/* False when out of memory. */
static bool own(struct redis_tls *t, const struct redis_tls_conf *conf)
{
    t->files[CA_FILE].path = strdup(conf->ca_file);
    t->files[CERT_FILE].path = strdup(conf->cert_file);
    t->files[KEY_FILE].path = strdup(conf->key_file);
    t->server_name = strdup(conf->server_name);
    for (int i = 0; i < FILES; i++)
        if (!t->files[i].path)
            return false;
    return t->server_name;
}

struct redis_tls *redis_tls_new(const struct redis_tls_conf *conf, char *why, size_t size)
{
    struct redis_tls *t = calloc(1, sizeof(*t));

    snprintf(why, size, "memory is short");
    if (t && own(t, conf)) {
        have_changed(t);
        t->context = new_context(t->files, why, size);
        if (t->context)
            return t;
    }
    redis_tls_free(t);
    return NULL;
}

/* A session keeps the context that it began with. */
int redis_tls_renew(struct redis_tls *t, char *why, size_t size)
{
    SSL_CTX *context;

    if (!have_changed(t))
        return 0;
    context = new_context(t->files, why, size);
    if (!context)
        return -EINVAL;
    SSL_CTX_free(t->context);
    t->context = context;
    return 1;
}

void redis_tls_free(struct redis_tls *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->context);
    for (int i = 0; i < FILES; i++)
        free(t->files[i].path);
    free(t->server_name);
    free(t);
}

/* ---- a connection ---- */

/* The certificate must be for this name or address; a server with several is told the name (SNI). */
static bool expect(SSL *session, const char *name)
{
    unsigned char address[sizeof(struct in6_addr)];

    if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), name) == 1;
    return SSL_set1_host(session, name) == 1 && SSL_set_tlsext_host_name(session, name) == 1;
}

/* hiredis frees a session only with a connection that has taken it. A near and fast server may have failed the
 * handshake before this returns. */
static bool begin(struct redis_peer *peer, redisAsyncContext *ac, const char *name)
{
    if (!expect(peer->session, name) || SSL_up_ref(peer->session) != 1)
        return false;
    ERR_clear_error();
    if (redisInitiateSSL(&ac->c, peer->session) == REDIS_OK)
        return true;
    SSL_free(peer->session);
    return false;
}

struct redis_peer *redis_tls_start(const struct redis_tls *t, redisAsyncContext *ac, const char *host)
{
    struct redis_peer *peer = calloc(1, sizeof(*peer));

    if (!peer)
        return NULL;
    peer->session = SSL_new(t->context);
    if (peer->session) {
        peer->begun = begin(peer, ac, *t->server_name ? t->server_name : host);
        return peer;
    }
    redis_tls_end(peer);
    return NULL;
}

bool redis_tls_begun(const struct redis_peer *peer)
{
    return peer && peer->begun;
}

void redis_tls_end(struct redis_peer *peer)
{
    if (!peer)
        return;
    SSL_free(peer->session);
    free(peer);
}

static const char *certificate_error(long result)
{
    switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "its certificate has expired";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "its certificate is not valid yet: are the clocks set?";
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return "its certificate is for another name: see redis_server_name";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return "its certificate is signed by nobody who is trusted here: see redis_ca_file";
    default:
        return X509_verify_cert_error_string(result);
    }
}

/* With TLS 1.3 a server looks at our certificate when our side of the handshake is over. Whether we read its alert or
 * hear that it has reset the connection is a matter of who is faster. */
static const char *end_error(const struct redis_peer *peer)
{
    if (!SSL_is_init_finished(peer->session))
        return "it ends the connection amid the handshake: too many clients (maxclients)? Redis' log says why";
    if (SSL_get_certificate(peer->session))
        return NULL;
    return "it ends the connection after the handshake; if it wants a certificate of ours: see redis_cert_file";
}

const char *redis_tls_error(const struct redis_peer *peer, bool ended)
{
    long result = SSL_get_verify_result(peer->session);
    unsigned long error = ERR_peek_last_error();

    ERR_clear_error();
    if (result != X509_V_OK)
        return certificate_error(result);
    if (ERR_GET_LIB(error) != ERR_LIB_SSL)
        return ended ? end_error(peer) : NULL;
    switch (ERR_GET_REASON(error)) {
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return end_error(peer);
    case SSL_R_WRONG_VERSION_NUMBER:
        return "it speaks no TLS: another port, or a store without TLS?";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
        return "it refuses the handshake; if it wants a certificate of ours: see redis_cert_file";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
        return "it does not trust our certificate: see redis_cert_file";
    default:
        return ERR_reason_error_string(error);
    }
}

#else

struct redis_tls *redis_tls_new(const struct redis_tls_conf *conf, char *why, size_t size)
{
    (void)conf;
    snprintf(
        why, size,
        "this kamsyncd has no TLS, since the hiredis that it was built with has none (Debian 12): use the package of "
        "Debian 13, or a tunnel, with store = redis://127.0.0.1:6379 (docs/operate.md has an example of stunnel)");
    return NULL;
}

void redis_tls_free(struct redis_tls *t)
{
    (void)t;
}

int redis_tls_renew(struct redis_tls *t, char *why, size_t size)
{
    (void)t;
    (void)why;
    (void)size;
    return 0;
}

struct redis_peer *redis_tls_start(const struct redis_tls *t, redisAsyncContext *ac, const char *host)
{
    (void)t;
    (void)ac;
    (void)host;
    return NULL;
}

bool redis_tls_begun(const struct redis_peer *peer)
{
    (void)peer;
    return false;
}

const char *redis_tls_error(const struct redis_peer *peer, bool ended)
{
    (void)peer;
    (void)ended;
    return NULL;
}

void redis_tls_end(struct redis_peer *peer)
{
    (void)peer;
}

#endif
