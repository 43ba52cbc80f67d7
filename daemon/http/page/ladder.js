// What is known of a call, as the rows of a ladder: pure, without any element.
//
//     records of the call ─┐
//     transactions ────────┼▶ ladder() ▶ {lanes: caller, nodes, far ends; rows: [at, hops, title, note]}
//     decisions of nodes ──┘
//
// A row is one message and its way: hops are lanes, from the first to the last, and kinds are those of the steps between. Records have the times of INVITE, ringing,
// answer and end; each node's decisions (kamsyncctl trace) have its strays, handovers and takeovers. Where a message that
// was no stray came to is not recorded: it is the node that had the transaction then.

import { nodesOf, textOf } from './text.js';

const CALLER = 'caller';
const SKEW_MS = 20; // of the nodes' clocks
const SAME_MS = 1000; // a reply is reported by the node that it came to, and by the one that it was handed to
const node = (id) => `node ${id}`;

const VERDICTS = {
  mine: () => 'its transaction is here after all',
  owner: (owner) => `handed over to node ${owner}, which has its transaction`,
  acted: (owner) => `given to all nodes at once; node ${owner} has its transaction and acted`,
  orphan: (owner) => `its transaction is node ${owner}'s, which is gone`,
  done: () => 'its transaction is over',
  unknown: () => 'nobody has its transaction',
  unavailable: () => 'the store does not say whose it is: given to all nodes',
};

// The sentences of the core (engine_trace(), stray_note()) that name a message or a takeover; others are shown as they are.
const SENTENCES = [
  [/^stray (CANCEL|ACK|INVITE|reply)(?: (\d+))? from=(\S+): (.+), owner=(\d+)$/, stray],
  [/^within a call from=(\S+): handed over to node (\d+), which has the dialog$/, (m, line, world) => ({
    hops: [world.lane(m[1]), node(line.node), node(m[2])], kind: 'handover', kinds: ['stray', 'handover'], title: 'within the call',
    note: `handed over to node ${m[2]}, which has the dialog` })],
  [/^within a call from=(\S+): the call is (\w+), waited=\d+ms$/, (m, line, world) => ({
    hops: [world.lane(m[1]), node(line.node)], kind: 'stray', title: 'within the call', note: `asked: the call is ${m[2]}` })],
  [/^its node (is gone|gives it away): the INVITE goes back into this node's Kamailio(, with its final reply)?$/, (m, line, world) => ({
    hops: [node(line.node), m[2] ? CALLER : world.far[0].key], kind: 'takeover', title: m[2] ? 'final reply again' : 'INVITE again',
    note: `the owner ${m[1]}: node ${line.node} puts the stored INVITE into its Kamailio; `
      + (m[2] ? 'the caller is told its end once more' : 'to the far end that is a retransmission') })],
  [/^taken over: this node has the transaction now$/, (m, line) => ({
    hops: [node(line.node)], kind: 'takeover', title: 'taken over', note: `node ${line.node} has the transaction now` })],
];

function stray([, method, code, from, verdict, owner], line, world) {
  const here = node(line.node);
  const source = method === 'reply' ? world.lane(from, world.far[0].key) : world.lane(from, CALLER);
  const goes = (verdict === 'owner' || verdict === 'acted') && Number(owner) > 0 && Number(owner) !== line.node;
  return { hops: goes ? [source, here, node(owner)] : [source, here], kind: goes ? 'handover' : 'stray', kinds: ['stray', 'handover'],
    code: Number(code), title: method === 'reply' ? code : method, note: VERDICTS[verdict]?.(owner) ?? verdict };
}

// ---- who takes part ----

// The far ends that the INVITE was sent to, each once.
function farEnds(txns, call) {
  const ends = new Map();
  for (const txn of txns)
    for (const branch of txn.branches ?? []) ends.set(textOf(branch.to), { key: textOf(branch.to), branch });
  if (ends.size === 0) ends.set('far', { key: 'far', branch: null, title: textOf(call?.callee) });
  return [...ends.values()];
}

// Who had the transaction when: a takeover is in the trace of who took over.
function owners(first, trace) {
  const changes = trace.filter(({ text }) => /^taken over:/.test(text));
  return (at) => changes.reduce((owner, change) => (change.at <= at ? change.node : owner), first);
}

function world(calls, txns, trace) {
  const call = calls.at(-1);
  const sources = new Set([...calls.map(({ source }) => textOf(source)), ...txns.map(({ src }) => textOf(src))]);
  const far = farEnds(txns, call);
  const first = nodesOf(calls[0] ?? {})[0]?.node ?? call?.node ?? txns[0]?.owner ?? trace[0]?.node;
  return {
    far, first, owner: owners(first, trace), source: [...sources].find(Boolean) ?? '',
    lane(from, otherwise) {
      if (sources.has(from)) return CALLER;
      if (far.some(({ key }) => key === from)) return from;
      return otherwise ?? (far[0].key === 'far' ? 'far' : from);
    },
  };
}

// ---- rows of the records ----

// The far end whose last reply is of that kind, else the first one.
function answering(far, fits) {
  return (far.find(({ branch }) => branch && fits(branch.code)) ?? far[0]).key;
}

