// Questions to kamsyncd, and asking again while somebody looks.

import { setClock } from './text.js';

const TIMEOUT_MS = 12000; // kamsyncd cuts off who takes longer than 10 s
const LONGEST_MS = 30000; // between two tries

export class Refusal extends Error {
  constructor(message, after) {
    super(message);
    this.after = after;
  }
}

// The answer; also one that says no ("absent", "wrong"). Throws when asking again may help.
export async function ask(path, signal) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  let response;
  let answer;
  try {
    response = await fetch(path, { signal: AbortSignal.any([signal, limit]), credentials: 'same-origin', redirect: 'error' });
    answer = await response.json();
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Refusal(limit.aborted ? 'no answer' : 'kamsyncd is away', 0);
  }
  setClock(response.headers.get('Date'));
  if (response.status === 503)
    throw new Refusal(answer.reason === 'busy' ? 'busy' : answer.error, 1000 * Number(response.headers.get('Retry-After')));
  return answer;
}

// Runs `round(signal)` again and again: `every()` ms after it was done, later after failures, never while the page is
// hidden or paused. No two at a time. `tell(state, text)` is told what is the matter.
export class Watch {
  constructor(round, every, tell) {
    Object.assign(this, { round, every, tell, failures: 0, paused: false, timer: 0, control: new AbortController() });
    this.seen = () => this.wake();
    document.addEventListener('visibilitychange', this.seen);
    this.running = false;
    this.wake();
  }

  stop() {
    document.removeEventListener('visibilitychange', this.seen);
    this.control.abort();
    clearTimeout(this.timer);
  }

  pause(paused) {
    this.paused = paused;
    clearTimeout(this.timer);
    if (paused) this.tell('paused', 'paused');
    else this.wake();
  }

  wake() {
    clearTimeout(this.timer);
    if (!this.running && !document.hidden && !this.paused) this.run();
  }

  async run() {
    this.running = true;
    let wait;
    try {
      await this.round(this.control.signal);
      this.failures = 0;
      wait = this.every();
      this.tell('live', 'live');
    } catch (error) {
      if (this.control.signal.aborted) return;
      if (!(error instanceof Refusal)) console.error(error);
      this.failures += 1;
      wait = Math.max(error.after ?? 0, Math.min(LONGEST_MS, this.every() * 2 ** this.failures));
      this.tell('trouble', error.message);
    } finally {
      this.running = false;
    }
    if (this.control.signal.aborted) return;
    if (this.paused) this.tell('paused', 'paused');
    // watchers that were refused together do not come again together
    else if (!document.hidden) this.timer = setTimeout(() => this.wake(), wait * (0.9 + 0.2 * Math.random()));
  }
}
