// One call: the ladder, and what its records say.

import { ask } from './ask.js';
import { missing } from './calls.js';
import { h, replace, say } from './dom.js';
import { ladder } from './ladder.js';
import { address, age, clock, date, duration, nodesOf, now, party, pdd, pill, textOf, urlOf } from './text.js';

const EVERY_MS = 2000;
const ENTRIES = 1000; // of the archive
const TRACK_PX = 11; // between the steps of a way that turns back
const OVER_MS = 15000; // a call that has ended changes no more, but for what nodes still decide

// ---- the ladder ----

const place = (lanes, key) => lanes.findIndex((lane) => lane.key === key);

const goesRight = (lanes, from, to) => place(lanes, to) > place(lanes, from);

// One step of a message's way, from lane to lane. `more`: it goes on from there.
function arrow(lanes, from, to, kind, more) {
  const [a, b] = [place(lanes, from), place(lanes, to)];
  const [low, high] = [Math.min(a, b), Math.max(a, b)];
  const element = h('span.arrow', { 'data-to': b > a ? 'right' : 'left', 'data-kind': kind, 'data-more': more });
  element.style.gridColumn = `${low + 1} / ${high + 2}`;
  element.style.setProperty('--lanes', high - low + 1);
  return element;
}

function spot(lanes, key, kind) {
  const element = h('span.spot', { 'data-kind': kind });
  element.style.gridColumn = `${place(lanes, key) + 1}`;
  return element;
}

// A handover is a stray's way, the handover, and what the owner does with it.
function stepKind(row, i) {
  return row.kinds ? row.kinds[i] ?? 'plain' : row.kind ?? 'plain';
}

// Where a way turns back, each step is drawn below the one before.
function depths({ hops }, lanes) {
  const right = hops.slice(1).map((to, i) => goesRight(lanes, hops[i], to));
  const turns = right.some((side, i) => i > 0 && side !== right[i - 1]);
  return right.map((_, i) => (turns ? (i - (right.length - 1) / 2) * TRACK_PX : 0));
}

function way(lanes, row) {
  const grid = h('div.way', { 'aria-hidden': true }, lanes.map((lane, i) => {
    const line = h('i.lane');
    line.style.gridColumn = `${i + 1}`;
    return line;
  }));
  const { hops } = row;
  const depth = depths(row, lanes);
  const draw = (element, y) => {
    element.style.translate = `0 ${y}px`;
    grid.append(element);
  };
  hops.slice(1).forEach((to, i) => draw(arrow(lanes, hops[i], to, stepKind(row, i), i < hops.length - 2), depth[i]));
  if (hops.length === 1) draw(spot(lanes, hops[0], row.kind ?? 'plain'), 0);
  hops.slice(1, -1).forEach((key, i) => draw(spot(lanes, key, depth[i] === depth[i + 1] ? 'via' : 'turn'), (depth[i] + depth[i + 1]) / 2));
  grid.style.setProperty('--count', lanes.length);
  grid.dataset.tracks = new Set(depth).size;
  return grid;
}

function named(lanes, key) {
  return lanes.find((lane) => lane.key === key)?.title ?? key;
}

function step(lanes, row, begun) {
  const path = row.hops.map((key) => named(lanes, key)).join(' → ');
  return h('li.step', { 'data-kind': row.kind ?? 'plain' },
    h('span.at', null, h('time', { title: date(row.at) }, clock(row.at, true)),
      h('span.after', null, row.at === begun ? '' : `+${Math.max(0, row.at - begun).toLocaleString('en')} ms`)),
    way(lanes, row),
    h('span.what', null, row.title ? h('b', null, row.title) : null, h('span.path', null, path),
      row.note ? h('span.why', null, h('bdi', null, textOf(row.note))) : null));
}

function heads(lanes) {
  const row = h('div.way.heads', null, lanes.map((lane, i) => {
    const head = h('div.head', { 'data-kind': lane.kind, title: lane.detail ?? lane.title }, h('b', null, lane.title),
      lane.detail ? h('bdi', null, address(lane.detail)) : null);
    head.style.gridColumn = `${i + 1}`;
    return head;
  }));
  row.style.setProperty('--count', lanes.length);
  return h('div.step.top', null, h('span.at'), row, h('span.what'));
}

function picture({ lanes, rows }) {
  const begun = rows[0]?.at;
  return [heads(lanes), h('ol.steps', null, rows.map((row) => step(lanes, row, begun)))];
}

// ---- the facts ----

function fact(name, ...value) {
  return value.some((part) => part !== undefined && part !== '' && part !== null) ? [h('dt', null, name), h('dd', null, ...value)] : [];
}

const bdi = (text) => (text ? h('bdi', null, text) : '');

