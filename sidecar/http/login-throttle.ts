import { createHash } from 'node:crypto';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { addressKey } from './client-address.ts';

export interface ThrottleLimits {
  /** An account from one address. */
  readonly perPair: number;
  /** An account from wherever: so many that a few strangers do not lock its owner out. */
  readonly perAccount: number;
  readonly perAddress: number;
  readonly seconds: number;
}

const LIMITS: ThrottleLimits = { perPair: 5, perAccount: 100, perAddress: 20, seconds: 15 * 60 };

/** An attempt is counted before it is made, so that a hundred at once are no way around the limit, and taken back when it succeeds. */
export class LoginThrottle {
  readonly #pairs: RateLimiterMemory;
  readonly #accounts: RateLimiterMemory;
  readonly #addresses: RateLimiterMemory;

  constructor({ perPair, perAccount, perAddress, seconds }: ThrottleLimits = LIMITS) {
    this.#pairs = new RateLimiterMemory({ keyPrefix: 'pair', points: perPair, duration: seconds });
    this.#accounts = new RateLimiterMemory({ keyPrefix: 'account', points: perAccount, duration: seconds });
    this.#addresses = new RateLimiterMemory({ keyPrefix: 'address', points: perAddress, duration: seconds });
  }

  /**
   * Null when it may be made, otherwise the seconds to wait. The address counts first: who tries a thousand accounts from one place
   * fills no memory. `account` is null for OPERATOR_TOKEN, which nobody guesses, and which nobody else may lock.
   */
  async begin(address: string, account: string | null): Promise<number | null> {
    const wait = await secondsToWait(this.#addresses, addressKey(address));
    if (wait !== null || account === null) return wait;
    return (await secondsToWait(this.#pairs, pairKey(address, account))) ?? (await secondsToWait(this.#accounts, accountKey(account)));
  }

  /** It succeeded, or was never judged: it does not count. */
  async takeBack(address: string, account: string | null, succeeded: boolean): Promise<void> {
    await this.#addresses.reward(addressKey(address), 1);
    if (account === null) return;
    await this.#accounts.reward(accountKey(account), 1);
    if (succeeded) await this.#pairs.delete(pairKey(address, account));
    else await this.#pairs.reward(pairKey(address, account), 1);
  }
}

async function secondsToWait(limiter: RateLimiterMemory, key: string): Promise<number | null> {
  try {
    await limiter.consume(key, 1);
    return null;
  } catch (thrown) {
    if (!(thrown instanceof RateLimiterRes)) throw thrown;
    return Math.max(1, Math.ceil(thrown.msBeforeNext / 1000));
  }
}

function pairKey(address: string, account: string): string {
  return `${addressKey(address)} ${accountKey(account)}`;
}

function accountKey(account: string): string {
  return createHash('sha256').update(account.trim().toLowerCase()).digest('base64url');
}
