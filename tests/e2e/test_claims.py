"""One INVITE at two nodes (KAMSYNC_CLAIM): how often do two phones ring? The whole table: tools/claims.py."""
import pytest

from lab.lab import Lab
from tools.claims import start, window

TRIALS = 15


@pytest.mark.parametrize('mode, gap_ms, expected', [
    pytest.param('none', 500, TRIALS, id='without claim always two'),
    pytest.param('strict', 0, 0, id='strict never two, even at the same time'),
    pytest.param('late', 500, 0, id='late never two, when it is a retransmission'),
])
def test_two_phones_ring(mode, gap_ms, expected):
    with Lab() as lab:
        cluster = start(lab, mode)
        assert window(lab, (gap_ms,), TRIALS) == {gap_ms: expected}
        cluster.stop()
        lab.check()
