// The nodes, and who sees whom.

import { ask } from './ask.js';
import { missing } from './calls.js';
import { h, replace, say } from './dom.js';
import { address, age, count, now, pill } from './text.js';

const EVERY_MS = 2000;
const SIGNS = { self: '·', up: '✓', down: '✕', unseen: '?', 'out of reach': '↯', lost: '†' };

// "down: its Kamailio is away" is "down".
const word = (state) => state.split(':')[0];

// All nodes that anybody knows, by id: {id, name, sip, inc}; a node knows itself best.
function known(views) {
  const nodes = new Map();
  for (const view of views)
    for (const node of view.sees) if (node.state === 'self' || !nodes.has(node.id)) nodes.set(node.id, node);
  return [...nodes.values()].sort((a, b) => a.id - b.id);
}

function cell(view, node) {
  const seen = view?.sees.find(({ id }) => id === node.id);
  if (!view) return h('td.seen', { 'data-state': 'silent', title: 'does not answer' }, '–');
  const state = word(seen?.state ?? 'unknown');
  const text = `${view.name} sees ${node.name}: ${seen?.state ?? 'does not know it'}`;
  return h('td.seen', { 'data-state': state.replace(/ /g, '-'), title: text }, h('span', { 'aria-hidden': true }, SIGNS[state] ?? '–'),
    h('span.unseen', null, text));
}

function matrix(nodes, views) {
  return h('div.scroll', { tabindex: 0, role: 'region', 'aria-label': 'Who sees whom' }, h('table.matrix', null,
    h('thead', null, h('tr', null, h('td.corner', null, 'sees'), nodes.map((node) => h('th', { scope: 'col', title: node.name }, node.id)))),
    h('tbody', null, nodes.map((observer) => h('tr', null, h('th', { scope: 'row' }, h('span.node', null, observer.id), ' ', observer.name),
      nodes.map((node) => cell(views.find((view) => view.node === observer.id), node)))))));
}

// When its Kamailio was started: the incarnation says so.
function since(inc) {
  const begun = 1000 * Number(inc);
  return begun > 1e12 && begun < now() + 60000 ? `for ${age(now() - begun)}` : '';
}

function fact(name, value, kind) {
  return [h('dt', null, name), h('dd', kind ? { 'data-kind': kind } : null, value)];
}

function card(node, view) {
  const state = !view ? 'silent' : view.kamailio === 'up' && view.store === 'up' ? 'up' : view.kamailio !== 'up' ? view.kamailio : 'no store';
  return h('article.card', null,
    h('h3', null, h('span.node', null, node.id), h('bdi', null, node.name), pill(state)),
    h('p.soft', null, address(node.sip)),
    h('dl', null, view ? [fact('Kamailio', [view.kamailio, h('span.soft', null, view.kamailio === 'up' ? ` ${since(view.inc)}` : '')], view.kamailio),
        fact('Store', view.store, view.store), fact('Calls', view.calls.toLocaleString('en')),
        fact('Transactions', view.txns.toLocaleString('en')), fact('Takeovers now', view.takeovers),
        fact('Strays now', view.strays)] : fact('kamsyncd', 'does not answer', 'away')),
    h('a', { href: `?view=calls&node=${node.id}` }, 'Its calls'));
}

const LEGEND = { up: 'alive', down: 'its Kamailio is away', unseen: 'no heartbeat, but its Kamailio answers',
  'out of reach': 'it lives, but does not answer that node', lost: 'no heartbeat, no answer' };

export class Nodes {
  constructor(root) {
    this.title = 'Nodes';
    this.total = h('b.total');
    this.shown = h('span.shown');
    this.notes = h('div.notes');
    this.matrix = h('div');
    this.cards = h('div.cards');
    this.last = '';
    replace(root, h('h1.unseen', null, 'Nodes'), h('p.sum', { role: 'status' }, this.total, ' ', this.shown), this.notes,
      h('div.nodes', null,
        h('section', null, h('h2', null, 'Who sees whom'), this.matrix, h('ul.legend', null, Object.entries(LEGEND).map(([state, means]) =>
          h('li', null, h('span.sign', { 'data-state': state.replace(/ /g, '-'), 'aria-hidden': true }, SIGNS[state]),
            h('span', null, h('b', null, state), h('span.soft', null, ` ${means}`)))))),
        h('section', null, h('h2', null, 'Each node'), this.cards)));
  }

  every() {
    return EVERY_MS;
  }

  async round(signal) {
    const { views, silent } = await ask('v1/views', signal);
    const nodes = known(views);
    const well = views.filter((view) => view.kamailio === 'up' && view.store === 'up').length;
    say(this.total, count(nodes.length, 'node'));
    say(this.shown, well === nodes.length ? 'all well' : `${well} well`);
    replace(this.notes, missing(silent));
    const text = JSON.stringify([nodes.map(({ seen_ms, ...node }) => node),
      views.map((view) => view.sees.map(({ id, state }) => [id, state]))]);
    if (text !== this.last) replace(this.matrix, matrix(nodes, views)); // else the keyboard's place in it would be lost
    this.last = text;
    const focused = [...this.cards.querySelectorAll('a')].indexOf(document.activeElement);
    replace(this.cards, nodes.map((node) => card(node, views.find((view) => view.node === node.id))));
    this.cards.querySelectorAll('a')[focused]?.focus();
  }
}
