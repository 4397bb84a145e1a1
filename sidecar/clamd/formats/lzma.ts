/**
 * A decoder for raw LZMA, after the LZMA specification of the 7-Zip author, for the packed directories of 7z archives: small,
 * bounded by `limit`, and of no use for more than that.
 */

const stateCount = 12;
const posStatesMax = 16;
const lengthToPosStates = 4;
const endPosModel = 14;
const fullDistances = 128;
const alignBits = 4;
const minMatch = 2;
const half = 1 << 10;

/**
 * The first `limit` bytes (or all, where there are fewer) of what `packed` unpacks to. `properties` are the five bytes of the coder.
 * @throws RangeError where the data is damaged or ends too early.
 */
export function unpackLzma(packed: Uint8Array, properties: Uint8Array, limit: number): Buffer {
  const first = properties[0];
  if (properties.length !== 5 || first === undefined || first >= 9 * 5 * 5) throw new RangeError('no LZMA properties');
  return new Decoder(packed, first, limit).run();
}

/** The same of the first chunk of LZMA2, which is a row of pieces of LZMA with their lengths in front. */
export function unpackFirstOfLzma2(packed: Buffer, limit: number): Buffer {
  const control = packed.readUInt8(0);
  const plainWithNewDictionary = 1;
  if (control === plainWithNewDictionary) return packed.subarray(3, 3 + Math.min(limit, packed.readUInt16BE(1) + 1));
  const lzmaWithNewEverything = 0xe0;
  if (control < lzmaWithNewEverything) throw new RangeError('no beginning of LZMA2');
  const length = ((control & 0x1f) << 16) + packed.readUInt16BE(1) + 1;
  const properties = Buffer.concat([packed.subarray(5, 6), Buffer.alloc(4)]);
  return unpackLzma(packed.subarray(6, 6 + packed.readUInt16BE(3) + 1), properties, Math.min(limit, length));
}

const probabilities = (count: number) => new Uint16Array(count).fill(half);

class RangeDecoder {
  readonly #input: Uint8Array;
  #at = 5;
  #range = 0xffff_ffff;
  #code: number;

  constructor(input: Uint8Array) {
    if (input.length < 5 || input[0] !== 0) throw new RangeError('no LZMA data');
    this.#input = input;
    this.#code = Buffer.from(input.buffer, input.byteOffset, input.length).readUInt32BE(1);
  }

  bit(model: Uint16Array, index: number): number {
    const probability = model[index]!;
    const bound = (this.#range >>> 11) * probability;
    const bit = this.#code < bound ? 0 : 1;
    if (bit === 0) {
      model[index] = probability + ((2048 - probability) >>> 5);
      this.#range = bound;
    } else {
      model[index] = probability - (probability >>> 5);
      this.#range -= bound;
      this.#code -= bound;
    }
    this.#normalize();
    return bit;
  }

  directBits(count: number): number {
    let result = 0;
    for (let left = count; left > 0; left--) {
      this.#range >>>= 1;
      const bit = this.#code >= this.#range ? 1 : 0;
      if (bit === 1) this.#code -= this.#range;
      result = result * 2 + bit;
      this.#normalize();
    }
    return result;
  }

  tree(model: Uint16Array, offset: number, bits: number): number {
    let node = 1;
    for (let left = bits; left > 0; left--) node = (node << 1) | this.bit(model, offset + node);
    return node - (1 << bits);
  }

  reverseTree(model: Uint16Array, offset: number, bits: number): number {
    let node = 1;
    let result = 0;
    for (let index = 0; index < bits; index++) {
      const bit = this.bit(model, offset + node);
      node = (node << 1) | bit;
      result |= bit << index;
    }
    return result;
  }

  #normalize(): void {
    if (this.#range >= 0x0100_0000) return;
    const byte = this.#input[this.#at++];
    if (byte === undefined) throw new RangeError('LZMA data ends too early');
    this.#range = (this.#range << 8) >>> 0;
    this.#code = ((this.#code << 8) | byte) >>> 0;
  }
}

class LengthDecoder {
  readonly #choice = probabilities(2);
  readonly #low = probabilities(posStatesMax << 3);
  readonly #mid = probabilities(posStatesMax << 3);
  readonly #high = probabilities(256);

