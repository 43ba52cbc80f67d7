// Texts for people: what came from SIP, times, names of states.

import { h } from './dom.js';

// Control characters, and those that turn the direction of a line or are not seen at all.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

// Text from SIP is a string, or {base64: …} if it is not UTF-8 (proto/control.md).
export function textOf(value) {
  if (value === undefined || value === null) return '';
  const text = typeof value === 'object' ? new TextDecoder().decode(bytesOf(value)) : String(value);
  return text.replace(UNSEEN, '\ufffd');
}

function bytesOf(value) {
  return Uint8Array.from(atob(value.base64), (c) => c.charCodeAt(0));
}

// The same as a part of a URL, byte for byte.
export function urlOf(value) {
  if (typeof value !== 'object') return encodeURIComponent(value);
  return Array.from(bytesOf(value), (b) => `%${b.toString(16).padStart(2, '0')}`).join('');
}

// A URI without its scheme; the user stands out.
export function party(value) {
  const text = textOf(value).replace(/^sips?:/, '');
  const at = text.lastIndexOf('@');
  return h('bdi.party', { title: text }, at > 0 ? [h('b', null, text.slice(0, at)), h('span', null, text.slice(at))]
    : h('b', null, text || '–'));
}

export function address(value) {
  return textOf(value).replace(/^udp:/, '');
}

// ---- times ----

let ahead = 0; // how far the daemon's clock is ahead of this one's, ms

// HTTP's Date has whole seconds: only a larger difference is one.
export function setClock(date) {
  const difference = Date.parse(date) + 500 - Date.now();
  ahead = Math.abs(difference) > 1500 ? difference : 0;
}

export const now = () => Date.now() + ahead;

const two = (n) => String(n).padStart(2, '0');

// 850 ms, 4.2 s, 0:48, 12:05, 3:07:12, 2 d 3 h
export function duration(ms) {
  if (ms === undefined || Number.isNaN(ms)) return '–';
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 10000) return `${(ms / 1000).toFixed(1)} s`;
  return age(ms);
}

// In whole seconds.
export function age(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s >= 172800) return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  const hours = Math.floor(s / 3600);
  return hours ? `${hours}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

export function clock(ms, exact) {
  const d = new Date(ms);
  const text = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  return exact ? `${text}.${String(d.getMilliseconds()).padStart(3, '0')}` : text;
}

export function date(ms) {
  const d = new Date(ms);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
}

export const count = (n, one, many = `${one}s`) => `${n.toLocaleString('en')} ${n === 1 ? one : many}`;

// ---- calls ----

export function pdd(call) {
  if (call.pdd_ms !== undefined) return call.pdd_ms;
  return call.ringing && call.trying ? call.ringing - call.trying : undefined;
}

export function pill(word, kind = word) {
  return h('span.pill', { 'data-kind': String(kind).replace(/ /g, '-') }, word);
}

// The nodes that had to do with a call, in the order of time: at.<id>.
export function nodesOf(call) {
  return Object.entries(call).filter(([key]) => /^at\.\d+$/.test(key))
    .map(([key, at]) => ({ node: Number(key.slice(3)), at })).sort((a, b) => a.at - b.at || a.node - b.node);
}
