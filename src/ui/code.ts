// How a module becomes what a browser loads: its types are stripped, whole-line comments go, and imports
// name files that the server has. A library's module is treated alike, without the stripping. There is no bundler.

import { stripTypeScriptTypes } from "node:module";

/** Where the libraries are served, by the name that they are imported by. */
export const LIBRARIES: Readonly<Record<string, string>> = {
  preact: "lib/preact.js",
  "preact/hooks": "lib/preact-hooks.js",
  htm: "lib/htm.js",
  "@preact/signals": "lib/signals.js",
  "@preact/signals-core": "lib/signals-core.js",
  uplot: "lib/uplot.js",
};

const IMPORT = /\b(from|import) ?"([^"\n]+)"/g;
const MAP = /^\/\/# sourceMappingURL=.*$/gm;
const LINE_COMMENT = /^[ \t]*\/\/.*\n/gm;
const BLOCK_COMMENT = /^[ \t]*\/\*\*[\s\S]*?\*\/[ \t]*\n/gm;
const INDENT = /^[ \t]+|[ \t]+$/gm;
const EMPTY_LINES = /\n{2,}/g;

/** The JavaScript of a module of the app. No line of a text in it may begin with a comment's mark. */
export function toScript(source: string, path: string): string {
  const stripped = stripTypeScriptTypes(
    source.replace(BLOCK_COMMENT, "").replace(LINE_COMMENT, ""),
  );
  return rewriteImports(stripped.replace(INDENT, "").replace(EMPTY_LINES, "\n"), path);
}

/** A library's module as it is served at `path`. */
export function toLibrary(source: string, path: string): string {
  const text = source.replace(MAP, "");
  // The build that is made for pages is a third of the size of the module: it becomes one.
  const whole = path === LIBRARIES.uplot ? `${text}\nexport default uPlot;\n` : text;
  return rewriteImports(whole, path);
}

/** Makes bare imports relative to where the module is served, and those of sources those of scripts. */
function rewriteImports(text: string, path: string): string {
  const up = "../".repeat(path.split("/").length - 1);
  return text.replace(IMPORT, (whole, word: string, specifier: string) => {
    const library = LIBRARIES[specifier];
    if (library !== undefined) return `${word} "${up}${library}"`;
    if (specifier.startsWith(".")) return `${word} "${specifier.replace(/\.ts$/, ".js")}"`;
    return whole;
  });
}

/** The paths that a script imports, as they are served. */
export function importsOf(script: string, path: string): string[] {
  return [...script.matchAll(IMPORT)]
    .map(([, , specifier]) => specifier!)
    .filter((specifier) => specifier.startsWith("."))
    .map((specifier) => new URL(specifier, `http://ui/${path}`).pathname.slice(1));
}
