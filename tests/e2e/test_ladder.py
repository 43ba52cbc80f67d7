"""The page in a browser, beside real Kamailios: the ladder of a call that was taken over, and of one that was cancelled elsewhere.

    KAMSYNC_SCREENSHOTS=docs/page /usr/bin/python3 -B -m pytest tests/e2e/test_ladder.py      # its pictures
"""
import pytest

from lab.browser import LOW, PHONE, Browser, missing
from lab.policies import to
from lab.proc import wait_until
from lab.talking import ASK, Talk, steer_split
from lab.window import Window

pytestmark = pytest.mark.skipif(bool(missing()), reason=f'needs {missing()}')
HTTP = 9190


def moved(talk):
    """INVITE at a, which is killed while it rings; b or c takes the call over, answer and BYE come to the other one."""
    call = talk.place('moving', dial='ring')
    talk.cluster['a'].wait_recorded(talk.callees, call.call_id)
    talk.lab.steer(to('b'))
    talk.cluster['a'].kamailio.kill()
    wait_until(lambda: talk.record(call).get('node') in (2, 3), 10, 'another node has it')
    second, third = (2, 3) if talk.record(call)['node'] == 2 else (3, 2)
    wait_until(lambda: any(t['owner'] == second for t in talk.cluster['b'].ask('tx', call_id=call.call_id)['txns']), 5, 'its transaction')
    steer_split(talk, 'abc'[third - 1], 'abc'[third - 1])
    talk.leg(call).answer()
    call.wait(200)
    wait_until(lambda: talk.record(call)['state'] == 'answered', 5, 'answered')
    return call, second, third


def steps(browser):
    """(title, way) of each row, and the nodes' decisions that have no title."""
    return [tuple(row) for row in browser.run(
        'return [...document.querySelectorAll(".steps .step")].map((e) => [e.querySelector(".what b")?.innerText ?? "",'
        ' e.querySelector(".path").textContent])')]


def wait_steps(browser, *wanted):
    """These rows stand in that order, maybe with others between."""
    def found():
        rest = iter(steps(browser))
        return all(row in rest for row in wanted)
    wait_until(found, 10, lambda: f'{wanted} in {steps(browser)}')


def test_ladder():
    with Talk(http_listen=HTTP) as talk, Window(talk.lab, 'b', HTTP) as window, Browser() as browser:
        cancelled = talk.place('cancelled', at='b', dial='ring')
        talk.lab.steer(to('c'))
        assert talk.answer(cancelled.cancel()) == 200
        talk.wait_ended(cancelled)
        browser.open(f'{window.url}?call={cancelled.call_id}')
        wait_steps(browser, ('INVITE', 'Caller → Node 2 → Far end'), ('CANCEL', 'Caller → Node 3 → Node 2'), ('487', 'Far end → Node 2 → Caller'))
        call, second, third = moved(talk)
        browser.open(f'{window.url}?call={call.call_id}')
        wait_steps(browser, ('INVITE', 'Caller → Node 1 → Far end'), ('180', 'Far end → Node 1 → Caller'), ('INVITE again', f'Node {second} → Far end'),
                   ('taken over', f'Node {second}'), ('200', f'Far end → Node {third} → Node {second} → Caller'))
        assert talk.request(call, 'BYE', 'abc'[third - 1], ASK) == 200  # while somebody looks
        wait_steps(browser, ('within the call', f'Caller → Node {third}'), ('BYE', f'Caller → Node {third} → Far end'))
        browser.shoot('ladder')
        browser.shoot('ladder-phone', 'dark', PHONE)
        browser.open(f'{window.url}?view=nodes')
        wait_until(lambda: '2 well' in browser.text('.sum'), 5, 'two nodes are well')
        browser.shoot('nodes', 'dark', LOW)
        assert browser.complaints() == []
        talk.cluster['a'].start_kamailio()
        talk.check()
