"""Scripts with all kinds of modules: a CANCEL and a BYE at another node, and the death of the node while a call rings. Each row
of docs/works-with.md is one (KAMSYNC_WORKS_TABLE=docs/works-with.md): a script in cfg/works or in the cookbook, and an entry here."""
import os
import re
import shutil
import time

import pytest

import test_stock
import test_topology_hiding
from lab import tables
from lab.cluster import Cluster, Node
from lab.lab import ANYCAST
from lab.media import Media, start_rtpengine
from lab.phone import Leg
from lab.proc import wait_until
from lab.rawsip import Peer, answer_to
from lab.works import Stage, edited

VARIABLE = 'KAMSYNC_WORKS_TABLE'
TABLES = '/usr/share/kamailio/dbtext/kamailio'      # Kamailio's own, empty
HEAD = ('script', 'CANCEL at another node', 'BYE at another node', 'node killed while it rings, answered then', 'also', 'needed')


class Row:
    """script: in cfg/works, or in the cookbook if recipe. needed: lines beside those of every script. also: what check() looks at,
    with the calls of the trials. Methods: what is special."""
    script, recipe, modules, defines, edit, cluster, dial = '', False, False, {}, None, None, 'phone'
    name = needed = also = ''
    program = 'kamailio'
    on_invite = staticmethod(Leg.ring)

    def prepare(self, stage, node):
        """Before the calls."""

    def call(self, stage):
        """More of an INVITE."""
        return {}

    def config(self, lab):
        """Another file than node.cfg."""
        return self.edit and edited(lab, self.edit)

    def rings(self, leg):
        """Before it is answered."""

    def answered(self, call, leg):
        """Fails if something is wrong, as all below."""

    def before(self, stage):
        """Before the death."""

    def after(self, stage, bye, death):
        """The same afterwards. bye, death: call and leg of these trials."""


def expect_header(stage, leg, pattern):
    """In the INVITEs that the leg's phone has got, one of each node."""
    texts = {packet.node: packet.text for packet in stage.lab.trace.at('gateway', leg.call_id)
             if packet.kind == 'INVITE' and not packet.outgoing}
    assert texts.keys() == {'a', 'b'}
    for node, text in texts.items():
        assert re.search(pattern, text, re.M), f'no {pattern} in the INVITE of {node}'


class Nathelper(Row):
    name, script, recipe = '`nathelper`: phones behind NAT', 'nat.cfg', True
    needed = '[nat.cfg](../kamailio-cfg/cookbook/nat.cfg)'
    also = 'ACK and BYE reach a private Contact'

    @staticmethod
    def on_invite(leg):
        leg.contact = f'sip:{leg.invite.user}@10.1.1.1:5060'
        leg.ring()


def dispatcher_list(lab):
    path = os.path.join(lab.new_directory('dispatcher'), 'dispatcher.list')
    with open(path, 'w') as file:
        file.write(f'1 sip:{lab.address("gateway")}:5060\n')
    return f'"{path}"'


class Dispatcher(Row):
    name, script, recipe = '`dispatcher`', 'dispatcher.cfg', True
    defines = {'DISPATCHER_LIST': dispatcher_list, 'KAMSYNC_AVPS': lambda lab: '"further"'}
    needed = '[dispatcher.cfg](../kamailio-cfg/cookbook/dispatcher.cfg), which has a test of several gateways'


class DialogAcc(Row):
    name, script, recipe, modules = '`dialog`, `acc`', 'accounting.cfg', True, True
    defines = {'KAMSYNC_DIALOG_OWNER': None}
    needed = '[accounting.cfg](../kamailio-cfg/cookbook/accounting.cfg)'
    also = 'INVITE and BYE accounted for, by the node that has the call at its end'

    def after(self, stage, bye, death):
        for node, (call, _) in (('a', bye), ('b', death)):
            wait_until(lambda node=node, call=call: self.accounted(stage, node, call) == ['INVITE', 'BYE'], 5, 'ACC lines')

    @staticmethod
    def accounted(stage, node, call):
        return [line.split('method=')[1].split(';')[0] for line in stage.cluster[node].kamailio.log().splitlines()
                if 'ACC: transaction answered' in line and f'call_id={call.call_id};' in line]


