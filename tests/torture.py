"""The 49 torture messages of RFC 4475, by the RFC's names: each has the peculiarity that the RFC describes, in words of our own.

    for name, data in torture.messages().items(): ...
    torture.py PROGRAM     # runs it with a folder of them and of what they are as CANCEL, ACK and BYE

The RFC's own bytes are used instead, if KAMSYNC_TORTURE names a folder with the files of its appendix A (wsinv.dat, …)."""
import os
import re
import subprocess
import sys
import tempfile

SDP = ('v=0\r\no=torture 1 1 IN IP4 192.0.2.15\r\ns=-\r\nc=IN IP4 192.0.2.15\r\nt=0 0\r\n'
       'm=audio 49172 RTP/AVP 0 8\r\nm=video 49174 RTP/AVP 31\r\na=rtpmap:31 H261/90000\r\n')
BOB, ALICE = 'sip:bob@biloxi.example', 'sip:alice@atlanta.example'


def message(name, first, more='', body='', **parts):
    """A message that is good as far as parts (name of a header, its value or None) do not spoil it."""
    method = first.split(' ')[0]
    lines = {'Via': f'SIP/2.0/UDP 192.0.2.15;branch=z9hG4bK-{name}', 'Max-Forwards': '70', 'From': f'{ALICE};tag=f-{name}',
             'To': BOB, 'Call-ID': f'{name}.torture@192.0.2.15', 'CSeq': f'8 {"INVITE" if "/" in method else method}',
             'Contact': '<sip:alice@pc.atlanta.example>' if method == 'INVITE' else None,
             'Content-Type': 'application/sdp' if body == SDP else None, 'Content-Length': str(len(body))}
    lines.update({header.replace('_', '-'): value for header, value in parts.items()})
    text = ''.join(f'{header}: {value}\r\n' for header, value in lines.items() if value is not None)
    return f'{first}\r\n{text}{more}\r\n{body}'


def invite(name, more='', uri=BOB, body=SDP, **parts):
    return message(name, f'INVITE {uri} SIP/2.0', more, body, **parts)


def options(name, more='', uri=BOB, **parts):
    return message(name, f'OPTIONS {uri} SIP/2.0', more, **parts)


def register(name, more='', **parts):
    return message(name, 'REGISTER sip:biloxi.example SIP/2.0', more, **{'To': ALICE, **parts})


def reply(name, first, **parts):
    return message(name, f'SIP/2.0 {first}', **{'To': f'{BOB};tag=t-{name}', 'Max_Forwards': None, **parts})


ODD = "!odd-Method0123456789_*+`.%yes'~"
ODD_USER = "1_odd.User~(it-is!so)&can't+be$/worse?,/;;*"
SPACES = '    '

