"""The page at / in a real browser: live calls, the filter in the URL, the ladder, hostile names, keys, phones, many watchers.

    /usr/bin/python3 -B test_page.py --calls 10000 --watchers 5     # what that costs kamsyncd
    KAMSYNC_SCREENSHOTS=docs/page /usr/bin/python3 -B -m pytest tests/system/test_page.py -k screenshots   # its pictures
"""
import argparse
import html.parser
import pathlib
import random
import re
import statistics
import tempfile
import threading
import time

import pytest

from fake_kamailio import FakeKamailio
from harness import REPO, SLOWER, Daemon, Redis, free_port, wait_until
from http_client import get, with_http
from lab.browser import DESK, LOW, PHONE, SHOTS, Browser, missing
from sip import Call, b64
from test_http_hostile import STALL_S, stray_s

PAGE = pathlib.Path(REPO, 'daemon', 'http', 'page')
FILES = sorted(path.name for path in PAGE.iterdir())
HOSTILE = ('<script>window.hacked = 1</script>', '"><img src=x onerror="window.hacked = 1">', "'-window.hacked-'", '&lt;b&gt;&amp;',
           'javascript:window.hacked=1', '\u202egnp.exe', '%3Cscript%3E', '../../v1/drain', '?call=x&view=nodes#main', '{{hacked}}')

needs_browser = pytest.mark.skipif(bool(missing()), reason=f'needs {missing()}')


def url_of(name):
    return '/' if name == 'index.html' else f'/page/{name}'


# ---- without a browser: what is served ----

class Markup(html.parser.HTMLParser):
    """What a page without inline code has: no attribute on…, no style, no script or style with a text."""

    def __init__(self):
        super().__init__()
        self.wrong, self.inside = [], None

    def handle_starttag(self, tag, attributes):
        self.inside = tag
        names = dict(attributes)
        self.wrong += [(tag, name) for name in names if name.startswith('on') or name == 'style']
        self.wrong += [(tag, names[name]) for name in ('src', 'href') if re.match('[a-z]*:|//', names.get(name, ''))]

    def handle_data(self, data):
        if self.inside in ('script', 'style') and data.strip():
            self.wrong.append((self.inside, data))


def test_each_file_is_served_as_it_stands(kamailio, make_daemon):
    daemon = with_http(make_daemon, kamailio)
    types = {'.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript', '.svg': 'image/svg+xml'}
    assert len(FILES) > 10
    for name in FILES:
        answer = get(daemon.port, url_of(name))
        assert (answer.code, answer.body) == (200, (PAGE / name).read_bytes()), name
        assert answer.headers['Content-Type'].split(';')[0] == types[pathlib.Path(name).suffix]
    for path in ('/page', '/page/', '/page/index.html', '/page/../main.js', '/page/main.js/', '/index.html', '/page/x.js'):
        assert get(daemon.port, path).code == 404, path
    assert get(daemon.port, '/?view=calls&party=+49').code == 200


def test_each_answer_says_what_a_browser_may_do(kamailio, make_daemon):
    daemon = with_http(make_daemon, kamailio)
    for path in ('/', '/page/main.js', '/v1/calls', '/v1/call/none', '/none', '/metrics'):
        headers = get(daemon.port, path).headers
        policy = dict(rule.split(' ', 1) for rule in headers['Content-Security-Policy'].split('; '))
        assert policy['default-src'] == policy['base-uri'] == policy['form-action'] == policy['frame-ancestors'] == "'none'"
        assert policy['script-src'] == policy['style-src'] == policy['connect-src'] == policy['img-src'] == "'self'", path
        assert (policy['require-trusted-types-for'], policy['trusted-types']) == ("'script'", "'none'")
        assert (headers['X-Content-Type-Options'], headers['X-Frame-Options']) == ('nosniff', 'DENY')
        assert (headers['Referrer-Policy'], headers['Cross-Origin-Resource-Policy']) == ('no-referrer', 'same-origin')


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    markup = Markup()
    markup.feed((PAGE / 'index.html').read_text())
    assert markup.wrong == []
    for name in FILES:
        text = (PAGE / name).read_text().replace('xmlns="http://www.w3.org/2000/svg"', '')
        assert not re.search(r'https?://|@import|url\(|innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function', text), name
        for module in re.findall(r"from '\./([^']+)'", text):
            assert module in FILES, (name, module)