class OwnHtable(Row):
    name, script, modules = '`htable`: tables of the script', 'own_htable.cfg', True
    needed = '`htable` above the `include_file` line; each node has a table of its own (`dmq` shares one)'


def allowed(*sides):
    def write(lab):
        path = os.path.join(lab.new_directory('allowed'), 'address')
        with open(path, 'w') as file:
            file.writelines(f'1 {lab.address(side)} 32 0\n' for side in sides)
        return f'"{path}"'
    return write


class GuardsBelow(Row):
    name, script, modules = '`permissions`, `pike` below `route(KAMSYNC_REQUEST)`', 'guards.cfg', True
    defines = {'ALLOWED': allowed('caller', 'gateway')}
    edit = '\troute(KAMSYNC_REQUEST);\n', '\troute(KAMSYNC_REQUEST);\n\troute(GUARD);\n'


class GuardsAbove(Row):
    name, script, modules = 'the same above it', 'guards.cfg', True
    defines = {'ALLOWED': allowed('caller', 'gateway', 'a', 'b')}
    edit = '\troute(KAMSYNC_REQUEST);\n', '\troute(GUARD);\n\troute(KAMSYNC_REQUEST);\n'
    needed = "the nodes' own addresses in the list; `pike` counts what they hand over"


class HidesFrom(Row):
    name, script, recipe = '`uac_replace_from()`, restored automatically', 'from.cfg', True
    defines = {'KAMSYNC_AS_SENT': None}
    needed = '[from.cfg](../kamailio-cfg/cookbook/from.cfg)'
    also = 'the caller sees his own From, the phone another, also in the BYE'

    def after(self, stage, bye, death):
        for call, leg in (bye, death):
            seen = {msg['from'].split(';')[0] for msg in call.replies}
            assert seen == {f'<sip:caller@{stage.caller.ip}:{stage.caller.port}>'}, f'the caller sees {seen}'
            assert all('anonymous.invalid' in packet.text for packet in stage.lab.trace.at('gateway', call.call_id)
                       if packet.kind in ('INVITE', 'BYE') and not packet.outgoing), 'the phone sees who calls'


def register(stage, contact, more=(), answer=lambda: None):
    """The phone, at the node that gets what it sends. answer: the registrar's, if that is no node."""
    ip = stage.callees.ip
    text = '\r\n'.join([f'REGISTER sip:{ANYCAST} SIP/2.0', ': '.join(stage.callees.via(5060, 'z9hG4bKreg')), *more,
                        f'From: <sip:phone@{ANYCAST}>;tag=r', f'To: <sip:phone@{ANYCAST}>', f'Call-ID: register@{ip}',
                        'CSeq: 1 REGISTER', 'Max-Forwards: 70', f'Contact: <{contact}>', 'Expires: 600', 'Content-Length: 0', '', ''])
    asking = stage.callees.ask(5060, 'REGISTER', 'z9hG4bKreg', text)
    answer()
    wait_until(lambda: asking.code == 200, 5, '200 to the REGISTER')


class Registrar(Row):
    name, script, modules = '`registrar` with Path', 'path.cfg', True
    needed = 'one location table, or the same registrations in each'
    also = 'the INVITE that is sent again has the Route of the Path'

    def prepare(self, stage, node):
        stage.lab.route('gateway', node)
        ip = stage.callees.ip
        register(stage, f'sip:phone@{ip}:5062', ('Supported: path', f'Path: <sip:edge@{ip}:5060;lr>'))

    def after(self, stage, bye, death):
        expect_header(stage, death[1], rf'^Route: <sip:edge@{stage.callees.ip}:5060;lr>')


class Outbound(Row):
    name, script, modules = '`outbound`: flow tokens', 'outbound.cfg', True
    edit = '\t\trecord_route();\n', '\t\tsetflag(1);\n\t\trecord_route();\n'
    needed = 'one `flow_token_secret` on all nodes'
    also = 'the INVITE that is sent again has a flow token in its Record-Route'

    def after(self, stage, bye, death):
        expect_header(stage, death[1], rf'^Record-Route: <sip:[^@]+@{ANYCAST};')


