/** What a worker tells of itself. */
export interface WorkerState {
  readonly ready: boolean;
  /** A sentence when not ready. */
  readonly why: string | null;
  /** Leases held. */
  readonly held: number;
  readonly scanning: number;
}

export interface RunningScan {
  readonly check: string;
  readonly build: string;
  readonly elapsedMs: number;
  /** Those that are being read: their bytes, and how many of them have been read. */
  readonly files: readonly { readonly name: string; readonly size: number; readonly position: number }[];
}