def test_sentences_of_the_core_that_the_ladder_reads():
    """If the core says it in other words, the ladder has to be told."""
    core = ' '.join(path.read_text() for path in pathlib.Path(REPO, 'daemon', 'core').rglob('*.c'))
    for sentence in ('"stray %s%s from=%s: %s, owner=%d"', '"within a call from=%s: handed over to node %d, which has the dialog"',
                     '"within a call from=%s: the call is %s, waited=%" PRId64 "ms"',
                     '"%s: the INVITE goes back into this node\'s Kamailio%s"', '"its node is gone"', '"its node gives it away"',
                     '", with its final reply"',
                     '"taken over: this node has the transaction now"', '"BYE: the call has ended, by %s"'):
        assert sentence in core, sentence
    verdicts = re.search(r'verdict_names\[\] = \{([^}]+)\}', core)[1].replace('"', '').split(', ')
    assert [verdict for verdict in verdicts if f'\n  {verdict}: ' not in (PAGE / 'ladder.js').read_text()] == []


# ---- with one ----

@pytest.fixture(scope='module')
def browser():
    with Browser() as the_browser:
        yield the_browser


class Site:
    """Nodes, and the page of the first one in the browser."""

    def __init__(self, browser, kamailios, daemons):
        self.browser, self.kamailios, self.daemons = browser, kamailios, daemons
        self.url = f'http://127.0.0.1:{daemons[0].port}/'
        browser.resize(*DESK)
        browser.scheme('light')
        browser.complaints()

    def open(self, query=''):
        self.browser.open(self.url + query)
        self.wait('live')

    def wait(self, text, selector='body', timeout=10):
        wait_until(lambda: text in self.browser.text(selector), timeout,
                   lambda: f'{text!r} in {selector}: {self.browser.text(selector)!r}, {self.browser.complaints()}', every=0.05)

    def wait_ids(self, *ids):
        wait_until(lambda: sorted(self.ids()) == sorted(ids), 10, lambda: f'{ids}, not {self.ids()}: {self.browser.text()}', every=0.05)

    def ids(self):
        return self.browser.texts('.calls tbody .id')

    def begin(self, node, call, *codes):
        self.kamailios[node].events(call.branch_event(), *[call.reply_event(code) for code in codes])

    def where(self):
        return self.browser.run('return location.search')


@pytest.fixture
def site(browser, make_kamailio, make_daemon, redis, request):
    """Two nodes; a test may say after how many ms a dead one is lost."""
    lost_ms = getattr(request, 'param', 2000)
    kamailios = [make_kamailio(node).start() for node in (1, 2)]
    daemons = [with_http(make_daemon, k, store=redis.url, heartbeat_ms=200, node_ttl_ms=lost_ms) for k in kamailios]
    kamailios[0].wait_frame('node', id=2, up=1)
    kamailios[1].wait_frame('node', id=1, up=1)
    return Site(browser, kamailios, daemons)


def calls_of(*users):
    return [Call(call_id=f'{user}@phone', caller=f'{user}@example.com'.encode()) for user in users]


