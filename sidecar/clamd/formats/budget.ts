/** What ClamAV looks at at most, of a file and everything unpacked from it. Beyond, it says so by itself. */
const mostBytes = 2_147_483_645;

/** Bounds the work of one look over all its levels: a bomb costs no more than the largest honest archive. */
export class Budget {
  #left = mostBytes;

  /** False once more has been unpacked than any engine looks at. */
  get lasts(): boolean {
    return this.#left >= 0;
  }

  spend(bytes: number): void {
    this.#left -= bytes;
  }
}
