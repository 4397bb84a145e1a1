/**
 * The log of a build: follows, pauses when the reader scrolls up, searches, wraps. The server makes the rows; only the chunks near the
 * window are in the page, so that a long log scrolls like a short one.
 */
import { type LogSearch, searchIn } from './log-search.ts';

const CHUNK = 200;
const ROW_PX = 20;
/** As many as every browser can be tall for: Firefox stops at 17.8 million pixels. */
const MAX_LINES = 600_000;
const HASH = /^#L(\d{1,10})$/;

interface Rows {
  readonly html: string;
  readonly startsFolded: boolean;
  readonly from: number;
  readonly to: number;
  readonly total: number;
}

interface Chunk {
  readonly element: HTMLElement;
  readonly first: number;
  /** The last line it holds while it is filled. */
  filledTo: number;
  isLoading: boolean;
}

/** An element of its own, so that it also begins where a live page brings the log of the next build. */
class BuildLog extends HTMLElement {
  readonly #lines = document.createElement('div');
  readonly #chunks: Chunk[] = [];
  #pane!: HTMLElement;
  #near!: IntersectionObserver;
  #search!: LogSearch;
  #events: EventSource | null = null;
  #base = '';
  #first = 1;
  /** The log goes on after what there is room for. */
  #endsEarly = false;
  #total = 0;
  #known = 0;
  #isFollowing = false;
  #isGrowing = false;
  #unseen = 0;
  #target: number | null = null;
  #lastTop = 0;
  #lastHeight = 0;

  connectedCallback(): void {
    if (this.#base !== '' || this.dataset['log'] === undefined) return;
    this.#base = this.dataset['log'];
    this.#pane = this.#part('pane');
    this.#known = Number(this.dataset['total']);
    this.#target = Number(HASH.exec(location.hash)?.[1] ?? this.dataset['target'] ?? Number.NaN) || null;
    this.#isFollowing = this.#target === null;
    this.#near = new IntersectionObserver((entries) => this.#cameNear(entries), { root: this.#pane, rootMargin: '1500px 0px' });
    this.#lines.className = 'log-lines';
    void this.#start();
  }

  disconnectedCallback(): void {
    this.#events?.close();
    this.#near.disconnect();
  }

  async #start(): Promise<void> {
    this.#first = Math.max(1, Math.min(this.#known, this.#target ?? this.#known) - MAX_LINES / 2);
    this.#endsEarly = this.#known > this.#first + MAX_LINES;
    this.#grow(this.#endsEarly ? this.#first + MAX_LINES : this.#known);
    const at = this.#chunkOf(this.#target ?? this.#known);
    this.#search = searchIn(this, this.#base, (line) => this.#go(line));
    if (at !== undefined) await this.#fill(at);
    if (this.#known > 0) this.#pane.replaceChildren(this.#lines);
    for (const { element } of this.#chunks) this.#near.observe(element);
    this.#listen();
    if (this.#target === null) this.#toEnd();
    else await this.#go(this.#target);
    if (this.#isRunning) this.#stream();
  }

  get #isRunning(): boolean {
    return this.dataset['running'] !== undefined;
  }

  #part(name: string): HTMLElement {
    return this.querySelector<HTMLElement>(`[data-log-part="${name}"]`)!;
  }

  #listen(): void {
    const wrap = this.#part('wrap');
    wrap.hidden = false;
    wrap.addEventListener('click', () => {
      const isOn = this.#pane.classList.toggle('log-wraps');
      wrap.setAttribute('aria-pressed', String(isOn));
      if (this.#isFollowing) this.#toEnd();
    });
    this.#part('new').addEventListener('click', () => this.#follow());
    const pages = this.#part('pages');
    pages.hidden = this.#first === 1 && !this.#endsEarly;
    const [from, to, total] = [this.#first, this.#total, this.#known].map((line) => line.toLocaleString('en-US'));
    pages.textContent = `Lines ${from} to ${to} of ${total} are here. To see others, search, or put another number into the address.`;
    this.#pane.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    this.#lines.addEventListener('click', (event) => this.#clicked(event));
    addEventListener('hashchange', () => {
      const line = HASH.exec(location.hash)?.[1];
      if (line !== undefined) void this.#go(Number(line));
    });
    // A chunk that turns out taller or lower than thought must not lose the end to a reader who follows.
    new ResizeObserver(() => this.#isFollowing && this.#toEnd()).observe(this.#lines);
  }

  #scrolled(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.#pane;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < ROW_PX;
    // Only a reader moves up within the same height; the rest is rows that come and go.
    if (!isAtEnd && scrollTop < this.#lastTop - 2 && scrollHeight === this.#lastHeight) this.#isFollowing = false;
    if (isAtEnd) {
      this.#isFollowing = true;
      this.#unseen = 0;
    }
    this.#lastTop = scrollTop;
    this.#lastHeight = scrollHeight;
    this.#tell();
  }

  #follow(): void {
    this.#isFollowing = true;
    this.#unseen = 0;
    this.#toEnd();
    this.#tell();
    this.#pane.focus();
  }

  #toEnd(): void {
    this.#pane.scrollTop = this.#pane.scrollHeight;
  }

  #tell(): void {
    const button = this.#part('new');
    button.hidden = this.#isFollowing || this.#unseen === 0;
    button.textContent = `${this.#unseen.toLocaleString('en-US')} new ${this.#unseen === 1 ? 'line' : 'lines'} ↓`;
    this.#part('mode').textContent = !this.#isRunning ? '' : this.#isFollowing ? 'Following' : 'Paused';
  }

  #chunkOf(line: number): Chunk | undefined {
    return this.#chunks[Math.floor((line - this.#first) / CHUNK)];
  }