@needs_browser
def test_calls_come_and_go(site, redis):
    site.open()
    site.wait('Nobody is calling.')
    one, two = calls_of('one', 'two')
    site.begin(0, one, 180)
    site.begin(1, two, 180, 200)
    site.wait_ids('one@phone', 'two@phone')
    rows = {row.split()[-1]: row.split() for row in site.browser.texts('.calls tbody tr')}
    assert (rows['one@phone'][0], rows['two@phone'][0]) == ('ringing', 'answered')
    assert rows['one@phone'][-2] == '1' and rows['two@phone'][-2] == '2', 'at both nodes'
    assert 'one@example.com' in rows['one@phone'] and 'bob@example.com' in rows['one@phone']
    site.begin(0, one, 486)
    site.wait_ids('two@phone')
    site.open('?view=ended')
    site.wait_ids('one@phone')
    redis.do('DEL', *redis.do('KEYS', 'kamsync:call:*'))
    site.open('?call=one@phone')
    site.wait('486', '.ladder')  # out of the archive
    site.open('?view=ended')
    site.wait_ids('one@phone')
    assert 'rejected 486' in site.browser.text('.calls .how:is(td)')
    assert [line for line in site.browser.complaints() if ' 404 ' not in line] == []  # of a call that the store has forgotten


@needs_browser
def test_the_filter_is_in_the_url(site):
    for call in calls_of('+4930123', '+4930999', 'carol'):
        site.begin(0, call, 180)
    site.begin(1, Call(call_id='to-carol', callee=b'carol@example.com'), 180, 200)
    site.open('?party=carol')
    site.wait_ids('carol@phone', 'to-carol')
    assert site.browser.run('return document.querySelector(".search").value') == 'carol'
    site.open('?caller=carol')
    site.wait_ids('carol@phone')
    site.open('?state=answered')
    site.wait_ids('to-carol')
    site.open('?node=2')
    site.wait_ids('to-carol')
    site.open('?party=+49301')
    site.wait_ids('+4930123@phone')
    site.open()
    site.browser.press('/')
    site.browser.press('+4930')
    site.wait_ids('+4930123@phone', '+4930999@phone')
    assert site.where() == '?party=+4930', 'to be kept as a bookmark'
    site.browser.run('document.querySelector("[data-value=answered]").click()')
    site.wait('No live call matches.')
    assert site.where() == '?party=+4930&state=answered'
    site.browser.run('document.querySelector("nav [data-view=ended]").click()')
    site.wait('No call has ended yet.')
    assert site.where() == '?view=ended&party=+4930', 'the same customer'


@needs_browser
def test_keys(site):
    for call in calls_of('one', 'two'):
        site.begin(0, call, 180)
    site.open()
    site.wait_ids('one@phone', 'two@phone')
    first, second = site.ids()
    site.browser.press('\ue015')  # down
    site.browser.press('\ue015')
    assert site.browser.run('return document.activeElement.innerText') == second
    time_of_a_round = site.browser.run('return performance.getEntriesByType("resource").length')
    wait_until(lambda: site.browser.run('return performance.getEntriesByType("resource").length') > time_of_a_round, 10, 'a round')
    assert site.browser.run('return document.activeElement.innerText') == second, 'news take the focus from nobody'
    site.browser.press('\ue007')  # Enter
    site.wait(second, 'h1')
    site.browser.press('\ue00c')  # Escape
    site.wait_ids(first, second)
    site.browser.press('3')
    site.wait('Who sees whom')
    site.browser.press('p')
    site.wait('paused')
    site.browser.press('p')
    site.wait('live')
    site.browser.open(site.url)
    site.browser.press('\ue004')  # Tab
    assert site.browser.run('return document.activeElement.className') == 'skip'


@needs_browser
def test_hostile_names_do_nothing(site):
    calls = [Call(call_id=name, display=name.replace('"', '\\"'), caller=b'x' + re.sub(r'[\s"<>]', '', name).encode() + b'@example.com')
             for name in HOSTILE]
    for call in calls:
        site.begin(0, call, 180)
        site.kamailios[1].stray(call.cancel())
    site.open()
    wait_until(lambda: len(site.ids()) == len(HOSTILE), 10, lambda: f'{len(HOSTILE)} rows: {site.browser.text()}', every=0.05)
    shown = sorted(site.ids())
    assert shown == sorted(name.replace('\u202e', '\ufffd') for name in HOSTILE), 'as texts'
    for name in shown:
        site.browser.run('[...document.querySelectorAll(".calls .id a")].find((a) => a.innerText === arguments[0]).click()', name)
        site.wait(name, 'h1')
        site.wait('INVITE', '.ladder')
        site.browser.run('history.back()')
        wait_until(lambda: len(site.ids()) == len(HOSTILE), 10, 'the list again', every=0.05)
    site.open('?call=' + '%3Cimg%20src%3Dx%20onerror%3D%22window.hacked%3D1%22%3E')
    site.open('?view=%3Cscript%3E&party=%22%3E%3Cimg%20src%3Dx%20onerror%3D%22window.hacked%3D1%22%3E')
    site.wait('No live call matches.')
    assert site.browser.run('return window.hacked === undefined && !document.querySelector("main img, main script")')
    assert [line for line in site.browser.complaints() if ' 404 ' not in line] == []  # of a call that never was


