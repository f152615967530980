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

// What a module imports at once, and with a parenthesis what it may come to import.
const IMPORT = /\b(from|import) ?(\(?)"([^"\n]+)"/g;
const STYLE_COMMENT = /\/\*[\s\S]*?\*\//g;
const STYLE_SPACES = /\s*([{};,])\s*|;(?=\s*\})/g;
const SPACES = / {2,}/g;
const MAP = /^\/\/# sourceMappingURL=.*$/gm;
const LINE_COMMENT = /^[ \t]*\/\/.*\n/gm;
const BLOCK_COMMENT = /^[ \t]*\/\*\*[\s\S]*?\*\/[ \t]*\n/gm;
const INDENT = /^[ \t]+|[ \t]+$/gm;
const EMPTY_LINES = /\n{2,}/g;

/**
 * The JavaScript of a module of the app. No line of a text in it may begin with a comment's mark, and no text may hold
 * two spaces in a row.
 */
export function toScript(source: string, path: string): string {
  const stripped = stripTypeScriptTypes(
    source.replace(BLOCK_COMMENT, "").replace(LINE_COMMENT, ""),
  );
  return rewriteImports(
    stripped.replace(INDENT, "").replace(SPACES, " ").replace(EMPTY_LINES, "\n"),
    path,
  );
}

/** A style sheet without what only people read. */
export function toStyle(source: string): string {
  return source.replace(STYLE_COMMENT, "").replace(STYLE_SPACES, "$1").replace(/\s+/g, " ");
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
  return text.replace(IMPORT, (whole, word: string, opened: string, specifier: string) => {
    const library = LIBRARIES[specifier];
    if (library !== undefined) return `${word}${opened || " "}"${up}${library}"`;
    if (specifier.startsWith("."))
      return `${word}${opened || " "}"${specifier.replace(/\.ts$/, ".js")}"`;
    return whole;
  });
}

/** The paths that a script imports when it is loaded, as they are served. */
export function importsOf(script: string, path: string): string[] {
  return [...script.matchAll(IMPORT)]
    .flatMap(([, , opened, specifier]) => (opened === "" ? [specifier!] : []))
    .filter((specifier) => specifier.startsWith("."))
    .map((specifier) => new URL(specifier, `http://ui/${path}`).pathname.slice(1));
}
