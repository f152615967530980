// The page that asks for a key.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { signIn, takeKey } from "./api.ts";
import { Button, Check, Field } from "./components/controls.ts";
import { html } from "./html.ts";
import { text } from "./text.ts";

export function SignIn(): VNode {
  const [typed, setTyped] = useState("");
  const [remember, setRemember] = useState(false);
  const submit = (event: Event): void => {
    event.preventDefault();
    takeKey(typed.trim(), remember);
  };
  const error = signIn.value === "refused" ? text.signIn.refused : undefined;
  return html`<main class="sign-in" id="content"><form class="stack panel" onSubmit=${submit}>
    <h1>${text.signIn.title}</h1><p class="dim">${text.signIn.why}</p>
    <${Field} label=${text.signIn.key} kind="password" value=${typed} onInput=${setTyped} error=${error} autofocus mono />
    <${Check} label=${text.signIn.remember} checked=${remember} onChange=${setRemember} />
    <footer><${Button} submit kind="primary" disabled=${typed.trim() === ""}>${text.signIn.submit}</${Button}></footer>
  </form></main>`;
}