@needs_browser
def test_the_browser_would_not_let_them(site):
    """If a text became markup after all."""
    site.open()
    run = site.browser.run
    run('const s = document.createElement("script"); s.append("window.hacked = 1"); document.body.append(s)')
    assert run('return window.hacked') is None
    assert run('try { document.body.innerHTML = "<img src=x onerror=alert(1)>"; } catch (e) { return e.name; }') == 'TypeError'
    assert run('try { document.body.setAttribute("onclick", "window.hacked = 2"); } catch (e) { return e.name; }') == 'TypeError'
    run('document.body.setAttribute("style", "color: rgb(1, 2, 3)")')
    assert run('return window.hacked') is None
    assert run('return getComputedStyle(document.body).color') != 'rgb(1, 2, 3)'
    frame = 'const f = document.createElement("iframe"); f.src = "/"; document.body.append(f); '
    assert run(frame + 'return f.contentDocument?.querySelector("main")') is None
    reasons = ' '.join(site.browser.complaints())
    for reason in ('TrustedScript', 'TrustedHTML', 'inline style violates', 'Framing'):
        assert reason in reasons, reasons


# Until it is lost a node is said to be silent: longer than the page takes from round to round.
@needs_browser
@pytest.mark.parametrize('site', [6000], indirect=True)
def test_nodes_and_who_sees_whom(site):
    site.open('?view=nodes')
    site.wait('all well')
    states = 'return [...document.querySelectorAll(".matrix .seen")].map((e) => e.dataset.state)'
    assert site.browser.run(states) == ['self', 'up', 'up', 'self']
    site.kamailios[1].stop()
    wait_until(lambda: site.browser.run(states) == ['self', 'down', 'up', 'self'], 10, 'node 2 is down', every=0.05)
    site.wait('1 well', '.sum')
    site.daemons[1].kill()
    site.wait('Node 2 did not answer')
    wait_until(lambda: site.browser.run(states) == ['self', 'lost', 'silent', 'silent'], 20, 'node 2 is lost', every=0.05)


@needs_browser
def test_kamsyncd_goes_and_comes(site):
    """Asked less and less often, and again when it is there."""
    site.open()
    site.daemons[0].stop()
    site.wait('kamsyncd is away', '#trouble')
    site.daemons[0].start()
    site.wait('live', '#live', 30)


def requests_of(daemon):
    return int(re.search(rb'^kamsync_http_requests_total (\d+)', get(daemon.port, '/metrics').body, re.M)[1])


@needs_browser
def test_nobody_asks_who_does_not_look(site):
    site.open()
    driver, daemon = site.browser.driver, site.daemons[0]
    page = driver.current_window_handle
    driver.switch_to.new_window('tab')  # in front of it
    before = requests_of(daemon)
    time.sleep(5)  # two rounds, if it asked
    asked = requests_of(daemon) - before - 1
    driver.close()
    driver.switch_to.window(page)
    assert asked <= 1, 'one may have been under way'
    wait_until(lambda: requests_of(daemon) - before > asked + 4, 10, 'it goes on')


