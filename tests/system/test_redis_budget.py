"""An ordinary call costs Redis no command more than it must (`./dev bench commands` shows more of it)."""
from redis_budget import BUDGET, MORE, Bench


def test_an_ordinary_call(tmp_path):
    with Bench(str(tmp_path), 120) as bench:
        outcome = bench.run()
    assert list(outcome) == list(BUDGET)
    for step, (commands, size) in outcome.items():
        wanted = {name: int(times or 1) for name, _, times in (word.partition('*') for word in BUDGET[step][0].split())}
        assert {name: round(calls) for name, (calls, _) in commands.items()} == wanted, step
        assert size <= MORE * BUDGET[step][1], step
