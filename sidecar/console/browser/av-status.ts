/**
 * `<av-status build="ID" base="https://pb.example">` for a host's own pages: where an upload stands, in plain words, live. It asks
 * `GET /api/av/builds/{id}` of PocketBase, often while the build waits and rarely afterwards. Documented in docs/av-status.md.
 */
import type { BuildAnswer } from '../../../pb_hooks/lib/wire.ts';
import { englishLine, LABELS, MARKS, type State, stateOf } from './av-status-words.ts';

/** Each may be left out; what is left out stays English. */
export interface Texts {
  labels?: Partial<Record<State, string>>;
  /** The line below the label; undefined for the English one. */
  line?(state: State, answer: BuildAnswer | null): string | undefined;
}

/** As much of a client of PocketBase's SDK as is used. */
export interface LiveClient {
  readonly baseURL: string;
  readonly authStore: { readonly token: string };
  collection(name: string): { subscribe(topic: string, heard: () => void): Promise<() => Promise<void> | void> };
}

/** `detail` of `av-status-change`. */
export interface Change {
  readonly state: State;
  /** What PocketBase answered last; null before the first answer and for a build that is not to be seen. */
  readonly answer: BuildAnswer | null;
}

const FIRST_WAIT_MS = 2_000;
const LONGEST_WAIT_MS = 15_000;
/** A build that was judged changes only when it is scanned again. */
const SETTLED_WAIT_MS = 60_000;
const TIMEOUT_MS = 10_000;
/** Fewer failures in a row are a hiccup, and the last answer stays on the page. */
const FAILURES_TO_SHOW = 3;

// light-dark() follows the color-scheme of the page, so that a page that is always light stays readable on a dark system.
const CSS = `:host{display:inline-block}:host([hidden]),[hidden],span:empty{display:none}
div{display:grid;grid-template-columns:1em 1fr;gap:0 .5em;--tone:var(--av-idle,light-dark(#626a66,#97a09b))}
b{font-weight:600;color:var(--tone)}b:first-child{text-align:center}
span{grid-column:2;color:var(--av-muted,light-dark(#626a66,#97a09b))}
.clean{--tone:var(--av-ok,light-dark(#17803d,#5fce86))}
.infected,.failed{--tone:var(--av-bad,light-dark(#b3261e,#ff8a80))}
.unscannable,.released{--tone:var(--av-warn,light-dark(#a15c00,#f0b04a))}`;

export class AvStatus extends HTMLElement {
  static readonly observedAttributes = ['build', 'base'];

  #token = '';
  #client: LiveClient | null = null;
  #texts: Texts = {};
  #answer: BuildAnswer | null = null;
  #state: State = 'loading';
  /** What the last event told, to tell nothing twice. */
  #shown = '';
  #failures = 0;
  #waitMs = FIRST_WAIT_MS;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Of one life between being put on a page, or given another build, and the end of that. */
  #life: AbortController | null = null;
  #asking = false;
  #askAgain = false;
  #parts: { status: HTMLElement; mark: HTMLElement; label: HTMLElement; line: HTMLElement } | null = null;

  /** Of the viewer, for builds that are not public. Never an attribute: those can be read by every style sheet and extension. */
  get token(): string {
    return this.#token;
  }
  set token(token: string) {
    this.#token = token;
    this.#restart();
  }

  /** A client of PocketBase's SDK: gives address and token, and its realtime connection tells of changes before the next question. */
  get client(): LiveClient | null {
    return this.#client;
  }
  set client(client: LiveClient | null) {
    this.#client = client;
    this.#restart();
  }

  get texts(): Texts {
    return this.#texts;
  }
  set texts(texts: Texts) {
    this.#texts = texts;
    this.#draw();
  }

  get state(): State {
    return this.#state;
  }

