// Live calls of the whole cluster.

import { ask } from './ask.js';
import { h, replace, say } from './dom.js';
import { bar } from './filter.js';
import { List, callLink } from './list.js';
import { age, count, duration, now, party, pdd, pill, urlOf } from './text.js';

const ROWS = 100;
const EVERY_MS = 2000;
const ROWS_A_SECOND = 100; // who wants more rows asks less often: kamsyncd gives each question so much time

const STATES = { name: 'state', label: 'State',
  options: [['', 'All'], ['trying', 'Trying'], ['ringing', 'Ringing'], ['answered', 'Answered']] };
const SENT_ON = ['party', 'caller', 'callee', 'state', 'node'];

const COLUMNS = [
  ['state', 'State', (call) => pill(call.state)],
  ['age', 'Age', (call) => age(now() - call.trying)],
  ['pdd', 'PDD', (call) => duration(pdd(call))],
  ['caller', 'Caller', (call) => party(call.caller)],
  ['callee', 'Callee', (call) => party(call.callee)],
  ['node', 'Node', (call) => (call.node > 0 ? h('span.node', null, call.node) : '–')],
  ['id', 'Call-ID', callLink],
];

// The number of rows that the URL asks for.
const rows = (wanted) => (/^\d{1,4}$/.test(wanted.limit ?? '') ? Math.min(1000, Math.max(1, Number(wanted.limit))) : ROWS);

function path(wanted) {
  const filter = SENT_ON.filter((name) => wanted[name]).map((name) => `&${name}=${encodeURIComponent(wanted[name])}`);
  return `v1/calls?order=newest&limit=${rows(wanted)}${filter.join('')}`;
}

export function missing(silent) {
  return silent?.length > 0 && h('p.note.bad', null, `Node ${silent.join(', ')} did not answer: what only it knows is missing.`);
}

export class Calls {
  constructor(root, wanted, go) {
    this.wanted = wanted;
    this.title = 'Calls';
    this.bar = bar(wanted, STATES, (next) => go(next));
    this.total = h('b.total');
    this.shown = h('span.shown');
    this.list = new List(COLUMNS, (call) => `${urlOf(call.call_id)} ${JSON.stringify(call.from_tag)}`, 'now');
    this.notes = h('div.notes');
    this.empty = h('p.empty', { hidden: true });
    replace(root, h('h1.unseen', null, 'Live calls'), this.bar, h('p.sum', { role: 'status' }, this.total, ' ', this.shown),
      this.notes, this.list.element, this.empty);
    this.list.element.hidden = true;
  }

  change(wanted) {
    this.wanted = wanted;
    this.bar.set(wanted);
  }

  every() {
    return Math.max(EVERY_MS, (1000 * rows(this.wanted)) / ROWS_A_SECOND);
  }

  async round(signal) {
    const answer = await ask(path(this.wanted), signal);
    if (!answer.ok) replace(this.notes, h('p.note.bad', null, answer.error));
    else this.show(answer);
  }

  show({ calls, total, silent }) {
    say(this.total, count(total, 'call'));
    const filtered = SENT_ON.some((name) => this.wanted[name]);
    say(this.shown, calls.length < total ? `the newest ${calls.length.toLocaleString('en')} are shown` : filtered ? 'match' : '');
    replace(this.notes, missing(silent));
    this.list.show(calls);
    this.tick();
    this.empty.hidden = calls.length > 0;
    say(this.empty, filtered ? 'No live call matches.' : 'Nobody is calling.');
  }

  tick() {
    this.list.tick((tr, call) => say(tr.cells[1], age(now() - call.trying)));
  }

  step(by) {
    this.list.step(by);
  }
}
