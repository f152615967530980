// Payloads as the wire has them: base64. Node's Buffer where it is there, else what every platform has.

interface BufferLike {
  byteLength(text: string): number;
  from(data: string, encoding: "base64"): Uint8Array;
  from(data: ArrayBufferLike, offset: number, length: number): { toString(e: "base64"): string };
}

const NodeBuffer = (globalThis as { Buffer?: BufferLike }).Buffer;
const decoder = new TextDecoder();
const encoder = new TextEncoder();

export function toBase64(bytes: Uint8Array): string {
  if (NodeBuffer !== undefined) {
    return NodeBuffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
  }
  let text = "";
  for (let i = 0; i < bytes.length; i += 8_192) {
    text += String.fromCharCode(...bytes.subarray(i, i + 8_192));
  }
  return btoa(text);
}

export function fromBase64(text: string): Uint8Array {
  if (NodeBuffer !== undefined) return NodeBuffer.from(text, "base64");
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

export function utf8(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

export function utf8Bytes(text: string): Uint8Array {
  return encoder.encode(text);
}

/** How many bytes a text is in UTF-8, at most: exact in Node, and for ASCII. */
export function utf8LengthMax(text: string): number {
  if (NodeBuffer !== undefined) return NodeBuffer.byteLength(text);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII
  return /^[\x00-\x7f]*$/.test(text) ? text.length : text.length * 3;
}
