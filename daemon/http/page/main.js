// From the URL to what is shown: one view at a time, and one watch that keeps it fresh.

import { Watch, ask } from './ask.js';
import { Call } from './call.js';
import { Calls } from './calls.js';
import { say } from './dom.js';
import { Ended } from './ended.js';
import { read, write } from './filter.js';
import { Nodes } from './nodes.js';

const VIEWS = { calls: Calls, ended: Ended, nodes: Nodes };
const KEYS = { 1: 'calls', 2: 'ended', 3: 'nodes' };
const INSIDE = { inside: true }; // of what was come to from this page
const main = document.getElementById('main');
const live = document.getElementById('live');
const state = document.getElementById('state');

let view = null;
let watch = null;
let kind = '';
let paused = false;
let where = '';

// The Call-ID as it stands in the URL: its bytes may be no UTF-8, so it is passed on as it is.
function callId() {
  return /[?&]call=((?:[\w.~!*'()@:;,+$=/-]|%[0-9A-Fa-f]{2})+)/.exec(location.search)?.[1]?.replace(/\+/g, '%2B').replace(/\//g, '%2F');
}

// What is the matter. `busy` passes by itself.
function tell(word, text) {
  const trouble = document.getElementById('trouble');
  live.dataset.state = word;
  say(state, word === 'trouble' && text !== 'busy' ? 'tries again' : text);
  trouble.hidden = word !== 'trouble' || text === 'busy';
  say(trouble, text);
}

function title() {
  document.title = [view.title, where, 'kamsync'].filter(Boolean).join(' – ');
}

function go(wanted, instead) {
  const url = write(wanted);
  if (url === location.search) return;
  if (instead) history.replaceState(history.state, '', url);
  else history.pushState(INSIDE, '', url);
  route();
}

// Another view of the same customer.
function urlOf(name, { party, caller, callee }) {
  return write(name === 'nodes' ? { view: name } : { view: name, party, caller, callee });
}

// While somebody types, each letter is no step to go back to.
const refine = (wanted) => go(wanted, true);

function route() {
  const wanted = read(location.search);
  const id = callId();
  const next = id ? `call ${id}` : VIEWS[wanted.view] ? wanted.view : 'calls';
  watch?.stop();
  if (next === kind && view.change) {
    view.change(wanted);
  } else {
    view = id ? new Call(main, wanted, refine, id) : new VIEWS[next](main, wanted, refine);
    if (kind) scrollTo(0, 0);
    kind = next;
  }
  for (const link of document.querySelectorAll('nav a')) {
    const name = link.dataset.view;
    link.setAttribute('href', urlOf(name, wanted));
    if (name === (id ? 'calls' : next)) link.setAttribute('aria-current', id ? 'true' : 'page');
    else link.removeAttribute('aria-current');
  }
  title();
  const shown = view;
  tell('loading', 'loading');
  watch = new Watch((signal) => shown.round(signal), () => shown.every(), tell);
  watch.paused = paused; // asks once all the same
}

function pause() {
  paused = !paused;
  live.setAttribute('aria-pressed', String(paused));
  watch.pause(paused);
}

// ---- links, keys ----

document.addEventListener('click', (event) => {
  const link = event.target.closest('a[href^="?"]');
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.defaultPrevented) return;
  event.preventDefault();
  if (link.getAttribute('href') === location.search) return;
  history.pushState(INSIDE, '', link.getAttribute('href'));
  route();
  if (!link.closest('nav')) main.focus({ preventScroll: true });
});

function typing(element) {
  return element.matches('input, select, textarea');
}

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const search = document.querySelector('.search');
  if (event.key === 'Escape' && typing(event.target)) {
    event.target.blur();
  } else if (event.key === 'ArrowDown' && event.target === search) {
    view.step?.(1);
  } else if (typing(event.target)) {
    return;
  } else if (event.key === '/' && search) {
    search.focus();
    search.select();
  } else if ((event.key === 'ArrowDown' || event.key === 'j') && view.step) {
    view.step(1);
  } else if ((event.key === 'ArrowUp' || event.key === 'k') && view.step) {
    view.step(-1);
  } else if (event.key === 'Escape' && kind.startsWith('call ')) {
    if (history.state) history.back();
    else go({ view: 'calls' });
  } else if (event.key === 'p') {
    pause();
  } else if (KEYS[event.key]) {
    document.querySelector(`nav [data-view=${KEYS[event.key]}]`).click();
  } else {
    return;
  }
  event.preventDefault();
});

live.addEventListener('click', pause);
addEventListener('popstate', route);
setInterval(() => !document.hidden && !paused && view.tick?.(), 1000);

// ---- whose page it is: said once ----

ask('v1/status', new AbortController().signal).then((status) => {
  where = status.name;
  say(document.getElementById('where'), `${status.cluster} · seen from ${status.name}`);
  title();
}, () => {});

route();
