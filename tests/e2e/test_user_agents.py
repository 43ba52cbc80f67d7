"""tools/user_agents.py, which is run by hand, with the one agent that is always there: a Kamailio with a phone behind it."""
import re

import pytest

from lab.agents import KamailioAgent
from tools.user_agents import row_of

CASES = ('answers', 'rejects', 'the caller cancels')


@pytest.mark.parametrize('over, again', [('udp', r', 180 again after \d+ ms'), ('tcp', '')])
def test_a_proxy_at_the_far_end(over, again):
    _, *cells = row_of(KamailioAgent, over, cases=CASES)
    for cell, right in zip(cells, ('200, ACK, BYE 200', '486, ACK', '487, ACK'), strict=True):
        assert re.fullmatch(right + again, cell)
