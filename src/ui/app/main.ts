// Where the dashboard begins: it asks what kind of server this is, and shows the page of the address.

import { render } from "preact";
import { Away, loadConfig } from "./api.ts";
import { html } from "./html.ts";
import { loadPage, Shell } from "./shell.ts";
import { text } from "./text.ts";
import { later } from "./time.ts";
import "./theme.ts";

const AGAIN_MS = 2_000;
const place = document.getElementById("app")!;

function begin(): void {
  loadConfig().then(
    () => {
      place.replaceChildren();
      render(html`<${Shell} />`, place);
    },
    (error: Error) => {
      const why = error instanceof Away ? text.shell.away : String(error);
      render(html`<p class="banner" role="alert">${why}</p>`, place);
      later(AGAIN_MS, begin);
    },
  );
}

loadPage();
begin();
