"""Breaks one rule of the core at a time, and expects that the simulation notices: else an invariant would be for show.

    faults.py BUILD [JUNIT]
"""
import concurrent.futures
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile

SEEDS = 4000
OTHERS_MAX = 4
BY_THE_STORM = ("strays", "the storm")  # said by that alone, which comes when all seeds have been lived

# What is broken; the file; its text, and what stands there instead; what the simulation says then (a|b: one of them).
# What takes longest stands first, so that nothing waits for it at the end.
FAULTS = [
    ("who takes over does not ask the store whether the owner lives", "takeover.c",
     "? EV_FREE : EV_ORPHAN;", "? EV_FREE : EV_FREE;", "two owners|its record says|nobody ends it|waits for its caller|of another site has taken it over|answered 1 times with 200, 1 times with 481"),
    ("a node whose beats are refused does not mind", "peers.c",
     "    e->peers.unheard = e->peers.missed = true;", "    e->peers.missed = true;\n    return;",
     "two owners|its last Kamailio gave it up|answered 1 times with 200, 1 times with 481"),
    ("a takeover that another node was faster with is carried out", "takeover.c",
     "    if (status == PUT_DONE)\n        takeover_go(e, t, won",
     "    if (status == PUT_DONE || status == PUT_FENCED)\n        takeover_go(e, t, won",
     "without a record"),
    ("an INVITE that another node has is nobody's", "strays.c",
     "static bool is_stale(const struct stray *s, int64_t now)\n{", "static bool is_stale(const struct stray *s, int64_t now)\n{\n"
     "    return false;", "two nodes have routed"),
    ("a newer record of another node's is passed over", "fence.c",
     "table[rival_of(e, &f, now)](e, &f, now);", "(void)table, (void)rival_of;",
     "two owners|its record says"),
    ("a BYE ends no call", "ending.c",
     "EARLY_MS ? CALL_END_ANSWERED : CALL_END;", "EARLY_MS ? CALL_ADD : CALL_ADD;", "it has no end"),
    ("the other side hung up, it says", "ending.c",
     'x->turned ? "callee" : "caller"', 'x->turned ? "caller" : "callee"', "completed by"),
    ("a CANCEL is handed over twice", "stray.c",
     "    engine_send(e, to->sip, NULL, text, now);\n    free(text);\n",
     "    engine_send(e, to->sip, NULL, text, now);\n    free(text);\n    text = stray_handed_to(e, s, to, said);\n"
     "    engine_send(e, to->sip, NULL, text, now);\n    free(text);\n", "answered 2 times"),
    ("handovers of one moment cannot be told apart", "out.c", "% 1000), ++e->out.handovers", "% 1000), e->out.handovers", "the storm"),
    ("a CANCEL that all nodes have bears another time in kamsyncd's copy", "out.c",
     "    if (h.at)", "    if (false && h.at)", "answered 2 times|answered 1 times with 200, 1 times with 481"),
    ("a CANCEL that all nodes have is over, whatever the record says", "strays.c",
     "(s->all || s->awaits) && r->cancelled && !r->done", "(s->all || s->awaits)", "no answer to its CANCEL"),
    ("who has acted upon a CANCEL acts upon it for ever", "strays.c",
     "r->cancelled && !r->done", "r->cancelled", "no answer to its CANCEL"),
    ("a CANCEL is handed over to nobody", "stray.c",
     "\n    engine_send(e, to->sip, NULL, text, now);\n",
     "\n    if (v != VERDICT_OWNER)\n        engine_send(e, to->sip, NULL, text, now);\n",
     "its CANCEL was answered|no answer to its CANCEL"),
    ("the last of the records that changed waits", "owner_write.c",
     "while (n-- > 0 && may_put", "while (n-- > 1 && may_put", "its record says"),
    ("any number of lookups may wait", "strays.c", "#define STRAYS_MAX 2048", "#define STRAYS_MAX 100000", "strays"),
    ("who is in doubt writes its records as they were", "fence.c",
     "    t->epoch = t->proven_epoch + 1;", "    t->epoch = t->proven_epoch;",
     "two owners|its record says|writes 1|waits for its caller"),
    ("a takeover is released while its INVITE may yet be carried out", "takeover_act.c",
     "t->sent_ms + CARRIED_OUT_MS;", "now;", "its record says|two owners"),
    ("tm does not forget what another node was given", "keep.c",
     "        e->count.txns_given++;", "        e->count.txns_given++;\n        return;", "two owners|its record says"),
    ("another node's newer record is written over at once", "fence.c",
     "        second_heir(e, f->txn, f->r.owner, f->text, now);", "        write_over(e, f, now);",
     "two owners|its record says"),
    ("who has had it in a store that went back in time is its owner", "fence.c", "? BY_FORMER : BY_OWNER", "? BY_OWNER : BY_OWNER",
     "its last Kamailio gave it up"),
    ("answers about calls come in the order of the writes, from whichever master", "calls_write.c",
     "    while (c && c->token < token)\n        c = c->next;\n", "", "frames|its end|no end"),
    ("a write that is answered twice is counted twice", "owner_write.c",
     "    if (*place != token)\n        return false;", "", "records under way"),
    ("an earlier answer is taken for that to the last question", "takeovers.c", "    if (!t || !t->asked)", "    if (!t)", "died of"),
    ("an INVITE is not claimed, but routed at once", "strays.c",
     "        claim_invite(e, s, now);", "        stray_conclude(e, s, VERDICT_UNKNOWN, 0, now);", "two nodes have routed"),
    ("a record goes over another's, whichever it is from", "record.c",
     "    return !is_from(&f, &there);", "    return false;", "two owners|has 2 owners|its record says"),
    ("what a near replica does not have is nobody's", "strays.c",
     "    near_got(e, s, status, text, now);", "    if (status == GET_ABSENT) {\n"
     "        stray_conclude(e, s, VERDICT_UNKNOWN, 0, now);\n        return;\n    }\n"
     "    near_got(e, s, status, text, now);", "its CANCEL was answered|which lives, is refused"),
    ("whom a near replica names is the owner for sure", "stray.c", '.why = "perhaps"', '.why = "owner"', "its CANCEL was answered|481"),
    ("whom a near replica names has acted for sure", "near.c", "    if (!s->near || now < s->again_ms)",
     "    if (s->near == NEAR_GIVEN)\n        s->again_ms = INT64_MAX;\n    if (!s->near || now < s->again_ms)",
     "no answer to its CANCEL|its CANCEL was answered"),
    ("a search takes what another site's nodes are to take", "sites.c",
     "        return round == ROUND_ALL;", "        return true;", "of another site has taken it over"),
    ("a caller whose connection is gone is waited for, for ever", "takeover_act.c",
     "    t->due_ms = now + e->conf.caller_wait_ms + 1;", "    t->due_ms = 0;", "waits for its caller"),
    ("what rings for a caller who is gone rings on", "gone.c",
     "    txn->end = END_NO_TM;", "    txn->end = END_DONE;", "it rings on|its last Kamailio gave it up"),
    ("a 2xx to a caller who is gone is not acknowledged", "gone.c",
     '    say(e, t, index, reply, "ACK", now);\n', "", "nobody ends it"),
    ("a re-INVITE that is taken over begins the call anew", "legs.c",
     "sip_read_id(id, t->req) == 0 && !id->to_tag.n;", "sip_read_id(id, t->req) == 0;", "2 entries|rejected by callee"),
]


