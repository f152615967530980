// Says at once, and plainly, that a Node is too old, where it would fail later in the midst of something:
// loaded before everything else. What is no Node (browsers, Deno, Bun) is not judged by its version.

const NEEDED = [22, 12] as const;

const versions: Readonly<Record<string, string | undefined>> = globalThis.process?.versions ?? {};
if (versions.node !== undefined && versions.bun === undefined && versions.deno === undefined) {
  const [major, minor] = versions.node.split(".").map(Number) as [number, number];
  if (major < NEEDED[0] || (major === NEEDED[0] && minor < NEEDED[1])) {
    throw new Error(
      `@querator/client needs Node ${NEEDED.join(".")} or later; this is Node ${versions.node}`,
    );
  }
}

export {};