  read(input: RangeDecoder, posState: number): number {
    if (input.bit(this.#choice, 0) === 0) return minMatch + input.tree(this.#low, posState << 3, 3);
    if (input.bit(this.#choice, 1) === 0) return minMatch + 8 + input.tree(this.#mid, posState << 3, 3);
    return minMatch + 16 + input.tree(this.#high, 0, 8);
  }
}

class Decoder {
  readonly #input: RangeDecoder;
  readonly #out: Buffer;
  readonly #lc: number;
  readonly #lpMask: number;
  readonly #pbMask: number;
  readonly #literals: Uint16Array;
  readonly #isMatch = probabilities(stateCount << 4);
  readonly #isRep = probabilities(stateCount);
  readonly #isRepG0 = probabilities(stateCount);
  readonly #isRepG1 = probabilities(stateCount);
  readonly #isRepG2 = probabilities(stateCount);
  readonly #isRep0Long = probabilities(stateCount << 4);
  readonly #posSlot = probabilities(lengthToPosStates << 6);
  readonly #posSpecial = probabilities(1 + fullDistances - endPosModel);
  readonly #align = probabilities(1 << alignBits);
  readonly #matchLength = new LengthDecoder();
  readonly #repLength = new LengthDecoder();
  readonly #reps = [0, 0, 0, 0];
  #state = 0;
  #length = 0;

  constructor(packed: Uint8Array, properties: number, limit: number) {
    this.#lc = properties % 9;
    const rest = Math.floor(properties / 9);
    const lp = rest % 5;
    this.#lpMask = (1 << lp) - 1;
    this.#pbMask = (1 << Math.floor(rest / 5)) - 1;
    this.#literals = probabilities(0x300 << (this.#lc + lp));
    this.#input = new RangeDecoder(packed);
    this.#out = Buffer.alloc(limit);
  }

  run(): Buffer {
    while (this.#length < this.#out.length && this.#step());
    return this.#out.subarray(0, this.#length);
  }

  /** False at the end mark. */
  #step(): boolean {
    const posState = this.#length & this.#pbMask;
    if (this.#input.bit(this.#isMatch, (this.#state << 4) + posState) === 0) {
      this.#literal();
      return true;
    }
    const length = this.#input.bit(this.#isRep, this.#state) === 0 ? this.#match(posState) : this.#repeat(posState);
    if (length === null) return false;
    this.#copy(length);
    return true;
  }

  #literal(): void {
    const previous = this.#length === 0 ? 0 : this.#out[this.#length - 1]!;
    const context = ((this.#length & this.#lpMask) << this.#lc) + (previous >>> (8 - this.#lc));
    const offset = 0x300 * context;
    let symbol = 1;
    if (this.#state >= 7) {
      let matched = this.#byteBack(this.#reps[0]!);
      do {
        const matchBit = (matched >>> 7) & 1;
        matched <<= 1;
        const bit = this.#input.bit(this.#literals, offset + ((1 + matchBit) << 8) + symbol);
        symbol = (symbol << 1) | bit;
        if (matchBit !== bit) break;
      } while (symbol < 0x100);
    }
    while (symbol < 0x100) symbol = (symbol << 1) | this.#input.bit(this.#literals, offset + symbol);
    this.#out[this.#length++] = symbol & 0xff;
    this.#state = this.#state < 4 ? 0 : this.#state < 10 ? this.#state - 3 : this.#state - 6;
  }

  #match(posState: number): number | null {
    const length = this.#matchLength.read(this.#input, posState);
    const distance = this.#distance(length);
    if (distance === 0xffff_ffff) return null;
    this.#reps.pop();
    this.#reps.unshift(distance);
    this.#state = this.#state < 7 ? 7 : 10;
    return length;
  }

  #repeat(posState: number): number {
    const state = this.#state;
    if (this.#input.bit(this.#isRepG0, state) === 0) {
      if (this.#input.bit(this.#isRep0Long, (state << 4) + posState) === 0) {
        this.#state = state < 7 ? 9 : 11;
        return 1;
      }
    } else {
      const which = this.#input.bit(this.#isRepG1, state) === 0 ? 1 : this.#input.bit(this.#isRepG2, state) === 0 ? 2 : 3;
      this.#reps.unshift(...this.#reps.splice(which, 1));
    }
    this.#state = state < 7 ? 8 : 11;
    return this.#repLength.read(this.#input, posState);
  }

  #distance(length: number): number {
    const slot = this.#input.tree(this.#posSlot, Math.min(length - minMatch, lengthToPosStates - 1) << 6, 6);
    if (slot < 4) return slot;
    const bits = (slot >>> 1) - 1;
    const base = (2 | (slot & 1)) * 2 ** bits;
    if (slot < endPosModel) return base + this.#input.reverseTree(this.#posSpecial, base - slot, bits);
    return base + this.#input.directBits(bits - alignBits) * (1 << alignBits) + this.#input.reverseTree(this.#align, 0, alignBits);
  }

  #byteBack(distance: number): number {
    if (distance >= this.#length) throw new RangeError('LZMA data refers to before its beginning');
    return this.#out[this.#length - distance - 1]!;
  }

  #copy(length: number): void {
    const end = Math.min(this.#length + length, this.#out.length);
    for (; this.#length < end; this.#length++) this.#out[this.#length] = this.#byteBack(this.#reps[0]!);
  }
}