def mutant(build, file, old, new, out):
    """An executable of the simulation with that text in place of the other."""
    for c in json.load(open(f"{build}/compile_commands.json")):
        if re.search(f"daemon/core/(.*/)?{re.escape(file)}$", c["file"]):
            break
    path = os.path.join(build, c["file"])
    text = open(path).read()
    if text.count(old) != 1:
        raise ValueError(f"{file}: the text to be broken stands there {text.count(old)} times")
    source, obj = f"{out}/{file}", f"{out}/mutant.o"
    open(source, "w").write(text.replace(old, new))
    command = c["command"].replace(f"-c {c['file']}", f"-c {source}").replace(f"-o {c['output']}", f"-o {obj}")
    subprocess.run(f"{command} -I{os.path.dirname(path)} -Wno-error -w", shell=True, cwd=build, check=True)
    link = subprocess.run(["ninja", "-C", build, "-t", "commands", "tests/sim/sim"], capture_output=True, text=True,
                          check=True).stdout.strip().splitlines()[-1]
    link = link.replace("-o tests/sim/sim ", f"-o {out}/sim {obj} ")
    subprocess.run(link, shell=True, cwd=build, check=True)
    return f"{out}/sim"


def complaints(sim, seeds):
    """What it says of the first seed that fails; if somebody wants more, of the next."""
    first = 1
    while True:
        r = subprocess.run([sim, "--first", str(first), "--seeds", str(seeds and seeds - first + 1), "--until-failed", "1"],
                           capture_output=True, text=True, timeout=600)
        yield r.stderr if r.returncode else ""
        failed = re.search(r"seed (\d+), at", r.stderr)
        if not failed or int(failed[1]) >= seeds:
            return
        first = int(failed[1]) + 1


def noticed(build, fault):
    """By what that rule is for: it may have other consequences, too, which some seeds meet first."""
    what, file, old, new, said = fault
    heard, last = [], ""
    with tempfile.TemporaryDirectory() as out:
        try:
            sim = mutant(build, file, old, new, out)
            for text in itertools.islice(complaints(sim, 0 if said in BY_THE_STORM else SEEDS), OTHERS_MAX):
                heard, last = [l for l in text.splitlines() if any(s in l for s in said.split("|"))], text[-300:]
                if heard:
                    break
        except (ValueError, subprocess.TimeoutExpired) as e:
            last = e
    print(f"{'noticed' if heard else 'NOT NOTICED'}: {what}: {heard[0] if heard else last}", flush=True)
    return bool(heard)


def main():
    build = os.path.abspath(sys.argv[1])
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:  # each thread waits for a process of its own
        results = list(zip((f[0] for f in FAULTS), pool.map(lambda fault: noticed(build, fault), FAULTS)))
    if len(sys.argv) > 2:
        cases = "".join(f'<testcase classname="sim" name="it is noticed when {w}">{"" if g else "<failure/>"}</testcase>\n'
                        for w, g in results)
        open(sys.argv[2], "w").write(f'<testsuites><testsuite name="sim faults">\n{cases}</testsuite></testsuites>\n')
    return 0 if all(g for _, g in results) else 1


if __name__ == "__main__":
    sys.exit(main())