# 3.1.1: valid, however it looks.
VALID = {
    'wsinv': f'INVITE {BOB};noidea SIP/2.0\r\nTO :\r\n {BOB} ;   tag    = 4711t\r\nfrom   : "A \\\\\\""       <{ALICE}>\r\n  ;\r\n'
             '  tag = 4711f\r\nMaX-fOrWaRdS: 0068\r\nCall-ID: wsinv.torture@192.0.2.15\r\n'
             f'Content-Length   : {len(SDP)}\r\ncseq: 0009\r\n  INVITE\r\nVia  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;rport;'
             'branch=4711wsinv\r\ns :\r\nBrandNew:   a value\r\n that goes on\r\nStrange: ;;,,;;,;\r\nContent-Type: application/sdp\r\n'
             'Route:\r\n <sip:proxy.example.com;lr;noidea=value;no-value>\r\nv:  SIP  / 2.0  / TCP     before.example.com   ;\r\n'
             '  branch  =   z9hG4bK4712  ,\r\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK4713\r\n'
             f'm:"A \\"\\"" <{ALICE}> ; param =\r\n      value ;\r\n  another ; q = 0.33\r\n\r\n{SDP}',
    'intmeth': message('intmeth', f"{ODD} sip:{ODD_USER}:&it+has=1,odd!*pas$wo~d_too.(isn't-it)@biloxi.example SIP/2.0",
                       "x-Header-!.%*+_`'~:\ufeff\u5927\u505c\u96fb\r\n", Via="SIP/2.0/TCP pc.example.com;branch=z9hG4bK-.!%66*_+`'~",
                       To=f'"BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:{ODD_USER}@biloxi.example>', Max_Forwards='255',
                       From=f"a1~` b2'+_ c3*%!.- <{ALICE}>;param''~+*_!.-%=\"\u0440\u0430\u0431\u043e\";tag=_f~1'+`*%!-.",
                       Call_ID="intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{", CSeq=f'139122385 {ODD}'),
    'esc01': invite('esc01', uri='sip:sips%3Abob%40biloxi.example@example.net', To='sip:b%6F%62@biloxi.example',
                    From='<sip:with%20some%20spaces@example.net>;tag=e1', Max_Forwards='87',
                    Contact='\r\n  <sip:%61lice@pc.example.net;%6C%72;n%61me=v%61lue%25%34%31>'),
    'escnull': register('escnull', 'Contact: <sip:%00%00@pc.example.com>\r\n', To='sip:nul-%00-nul@example.com',
                        From='sip:nul-%00-nul@example.com;tag=n', Contact='<sip:%00@pc.example.com>'),
    'esc02': message('esc02', 'RE%47IST%45R sip:registrar.biloxi.example SIP/2.0', 'C%6Fntact: <sip:second@example.com>\r\n'
                     'Contact: <sip:third@example.com>\r\n', To='"%Z%45" <sip:resource@example.com>', Contact='<sip:first@example.com>',
                     From='"%Z%45" <sip:resource@example.com>;tag=e2', Via='SIP/2.0/TCP pc.example.com;branch=z9hG4bK2%fz234'),
    'lwsdisp': options('lwsdisp', From=f'alice<{ALICE}>;tag=l'),
    'longreq': invite('longreq', f'Unknown-{"Long" * 20}-Name: unknown-{"long" * 20}-value; unknown-{"long" * 20}-parameter-name = '
                      f'unknown-{"long" * 20}-parameter-value\r\n' + ''.join(
                          f'{via}: SIP/2.0/TCP sip{n}.example.com\r\n' for n, via in enumerate(
                              ['v', 'V', 'via', 'viA', 'vIa', 'vIA', 'ViA', 'VIa', 'VIA', 'V ', 'v  ', 'Via ', 'Via  '] * 3)) +
                      f'Via: SIP/2.0/TCP pc.example.com;received=192.0.2.5;branch=very{"long" * 50}branch\r\n',
                      Via='SIP/2.0/TCP sip99.example.com', Call_ID='longreq.one' + 'really' * 20 + 'longcallid',
                      To=f'"A user name of {"extreme" * 10} length"<sip:bob@biloxi.example:6000;p1=very{"long" * 20}value;'
                      f'longparam{"name" * 25}=short;very{"long" * 25}param>', CSeq='3882340 INVITE',
                      From=f'sip:{"amazinglylongcaller" * 5}@example.net;tag=12{"982" * 50}424;p{"long" * 10}=v{"long" * 20};valueless'),
    'dblreq': register('dblreq', Contact='sip:alice@pc.example.com') + invite('dblreq-second'),
    'semiuri': options('semiuri', 'Accept: application/sdp, application/pkcs7-mime,\r\n        multipart/mixed,\r\n\ttext/plain\r\n',
                       uri='sip:bob;par=u%40example.net@biloxi.example'),
    'transports': options('transports', 'Via: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKt2\r\nVia: SIP/2.0/TLS t3.example.com;branch='
                          'z9hG4bKt3\r\nVia: SIP/2.0/UNHEARD t4.example.com;branch=z9hG4bKt4\r\n'),
    'mpart01': message('mpart01', f'MESSAGE {BOB} SIP/2.0', 'Content-Transfer-Encoding: binary\r\n',
                       '--edge\r\nContent-Type: text/plain\r\n\r\nHello\r\n--edge\r\nContent-Type: application/octet-stream\r\n\r\n'
                       '0\x82\x01R\x06\t*\x86H\x86\xf7\r\x01\x07\x02\x00\xff\r\n\r\n\n\r\n--edge--\r\n', Route='<sip:127.0.0.1:5080>',
                       Via='SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK-m01-1--m01-;rport', Call_ID='3d94.torture@c2lwLnRvcnR1cmU..',
                       Content_Type='multipart/mixed;boundary=edge'),
    'unreason': reply('unreason', '200 = 2**3 * 5**2 \u0441\u043e\u0440\u043e\u043a \u0434\u0435\u0432\u044f\u0442\u044c'),
    'noreason': reply('noreason', '100 '),
}
# 3.1.2: invalid.
INVALID = {
    'badinv01': invite('badinv01', Via='SIP/2.0/UDP 192.0.2.15;;,;,,', Contact='"Joe" <sip:joe@example.org>;;;;'),
    'clerr': invite('clerr', Content_Length='9999'),
    'ncl': invite('ncl', Content_Length='-999', CSeq='0 INVITE', Max_Forwards='254'),
    'scalar02': register('scalar02', 'Expires: 1' + 100 * '0' + '\r\n', CSeq='36893488147419103232 REGISTER', Max_Forwards='300',
                         Contact=f'<{ALICE}>\r\n  ;expires=280297596632815', Via='SIP/2.0/TCP pc.example.com;branch=z9hG4bK-scalar02'),
    'scalarlg': reply('scalarlg', '503 Service Unavailable', CSeq='9292394834772304023312 OPTIONS', Warning='1812 overture "Going on"',
                      Retry_After='949302838503028349304023988', Via='SIP/2.0/TCP pc.example.com;branch=z9hG4bK-slg;received=192.0.2.129'),
    'quotbal': invite('quotbal', To=f'"Mr. B. User <{BOB}>', Via='SIP/2.0/UDP 192.0.2.59:5050;branch=z9hG4bK-quotbal'),
    'ltgtruri': invite('ltgtruri', uri=f'<{BOB}>', Via='SIP/2.0/UDP 192.0.2.5'),
    'lwsruri': invite('lwsruri', uri=f'{BOB}; lr', To=f'{BOB};tag=l-w-s', CSeq='2130706432 INVITE'),
    'lwsstart': message('lwsstart', f'INVITE  {BOB}  SIP/2.0', body=SDP),
    'trws': message('trws', f'OPTIONS {BOB} SIP/2.0  ', Via='SIP/2.0/TCP pc.example.com;branch=z9hG4bK-trws'),
    'escruri': invite('escruri', uri='sip:bob@biloxi.example?Route=%3Csip:example.com%3E'),
    'baddate': invite('baddate', Date='Fri, 01 Jan 2010 16:00:00 EST'),
    'regbadct': register('regbadct', Contact='sip:alice@example.com?Route=%3Csip:sip.example.com%3E'),
    'badaspec': options('badaspec', From=f'"Liddell, Alice" <{ALICE}>;tag=b', To='"Roberts, Bob" < sip:bob@biloxi.example >'),
    'baddn': options('baddn', From=f'Liddell, Alice <{ALICE}>;tag=b', To=f'Roberts, Bob <{BOB}>'),
    'badvers': message('badvers', f'OPTIONS {BOB} SIP/7.0', Via='SIP/7.0/UDP c.example.com;branch=z9hG4bK-badvers'),
    'mismatch01': options('mismatch01', CSeq='8 INVITE'),
    'mismatch02': message('mismatch02', f'NEWMETHOD {BOB} SIP/2.0', body=SDP, CSeq='8 INVITE'),
    'bigcode': reply('bigcode', '4294967301 a number for nobody'),
}
# 3.2 to 3.4: what a transaction and an application have to do with it.
BEHAVIOUR = {
    'badbranch': options('badbranch', Via='SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK'),
    'insuf': invite('insuf', From=None, To=None, Call_ID=None, Max_Forwards=None, Contact=None),
    'unkscm': options('unkscm', uri='nobodyHasHeardOf:thisscheme', Via='SIP/2.0/TCP pc.example.com;branch=z9hG4bK-unkscm'),
    'novelsc': options('novelsc', uri='soap.beep://192.0.2.103:3002', Via='SIP/2.0/TCP pc.example.com;branch=z9hG4bK-novelsc'),
    'unksm2': register('unksm2', Contact='<name:Alice_Liddell>', From='<http://www.example.com>;tag=u').replace(
        f'To: {ALICE}', 'To: isbn:2983792873'),
    'bext01': options('bext01', Require='unheardOf, unheardOfToo', Proxy_Require='noProxyHasIt, norThis',
                      Via='SIP/2.0/TLS pc.example.com;branch=z9hG4bK-bext01'),
    'invut': invite('invut', body='<audio>\r\n <pcmu port="443"/>\r\n</audio>\r\n', Content_Type='application/unheardof'),
    'regaut01': register('regaut01', Authorization='UnheardOf opaque-data=here', Via='SIP/2.0/TCP 192.0.2.253;branch=z9hG4bK-regaut01'),
    'multi01': invite('multi01', 'CSeq: 59 INVITE\r\nCall-ID: multi01-b.torture@192.0.2.2\r\nFrom: sip:carol@example.com;tag=c\r\n'
                      'To: sip:other@example.net\r\nMax-Forwards: 5\r\nContact: <sip:carol@pc.example.com>\r\n'),
    'mcl01': message('mcl01', f'OPTIONS {BOB} SIP/2.0', 'Content-Length: 5\r\n', 'How many octets belong to this message?',
                     Content_Length='13', Content_Type='text/plain'),
    'bcast': reply('bcast', '200 OK', Via='SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK-b1\r\n'
                   'Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK-b2'),
    'zeromf': options('zeromf', Max_Forwards='0'),
    'cparam01': register('cparam01', Contact='sip:+15550100@gw.example.net;unheardof'),
    'cparam02': register('cparam02', Contact='<sip:+15550100@gw.example.net;unheardof>'),
    'regescrt': register('regescrt', Contact=f'<{ALICE}?Route=%3Csip:sip.example.com%3E>'),
    'sdp01': invite('sdp01', Accept='text/nobodyReadsThis'),
    'inv2543': invite('inv2543', Via='SIP/2.0/UDP iftgw.example.com', From='<sip:+15550199@ift.example.net;user=phone>',
                      Max_Forwards=None, Contact=None, Content_Length=None, Record_Route='<sip:bob@biloxi.example;maddr=ss1.example.com>'),
}
# One byte a character here; a character beyond Latin-1 is meant as UTF-8.
BYTES = {'mpart01': 'latin-1'}


