/** Why a scan ended without a verdict. Adapters translate foreign errors into these at the border. */
import type { GiveBackCode } from './model.ts';

export type ScanErrorCode = GiveBackCode | 'lease-lost';

export class ScanError extends Error {
  override readonly name = 'ScanError';
  readonly code: ScanErrorCode;

  constructor(code: ScanErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** Any thrown thing as a ScanError. What is not one already is `unexpected`, with the thing as its cause. */
  static from(thrown: unknown): ScanError {
    if (thrown instanceof ScanError) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new ScanError('unexpected', message, { cause: thrown });
  }
}
