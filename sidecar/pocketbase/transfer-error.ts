import { ScanError, type ScanErrorCode } from '../scan/errors.ts';

/** A range request that failed. `retry`: at once where a kept-alive connection had died unnoticed, later, or never. */
export class TransferError extends Error {
  override readonly name = 'TransferError';
  readonly code: ScanErrorCode;
  readonly retry: 'at-once' | 'later' | 'never';

  constructor(code: ScanErrorCode, retry: TransferError['retry'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.retry = retry;
  }

  toScanError(): ScanError {
    return new ScanError(this.code, this.message, { cause: this.cause ?? this });
  }
}

const unreachableCodes = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT', 'EACCES']);

/** A failed connection: PocketBase is away, or it broke off. */
export function connectionFailed(error: Error, wasReused: boolean): TransferError {
  if (error instanceof TransferError) return error;
  const code = 'code' in error ? String(error.code) : '';
  if (unreachableCodes.has(code)) {
    return new TransferError('store-unavailable', 'later', `PocketBase cannot be reached (${code})`, { cause: error });
  }
  return new TransferError('download', wasReused ? 'at-once' : 'later', `the download broke off (${code || error.message})`, {
    cause: error,
  });
}