  connectedCallback(): void {
    // Set by a page before this class was known, they would lie over the accessors.
    for (const name of ['token', 'client', 'texts'] as const) this.#adopt(name);
    this.#build();
    document.addEventListener('visibilitychange', this.#onVisible);
    this.#restart();
  }

  disconnectedCallback(): void {
    document.removeEventListener('visibilitychange', this.#onVisible);
    this.#end();
  }

  attributeChangedCallback(_: string, before: string | null, after: string | null): void {
    if (before !== after) this.#restart();
  }

  /** Asks now instead of at the next turn. */
  refresh(): void {
    clearTimeout(this.#timer);
    if (this.#asking) this.#askAgain = true;
    else if (this.#life !== null) void this.#ask(this.#life);
  }

  readonly #onVisible = () => {
    if (!document.hidden) this.refresh();
  };

  #adopt(name: 'token' | 'client' | 'texts'): void {
    if (!Object.hasOwn(this, name)) return;
    const value = this[name];
    Reflect.deleteProperty(this, name);
    Object.assign(this, { [name]: value });
  }

  #build(): void {
    if (this.#parts !== null) return;
    const root = this.attachShadow({ mode: 'open' });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
    root.adoptedStyleSheets = [sheet];
    const make = (part: string, tag: string) => {
      const element = document.createElement(tag);
      element.setAttribute('part', part);
      return element;
    };
    const [status, mark, label, line] = [make('status', 'div'), make('mark', 'b'), make('label', 'b'), make('line', 'span')];
    status.setAttribute('role', 'status');
    status.setAttribute('aria-live', 'polite');
    mark.setAttribute('aria-hidden', 'true');
    status.append(mark, label, line);
    root.append(status);
    this.#parts = { status, mark, label, line };
  }

  #end(): void {
    clearTimeout(this.#timer);
    this.#life?.abort();
    this.#life = null;
  }

  #restart(): void {
    if (!this.isConnected || this.#parts === null) return;
    this.#end();
    this.#answer = null;
    this.#failures = 0;
    this.#waitMs = FIRST_WAIT_MS;
    this.#asking = false;
    this.#askAgain = false;
    this.#show('loading', null);
    this.#parts.status.hidden = !this.getAttribute('build');
    if (this.#parts.status.hidden) return;
    const life = new AbortController();
    this.#life = life;
    void this.#ask(life);
  }

  async #ask(life: AbortController): Promise<void> {
    this.#asking = true;
    try {
      const answer = await this.#fetch(life.signal);
      if (life.signal.aborted) return;
      this.#failures = 0;
      this.#take(answer, life);
    } catch {
      if (life.signal.aborted) return;
      this.#failures += 1;
      this.#waitMs = Math.min(this.#waitMs * 2, SETTLED_WAIT_MS);
      if (this.#failures >= FAILURES_TO_SHOW) this.#show('offline', this.#answer);
    }
    this.#asking = false;
    if (this.#askAgain) {
      this.#askAgain = false;
      return this.refresh();
    }
    // Many viewers that lost the server at one moment come back at different ones. A page that nobody sees asks when it is seen.
    this.#timer = setTimeout(() => !document.hidden && this.refresh(), this.#waitMs * (1 + Math.random() / 5));
  }

  /** The answer; null for a build that is not there or not to be seen. Rejects for whatever may pass. */
  async #fetch(signal: AbortSignal): Promise<BuildAnswer | null> {
    const base = this.#client?.baseURL ?? this.getAttribute('base') ?? '';
    const token = this.#client?.authStore.token || this.#token;
    const answer = await fetch(`${base.replace(/\/+$/, '')}/api/av/builds/${encodeURIComponent(this.getAttribute('build') ?? '')}`, {
      headers: token === '' ? {} : { Authorization: token },
      credentials: 'omit',
      cache: 'no-store',
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    if (answer.ok) return (await answer.json()) as BuildAnswer;
    if ([401, 403, 404].includes(answer.status)) return null;
    throw new Error(String(answer.status));
  }

  #take(answer: BuildAnswer | null, life: AbortController): void {
    const before = this.#answer;
    this.#answer = answer;
    const state = answer === null ? 'unknown' : stateOf(answer);
    const moved = answer?.status !== before?.status || answer?.position !== before?.position;
    if (state !== 'pending' && state !== 'scanning') this.#waitMs = SETTLED_WAIT_MS;
    else this.#waitMs = moved ? FIRST_WAIT_MS : Math.min(this.#waitMs * 1.5, LONGEST_WAIT_MS);
    this.#show(state, answer);
    if (answer !== null && answer.check !== (before?.check ?? null)) this.#listen(answer, life);
  }

  /** PocketBase sends only what its rules let this viewer see, maybe nothing: the questions go on. */
  #listen({ collection, build, check }: BuildAnswer, life: AbortController): void {
    const client = this.#client;
    if (client === null || check === null) return;
    const heard = () => {
      if (this.#life === life) this.refresh();
    };
    for (const [name, id] of [
      [collection, build],
      ['av_build_checks', check],
    ] as const) {
      client
        .collection(name)
        .subscribe(id, heard)
        .then(
          (unsubscribe) => {
            const leave = () => void Promise.resolve(unsubscribe()).catch(() => {});
            if (life.signal.aborted) leave();
            else life.signal.addEventListener('abort', leave);
          },
          () => {},
        );
    }
  }

  #show(state: State, answer: BuildAnswer | null): void {
    const key = (shown: State, of: BuildAnswer | null) => JSON.stringify([shown, of?.status, of?.open, of?.reason, of?.position]);
    const changed = key(state, answer) !== this.#shown;
    this.#shown = key(state, answer);
    this.#state = state;
    this.#draw();
    if (changed)
      this.dispatchEvent(new CustomEvent<Change>('av-status-change', { detail: { state, answer }, bubbles: true, composed: true }));
  }

  /** Only what differs is written: a screen reader says every change. */
  #draw(): void {
    if (this.#parts === null) return;
    const { status, mark, label, line } = this.#parts;
    const write = (element: HTMLElement, text: string) => {
      if (element.textContent !== text) element.textContent = text;
    };
    status.className = this.#state;
    write(mark, MARKS[this.#state]);
    write(label, this.#texts.labels?.[this.#state] ?? LABELS[this.#state]);
    write(line, this.#texts.line?.(this.#state, this.#answer) ?? englishLine(this.#state, this.#answer));
  }
}

if (!customElements.get('av-status')) customElements.define('av-status', AvStatus);