  #lastOf(chunk: Chunk): number {
    return Math.min(chunk.first + CHUNK - 1, this.#total);
  }

  /** Makes room for lines up to `total`. */
  #grow(total: number): void {
    this.#total = total;
    const grown = this.#chunks.slice(-1);
    for (let first = this.#first + this.#chunks.length * CHUNK; first <= total; first += CHUNK) {
      const chunk = { element: document.createElement('div'), first, filledTo: 0, isLoading: false };
      this.#chunks.push(chunk);
      grown.push(chunk);
      this.#lines.append(chunk.element);
      if (this.#lines.isConnected) this.#near.observe(chunk.element);
    }
    for (const chunk of grown)
      if (chunk.filledTo === 0) chunk.element.style.height = `${(this.#lastOf(chunk) - chunk.first + 1) * ROW_PX}px`;
  }

  #cameNear(entries: readonly IntersectionObserverEntry[]): void {
    for (const { target, isIntersecting } of entries) {
      const chunk = this.#chunks.find(({ element }) => element === target);
      if (chunk === undefined) continue;
      if (isIntersecting) void this.#fill(chunk);
      else this.#empty(chunk);
    }
  }

  /** Leaves its height, so that nothing moves; within a closed part of the page nothing has one. */
  #empty(chunk: Chunk): void {
    if (
      chunk.filledTo === 0 ||
      chunk.element.offsetHeight === 0 ||
      chunk.element.contains(document.activeElement) ||
      !getSelection()?.isCollapsed
    )
      return;
    chunk.element.style.height = `${chunk.element.offsetHeight}px`;
    chunk.element.replaceChildren();
    chunk.filledTo = 0;
  }

  async #fill(chunk: Chunk): Promise<void> {
    const last = this.#lastOf(chunk);
    if (chunk.isLoading || chunk.filledTo >= last) return;
    chunk.isLoading = true;
    try {
      const from = chunk.filledTo === 0 ? chunk.first : chunk.filledTo + 1;
      let rows = await this.#rows(from, last);
      const isNew = chunk.filledTo === 0 || rows.startsFolded;
      if (isNew && from !== chunk.first) rows = await this.#rows(chunk.first, last);
      if (isNew) chunk.element.innerHTML = rows.html;
      else chunk.element.insertAdjacentHTML('beforeend', rows.html);
      chunk.filledTo = Math.max(rows.to, chunk.filledTo);
      chunk.element.style.height = '';
      this.#search.mark(chunk.element);
      this.#markTarget();
    } catch {
      this.#problem('The log does not answer. Scroll or reload to ask again.');
    } finally {
      chunk.isLoading = false;
    }
  }

  async #rows(from: number, to: number, isWhole = false): Promise<Rows> {
    // What comes by itself must not keep a session alive.
    const how = this.#isGrowing ? 'idle' : 'active';
    const answer = await fetch(`${this.#base}/rows?from=${from}&to=${to}${isWhole ? '&whole=1' : ''}`, {
      headers: { Accept: 'application/json', 'X-Live': how },
    });
    if (!answer.ok) throw new Error(`the log answered ${answer.status}`);
    this.#problem('');
    return (await answer.json()) as Rows;
  }

  /** Shows that line in the middle, marked; a reader who looks there does not follow. */
  async #go(line: number): Promise<void> {
    const chunk = this.#chunkOf(line);
    if (chunk === undefined) {
      if (line <= this.#known) location.assign(`${this.#base}?line=${line}#L${line}`);
      return;
    }
    this.#isFollowing = false;
    this.#target = line;
    await this.#fill(chunk);
    this.#markTarget();
    const row = document.getElementById(`L${line}`);
    row?.closest('details')?.setAttribute('open', '');
    row?.scrollIntoView({ block: 'center' });
    this.#tell();
  }

  #markTarget(): void {
    for (const old of this.#lines.querySelectorAll('.log-target')) if (old.id !== `L${this.#target}`) old.classList.remove('log-target');
    if (this.#target !== null) document.getElementById(`L${this.#target}`)?.classList.add('log-target');
  }

  #clicked(event: MouseEvent): void {
    const link = (event.target as Element).closest('a');
    if (link === null || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const row = link.closest<HTMLElement>('.log-row');
    const line = Number(row?.id.slice(1));
    if (row === null || !(line > 0)) return;
    if (link.dataset['whole'] !== undefined) {
      event.preventDefault();
      void this.#rows(line, line, true).then(
        ({ html }) => {
          row.outerHTML = html;
        },
        () => this.#problem('The log does not answer. Reload to ask again.'),
      );
      return;
    }
    if (link.pathname !== location.pathname) return;
    event.preventDefault();
    history.replaceState(null, '', link.href);
    this.#target = line;
    this.#markTarget();
  }

  #stream(): void {
    const events = new EventSource(`${this.#base}/stream?after=${this.#total}`);
    this.#events = events;
    events.addEventListener('total', (event) => {
      this.#problem('');
      this.#known = Math.max(this.#known, Number((event as MessageEvent<string>).data));
      void this.#catchUp();
    });
    events.addEventListener('end', () => {
      events.close();
      delete this.dataset['running'];
      this.#tell();
    });
    events.addEventListener('error', () =>
      this.#problem(
        events.readyState === EventSource.CLOSED ? 'The log stopped coming. Reload the page.' : 'The log stopped coming. Reconnecting…',
      ),
    );
    this.#tell();
  }

  /** One after the other, so that rows never overtake each other. */
  async #catchUp(): Promise<void> {
    if (this.#isGrowing || this.#endsEarly) return;
    this.#isGrowing = true;
    if (!this.#lines.isConnected) this.#pane.replaceChildren(this.#lines);
    while (this.#known > this.#total) {
      const added = this.#known - this.#total;
      const before = this.#chunks.at(-1);
      this.#grow(this.#known);
      if (!this.#isFollowing) this.#unseen += added;
      const last = this.#chunks.at(-1);
      if (before !== undefined && before.filledTo > 0) await this.#fill(before);
      if (this.#isFollowing && last !== undefined) await this.#fill(last);
      if (this.#isFollowing) this.#toEnd();
      this.#tell();
    }
    this.#isGrowing = false;
  }

  #problem(text: string): void {
    this.#part('problem').textContent = text;
  }
}

customElements.define('build-log', BuildLog);