class Edge(Row):
    name, script, modules = '`path`: edge proxies before a registrar', 'edge.cfg', True
    edit = '\tremove_hf("Route");\n', '\tloose_route();\n'
    defines = {'REGISTRAR': lambda lab: f'"{lab.address("caller")}:5068"'}
    needed = '`loose_route()` in place of `remove_hf("Route")`, for what comes from the registrar'
    also = "the registrar's 200 to the REGISTER at another node; its Path leads to the phone from any"
    path = ''

    def prepare(self, stage, node):
        """It registers by way of each node, and the answer comes to b."""
        stage.lab.route('gateway', node)
        stage.lab.route('caller', 'b')
        registrar = Peer(stage.lab, 'caller', 5068)

        def answer():
            text = registrar.expect('REGISTER')
            registrar.send(answer_to(text.encode(), '200 OK'))
            self.path = re.search(r'^Path: (.*?)\r$', text, re.M)[1]
        register(stage, f'sip:phone@{stage.callees.ip}:5060', answer=answer)
        registrar.close()

    def call(self, stage):
        return {'headers': (('Route', self.path),)}


class Ports(Row):
    name, script, modules = 'several listening ports', 'ports.cfg', True
    also = 'the INVITE that is sent again comes from the same one'

    def after(self, stage, bye, death):
        expect_header(stage, death[1], rf'^Via: SIP/2.0/UDP {ANYCAST}:5080')


class Advertise(Row):
    name, script, modules = '`advertise`', 'own_htable.cfg', True
    edit = 'listen=udp:ANYCAST_IP:ANYCAST_PORT\n', 'listen=udp:ANYCAST_IP:ANYCAST_PORT advertise 203.0.113.1:5060\n'
    also = 'Via and Record-Route have it, as before'

    def after(self, stage, bye, death):
        for header in ('Via: SIP/2.0/UDP', 'Record-Route: <sip:'):
            expect_header(stage, death[1], rf'^{header} *203\.0\.113\.1')


class Async(Row):
    name, script, dial = '`async`: the call waits, suspended', '../suspended.cfg', 'soon'
    needed = '`route(KAMSYNC_PENDING)` before it is suspended; CANCEL and death while it waits: `test_suspended.py`'


class OwnReplies(Row):
    name, script = 'replies and requests of the script: `t_newtran()` with `send_reply()`, `t_reply()`, a NOTIFY by `tm`', 'own_replies.cfg'
    also = 'the ACK to the reply, and the 200 to the NOTIFY, at another node: nothing comes twice'

    def before(self, stage):
        stage.lab.steer(lambda packet: 'b' if packet.kind == 'ACK' or packet.side == 'gateway' else 'a')
        calls = {code: stage.caller.call(f'{dial}@lab', dial) for code, dial in ((404, 'sent'), (486, 'replied'))}
        watched = stage.caller.call('watched@lab', 'notify')
        for code, call in calls.items():
            call.wait(code)
        watched.wait(180)
        wait_until(lambda: stage.lab.trace.at('gateway', 'of-watched@lab'), 5, 'the NOTIFY')
        sent = time.monotonic()      # tm would send all of them again within 0.5 s
        watched.cancel()
        watched.wait(487)
        wait_until(lambda: time.monotonic() - sent > 1.2, 3, 'time for one to come again')
        for call_id in ('sent@lab', 'replied@lab', 'of-watched@lab'):
            assert not stage.lab.trace.repeated(call_id), f'{call_id}: a retransmission'


class RegistersNode(Node):
    def start_kamailio(self):
        shutil.copytree(TABLES, f'{self.directory}/db')
        self.cluster.defines.update(CTL=f'"unixs:{self.directory}/ctl"', DB=f'"text://{self.directory}/db"')
        super().start_kamailio()


class RegistersCluster(Cluster):
    node_class = RegistersNode


class Registers(Row):
    name, script, modules, cluster = '`uac`: registrations', 'registers.cfg', True, RegistersCluster
    also = 'the 200 to the REGISTER at another node: it is registered, and sends no second one'

    def before(self, stage):
        registrar = Peer(stage.lab, 'gateway', 5068)
        stage.lab.route_all('b')
        control = f'unixs:{stage.cluster["a"].directory}/ctl'

        def kamcmd(*words):
            return stage.lab.run('a', ['kamcmd', '-s', control, *words]).stdout
        proxy = f'sip:{registrar.ip}:{registrar.port}'
        kamcmd('uac.reg_add', 'one', 'node', 'lab', 'node', 'lab', 'lab', 'node', 'secret', '.', proxy, '60', '0', '0',
               f'udp:{ANYCAST}:5060', '.')
        text = registrar.expect('REGISTER', 10)
        registrar.send(answer_to(text.encode(), '200 OK').replace(b'Content-Length', b'Contact: <sip:one@192.0.2.1>;expires=60\r\nContent-Length'))
        wait_until(lambda: int(re.search(r'flags: (\d+)', kamcmd('uac.reg_dump'))[1]) & 4, 5, 'registered')
        registrar.expect_nothing('REGISTER', 1.2)
        registrar.close()


