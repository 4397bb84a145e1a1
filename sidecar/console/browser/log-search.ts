/** Search over the whole log: the server looks, in parts; what was looked at is told. */

export interface LogSearch {
  /** Marks what was found in rows that have come. */
  mark(within: ParentNode): void;
}

interface Found {
  readonly lines: readonly number[];
  /** The first line that was not looked at; null at the end. */
  readonly next: number | null;
  readonly total: number;
}

/** Beyond these nobody steps through them one by one. */
const MAX_FOUND = 5000;
/** Parts asked for without being asked again. */
const PARTS = 10;

export function searchIn(root: HTMLElement, base: string, go: (line: number) => Promise<void>): LogSearch {
  const search = new Search(root, base, go);
  search.listen();
  return search;
}

class Search implements LogSearch {
  readonly #form: HTMLFormElement;
  readonly #input: HTMLInputElement;
  readonly #status: HTMLElement;
  readonly #onButton: HTMLButtonElement;
  readonly #step: HTMLElement;
  readonly #root: HTMLElement;
  readonly #base: string;
  readonly #go: (line: number) => Promise<void>;
  #query = '';
  #found: number[] = [];
  #set = new Set<number>();
  #at = -1;
  #next: number | null = 1;
  #total = 0;
  #round = 0;

  constructor(root: HTMLElement, base: string, go: (line: number) => Promise<void>) {
    this.#root = root;
    this.#base = base;
    this.#go = go;
    this.#form = root.querySelector('form')!;
    this.#input = this.#form.querySelector<HTMLInputElement>('input[type=search]')!;
    this.#status = root.querySelector<HTMLElement>('[data-log-part=found]')!;
    this.#onButton = root.querySelector<HTMLButtonElement>('[data-log-part=on]')!;
    this.#step = root.querySelector<HTMLElement>('[data-log-part=step]')!;
  }

  listen(): void {
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      const query = this.#input.value.trim();
      if (query === this.#query && this.#found.length > 0) return void this.#move(1);
      void this.#begin(query);
    });
    this.#input.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || !event.shiftKey) return;
      event.preventDefault();
      this.#move(-1);
    });
    this.#input.addEventListener('search', () => this.#input.value === '' && void this.#begin(''));
    this.#onButton.addEventListener('click', () => void this.#look(this.#round));
    const [previous, next] = this.#step.querySelectorAll('button');
    previous?.addEventListener('click', () => this.#move(-1));
    next?.addEventListener('click', () => this.#move(1));
    if (this.#input.value !== '') void this.#begin(this.#input.value.trim());
  }

  mark(within: ParentNode): void {
    for (const row of within.querySelectorAll('.log-row')) row.classList.toggle('log-hit', this.#set.has(Number(row.id.slice(1))));
    this.#markWords();
  }

  async #begin(query: string): Promise<void> {
    this.#round += 1;
    this.#query = query;
    this.#found = [];
    this.#set = new Set();
    this.#at = -1;
    this.#next = 1;
    this.mark(this.#root);
    if (query === '') this.#tell();
    else await this.#look(this.#round);
  }

  async #look(round: number): Promise<void> {
    this.#status.textContent = 'Searching…';
    try {
      for (let part = 0; part < PARTS && this.#next !== null && this.#found.length < MAX_FOUND; part += 1) {
        const answer = await fetch(`${this.#base}/search?q=${encodeURIComponent(this.#query)}&from=${this.#next}`, {
          headers: { Accept: 'application/json', 'X-Live': 'active' },
        });
        if (!answer.ok) throw new Error(`the search answered ${answer.status}`);
        const { lines, next, total } = (await answer.json()) as Found;
        if (round !== this.#round) return;
        this.#found.push(...lines);
        for (const line of lines) this.#set.add(line);
        this.#next = next;
        this.#total = total;
        this.mark(this.#root);
        if (this.#at < 0 && this.#found.length > 0) this.#move(1);
        this.#tell();
      }
    } catch {
      this.#status.textContent = 'The search does not answer. Try again.';
      return;
    }
    this.#tell();
  }

  #move(by: number): void {
    if (this.#found.length === 0) return;
    this.#at = (this.#at + by + this.#found.length) % this.#found.length;
    void this.#go(this.#found[this.#at]!);
    this.#tell();
  }

  #tell(): void {
    const isPart = this.#next !== null;
    const count = this.#found.length.toLocaleString('en-US');
    const within = isPart
      ? ` in the first ${(this.#next! - 1).toLocaleString('en-US')} of ${this.#total.toLocaleString('en-US')} lines`
      : '';
    const none = `No line has it${within}`;
    const some = `${(this.#at + 1).toLocaleString('en-US')} of ${count} ${this.#found.length === 1 ? 'line' : 'lines'}${within}`;
    this.#status.textContent = this.#query === '' ? '' : this.#found.length === 0 ? none : some;
    this.#step.hidden = this.#found.length === 0;
    this.#onButton.hidden = this.#query === '' || !isPart;
  }

  /** The words themselves, where the browser can mark text without changing the page. */
  #markWords(): void {
    if (!('highlights' in CSS)) return;
    const ranges: Range[] = [];
    const query = this.#query.toLowerCase();
    for (const text of query === '' ? [] : this.#root.querySelectorAll('.log-hit .log-text')) {
      const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node !== null && ranges.length < 1000; node = walker.nextNode())
        ranges.push(...rangesIn(node, query));
    }
    CSS.highlights.set('log-found', new Highlight(...ranges));
  }
}

function rangesIn(node: Node, query: string): Range[] {
  const text = (node.nodeValue ?? '').toLowerCase();
  const ranges: Range[] = [];
  for (let at = text.indexOf(query); at >= 0 && ranges.length < 100; at = text.indexOf(query, at + query.length)) {
    const range = document.createRange();
    range.setStart(node, at);
    range.setEnd(node, Math.min(at + query.length, node.nodeValue?.length ?? 0));
    ranges.push(range);
  }
  return ranges;
}
