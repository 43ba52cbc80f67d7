// What is shown, as the URL says it: so a view of one customer's calls can be kept as a bookmark.

import { h } from './dom.js';

const PARTIES = [['party', 'Caller or callee'], ['caller', 'Caller'], ['callee', 'Callee']];
const TYPING_MS = 350; // nobody types slower within a word

export function read(search) {
  return Object.fromEntries(new URLSearchParams(search.replace(/\+/g, '%2B')));
}

// Without what is not set; a plus is a plus, as in kamsyncd's own URLs.
export function write(wanted) {
  const parts = Object.entries(wanted).filter(([, value]) => value !== '' && value !== undefined && value !== null)
    .map(([name, value]) => `${name}=${encodeURIComponent(value).replace(/%2B/g, '+').replace(/%3A/g, ':').replace(/%40/g, '@')}`);
  return `?${parts.join('&')}`;
}

// The bar above a list. change(wanted) is called with what the URL should say from now on; `words` are the choices of
// one more parameter, {name, label, options}. Its set(wanted) follows the URL.
export function bar(wanted, words, change) {
  const input = h('input.search', { type: 'search', placeholder: 'number, name or domain', 'aria-label': 'Search calls',
    autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', enterkeyhint: 'search', maxlength: 200 });
  const where = h('select', { 'aria-label': 'Search in' }, PARTIES.map(([key, text]) => h('option', { value: key }, text)));
  const choices = h('div.choices', { role: 'group', 'aria-label': words.label },
    words.options.map(([key, text]) => h('button', { type: 'button', 'data-value': key }, text)));
  const form = h('form.filter', { role: 'search' }, h('div.field', null, where, input), choices);
  let shown = wanted;
  let timer = 0;

  const go = (more) => {
    clearTimeout(timer);
    const rest = { ...shown };
    for (const [name] of PARTIES) delete rest[name];
    change({ ...rest, [where.value]: input.value.trim(), ...more });
  };
  input.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(go, TYPING_MS);
  });
  where.addEventListener('change', () => input.value.trim() && go());
  choices.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (button) go({ [words.name]: button.dataset.value });
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    go();
  });

  form.set = (now) => {
    shown = now;
    const field = PARTIES.find(([name]) => now[name]);
    if (field) where.value = field[0];
    if (input.value.trim() !== (now[where.value] ?? '')) input.value = now[where.value] ?? '';
    for (const button of choices.children)
      button.setAttribute('aria-pressed', String(button.dataset.value === (now[words.name] ?? '')));
  };
  form.set(wanted);
  return form;
}

// Whether a call is one of those, where kamsyncd has no filter of its own.
export function fits(wanted, caller, callee) {
  const has = (text, part) => !part || text.includes(part);
  return has(caller, wanted.caller) && has(callee, wanted.callee)
    && (has(caller, wanted.party) || has(callee, wanted.party));
}
