// Elements. Whatever comes from SIP becomes a text node here: nothing in this page reads markup from a text.

// h('td.num', {title: 'x'}, 'text', element, null)
export function h(name, attributes, ...children) {
  const [tag, ...classes] = name.split('.');
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(' ');
  for (const [key, value] of Object.entries(attributes ?? {}))
    if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? '' : value);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function replace(parent, ...children) {
  parent.replaceChildren(...children.flat(Infinity).filter(Boolean));
}

// Changes an element's text only if it is another one, so that a selection survives.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Makes the children of `parent` those of `wanted`, [[key, make, update]…], in that order. An element is kept as long as
// its key is there, and with it the focus and what is selected: what is gone goes first, so that the others need not move.
export function keyed(parent, wanted) {
  const known = parent.known ?? new Map();
  const keys = new Set(wanted.map(([key]) => key));
  for (const [key, element] of known) if (!keys.has(key)) element.remove();
  const next = new Map();
  let place = parent.firstChild;
  for (const [key, make, update] of wanted) {
    let element = known.get(key);
    if (!element) {
      element = make();
      if (parent.known) element.classList.add('fresh');
    }
    update(element);
    if (element === place) place = place.nextSibling;
    else parent.insertBefore(element, place);
    next.set(key, element);
  }
  parent.known = next;
}
