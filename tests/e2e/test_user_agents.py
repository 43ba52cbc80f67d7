"""tools/user_agents.py, which is run by hand, with the one agent that is always there: a Kamailio with a phone behind it."""
from lab.agents import KamailioAgent
from tools.user_agents import row_of


def test_a_proxy_at_the_far_end():
    _, *cells = row_of(KamailioAgent, cases=('answers', 'rejects', 'the caller cancels'))
    assert [cell.split(',')[0] for cell in cells] == ['200', '486', '487']
    assert not [cell for cell in cells if 'lost' in cell or 'twice' in cell or '180 again after' not in cell]
