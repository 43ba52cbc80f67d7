/* Ids of the archive's entries. */
#include "cdr_id.h"
#include "helper.h"

TestSuite(cdr_id, .fini = no_leaks);

static const char *written(const char *text)
{
    char out[CDR_ID_SIZE];
    struct cdr_id id;

    return cdr_id_read(&id, scratch_exact(span_of(text))) ? scratch("%s", cdr_id_write(out, id)) : "none";
}

Test(cdr_id, is_written_as_it_was_read)
{
    static const char *const ids[] = {
        "0-0",   "1-2",     "1795239023248-0",    "18446744073709551615-18446744073709551615",
        "1-2-0", "1-2-255", "1795239023248-17-9", "18446744073709551615-0-10000"};

    for (size_t i = 0; i < COUNT(ids); i++)
        cr_expect_str_eq(written(ids[i]), ids[i]);
}

Test(cdr_id, other_texts_are_none)
{
    static const char *const texts[] = {"",
                                        "1",
                                        "1-",
                                        "-1",
                                        "1-x",
                                        "x-1",
                                        "1--1",
                                        "1-1-",
                                        "1-+1",
                                        " 1-1",
                                        "1-1 ",
                                        "1-1-1-1",
                                        "1-1-x",
                                        "1-1--1",
                                        "18446744073709551616-0",
                                        "0-18446744073709551616",
                                        "1-1-10001",
                                        "99999999999999999999999-1"};

    for (size_t i = 0; i < COUNT(texts); i++)
        cr_expect_str_eq(written(texts[i]), "none", "'%s'", texts[i]);
}

/* Each but the first is greater than the one before it. */
Test(cdr_id, order)
{
    static const char *const ids[] = {"0-0", "0-1", "0-1-0", "0-1-1", "0-1-255", "0-2", "1-0", "1-0-3", "2-0"};
    struct cdr_id a, b;

    for (size_t i = 0; i < COUNT(ids); i++) {
        for (size_t k = 0; k < COUNT(ids); k++) {
            cr_assert(cdr_id_read(&a, span_of(ids[i])) && cdr_id_read(&b, span_of(ids[k])));
            cr_expect(cdr_id_compare(a, b) == (i > k) - (i < k), "%s and %s", ids[i], ids[k]);
        }
    }
}

Test(cdr_id, the_one_before)
{
    static const struct {
        const char *id, *before;
    } cases[] = {
        {"5-1", "5-0"}, {"5-0", "4-18446744073709551615"}, {"0-0", "0-0"}, {"5-1-7", "5-1-6"}, {"5-1-0", "5-1"}};
    char out[CDR_ID_SIZE];
    struct cdr_id id;

    for (size_t i = 0; i < COUNT(cases); i++) {
        cr_assert(cdr_id_read(&id, span_of(cases[i].id)));
        cr_expect_str_eq(cdr_id_write(out, cdr_id_before(id)), cases[i].before);
    }
}
