// A table of calls: rows that stay as long as their call, and are walked with the arrow keys.

import { h, keyed, replace } from './dom.js';
import { textOf, urlOf } from './text.js';

export const callUrl = (call) => `?call=${urlOf(call.call_id)}`;

function open(event) {
  const row = event.target.closest('tr');
  const chosen = String(getSelection());
  if (row && !event.target.closest('a') && !chosen) row.querySelector('a')?.click();
}

// columns: [name, head, cell(call)]; the cell is a text, an element or a list of them.
export class List {
  constructor(columns, key, kind) {
    this.columns = columns;
    this.key = key;
    this.body = h('tbody');
    this.element = h(`table.calls.${kind}`, null,
      h('thead', null, h('tr', null, columns.map(([name, head]) => h(`th.${name}`, { scope: 'col' }, head)))), this.body);
    this.body.addEventListener('click', open);
  }

  row(call) {
    return [this.key(call), () => h('tr'), (tr) => {
      const text = JSON.stringify(call);
      if (tr.said === text) return;
      tr.said = text;
      tr.call = call;
      const focused = tr.contains(document.activeElement);
      replace(tr, this.columns.map(([name, head, cell]) => h(`td.${name}`, { 'data-head': head }, cell(call))));
      if (focused) tr.querySelector('a')?.focus();
    }];
  }

  show(calls) {
    keyed(this.body, calls.map((call) => this.row(call)));
    this.element.hidden = calls.length === 0;
  }

  // each(tr, call), for what changes from second to second
  tick(each) {
    for (const tr of this.body.children) each(tr, tr.call);
  }

  // The next row, or the one before.
  step(by) {
    const rows = [...this.body.children];
    const at = rows.findIndex((row) => row.contains(document.activeElement));
    const to = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by));
    rows[to]?.querySelector('a')?.focus();
    rows[to]?.scrollIntoView({ block: 'nearest' });
  }
}

export function callLink(call) {
  const text = textOf(call.call_id);
  return h('a', { href: callUrl(call), title: text }, h('bdi', null, text));
}