function sent(call, txns, w) {
  const at = call.trying ?? txns.find((txn) => txn.at)?.at;
  const here = node(w.first);
  const rows = [{ at, hops: [CALLER, here, w.far[0].key], title: 'INVITE', note: textOf(call.ruri), order: -2 }];
  for (const { key } of w.far.slice(1)) rows.push({ at, hops: [here, key], title: 'INVITE', note: 'another branch; its time is not recorded', order: -1 });
  return rows;
}

function ending(call, w, byes) {
  const at = call.ended;
  const joined = nodesOf(call).find((entry) => entry.at === at)?.node;
  const here = node(joined ?? byes.at(-1)?.node ?? w.owner(at));
  const far = answering(w.far, (code) => code >= 200);
  const rest = { at, order: 2 };
  if (call.how === 'completed' && (call.by === 'caller' || call.by === 'callee'))
    return { ...rest, hops: call.by === 'caller' ? [CALLER, here, far] : [far, here, CALLER], title: 'BYE', note: `the ${call.by} hangs up` };
  if (call.how === 'cancelled')
    return { ...rest, hops: [far, here, CALLER], title: `${call.code ?? 487}`, note: 'cancelled: the phone has stopped ringing' };
  if (call.how === 'rejected') return { ...rest, hops: [far, here, CALLER], title: `${call.code ?? 'rejected'}`, note: 'rejected' };
  if (call.how === 'timed out') return { ...rest, hops: [here, CALLER], title: `${call.code ?? 408}`, note: 'no answer in time' };
  if (call.how === 'caller lost') return { ...rest, hops: [here, far], title: 'CANCEL', note: "the caller's connection has ended with its node" };
  const why = call.untracked ? `: ${textOf(call.untracked)}` : '';
  return { ...rest, hops: [here], title: 'end', note: `${call.how ?? 'ended'}${why}${call.by ? `, by ${call.by}` : ''}` };
}

function states(call, txns, trace, w) {
  const moved = nodesOf(call).length > 1;
  const by = (at) => (moved ? { note: 'by the node that had the transaction then' } : {});
  const rows = call.trying ? sent(call, txns, w) : [];
  const code = w.far.map(({ branch }) => branch?.code).find((c) => c > 100 && c < 200);
  if (call.ringing)
    rows.push({ at: call.ringing, hops: [answering(w.far, (c) => c > 100), node(w.owner(call.ringing)), CALLER], title: `${code ?? 'ringing'}`, hundred: 1, ...by() });
  if (call.answered)
    rows.push({ at: call.answered, hops: [answering(w.far, (c) => c >= 200 && c < 300), node(w.owner(call.answered)), CALLER], title: '200', hundred: 2, ...by() });
  if (call.ended) rows.push(ending(call, w, trace.filter(({ text }) => /^BYE: the call has ended/.test(text))));
  // a CANCEL that was no stray leaves no decision
  if (call.how === 'cancelled' && !trace.some(({ text }) => /^stray CANCEL/.test(text)))
    rows.push({ at: call.ended, hops: [CALLER, node(w.owner(call.ended)), w.far[0].key], title: 'CANCEL', order: 1 });
  for (const { node: id, at } of nodesOf(call).slice(1))
    if (at !== call.ended && !trace.some((line) => line.node === id))
      rows.push({ at, hops: [node(id)], title: 'joins', note: `its first message at node ${id}`, order: 1 });
  return rows;
}

// ---- rows of the decisions ----

function decision(line, w) {
  for (const [pattern, row] of SENTENCES) {
    const found = pattern.exec(line.text);
    if (found) return { at: line.came ?? line.at, ...row(found, line, w) };
  }
  return { at: line.at, hops: [node(line.node)], title: '', note: line.text, kind: 'said' };
}

// A reply that was handed over is one message: the node that had the transaction passed it on to the caller.
function join(rows) {
  const over = rows.filter(({ code, kind }) => code && kind === 'handover');
  const known = (row) => over.find((reply) => row.hundred === Math.floor(reply.code / 100) && reply.at <= row.at + SKEW_MS
    && row.at - reply.at < SAME_MS);
  return rows.filter((row) => {
    const reply = row.hundred && known(row);
    if (reply) reply.hops = [...reply.hops.slice(0, 3), CALLER];
    return !reply;
  });
}

export function ladder(calls, txns, trace) {
  const w = world(calls, txns, trace);
  const rows = join([...calls.flatMap((call) => states(call, txns, trace, w)),
    ...trace.filter(({ text }) => !/^BYE: the call has ended/.test(text)).map((line) => decision(line, w))]);
  rows.sort((a, b) => a.at - b.at || (a.order ?? 0) - (b.order ?? 0));
  const used = new Set(rows.flatMap(({ hops }) => hops));
  const ids = [...used].filter((key) => key.startsWith('node ')).map((key) => Number(key.slice(5))).sort((a, b) => a - b);
  const others = [...used].filter((key) => key !== CALLER && !key.startsWith('node ') && !w.far.some((end) => end.key === key));
  return { rows, lanes: [
    { key: CALLER, kind: 'end', title: 'Caller', detail: w.source },
    ...ids.map((id) => ({ key: node(id), kind: 'node', title: `Node ${id}` })),
    ...w.far.map(({ key, title }, i) => ({ key, kind: 'end', title: w.far.length > 1 ? `Far end ${i + 1}` : 'Far end', detail: title ?? key })),
    ...others.map((key) => ({ key, kind: 'end', title: 'Another', detail: key })),
  ] };
}
