// The bytes of a body as they come, piece by piece, until there are enough of them. A piece may be a
// single byte, by the million: each would take a hundred times its size as a buffer of its own, and may
// be a part of a far larger one. So small pieces are copied together.

const SMALL = 4_096;
const BLOCK = 65_536;

/** Bytes that are gathered. */
export class Chunks {
  #chunks: Buffer[] = [];
  // The last of the chunks, if it has room for more, and how much of it is in use.
  #block: Buffer | undefined;
  #used = 0;

  add(chunk: Buffer): void {
    // Most bodies come in one piece, or in a few.
    if (chunk.length >= SMALL || this.#chunks.length < FEW) {
      this.#close();
      this.#chunks.push(chunk);
      return;
    }
    if (this.#block !== undefined && this.#used + chunk.length > BLOCK) this.#close();
    if (this.#block === undefined) {
      this.#block = Buffer.allocUnsafeSlow(BLOCK);
      this.#chunks.push(this.#block);
    }
    this.#used += chunk.copy(this.#block, this.#used);
  }

  /** All of them, in one piece; afterwards there are none. */
  take(): Buffer {
    this.#close();
    const chunks = this.#chunks;
    this.#chunks = [];
    return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
  }

  #close(): void {
    if (this.#block === undefined) return;
    this.#chunks[this.#chunks.length - 1] = this.#block.subarray(0, this.#used);
    this.#block = undefined;
    this.#used = 0;
  }
}

const FEW = 8;