function facts(call) {
  const nodes = nodesOf(call).map(({ node }) => node);
  return h('dl.facts', null,
    fact('Caller', party(call.caller)), fact('Callee', party(call.callee)), fact('R-URI', bdi(textOf(call.ruri))),
    fact('Source', bdi(address(call.source))), fact('Began', call.trying ? `${date(call.trying)} ${clock(call.trying, true)}` : ''),
    fact('PDD', pdd(call) === undefined ? '' : duration(pdd(call))),
    fact('Duration', call.duration_ms === undefined ? '' : duration(call.duration_ms)),
    fact('Ended', call.how ? [call.how, call.code ? `, ${call.code}` : '', call.by ? `, by ${call.by}` : ''].join('') : ''),
    fact('Not tracked', textOf(call.untracked)),
    fact('Nodes', nodes.join(', ') || (call.node > 0 ? call.node : '')),
    Object.entries(call.vars ?? {}).map(([name, value]) => fact(textOf(name), bdi(textOf(value)))));
}

function transaction(txn) {
  return h('li', null, h('p', null, pill(txn.state), ` ${txn.code || ''} owner `, h('span.node', null, txn.owner),
    h('span.soft', null, ` epoch ${txn.epoch}, CSeq ${txn.cseq}`)),
    h('ul', null, (txn.branches ?? []).map((branch) => h('li', null, bdi(address(branch.to)), h('span.soft', null, ` ${branch.code || 'no reply'}`)))));
}

// ---- the view ----

export class Call {
  constructor(root, wanted, go, id) {
    this.id = id; // as it stands in the URL, percent-encoded
    this.title = 'Call';
    this.over = false;
    this.head = h('div.callhead');
    this.notes = h('div.notes');
    this.ladder = h('section.ladder', { 'aria-label': 'Ladder', hidden: true });
    this.more = h('section.more');
    replace(root, h('h1.callid', null, h('bdi', null, textOf(decode(id)))), this.head, this.notes, this.ladder, this.more);
  }

  every() {
    return this.over ? OVER_MS : EVERY_MS;
  }

  // One question after the other: a watcher is one connection.
  async round(signal) {
    const call = await ask(`v1/call/${this.id}`, signal);
    if (!call.ok) call.calls = await this.archived(signal);
    const tx = await ask(`v1/tx/${this.id}`, signal);
    const trace = await ask(`v1/trace/${this.id}`, signal);
    this.show(call.calls ?? [], tx.txns ?? [], trace.trace ?? [], [...new Set([...(tx.silent ?? []), ...(trace.silent ?? [])])]);
  }

  // What the archive has of a call that the store has forgotten: looked for once, among the newest.
  async archived(signal) {
    this.entries ??= (await ask(`v1/cdr?count=${ENTRIES}`, signal)).cdr ?? [];
    return this.entries.filter((entry) => same(urlOf(entry.call_id), this.id));
  }

  show(calls, txns, trace, silent) {
    const call = calls.at(-1);
    this.call = call;
    this.over = calls.length === 0 || calls.every(({ state }) => state === 'ended');
    const text = JSON.stringify([calls, txns, trace, silent]);
    if (text === this.said) return;
    this.said = text;
    this.age = h('span.big');
    replace(this.head, call ? [pill(call.how ?? call.state), this.age, h('span.parties', null, party(call.caller), h('span.to', null, '→'), party(call.callee))] : null);
    replace(this.notes, missing(silent), !call && h('p.note', null, trace.length || txns.length
      ? 'Store and archive have no record of this call: below is what nodes remember.'
      : 'No such call: it never was, or it ended a while ago.'));
    const known = calls.length > 0 || txns.length > 0 || trace.length > 0;
    this.ladder.hidden = !known;
    if (known) replace(this.ladder, picture(ladder(calls, txns, trace)));
    replace(this.more, calls.map((c, i) => h('article.card', null, h('h2', null, calls.length > 1 ? `Call ${i + 1} of this Call-ID` : 'Call'), facts(c))),
      txns.length > 0 && h('article.card', null, h('h2', null, 'INVITE transactions'), h('ul.txns', null, txns.map(transaction))));
    this.tick();
  }

  tick() {
    if (!this.call || !this.age) return;
    const { trying, answered, ended, duration_ms: took } = this.call;
    say(this.age, ended ? (answered ? duration(took) : duration(ended - trying)) : age(now() - (answered ?? trying)));
  }
}

// Two spellings of one text in a URL.
function same(a, b) {
  return a === b || decode(a) === decode(b);
}

function decode(id) {
  try {
    return decodeURIComponent(id);
  } catch {
    return id; // not UTF-8
  }
}
