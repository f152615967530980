// The ids of items as numbers: an id is 27 letters of base 62 whose order is that of the numbers,
// and each partition counts its ids up by one. So the next id is known, and how many lie between
// two of them.

const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LENGTH = 27;
/** The greatest id that there is. */
const MAX = 2n ** 160n - 1n;

/** The number of an id. */
export function numberOf(id: string): bigint {
  let number = 0n;
  for (const letter of id) number = number * 62n + BigInt(LETTERS.indexOf(letter));
  return number;
}

/** The id of a number; that of the nearest one if there is none. */
export function idOf(number: bigint): string {
  let left = number < 0n ? 0n : number > MAX ? MAX : number;
  let id = "";
  for (let i = 0; i < LENGTH; i++) {
    id = LETTERS[Number(left % 62n)]! + id;
    left /= 62n;
  }
  return id;
}

/** The id after this one. */
export function nextId(id: string): string {
  return idOf(numberOf(id) + 1n);
}