def written():
    """Ours: {name: bytes}."""
    return {name: text.encode(BYTES.get(name, 'utf-8')) for name, text in {**VALID, **INVALID, **BEHAVIOUR}.items()}


def messages():
    """{name: bytes}, all 49."""
    ours, folder = written(), os.environ.get('KAMSYNC_TORTURE')
    assert len(ours) == 49
    return {name: _read(folder, name) for name in ours} if folder else ours


def _read(folder, name):
    """A file whose line ends were made a single LF gets them back."""
    with open(os.path.join(folder, name + '.dat'), 'rb') as file:
        data = file.read()
    return data if b'\r\n' in data else data.replace(b'\n', b'\r\n')


def with_method(data, method):
    """The request as one of another method, which its CSeq names, too; None for what is no request."""
    if data.startswith(b'SIP/'):
        return None
    rest = data[data.index(b' '):]
    return method.encode() + re.sub(rb'(?im)^(cseq\s*:\s*\d+\s+)\S+', lambda m: m[1] + method.encode(), rest)


def feed(program):
    with tempfile.TemporaryDirectory() as folder:
        for name, data in messages().items():
            for method in (None, 'CANCEL', 'ACK', 'BYE'):
                changed = with_method(data, method) if method else data
                if changed:
                    with open(os.path.join(folder, f'{name}-{method}'), 'wb') as file:
                        file.write(changed)
        return subprocess.run([program, folder], check=False).returncode


if __name__ == '__main__':
    sys.exit(feed(sys.argv[1]))
