/** What goja gives beside PocketBase's own declarations; there is nothing else: no timers, no fetch, no URL. */
// biome-ignore lint/suspicious/noExplicitAny: what a path holds is known to the caller alone
declare function require(path: string): any;
declare const Buffer: { from(text: string, encoding: 'base64'): unknown };
declare const console: { log(...args: unknown[]): void; error(...args: unknown[]): void };

/** `on*` methods are left out of PocketBase's types; this one has no global function either. */
interface PocketBase {
  onServe(): { bindFunc(handler: (e: core.ServeEvent) => void): string };
}
