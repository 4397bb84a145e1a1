/**
 * Keeps a page true: when the server says that one of its topics has changed, the page fetches itself and morphs, which keeps focus,
 * selection, scroll, open details and half-filled forms. Without a stream of events it asks every five seconds.
 * An element with `data-keep` belongs to a script of its own and is left alone.
 */
import { Idiomorph } from 'idiomorph';
import { forHowLong, learnClock, tick } from './shared.ts';

const SHORTEST_MS = 1000;
const POLL_MS = 5000;
/** The server speaks every ten seconds at least. */
const STALE_MS = 15_000;
const REOPEN_MS = 20_000;
/** Somebody who has not touched the page for this long only watches, and their session may end. */
const IDLE_MS = 60_000;

const topics = new Set((document.body.dataset['live'] ?? '').split(' ').filter((topic) => topic !== ''));
const stale = document.querySelector<HTMLElement>('#stale');
let events: EventSource | null = null;
let heardAt = 0;
/** Since when the server answers this page with an error; 0 while it does not. */
let failedSince = 0;
let freshAt = Date.now();
let touchedAt = Date.now();
let openedAt = 0;
let timer: number | null = null;
let fetchedAt = 0;
let isFetching = false;
let isWanted = false;
let hasEnded = false;
let isLeaving = false;

function open(): void {
  events?.close();
  openedAt = Date.now();
  events = new EventSource('/events');
  events.addEventListener('alive', () => {
    // Whatever changed while nobody listened was not told.
    if (heardAt === 0 || Date.now() - heardAt > STALE_MS) want();
    heardAt = Date.now();
  });
  events.addEventListener('changed', (event) => {
    heardAt = Date.now();
    if (topics.has(event.data)) want();
  });
  events.addEventListener('error', () => {
    heardAt = 0;
  });
}

/** Fetches soon, and once a second at most. */
function want(): void {
  isWanted = true;
  if (timer !== null || isFetching) return;
  timer = window.setTimeout(() => void refresh(), Math.max(0, fetchedAt + SHORTEST_MS - Date.now()));
}

async function refresh(): Promise<void> {
  timer = null;
  if (hasEnded || isLeaving || document.hidden) return;
  isFetching = true;
  isWanted = false;
  fetchedAt = Date.now();
  try {
    const how = Date.now() - touchedAt < IDLE_MS ? 'active' : 'idle';
    const answer = await fetch(location.href, { headers: { 'X-Live': how }, redirect: 'error', signal: AbortSignal.timeout(10_000) });
    if (answer.status === 401) return end();
    if (!answer.ok) {
      failedSince ||= fetchedAt;
      return;
    }
    const text = await answer.text();
    if (isLeaving) return;
    await show(new DOMParser().parseFromString(text, 'text/html'));
    freshAt = Date.now();
    failedSince = 0;
  } catch {
    // The page stays as it is; how old it is, is told below.
  } finally {
    isFetching = false;
    if (isWanted) want();
  }
}

async function show(next: Document): Promise<void> {
  learnClock(next.body);
  for (const id of ['tabs', 'banner', 'main']) {
    const [before, after] = [document.getElementById(id), next.getElementById(id)];
    if (before === null || after === null) continue;
    tick(after);
    await Idiomorph.morph(before, after, {
      morphStyle: 'outerHTML',
      ignoreActiveValue: true,
      restoreFocus: true,
      callbacks: {
        beforeNodeMorphed: (node) => !isTheirs(node),
        beforeAttributeUpdated: (name, node) => !(name === 'open' && node.matches('details, dialog')),
      },
    });
  }
  document.dispatchEvent(new CustomEvent('pocketwarden:morphed'));
}

/** Of another script, or of the person who is filling it in. */
function isTheirs(node: Node): boolean {
  if (!(node instanceof Element)) return false;
  if (node.hasAttribute('data-keep')) return true;
  if (node instanceof HTMLInputElement)
    return node.type === 'checkbox' || node.type === 'radio' ? node.checked !== node.defaultChecked : node.value !== node.defaultValue;
  if (node instanceof HTMLTextAreaElement) return node.value !== node.defaultValue;
  if (node instanceof HTMLSelectElement) return [...node.options].some((option) => option.selected !== option.defaultSelected);
  return false;
}

function end(): void {
  hasEnded = true;
  events?.close();
  const login = document.createElement('a');
  login.href = `/login?${new URLSearchParams({ to: location.pathname + location.search, ended: '1' })}`;
  login.textContent = 'Log in again';
  say('Your session has ended. What you see no longer changes.', '', login);
}

/** A screen reader is told once: the part that ticks is hidden from it. */
function say(text: string, ticking = '', link: HTMLElement | null = null): void {
  if (stale === null) return;
  if (text === '') return stale.replaceChildren();
  const known = stale.querySelector('span');
  if (known !== null && link === null) {
    known.textContent = ticking;
    return;
  }
  const line = document.createElement('p');
  const tick = document.createElement('span');
  tick.ariaHidden = 'true';
  tick.textContent = ticking;
  line.append(text, tick, ticking === '' ? '' : '. Reconnecting…');
  const banner = document.createElement('div');
  banner.className = 'banner warn';
  banner.append(line, link ?? '');
  stale.replaceChildren(banner);
}

function everySecond(): void {
  tick(document);
  if (topics.size === 0 || hasEnded || document.hidden) return;
  const now = Date.now();
  const isLive = now - heardAt < STALE_MS;
  if ((!isLive || failedSince > 0) && now - fetchedAt >= POLL_MS) want();
  if (!isLive && now - openedAt > REOPEN_MS) open();
  const lastTrue = failedSince > 0 ? failedSince : Math.max(freshAt, heardAt);
  if (now - lastTrue > STALE_MS) say('Live updates stopped', ` ${forHowLong(now - lastTrue)} ago`);
  else say('');
}

function onVisibility(): void {
  if (hasEnded || topics.size === 0) return;
  if (document.hidden) {
    events?.close();
    heardAt = 0;
    return;
  }
  freshAt = Date.now();
  open();
}

for (const kind of ['pointerdown', 'keydown', 'wheel'])
  document.addEventListener(
    kind,
    () => {
      touchedAt = Date.now();
    },
    { passive: true },
  );
addEventListener('submit', () => {
  isLeaving = true;
  // A download, or an answer of 204, leaves the page where it is.
  setTimeout(() => {
    isLeaving = false;
  }, 10_000);
});
addEventListener('pagehide', () => events?.close());
addEventListener('pageshow', (event) => {
  if (event.persisted) location.reload();
});
learnClock(document.body);
setInterval(everySecond, 1000);
if (topics.size > 0) {
  document.addEventListener('visibilitychange', onVisibility);
  open();
}