@needs_browser
def test_light_and_dark(site):
    site.open()
    ground = 'return getComputedStyle(document.body).backgroundColor'
    seen = {}
    for scheme in ('light', 'dark'):
        site.browser.scheme(scheme)
        seen[scheme] = sum(map(int, re.findall(r'\d+', site.browser.run(ground))[:3]))
    assert seen['light'] > 3 * 200 and seen['dark'] < 3 * 50, seen


@needs_browser
def test_phone(site):
    """Nothing is wider than the screen, whatever it shows; what has to be touched is large enough."""
    long = Call(call_id='a' * 120 + '@phone', caller=b'b' * 100 + b'@' + b'c' * 80, callee=b'd' * 100 + b'@e')
    site.begin(0, long, 180)
    site.kamailios[1].stray(long.cancel())
    site.begin(0, Call(call_id='gone'), 486)
    site.browser.resize(*PHONE)
    for query, there in (('', 'ringing'), ('?view=ended', 'rejected'), ('?view=nodes', 'Who sees whom'),
                         ('?call=' + long.call_id.decode(), 'INVITE'), ('?party=nobody', 'No live call matches.')):
        site.open(query)
        site.wait(there)
        assert site.browser.run('return document.documentElement.scrollWidth') <= PHONE[0], query
    site.open()
    assert site.browser.run('return Math.min(...[...document.querySelectorAll("nav a, .choices button, .search")]'
                            '.map((e) => e.getBoundingClientRect().height))') >= 28


PEOPLE = ('+4930901820', '+493012345678', 'alice', '+33142685300', 'bob', '+31205551234', '+442079460018', 'carol', '+16175550123')
ENDS = ((180, 200, 'caller'), (180, 200, 'caller'), (180, 200, 'callee'), (180, 486), (404,), (180, 603), (180, 487))


class Scene:
    """Made-up calls of made-up people, the same ones each time: their events, with times in the past."""

    def __init__(self):
        self.random = random.Random(3)

    def call(self, begun, codes):
        caller, callee = self.random.sample(PEOPLE, 2)
        call = Call(call_id=f'{self.random.getrandbits(48):012x}@phones.example', caller=f'{caller}@phones.example'.encode(),
                    callee=f'{callee}@sip.example'.encode())
        at = begun
        yield {**call.branch_event(), 'at': at}
        for code in (code for code in codes if isinstance(code, int)):
            at += self.random.uniform(0.2, 2) if code < 200 else self.random.uniform(0.5, 4)
            if code == 487:
                yield call.cancel_event(at=at)
            yield {**call.reply_event(code), 'at': at, **({'to_tag': b64(b't1')} if code == 200 else {})}
        if codes[-1:] in (('caller',), ('callee',)):
            tags = (b'f1', b't1') if codes[-1] == 'caller' else (b't1', b'f1')
            at += self.random.uniform(5, 300)
            for code in (0, 200):
                yield {'t': 'bye', 'call_id': b64(call.call_id), 'from_tag': b64(tags[0]), 'to_tag': b64(tags[1]), 'code': code, 'at': at}


@needs_browser
@pytest.mark.skipif(not SHOTS, reason='needs KAMSYNC_SCREENSHOTS')
def test_screenshots(site):
    scene, now = Scene(), time.time()
    for number in range(48):
        codes = scene.random.choice(((180, 200), (180, 200), (180, 200), (180,), (183,), ()))
        age = scene.random.uniform(*((0.2, 8), (2.2, 40), (6.5, 300))[len(codes)])
        site.kamailios[number % 2].events(*scene.call(now - age, codes))
    ended = [list(scene.call(now - 700 + 12 * number, scene.random.choice(ENDS))) for number in range(20)]
    for number, events in enumerate(sorted(ended, key=lambda events: events[-1]['at'])):
        site.kamailios[number % 2].events(*events)
    site.open()
    site.wait('48 calls')
    site.browser.shoot('calls', 'light', LOW)
    site.open('?party=alice')
    site.wait('match')
    site.browser.shoot('calls-phone', 'light', PHONE)
    site.open('?view=ended')
    site.wait('20 ended calls')
    site.browser.shoot('ended', 'dark', LOW)


# ---- many calls, many watchers ----

