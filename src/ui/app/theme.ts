// Dark or light: as the system says, unless somebody has chosen.

import { signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";

const THEME = "querator.theme";

/** Counts up when the colours have changed, for what is drawn in them. */
export const themes = signal(0);
export const theme = signal<Theme>((localStorage.getItem(THEME) as Theme | null) ?? "auto");

export function setTheme(next: Theme): void {
  localStorage.setItem(THEME, next);
  theme.value = next;
  apply();
}

function apply(): void {
  const root = document.documentElement;
  if (theme.value === "auto") delete root.dataset.theme;
  else root.dataset.theme = theme.value;
  themes.value++;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
apply();