class Rtpengine(Row):
    name, script, recipe = '`rtpengine`', 'rtpengine.cfg', True
    defines = {'KAMSYNC_AS_SENT': None, 'RTPENGINE': lambda lab: f'"{start_rtpengine(lab)}"', 'GATEWAY2': lambda lab: '"none:5060"'}
    program = 'rtpengine'
    needed = '[rtpengine.cfg](../kamailio-cfg/cookbook/rtpengine.cfg)'
    also = 'RTP in both directions, before and after'
    media = None

    def prepare(self, stage, node):
        if not self.media:
            self.media = stage.stack.enter_context(Media(stage.lab))

    def call(self, stage):
        return self.media.offer()

    def rings(self, leg):
        self.media.answer(leg)

    def answered(self, call, leg):
        self.media.talk(call, leg)


class StockNat(Rtpengine):
    name, recipe, cluster = 'Debian\'s `kamailio.cfg` with `WITH_NAT`, `WITH_RTPENGINE`', False, test_stock.StockCluster
    needed = '[its patch](../kamailio-cfg/README.md#the-stock-configuration), `KAMSYNC_AS_SENT`, and one rtpengine for all nodes'
    also = 'a phone with a private Contact; RTP in both directions, before and after'
    script, defines = '', {}

    @staticmethod
    def on_invite(leg):
        Nathelper.on_invite(leg)

    def config(self, lab):
        directory = lab.new_directory('stock')
        test_stock.patch_stock(directory)
        with open(f'{directory}/kamailio.cfg') as file:
            text = file.read()
        more = ''.join(f'#!define {name}\n' for name in ('WITH_NAT', 'WITH_RTPENGINE', 'KAMSYNC_AS_SENT'))
        assert 'udp:127.0.0.1:2223' in text
        with open(f'{directory}/kamailio.cfg', 'w') as file:
            file.write(text.replace('\n', f'\n{more}', 1).replace('udp:127.0.0.1:2223', start_rtpengine(lab)))
        return directory

    def prepare(self, stage, node):
        super().prepare(stage, node)
        stage.lab.route('gateway', node)
        register(stage, 'sip:phone@10.1.1.1:5060')


ROWS = [StockNat, Nathelper, Dispatcher, DialogAcc, Rtpengine, HidesFrom, Registrar, Edge, Outbound, OwnHtable, GuardsBelow, GuardsAbove, Ports,
        Advertise, Async, Registers, OwnReplies]
REFUSED = ('topoh', 'topos')
done = {}


@pytest.fixture(scope='module', autouse=True)
def page():
    yield
    lines = [HEAD, ('---',) * len(HEAD), *(done[row] for row in (*ROWS, *REFUSED) if row in done)]
    text = ''.join(f'| {" | ".join(cells)} |\n' for cells in lines)
    print(text)
    if len(done) == len(ROWS) + len(REFUSED):
        tables.write(text, VARIABLE)


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.__name__)
def test_row(row):
    if not shutil.which(row.program):
        pytest.skip(f'needs {row.program}')
    with Stage(row()) as stage:
        results = stage.all_trials()
        done[row] = (row.name, *results[:3], f'{row.also}: {results[3]}' if row.also else '', row.needed)
        assert results == ['yes'] * 4, '\n'.join(stage.lab.trace.show(f'{name}@lab') for name in ('cancel', 'bye', 'death'))
        stage.check()


@pytest.mark.parametrize('module', REFUSED)
def test_refused(module, tmp_path):
    """Kamailio does not start with it, and says why."""
    run = test_topology_hiding.check(tmp_path, module)
    assert run.returncode != 0 and f'kamsync does not work with {module}: ' in run.stderr
    done[module] = (f'`{module}`', *['does not start'] * 3, '', '[the topology hidden on a proxy of its own](../kamailio-cfg/README.md)')
