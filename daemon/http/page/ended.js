// Ended calls: the newest entries of the archive.

import { ask } from './ask.js';
import { h, replace, say } from './dom.js';
import { bar, fits } from './filter.js';
import { List, callLink } from './list.js';
import { clock, count, date, duration, nodesOf, now, party, pdd, pill, textOf } from './text.js';

const FIRST = 200; // entries that are asked for at first,
const THEN = 100;  // and each time later: only what has ended since
const KEPT = 2000; // in this page
const EVERY_MS = 3000;

const HOW = { name: 'how', label: 'How it ended', options: [['', 'All'], ['completed', 'Completed'], ['cancelled', 'Cancelled'],
  ['rejected', 'Rejected'], ['timed out', 'Timed out'], ['caller lost', 'Caller lost'], ['untracked', 'Untracked'], ['unknown', 'Unknown']] };

// Of today only the time.
function when(ms) {
  const day = date(ms);
  return [day === date(now()) ? null : h('span.day', null, `${day} `), clock(ms)];
}

// The code where the word does not say it.
function result(call) {
  const plain = { completed: 200, cancelled: 487 }[call.how] === call.code;
  const code = call.code && !plain ? h('span.code', null, call.code) : null;
  return [pill(call.how ?? '–'), code ? ' ' : null, code];
}

const COLUMNS = [
  ['ended', 'Ended', (call) => when(call.ended)],
  ['how', 'How', result],
  ['by', 'By', (call) => call.by ?? '–'],
  ['length', 'Duration', (call) => (call.duration_ms === undefined ? '–' : duration(call.duration_ms))],
  ['pdd', 'PDD', (call) => duration(pdd(call))],
  ['caller', 'Caller', (call) => party(call.caller)],
  ['callee', 'Callee', (call) => party(call.callee)],
  ['nodes', 'Nodes', (call) => nodesOf(call).map(({ node }) => node).join(' → ') || call.node || '–'],
  ['id', 'Call-ID', callLink],
];

export class Ended {
  constructor(root, wanted, go) {
    this.wanted = wanted;
    this.title = 'Ended calls';
    this.entries = []; // newest first
    this.bar = bar(wanted, HOW, (next) => go(next));
    this.total = h('b.total');
    this.shown = h('span.shown');
    this.list = new List(COLUMNS, (call) => call.id, 'past');
    this.empty = h('p.empty', { hidden: true });
    this.notes = h('div.notes');
    replace(root, h('h1.unseen', null, 'Ended calls'), this.bar, h('p.sum', { role: 'status' }, this.total, ' ', this.shown),
      this.notes, this.list.element, this.empty);
    this.list.element.hidden = true;
  }

  change(wanted) {
    this.wanted = wanted;
    this.bar.set(wanted);
    this.show();
  }

  every() {
    return EVERY_MS;
  }

  async round(signal) {
    const last = this.behind ? null : this.entries[0]?.id;
    const answer = await ask(last ? `v1/cdr?count=${THEN}&after=${last}` : `v1/cdr?count=${FIRST}`, signal);
    if (!answer.ok) {
      replace(this.notes, h('p.note.bad', null, answer.error));
      return;
    }
    replace(this.notes);
    this.entries = [...answer.cdr.reverse(), ...(last ? this.entries : [])].slice(0, KEPT);
    this.behind = last && answer.cdr.length === THEN; // more end than it asks for: it begins again with the newest
    this.show();
  }

  show() {
    const { how } = this.wanted;
    const calls = this.entries.filter((call) => (!how || call.how === how)
      && fits(this.wanted, textOf(call.caller), textOf(call.callee)));
    say(this.total, count(calls.length, 'ended call'));
    say(this.shown, `of the newest ${this.entries.length.toLocaleString('en')}`);
    this.list.show(calls);
    this.empty.hidden = calls.length > 0;
    say(this.empty, this.entries.length ? 'No ended call matches.' : 'No call has ended yet.');
  }

  step(by) {
    this.list.step(by);
  }
}
