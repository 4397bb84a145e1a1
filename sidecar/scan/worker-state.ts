/** What a worker tells of itself. */
export interface WorkerState {
  readonly ready: boolean;
  /** A sentence when not ready. */
  readonly why: string | null;
  /** Leases held. */
  readonly held: number;
  readonly scanning: number;
}