class Watcher(threading.Thread):
    """Asks as often as the page does, and comes later when it is refused."""

    def __init__(self, port, path='/v1/calls?order=newest&limit=100', every=2):
        super().__init__(daemon=True)
        self.port, self.path, self.every, self.stopped = port, path, every, threading.Event()
        self.took, self.codes = [], []

    def run(self):
        while not self.stopped.is_set():
            begun = time.monotonic()
            self.codes.append(get(self.port, self.path).code)
            self.took.append(time.monotonic() - begun)
            self.stopped.wait(self.every)

    def stop(self):
        self.stopped.set()
        self.join()


def report(kamailio, daemon, calls):
    """Live calls at a node, a tenth of which ring; 40 events in a frame, as the script sends them."""
    for start in range(0, calls, 40):
        some = [Call() for _ in range(start, min(start + 40, calls))]
        kamailio.events(*[event for i, call in enumerate(some) for event in
                          (call.branch_event(), *[call.reply_event(code) for code in ((180,) if i % 10 == 0 else (180, 200))])])
        wait_until(lambda: kamailio.n - max([a['events'] for a in kamailio.of_type('ack')], default=0) < 16, 30, 'kamsyncd reads')
    daemon.wait_report(timeout=60, unwritten=0)


class Strays(threading.Thread):
    """INVITEs that no node knows, one after the other: how long kamsyncd needs for each. It is the loop's lag, and Redis."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.daemon_, self.going, self.took = daemon, True, []

    def run(self):
        while self.going:
            self.took.append(1000 * stray_s(self.daemon_))

    def stop(self):
        self.going = False
        self.join()


def watched(daemon, watchers, seconds):
    """How long strays wait before, and while so many look; how long answers take, and their codes."""
    strays = Strays(daemon)
    strays.start()
    wait_until(lambda: len(strays.took) >= 500, 20, 'strays before')
    before = len(strays.took)
    all_of_them = [Watcher(daemon.port) for _ in range(watchers)]
    for watcher in all_of_them:
        watcher.start()
    threading.Event().wait(seconds)
    for watcher in all_of_them:
        watcher.stop()
    strays.stop()
    return (strays.took[:before], strays.took[before:], [1000 * s for w in all_of_them for s in w.took],
            [code for w in all_of_them for code in w.codes])


@pytest.mark.alone('STALL_S')
def test_many_watchers_of_many_calls(kamailio, make_daemon, redis):
    daemon = with_http(make_daemon, kamailio, store=redis.url)
    daemon.kamailio = kamailio
    report(kamailio, daemon, 2000)
    _, meanwhile, _, codes = watched(daemon, 5, 3)
    assert set(codes) == {200} and len(codes) >= 10
    assert sorted(meanwhile)[len(meanwhile) * 99 // 100] < 1000 * STALL_S * SLOWER, 'ms'


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--calls', type=int, default=10000)
    parser.add_argument('--watchers', type=int, default=5)
    parser.add_argument('--seconds', type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        redis, kamailio, port = Redis(directory).start(), FakeKamailio().start(), free_port()
        daemon = Daemon(directory, kamailio.port, store=redis.url, http_listen=port).start()
        daemon.port, daemon.kamailio = port, kamailio
        try:
            kamailio.wait_hello()
            daemon.wait_report(kamailio='up', store='up')
            report(kamailio, daemon, options.calls)
            before, meanwhile, took, codes = watched(daemon, options.watchers, options.seconds)
        finally:
            daemon.stop()
            kamailio.stop()
            redis.kill()
    def show(values):
        return f'median {statistics.median(values):.1f} ms, 99 % {sorted(values)[len(values) * 99 // 100]:.1f} ms, longest {max(values):.1f} ms'
    print(f'{options.calls} live calls; a stray takes {show(before)}')
    print(f'{options.watchers} watchers: a stray takes {show(meanwhile)}')
    print(f'answers to them: {len(codes)}, {codes.count(200)} of them 200: {show(took)}')


if __name__ == '__main__':
    main()
