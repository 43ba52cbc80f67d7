/* The hash of all tables: its values, and what chosen keys do to a table. */
#include "hash.h"
#include "helper.h"

TestSuite(hash, .fini = no_leaks);

/* Python's hash() of bytes, with PYTHONHASHSEED=0 (SipHash-1-3, a seed of zeros). */
Test(hash, values)
{
    cr_expect(hash_bytes("a", 1) == 0xb89b1813);
    cr_expect(hash_bytes("abc", 3) == 0x42630f2);
    cr_expect(hash_bytes("12345678", 8) == 0x30560a87);
    cr_expect(hash_bytes("call-1@caller.example", 21) == 0x78b5e8a2);
    cr_expect(hash_bytes("0123456789abcdef0", 17) == 0x30801228);
}

Test(hash, depends_on_the_seed)
{
    unsigned char seed[HASH_SEED_BYTES] = {1};
    unsigned before = hash_bytes("abc", 3);

    hash_seed(seed);
    cr_expect(hash_bytes("abc", 3) != before);
    seed[0] = 0;
    seed[15] = 1;
    hash_seed(seed);
    cr_expect(hash_bytes("abc", 3) != before);
    hash_seed((unsigned char[HASH_SEED_BYTES]){0});
    cr_expect(hash_bytes("abc", 3) == before);
}

#define KEYS 500
#define LOW 0xfff

struct item {
    char key[32];
    UT_hash_handle hh;
};

/* Call-IDs chosen so that the hash which uthash has by itself, whose seed everybody knows, puts them into one bucket.
 * After about a hundred of them a table gave up growing, and all that came later was slow. */
Test(hash, chosen_keys_do_not_keep_a_table_small)
{
    static struct item items[KEYS];
    struct item *table = NULL, *x, *next;
    size_t n = 0;

    for (unsigned i = 0; n < KEYS; i++) {
        unsigned hash;

        snprintf(items[n].key, sizeof(items[n].key), "call-%u@caller.example", i);
        HASH_JEN(items[n].key, strlen(items[n].key), hash);
        n += (hash & LOW) == 0;
    }
    for (size_t i = 0; i < KEYS; i++) {
        HASH_ADD_STR(table, key, &items[i]);
        cr_assert_not_null(items[i].hh.tbl);
    }
    cr_expect(!table->hh.tbl->noexpand && table->hh.tbl->num_buckets >= 64);
    cr_expect(table->hh.tbl->nonideal_items < KEYS / 4, "%u of %d", table->hh.tbl->nonideal_items, KEYS);
    HASH_ITER(hh, table, x, next)
    {
        HASH_DEL(table, x); /* NOLINT(clang-analyzer-*): uthash */
    }
}
