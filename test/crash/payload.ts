// What the items of these programs carry: a serial number, padding, and a checksum over both, so
// that an item that comes back garbled, or mixed from two, is told from one that is whole. The
// reference of the item holds the serial once more.

import { crc32 } from "node:zlib";

const PATTERN = /^(\d+) ([0-9a-f]+) ([0-9a-z]*)$/;

/** The payload of the item with this serial number, of about so many bytes. */
export function makePayload(serial: number, bytes: number): string {
  const unit = serial.toString(36);
  const padding = unit.repeat(Math.ceil(bytes / unit.length)).slice(0, bytes);
  return `${serial} ${checksum(serial, padding)} ${padding}`;
}

/** The serial number in a payload as a lease answers it; throws if anything about the item is garbled. */
export function readSerial(item: { bytes?: string; payload?: string; reference?: string }): number {
  const text = Buffer.from(item.bytes ?? item.payload ?? "", "base64").toString("latin1");
  const found = PATTERN.exec(text);
  if (found === null) throw new Error(`garbled payload: ${JSON.stringify(text.slice(0, 200))}`);
  const serial = Number(found[1]);
  if (checksum(serial, found[3]!) !== found[2]) {
    throw new Error(`payload of item ${serial} is garbled: ${JSON.stringify(text.slice(0, 200))}`);
  }
  if (item.reference !== String(serial)) {
    throw new Error(`reference of item ${serial} is garbled: ${JSON.stringify(item.reference)}`);
  }
  return serial;
}

function checksum(serial: number, padding: string): string {
  return crc32(padding, serial).toString(16);
}
